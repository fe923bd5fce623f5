#pragma once

#include "kernel_operator.h"
#include "rows.h"
#include "schedule.h"
#include "tiling.h"

// The vector cores' side: weights = softmax(scores * scale), and, for long segments, the results put
// together. Scores come in chunks of whole rows, two in flight.
template <typename T>
class AttentionVector {
 public:
  __aicore__ inline AttentionVector() {}

  // Chunks come in through two slots, or, where half a slot holds any, through four.
  __aicore__ inline void Init(AscendC::TPipe& pipe, GM_ADDR out, GM_ADDR workspace,
                              const WindowAttentionTiling& tiling, bool halfChunks = false) {
    tiling_ = tiling;
    slots_ = halfChunks ? 4 : 2;
    valueWidth_ = tiling.pieces * tiling.pieceWidth;
    magnitude_ = tiling.scale < 0 ? -tiling.scale : tiling.scale;
    outGm_.SetGlobalBuffer((__gm__ T*)out);
    scoresGm_.SetGlobalBuffer((__gm__ float*)workspace);
    weightsGm_.SetGlobalBuffer((__gm__ T*)workspace);
    partsGm_.SetGlobalBuffer((__gm__ float*)(workspace + ATTENTION_RING * uint64_t{tiling.scoreBytes}));
    pipe.InitBuffer(buffer_, AttentionUb::ALL);
    math_.Init(buffer_.Get<uint8_t>());
    // Reductions read lanes that nobody uses: they must hold numbers.
    AscendC::Duplicate(At<float>(AttentionUb::SMALL), 0.0f, (AttentionUb::END - AttentionUb::SMALL) / 4);
    AscendC::PipeBarrier<PIPE_V>();
    AscendC::Duplicate(At<float>(AttentionUb::ONES), 1.0f, AttentionUb::MAX_ROWS);
    AscendC::Duplicate(At<float>(AttentionUb::NO_MAXIMA), AttentionRowMath::LOWEST, AttentionUb::TILE_ROWS);
    AscendC::PipeBarrier<PIPE_V>();
    for (int32_t slot = 0; slot < slots_; ++slot) {
      AscendC::SetFlag<AscendC::HardEvent::V_MTE2>(slot);
    }
    for (int32_t slot = 0; slot < 2; ++slot) {
      AscendC::SetFlag<AscendC::HardEvent::MTE3_V>(slot);
    }
  }

  // Takes back the events that Init gave out, after the last result.
  __aicore__ inline void Finish() {
    FinishResults();
    for (int32_t slot = 0; slot < slots_; ++slot) {
      AscendC::WaitFlag<AscendC::HardEvent::V_MTE2>(slot);
    }
    for (int32_t slot = 0; slot < 2; ++slot) {
      AscendC::WaitFlag<AscendC::HardEvent::MTE3_V>(slot);
    }
  }

  // Rows that no valid segment holds: NaN in invalid ones, zero past the last.
  __aicore__ inline void Fill(AttentionSegments& segments) {
    segments.Rewind();
    FillRows(0, segments.Begin(), NAN_BITS);
    while (segments.Next()) {
      if (!segments.IsValid()) FillRows(segments.Begin(), segments.End(), NAN_BITS);
    }
    FillRows(segments.End(), tiling_.tokens, 0);
  }

  // Scores to weights, in place in the workspace, for every tile of a task.
  __aicore__ inline void Weigh(const AttentionStep& step) {
    for (uint32_t sub = 0; sub < step.subs; ++sub) {
      const uint32_t all = step.heads * step.RowsOf(sub), share = step.FirstShare(sub);
      const bool isSecond = AscendC::GetSubBlockIdx() != 0;
      const uint32_t first = isSecond ? share : 0, count = isSecond ? all - share : share;
      AscendC::CrossCoreWaitFlag(ATTENTION_SCORES_READY);
      if (step.isShort) {
        WeighRows(step, sub, first, 0, count);
        AnnounceWeights();
        FinishResults();
        continue;
      }
      for (uint32_t strip = 0; strip < step.Strips(); ++strip) {
        const uint32_t row = strip * step.StripRows();
        WeighRows(step, sub, first, row, row + step.RowsOf(sub, strip, isSecond));
        AnnounceWeights();
      }
      if (count > 0) Rescale(step, count);
      // The cube core works on a tile's result while the next ones are weighed.
      FinishResult(tile_);
      Pending& pending = pending_[tile_ % LATER];
      pending = {true, step.isFirst, step.isLast, tile_, sub, first, count, step.StripRows(), 0};
      pending.out = (step.token + step.row + sub * step.SubRows() + first) * tiling_.outTokenStride +
                    step.head * tiling_.outHeadStride;
      ++tile_;
    }
  }

