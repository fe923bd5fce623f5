#pragma once

#include "kernel_operator.h"
#include "schedule.h"
#include "source.h"
#include "tiling.h"

// GM to L1, as fractals: q and k, v, and the weights that the vector cores left.
template <typename T>
class AttentionLoads {
 public:
  __aicore__ inline AttentionLoads() {}

  __aicore__ inline void Init(GM_ADDR v, GM_ADDR workspace, const WindowAttentionTiling& tiling) {
    tiling_ = tiling;
    valueWidth_ = tiling.pieces * tiling.pieceWidth;
    vGm_.SetGlobalBuffer((__gm__ T*)v);
    weightsGm_.SetGlobalBuffer((__gm__ T*)workspace);
  }

  // Heads of `rows` x `columns` to fractals, `paddedRows` rows each and `matrix` elements apart in L1, behind
  // `lead` columns more.
  __aicore__ inline void Heads(const AscendC::LocalTensor<T>& dst, const AttentionHeads<T>& src,
                               uint32_t heads, uint32_t rows, uint32_t columns, uint32_t paddedRows,
                               uint32_t matrix, uint32_t lead = 0) {
    AscendC::Nd2NzParams params;
    params.ndNum = 1;
    params.nValue = rows;
    params.dValue = columns;
    params.srcNdMatrixStride = 0;
    params.srcDValue = src.tokenStride;
    params.dstNzC0Stride = paddedRows;
    params.dstNzNStride = 1;
    params.dstNzMatrixStride = 0;
    if (lead > 0 || (heads > 1 && src.headStride == columns && matrix == columns * paddedRows)) {
      // Heads side by side without padding are one wide matrix, in longer bursts.
      params.dValue = lead + heads * columns;
    } else if (heads > 1 && src.headStride <= MAX_STRIDE) {
      params.ndNum = heads;
      params.srcNdMatrixStride = src.headStride;
      params.dstNzMatrixStride = matrix;
    } else {
      for (uint32_t head = 0; head < heads; ++head) {
        AscendC::DataCopy(dst[head * matrix], src.data[uint64_t{head} * src.headStride], params);
      }
      return;
    }
    AscendC::DataCopy(dst, src.data, params);
  }

  // As Heads, of heads of k or v that several heads of q may share; `src` begins at the one of head `head`.
  __aicore__ inline void SharedHeads(const AscendC::LocalTensor<T>& dst, const AttentionHeads<T>& src,
                                     uint32_t head, uint32_t heads, uint32_t rows, uint32_t columns,
                                     uint32_t paddedRows, uint32_t matrix, uint32_t lead = 0) {
    const uint32_t sharing = tiling_.heads / tiling_.kvHeads;
    if (sharing == 1) {
      Heads(dst, src, heads, rows, columns, paddedRows, matrix, lead);
      return;
    }
    AttentionHeads<T> from = src;
    for (uint32_t i = 0; i < heads; ++i) {
      from.data = src.data[uint64_t{(head + i) / sharing - head / sharing} * src.headStride];
      Heads(dst[i * matrix], from, 1, rows, columns, paddedRows, matrix);
    }
  }

  // v of `heads` heads behind `lead` columns: pieces side by side, every row that fills up the last fractal
  // and every column that fills up a piece zero.
  __aicore__ inline void Values(const AscendC::LocalTensor<T>& v1, uint32_t token, uint32_t head,
                                uint32_t heads, uint32_t rows, uint32_t lead = 0) {
    const uint32_t padded = AttentionRoundUp(rows, ATTENTION_FRACTAL);
    const uint32_t columns = AttentionRoundUp(tiling_.pieceIn, ATTENTION_FRACTAL);
    const uint32_t shared = head / (tiling_.heads / tiling_.kvHeads);
    AttentionHeads<T> src;
    src.tokenStride = tiling_.vTokenStride;
    src.headStride = tiling_.vHeadStride;
    for (uint32_t piece = 0; piece < tiling_.pieces; ++piece) {
      src.data = vGm_[token * tiling_.vTokenStride + shared * tiling_.vHeadStride +
                      piece * tiling_.pieceInStride - lead];
      SharedHeads(v1[piece * tiling_.pieceWidth * padded], src, head, heads, rows, tiling_.pieceIn, padded,
                  padded * valueWidth_, lead);
    }
    if (columns == tiling_.pieceWidth) {
      ClearRest(v1, rows, lead + heads * valueWidth_);
      return;
    }
    for (uint32_t i = 0; i < heads * tiling_.pieces; ++i) {
      ClearRest(v1[i * tiling_.pieceWidth * padded], rows, columns);
    }
    Clear(v1[columns * padded], heads * tiling_.pieces,
          (tiling_.pieceWidth - columns) / ATTENTION_FRACTAL * padded, columns / ATTENTION_FRACTAL * padded);
  }

