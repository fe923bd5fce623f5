#pragma once

#include "cube.h"
#include "kernel_operator.h"
#include "pipeline.h"
#include "schedule.h"
#include "source.h"
#include "tiling.h"
#include "vector.h"

// softmax(q k^T scale) v inside each segment of cu_seqlens. Every cube core and its two vector cores work on
// tasks of their own.
template <typename T>
class WindowAttention {
 public:
  __aicore__ inline WindowAttention() {}

  __aicore__ inline void Init(GM_ADDR lengths, const WindowAttentionTiling& tiling, uint32_t block) {
    tiling_ = tiling;
    lengths_ = lengths;
    schedule_.Init(lengths, tiling, block);
  }

  // Scores, weights and parts of results pass through `workspace`, of which each block has its own part.
  __aicore__ inline void ProcessCube(AscendC::TPipe& pipe, const AttentionSource<T>& source, GM_ADDR v,
                                     GM_ADDR out, GM_ADDR workspace) {
    AttentionCube<T> cube;
    AttentionPipeline<T> pipeline;
    cube.Init(pipe, v, out, workspace, tiling_);
    pipeline.Run(schedule_, source, cube);
    cube.Finish();
  }

  __aicore__ inline void ProcessVector(AscendC::TPipe& pipe, GM_ADDR out, GM_ADDR workspace) {
    AttentionVector<T> vector;
    AttentionStep step;
    vector.Init(pipe, out, workspace, tiling_);
    Fill(vector);
    while (schedule_.Next(step)) vector.Weigh(step);
    vector.Finish();
  }

  __aicore__ inline void Fill(AttentionVector<T>& vector) {
    if (!schedule_.HasFills()) return;
    AttentionSegments segments;
    segments.Init(lengths_, tiling_);
    vector.Fill(segments);
  }

  __aicore__ inline AttentionSchedule& Schedule() { return schedule_; }

 private:
  WindowAttentionTiling tiling_;
  GM_ADDR lengths_;
  AttentionSchedule schedule_;
};

// A block's part of the workspace.
__aicore__ inline GM_ADDR AttentionWorkspace(GM_ADDR workspace, const WindowAttentionTiling& tiling,
                                             uint32_t block) {
  return workspace + block * (ATTENTION_RING * uint64_t{tiling.scoreBytes} +
                              ATTENTION_RESULTS * uint64_t{tiling.outBytes});
}
