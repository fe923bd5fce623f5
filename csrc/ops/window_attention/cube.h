#pragma once

#include "kernel_operator.h"
#include "loads.h"
#include "products.h"
#include "schedule.h"
#include "slots.h"
#include "source.h"
#include "tiling.h"

// The cube core's side: scores = q k^T into the workspace, result = weights v out of it. L1 holds two slots
// each of q, k, v and weights.
template <typename T>
class AttentionCube {
 public:
  __aicore__ inline AttentionCube() {}

  __aicore__ inline void Init(AscendC::TPipe& pipe, GM_ADDR v, GM_ADDR out, GM_ADDR workspace,
                              const WindowAttentionTiling& tiling) {
    tiling_ = tiling;
    width_ = AttentionRoundUp(tiling.dim, ATTENTION_FRACTAL);
    valueWidth_ = tiling.pieces * tiling.pieceWidth;
    scoresGm_.SetGlobalBuffer((__gm__ float*)workspace);
    load_.Init(v, workspace, tiling);
    q_.Init(pipe, 0, tiling.qkSlotBytes);
    k_.Init(pipe, 2, tiling.qkSlotBytes);
    v_.Init(pipe, 4, tiling.vSlotBytes);
    p_.Init(pipe, 6, tiling.pSlotBytes);
    multiply_.Init(pipe, out, workspace, tiling);
  }

  __aicore__ inline void Finish() {
    q_.Finish();
    k_.Finish();
    v_.Finish();
    p_.Finish();
    multiply_.Finish();
  }

  // ---- short tasks ----

  // q of the group of tasks that `step` belongs to.
  __aicore__ inline void LoadShortQuery(const AttentionStep& step, const AttentionHeads<T>& q) {
    const uint32_t rows = AttentionRoundUp(step.rows, ATTENTION_FRACTAL);
    AscendC::LocalTensor<T> q1 = q_.Acquire();
    load_.Heads(q1, q, step.groupHeads, step.rows, tiling_.dim, rows, rows * width_, step.lead);
    load_.ClearRest(q1, step.rows, step.lead + step.groupHeads * width_);
    q_.Announce();
  }

  // Its k.
  __aicore__ inline void LoadShortKeys(const AttentionStep& step, const AttentionHeads<T>& k) {
    const uint32_t rows = AttentionRoundUp(step.rows, ATTENTION_FRACTAL);
    load_.SharedHeads(k_.Acquire(), k, step.groupHead, step.groupHeads, step.rows, tiling_.dim, rows,
                      rows * width_, step.lead);
    k_.Announce();
  }

  // Its v.
  __aicore__ inline void LoadShortValues(const AttentionStep& step) {
    load_.Values(v_.Acquire(), step.token, step.groupHead, step.groupHeads, step.rows, step.lead);
    v_.Announce();
  }

  // Scores of a task whose q and k are loaded.
  __aicore__ inline void ScoresShort(const AttentionStep& step) {
    const uint32_t rows = AttentionRoundUp(step.rows, ATTENTION_FRACTAL), pitch = step.Pitch();
    AscendC::LocalTensor<T> q1 = step.OpensGroup() ? q_.Take() : q_.Taken();
    AscendC::LocalTensor<T> k1 = step.OpensGroup() ? k_.Take() : k_.Taken();
    AscendC::GlobalTensor<float> scores = scoresGm_[AttentionScoresAt(step, 0, tiling_)];
    for (uint32_t head = 0; head < step.heads; ++head) {
      const uint32_t at = step.ColumnOf(head, width_) * rows;
      for (uint32_t row = 0; row < step.rows; row += SCORE_ROWS) {
        multiply_.ScoreBlock(scores[(head * step.rows + row) * pitch], pitch, q1[at], rows, row,
                             AttentionMin(SCORE_ROWS, step.rows - row), k1[at], step.keys);
      }
    }
    if (step.ClosesGroup()) {
      q_.Release();
      k_.Release();
    }
    AnnounceScores();
  }