  // ---- chunks in and out, slots in turn; also for who computes something else between tasks ----

  __aicore__ inline uint32_t InBytes() const {
    return 2 * AttentionUb::IN_BYTES / static_cast<uint32_t>(slots_);
  }

  // For MTE2 to fill, then AnnounceIn, then V uses it, then ReleaseIn.
  template <typename U>
  __aicore__ inline AscendC::LocalTensor<U> AcquireIn() {
    AscendC::WaitFlag<AscendC::HardEvent::V_MTE2>(static_cast<int32_t>(in_));
    return At<U>(AttentionUb::IN + (in_ & 1) * AttentionUb::IN_PITCH + (in_ >> 1) * InBytes());
  }
  __aicore__ inline void AnnounceIn() {
    AscendC::SetFlag<AscendC::HardEvent::MTE2_V>(static_cast<int32_t>(in_));
    AscendC::WaitFlag<AscendC::HardEvent::MTE2_V>(static_cast<int32_t>(in_));
  }
  __aicore__ inline void ReleaseIn() {
    AscendC::SetFlag<AscendC::HardEvent::V_MTE2>(static_cast<int32_t>(in_));
    in_ = (in_ + 1) % static_cast<uint32_t>(slots_);
  }

  // For V to fill, then AnnounceOut, then MTE3 stores it, then ReleaseOut.
  __aicore__ inline AscendC::LocalTensor<T> AcquireOut() {
    AscendC::WaitFlag<AscendC::HardEvent::MTE3_V>(static_cast<int32_t>(out_));
    return At<T>(AttentionUb::OUT + out_ * AttentionUb::OUT_BYTES);
  }
  __aicore__ inline void AnnounceOut() {
    AscendC::SetFlag<AscendC::HardEvent::V_MTE3>(static_cast<int32_t>(out_));
    AscendC::WaitFlag<AscendC::HardEvent::V_MTE3>(static_cast<int32_t>(out_));
  }
  __aicore__ inline void ReleaseOut() {
    AscendC::SetFlag<AscendC::HardEvent::MTE3_V>(static_cast<int32_t>(out_));
    out_ = 1 - out_;
  }

  // A place that only tasks over long segments use.
  template <typename U>
  __aicore__ inline AscendC::LocalTensor<U> Spare(uint32_t bytes) {
    return At<U>(bytes);
  }

 private:
  // A tile whose result the cube core is working on.
  struct Pending {
    bool exists;
    bool isFirst;
    bool isLast;
    uint32_t tile;
    uint32_t sub;
    uint32_t first;  // this core's rows of the tile
    uint32_t count;
    uint32_t strip;  // rows of this core that lie together in the part
    uint64_t out;    // where they go
  };

  static constexpr uint32_t LATER = ATTENTION_RESULTS - 1;  // so many tiles a result is put together
  static constexpr int16_t NAN_BITS = 0x7FFF;               // of a half and of a bfloat16
  static constexpr int32_t MINUS_INFINITY = static_cast<int32_t>(0xFF800000);
  static constexpr uint32_t WEIGHTS_PER_SCORE = sizeof(float) / sizeof(T);

  template <typename U>
  __aicore__ inline AscendC::LocalTensor<U> At(uint32_t bytes) {
    return buffer_.Get<uint8_t>()[bytes].template ReinterpretCast<U>();
  }
  // A value for each row of a tile: its maximum, its sum, or what its earlier result is multiplied by.
  __aicore__ inline AscendC::LocalTensor<float> OfTile(uint32_t bytes, uint32_t tile) {
    return At<float>(bytes + tile % AttentionUb::TILES * AttentionUb::TILE_ROWS * sizeof(float));
  }

