#pragma once

#include "kernel_operator.h"
#include "layout.h"
#include "tiling.h"

// The vector cores' side: gathers rows of pixels, casts them, and packs them and the weights into panels.

// The integer that a number's bits fit, and those of a quiet NaN.
template <typename T>
struct PatchEmbedBits {};
template <>
struct PatchEmbedBits<float> {
  using Type = uint32_t;
  static constexpr uint32_t NOT_A_NUMBER = 0x7FC00000;
};
template <>
struct PatchEmbedBits<half> {
  using Type = uint16_t;
  static constexpr uint16_t NOT_A_NUMBER = 0x7E00;
};
template <>
struct PatchEmbedBits<bfloat16_t> {
  using Type = uint16_t;
  static constexpr uint16_t NOT_A_NUMBER = 0x7FC0;
};

// One vector core's share. All vector cores split every round evenly.
template <typename P, typename T>
class PatchEmbedPack {
 public:
  __aicore__ inline PatchEmbedPack() {}

  __aicore__ inline void Init(AscendC::TPipe& pipe, GM_ADDR pixels, GM_ADDR weight, GM_ADDR bias,
                              GM_ADDR rowIndex, GM_ADDR out, GM_ADDR workspace,
                              const PatchEmbedTiling& tiling) {
    tiling_ = tiling;
    cores_ = 2 * AscendC::GetBlockNum();
    core_ = AscendC::GetBlockIdx();
    pixelsGm_.SetGlobalBuffer((__gm__ P*)pixels);
    weightGm_.SetGlobalBuffer((__gm__ T*)weight);
    narrowIndexGm_.SetGlobalBuffer((__gm__ int32_t*)rowIndex);
    wideIndexGm_.SetGlobalBuffer((__gm__ int64_t*)rowIndex);
    biasGm_.SetGlobalBuffer((__gm__ T*)bias);
    outGm_.SetGlobalBuffer((__gm__ T*)out);
    rowsGm_.SetGlobalBuffer((__gm__ T*)workspace);
    wideBiasGm_.SetGlobalBuffer((__gm__ float*)(workspace + tiling.biasOffset));
    pipe.InitBuffer(inQueue_, SLOTS, tiling.inBytes);
    pipe.InitBuffer(outQueue_, SLOTS, tiling.outBytes);
  }

  __aicore__ inline void Process() {
    if (tiling_.hasBias && !IS_FLOAT) {
      WidenBias();
    }
    for (uint32_t round = 0; round < tiling_.rounds; ++round) {
      if (round > PATCH_EMBED_AHEAD) {
        HandOver();
        AscendC::CrossCoreWaitFlag(PATCH_EMBED_NEXT);
      }
      for (uint32_t part = 0; part < PatchEmbedParts(tiling_, round); ++part) {
        if (round == 0 && part == FETCH_BEFORE) {
          FetchWeights();
        }
        PackPart(round, PatchEmbedChunk(tiling_, PatchEmbedPart(tiling_, round, part)),
                 PatchEmbedChunk(tiling_, PatchEmbedPart(tiling_, round, part + 1)));
      }
    }
    HandOver();
  }

 private:
  static constexpr uint32_t SLOTS = 2;
  static constexpr uint32_t UNIT = 4;  // rows, of which a block of k is a line of L2
  static constexpr int64_t NO_ROW = -1;
  static constexpr uint64_t MAX_GAP = UINT32_MAX;  // bytes between the bursts of a copy
  static constexpr uint32_t FETCH_BEFORE = 2;      // the cube cores load the weights of parts 0 and 1 by then
  static constexpr uint32_t PER_BLOCK = PATCH_EMBED_BLOCK / sizeof(T);
  static constexpr uint32_t PIXELS_PER_BLOCK = PATCH_EMBED_BLOCK / sizeof(P);
  static constexpr uint32_t LANES = 256 / sizeof(P);  // of a repeat
  static constexpr bool SAME_TYPE = sizeof(P) == sizeof(T);
  static constexpr bool IS_FLOAT = sizeof(T) == sizeof(float);

