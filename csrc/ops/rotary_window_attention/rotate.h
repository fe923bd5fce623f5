#pragma once

#include "../window_attention/vector.h"
#include "kernel_operator.h"
#include "tables.h"
#include "tiling.h"

// Rotates the q and k of a short task into the ring that the cube core takes them from. T is the numbers'
// type, U the tables'. Each vector core rotates what it will weigh: its heads, or its rows of the only head.
//
// A rotated number is self * cos + partner * sin, the partner half a head away and sin negative for the
// first half. The rows of a head lie one after the other, in float, as those of the tables do, which serve q
// and k of every head: the products with cos are one instruction without idle lanes, those with sin one for
// each half.
template <typename T, typename U>
class RotaryFeed {
 public:
  __aicore__ inline RotaryFeed() {}

  __aicore__ inline void Init(AttentionVector<T>& vector, GM_ADDR qkv, GM_ADDR cos, GM_ADDR sin, GM_ADDR ring,
                              const RotaryWindowAttentionTiling& tiling) {
    attention_ = tiling.attention;
    rotary_ = tiling.rotary;
    half_ = rotary_.dim / 2;
    qkvGm_.SetGlobalBuffer((__gm__ T*)qkv);
    ringGm_.SetGlobalBuffer((__gm__ T*)ring);
    numbers_ = vector.template Spare<float>(RotaryUb::NUMBERS);
    results_ = vector.template Spare<float>(RotaryUb::RESULTS);
    tables_.Init(vector, cos, sin, tiling);
  }

  __aicore__ inline void Rotate(AttentionVector<T>& vector, const AttentionStep& step) {
    ++inRing_;
    const bool isSecond = AscendC::GetSubBlockIdx() != 0;
    const uint32_t share = step.FirstShare(0);  // rows of scores, heads after heads
    if (step.heads > 1) {
      const uint32_t heads = share / step.rows;
      RotateHeads(vector, step, isSecond ? heads : 0, isSecond ? step.heads - heads : heads, 0, step.rows);
    } else {
      RotateHeads(vector, step, 0, 1, isSecond ? share : 0, isSecond ? step.rows : share);
    }
    AscendC::CrossCoreSetFlag<ATTENTION_CUBE_AND_VECTORS, PIPE_MTE3>(ATTENTION_ROTATED);
  }

  // Takes back what the cube core says of the last tasks: every set needs its wait.
  __aicore__ inline void Finish() {
    while (inRing_ > 0) WaitTaken();
  }

 private:
  using Floats = AscendC::LocalTensor<float>;

  static constexpr uint32_t MAX_ROWS = 248;  // repeats of an instruction, in whole eights

  // Pieces that are rotated together, each some rows of q or of k of one head: those from `first` on, of
  // first q and then k of `heads` heads.
  struct Batch {
    uint32_t head;  // of the task's, the first
    uint32_t heads;
    uint32_t row;  // of the segment, the first
    uint32_t rows;
    uint32_t first;
    uint32_t count;

    __aicore__ inline uint32_t PartOf(uint32_t i) const { return (first + i) / heads; }
    __aicore__ inline uint32_t HeadOf(uint32_t i) const { return head + (first + i) % heads; }
  };

  __aicore__ inline void WaitTaken() {
    AscendC::CrossCoreWaitFlag(ATTENTION_ROTATED_TAKEN);
    --inRing_;
  }

  // Rows of heads that all places have room for.
  __aicore__ inline uint32_t Room(uint32_t inBytes) const {
    const uint32_t wide = RotaryUb::BYTES / (rotary_.dim * sizeof(float));
    const uint32_t in = inBytes / (rotary_.inDim * sizeof(T));
    const uint32_t out = AttentionUb::OUT_BYTES / (rotary_.dim * sizeof(T));
    const uint32_t rows = AttentionMin(AttentionMin(wide, tables_.Room(inBytes)), AttentionMin(in, out));
    return AttentionMin(rows / 8 * 8, MAX_ROWS);
  }

  // Rows [begin, end) of some heads of a task.
  __aicore__ inline void RotateHeads(AttentionVector<T>& vector, const AttentionStep& step, uint32_t head,
                                     uint32_t heads, uint32_t begin, uint32_t end) {
    const uint32_t room = Room(vector.InBytes());
    Batch batch{head, heads, begin, 0, 0, 0};
    for (; batch.row < end; batch.row += batch.rows) {
      batch.rows = AttentionMin(room, end - batch.row);
      tables_.Take(vector, step.token + batch.row, batch.rows);
      for (batch.first = 0; batch.first < 2 * heads; batch.first += batch.count) {
        batch.count = AttentionMin(room / batch.rows, 2 * heads - batch.first);
        Load(vector, step, batch);
        Multiply(batch);
        Store(vector, step, batch);
      }
    }
  }

  __aicore__ inline void Load(AttentionVector<T>& vector, const AttentionStep& step, const Batch& batch) {
    AscendC::LocalTensor<T> loaded = vector.template AcquireIn<T>();
    for (uint32_t i = 0; i < batch.count; ++i) {
      const uint32_t head = batch.PartOf(i) * rotary_.heads + step.head + batch.HeadOf(i);
      LoadHead(loaded[i * batch.rows * rotary_.inDim],
               (step.token + batch.row) * rotary_.qkvStride + head * rotary_.inDim, batch.rows);
    }
    vector.AnnounceIn();
    Widen(loaded, batch.count * batch.rows);
    vector.ReleaseIn();
    AscendC::PipeBarrier<PIPE_V>();
  }