  // A term of a short task's weights, the first or the second. Each vector core left its heads, or its rows
  // of the only one, as fractals where its scores began.
  __aicore__ inline void WeightTerm(const AscendC::LocalTensor<T>& p1, const AttentionStep& step,
                                    uint32_t term) {
    const uint32_t pitch = step.Pitch(), padded = AttentionRoundUp(step.rows, ATTENTION_FRACTAL);
    const uint32_t share = step.FirstShare(0), all = step.heads * step.rows;
    for (uint32_t first = 0; first < all; first += share) {
      const uint32_t rows = AttentionMin(share, all - first);
      const uint32_t heads = step.heads > 1 ? rows / step.rows : 1;
      const uint64_t from =
          (uint64_t{AttentionScoresAt(step, 0, tiling_)} + first * pitch) * (sizeof(float) / sizeof(T)) +
          term * rows * AttentionRoundUp(step.keys, ATTENTION_FRACTAL);
      AscendC::DataCopyParams params;
      params.blockCount = heads * padded / ATTENTION_FRACTAL;
      params.blockLen = rows / heads;
      params.srcStride = 0;
      params.dstStride = padded - rows / heads;
      if (params.dstStride == 0) {
        params.blockLen *= params.blockCount;
        params.blockCount = 1;
      }
      AscendC::DataCopy(p1[step.heads > 1 ? first / step.rows * padded * padded : first * ATTENTION_FRACTAL],
                        weightsGm_[from], params);
    }
    ClearRest(p1, step.rows, step.heads * padded);
  }

  // Weights of a strip of a long task's tile and `keys` keys from `key` on. Each vector core left its rows
  // where its scores began.
  __aicore__ inline void Weights(const AscendC::LocalTensor<T>& p1, const AttentionStep& step, uint32_t sub,
                                 uint32_t strip, uint32_t key, uint32_t keys) {
    const uint32_t first = step.RowsOf(sub, strip, false), second = step.RowsOf(sub, strip, true);
    const uint32_t pitch = step.Pitch(), padded = AttentionRoundUp(first + second, ATTENTION_FRACTAL);
    const uint32_t columns = AttentionRoundUp(keys, ATTENTION_FRACTAL);
    const uint64_t begin = uint64_t{AttentionScoresAt(step, sub, tiling_)} * (sizeof(float) / sizeof(T)) +
                           strip * step.StripRows() * pitch + key;
    AttentionHeads<T> src;
    src.tokenStride = pitch;
    src.headStride = 0;
    src.data = weightsGm_[begin];
    Heads(p1, src, 1, first, columns, padded, 0);
    src.data = weightsGm_[begin + step.FirstShare(sub) * pitch * (sizeof(float) / sizeof(T))];
    if (second > 0) Heads(p1[first * ATTENTION_FRACTAL], src, 1, second, columns, padded, 0);
    ClearRest(p1, first + second, columns);
  }

  // Zeros in the rows that fill up the last fractal: they take part in products.
  __aicore__ inline void ClearRest(const AscendC::LocalTensor<T>& dst, uint32_t rows, uint32_t columns) {
    const uint32_t padded = AttentionRoundUp(rows, ATTENTION_FRACTAL);
    if (padded == rows) return;
    Clear(dst[rows * ATTENTION_FRACTAL], columns / ATTENTION_FRACTAL, padded - rows, rows);
  }

 private:
  static constexpr uint32_t MAX_STRIDE = 65535;  // of Nd2NzParams

  // Zeros in L1: `repeat` runs of `blocks` blocks of 32 bytes, `gap` apart.
  __aicore__ inline void Clear(const AscendC::LocalTensor<T>& dst, uint32_t repeat, uint32_t blocks,
                               uint32_t gap) {
    AscendC::InitConstValueParams<half> params;
    params.repeatTimes = repeat;
    params.blockNum = blocks;
    params.dstGap = gap;
    params.initValue = static_cast<half>(0);
    AscendC::InitConstValue(dst.template ReinterpretCast<half>(), params);
  }

  WindowAttentionTiling tiling_;
  uint32_t valueWidth_;
  AscendC::GlobalTensor<T> vGm_;
  AscendC::GlobalTensor<T> weightsGm_;  // in the scores' place
};
