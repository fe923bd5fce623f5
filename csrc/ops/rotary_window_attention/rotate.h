#pragma once

#include "../window_attention/vector.h"
#include "kernel_operator.h"
#include "tiling.h"

// Rotates the q and k of a short task into the ring that the cube core takes them from. T is the numbers'
// type, U the tables'. Each vector core has half of the rows.
//
// Numbers come and go in AttentionVector's chunks. In between they lie, in float, in what only tasks over
// long segments use: what is read and what is written in different banks.
struct RotaryUb {
  static constexpr uint32_t NUMBERS = AttentionUb::SUMMED;  // first bank, and -sin
  static constexpr uint32_t RESULTS = AttentionUb::SUMMED + AttentionUb::SUMMED_BYTES;  // second bank
  static constexpr uint32_t TABLES = AttentionUb::MAXIMA;  // third bank: cos and sin
  static constexpr uint32_t TABLE_BYTES = (AttentionUb::ALL - TABLES) / 2 / 32 * 32;
};

template <typename T, typename U>
class RotaryFeed {
 public:
  __aicore__ inline RotaryFeed() {}

  __aicore__ inline void Init(AttentionVector<T>& vector, GM_ADDR qkv, GM_ADDR cos, GM_ADDR sin, GM_ADDR ring,
                              const RotaryWindowAttentionTiling& tiling) {
    attention_ = tiling.attention;
    rotary_ = tiling.rotary;
    half_ = rotary_.dim / 2;
    tablePitch_ = AttentionRoundUp(half_, 32 / sizeof(U));
    qkvGm_.SetGlobalBuffer((__gm__ T*)qkv);
    cosGm_.SetGlobalBuffer((__gm__ U*)cos);
    sinGm_.SetGlobalBuffer((__gm__ U*)sin);
    ringGm_.SetGlobalBuffer((__gm__ T*)ring);
    numbers_ = vector.template Spare<float>(RotaryUb::NUMBERS);
    results_ = vector.template Spare<float>(RotaryUb::RESULTS);
    cos_ = vector.template Spare<float>(RotaryUb::TABLES);
    sin_ = vector.template Spare<float>(RotaryUb::TABLES + RotaryUb::TABLE_BYTES);
    AscendC::SetFlag<AscendC::HardEvent::V_MTE2>(TABLES);
  }

  __aicore__ inline void Finish() { AscendC::WaitFlag<AscendC::HardEvent::V_MTE2>(TABLES); }

  __aicore__ inline void Rotate(AttentionVector<T>& vector, const AttentionStep& step) {
    const uint32_t share = (step.rows + 1) / 2;
    const bool isSecond = AscendC::GetSubBlockIdx() != 0;
    const uint32_t begin = isSecond ? share : 0, end = isSecond ? step.rows : share;
    const uint32_t most = RowsAtOnce(step.heads);
    for (uint32_t row = begin; row < end; row += most) {
      const uint32_t rows = AttentionMin(most, end - row);
      LoadTables(step, row, rows);
      RotatePart(vector, step, 0, row, rows);
      RotatePart(vector, step, 1, row, rows);
      AscendC::SetFlag<AscendC::HardEvent::V_MTE2>(TABLES);
    }
    AscendC::CrossCoreSetFlag<ATTENTION_CUBE_AND_VECTORS, PIPE_MTE3>(ATTENTION_ROTATED);
  }

 private:
  using Floats = AscendC::LocalTensor<float>;

  static constexpr int32_t TABLES = 2;  // an event, after those of AttentionVector's chunks
  static constexpr uint32_t MAX_ROWS = 128;
  static constexpr uint32_t BLOCK = 8;  // floats of 32 bytes

  // As many rows as all places have room for.
  __aicore__ inline uint32_t RowsAtOnce(uint32_t heads) const {
    const uint32_t tables = tablePitch_ * (sizeof(float) + (sizeof(U) == 2 ? 2 * sizeof(U) : 0));
    const uint32_t numbers = AttentionUb::SUMMED_BYTES / (heads * rotary_.inDim * sizeof(float) + tables);
    const uint32_t results = AttentionUb::SUMMED_BYTES / (heads * rotary_.dim * sizeof(float));
    const uint32_t stored = AttentionUb::OUT_BYTES / (heads * rotary_.dim * sizeof(T));
    const uint32_t rows = AttentionMin(RotaryUb::TABLE_BYTES / (tablePitch_ * sizeof(float)), MAX_ROWS);
    return AttentionMin(AttentionMin(rows, stored), AttentionMin(numbers, results));
  }

  // cos, sin and -sin of some rows, in float.
  __aicore__ inline void LoadTables(const AttentionStep& step, uint32_t row, uint32_t rows) {
    // -sin, and tables of 16 bits before they are widened, follow the numbers.
    const uint32_t count = rows * tablePitch_, token = step.token + row;
    minusSin_ = numbers_[rows * step.heads * rotary_.inDim];
    AscendC::LocalTensor<U> cos = cos_.template ReinterpretCast<U>();
    AscendC::LocalTensor<U> sin = sin_.template ReinterpretCast<U>();
    if constexpr (sizeof(U) == 2) {
      cos = minusSin_[count].template ReinterpretCast<U>();
      sin = cos[count];
    }
    AscendC::WaitFlag<AscendC::HardEvent::V_MTE2>(TABLES);
    LoadTable(cos, cosGm_[token * rotary_.cosStride], rotary_.cosStride, rows);
    LoadTable(sin, sinGm_[token * rotary_.sinStride], rotary_.sinStride, rows);
    AscendC::SetFlag<AscendC::HardEvent::MTE2_V>(TABLES);
    AscendC::WaitFlag<AscendC::HardEvent::MTE2_V>(TABLES);
    if constexpr (sizeof(U) == 2) {
      AscendC::Cast(cos_, cos, AscendC::RoundMode::CAST_NONE, count);
      AscendC::Cast(sin_, sin, AscendC::RoundMode::CAST_NONE, count);
      AscendC::PipeBarrier<PIPE_V>();
    }
    AscendC::Muls(minusSin_, sin_, -1.0f, static_cast<int32_t>(count));
    AscendC::PipeBarrier<PIPE_V>();
  }

