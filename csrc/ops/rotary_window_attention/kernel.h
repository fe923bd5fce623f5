#pragma once

#include "../rotary_qkv/kernel.h"
#include "../window_attention/kernel.h"
#include "kernel_operator.h"
#include "rotate.h"
#include "tiling.h"

// window_attention over rotated q and k. Where all segments are short, the vector cores rotate a task's q and
// k into a ring in the workspace shortly before the cube core takes them. Else they rotate those of all
// tokens first, for the keys of a long segment are used by many cores.
template <typename T, typename U>
class RotaryWindowAttention {
 public:
  __aicore__ inline RotaryWindowAttention() {}

  __aicore__ inline void Init(GM_ADDR qkv, GM_ADDR cos, GM_ADDR sin, GM_ADDR lengths, GM_ADDR out,
                              GM_ADDR workspace, const RotaryWindowAttentionTiling& tiling, uint32_t block) {
    tiling_ = tiling;
    qkv_ = qkv;
    cos_ = cos;
    sin_ = sin;
    out_ = out;
    const RotaryQkvTiling& rotary = tiling.rotary;
    v_ = qkv + uint64_t{2} * rotary.heads * rotary.inDim * sizeof(T);
    workspace_ = AttentionWorkspace(workspace, tiling.attention, block);
    q_ = workspace + tiling.sharedBytes;
    k_ = q_ + tiling.rotatedBytes;
    ring_ = q_ + block * tiling.ringBytes;
    attention_.Init(lengths, tiling.attention, block);
    fused_ = tiling.fused != 0 && !attention_.Schedule().HasLong();
  }

  __aicore__ inline void ProcessCube() {
    if (!fused_) AscendC::SyncAll<false>();
    AscendC::TPipe pipe;
    AttentionSource<T> source;
    if (fused_) {
      source.InitRing(ring_, tiling_.attention);
    } else {
      source.InitTensors(q_, k_, tiling_.attention);
    }
    attention_.ProcessCube(pipe, source, v_, out_, workspace_);
  }

  __aicore__ inline void ProcessVector() {
    if (!fused_) {
      RotaryQkv<T, U> rotary;
      rotary.Init(qkv_, cos_, sin_, q_, k_, k_ + tiling_.rotatedBytes, tiling_.rotary);
      rotary.Process(AscendC::GetBlockIdx(), 2 * AscendC::GetBlockNum());
    }
    if (!fused_) AscendC::SyncAll<false>();
    AscendC::TPipe pipe;
    if (fused_) {
      ProcessFused(pipe);
    } else {
      attention_.ProcessVector(pipe, out_, workspace_);
    }
  }

 private:
  static constexpr uint32_t AHEAD = ATTENTION_AHEAD + 1;  // the cube core loads so many tasks ahead

  // Rotates task i + AHEAD, then turns the scores of task i to weights.
  __aicore__ inline void ProcessFused(AscendC::TPipe& pipe) {
    AttentionVector<T> vector;
    RotaryFeed<T, U> feed;
    AttentionStep steps[AHEAD + 1];
    WindowAttentionTiling attention = tiling_.attention;
    attention.scale = tiling_.restScale;
    // 64 rows of q, of k or of scores take half a slot.
    vector.Init(pipe, out_, workspace_, attention, attention_.Schedule().Longest() <= ATTENTION_LANES);
    attention_.Fill(vector);
    feed.Init(vector, qkv_, cos_, sin_, ring_, tiling_);
    uint32_t count = 0;
    bool more = true;
    for (uint32_t i = 0;; ++i) {
      AttentionStep& next = steps[i % (AHEAD + 1)];
      more = more && attention_.Schedule().Next(next);
      if (more) {
        ++count;
        feed.Rotate(vector, next);
      }
      if (i < AHEAD) continue;
      if (i - AHEAD >= count) break;
      vector.Weigh(steps[(i - AHEAD) % (AHEAD + 1)]);
    }
    feed.Finish();
    vector.Finish();
  }

  RotaryWindowAttentionTiling tiling_;
  GM_ADDR qkv_;
  GM_ADDR cos_;
  GM_ADDR sin_;
  GM_ADDR v_;
  GM_ADDR out_;
  GM_ADDR workspace_;
  GM_ADDR q_;  // of all tokens, rotated
  GM_ADDR k_;
  GM_ADDR ring_;
  WindowAttention<T> attention_;
  bool fused_;
};