  // Brings this core's share of the weights into L2, in long bursts. The cube cores need them in fractals:
  // from HBM those loads would be slow, for their rows start anywhere and every core wants its own first.
  __aicore__ inline void FetchWeights() {
    const uint32_t slice = tiling_.inBytes / sizeof(T);
    const uint64_t end = static_cast<uint64_t>(PatchEmbedCut(tiling_.hidden, cores_, core_ + 1)) * tiling_.k;
    uint64_t at = static_cast<uint64_t>(PatchEmbedCut(tiling_.hidden, cores_, core_)) * tiling_.k;
    while (at < end) {
      const uint32_t count = end - at < slice ? static_cast<uint32_t>(end - at) : slice;
      AscendC::LocalTensor<T> in = inQueue_.template AllocTensor<T>();
      AscendC::DataCopyPad(in, weightGm_[at], Burst(count * sizeof(T)), {false, 0, 0, T()});
      inQueue_.EnQue(in);
      in = inQueue_.template DeQue<T>();
      inQueue_.FreeTensor(in);  // nobody reads it
      HandOver();
      at += count;
    }
  }

  // This core's columns of bias, as float.
  __aicore__ inline void WidenBias() {
    uint32_t column = PatchEmbedCut(tiling_.columnBlocks, cores_, core_) * PATCH_EMBED_SIDE;
    const uint32_t blocksEnd = PatchEmbedCut(tiling_.columnBlocks, cores_, core_ + 1);
    const uint32_t end = PatchEmbedMin(blocksEnd * PATCH_EMBED_SIDE, tiling_.hidden);
    while (column < end) {
      const uint32_t columns = PatchEmbedMin(end - column, tiling_.biasColumns);
      AscendC::LocalTensor<T> in = inQueue_.template AllocTensor<T>();
      AscendC::DataCopyPad(in, biasGm_[column], Burst(columns * sizeof(T)), {false, 0, 0, T()});
      inQueue_.EnQue(in);
      in = inQueue_.template DeQue<T>();
      AscendC::LocalTensor<float> out = outQueue_.template AllocTensor<float>();
      if constexpr (!IS_FLOAT) {
        AscendC::Cast(out, in, AscendC::RoundMode::CAST_NONE, columns);
      }
      inQueue_.FreeTensor(in);
      outQueue_.EnQue(out);
      out = outQueue_.template DeQue<float>();
      AscendC::DataCopyPad(wideBiasGm_[column], out, Burst(columns * sizeof(float)));
      outQueue_.FreeTensor(out);
      column += columns;
    }
  }

  // Blocks [begin, end) of k of a round's pairs.
  __aicore__ inline void PackPart(uint32_t round, uint32_t begin, uint32_t end) {
    uint32_t units = 0;
    for (uint32_t segment = 0; segment < tiling_.segments; ++segment) {
      units += PatchEmbedPair(tiling_, segment, round).rows / UNIT;
    }
    first_ = PatchEmbedCut(units, cores_, core_);
    last_ = PatchEmbedCut(units, cores_, core_ + 1);
    passed_ = 0;
    for (uint32_t segment = 0; segment < tiling_.segments; ++segment) {
      const PatchEmbedPanel pair = PatchEmbedPair(tiling_, segment, round);
      const PatchEmbedPanel mine = Share(pair);
      if (tiling_.hasBias && IS_FLOAT && begin == 0) {
        PlaceBias(mine.first, PatchEmbedMin(mine.first + mine.rows, tiling_.rows));
      }
      Pack(pair, mine, begin, end);
    }
    HandOver();
    AscendC::CrossCoreSetFlag<PATCH_EMBED_ALL_VECTORS, PIPE_MTE3>(PATCH_EMBED_PACKED);
    packed_ = true;
  }

  // Tells the cube core, once all vector cores are as far. The pipes have a strip of what comes next to work
  // on meanwhile.
  __aicore__ inline void HandOver() {
    if (packed_) {
      AscendC::CrossCoreWaitFlag(PATCH_EMBED_PACKED);
      AscendC::CrossCoreSetFlag<PATCH_EMBED_CUBE_AND_ITS_VECTORS, PIPE_MTE3>(PATCH_EMBED_READY);
      packed_ = false;
    }
  }

  // This core's rows of the next panel.
  __aicore__ inline PatchEmbedPanel Share(const PatchEmbedPanel& panel) {
    const uint32_t units = panel.rows / UNIT;
    const uint32_t begin = first_ > passed_ ? PatchEmbedMin(first_ - passed_, units) : 0;
    const uint32_t end = last_ > passed_ ? PatchEmbedMin(last_ - passed_, units) : 0;
    passed_ += units;
    return {panel.first + begin * UNIT, (end - begin) * UNIT};
  }

