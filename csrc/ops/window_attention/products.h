#pragma once

#include "../cube_params.h"
#include "kernel_operator.h"
#include "schedule.h"
#include "tiling.h"

// From L1 through L0A, L0B, Mmad and L0C to GM. L0A, L0B and the scores' and results' halves of L0C have two
// slots each, every one with an event that says it is full and one that says it is free.
template <typename T>
class AttentionProducts {
 public:
  static constexpr uint32_t SCORE_ROWS = 64;  // of a block of scores: 64 x 128 floats are a slot of L0C

  __aicore__ inline AttentionProducts() {}

  __aicore__ inline void Init(AscendC::TPipe& pipe, GM_ADDR out, GM_ADDR workspace,
                              const WindowAttentionTiling& tiling) {
    tiling_ = tiling;
    width_ = AttentionRoundUp(tiling.dim, ATTENTION_FRACTAL);
    valueWidth_ = tiling.pieces * tiling.pieceWidth;
    outGm_.SetGlobalBuffer((__gm__ T*)out);
    resultGm_.SetGlobalBuffer((__gm__ float*)(workspace + ATTENTION_RING * uint64_t{tiling.scoreBytes}));
    pipe.InitBuffer(a2_, 2 * L0_SLOT);
    pipe.InitBuffer(b2_, 2 * L0_SLOT);
    pipe.InitBuffer(c_, 4 * L0C_SLOT);
    for (int32_t slot = 0; slot < 2; ++slot) {
      AscendC::SetFlag<AscendC::HardEvent::M_MTE1>(L0_FREE + slot);
    }
    for (int32_t slot = 0; slot < 4; ++slot) {
      AscendC::SetFlag<AscendC::HardEvent::FIX_M>(slot);
    }
  }

  // Takes back the events that Init gave out: every set needs its wait.
  __aicore__ inline void Finish() {
    for (int32_t slot = 0; slot < 2; ++slot) {
      AscendC::WaitFlag<AscendC::HardEvent::M_MTE1>(L0_FREE + slot);
    }
    for (int32_t slot = 0; slot < 4; ++slot) {
      AscendC::WaitFlag<AscendC::HardEvent::FIX_M>(slot);
    }
  }

  // Scores of `rows` rows of q from `row` on and `keys` keys, into GM.
  __aicore__ inline void ScoreBlock(const AscendC::GlobalTensor<float>& dst, uint32_t pitch,
                                    const AscendC::LocalTensor<T>& q1, uint32_t allRows, uint32_t row,
                                    uint32_t rows, const AscendC::LocalTensor<T>& k1, uint32_t keys) {
    AscendC::WaitFlag<AscendC::HardEvent::M_MTE1>(L0_FREE + static_cast<int32_t>(l0_));
    AscendC::LoadData(LeftSlot(), q1,
                      CubeBlock<T>(allRows, row, AttentionRoundUp(rows, ATTENTION_FRACTAL), width_));
    const uint32_t columns = (keys + ATTENTION_FRACTAL - 1) / ATTENTION_FRACTAL;
    AscendC::LoadData(RightSlot(), k1, CubeFractals(width_ / ATTENTION_FRACTAL * columns));
    AscendC::SetFlag<AscendC::HardEvent::MTE1_M>(static_cast<int32_t>(l0_));

    const int32_t slot = static_cast<int32_t>(score_);
    AscendC::LocalTensor<float> c = c_.Get<float>()[score_ * (L0C_SLOT / sizeof(float))];
    AscendC::MmadParams mmad;
    mmad.m = AttentionRoundUp(rows, ATTENTION_FRACTAL);
    mmad.n = keys;
    mmad.k = width_;
    AscendC::WaitFlag<AscendC::HardEvent::FIX_M>(slot);
    AscendC::WaitFlag<AscendC::HardEvent::MTE1_M>(static_cast<int32_t>(l0_));
    AscendC::Mmad(c, LeftSlot(), RightSlot(), mmad);
    AscendC::SetFlag<AscendC::HardEvent::M_MTE1>(L0_FREE + static_cast<int32_t>(l0_));
    AscendC::SetFlag<AscendC::HardEvent::M_FIX>(slot);
    l0_ = 1 - l0_;

    const uint32_t fractalRows = AttentionRoundUp(rows, ATTENTION_FRACTAL);
    const AscendC::FixpipeParamsV220 store = CubeResult<float>(rows, keys, fractalRows, pitch);
    AscendC::WaitFlag<AscendC::HardEvent::M_FIX>(slot);
    AscendC::Fixpipe<float, float, AscendC::CFG_ROW_MAJOR>(dst, c, store);
    AscendC::SetFlag<AscendC::HardEvent::FIX_M>(slot);
    score_ = 1 - score_;
  }