  // Rows of a head. Where all cross a line of 512 bytes at the same column they come in two copies, cut
  // there: a burst across a line costs more of HBM.
  __aicore__ inline void LoadHead(const AscendC::LocalTensor<T>& dst, uint64_t at, uint32_t rows) {
    const uint32_t left = LINE - static_cast<uint32_t>(at % LINE);
    const bool crosses =
        rotary_.qkvStride % LINE == 0 && left < rotary_.inDim && left * sizeof(T) % BLOCK == 0;
    const uint32_t first = crosses ? left : rotary_.inDim;
    LoadColumns(dst, at, rows, first);
    if (crosses) LoadColumns(dst[first], at + first, rows, rotary_.inDim - first);
  }

  // Some columns of rows of a head, to their places.
  __aicore__ inline void LoadColumns(const AscendC::LocalTensor<T>& dst, uint64_t at, uint32_t rows,
                                     uint32_t columns) {
    AscendC::DataCopyExtParams params;
    params.blockCount = rows;
    params.blockLen = columns * sizeof(T);
    params.srcStride = (rotary_.qkvStride - columns) * sizeof(T);
    params.dstStride = (rotary_.inDim - columns) * sizeof(T) / BLOCK;
    AscendC::DataCopyPad(dst, qkvGm_[at], params, AscendC::DataCopyPadExtParams<T>{false, 0, 0, 0});
  }

  // Numbers in float, without what pads a head's halves.
  __aicore__ inline void Widen(const AscendC::LocalTensor<T>& loaded, uint32_t rows) {
    if (rotary_.inDim == rotary_.dim) {
      AscendC::Cast(numbers_, loaded, AscendC::RoundMode::CAST_NONE, rows * rotary_.dim);
      return;
    }
    const AscendC::UnaryRepeatParams params(1, 1, static_cast<uint8_t>(rotary_.dim / FLOATS),
                                            static_cast<uint8_t>(rotary_.inDim * sizeof(T) / BLOCK));
    for (uint32_t lane = 0; lane < half_; lane += ATTENTION_LANES) {
      const uint64_t lanes = AttentionMin(ATTENTION_LANES, half_ - lane);
      const uint8_t repeats = static_cast<uint8_t>(rows);
      AscendC::Cast(numbers_[lane], loaded[lane], AscendC::RoundMode::CAST_NONE, lanes, repeats, params);
      AscendC::Cast(numbers_[half_ + lane], loaded[rotary_.inDim / 2 + lane], AscendC::RoundMode::CAST_NONE,
                    lanes, repeats, params);
    }
  }

  __aicore__ inline void Multiply(const Batch& batch) {
    const uint32_t size = batch.rows * rotary_.dim;
    for (uint32_t i = 0; i < batch.count; ++i) {
      MultiplyPartners(results_[i * size], numbers_[i * size], batch.rows);
    }
    AscendC::PipeBarrier<PIPE_V>();
    for (uint32_t i = 0; i < batch.count; ++i) {
      AscendC::Mul(numbers_[i * size], numbers_[i * size], tables_.Cos(), static_cast<int32_t>(size));
    }
    AscendC::PipeBarrier<PIPE_V>();
    AscendC::Add(results_, results_, numbers_, static_cast<int32_t>(batch.count * size));
    AscendC::PipeBarrier<PIPE_V>();
  }

  // Numbers times sin, each in its partner's place.
  __aicore__ inline void MultiplyPartners(const Floats& products, const Floats& numbers, uint32_t rows) {
    const uint8_t pitch = static_cast<uint8_t>(rotary_.dim / FLOATS), repeats = static_cast<uint8_t>(rows);
    const AscendC::BinaryRepeatParams params(1, 1, 1, pitch, pitch, pitch);
    const Floats sin = tables_.Sin();
    for (uint32_t lane = 0; lane < half_; lane += ATTENTION_LANES) {
      const uint64_t lanes = AttentionMin(ATTENTION_LANES, half_ - lane);
      const uint32_t second = half_ + lane;
      AscendC::Mul(products[lane], numbers[second], sin[second], lanes, repeats, params);
      AscendC::Mul(products[second], numbers[lane], sin[lane], lanes, repeats, params);
    }
  }

  // Rounded, into the ring's rows of all of the task's heads.
  __aicore__ inline void Store(AttentionVector<T>& vector, const AttentionStep& step, const Batch& batch) {
    const uint32_t size = batch.rows * rotary_.dim;
    AscendC::LocalTensor<T> rotated = vector.AcquireOut();
    AscendC::Cast(rotated, results_, AscendC::RoundMode::CAST_RINT, batch.count * size);
    vector.AnnounceOut();
    if (inRing_ > ATTENTION_ROTATED_RING) WaitTaken();
    AscendC::DataCopyParams params;
    params.blockCount = batch.rows;
    params.blockLen = rotary_.dim * sizeof(T) / BLOCK;
    params.srcStride = 0;
    params.dstStride = (step.heads - 1) * params.blockLen;
    for (uint32_t i = 0; i < batch.count; ++i) {
      const uint32_t row = batch.PartOf(i) * step.rows + batch.row;
      AscendC::DataCopy(
          ringGm_[AttentionRingAt(step, attention_) + (row * step.heads + batch.HeadOf(i)) * rotary_.dim],
          rotated[i * size], params);
    }
    vector.ReleaseOut();
  }

  static constexpr uint32_t BLOCK = 32;  // bytes
  static constexpr uint32_t FLOATS = 8;  // of a block
  static constexpr uint32_t LINE = 512 / sizeof(T);

  WindowAttentionTiling attention_;
  RotaryQkvTiling rotary_;
  uint32_t half_;
  AscendC::GlobalTensor<T> qkvGm_;
  AscendC::GlobalTensor<T> ringGm_;
  Floats numbers_;
  Floats results_;
  RotaryTables<T, U> tables_;
  uint32_t inRing_ = 0;  // tasks that the cube core may not have taken yet
};
