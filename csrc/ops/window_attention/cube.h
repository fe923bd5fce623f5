#pragma once

#include "kernel_operator.h"
#include "schedule.h"
#include "source.h"
#include "tiling.h"

// The cube core's side: scores = q k^T into the workspace, result = weights v out of it.
//
// L1 holds two slots each of q, k, v and weights; L0A, L0B and the scores' and results' halves of L0C two
// each. Every slot has an event that says it is full and one that says it is free.

template <typename T>
struct AttentionQuant {};
template <>
struct AttentionQuant<half> {
  static constexpr QuantMode_t MODE = QuantMode_t::F322F16;
};
template <>
struct AttentionQuant<bfloat16_t> {
  static constexpr QuantMode_t MODE = QuantMode_t::F322BF16;
};

// Two slots in turn: their events, how many were filled and how many used up.
struct AttentionSlots {
  int32_t event;
  uint32_t bytes;
  uint32_t filled;
  uint32_t used;
};

template <typename T>
class AttentionCube {
 public:
  __aicore__ inline AttentionCube() {}

  __aicore__ inline void Init(AscendC::TPipe& pipe, GM_ADDR v, GM_ADDR out, GM_ADDR workspace,
                              const WindowAttentionTiling& tiling) {
    tiling_ = tiling;
    width_ = AttentionRoundUp(tiling.dim, ATTENTION_FRACTAL);
    valueWidth_ = tiling.pieces * tiling.pieceWidth;
    vGm_.SetGlobalBuffer((__gm__ T*)v);
    outGm_.SetGlobalBuffer((__gm__ T*)out);
    scoresGm_.SetGlobalBuffer((__gm__ float*)workspace);
    weightsGm_.SetGlobalBuffer((__gm__ T*)workspace);
    resultGm_.SetGlobalBuffer((__gm__ float*)(workspace + ATTENTION_RING * uint64_t{tiling.scoreBytes}));
    qSlots_ = {Q_EVENT, tiling.qkSlotBytes, 0, 0};
    kSlots_ = {K_EVENT, tiling.qkSlotBytes, 0, 0};
    vSlots_ = {V_EVENT, tiling.vSlotBytes, 0, 0};
    pSlots_ = {P_EVENT, tiling.pSlotBytes, 0, 0};
    pipe.InitBuffer(q1_, 2 * tiling.qkSlotBytes);
    pipe.InitBuffer(k1_, 2 * tiling.qkSlotBytes);
    pipe.InitBuffer(v1_, 2 * tiling.vSlotBytes);
    pipe.InitBuffer(p1_, 2 * tiling.pSlotBytes);
    pipe.InitBuffer(a2_, 2 * L0_SLOT);
    pipe.InitBuffer(b2_, 2 * L0_SLOT);
    pipe.InitBuffer(c_, 4 * L0C_SLOT);
    for (int32_t slot = 0; slot < 8; ++slot) {
      AscendC::SetFlag<AscendC::HardEvent::MTE1_MTE2>(slot);
    }
    for (int32_t slot = 0; slot < 2; ++slot) {
      AscendC::SetFlag<AscendC::HardEvent::M_MTE1>(L0_FREE + slot);
    }
    for (int32_t slot = 0; slot < 4; ++slot) {
      AscendC::SetFlag<AscendC::HardEvent::FIX_M>(slot);
    }
  }

  // Takes back the events that Init gave out: every set needs its wait.
  __aicore__ inline void Finish() {
    for (int32_t slot = 0; slot < 8; ++slot) {
      AscendC::WaitFlag<AscendC::HardEvent::MTE1_MTE2>(slot);
    }
    for (int32_t slot = 0; slot < 2; ++slot) {
      AscendC::WaitFlag<AscendC::HardEvent::M_MTE1>(L0_FREE + slot);
    }
    for (int32_t slot = 0; slot < 4; ++slot) {
      AscendC::WaitFlag<AscendC::HardEvent::FIX_M>(slot);
    }
  }