  // The place of a result of `rows` rows in L0C, once it is free.
  __aicore__ inline uint32_t AcquireResult(uint32_t rows) {
    if (IsWide(rows)) result_ = 0;
    AscendC::WaitFlag<AscendC::HardEvent::FIX_M>(RESULT + static_cast<int32_t>(result_));
    if (IsWide(rows)) AscendC::WaitFlag<AscendC::HardEvent::FIX_M>(RESULT + 1);
    return result_;
  }

  // result (+)= weights v: `keys` keys, a multiple of 16, which begin at row `key` of v's `allKeys`.
  __aicore__ inline void Accumulate(uint32_t out, uint32_t rows, const AscendC::LocalTensor<T>& p1,
                                    uint32_t keys, const AscendC::LocalTensor<T>& v1, uint32_t allKeys,
                                    uint32_t key, bool isFirst, bool isLast) {
    AscendC::WaitFlag<AscendC::HardEvent::M_MTE1>(L0_FREE + static_cast<int32_t>(l0_));
    const uint32_t fractalRows = AttentionRoundUp(rows, ATTENTION_FRACTAL);
    AscendC::LoadData(LeftSlot(), p1, CubeBlock<T>(fractalRows, 0, fractalRows, keys));
    AscendC::LoadData(RightSlot(), v1, CubeBlock<T>(allKeys, key, keys, valueWidth_));
    AscendC::SetFlag<AscendC::HardEvent::MTE1_M>(static_cast<int32_t>(l0_));
    AscendC::MmadParams mmad;
    mmad.m = fractalRows;
    mmad.n = valueWidth_;
    mmad.k = keys;
    mmad.cmatrixInitVal = isFirst;
    AscendC::WaitFlag<AscendC::HardEvent::MTE1_M>(static_cast<int32_t>(l0_));
    AscendC::Mmad(Result(out), LeftSlot(), RightSlot(), mmad);
    // A small tile's sums are not back in L0C before the next Mmad would read them.
    const uint32_t tiles = fractalRows * valueWidth_;
    if (!isLast && tiles < 10 * ATTENTION_FRACTAL * ATTENTION_FRACTAL) AscendC::PipeBarrier<PIPE_M>();
    AscendC::SetFlag<AscendC::HardEvent::M_MTE1>(L0_FREE + static_cast<int32_t>(l0_));
    l0_ = 1 - l0_;
    if (isLast) AscendC::SetFlag<AscendC::HardEvent::M_FIX>(RESULT + static_cast<int32_t>(out));
  }

  // A short task's result, to its place in `out`.
  __aicore__ inline void StoreOut(const AttentionStep& step, uint32_t head, uint32_t slot) {
    const uint64_t at = step.token * tiling_.outTokenStride + head * tiling_.outHeadStride;
    const uint32_t padded = AttentionRoundUp(step.rows, ATTENTION_FRACTAL);
    // Pieces without a gap between them leave together.
    const uint32_t together = tiling_.pieceOut == tiling_.pieceWidth ? tiling_.pieces : 1;
    const AscendC::FixpipeParamsV220 store =
        CubeResult<T>(step.rows, together * tiling_.pieceOut, padded, tiling_.outTokenStride);
    AscendC::WaitFlag<AscendC::HardEvent::M_FIX>(RESULT + static_cast<int32_t>(slot));
    for (uint32_t piece = 0; piece < tiling_.pieces; piece += together) {
      AscendC::Fixpipe<T, float, AscendC::CFG_ROW_MAJOR>(
          outGm_[at + piece * tiling_.pieceOut], Result(slot)[piece * tiling_.pieceWidth * padded], store);
    }
    ReleaseResult(step.rows, slot);
  }