  // Puts the bias into rows [first, stop) of a result of floats, to which the cube cores add their sums.
  __aicore__ inline void PlaceBias(uint32_t first, uint32_t stop) {
    for (uint32_t column = 0; first < stop && column < tiling_.hidden; column += tiling_.biasColumns) {
      const uint32_t columns = PatchEmbedMin(tiling_.hidden - column, tiling_.biasColumns);
      AscendC::LocalTensor<T> in = inQueue_.template AllocTensor<T>();
      AscendC::DataCopyPad(in, biasGm_[column], Burst(columns * sizeof(T)), {false, 0, 0, T()});
      inQueue_.EnQue(in);
      in = inQueue_.template DeQue<T>();
      AscendC::LocalTensor<T> out = outQueue_.template AllocTensor<T>();
      AscendC::DataCopy(out, in, AscendC::AlignUp(columns, PER_BLOCK));
      inQueue_.FreeTensor(in);
      outQueue_.EnQue(out);
      out = outQueue_.template DeQue<T>();
      for (uint32_t row = first; row < stop; ++row) {
        AscendC::DataCopyPad(outGm_[static_cast<uint64_t>(row) * tiling_.hidden + column], out,
                             Burst(columns * sizeof(T)));
      }
      outQueue_.FreeTensor(out);
    }
  }

  // Blocks [begin, end) of k of some rows of a panel, strip by strip, in pieces that fit UB.
  __aicore__ inline void Pack(const PatchEmbedPanel& panel, const PatchEmbedPanel& mine, uint32_t begin,
                              uint32_t end) {
    const uint32_t stop = mine.first + mine.rows;
    for (uint32_t row = mine.first, rows = 0; row < stop; row += rows) {
      rows = PatchEmbedMin(PATCH_EMBED_STRIP - row % PATCH_EMBED_STRIP, stop - row);
      for (uint32_t block = begin; block < end; block += tiling_.stripBlocks) {
        const uint32_t blocks = PatchEmbedMin(end - block, tiling_.stripBlocks);
        const uint32_t columns = PatchEmbedMin(tiling_.k - block * PER_BLOCK, blocks * PER_BLOCK);
        CopyIn(row, rows, block * PER_BLOCK, columns);
        HandOver();
        Arrange(rows, columns, blocks);
        const uint64_t to = PatchEmbedOffset(tiling_, panel, block) + row - panel.first;
        CopyOut(rowsGm_[to * PER_BLOCK], rows, blocks, panel.rows);
      }
    }
  }

  // Loads the rows of a strip that exist and remembers which do not. They end in zeros, up to a block. Rows
  // that follow each other in pixels come in one copy.
  __aicore__ inline void CopyIn(uint32_t first, uint32_t rows, uint32_t column, uint32_t columns) {
    AscendC::LocalTensor<P> in = inQueue_.template AllocTensor<P>();
    const uint32_t pitch = AscendC::AlignUp(columns, PIXELS_PER_BLOCK);
    const AscendC::DataCopyPadExtParams<P> zeros(true, 0, static_cast<uint8_t>(pitch - columns), P());
    const uint32_t bytes = columns * sizeof(P);
    const uint64_t gap = tiling_.pixelStride * sizeof(P) - bytes;
    const uint32_t longest = gap <= MAX_GAP ? rows : 1;
    missing_ = 0;
    int64_t next = SourceOf(first);
    for (uint32_t i = 0, run = 0; i < rows; i += run) {
      const int64_t source = next;
      run = 0;
      do {
        ++run;
        next = i + run < rows ? SourceOf(first + i + run) : NO_ROW;
      } while (run < longest && Exists(source) && Exists(next) && next - source == run);
      if (Exists(source)) {
        const AscendC::DataCopyExtParams params(run, bytes, run > 1 ? static_cast<uint32_t>(gap) : 0, 0, 0);
        AscendC::DataCopyPad(in[i * pitch], pixelsGm_[source * tiling_.pixelStride + column], params, zeros);
      } else {
        missing_ |= 1u << i;
      }
    }
    inQueue_.EnQue(in);
  }

  __aicore__ inline bool Exists(int64_t source) {
    return source >= 0 && static_cast<uint64_t>(source) < tiling_.pixelRows;
  }