  __aicore__ inline AscendC::LocalTensor<float> CopyIn(const AscendC::GlobalTensor<float>& src,
                                                       uint32_t count) {
    AscendC::LocalTensor<float> x = AcquireIn<float>();
    AscendC::DataCopy(x, src, count);
    AnnounceIn();
    return x;
  }

  __aicore__ inline AscendC::LocalTensor<T> Round(const AscendC::LocalTensor<float>& x, uint32_t count) {
    AscendC::LocalTensor<T> rounded = AcquireOut();
    AscendC::Cast(rounded, x, AscendC::RoundMode::CAST_RINT, count);
    AnnounceOut();
    return rounded;
  }

  // ---- weights ----

  __aicore__ inline void AnnounceWeights() {
    AscendC::CrossCoreSetFlag<ATTENTION_CUBE_AND_VECTORS, PIPE_MTE3>(ATTENTION_WEIGHTS_READY);
  }

  // The rows' maxima in the blocks of keys so far.
  __aicore__ inline AscendC::LocalTensor<float> Before(const AttentionStep& step) {
    return step.isFirst ? At<float>(AttentionUb::NO_MAXIMA) : OfTile(AttentionUb::MAXIMA, tile_ - step.subs);
  }

  // Weights of rows `begin` to `end` of this core's, which begin at row `first` of the tile.
  __aicore__ inline void WeighRows(const AttentionStep& step, uint32_t sub, uint32_t first, uint32_t begin,
                                   uint32_t end) {
    const uint32_t pitch = step.Pitch();
    const uint32_t most = AttentionUb::CHUNK / pitch / 8 * 8;
    // In floats; weights take the place of this core's scores, rows that are in UB already.
    const uint64_t tile = AttentionScoresAt(step, sub, tiling_) + first * pitch;
    // A short task's rows are one chunk.
    for (uint32_t row = begin; row < end; row += most) {
      const uint32_t rows = AttentionMin(most, end - row);
      AscendC::LocalTensor<float> x = CopyIn(scoresGm_[tile + row * pitch], rows * pitch);
      TakeSign(x, rows * pitch);
      MaskKeys(x, rows, step.keys, pitch, MINUS_INFINITY);
      if (step.isShort) {
        WeighWhole(step, x, rows, tile * WEIGHTS_PER_SCORE);
      } else {
        AscendC::LocalTensor<T> weights = AcquireOut();
        WeighPart(x, weights.template ReinterpretCast<float>(), OfTile(AttentionUb::MAXIMA, tile_)[row],
                  OfTile(AttentionUb::SUMS, tile_)[row], Before(step)[row], rows, step.keys, pitch);
        AscendC::Cast(weights, x, AscendC::RoundMode::CAST_RINT, rows * pitch);
        AnnounceOut();
        ReleaseIn();
        AscendC::DataCopy(weightsGm_[tile * WEIGHTS_PER_SCORE + row * pitch], weights, rows * pitch);
        ReleaseOut();
      }
    }
  }

  // Weights of a short task, in two terms. Divided by their sum and rounded, the largest weight of a row
  // would lose the exact 1 that it has before: so they are divided by a number whose reciprocal T holds
  // exactly, and what that lacks of the sum is the second term's factor.
  __aicore__ inline void WeighWhole(const AttentionStep& step, const AscendC::LocalTensor<float>& x,
                                    uint32_t rows, uint64_t base) {
    const uint32_t pitch = step.Pitch(), columns = AttentionRoundUp(step.keys, ATTENTION_FRACTAL);
    AscendC::LocalTensor<float> sums = At<float>(AttentionUb::ROWS);
    AscendC::LocalTensor<float> factors = At<float>(AttentionUb::FIRST_FACTORS);
    AscendC::LocalTensor<float> rest = At<float>(AttentionUb::SECOND_FACTORS);
    math_.template Reduce<true>(sums, x, rows, pitch);
    Exponentiate(x, sums, rows, step.keys, pitch);
    math_.template Reduce<false>(sums, x, rows, pitch);
    SplitReciprocals(factors, rest, sums, rows);
    math_.template Apply<false>(x, factors, rows, pitch, pitch);
    StoreFractals(step, x, base, rows);
    math_.template Apply<false>(x, rest, rows, pitch, pitch);
    StoreFractals(step, x, base + rows * columns, rows);
    ReleaseIn();
  }