  // A short task's q and k, ahead of its scores. Both begin at the segment's first token, q at the task's
  // first head, k at its own first head of all.
  __aicore__ inline void LoadShort(const AttentionStep& step, const AttentionHeads<T>& q,
                                   const AttentionHeads<T>& k) {
    const uint32_t rows = AttentionRoundUp(step.rows, ATTENTION_FRACTAL);
    AscendC::LocalTensor<T> q1 = Acquire(q1_, qSlots_);
    LoadHeads(q1, q, step.heads, step.rows, tiling_.dim, rows, rows * width_);
    ClearRest(q1, step.rows, step.heads * width_);
    Announce(qSlots_);
    AscendC::LocalTensor<T> k1 = Acquire(k1_, kSlots_);
    LoadShared(k1, k, step.head, step.heads, step.rows, tiling_.dim, rows, rows * width_);
    Announce(kSlots_);
  }

  // Scores of a short task whose q and k are loaded.
  __aicore__ inline void ScoresShort(const AttentionStep& step) {
    const uint32_t rows = AttentionRoundUp(step.rows, ATTENTION_FRACTAL);
    AscendC::LocalTensor<T> q1 = Take(q1_, qSlots_);
    AscendC::LocalTensor<T> k1 = Take(k1_, kSlots_);
    const uint32_t pitch = step.Pitch();
    AscendC::GlobalTensor<float> scores = scoresGm_[ScoresAt(step, 0)];
    for (uint32_t head = 0; head < step.heads; ++head) {
      const uint32_t at = head * rows * width_;
      for (uint32_t row = 0; row < step.rows; row += SCORE_ROWS) {
        ScoreBlock(scores[(head * step.rows + row) * pitch], pitch, q1[at], rows, row,
                   AttentionMin(SCORE_ROWS, step.rows - row), k1[at], step.keys);
      }
    }
    Release(qSlots_);
    Release(kSlots_);
    AscendC::CrossCoreSetFlag<ATTENTION_CUBE_AND_VECTORS, PIPE_FIX>(ATTENTION_SCORES_READY);
  }

  // Scores of some tiles of rows and a block of keys of a long segment: k streams through L1 once.
  __aicore__ inline void ScoresLong(const AttentionStep& step, const AttentionHeads<T>& q,
                                    const AttentionHeads<T>& k) {
    if (step.isFirst) {
      for (uint32_t sub = 0; sub < step.subs; ++sub) {
        const uint32_t count = step.RowsOf(sub);
        AscendC::LocalTensor<T> q1 = Acquire(q1_, qSlots_);
        AttentionHeads<T> rows = q;
        rows.data = q.data[uint64_t{step.row + sub * step.SubRows()} * q.tokenStride];
        LoadHeads(q1, rows, 1, count, tiling_.dim, AttentionRoundUp(count, ATTENTION_FRACTAL), 0);
        ClearRest(q1, count, width_);
        Announce(qSlots_);
        Take(q1_, qSlots_, sub);
      }
    }
    for (uint32_t key = 0; key < step.keys; key += tiling_.slotRows) {
      LoadKeys(step, k, key);
      ScoreKeys(step, key);
    }
    for (uint32_t sub = 0; sub < step.subs; ++sub) {
      if (step.isLast) Release(qSlots_);
      AscendC::CrossCoreSetFlag<ATTENTION_CUBE_AND_VECTORS, PIPE_FIX>(ATTENTION_SCORES_READY);
    }
  }

  // v of a short task.
  __aicore__ inline void LoadShortValues(const AttentionStep& step) {
    AscendC::LocalTensor<T> v1 = Acquire(v1_, vSlots_);
    LoadValues(v1, step.token, step.head, step.heads, step.rows);
    Announce(vSlots_);
  }

