#pragma once

#include "kernel_operator.h"
#include "schedule.h"

// Rows of heads in GM: `data` is the first row of the first head wanted, or of the columns led by.
template <typename T>
struct AttentionHeads {
  AscendC::GlobalTensor<T> data;
  uint32_t tokenStride;
  uint32_t headStride;
};

// Where the cube core finds a task's q and k, or a group of tasks': in tensors of all tokens, or in a ring
// where the vector cores leave them, task after task, q [rows, heads, dim] and then k.
template <typename T>
class AttentionSource {
 public:
  __aicore__ inline AttentionSource() {}

  __aicore__ inline void InitTensors(GM_ADDR q, GM_ADDR k, const WindowAttentionTiling& tiling) {
    tiling_ = tiling;
    isRing_ = false;
    qGm_.SetGlobalBuffer((__gm__ T*)q);
    kGm_.SetGlobalBuffer((__gm__ T*)k);
  }

  __aicore__ inline void InitRing(GM_ADDR ring, const WindowAttentionTiling& tiling) {
    tiling_ = tiling;
    isRing_ = true;
    qGm_.SetGlobalBuffer((__gm__ T*)ring);
  }

  // To be called once for each task, before its q and k are loaded.
  __aicore__ inline void Wait() const {
    if (isRing_) AscendC::CrossCoreWaitFlag(ATTENTION_ROTATED);
  }

  // Likewise, after they are.
  __aicore__ inline void Release() const {
    if (isRing_) AscendC::CrossCoreSetFlag<ATTENTION_CUBE_AND_VECTORS, PIPE_MTE2>(ATTENTION_ROTATED_TAKEN);
  }

  __aicore__ inline AttentionHeads<T> Query(const AttentionStep& step) const {
    if (isRing_) return InRing(step, 0);
    AttentionHeads<T> rows;
    rows.data = qGm_[step.token * tiling_.qTokenStride + step.groupHead * tiling_.qHeadStride - step.lead];
    rows.tokenStride = tiling_.qTokenStride;
    rows.headStride = tiling_.qHeadStride;
    return rows;
  }

  __aicore__ inline AttentionHeads<T> Keys(const AttentionStep& step) const {
    if (isRing_) return InRing(step, 1);
    const uint32_t head = step.groupHead / (tiling_.heads / tiling_.kvHeads);
    AttentionHeads<T> rows;
    rows.data = kGm_[step.token * tiling_.kTokenStride + head * tiling_.kHeadStride - step.lead];
    rows.tokenStride = tiling_.kTokenStride;
    rows.headStride = tiling_.kHeadStride;
    return rows;
  }

 private:
  __aicore__ inline AttentionHeads<T> InRing(const AttentionStep& step, uint32_t part) const {
    AttentionHeads<T> rows;
    rows.data = qGm_[AttentionRingAt(step, tiling_) + part * step.rows * step.heads * tiling_.dim];
    rows.tokenStride = step.heads * tiling_.dim;
    rows.headStride = tiling_.dim;
    return rows;
  }

  WindowAttentionTiling tiling_;
  bool isRing_;
  AscendC::GlobalTensor<T> qGm_;
  AscendC::GlobalTensor<T> kGm_;
};