  // 1 / sums = factors (1 + rest), factors numbers of T.
  __aicore__ inline void SplitReciprocals(const AscendC::LocalTensor<float>& factors,
                                          const AscendC::LocalTensor<float>& rest,
                                          const AscendC::LocalTensor<float>& sums, uint32_t rows) {
    const int32_t count = static_cast<int32_t>(rows);
    AscendC::LocalTensor<T> rounded = At<T>(AttentionUb::ROUNDED);
    // Reciprocal is too coarse for a denominator.
    AscendC::Div(rest, At<float>(AttentionUb::ONES), sums, count);
    AscendC::PipeBarrier<PIPE_V>();
    AscendC::Cast(rounded, rest, AscendC::RoundMode::CAST_RINT, rows);
    AscendC::PipeBarrier<PIPE_V>();
    AscendC::Cast(factors, rounded, AscendC::RoundMode::CAST_NONE, rows);
    AscendC::PipeBarrier<PIPE_V>();
    AscendC::Sub(rest, rest, factors, count);
    AscendC::PipeBarrier<PIPE_V>();
    AscendC::Mul(rest, rest, sums, count);
    AscendC::PipeBarrier<PIPE_V>();
  }

  // One term of a short task's weights, rounded into the fractals that L1 wants, head after head, and stored
  // in one piece.
  __aicore__ inline void StoreFractals(const AttentionStep& step, const AscendC::LocalTensor<float>& x,
                                       uint64_t at, uint32_t rows) {
    const uint32_t pitch = step.Pitch(), columns = AttentionRoundUp(step.keys, ATTENTION_FRACTAL);
    const uint16_t rowsEach = static_cast<uint16_t>(step.heads > 1 ? step.rows : rows);
    AscendC::LocalTensor<T> weights = AcquireOut();
    for (uint32_t first = 0; first < rows; first += rowsEach) {
      for (uint32_t key = 0; key < columns; key += ATTENTION_LANES) {
        const uint64_t lanes = AttentionMin(ATTENTION_LANES, columns - key);
        AscendC::Cast(weights[first * columns + key * rowsEach], x[first * pitch + key],
                      AscendC::RoundMode::CAST_RINT, lanes, static_cast<uint8_t>(rowsEach),
                      {rowsEach, 1, 1, static_cast<uint8_t>(pitch / 8)});
      }
    }
    AnnounceOut();
    AscendC::DataCopy(weightsGm_[at], weights, rows * columns);
    ReleaseOut();
  }

  // Rows of which there may be more keys: relative to the maximum so far, sums left to the end. `halves` has
  // room for half of x.
  __aicore__ inline void WeighPart(const AscendC::LocalTensor<float>& x,
                                   const AscendC::LocalTensor<float>& halves,
                                   const AscendC::LocalTensor<float>& maxima,
                                   const AscendC::LocalTensor<float>& sums,
                                   const AscendC::LocalTensor<float>& before, uint32_t rows, uint32_t keys,
                                   uint32_t pitch) {
    math_.template Halve<true>(halves, x, rows * pitch);
    math_.template Reduce<true>(maxima, halves, rows, pitch / 2);
    AscendC::Max(maxima, maxima, before, static_cast<int32_t>(rows));
    AscendC::PipeBarrier<PIPE_V>();
    Exponentiate(x, maxima, rows, keys, pitch);
    math_.template Halve<false>(halves, x, rows * pitch);
    math_.template Reduce<false>(sums, halves, rows, pitch / 2);
  }

  // What the new maxima make of the earlier results and sums.
  __aicore__ inline void Rescale(const AttentionStep& step, uint32_t count) {
    const int32_t rows = static_cast<int32_t>(count);
    AscendC::LocalTensor<float> factors = OfTile(AttentionUb::FACTORS, tile_);
    AscendC::LocalTensor<float> sums = OfTile(AttentionUb::SUMS, tile_);
    AscendC::Sub(factors, Before(step), OfTile(AttentionUb::MAXIMA, tile_), rows);
    AscendC::PipeBarrier<PIPE_V>();
    AscendC::Muls(factors, factors, magnitude_, rows);
    AscendC::PipeBarrier<PIPE_V>();
    AscendC::Exp(factors, factors, rows);
    AscendC::PipeBarrier<PIPE_V>();
    if (step.isFirst) return;
    AscendC::MulAddDst(sums, OfTile(AttentionUb::SUMS, tile_ - step.subs), factors, rows);
    AscendC::PipeBarrier<PIPE_V>();
  }