  // The result of a task whose v is loaded, once its weights are there.
  __aicore__ inline void ValuesShort(const AttentionStep& step) {
    const uint32_t rows = AttentionRoundUp(step.rows, ATTENTION_FRACTAL);
    AscendC::CrossCoreWaitFlag(ATTENTION_WEIGHTS_READY);
    for (uint32_t term = 0; term < 2; ++term) {
      load_.WeightTerm(p_.Acquire(), step, term);
      p_.Announce();
    }
    AscendC::LocalTensor<T> first = p_.Take(0), second = p_.Take(1);
    AscendC::LocalTensor<T> v1 = step.OpensGroup() ? v_.Take() : v_.Taken();
    for (uint32_t head = 0; head < step.heads; ++head) {
      const uint32_t out = multiply_.AcquireResult(step.rows), at = head * rows * rows;
      AscendC::LocalTensor<T> values = v1[step.ColumnOf(head, valueWidth_) * rows];
      multiply_.Accumulate(out, step.rows, first[at], rows, values, rows, 0, true, false);
      multiply_.Accumulate(out, step.rows, second[at], rows, values, rows, 0, false, true);
      multiply_.StoreOut(step, step.head + head, out);
    }
    p_.Release();
    p_.Release();
    if (step.ClosesGroup()) v_.Release();
  }

  // ---- long tasks ----

  // A part of ATTENTION_PARTS of the scores of some tiles of rows and a block of keys: k streams through L1
  // once.
  __aicore__ inline void ScoresLong(const AttentionStep& step, const AttentionHeads<T>& q,
                                    const AttentionHeads<T>& k, uint32_t part) {
    const uint32_t tiles = TilesOf(step.keys);
    if (part == 0 && step.isFirst) LoadTiles(step, q);
    for (uint32_t i = Cut(tiles, part); i < Cut(tiles, part + 1); ++i) {
      ScoreKeys(step, k, i * tiling_.tile, 0, step.subs);
    }
    if (part + 1 == ATTENTION_PARTS) EndScores(step, 0);
  }

  // All scores of a core's first task, which the vector cores wait for: tile after tile of rows.
  __aicore__ inline void ScoresFirst(const AttentionStep& step, const AttentionHeads<T>& q,
                                     const AttentionHeads<T>& k) {
    LoadTiles(step, q);
    for (uint32_t sub = 0; sub < step.subs; ++sub) {
      for (uint32_t key = 0; key < step.keys; key += tiling_.tile) ScoreKeys(step, k, key, sub, sub + 1);
      if (sub + 1 < step.subs) AnnounceScores();
    }
    EndScores(step, step.subs - 1);
  }

  // A part of ATTENTION_PARTS of the results of a task's tiles, strip after strip, which the vector cores put
  // together.
  __aicore__ inline void ValuesLong(const AttentionStep& step, uint32_t part) {
    const uint32_t tiles = TilesOf(step.keys), strips = step.Strips(), all = step.subs * strips * tiles;
    if (part == 0) LoadBlock(step);
    for (uint32_t i = Cut(all, part); i < Cut(all, part + 1); ++i) {
      const uint32_t sub = i / tiles / strips, strip = i / tiles % strips, tile = i % tiles;
      const bool isFirst = tile == 0, isLast = tile + 1 == tiles;
      const uint32_t rows = step.RowsOf(sub, strip, false) + step.RowsOf(sub, strip, true);
      if (isFirst) AscendC::CrossCoreWaitFlag(ATTENTION_WEIGHTS_READY);
      if (isFirst && rows > 0) out_ = multiply_.AcquireResult(rows);
      if (rows > 0) AddValues(step, sub, strip, rows, tile * tiling_.tile);
      if (isLast && rows > 0) multiply_.StorePart(2 * strip * step.StripRows(), rows, out_);
      if (isLast && strip + 1 == strips) multiply_.AnnouncePart();
    }
    if (part + 1 < ATTENTION_PARTS) return;
    for (uint32_t key = 0; key < step.keys; key += tiling_.keys / 2) v_.Release();
  }

 private:
  static constexpr uint32_t SCORE_ROWS = AttentionProducts<T>::SCORE_ROWS;

  __aicore__ inline uint32_t TilesOf(uint32_t keys) const { return (keys + tiling_.tile - 1) / tiling_.tile; }
  __aicore__ inline uint32_t Cut(uint32_t count, uint32_t part) const {
    return count * part / ATTENTION_PARTS;
  }