  // The result of a short task whose v is loaded, once its weights are there.
  __aicore__ inline void ValuesShort(const AttentionStep& step) {
    const uint32_t rows = AttentionRoundUp(step.rows, ATTENTION_FRACTAL);
    AscendC::CrossCoreWaitFlag(ATTENTION_WEIGHTS_READY);
    AscendC::LocalTensor<T> first = TakeFractals(step, 0), second = TakeFractals(step, 1);
    AscendC::LocalTensor<T> v1 = Take(v1_, vSlots_);
    for (uint32_t head = 0; head < step.heads; ++head) {
      const uint32_t out = AcquireResult(step.rows), at = head * rows * rows;
      AscendC::LocalTensor<T> values = v1[head * rows * valueWidth_];
      Accumulate(out, step.rows, first[at], rows, values, rows, 0, true, false);
      Accumulate(out, step.rows, second[at], rows, values, rows, 0, false, true);
      StoreOut(step, step.head + head, step.token, step.rows, out);
    }
    Release(pSlots_);
    Release(pSlots_);
    Release(vSlots_);
  }

  // The results of a long task's tiles, parts that the vector cores put together.
  __aicore__ inline void ValuesLong(const AttentionStep& step) {
    const uint32_t half = tiling_.keys / 2;
    const uint32_t halves = (step.keys + half - 1) / half;
    for (uint32_t i = 0; i < halves; ++i) {
      AscendC::LocalTensor<T> v1 = Acquire(v1_, vSlots_);
      LoadValues(v1, step.token + step.key + i * half, step.head, 1,
                 AttentionMin(half, step.keys - i * half));
      Announce(vSlots_);
      Take(v1_, vSlots_, i);
    }
    for (uint32_t sub = 0; sub < step.subs; ++sub) {
      const uint32_t rows = step.RowsOf(sub);
      const uint32_t out = AcquireResult(rows);
      for (uint32_t key = 0; key < step.keys; key += tiling_.tile) {
        const uint32_t keys = AttentionMin(tiling_.tile, step.keys - key), slot = key / half;
        const uint32_t loaded =
            AttentionRoundUp(AttentionMin(half, step.keys - slot * half), ATTENTION_FRACTAL);
        AscendC::LocalTensor<T> p1 = TakeWeights(step, sub, key, keys);
        AscendC::LocalTensor<T> v1 = SlotOf(v1_, vSlots_, vSlots_.used + slot);
        Accumulate(out, rows, p1, AttentionRoundUp(keys, ATTENTION_FRACTAL), v1, loaded, key - slot * half,
                   key == 0, key + keys == step.keys);
        Release(pSlots_);
      }
      StorePart(rows, out);
    }
    for (uint32_t i = 0; i < halves; ++i) Release(vSlots_);
  }

 private:
  static constexpr uint32_t SCORE_ROWS = 64;  // of a block of scores: 64 x 128 floats are a slot of L0C
  static constexpr uint32_t L0_SLOT = 32768;
  static constexpr uint32_t L0C_SLOT = 32768;
  static constexpr int32_t Q_EVENT = 0;
  static constexpr int32_t K_EVENT = 2;
  static constexpr int32_t V_EVENT = 4;
  static constexpr int32_t P_EVENT = 6;
  static constexpr int32_t L0_FREE = 3;  // TPipe keeps M_MTE1 events 0 to 2 of a cube core for itself
  static constexpr int32_t RESULT = 2;   // events of results in L0C, after the two of scores

  // ---- slots of L1 ----

  // The slot to be filled next, once it is free; Announce says that it is full.
  template <AscendC::TPosition position>
  __aicore__ inline AscendC::LocalTensor<T> Acquire(AscendC::TBuf<position>& buffer,
                                                    const AttentionSlots& slots) {
    AscendC::WaitFlag<AscendC::HardEvent::MTE1_MTE2>(EventOf(slots, slots.filled));
    return SlotOf(buffer, slots, slots.filled);
  }

  __aicore__ inline void Announce(AttentionSlots& slots) {
    AscendC::SetFlag<AscendC::HardEvent::MTE2_MTE1>(EventOf(slots, slots.filled));
    ++slots.filled;
  }