  // A negative scale turns the order of scores round: from here on scores have its sign and the scale is its
  // magnitude.
  __aicore__ inline void TakeSign(const AscendC::LocalTensor<float>& x, uint32_t count) {
    if (tiling_.scale >= 0) return;
    AscendC::Muls(x, x, -1.0f, static_cast<int32_t>(count));
    AscendC::PipeBarrier<PIPE_V>();
  }

  // Fills the lanes past the last key.
  __aicore__ inline void MaskKeys(const AscendC::LocalTensor<float>& x, uint32_t rows, uint32_t keys,
                                  uint32_t pitch, int32_t bits) {
    if (keys == pitch) return;
    for (uint32_t at = keys / ATTENTION_LANES * ATTENTION_LANES; at < pitch; at += ATTENTION_LANES) {
      uint64_t mask[2] = {at < keys ? ~uint64_t{0} << (keys - at) : ~uint64_t{0}, 0};
      AscendC::Duplicate(x[at].ReinterpretCast<int32_t>(), bits, mask, static_cast<uint8_t>(rows), 1,
                         static_cast<uint8_t>(pitch / 8));
    }
    AscendC::PipeBarrier<PIPE_V>();
  }

  // x = exp((x - maxima) * scale): scaled last, so that the exponent is never above zero.
  __aicore__ inline void Exponentiate(const AscendC::LocalTensor<float>& x,
                                      const AscendC::LocalTensor<float>& maxima, uint32_t rows, uint32_t keys,
                                      uint32_t pitch) {
    const int32_t count = static_cast<int32_t>(rows * pitch);
    math_.template Apply<true>(x, maxima, rows, pitch, pitch);
    if (magnitude_ != 1) {
      AscendC::Muls(x, x, magnitude_, count);
      AscendC::PipeBarrier<PIPE_V>();
    }
    AscendC::Exp(x, x, count);
    AscendC::PipeBarrier<PIPE_V>();
    // Minus infinity times a scale of zero is NaN.
    if (magnitude_ == 0) MaskKeys(x, rows, keys, pitch, 0);
  }

  // ---- results of long tasks ----

  // All that are pending.
  __aicore__ inline void FinishResults() {
    for (uint32_t i = 0; i < LATER; ++i) FinishResult(tile_ + i);
  }

  // Adds the part of the tile LATER tiles before `tile` to its rows' results; stores them after the last one.
  __aicore__ inline void FinishResult(uint32_t tile) {
    Pending& pending = pending_[tile % LATER];
    if (!pending.exists) return;
    pending.exists = false;
    const uint32_t rows = pending.count;
    AscendC::LocalTensor<float> summed =
        At<float>(AttentionUb::SUMMED + pending.sub * AttentionUb::SUMMED_BYTES);
    if (!pending.isFirst && rows > 0) {
      math_.template Apply<false>(summed, OfTile(AttentionUb::FACTORS, pending.tile), rows, valueWidth_,
                                  valueWidth_);
    }
    AscendC::CrossCoreWaitFlag(ATTENTION_RESULT_READY);
    const uint32_t slot = part_++ % ATTENTION_RESULTS;
    if (rows == 0) return;
    const int32_t count = static_cast<int32_t>(rows * valueWidth_);
    const AscendC::LocalTensor<float> part = CopyPart(pending, slot);
    if (pending.isFirst) {
      AscendC::Muls(summed, part, 1.0f, count);
    } else {
      AscendC::Add(summed, summed, part, count);
    }
    AscendC::PipeBarrier<PIPE_V>();
    ReleaseIn();
    if (pending.isLast) StoreResult(pending, summed, rows);
  }

  // This core's rows of a part. It lies strip after strip, in each the first vector core's rows come first.
  __aicore__ inline AscendC::LocalTensor<float> CopyPart(const Pending& pending, uint32_t slot) {
    const AscendC::GlobalTensor<float> strips = partsGm_[slot * (tiling_.outBytes / sizeof(float))];
    AscendC::LocalTensor<float> part = AcquireIn<float>();
    for (uint32_t row = 0; row < pending.count; row += pending.strip) {
      const uint32_t before = pending.first > row ? AttentionMin(pending.strip, pending.first - row) : 0;
      const uint32_t rows = AttentionMin(pending.strip, pending.count - row);
      AscendC::DataCopy(part[row * valueWidth_], strips[(2 * row + before) * valueWidth_],
                        rows * valueWidth_);
    }
    AnnounceIn();
    return part;
  }