  // A strip of a part of a long task's result, to the workspace, where the part's row `row` goes.
  __aicore__ inline void StorePart(uint32_t row, uint32_t rows, uint32_t slot) {
    const uint64_t part = part_ % ATTENTION_RESULTS * uint64_t{tiling_.outBytes / sizeof(float)};
    const uint32_t fractalRows = AttentionRoundUp(rows, ATTENTION_FRACTAL);
    const AscendC::FixpipeParamsV220 store = CubeResult<float>(rows, valueWidth_, fractalRows, valueWidth_);
    AscendC::WaitFlag<AscendC::HardEvent::M_FIX>(RESULT + static_cast<int32_t>(slot));
    AscendC::Fixpipe<float, float, AscendC::CFG_ROW_MAJOR>(resultGm_[part + row * valueWidth_], Result(slot),
                                                           store);
    ReleaseResult(rows, slot);
  }

  // All strips of a part are there.
  __aicore__ inline void AnnouncePart() {
    AscendC::CrossCoreSetFlag<ATTENTION_CUBE_AND_VECTORS, PIPE_FIX>(ATTENTION_RESULT_READY);
    ++part_;
  }

 private:
  static constexpr uint32_t L0_SLOT = 32768;
  static constexpr uint32_t L0C_SLOT = 32768;
  static constexpr int32_t L0_FREE = 3;  // TPipe keeps M_MTE1 events 0 to 2 of a cube core for itself
  static constexpr int32_t RESULT = 2;   // events of results in L0C, after the two of scores

  __aicore__ inline AscendC::LocalTensor<T> LeftSlot() { return a2_.Get<T>()[l0_ * (L0_SLOT / sizeof(T))]; }
  __aicore__ inline AscendC::LocalTensor<T> RightSlot() { return b2_.Get<T>()[l0_ * (L0_SLOT / sizeof(T))]; }
  __aicore__ inline AscendC::LocalTensor<float> Result(uint32_t slot) {
    return c_.Get<float>()[(2 + slot) * (L0C_SLOT / sizeof(float))];
  }

  // A tile of results takes one slot of L0C, or both.
  __aicore__ inline bool IsWide(uint32_t rows) const {
    return AttentionRoundUp(rows, ATTENTION_FRACTAL) * valueWidth_ * sizeof(float) > L0C_SLOT;
  }

  __aicore__ inline void ReleaseResult(uint32_t rows, uint32_t slot) {
    AscendC::SetFlag<AscendC::HardEvent::FIX_M>(RESULT + static_cast<int32_t>(slot));
    if (IsWide(rows)) {
      AscendC::SetFlag<AscendC::HardEvent::FIX_M>(RESULT + 1);
    } else {
      result_ = 1 - result_;
    }
  }

  WindowAttentionTiling tiling_;
  uint32_t width_;       // of q and k in L1
  uint32_t valueWidth_;  // of v and results
  AscendC::GlobalTensor<T> outGm_;
  AscendC::GlobalTensor<float> resultGm_;
  AscendC::TBuf<AscendC::TPosition::A2> a2_;
  AscendC::TBuf<AscendC::TPosition::B2> b2_;
  AscendC::TBuf<AscendC::TPosition::CO1> c_;
  uint32_t l0_ = 0;      // the next slot of L0A and L0B
  uint32_t score_ = 0;   // of scores in L0C
  uint32_t result_ = 0;  // of results in L0C
  uint32_t part_ = 0;    // of parts in the workspace
};
