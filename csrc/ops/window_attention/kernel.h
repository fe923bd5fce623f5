#pragma once

#include "cube.h"
#include "kernel_operator.h"
#include "schedule.h"
#include "tiling.h"
#include "vector.h"

// softmax(q k^T scale) v inside each segment of cu_seqlens. Every cube core and its two vector cores work on
// tasks of their own, in a pipeline: scores of the next two tasks are on their way while one is finished.
template <typename T>
class WindowAttention {
 public:
  __aicore__ inline WindowAttention() {}

  __aicore__ inline void Init(GM_ADDR q, GM_ADDR k, GM_ADDR v, GM_ADDR lengths, GM_ADDR out,
                              GM_ADDR workspace, const WindowAttentionTiling& tiling, uint32_t block) {
    tiling_ = tiling;
    qGm_.SetGlobalBuffer((__gm__ T*)q);
    kGm_.SetGlobalBuffer((__gm__ T*)k);
    v_ = v;
    lengths_ = lengths;
    out_ = out;
    const uint64_t each = ATTENTION_RING * uint64_t{tiling.scoreBytes} + 2 * tiling.outBytes;
    workspace_ = workspace + block * each;
    schedule_.Init(lengths, tiling, block);
  }

  __aicore__ inline void ProcessCube(AscendC::TPipe& pipe) {
    cube_.Init(pipe, v_, out_, workspace_, tiling_);
    uint32_t count = 0;
    bool more = true;
    // In turn i: load task i, score task i - 1, finish the one ATTENTION_AHEAD before that.
    for (uint32_t i = 0;; ++i) {
      const bool afterLong = i > 0 && i - 1 < count && !Task(i - 1).isShort;
      if (afterLong) Scores(Task(i - 1));
      more = more && schedule_.Next(Task(i));
      if (more) {
        ++count;
        if (Task(i).isShort) cube_.LoadShort(Task(i), QueryOf(Task(i)), KeysOf(Task(i)));
      }
      if (!afterLong && i > 0 && i - 1 < count) Scores(Task(i - 1));
      if (i <= ATTENTION_AHEAD) continue;
      const uint32_t last = i - 1 - ATTENTION_AHEAD;
      if (last >= count) break;
      Values(last, last + 1 < count);
    }
    cube_.Finish();
  }

  __aicore__ inline void ProcessVector(AscendC::TPipe& pipe) {
    vector_.Init(pipe, out_, workspace_, tiling_);
    if (schedule_.HasFills()) {
      AttentionSegments segments;
      segments.Init(lengths_, tiling_);
      vector_.Fill(segments);
    }
    while (schedule_.Next(tasks_[0])) vector_.Weigh(tasks_[0]);
    vector_.Finish();
  }

 private:
  __aicore__ inline AttentionStep& Task(uint32_t i) { return tasks_[i % TASKS]; }

  __aicore__ inline AttentionHeads<T> QueryOf(const AttentionStep& step) {
    AttentionHeads<T> rows;
    rows.data = qGm_[step.token * tiling_.qTokenStride + step.head * tiling_.qHeadStride];
    rows.tokenStride = tiling_.qTokenStride;
    rows.headStride = tiling_.qHeadStride;
    return rows;
  }

  __aicore__ inline AttentionHeads<T> KeysOf(const AttentionStep& step) {
    AttentionHeads<T> rows;
    rows.data = kGm_[step.token * tiling_.kTokenStride];
    rows.tokenStride = tiling_.kTokenStride;
    rows.headStride = tiling_.kHeadStride;
    return rows;
  }

  __aicore__ inline void Scores(const AttentionStep& step) {
    if (step.isShort) {
      cube_.ScoresShort(step);
    } else {
      cube_.ScoresLong(step, QueryOf(step), KeysOf(step));
    }
  }

  // A short task's v is loaded one task ahead, except past a long one, which uses both slots.
  __aicore__ inline void Values(uint32_t i, bool hasNext) {
    const AttentionStep& step = Task(i);
    if (!step.isShort) {
      cube_.ValuesLong(step);
      return;
    }
    if (valuesLoaded_ <= i) cube_.LoadShortValues(step);
    if (hasNext && Task(i + 1).isShort) {
      cube_.LoadShortValues(Task(i + 1));
      valuesLoaded_ = i + 2;
    }
    cube_.ValuesShort(step);
  }

  static constexpr uint32_t TASKS = ATTENTION_AHEAD + 2;

  WindowAttentionTiling tiling_;
  AscendC::GlobalTensor<T> qGm_;
  AscendC::GlobalTensor<T> kGm_;
  GM_ADDR v_;
  GM_ADDR lengths_;
  GM_ADDR out_;
  GM_ADDR workspace_;
  AttentionSchedule schedule_;
  AttentionCube<T> cube_;
  AttentionVector<T> vector_;
  AttentionStep tasks_[TASKS];
  uint32_t valuesLoaded_ = 0;  // tasks up to this one have their v in L1
};