  __aicore__ inline void LoadTable(const AscendC::LocalTensor<U>& dst, const AscendC::GlobalTensor<U>& src,
                                   uint64_t stride, uint32_t rows) {
    AscendC::DataCopyExtParams params;
    params.blockCount = rows;
    params.blockLen = half_ * sizeof(U);
    params.srcStride = (stride - half_) * sizeof(U);
    params.dstStride = (tablePitch_ * sizeof(U) - AttentionRoundUp(half_ * sizeof(U), 32)) / 32;
    AscendC::DataCopyPad(dst, src, params, AscendC::DataCopyPadExtParams<U>{false, 0, 0, 0});
  }

  // q (part 0) or k (part 1) of some rows.
  __aicore__ inline void RotatePart(AttentionVector<T>& vector, const AttentionStep& step, uint32_t part,
                                    uint32_t row, uint32_t rows) {
    const uint32_t in = step.heads * rotary_.inDim, out = step.heads * rotary_.dim;
    const uint32_t head = part * rotary_.heads + step.head;
    AscendC::DataCopyExtParams params;
    params.blockCount = rows;
    params.blockLen = in * sizeof(T);
    params.srcStride = (rotary_.qkvStride - in) * sizeof(T);
    params.dstStride = 0;
    AscendC::LocalTensor<T> stored = vector.template AcquireIn<T>();
    AscendC::DataCopyPad(stored, qkvGm_[(step.token + row) * rotary_.qkvStride + head * rotary_.inDim],
                         params, AscendC::DataCopyPadExtParams<T>{false, 0, 0, 0});
    vector.AnnounceIn();
    AscendC::Cast(numbers_, stored, AscendC::RoundMode::CAST_NONE, rows * in);
    vector.ReleaseIn();
    AscendC::PipeBarrier<PIPE_V>();
    RotateHeads(step.heads, rows);
    AscendC::LocalTensor<T> rotated = vector.AcquireOut();
    AscendC::Cast(rotated, results_, AscendC::RoundMode::CAST_RINT, rows * out);
    vector.AnnounceOut();
    AscendC::DataCopy(ringGm_[AttentionRingAt(step, attention_) + (part * step.rows + row) * out], rotated,
                      rows * out);
    vector.ReleaseOut();
    AscendC::PipeBarrier<PIPE_V>();
  }

  // first' = first cos - second sin, second' = second cos + first sin: a head's half of all rows at a time.
  __aicore__ inline void RotateHeads(uint32_t heads, uint32_t rows) {
    const uint32_t inPitch = heads * rotary_.inDim, outPitch = heads * rotary_.dim;
    for (uint32_t lane = 0; lane < half_; lane += ATTENTION_LANES) {
      const uint64_t lanes = AttentionMin(ATTENTION_LANES, half_ - lane);
      const AscendC::BinaryRepeatParams params(1, 1, 1, static_cast<uint8_t>(outPitch / BLOCK),
                                               static_cast<uint8_t>(inPitch / BLOCK),
                                               static_cast<uint8_t>(tablePitch_ / BLOCK));
      const uint8_t repeats = static_cast<uint8_t>(rows);
      for (uint32_t head = 0; head < heads; ++head) {
        const Floats first = numbers_[head * rotary_.inDim + lane], second = first[rotary_.inDim / 2];
        const Floats to = results_[head * rotary_.dim + lane];
        AscendC::Mul(to, first, cos_[lane], lanes, repeats, params);
        AscendC::Mul(to[half_], second, cos_[lane], lanes, repeats, params);
      }
      AscendC::PipeBarrier<PIPE_V>();
      for (uint32_t head = 0; head < heads; ++head) {
        const Floats first = numbers_[head * rotary_.inDim + lane], second = first[rotary_.inDim / 2];
        const Floats to = results_[head * rotary_.dim + lane];
        AscendC::MulAddDst(to, second, minusSin_[lane], lanes, repeats, params);
        AscendC::MulAddDst(to[half_], first, sin_[lane], lanes, repeats, params);
      }
    }
    AscendC::PipeBarrier<PIPE_V>();
  }

  WindowAttentionTiling attention_;
  RotaryQkvTiling rotary_;
  uint32_t half_;
  uint32_t tablePitch_;
  AscendC::GlobalTensor<T> qkvGm_;
  AscendC::GlobalTensor<U> cosGm_;
  AscendC::GlobalTensor<U> sinGm_;
  AscendC::GlobalTensor<T> ringGm_;
  Floats numbers_;
  Floats results_;
  Floats cos_;
  Floats sin_;
  Floats minusSin_;
};