  __aicore__ inline void StoreResult(const Pending& pending, const AscendC::LocalTensor<float>& summed,
                                     uint32_t rows) {
    AscendC::LocalTensor<float> sums = OfTile(AttentionUb::SUMS, pending.tile);
    AscendC::Div(sums, At<float>(AttentionUb::ONES), sums, static_cast<int32_t>(rows));
    AscendC::PipeBarrier<PIPE_V>();
    math_.template Apply<false>(summed, sums, rows, valueWidth_, valueWidth_);
    AscendC::LocalTensor<T> result = Round(summed, rows * valueWidth_);
    const uint32_t bytes = tiling_.pieceOut * sizeof(T);
    AscendC::DataCopyExtParams params;
    params.blockCount = rows;
    params.blockLen = bytes;
    params.srcStride = (valueWidth_ * sizeof(T) - AttentionRoundUp(bytes, BLOCK)) / BLOCK;
    params.dstStride = tiling_.outTokenStride * sizeof(T) - bytes;
    for (uint32_t piece = 0; piece < tiling_.pieces; ++piece) {
      AscendC::DataCopyPad(outGm_[pending.out + piece * tiling_.pieceOut], result[piece * tiling_.pieceWidth],
                           params);
    }
    ReleaseOut();
    AscendC::PipeBarrier<PIPE_V>();
  }

  // ---- rows without a segment ----

  __aicore__ inline void FillRows(uint32_t begin, uint32_t end, int16_t bits) {
    if (begin >= end) return;
    const uint32_t bytes = tiling_.pieces * tiling_.pieceOut * sizeof(T);
    const uint32_t pitch = AttentionRoundUp(bytes, BLOCK), most = AttentionUb::OUT_BYTES / pitch;
    AscendC::LocalTensor<int16_t> values = At<int16_t>(AttentionUb::OUT);
    AscendC::WaitFlag<AscendC::HardEvent::MTE3_V>(0);
    AscendC::Duplicate(values, bits, AttentionUb::OUT_BYTES / sizeof(int16_t));
    AscendC::SetFlag<AscendC::HardEvent::V_MTE3>(0);
    AscendC::WaitFlag<AscendC::HardEvent::V_MTE3>(0);
    // Rows go round all vector cores.
    const uint32_t cores = 2 * AscendC::GetBlockNum(), core = AscendC::GetBlockIdx();
    for (uint32_t row = begin + (core + cores - begin % cores) % cores; row < end; row += cores) {
      for (uint32_t head = 0; head < tiling_.heads; head += most) {
        AscendC::DataCopyExtParams params;
        params.blockCount = AttentionMin(most, tiling_.heads - head);
        params.blockLen = bytes;
        params.srcStride = 0;
        params.dstStride = tiling_.outHeadStride * sizeof(T) - bytes;
        AscendC::DataCopyPad(outGm_[row * tiling_.outTokenStride + head * tiling_.outHeadStride],
                             values.ReinterpretCast<T>(), params);
      }
    }
    AscendC::SetFlag<AscendC::HardEvent::MTE3_V>(0);
  }

  static constexpr uint32_t BLOCK = 32;  // bytes

  WindowAttentionTiling tiling_;
  uint32_t valueWidth_;
  float magnitude_;
  AscendC::GlobalTensor<T> outGm_;
  AscendC::GlobalTensor<float> scoresGm_;
  AscendC::GlobalTensor<T> weightsGm_;
  AscendC::GlobalTensor<float> partsGm_;
  AscendC::TBuf<AscendC::TPosition::VECCALC> buffer_;
  AttentionRowMath math_;
  Pending pending_[LATER] = {};
  int32_t slots_;      // of chunks in
  uint32_t in_ = 0;    // the next chunk in
  uint32_t out_ = 0;   // the next chunk out
  uint32_t tile_ = 8;  // counts tiles of long tasks; the ones before it exist
  uint32_t part_ = 0;  // counts parts of results
};
