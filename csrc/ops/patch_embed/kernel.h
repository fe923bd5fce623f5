#pragma once

#include "kernel_operator.h"
#include "tiling.h"

// out = rows @ weight.T + bias, where rows are pixels gathered by row_index and cast to the weight's type.
//
// Each cube core owns a group of columns, whose weights stay in L1, and a segment of rows, which stream by in
// pairs of tiles. The vector cores gather and cast rows into a workspace, whole blocks of 16 rows and 32
// bytes of k. Round r is pair r of every segment: all vector cores share it, wait for each other, and tell
// their cube cores. They keep two rounds ahead, so that their traffic spreads over the whole run.

constexpr uint32_t PATCH_EMBED_SIDE = 16;          // rows or columns of the result in a block
constexpr uint32_t PATCH_EMBED_BLOCK = 32;         // bytes of k in a block
constexpr uint32_t PATCH_EMBED_FRACTAL = 16 * 32;  // bytes
constexpr uint16_t PATCH_EMBED_GATHERED = 0;       // all vector cores have gathered a round
constexpr uint16_t PATCH_EMBED_READY = 1;          // as above, told to the cube core
constexpr uint16_t PATCH_EMBED_NEXT = 2;           // the vector cores may gather another round
constexpr uint32_t PATCH_EMBED_AHEAD = 2;          // rounds
constexpr uint8_t PATCH_EMBED_ALL_VECTORS = 0;     // modes of cross-core flags
constexpr uint8_t PATCH_EMBED_CUBE_AND_ITS_VECTORS = 2;

// Where part `index` begins when `total` is cut into `parts` that differ by one at most.
__aicore__ inline uint32_t PatchEmbedCut(uint32_t total, uint32_t parts, uint32_t index) {
  return static_cast<uint32_t>(static_cast<uint64_t>(total) * index / parts);
}

__aicore__ inline uint32_t PatchEmbedMin(uint32_t a, uint32_t b) {
  return a < b ? a : b;
}

// The bits of a quiet NaN, and the integer they fit.
template <typename T>
struct PatchEmbedBits {};
template <>
struct PatchEmbedBits<float> {
  using Type = uint32_t;
  static constexpr uint32_t NOT_A_NUMBER = 0x7FC00000;
  static constexpr QuantMode_t QUANT = QuantMode_t::NoQuant;
};
template <>
struct PatchEmbedBits<half> {
  using Type = uint16_t;
  static constexpr uint16_t NOT_A_NUMBER = 0x7E00;
  static constexpr QuantMode_t QUANT = QuantMode_t::F322F16;
};
template <>
struct PatchEmbedBits<bfloat16_t> {
  using Type = uint16_t;
  static constexpr uint16_t NOT_A_NUMBER = 0x7FC0;
  static constexpr QuantMode_t QUANT = QuantMode_t::F322BF16;
};

// One vector core's share of the gathering.
template <typename P, typename T>
class PatchEmbedGather {
 public:
  __aicore__ inline PatchEmbedGather() {}

