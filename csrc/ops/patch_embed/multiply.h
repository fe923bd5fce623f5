#pragma once

#include "../cube_params.h"
#include "kernel_operator.h"
#include "layout.h"
#include "tiling.h"

// The cube cores' side: products of the panels that the vector cores have packed.

// One cube core's tasks. Two tiles of rows, a pair, are multiplied with the same weights and accumulate in
// the two halves of L0C.
template <typename T>
class PatchEmbedMultiply {
 public:
  __aicore__ inline PatchEmbedMultiply() {}

  __aicore__ inline void Init(AscendC::TPipe& pipe, GM_ADDR weight, GM_ADDR out, GM_ADDR workspace,
                              const PatchEmbedTiling& tiling) {
    tiling_ = tiling;
    hasTable_ = tiling.hasBias && sizeof(T) != sizeof(float);
    rowsGm_.SetGlobalBuffer((__gm__ T*)workspace);
    weightGm_.SetGlobalBuffer((__gm__ T*)weight);
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
  }

 private:
  // A tile of the pair: its half of L0C, and its rows.
  struct Tile {
    uint32_t half;
    uint32_t row;
    uint32_t rows;
  };

  static constexpr uint32_t SLOTS = 2;
  static constexpr uint32_t ROW_SLOTS = 3;
  static constexpr uint32_t PER_BLOCK = PATCH_EMBED_BLOCK / sizeof(T);
  static constexpr uint32_t BIAS_TABLE_BYTES = 1024;
  static constexpr uint32_t ROW_SLOT_BYTES = 42 * PATCH_EMBED_FRACTAL;
  static constexpr uint32_t WEIGHT_SLOT_BYTES = 64 * PATCH_EMBED_FRACTAL;
  static constexpr uint32_t RESULT_SLOT_BYTES = 64 * 1024;
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

  // A group of columns times a segment of rows. A chunk is loaded while the one before is multiplied; its
  // multiplication is issued first, as waiting for the vector cores holds up what comes behind.
  __aicore__ inline void RunTask(uint32_t group, uint32_t segment) {
    group_ = PatchEmbedGroup(tiling_, group);
    segment_ = segment;
    part_ = 0;
    columns_ = PatchEmbedMin(group_.rows, tiling_.hidden - group_.first);
    const uint32_t steps = tiling_.rounds * tiling_.chunks;
    if (hasTable_) {
      AscendC::WaitFlag<AscendC::HardEvent::M_MTE2>(TABLE_FREE);
    }
    if (tiling_.resident) {
      AscendC::WaitFlag<AscendC::HardEvent::MTE1_MTE2>(GROUP_FREE);
    }
    LoadChunk(0);
    for (uint32_t step = 0; step < steps; ++step) {
      MultiplyChunk(step);
      if (step + 1 < steps) {
        LoadChunk(step + 1);
      }
    }
    slot_ = (slot_ + steps) % SLOTS;
    if (tiling_.resident) {
      AscendC::SetFlag<AscendC::HardEvent::MTE1_MTE2>(GROUP_FREE);
    }
  }

