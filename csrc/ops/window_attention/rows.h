#pragma once

#include "kernel_operator.h"
#include "schedule.h"

// Row by row arithmetic on the vector unit: tiles of floats with rows a whole number of repeats apart.

// Places in UB, in bytes. Scores and results in the making lie in the first two banks of 64 KiB, what is
// computed with them in the third, so that an instruction does not read and write one bank.
struct AttentionUb {
  static constexpr uint32_t BANK = 65536;
  static constexpr uint32_t CHUNK = 8192;          // floats of scores that come in at once
  static constexpr uint32_t MAX_ROWS = 128;        // of a chunk
  static constexpr uint32_t TILE_ROWS = 64;        // of a tile of a long segment that one vector core has
  static constexpr uint32_t TILES = 4;             // of which maxima, sums and factors are kept
  static constexpr uint32_t IN_BYTES = CHUNK * 4;  // of a chunk, one in each of the first two banks
  static constexpr uint32_t IN = 0;
  static constexpr uint32_t IN_PITCH = 2 * BANK - IN_BYTES;
  static constexpr uint32_t SUMMED = IN + IN_BYTES;  // results put together, likewise, side by side
  static constexpr uint32_t SUMMED_BYTES = BANK - IN_BYTES;
  static constexpr uint32_t OUT = 2 * BANK;  // two chunks of weights
  static constexpr uint32_t OUT_BYTES = CHUNK * 2;
  static constexpr uint32_t ONES = OUT + 2 * OUT_BYTES;
  // From here on nothing of a short task outlives its weights.
  static constexpr uint32_t SMALL = ONES + MAX_ROWS * 4;
  static constexpr uint32_t LEVEL1 = SMALL;               // blocks of 8 reduced
  static constexpr uint32_t LEVEL2 = LEVEL1 + CHUNK / 2;  // of 64
  // A value per row, eight times over, in the place of what was reduced before, half a line of 512 bytes off
  // the chunks' groups of banks: two sources in one group cost a cycle. Rows of one repeat take the groups'
  // halves in turn, so their values lie a repeat apart.
  static constexpr uint32_t SPREAD = SMALL + 256;
  static constexpr uint32_t SPREAD_ROWS = 64;       // that there is room for so
  static constexpr uint32_t COPIES = SPREAD + 512;  // of eight rows, 64 times over
  static constexpr uint32_t ROWS = SPREAD + SPREAD_ROWS * 256;
  static constexpr uint32_t FIRST_FACTORS = ROWS + MAX_ROWS * 4;
  static constexpr uint32_t SECOND_FACTORS = FIRST_FACTORS + MAX_ROWS * 4;
  static constexpr uint32_t ROUNDED = SECOND_FACTORS + MAX_ROWS * 4;
  static constexpr uint32_t NO_MAXIMA = ROUNDED + MAX_ROWS * 2;
  static constexpr uint32_t MAXIMA = NO_MAXIMA + TILE_ROWS * 4;
  static constexpr uint32_t SUMS = MAXIMA + TILES * TILE_ROWS * 4;
  static constexpr uint32_t FACTORS = SUMS + TILES * TILE_ROWS * 4;
  static constexpr uint32_t END = FACTORS + TILES * TILE_ROWS * 4;
  static constexpr uint32_t ALL = 188160;  // CANN keeps 8 KiB of the 192 unless told not to, and 256 bytes
};

class AttentionRowMath {
 public:
  static constexpr float LOWEST = -3.4028234663852886e38f;

  __aicore__ inline AttentionRowMath() {}

  __aicore__ inline void Init(const AscendC::LocalTensor<uint8_t>& ub) {
    level1_ = ub[AttentionUb::LEVEL1].ReinterpretCast<float>();
    level2_ = ub[AttentionUb::LEVEL2].ReinterpretCast<float>();
    spread_ = ub[AttentionUb::SPREAD].ReinterpretCast<float>();
    copies_ = ub[AttentionUb::COPIES].ReinterpretCast<float>();
  }

  // The larger (else the sum) of every two repeats of `count` floats: half as many, which rows of an even
  // number of repeats reduce to what they did before. Neighbours do not share a group of banks.
  template <bool isMaximum>
  __aicore__ inline void Halve(const AscendC::LocalTensor<float>& dst, const AscendC::LocalTensor<float>& x,
                               uint32_t count) {
    const uint64_t mask = ATTENTION_LANES;
    const uint8_t repeats = static_cast<uint8_t>(count / (2 * ATTENTION_LANES));
    const AscendC::BinaryRepeatParams params(1, 1, 1, 8, 16, 16);
    if constexpr (isMaximum) {
      AscendC::Max(dst, x, x[ATTENTION_LANES], mask, repeats, params);
    } else {
      AscendC::Add(dst, x, x[ATTENTION_LANES], mask, repeats, params);
    }
    AscendC::PipeBarrier<PIPE_V>();
  }