  __aicore__ inline void Init(AscendC::TPipe& pipe, GM_ADDR pixels, GM_ADDR bias, GM_ADDR rowIndex,
                              GM_ADDR out, GM_ADDR workspace, const PatchEmbedTiling& tiling) {
    tiling_ = tiling;
    cores_ = 2 * AscendC::GetBlockNum();
    core_ = AscendC::GetBlockIdx();
    pitch_ = tiling.kBlocks * PER_BLOCK;
    pixelsGm_.SetGlobalBuffer((__gm__ P*)pixels);
    biasGm_.SetGlobalBuffer((__gm__ T*)bias);
    outGm_.SetGlobalBuffer((__gm__ T*)out);
    narrowIndexGm_.SetGlobalBuffer((__gm__ int32_t*)rowIndex);
    wideIndexGm_.SetGlobalBuffer((__gm__ int64_t*)rowIndex);
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
      if (round > 0) {
        AscendC::CrossCoreWaitFlag(PATCH_EMBED_NEXT);
      }
      GatherRound(round);
      AscendC::CrossCoreSetFlag<PATCH_EMBED_ALL_VECTORS, PIPE_MTE3>(PATCH_EMBED_GATHERED);
      AscendC::CrossCoreWaitFlag(PATCH_EMBED_GATHERED);
      AscendC::CrossCoreSetFlag<PATCH_EMBED_CUBE_AND_ITS_VECTORS, PIPE_MTE3>(PATCH_EMBED_READY);
    }
  }

 private:
  static constexpr uint32_t SLOTS = 2;
  static constexpr uint32_t PER_BLOCK = PATCH_EMBED_BLOCK / sizeof(T);
  static constexpr uint32_t PIXELS_PER_BLOCK = PATCH_EMBED_BLOCK / sizeof(P);
  static constexpr bool SAME_TYPE = sizeof(P) == sizeof(T);
  static constexpr bool IS_FLOAT = sizeof(T) == sizeof(float);
  using Bits = typename PatchEmbedBits<T>::Type;

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

  // A pair of every segment, shared out evenly among all vector cores.
  __aicore__ inline void GatherRound(uint32_t round) {
    const uint32_t pairRows = 2 * tiling_.tileBlocks * PATCH_EMBED_SIDE;
    const uint32_t begin = round * pairRows;
    const uint32_t longest = (tiling_.rowBlocks + tiling_.segments - 1) / tiling_.segments * PATCH_EMBED_SIDE;
    const uint32_t length = PatchEmbedMin(pairRows, longest - begin);
    const uint32_t total = length * tiling_.segments;
    uint32_t at = PatchEmbedCut(total, cores_, core_);
    const uint32_t last = PatchEmbedCut(total, cores_, core_ + 1);
    while (at < last) {
      const uint32_t segment = at / length;
      const uint32_t offset = at % length;
      const uint32_t count = PatchEmbedMin(last - at, length - offset);
      const uint32_t first = SegmentBegin(segment) + begin + offset;
      const uint32_t stop = PatchEmbedMin(first + count, SegmentBegin(segment + 1));
      if (tiling_.hasBias && IS_FLOAT) {
        PlaceBias(first, PatchEmbedMin(stop, tiling_.rows));
      }
      for (uint32_t row = first; row < stop; row += tiling_.tileRows) {
        GatherRows(row, PatchEmbedMin(stop - row, tiling_.tileRows));
      }
      at += count;
    }
  }

  // Puts the bias into rows [first, stop) of a result of floats, to which the cube cores add their sums.
  __aicore__ inline void PlaceBias(uint32_t first, uint32_t stop) {
    for (uint32_t column = 0; column < tiling_.hidden; column += tiling_.biasColumns) {
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

  __aicore__ inline uint32_t SegmentBegin(uint32_t segment) {
    return PatchEmbedCut(tiling_.rowBlocks, tiling_.segments, segment) * PATCH_EMBED_SIDE;
  }

  __aicore__ inline void GatherRows(uint32_t first, uint32_t count) {
    for (uint32_t column = 0; column < tiling_.k; column += tiling_.tileK) {
      const uint32_t columns = PatchEmbedMin(tiling_.k - column, tiling_.tileK);
      CopyIn(first, count, column, columns);
      Convert(count, columns);
      CopyOut(first, count, column, columns);
    }
  }

  // Loads the rows that exist and remembers which these are. A row of pixels ends in zeros, up to a block.
  __aicore__ inline void CopyIn(uint32_t first, uint32_t count, uint32_t column, uint32_t columns) {
    AscendC::LocalTensor<P> in = inQueue_.template AllocTensor<P>();
    const uint32_t pitch = AscendC::AlignUp(columns, PIXELS_PER_BLOCK);
    const AscendC::DataCopyPadExtParams<P> zeros(true, 0, static_cast<uint8_t>(pitch - columns), P());
    present_ = 0;
    for (uint32_t i = 0; i < count; ++i) {
      const int64_t source = SourceOf(first + i);
      if (source >= 0 && static_cast<uint64_t>(source) < tiling_.pixelRows) {
        AscendC::DataCopyPad(in[i * pitch], pixelsGm_[source * tiling_.pixelStride + column],
                             Burst(columns * sizeof(P)), zeros);
        present_ |= 1u << i;
      }
    }
    inQueue_.EnQue(in);
  }

  // The row of pixels that belongs to a row of the result, or any number outside of pixels.
  __aicore__ inline int64_t SourceOf(uint32_t row) {
    if (row >= tiling_.rows) {
      return -1;
    }
    if (tiling_.indexBytes == sizeof(int32_t)) {
      return narrowIndexGm_.GetValue(row);
    }
    if (tiling_.indexBytes == sizeof(int64_t)) {
      return wideIndexGm_.GetValue(row);
    }
    return row;
  }

  // Casts rows, and makes those that do not exist NaN.
  __aicore__ inline void Convert(uint32_t count, uint32_t columns) {
    AscendC::LocalTensor<P> in = inQueue_.template DeQue<P>();
    AscendC::LocalTensor<T> out = outQueue_.template AllocTensor<T>();
    AscendC::LocalTensor<Bits> bits = out.template ReinterpretCast<Bits>();
    const uint32_t inPitch = AscendC::AlignUp(columns, PIXELS_PER_BLOCK);
    const uint32_t outPitch = AscendC::AlignUp(columns, PER_BLOCK);
    if (!SAME_TYPE && columns != outPitch) {
      // Cast leaves the end of the last block alone.
      for (uint32_t i = 0; i < count; ++i) {
        AscendC::Duplicate(bits[(i + 1) * outPitch - PER_BLOCK], Bits(0), PER_BLOCK);
      }
      AscendC::PipeBarrier<PIPE_V>();
    }
    for (uint32_t i = 0; i < count; ++i) {
      if (present_ >> i & 1) {
        if constexpr (SAME_TYPE) {
          AscendC::DataCopy(out[i * outPitch], in[i * inPitch], outPitch);
        } else {
          AscendC::Cast(out[i * outPitch], in[i * inPitch], AscendC::RoundMode::CAST_RINT, columns);
        }
      } else {
        AscendC::Duplicate(bits[i * outPitch], PatchEmbedBits<T>::NOT_A_NUMBER, outPitch);
      }
    }
    inQueue_.FreeTensor(in);
    outQueue_.EnQue(out);
  }

  __aicore__ inline void CopyOut(uint32_t first, uint32_t count, uint32_t column, uint32_t columns) {
    AscendC::LocalTensor<T> out = outQueue_.template DeQue<T>();
    const uint32_t width = AscendC::AlignUp(columns, PER_BLOCK);
    AscendC::DataCopyParams params;
    params.blockCount = count;
    params.blockLen = width / PER_BLOCK;
    params.dstStride = (pitch_ - width) / PER_BLOCK;
    AscendC::DataCopy(rowsGm_[static_cast<uint64_t>(first) * pitch_ + column], out, params);
    outQueue_.FreeTensor(out);
  }

  __aicore__ inline AscendC::DataCopyExtParams Burst(uint32_t bytes) {
    return AscendC::DataCopyExtParams(1, bytes, 0, 0, 0);
  }

  AscendC::TQue<AscendC::TPosition::VECIN, SLOTS> inQueue_;
  AscendC::TQue<AscendC::TPosition::VECOUT, SLOTS> outQueue_;
  AscendC::GlobalTensor<P> pixelsGm_;
  AscendC::GlobalTensor<T> biasGm_;
  AscendC::GlobalTensor<T> outGm_;
  AscendC::GlobalTensor<int32_t> narrowIndexGm_;
  AscendC::GlobalTensor<int64_t> wideIndexGm_;
  AscendC::GlobalTensor<T> rowsGm_;
  AscendC::GlobalTensor<float> wideBiasGm_;
  PatchEmbedTiling tiling_;
  uint32_t cores_;
  uint32_t core_;
  uint32_t pitch_;    // elements between gathered rows
  uint32_t present_;  // bit i: row i of the tile exists
};

// One cube core's tasks. Two tiles of rows, a pair, are multiplied with the same weights and accumulate in
// the two halves of L0C. Of a chunk of k, tile 0 takes both halves and then tile 1 does, so that while one
// tile is written out the other still keeps the cube busy.
template <typename T>
class PatchEmbedMultiply {
 public:
  __aicore__ inline PatchEmbedMultiply() {}

  __aicore__ inline void Init(AscendC::TPipe& pipe, GM_ADDR weight, GM_ADDR out, GM_ADDR workspace,
                              const PatchEmbedTiling& tiling) {
    tiling_ = tiling;
    hasTable_ = tiling.hasBias && sizeof(T) != sizeof(float);
    pitch_ = tiling.kBlocks * PER_BLOCK;
    weightGm_.SetGlobalBuffer((__gm__ T*)weight);
    rowsGm_.SetGlobalBuffer((__gm__ T*)workspace);
    biasGm_.SetGlobalBuffer((__gm__ float*)(workspace + tiling.biasOffset));
    outGm_.SetGlobalBuffer((__gm__ T*)out);
    pipe.InitBuffer(weight1_, tiling.weightBytes);
    pipe.InitBuffer(rows1_, SLOTS * tiling.rowBytes);
    pipe.InitBuffer(bias1_, tiling.biasBytes);
    pipe.InitBuffer(biasTable_, BIAS_TABLE_BYTES);
    pipe.InitBuffer(rows2_, ROW_SLOTS * ROW_SLOT_BYTES);
    pipe.InitBuffer(weight2_, SLOTS * WEIGHT_SLOT_BYTES);
    pipe.InitBuffer(result_, SLOTS * RESULT_SLOT_BYTES);
  }

  __aicore__ inline void Process() {
    AscendC::SetHF32Mode(false);  // float is float all the way
    GiveSlots();
    const uint32_t tasks = tiling_.groups * tiling_.segments;
    for (uint32_t task = AscendC::GetBlockIdx(); task < tasks; task += AscendC::GetBlockNum()) {
      RunTask(task % tiling_.groups, task / tiling_.groups);
    }
    TakeSlots();
    // No flag is left over, nor missing: this core's segments may be a pair shorter than others.
    AllowRounds(tiling_.rounds);
    WaitForRounds(tiling_.rounds);
  }

 private:
  static constexpr uint32_t SLOTS = 2;
  static constexpr uint32_t ROW_SLOTS = 3;
  static constexpr uint32_t PER_BLOCK = PATCH_EMBED_BLOCK / sizeof(T);
  static constexpr uint32_t BLOCK_ELEMENTS = PATCH_EMBED_FRACTAL / sizeof(T);
  static constexpr uint32_t BIAS_TABLE_BYTES = 1024;
  static constexpr uint32_t ROW_SLOT_BYTES = 42 * PATCH_EMBED_FRACTAL;
  static constexpr uint32_t WEIGHT_SLOT_BYTES = 64 * PATCH_EMBED_FRACTAL;
  static constexpr uint32_t RESULT_SLOT_BYTES = 64 * 1024;
  static constexpr uint32_t WEIGHT_PARTS = 3;   // in which weights that stay are loaded
  static constexpr uint32_t FEW_FRACTALS = 10;  // whose Mmads overtake each other
  // M_MTE1 events; TPipe keeps 0 to 2 of a cube core for itself.
  static constexpr int32_t WEIGHT_FREE = 3;
  static constexpr int32_t ROWS_FREE = 5;
  static constexpr int32_t TABLE_FREE = 0;  // M_MTE2
  static constexpr int32_t GROUP_FREE = 2;  // MTE1_MTE2, beside those of the slots

  // Every wait needs its set: at first all slots are free, at last they are again.
  __aicore__ inline void GiveSlots() {
    for (uint32_t slot = 0; slot < SLOTS; ++slot) {
      AscendC::SetFlag<AscendC::HardEvent::MTE1_MTE2>(slot);
      AscendC::SetFlag<AscendC::HardEvent::M_MTE1>(WEIGHT_FREE + slot);
      AscendC::SetFlag<AscendC::HardEvent::FIX_M>(slot);
    }
    for (uint32_t slot = 0; slot < ROW_SLOTS; ++slot) {
      AscendC::SetFlag<AscendC::HardEvent::M_MTE1>(ROWS_FREE + slot);
    }
    AscendC::SetFlag<AscendC::HardEvent::M_MTE2>(TABLE_FREE);
    AscendC::SetFlag<AscendC::HardEvent::MTE1_MTE2>(GROUP_FREE);
  }

  __aicore__ inline void TakeSlots() {
    for (uint32_t slot = 0; slot < SLOTS; ++slot) {
      AscendC::WaitFlag<AscendC::HardEvent::MTE1_MTE2>(slot);
      AscendC::WaitFlag<AscendC::HardEvent::M_MTE1>(WEIGHT_FREE + slot);
      AscendC::WaitFlag<AscendC::HardEvent::FIX_M>(slot);
    }
    for (uint32_t slot = 0; slot < ROW_SLOTS; ++slot) {
      AscendC::WaitFlag<AscendC::HardEvent::M_MTE1>(ROWS_FREE + slot);
    }
    AscendC::WaitFlag<AscendC::HardEvent::M_MTE2>(TABLE_FREE);
    AscendC::WaitFlag<AscendC::HardEvent::MTE1_MTE2>(GROUP_FREE);
  }

  // A group of columns times a segment of rows. Rows are loaded one chunk ahead of the cube.
  __aicore__ inline void RunTask(uint32_t group, uint32_t segment) {
    const uint32_t columnBegin = PatchEmbedCut(tiling_.columnBlocks, tiling_.groups, group);
    groupBlocks_ = PatchEmbedCut(tiling_.columnBlocks, tiling_.groups, group + 1) - columnBegin;
    column_ = columnBegin * PATCH_EMBED_SIDE;
    columns_ = PatchEmbedMin(groupBlocks_ * PATCH_EMBED_SIDE, tiling_.hidden - column_);
    segmentBegin_ = PatchEmbedCut(tiling_.rowBlocks, tiling_.segments, segment);
    segmentBlocks_ = PatchEmbedCut(tiling_.rowBlocks, tiling_.segments, segment + 1) - segmentBegin_;
    const uint32_t pairBlocks = 2 * tiling_.tileBlocks;
    pairs_ = (segmentBlocks_ + pairBlocks - 1) / pairBlocks;
    const uint32_t steps = pairs_ * tiling_.chunks;
    if (hasTable_) {
      AscendC::WaitFlag<AscendC::HardEvent::M_MTE2>(TABLE_FREE);
    }
    if (tiling_.resident) {
      LoadGroup(segment);
    }
    LoadChunk(0);
    for (uint32_t step = 0; step < steps; ++step) {
      if (step + 1 < steps) {
        LoadChunk(step + 1);
      }
      MultiplyChunk(step);
    }
    slot_ = (slot_ + steps) % SLOTS;
    if (tiling_.resident) {
      AscendC::SetFlag<AscendC::HardEvent::MTE1_MTE2>(GROUP_FREE);
    }
  }

  // All weights of the group, while the vector cores gather the first round. Long rows are loaded faster, and
  // cores that share a group begin with different parts: each brings its own from HBM, and finds the others'
  // in L2.
  __aicore__ inline void LoadGroup(uint32_t segment) {
    AscendC::WaitFlag<AscendC::HardEvent::MTE1_MTE2>(GROUP_FREE);
    for (uint32_t i = 0; i < WEIGHT_PARTS; ++i) {
      const uint32_t part = (segment + i) % WEIGHT_PARTS;
      const uint32_t begin = PatchEmbedCut(tiling_.kBlocks, WEIGHT_PARTS, part);
      const uint32_t end = PatchEmbedCut(tiling_.kBlocks, WEIGHT_PARTS, part + 1);
      if (begin < end) {
        LoadWeights(begin, end - begin, begin * groupBlocks_ * BLOCK_ELEMENTS);
      }
    }
  }

  // Chunk `step` of the task: its rows, and weights where they do not stay.
  __aicore__ inline void LoadChunk(uint32_t step) {
    const uint32_t slot = (slot_ + step) % SLOTS;
    const uint32_t chunk = step % tiling_.chunks;
    AscendC::WaitFlag<AscendC::HardEvent::MTE1_MTE2>(slot);
    if (!tiling_.resident) {
      LoadWeights(ChunkBegin(chunk), ChunkBlocks(chunk), WeightOffset(chunk, slot));
    }
    const uint32_t pair = step / tiling_.chunks;
    WaitForRounds(pair + 1);
    if (step == 0 && hasTable_) {
      AscendC::DataCopy(bias1_.Get<float>(), biasGm_[column_], groupBlocks_ * PATCH_EMBED_SIDE);
    }
    const uint32_t row = (segmentBegin_ + pair * 2 * tiling_.tileBlocks) * PATCH_EMBED_SIDE;
    CopyNd2Nz(rows1_.Get<T>()[slot * tiling_.rowBytes / sizeof(T)],
              rowsGm_[static_cast<uint64_t>(row) * pitch_ + ChunkBegin(chunk) * PER_BLOCK],
              PairBlocks(pair) * PATCH_EMBED_SIDE, ChunkBlocks(chunk) * PER_BLOCK, pitch_,
              PairBlocks(pair) * PATCH_EMBED_SIDE, 1);
    AscendC::SetFlag<AscendC::HardEvent::MTE2_MTE1>(slot);
    if (chunk == 0) {
      AllowRounds(PatchEmbedMin(pair + 1 + PATCH_EMBED_AHEAD, tiling_.rounds));
    }
  }

  __aicore__ inline void LoadWeights(uint32_t block, uint32_t blocks, uint32_t offset) {
    const uint32_t begin = block * PER_BLOCK;
    const uint32_t length = PatchEmbedMin(blocks * PER_BLOCK, tiling_.k - begin);
    const AscendC::LocalTensor<T> dst = weight1_.Get<T>()[offset];
    const AscendC::GlobalTensor<T> src = weightGm_[static_cast<uint64_t>(column_) * tiling_.k + begin];
    const uint32_t pitch = groupBlocks_ * PATCH_EMBED_SIDE;
    if (tiling_.everyOther) {
      CopyNd2Nz(dst, src, (columns_ + 1) / 2, length, 2 * tiling_.k, pitch, 2);
      if (columns_ > 1) {
        CopyNd2Nz(dst[PER_BLOCK], src[tiling_.k], columns_ / 2, length, 2 * tiling_.k, pitch, 2);
      }
    } else {
      CopyNd2Nz(dst, src, columns_, length, tiling_.k, pitch, 1);
    }
  }

  // Elements into L1.
  __aicore__ inline uint32_t WeightOffset(uint32_t chunk, uint32_t slot) {
    if (tiling_.resident) {
      return ChunkBegin(chunk) * groupBlocks_ * BLOCK_ELEMENTS;
    }
    return slot * tiling_.weightBytes / SLOTS / sizeof(T);
  }

  __aicore__ inline void CopyNd2Nz(const AscendC::LocalTensor<T>& dst, const AscendC::GlobalTensor<T>& src,
                                   uint32_t rows, uint32_t columns, uint32_t stride, uint32_t pitch,
                                   uint32_t rowStep) {
    AscendC::Nd2NzParams params;
    params.ndNum = 1;
    params.nValue = rows;
    params.dValue = columns;
    params.srcDValue = stride;
    params.dstNzC0Stride = pitch;
    params.dstNzNStride = rowStep;
    AscendC::DataCopy(dst, src, params);
  }

  __aicore__ inline uint32_t ChunkBegin(uint32_t chunk) {
    return PatchEmbedCut(tiling_.kBlocks, tiling_.chunks, chunk);
  }
  __aicore__ inline uint32_t ChunkBlocks(uint32_t chunk) { return ChunkBegin(chunk + 1) - ChunkBegin(chunk); }
  __aicore__ inline uint32_t PairBlocks(uint32_t pair) {
    const uint32_t blocks = 2 * tiling_.tileBlocks;
    return PatchEmbedMin(blocks, segmentBlocks_ - pair * blocks);
  }

  __aicore__ inline void AllowRounds(uint32_t rounds) {
    while (allowed_ < rounds) {
      AscendC::CrossCoreSetFlag<PATCH_EMBED_CUBE_AND_ITS_VECTORS, PIPE_MTE2>(PATCH_EMBED_NEXT);
      ++allowed_;
    }
  }

  __aicore__ inline void WaitForRounds(uint32_t rounds) {
    while (rounds_ < rounds) {
      AscendC::CrossCoreWaitFlag(PATCH_EMBED_READY);
      ++rounds_;
    }
  }

  __aicore__ inline void MultiplyChunk(uint32_t step) {
    const uint32_t slot = (slot_ + step) % SLOTS;
    const uint32_t chunk = step % tiling_.chunks;
    const uint32_t pair = step / tiling_.chunks;
    const uint32_t blocks = PairBlocks(pair);
    const uint32_t tiles = blocks > tiling_.tileBlocks ? 2 : 1;
    const uint32_t half = (ChunkBlocks(chunk) + 1) / 2;
    const uint32_t halves = ChunkBlocks(chunk) > 1 ? 2 : 1;
    AscendC::WaitFlag<AscendC::HardEvent::MTE2_MTE1>(slot);
    if (step == 0 && hasTable_) {
      AscendC::DataCopy(biasTable_.Get<float>(), bias1_.Get<float>(), groupBlocks_ * PATCH_EMBED_SIDE);
    }
    for (uint32_t tile = 0; tile < tiles; ++tile) {
      tile_ = tile;
      tileHeight_ = PatchEmbedMin(tiling_.tileBlocks, blocks - tile * tiling_.tileBlocks);
      if (chunk % tiling_.sumChunks == 0) {
        AscendC::WaitFlag<AscendC::HardEvent::FIX_M>(tile);
      }
      for (uint32_t h = 0; h < halves; ++h) {
        const uint32_t begin = h * half;
        const uint32_t depth = h == 0 ? half : ChunkBlocks(chunk) - half;
        LoadRows(slot, begin, depth, blocks);
        if (tile == 0) {
          AscendC::WaitFlag<AscendC::HardEvent::M_MTE1>(WEIGHT_FREE + h);
          LoadWeightHalf(h, WeightOffset(chunk, slot) + begin * groupBlocks_ * BLOCK_ELEMENTS, depth);
        }
        if (tile == tiles - 1 && h == halves - 1) {
          AscendC::SetFlag<AscendC::HardEvent::MTE1_MTE2>(slot);
        }
        AscendC::SetFlag<AscendC::HardEvent::MTE1_M>(rowSlot_);
        AscendC::WaitFlag<AscendC::HardEvent::MTE1_M>(rowSlot_);
        Accumulate(h, depth, chunk % tiling_.sumChunks == 0 && h == 0, chunk == 0 && hasTable_);
        AscendC::SetFlag<AscendC::HardEvent::M_MTE1>(ROWS_FREE + rowSlot_);
        if (tile == tiles - 1) {
          AscendC::SetFlag<AscendC::HardEvent::M_MTE1>(WEIGHT_FREE + h);
        }
        rowSlot_ = (rowSlot_ + 1) % ROW_SLOTS;
      }
      if ((chunk + 1) % tiling_.sumChunks == 0 || chunk == tiling_.chunks - 1) {
        StoreTile(pair, chunk >= tiling_.sumChunks || (tiling_.hasBias && !hasTable_));
      }
    }
    if (chunk == 0 && pair == pairs_ - 1 && hasTable_) {
      AscendC::SetFlag<AscendC::HardEvent::M_MTE2>(TABLE_FREE);
    }
  }

  // L1 holds k block by k block (Nz), L0A row block by row block (Zz): a convolution's load with a window of
  // one pixel turns one into the other in a single instruction.
  __aicore__ inline void LoadRows(uint32_t slot, uint32_t begin, uint32_t depth, uint32_t pairBlocks) {
    AscendC::LoadData3DParamsV2<T> params;
    params.l1H = 1;
    params.l1W = pairBlocks * PATCH_EMBED_SIDE;
    params.channelSize = depth * PER_BLOCK;
    params.kExtension = depth * PER_BLOCK;
    params.mExtension = tileHeight_ * PATCH_EMBED_SIDE;
    params.mStartPt = tile_ * tiling_.tileBlocks * PATCH_EMBED_SIDE;
    AscendC::WaitFlag<AscendC::HardEvent::M_MTE1>(ROWS_FREE + rowSlot_);
    AscendC::LoadData(
        rows2_.Get<T>()[rowSlot_ * ROW_SLOT_BYTES / sizeof(T)],
        rows1_.Get<T>()[slot * tiling_.rowBytes / sizeof(T) + begin * pairBlocks * BLOCK_ELEMENTS], params);
  }

  // Weights lie [hidden, k], which is how L0B wants them (Zn): fractal after fractal, none transposed.
  __aicore__ inline void LoadWeightHalf(uint32_t h, uint32_t offset, uint32_t depth) {
    AscendC::LoadData2DParams params;
    params.repeatTimes = depth * groupBlocks_;
    params.srcStride = 1;
    AscendC::LoadData(weight2_.Get<T>()[h * WEIGHT_SLOT_BYTES / sizeof(T)], weight1_.Get<T>()[offset],
                      params);
  }

  __aicore__ inline void Accumulate(uint32_t h, uint32_t depth, bool first, bool bias) {
    AscendC::LocalTensor<float> c = result_.Get<float>()[tile_ * RESULT_SLOT_BYTES / sizeof(float)];
    AscendC::LocalTensor<T> a = rows2_.Get<T>()[rowSlot_ * ROW_SLOT_BYTES / sizeof(T)];
    AscendC::LocalTensor<T> b = weight2_.Get<T>()[h * WEIGHT_SLOT_BYTES / sizeof(T)];
    AscendC::MmadParams params;
    params.m = tileHeight_ * PATCH_EMBED_SIDE;
    params.n = columns_;
    params.k = depth * PER_BLOCK;
    params.cmatrixInitVal = first && !bias;
    if (first && bias) {
      AscendC::Mmad(c, a, b, biasTable_.Get<float>(), params);
    } else {
      AscendC::Mmad(c, a, b, params);
    }
    // A small tile's result is not back in L0C before the next Mmad would read it.
    if (tileHeight_ * groupBlocks_ < FEW_FRACTALS) {
      AscendC::PipeBarrier<PIPE_M>();
    }
  }

  // Writes a tile out, or adds it to what is there: bias, and sums over smaller k.
  __aicore__ inline void StoreTile(uint32_t pair, bool add) {
    const uint32_t row = (segmentBegin_ + (2 * pair + tile_) * tiling_.tileBlocks) * PATCH_EMBED_SIDE;
    AscendC::FixpipeParamsV220 params;
    params.nSize = columns_;
    params.mSize = PatchEmbedMin(tileHeight_ * PATCH_EMBED_SIDE, tiling_.rows - row);
    params.srcStride = tileHeight_ * PATCH_EMBED_SIDE;
    params.dstStride = tiling_.hidden;
    params.quantPre = PatchEmbedBits<T>::QUANT;
    params.ndNum = 1;
    AscendC::SetFlag<AscendC::HardEvent::M_FIX>(tile_);
    AscendC::WaitFlag<AscendC::HardEvent::M_FIX>(tile_);
    if (add) {
      AscendC::PipeBarrier<PIPE_FIX>();
      AscendC::SetAtomicAdd<T>();
    }
    AscendC::Fixpipe(outGm_[static_cast<uint64_t>(row) * tiling_.hidden + column_],
                     result_.Get<float>()[tile_ * RESULT_SLOT_BYTES / sizeof(float)], params);
    if (add) {
      AscendC::SetAtomicNone();
    }
    AscendC::SetFlag<AscendC::HardEvent::FIX_M>(tile_);
  }

  AscendC::GlobalTensor<T> weightGm_;
  AscendC::GlobalTensor<T> rowsGm_;
  AscendC::GlobalTensor<float> biasGm_;
  AscendC::GlobalTensor<T> outGm_;
  AscendC::TBuf<AscendC::TPosition::B1> weight1_;
  AscendC::TBuf<AscendC::TPosition::A1> rows1_;
  AscendC::TBuf<AscendC::TPosition::C1> bias1_;
  AscendC::TBuf<AscendC::TPosition::C2> biasTable_;
  AscendC::TBuf<AscendC::TPosition::A2> rows2_;
  AscendC::TBuf<AscendC::TPosition::B2> weight2_;
  AscendC::TBuf<AscendC::TPosition::CO1> result_;
  PatchEmbedTiling tiling_;
  uint32_t pitch_;
  bool hasTable_;         // of bias; a result of floats holds it from the start
  uint32_t rounds_ = 0;   // seen so far
  uint32_t allowed_ = 1;  // that the vector cores may gather
  uint32_t slot_ = 0;     // of rows in L1, at a task's first step
  uint32_t rowSlot_ = 0;  // in L0A
  // The task.
  uint32_t column_;
  uint32_t columns_;
  uint32_t groupBlocks_;
  uint32_t segmentBegin_;  // in blocks
  uint32_t segmentBlocks_;
  uint32_t pairs_;
  // The tile in work.
  uint32_t tile_;
  uint32_t tileHeight_;  // in blocks
};

template <typename P, typename T>
__aicore__ inline void PatchEmbed(GM_ADDR pixels, GM_ADDR weight, GM_ADDR bias, GM_ADDR rowIndex, GM_ADDR out,
                                  GM_ADDR workspace, const PatchEmbedTiling& tiling) {
  AscendC::TPipe pipe;
  if ASCEND_IS_AIC {
    PatchEmbedMultiply<T> op;
    op.Init(pipe, weight, out, workspace, tiling);
    op.Process();
  }
  if ASCEND_IS_AIV {
    PatchEmbedGather<P, T> op;
    op.Init(pipe, pixels, bias, rowIndex, out, workspace, tiling);
    op.Process();
  }
}