  // Chunk `step` of the task: its rows, and weights unless they are there already. Weights that stay come
  // with the first round, a part at a time as long rows load faster, and need not wait for the vector cores.
  __aicore__ inline void LoadChunk(uint32_t step) {
    const uint32_t slot = (slot_ + step) % SLOTS;
    const uint32_t chunk = step % tiling_.chunks;
    const uint32_t round = step / tiling_.chunks;
    const uint32_t part = PatchEmbedPartOf(tiling_.chunks, PatchEmbedParts(tiling_, round), chunk);
    if (chunk == PatchEmbedPart(tiling_, round, part)) {
      if (tiling_.resident && round == 0) {
        LoadWeights(chunk, PatchEmbedPart(tiling_, round, part + 1), slot);
      }
      WaitForPart();
    }
    if (step == 0 && hasTable_) {
      AscendC::DataCopy(bias1_.Get<float>(), biasGm_[group_.first], group_.rows);
    }
    AscendC::WaitFlag<AscendC::HardEvent::MTE1_MTE2>(slot);
    if (!tiling_.resident) {
      LoadWeights(chunk, chunk + 1, slot);
    }
    const PatchEmbedPanel pair = PatchEmbedPair(tiling_, segment_, round);
    AscendC::DataCopy(rows1_.Get<T>()[slot * tiling_.rowBytes / sizeof(T)],
                      rowsGm_[PatchEmbedOffset(tiling_, pair, ChunkBegin(chunk)) * PER_BLOCK],
                      pair.rows * ChunkBlocks(chunk) * PER_BLOCK);
    AscendC::SetFlag<AscendC::HardEvent::MTE2_MTE1>(slot);
    if (chunk == 0) {
      AllowRounds(PatchEmbedMin(round + 1 + PATCH_EMBED_AHEAD, tiling_.rounds));
    }
  }

  // The group's weights of chunks [chunk, end). Where every other row starts on 32 bytes, those are loaded
  // apart from the rest, which are slower.
  __aicore__ inline void LoadWeights(uint32_t chunk, uint32_t end, uint32_t slot) {
    const uint32_t begin = ChunkBegin(chunk) * PER_BLOCK;
    const uint32_t length = PatchEmbedMin(ChunkBegin(end) * PER_BLOCK, tiling_.k) - begin;
    const AscendC::LocalTensor<T> dst = weight1_.Get<T>()[WeightOffset(chunk, slot)];
    const AscendC::GlobalTensor<T> src = weightGm_[static_cast<uint64_t>(group_.first) * tiling_.k + begin];
    if (tiling_.everyOther) {
      CopyNd2Nz(dst, src, (columns_ + 1) / 2, length, 2);
      if (columns_ > 1) {
        CopyNd2Nz(dst[PER_BLOCK], src[tiling_.k], columns_ / 2, length, 2);
      }
    } else {
      CopyNd2Nz(dst, src, columns_, length, 1);
    }
  }

  // Every `step`th row of weight.
  __aicore__ inline void CopyNd2Nz(const AscendC::LocalTensor<T>& dst, const AscendC::GlobalTensor<T>& src,
                                   uint32_t rows, uint32_t length, uint32_t step) {
    AscendC::Nd2NzParams params;
    params.ndNum = 1;
    params.nValue = rows;
    params.dValue = length;
    params.srcDValue = step * tiling_.k;
    params.dstNzC0Stride = group_.rows;
    params.dstNzNStride = step;
    AscendC::DataCopy(dst, src, params);
  }

  // Elements into L1.
  __aicore__ inline uint32_t WeightOffset(uint32_t chunk, uint32_t slot) {
    if (tiling_.resident) {
      return ChunkBegin(chunk) * group_.rows * PER_BLOCK;
    }
    return slot * tiling_.weightBytes / SLOTS / sizeof(T);
  }

  __aicore__ inline uint32_t ChunkBegin(uint32_t chunk) { return PatchEmbedChunk(tiling_, chunk); }
  __aicore__ inline uint32_t ChunkBlocks(uint32_t chunk) { return ChunkBegin(chunk + 1) - ChunkBegin(chunk); }

  __aicore__ inline void AllowRounds(uint32_t rounds) {
    while (allowed_ < rounds) {
      AscendC::CrossCoreSetFlag<PATCH_EMBED_CUBE_AND_ITS_VECTORS, PIPE_MTE2>(PATCH_EMBED_NEXT);
      ++allowed_;
    }
  }

  // Until all vector cores have packed the task's next part.
  __aicore__ inline void WaitForPart() {
    ++part_;
    if (ready_ < part_) {
      AscendC::CrossCoreWaitFlag(PATCH_EMBED_READY);
      ready_ = part_;
    }
  }

