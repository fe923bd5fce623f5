#pragma once

#include "../window_attention/vector.h"
#include "kernel_operator.h"
#include "tiling.h"

// Where that is in UB: in what only long tasks use, and in the short ones' scratch. No instruction reads and
// writes one bank, and of two numbers that it multiplies one lies half a line of 512 bytes after the other,
// out of its group of banks.
struct RotaryUb {
  static constexpr uint32_t HALF_LINE = 256;
  static constexpr uint32_t BYTES = 21504;                          // of each
  static constexpr uint32_t SIN = AttentionUb::SUMMED + HALF_LINE;  // first bank
  static constexpr uint32_t COS = SIN + BYTES;                      // first and second
  static constexpr uint32_t RESULTS = COS + BYTES;                  // second
  static constexpr uint32_t NUMBERS = AttentionUb::SMALL;           // third
};

// cos and sin of the rows at hand, kept while tasks ask for the same ones: in rows of a head, sin where the
// number is that it is multiplied with.
template <typename T, typename U>
class RotaryTables {
 public:
  __aicore__ inline RotaryTables() {}

  __aicore__ inline void Init(AttentionVector<T>& vector, GM_ADDR cos, GM_ADDR sin,
                              const RotaryWindowAttentionTiling& tiling) {
    tiling_ = tiling.rotary;
    factor_ = tiling.factor;
    half_ = tiling_.dim / 2;
    pitch_ = AttentionRoundUp(half_, 32 / sizeof(U));
    cosGm_.SetGlobalBuffer((__gm__ U*)cos);
    sinGm_.SetGlobalBuffer((__gm__ U*)sin);
    cos_ = vector.template Spare<float>(RotaryUb::COS);
    sin_ = vector.template Spare<float>(RotaryUb::SIN);
    wide_ = vector.template Spare<float>(RotaryUb::NUMBERS);
  }

  // Rows of a table as they are loaded that a chunk has room for.
  __aicore__ inline uint32_t Room(uint32_t inBytes) const { return inBytes / (pitch_ * sizeof(U)); }

  // Turns to some rows; a barrier has to come before they are read.
  __aicore__ inline void Take(AttentionVector<T>& vector, uint32_t token, uint32_t rows) {
    if (token < firstToken_ || token + rows > firstToken_ + rows_) Load(vector, token, rows);
    at_ = (token - firstToken_) * tiling_.dim;
  }

  __aicore__ inline AscendC::LocalTensor<float> Cos() const { return cos_[at_]; }
  __aicore__ inline AscendC::LocalTensor<float> Sin() const { return sin_[at_]; }

 private:
  using Floats = AscendC::LocalTensor<float>;

  __aicore__ inline void Load(AttentionVector<T>& vector, uint32_t token, uint32_t rows) {
    firstToken_ = token;
    rows_ = rows;
    LoadTable(vector, cos_, cosGm_[token * tiling_.cosStride], tiling_.cosStride, factor_);
    LoadTable(vector, sin_, sinGm_[token * tiling_.sinStride], tiling_.sinStride, -factor_);
  }

  // A table's rows times `factor_`, once for each half of a head, the second time with another sign.
  __aicore__ inline void LoadTable(AttentionVector<T>& vector, const Floats& dst,
                                   const AscendC::GlobalTensor<U>& src, uint64_t stride, float second) {
    AscendC::LocalTensor<U> loaded = vector.template AcquireIn<U>();
    LoadRows(loaded, src, stride);
    vector.AnnounceIn();
    if constexpr (sizeof(U) == 2) {
      AscendC::Cast(wide_, loaded, AscendC::RoundMode::CAST_NONE, rows_ * pitch_);
      AscendC::PipeBarrier<PIPE_V>();
      Spread(dst, wide_, second);
      AscendC::PipeBarrier<PIPE_V>();
    } else {
      Spread(dst, loaded, second);
    }
    vector.ReleaseIn();
  }

  __aicore__ inline void LoadRows(const AscendC::LocalTensor<U>& dst, const AscendC::GlobalTensor<U>& src,
                                  uint64_t stride) {
    AscendC::DataCopyExtParams params;
    params.blockCount = rows_;
    params.blockLen = half_ * sizeof(U);
    params.srcStride = (stride - half_) * sizeof(U);
    params.dstStride = 0;
    if (stride == half_ && pitch_ == half_) {
      params.blockCount = 1;
      params.blockLen *= rows_;
    }
    AscendC::DataCopyPad(dst, src, params, AscendC::DataCopyPadExtParams<U>{false, 0, 0, 0});
  }

  __aicore__ inline void Spread(const Floats& dst, const Floats& src, float second) {
    for (uint32_t lane = 0; lane < half_; lane += ATTENTION_LANES) {
      SpreadLanes(dst, src, lane, factor_);
      SpreadLanes(dst[half_], src, lane, second);
    }
  }

  __aicore__ inline void SpreadLanes(const Floats& dst, const Floats& src, uint32_t lane, float factor) {
    const uint64_t lanes = AttentionMin(ATTENTION_LANES, half_ - lane);
    AscendC::Muls(dst[lane], src[lane], factor, lanes, static_cast<uint8_t>(rows_),
                  {1, 1, static_cast<uint8_t>(tiling_.dim / 8), static_cast<uint8_t>(pitch_ / 8)});
  }

  RotaryQkvTiling tiling_;
  float factor_;
  uint32_t half_;
  uint32_t pitch_;  // of rows as they are loaded
  AscendC::GlobalTensor<U> cosGm_;
  AscendC::GlobalTensor<U> sinGm_;
  Floats cos_;
  Floats sin_;
  Floats wide_;  // where 16 bits are widened, before numbers are
  uint32_t firstToken_ = 0;
  uint32_t rows_ = 0;
  uint32_t at_ = 0;
};