  // The maximum (else the sum) of each row of at most 512 floats, `pitch`. Blocks of 8, then of 64; where
  // rows are longer, each row's results take a block of their own, filled up with what does not count.
  template <bool isMaximum>
  __aicore__ inline void Reduce(const AscendC::LocalTensor<float>& dst, const AscendC::LocalTensor<float>& x,
                                uint32_t rows, uint32_t pitch) {
    const uint32_t repeats = pitch / ATTENTION_LANES;
    ReduceBlocks<isMaximum>(level1_, x, rows * repeats, ATTENTION_LANES, 8);
    if (repeats == 1) {
      AscendC::PipeBarrier<PIPE_V>();
      ReduceBlocks<isMaximum>(dst, level1_, (rows + 7) / 8, ATTENTION_LANES, 8);
      AscendC::PipeBarrier<PIPE_V>();
      return;
    }
    if (repeats < 8) AscendC::Duplicate(level2_, isMaximum ? LOWEST : 0.0f, static_cast<int32_t>(rows * 8));
    AscendC::PipeBarrier<PIPE_V>();
    ReduceBlocks<isMaximum>(level2_, level1_, rows, repeats * 8, repeats);
    AscendC::PipeBarrier<PIPE_V>();
    ReduceBlocks<isMaximum>(dst, level2_, (rows + 7) / 8, ATTENTION_LANES, 8);
    AscendC::PipeBarrier<PIPE_V>();
  }

  // x[row] -= values[row] (else *=), in rows of `width` floats that lie `pitch` apart.
  template <bool isDifference>
  __aicore__ inline void Apply(const AscendC::LocalTensor<float>& x,
                               const AscendC::LocalTensor<float>& values, uint32_t rows, uint32_t width,
                               uint32_t pitch) {
    const bool isRepeat = pitch == ATTENTION_LANES && rows <= AttentionUb::SPREAD_ROWS;
    const uint8_t apart = isRepeat ? 8 : 1;  // blocks between the values of two rows
    AscendC::Brcb(spread_, values, static_cast<uint8_t>((rows + 7) / 8),
                  {apart, static_cast<uint16_t>(8 * apart)});
    AscendC::PipeBarrier<PIPE_V>();
    const uint32_t columns = (width + ATTENTION_LANES - 1) / ATTENTION_LANES;
    const uint8_t step = static_cast<uint8_t>(pitch / 8);
    if (columns <= rows || width % ATTENTION_LANES != 0) {
      for (uint32_t i = 0; i < columns; ++i) {
        const uint32_t lanes = AttentionMin(ATTENTION_LANES, width - i * ATTENTION_LANES);
        Combine<isDifference>(x[i * ATTENTION_LANES], spread_, lanes, rows, {1, 1, 0, step, step, apart});
      }
    } else if (width == 2 * 8 * ATTENTION_LANES) {
      // Every value eight times over again: one for every two repeats of its row.
      AscendC::Brcb(copies_, spread_, static_cast<uint8_t>(rows), {1, 8});
      AscendC::PipeBarrier<PIPE_V>();
      Combine<isDifference>(x, copies_, ATTENTION_LANES, rows * 8, {1, 1, 0, 16, 16, 1});
      Combine<isDifference>(x[ATTENTION_LANES], copies_, ATTENTION_LANES, rows * 8, {1, 1, 0, 16, 16, 1});
    } else {
      for (uint32_t row = 0; row < rows; ++row) {
        Combine<isDifference>(x[row * pitch], spread_[row * 8], ATTENTION_LANES, columns, {1, 1, 0, 8, 8, 0});
      }
    }
    AscendC::PipeBarrier<PIPE_V>();
  }

 private:
  template <bool isMaximum>
  __aicore__ inline void ReduceBlocks(const AscendC::LocalTensor<float>& dst,
                                      const AscendC::LocalTensor<float>& src, uint32_t repeats,
                                      uint32_t lanes, uint32_t step) {
    const int32_t repeat = static_cast<int32_t>(repeats), mask = static_cast<int32_t>(lanes);
    if constexpr (isMaximum) {
      AscendC::BlockReduceMax(dst, src, repeat, mask, 1, 1, static_cast<int32_t>(step));
    } else {
      AscendC::BlockReduceSum(dst, src, repeat, mask, 1, 1, static_cast<int32_t>(step));
    }
  }

  template <bool isDifference>
  __aicore__ inline void Combine(const AscendC::LocalTensor<float>& x, const AscendC::LocalTensor<float>& y,
                                 uint32_t lanes, uint32_t repeats,
                                 const AscendC::BinaryRepeatParams& params) {
    const uint64_t mask = lanes;
    if constexpr (isDifference) {
      AscendC::Sub(x, x, y, mask, static_cast<uint8_t>(repeats), params);
    } else {
      AscendC::Mul(x, x, y, mask, static_cast<uint8_t>(repeats), params);
    }
  }

  AscendC::LocalTensor<float> level1_;
  AscendC::LocalTensor<float> level2_;
  AscendC::LocalTensor<float> spread_;
  AscendC::LocalTensor<float> copies_;
};