  __aicore__ inline void MultiplyChunk(uint32_t step) {
    const uint32_t slot = (slot_ + step) % SLOTS;
    const uint32_t chunk = step % tiling_.chunks;
    const uint32_t round = step / tiling_.chunks;
    pair_ = PatchEmbedPair(tiling_, segment_, round);
    AscendC::WaitFlag<AscendC::HardEvent::MTE2_MTE1>(slot);
    if (step == 0 && hasTable_) {
      AscendC::DataCopy(biasTable_.Get<float>(), bias1_.Get<float>(), group_.rows);
    }
    MultiplyPair(slot, chunk);
    AscendC::SetFlag<AscendC::HardEvent::MTE1_MTE2>(slot);
    if (chunk == 0 && round == tiling_.rounds - 1 && hasTable_) {
      AscendC::SetFlag<AscendC::HardEvent::M_MTE2>(TABLE_FREE);
    }
  }

  // A chunk's part of both tiles, in two halves of k. The weights of a half serve both tiles. They take
  // turns, so that L0B has time to fill; but where a sum begins or ends one goes first, so that it is written
  // out while the other keeps the cube busy.
  __aicore__ inline void MultiplyPair(uint32_t slot, uint32_t chunk) {
    const uint32_t firstRows = AscendC::AlignUp(pair_.rows / 2, PATCH_EMBED_SIDE);
    const Tile tiles[2] = {{0, 0, firstRows}, {1, firstRows, pair_.rows - firstRows}};
    const bool apart = SumBegins(chunk) || SumEnds(chunk);
    for (uint32_t i = 0; i < 4; ++i) {
      const Tile& tile = tiles[apart ? i / 2 : i % 2];
      if (tile.rows > 0) {
        MultiplyHalf(slot, chunk, tile, apart ? i % 2 : i / 2);
      }
    }
  }

  __aicore__ inline bool SumBegins(uint32_t chunk) { return chunk % tiling_.sumChunks == 0; }
  __aicore__ inline bool SumEnds(uint32_t chunk) {
    return (chunk + 1) % tiling_.sumChunks == 0 || chunk == tiling_.chunks - 1;
  }

  __aicore__ inline void MultiplyHalf(uint32_t slot, uint32_t chunk, const Tile& tile, uint32_t h) {
    const uint32_t begin = PatchEmbedCut(ChunkBlocks(chunk), 2, h);
    const uint32_t depth = PatchEmbedCut(ChunkBlocks(chunk), 2, h + 1) - begin;
    const bool begins = SumBegins(chunk) && begin == 0;
    if (depth == 0) {
      return;
    }
    if (begins) {
      AscendC::WaitFlag<AscendC::HardEvent::FIX_M>(tile.half);
    }
    LoadRows(slot, tile, begin, depth);
    if (tile.row == 0) {
      LoadWeightHalf(h, WeightOffset(chunk, slot) + begin * group_.rows * PER_BLOCK, depth);
    }
    AscendC::SetFlag<AscendC::HardEvent::MTE1_M>(rowSlot_);
    AscendC::WaitFlag<AscendC::HardEvent::MTE1_M>(rowSlot_);
    Accumulate(tile, h, depth, begins, chunk == 0 && hasTable_);
    AscendC::SetFlag<AscendC::HardEvent::M_MTE1>(ROWS_FREE + rowSlot_);
    if (tile.row + tile.rows == pair_.rows) {
      AscendC::SetFlag<AscendC::HardEvent::M_MTE1>(WEIGHT_FREE + h);
    }
    rowSlot_ = (rowSlot_ + 1) % ROW_SLOTS;
    if (h == 1 && SumEnds(chunk)) {
      Store(tile, chunk >= tiling_.sumChunks || (tiling_.hasBias && !hasTable_));
    }
  }