  // The slot to be used next, or the one `later`, once it is full; Release frees the next.
  template <AscendC::TPosition position>
  __aicore__ inline AscendC::LocalTensor<T> Take(AscendC::TBuf<position>& buffer, const AttentionSlots& slots,
                                                 uint32_t later = 0) {
    AscendC::WaitFlag<AscendC::HardEvent::MTE2_MTE1>(EventOf(slots, slots.used + later));
    return SlotOf(buffer, slots, slots.used + later);
  }

  __aicore__ inline void Release(AttentionSlots& slots) {
    AscendC::SetFlag<AscendC::HardEvent::MTE1_MTE2>(EventOf(slots, slots.used));
    ++slots.used;
  }

  __aicore__ inline int32_t EventOf(const AttentionSlots& slots, uint32_t turn) const {
    return slots.event + static_cast<int32_t>(turn & 1);
  }

  template <AscendC::TPosition position>
  __aicore__ inline AscendC::LocalTensor<T> SlotOf(AscendC::TBuf<position>& buffer,
                                                   const AttentionSlots& slots, uint32_t turn) const {
    return buffer.template Get<T>()[(turn & 1) * (slots.bytes / sizeof(T))];
  }

  // ---- GM to L1 ----

  // Heads of `rows` x `columns` to fractals, `paddedRows` rows each and `matrix` elements apart in L1.
  __aicore__ inline void LoadHeads(const AscendC::LocalTensor<T>& dst, const AttentionHeads<T>& src,
                                   uint32_t heads, uint32_t rows, uint32_t columns, uint32_t paddedRows,
                                   uint32_t matrix) {
    AscendC::Nd2NzParams params;
    params.ndNum = 1;
    params.nValue = rows;
    params.dValue = columns;
    params.srcNdMatrixStride = 0;
    params.srcDValue = src.tokenStride;
    params.dstNzC0Stride = paddedRows;
    params.dstNzNStride = 1;
    params.dstNzMatrixStride = 0;
    if (heads > 1 && src.headStride == columns && matrix == columns * paddedRows) {
      // Heads side by side without padding are one wide matrix, in longer bursts.
      params.dValue = heads * columns;
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

  // As LoadHeads, of heads of k or v that several heads of q may share; `src` begins at the one of head
  // `head`.
  __aicore__ inline void LoadShared(const AscendC::LocalTensor<T>& dst, const AttentionHeads<T>& src,
                                    uint32_t head, uint32_t heads, uint32_t rows, uint32_t columns,
                                    uint32_t paddedRows, uint32_t matrix) {
    const uint32_t sharing = tiling_.heads / tiling_.kvHeads;
    if (sharing == 1) {
      LoadHeads(dst, src, heads, rows, columns, paddedRows, matrix);
      return;
    }
    AttentionHeads<T> from = src;
    for (uint32_t i = 0; i < heads; ++i) {
      from.data = src.data[uint64_t{(head + i) / sharing - head / sharing} * src.headStride];
      LoadHeads(dst[i * matrix], from, 1, rows, columns, paddedRows, matrix);
    }
  }

  __aicore__ inline void LoadKeys(const AttentionStep& step, const AttentionHeads<T>& k, uint32_t key) {
    AscendC::LocalTensor<T> k1 = Acquire(k1_, kSlots_);
    const uint32_t end = AttentionMin(step.keys, key + tiling_.slotRows);
    // Each block of keys is a matrix of its own, which one load takes to L0B.
    for (uint32_t at = key; at < end; at += tiling_.tile) {
      const uint32_t keys = AttentionMin(tiling_.tile, end - at);
      AttentionHeads<T> rows = k;
      rows.data = k.data[uint64_t{step.key + at} * k.tokenStride];
      LoadShared(k1[(at - key) * width_], rows, step.head, 1, keys, tiling_.dim,
                 AttentionRoundUp(keys, ATTENTION_FRACTAL), 0);
    }
    Announce(kSlots_);
  }

  // v of `heads` heads: pieces side by side, every row that fills up the last fractal and every column that
  // fills up a piece zero.
  __aicore__ inline void LoadValues(const AscendC::LocalTensor<T>& v1, uint32_t token, uint32_t head,
                                    uint32_t heads, uint32_t rows) {
    const uint32_t padded = AttentionRoundUp(rows, ATTENTION_FRACTAL);
    const uint32_t columns = AttentionRoundUp(tiling_.pieceIn, ATTENTION_FRACTAL);
    const uint32_t shared = head / (tiling_.heads / tiling_.kvHeads);
    AttentionHeads<T> src;
    src.tokenStride = tiling_.vTokenStride;
    src.headStride = tiling_.vHeadStride;
    for (uint32_t piece = 0; piece < tiling_.pieces; ++piece) {
      src.data =
          vGm_[token * tiling_.vTokenStride + shared * tiling_.vHeadStride + piece * tiling_.pieceInStride];
      LoadShared(v1[piece * tiling_.pieceWidth * padded], src, head, heads, rows, tiling_.pieceIn, padded,
                 padded * valueWidth_);
    }
    if (columns == tiling_.pieceWidth) {
      ClearRest(v1, rows, heads * valueWidth_);
    } else {
      for (uint32_t i = 0; i < heads * tiling_.pieces; ++i) {
        ClearRest(v1[i * tiling_.pieceWidth * padded], rows, columns);
      }
    }
    if (columns != tiling_.pieceWidth) {
      Clear(v1[columns * padded], heads * tiling_.pieces,
            (tiling_.pieceWidth - columns) / ATTENTION_FRACTAL * padded,
            columns / ATTENTION_FRACTAL * padded);
    }
  }

  // Zeros in the rows that fill up the last fractal: they take part in products.
  __aicore__ inline void ClearRest(const AscendC::LocalTensor<T>& dst, uint32_t rows, uint32_t columns) {
    const uint32_t padded = AttentionRoundUp(rows, ATTENTION_FRACTAL);
    if (padded == rows) return;
    Clear(dst[rows * ATTENTION_FRACTAL], columns / ATTENTION_FRACTAL, padded - rows, rows);
  }

  // ---- L1 to L0, Mmad ----

  __aicore__ inline AscendC::LocalTensor<T> LeftSlot() { return a2_.Get<T>()[l0_ * (L0_SLOT / sizeof(T))]; }
  __aicore__ inline AscendC::LocalTensor<T> RightSlot() { return b2_.Get<T>()[l0_ * (L0_SLOT / sizeof(T))]; }

  // `rows` x `columns` from fractals of `allRows` rows, from `row` on, in the order of L0A or, turned over,
  // L0B: an image of one row, a filter of one pixel.
  __aicore__ inline void LoadMatrix(const AscendC::LocalTensor<T>& dst, const AscendC::LocalTensor<T>& src,
                                    uint32_t allRows, uint32_t row, uint32_t rows, uint32_t columns) {
    AscendC::LoadData3DParamsV2<T> params;
    params.l1H = 1;
    params.l1W = allRows;
    params.channelSize = columns;
    params.kExtension = columns;
    params.mExtension = AttentionRoundUp(rows, ATTENTION_FRACTAL);
    params.kStartPt = 0;
    params.mStartPt = row;
    AscendC::LoadData(dst, src, params);
  }

  // Scores of `rows` rows of q from `row` on and `keys` keys, into GM.
  __aicore__ inline void ScoreBlock(const AscendC::GlobalTensor<float>& dst, uint32_t pitch,
                                    const AscendC::LocalTensor<T>& q1, uint32_t allRows, uint32_t row,
                                    uint32_t rows, const AscendC::LocalTensor<T>& k1, uint32_t keys) {
    AscendC::WaitFlag<AscendC::HardEvent::M_MTE1>(L0_FREE + static_cast<int32_t>(l0_));
    LoadMatrix(LeftSlot(), q1, allRows, row, rows, width_);
    AscendC::LoadData2DParams params;
    params.repeatTimes = width_ / ATTENTION_FRACTAL * ((keys + ATTENTION_FRACTAL - 1) / ATTENTION_FRACTAL);
    params.srcStride = 1;
    AscendC::LoadData(RightSlot(), k1, params);
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

    AscendC::FixpipeParamsV220 store;
    store.nSize = keys;
    store.mSize = rows;
    store.srcStride = AttentionRoundUp(rows, ATTENTION_FRACTAL);
    store.dstStride = pitch;
    store.quantPre = QuantMode_t::NoQuant;
    store.ndNum = 1;
    AscendC::WaitFlag<AscendC::HardEvent::M_FIX>(slot);
    AscendC::Fixpipe<float, float, AscendC::CFG_ROW_MAJOR>(dst, c, store);
    AscendC::SetFlag<AscendC::HardEvent::FIX_M>(slot);
    score_ = 1 - score_;
  }

  // Scores of all rows of a long task and the keys that the slot of k holds.
  __aicore__ inline void ScoreKeys(const AttentionStep& step, uint32_t key) {
    AscendC::LocalTensor<T> k1 = Take(k1_, kSlots_);
    const uint32_t end = AttentionMin(step.keys, key + tiling_.slotRows), pitch = step.Pitch();
    for (uint32_t at = key; at < end; at += tiling_.tile) {
      for (uint32_t sub = 0; sub < step.subs; ++sub) {
        const uint32_t rows = step.RowsOf(sub);
        AscendC::LocalTensor<T> q1 = SlotOf(q1_, qSlots_, qSlots_.used + sub);
        AscendC::GlobalTensor<float> scores = scoresGm_[ScoresAt(step, sub)];
        for (uint32_t row = 0; row < rows; row += SCORE_ROWS) {
          ScoreBlock(scores[row * pitch + at], pitch, q1, AttentionRoundUp(rows, ATTENTION_FRACTAL), row,
                     AttentionMin(SCORE_ROWS, rows - row), k1[(at - key) * width_],
                     AttentionMin(tiling_.tile, end - at));
        }
      }
    }
    Release(kSlots_);
  }

  // ---- weights and results ----

  // Where a tile's scores begin in the workspace, in floats.
  __aicore__ inline uint32_t ScoresAt(const AttentionStep& step, uint32_t sub) const {
    return step.number % ATTENTION_RING * (tiling_.scoreBytes / sizeof(float)) +
           sub * (tiling_.tile * tiling_.keys);
  }

  // A term of a short task's weights, in L1, the first and then the second. Each vector core left its heads,
  // or its rows of the only one, as fractals where its scores began.
  __aicore__ inline AscendC::LocalTensor<T> TakeFractals(const AttentionStep& step, uint32_t term) {
    const uint32_t pitch = step.Pitch(), padded = AttentionRoundUp(step.rows, ATTENTION_FRACTAL);
    const uint32_t share = step.FirstShare(0), all = step.heads * step.rows;
    AscendC::LocalTensor<T> p1 = Acquire(p1_, pSlots_);
    for (uint32_t first = 0; first < all; first += share) {
      const uint32_t rows = AttentionMin(share, all - first);
      const uint32_t heads = step.heads > 1 ? rows / step.rows : 1;
      const uint64_t from = (uint64_t{ScoresAt(step, 0)} + first * pitch) * (sizeof(float) / sizeof(T)) +
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
    Announce(pSlots_);
    return Take(p1_, pSlots_, term);
  }

  // Weights of `keys` keys of a long task from `key` on, in L1. Each vector core left its rows where its
  // scores began.
  __aicore__ inline AscendC::LocalTensor<T> TakeWeights(const AttentionStep& step, uint32_t sub, uint32_t key,
                                                        uint32_t keys) {
    if (key == 0) AscendC::CrossCoreWaitFlag(ATTENTION_WEIGHTS_READY);
    const uint32_t pitch = step.Pitch(), rows = step.RowsOf(sub);
    const uint32_t padded = AttentionRoundUp(rows, ATTENTION_FRACTAL);
    const uint32_t columns = AttentionRoundUp(keys, ATTENTION_FRACTAL);
    const uint32_t share = step.FirstShare(sub), all = step.heads * rows;
    AscendC::LocalTensor<T> p1 = Acquire(p1_, pSlots_);
    AttentionHeads<T> src;
    src.tokenStride = pitch;
    src.headStride = rows * pitch;
    for (uint32_t first = 0; first < all; first += share) {
      const uint32_t count = AttentionMin(share, all - first);
      src.data =
          weightsGm_[(uint64_t{ScoresAt(step, sub)} + first * pitch) * (sizeof(float) / sizeof(T)) + key];
      if (step.heads > 1) {
        LoadHeads(p1[first / rows * padded * columns], src, count / rows, rows, columns, padded,
                  padded * columns);
      } else {
        LoadHeads(p1[first * ATTENTION_FRACTAL], src, 1, count, columns, padded, 0);
      }
    }
    ClearRest(p1, rows, step.heads * columns);
    Announce(pSlots_);
    return Take(p1_, pSlots_);
  }

  // A tile of results takes one slot of L0C, or both.
  __aicore__ inline bool IsWide(uint32_t rows) const {
    return AttentionRoundUp(rows, ATTENTION_FRACTAL) * valueWidth_ * sizeof(float) > L0C_SLOT;
  }

  __aicore__ inline uint32_t AcquireResult(uint32_t rows) {
    if (IsWide(rows)) result_ = 0;
    AscendC::WaitFlag<AscendC::HardEvent::FIX_M>(RESULT + static_cast<int32_t>(result_));
    if (IsWide(rows)) AscendC::WaitFlag<AscendC::HardEvent::FIX_M>(RESULT + 1);
    return result_;
  }

  __aicore__ inline AscendC::LocalTensor<float> Result(uint32_t slot) {
    return c_.Get<float>()[(2 + slot) * (L0C_SLOT / sizeof(float))];
  }

  // result (+)= weights v: `keys` keys, a multiple of 16, which begin at row `key` of v's `allKeys`.
  __aicore__ inline void Accumulate(uint32_t out, uint32_t rows, const AscendC::LocalTensor<T>& p1,
                                    uint32_t keys, const AscendC::LocalTensor<T>& v1, uint32_t allKeys,
                                    uint32_t key, bool isFirst, bool isLast) {
    AscendC::WaitFlag<AscendC::HardEvent::M_MTE1>(L0_FREE + static_cast<int32_t>(l0_));
    LoadMatrix(LeftSlot(), p1, AttentionRoundUp(rows, ATTENTION_FRACTAL), 0, rows, keys);
    LoadMatrix(RightSlot(), v1, allKeys, key, keys, valueWidth_);
    AscendC::SetFlag<AscendC::HardEvent::MTE1_M>(static_cast<int32_t>(l0_));
    AscendC::MmadParams mmad;
    mmad.m = AttentionRoundUp(rows, ATTENTION_FRACTAL);
    mmad.n = valueWidth_;
    mmad.k = keys;
    mmad.cmatrixInitVal = isFirst;
    AscendC::WaitFlag<AscendC::HardEvent::MTE1_M>(static_cast<int32_t>(l0_));
    AscendC::Mmad(Result(out), LeftSlot(), RightSlot(), mmad);
    // A small tile's sums are not back in L0C before the next Mmad would read them.
    const uint32_t tiles = AttentionRoundUp(rows, ATTENTION_FRACTAL) * valueWidth_;
    if (!isLast && tiles < 10 * ATTENTION_FRACTAL * ATTENTION_FRACTAL) AscendC::PipeBarrier<PIPE_M>();
    AscendC::SetFlag<AscendC::HardEvent::M_MTE1>(L0_FREE + static_cast<int32_t>(l0_));
    l0_ = 1 - l0_;
    if (isLast) AscendC::SetFlag<AscendC::HardEvent::M_FIX>(RESULT + static_cast<int32_t>(out));
  }

  __aicore__ inline void ReleaseResult(uint32_t rows, uint32_t slot) {
    AscendC::SetFlag<AscendC::HardEvent::FIX_M>(RESULT + static_cast<int32_t>(slot));
    if (IsWide(rows)) {
      AscendC::SetFlag<AscendC::HardEvent::FIX_M>(RESULT + 1);
    } else {
      result_ = 1 - result_;
    }
  }

  __aicore__ inline void StoreOut(const AttentionStep& step, uint32_t head, uint32_t token, uint32_t rows,
                                  uint32_t slot) {
    const uint64_t at = token * tiling_.outTokenStride + head * tiling_.outHeadStride;
    const uint32_t padded = AttentionRoundUp(rows, ATTENTION_FRACTAL);
    AscendC::FixpipeParamsV220 store;
    store.mSize = rows;
    store.srcStride = padded;
    store.dstStride = tiling_.outTokenStride;
    store.quantPre = AttentionQuant<T>::MODE;
    store.ndNum = 1;
    // Pieces without a gap between them leave together.
    const uint32_t together = tiling_.pieceOut == tiling_.pieceWidth ? tiling_.pieces : 1;
    store.nSize = together * tiling_.pieceOut;
    AscendC::WaitFlag<AscendC::HardEvent::M_FIX>(RESULT + static_cast<int32_t>(slot));
    for (uint32_t piece = 0; piece < tiling_.pieces; piece += together) {
      AscendC::Fixpipe<T, float, AscendC::CFG_ROW_MAJOR>(
          outGm_[at + piece * tiling_.pieceOut], Result(slot)[piece * tiling_.pieceWidth * padded], store);
    }
    ReleaseResult(rows, slot);
  }

  __aicore__ inline void StorePart(uint32_t rows, uint32_t slot) {
    AscendC::FixpipeParamsV220 store;
    store.nSize = valueWidth_;
    store.mSize = rows;
    store.srcStride = AttentionRoundUp(rows, ATTENTION_FRACTAL);
    store.dstStride = valueWidth_;
    store.quantPre = QuantMode_t::NoQuant;
    store.ndNum = 1;
    AscendC::WaitFlag<AscendC::HardEvent::M_FIX>(RESULT + static_cast<int32_t>(slot));
    AscendC::Fixpipe<float, float, AscendC::CFG_ROW_MAJOR>(
        resultGm_[(part_ & 1) * (tiling_.outBytes / sizeof(float))], Result(slot), store);
    ReleaseResult(rows, slot);
    AscendC::CrossCoreSetFlag<ATTENTION_CUBE_AND_VECTORS, PIPE_FIX>(ATTENTION_RESULT_READY);
    ++part_;
  }

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

  static constexpr uint32_t MAX_STRIDE = 65535;  // of Nd2NzParams

  WindowAttentionTiling tiling_;
  uint32_t width_;       // of q and k in L1
  uint32_t valueWidth_;  // of v and results
  AscendC::GlobalTensor<T> vGm_;
  AscendC::GlobalTensor<T> outGm_;
  AscendC::GlobalTensor<float> scoresGm_;
  AscendC::GlobalTensor<T> weightsGm_;  // in the scores' place
  AscendC::GlobalTensor<float> resultGm_;
  AscendC::TBuf<AscendC::TPosition::A1> q1_;
  AscendC::TBuf<AscendC::TPosition::B1> k1_;
  AscendC::TBuf<AscendC::TPosition::B1> v1_;
  AscendC::TBuf<AscendC::TPosition::A1> p1_;
  AscendC::TBuf<AscendC::TPosition::A2> a2_;
  AscendC::TBuf<AscendC::TPosition::B2> b2_;
  AscendC::TBuf<AscendC::TPosition::CO1> c_;
  AttentionSlots qSlots_;
  AttentionSlots kSlots_;
  AttentionSlots vSlots_;
  AttentionSlots pSlots_;
  uint32_t l0_ = 0;      // the next slot of L0A and L0B
  uint32_t score_ = 0;   // of scores in L0C
  uint32_t result_ = 0;  // of results in L0C
  uint32_t part_ = 0;    // of parts in the workspace
};