  // The row of pixels that belongs to a row of the result, or any number outside of pixels.
  __aicore__ inline int64_t SourceOf(uint32_t row) {
    if (row >= tiling_.rows) {
      return NO_ROW;
    }
    if (tiling_.indexBytes == sizeof(int32_t)) {
      return narrowIndexGm_.GetValue(row);
    }
    if (tiling_.indexBytes == sizeof(int64_t)) {
      return wideIndexGm_.GetValue(row);
    }
    return row;
  }

  // Casts a strip and puts it into the order of a panel: block of k by block of k. Rows that do not exist
  // become NaN.
  __aicore__ inline void Arrange(uint32_t rows, uint32_t columns, uint32_t blocks) {
    AscendC::LocalTensor<P> in = inQueue_.template DeQue<P>();
    AscendC::LocalTensor<T> out = outQueue_.template AllocTensor<T>();
    const uint32_t pitch = AscendC::AlignUp(columns, PIXELS_PER_BLOCK);
    FillMissing(in, rows, pitch);
    if (!SAME_TYPE && pitch != blocks * PER_BLOCK) {
      // Cast leaves the second half of the last block alone.
      AscendC::LocalTensor<uint16_t> last =
          out[(blocks - 1) * rows * PER_BLOCK].template ReinterpretCast<uint16_t>();
      AscendC::Duplicate(last, static_cast<uint16_t>(0), rows * PER_BLOCK);
    }
    AscendC::PipeBarrier<PIPE_V>();
    if constexpr (SAME_TYPE) {
      const AscendC::CopyRepeatParams params(rows, 1, 1, static_cast<uint16_t>(pitch / PIXELS_PER_BLOCK));
      for (uint32_t i = 0; i < pitch; i += LANES) {
        AscendC::Copy(out[i * rows], in[i], PatchEmbedMin(pitch - i, LANES), rows, params);
      }
    } else {
      const AscendC::UnaryRepeatParams params(rows, 1, 1, static_cast<uint8_t>(pitch / PIXELS_PER_BLOCK));
      for (uint32_t i = 0; i < pitch; i += LANES) {
        AscendC::Cast(out[i * rows], in[i], AscendC::RoundMode::CAST_RINT, PatchEmbedMin(pitch - i, LANES),
                      rows, params);
      }
    }
    inQueue_.FreeTensor(in);
    outQueue_.EnQue(out);
  }

  __aicore__ inline void FillMissing(const AscendC::LocalTensor<P>& in, uint32_t rows, uint32_t pitch) {
    using Bits = typename PatchEmbedBits<P>::Type;
    for (uint32_t i = 0; i < rows; ++i) {
      if (missing_ >> i & 1) {
        AscendC::Duplicate(in[i * pitch].template ReinterpretCast<Bits>(), PatchEmbedBits<P>::NOT_A_NUMBER,
                           pitch);
      }
    }
  }

  __aicore__ inline void CopyOut(const AscendC::GlobalTensor<T>& dst, uint32_t rows, uint32_t blocks,
                                 uint32_t panelRows) {
    AscendC::LocalTensor<T> out = outQueue_.template DeQue<T>();
    AscendC::DataCopyParams params;
    params.blockCount = blocks;
    params.blockLen = rows;
    params.dstStride = panelRows - rows;
    AscendC::DataCopy(dst, out, params);
    outQueue_.FreeTensor(out);
  }

  __aicore__ inline AscendC::DataCopyExtParams Burst(uint32_t bytes) {
    return AscendC::DataCopyExtParams(1, bytes, 0, 0, 0);
  }

  AscendC::TQue<AscendC::TPosition::VECIN, SLOTS> inQueue_;
  AscendC::TQue<AscendC::TPosition::VECOUT, SLOTS> outQueue_;
  AscendC::GlobalTensor<P> pixelsGm_;
  AscendC::GlobalTensor<T> weightGm_;
  AscendC::GlobalTensor<int32_t> narrowIndexGm_;
  AscendC::GlobalTensor<int64_t> wideIndexGm_;
  AscendC::GlobalTensor<T> biasGm_;
  AscendC::GlobalTensor<T> outGm_;
  AscendC::GlobalTensor<T> rowsGm_;
  AscendC::GlobalTensor<float> wideBiasGm_;
  PatchEmbedTiling tiling_;
  uint32_t cores_;
  uint32_t core_;
  // Of the round: this core's units, and those of the panels so far.
  uint32_t first_;
  uint32_t last_;
  uint32_t passed_;
  bool packed_ = false;  // a part, but not handed over
  uint32_t missing_;     // bit i: row i of the strip does not exist
};