  __aicore__ inline void LoadRows(uint32_t slot, const Tile& tile, uint32_t begin, uint32_t depth) {
    AscendC::WaitFlag<AscendC::HardEvent::M_MTE1>(ROWS_FREE + rowSlot_);
    AscendC::LoadData(rows2_.Get<T>()[rowSlot_ * ROW_SLOT_BYTES / sizeof(T)],
                      rows1_.Get<T>()[slot * tiling_.rowBytes / sizeof(T) + begin * pair_.rows * PER_BLOCK],
                      CubeBlock<T>(pair_.rows, tile.row, tile.rows, depth * PER_BLOCK));
  }

  __aicore__ inline void LoadWeightHalf(uint32_t h, uint32_t offset, uint32_t depth) {
    AscendC::WaitFlag<AscendC::HardEvent::M_MTE1>(WEIGHT_FREE + h);
    AscendC::LoadData(weight2_.Get<T>()[h * WEIGHT_SLOT_BYTES / sizeof(T)], weight1_.Get<T>()[offset],
                      CubeFractals(depth * group_.rows / PATCH_EMBED_SIDE));
  }

  __aicore__ inline void Accumulate(const Tile& tile, uint32_t h, uint32_t depth, bool first, bool bias) {
    AscendC::LocalTensor<float> c = result_.Get<float>()[tile.half * RESULT_SLOT_BYTES / sizeof(float)];
    AscendC::LocalTensor<T> a = rows2_.Get<T>()[rowSlot_ * ROW_SLOT_BYTES / sizeof(T)];
    AscendC::LocalTensor<T> b = weight2_.Get<T>()[h * WEIGHT_SLOT_BYTES / sizeof(T)];
    AscendC::MmadParams params;
    params.m = tile.rows;
    params.n = columns_;
    params.k = depth * PER_BLOCK;
    params.cmatrixInitVal = first && !bias;
    if (first && bias) {
      AscendC::Mmad(c, a, b, biasTable_.Get<float>(), params);
    } else {
      AscendC::Mmad(c, a, b, params);
    }
    // A small tile's result is not back in L0C before the next Mmad would read it.
    if (tile.rows * group_.rows < FEW_FRACTALS * PATCH_EMBED_SIDE * PATCH_EMBED_SIDE) {
      AscendC::PipeBarrier<PIPE_M>();
    }
  }

  // Writes a tile out, or adds it to what is there: bias, and sums over smaller k.
  __aicore__ inline void Store(const Tile& tile, bool add) {
    const uint32_t row = pair_.first + tile.row;
    const uint32_t rows = PatchEmbedMin(tile.rows, tiling_.rows - row);
    const AscendC::FixpipeParamsV220 params = CubeResult<T>(rows, columns_, tile.rows, tiling_.hidden);
    AscendC::SetFlag<AscendC::HardEvent::M_FIX>(tile.half);
    AscendC::WaitFlag<AscendC::HardEvent::M_FIX>(tile.half);
    if (add) {
      AscendC::PipeBarrier<PIPE_FIX>();
      AscendC::SetAtomicAdd<T>();
    }
    AscendC::Fixpipe(outGm_[static_cast<uint64_t>(row) * tiling_.hidden + group_.first],
                     result_.Get<float>()[tile.half * RESULT_SLOT_BYTES / sizeof(float)], params);
    if (add) {
      AscendC::SetAtomicNone();
    }
    AscendC::SetFlag<AscendC::HardEvent::FIX_M>(tile.half);
  }

  AscendC::GlobalTensor<T> rowsGm_;
  AscendC::GlobalTensor<T> weightGm_;
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
  bool hasTable_;                             // of bias; a result of floats holds it from the start
  uint32_t ready_ = 0;                        // parts that have been handed over, of all rounds
  uint32_t allowed_ = PATCH_EMBED_AHEAD + 1;  // rounds that the vector cores may pack
  uint32_t slot_ = 0;                         // of rows in L1, at a task's first step
  uint32_t rowSlot_ = 0;                      // in L0A
  // The task, and the pair in work.
  PatchEmbedPanel group_;
  PatchEmbedPanel pair_;
  uint32_t segment_;
  uint32_t columns_;
  uint32_t part_;  // parts of its rows so far, of all rounds
};