  // q of all tiles, which stays until the last block of keys.
  __aicore__ inline void LoadTiles(const AttentionStep& step, const AttentionHeads<T>& q) {
    AttentionHeads<T> rows = q;
    for (uint32_t sub = 0; sub < step.subs; ++sub) {
      const uint32_t count = step.RowsOf(sub);
      AscendC::LocalTensor<T> q1 = q_.Acquire();
      rows.data = q.data[uint64_t{step.row + sub * step.SubRows()} * q.tokenStride];
      load_.Heads(q1, rows, 1, count, tiling_.dim, AttentionRoundUp(count, ATTENTION_FRACTAL), 0);
      load_.ClearRest(q1, count, width_);
      q_.Announce();
      q_.Take(sub);
    }
  }

  // Scores of some tiles of rows and a tile of keys from `key` on.
  __aicore__ inline void ScoreKeys(const AttentionStep& step, const AttentionHeads<T>& k, uint32_t key,
                                   uint32_t firstSub, uint32_t endSub) {
    const uint32_t keys = AttentionMin(tiling_.tile, step.keys - key), pitch = step.Pitch();
    AttentionHeads<T> from = k;
    from.data = k.data[uint64_t{step.key + key} * k.tokenStride];
    load_.SharedHeads(k_.Acquire(), from, step.head, 1, keys, tiling_.dim,
                      AttentionRoundUp(keys, ATTENTION_FRACTAL), 0);
    k_.Announce();
    AscendC::LocalTensor<T> k1 = k_.Take();
    for (uint32_t sub = firstSub; sub < endSub; ++sub) {
      const uint32_t rows = step.RowsOf(sub);
      AscendC::GlobalTensor<float> scores = scoresGm_[AttentionScoresAt(step, sub, tiling_)];
      for (uint32_t row = 0; row < rows; row += SCORE_ROWS) {
        multiply_.ScoreBlock(scores[row * pitch + key], pitch, q_.Taken(sub),
                             AttentionRoundUp(rows, ATTENTION_FRACTAL), row,
                             AttentionMin(SCORE_ROWS, rows - row), k1, keys);
      }
    }
    k_.Release();
  }

  // A tile's scores are in the workspace.
  __aicore__ inline void AnnounceScores() {
    AscendC::CrossCoreSetFlag<ATTENTION_CUBE_AND_VECTORS, PIPE_FIX>(ATTENTION_SCORES_READY);
  }

  // All tiles' are, of which so many were announced. q stays until the last block of keys.
  __aicore__ inline void EndScores(const AttentionStep& step, uint32_t announced) {
    for (uint32_t sub = announced; sub < step.subs; ++sub) AnnounceScores();
    for (uint32_t sub = 0; step.isLast && sub < step.subs; ++sub) q_.Release();
  }

  // v of a block of keys, in two halves that all tiles of rows use.
  __aicore__ inline void LoadBlock(const AttentionStep& step) {
    const uint32_t half = tiling_.keys / 2;
    for (uint32_t key = 0; key < step.keys; key += half) {
      load_.Values(v_.Acquire(), step.token + step.key + key, step.head, 1,
                   AttentionMin(half, step.keys - key));
      v_.Announce();
      v_.Take(key / half);
    }
  }

  // A strip of weights times a tile of v.
  __aicore__ inline void AddValues(const AttentionStep& step, uint32_t sub, uint32_t strip, uint32_t rows,
                                   uint32_t key) {
    const uint32_t half = tiling_.keys / 2, slot = key / half;
    const uint32_t keys = AttentionMin(tiling_.tile, step.keys - key);
    const uint32_t loaded = AttentionRoundUp(AttentionMin(half, step.keys - slot * half), ATTENTION_FRACTAL);
    load_.Weights(p_.Acquire(), step, sub, strip, key, keys);
    p_.Announce();
    multiply_.Accumulate(out_, rows, p_.Take(), AttentionRoundUp(keys, ATTENTION_FRACTAL), v_.Taken(slot),
                         loaded, key - slot * half, key == 0, key + keys == step.keys);
    p_.Release();
  }

  WindowAttentionTiling tiling_;
  uint32_t width_;       // of q and k in L1
  uint32_t valueWidth_;  // of v and results
  uint32_t out_;         // the slot of the long result in the making
  AscendC::GlobalTensor<float> scoresGm_;
  AttentionLoads<T> load_;
  AttentionProducts<T> multiply_;
  AttentionSlots<T, AscendC::TPosition::A1> q_;
  AttentionSlots<T, AscendC::TPosition::B1> k_;
  AttentionSlots<T, AscendC::TPosition::B1> v_;
  AttentionSlots<T, AscendC::TPosition::A1> p_;
};
