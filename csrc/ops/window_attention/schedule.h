#pragma once

#include "kernel_operator.h"
#include "tiling.h"

// What one core does, read off cu_seqlens on the device. Every core goes through all segments twice: once to
// add up what they cost, once to find its own share, an equal interval of that cost.

constexpr uint32_t ATTENTION_FRACTAL = 16;
constexpr uint32_t ATTENTION_LANES = 64;  // of a vector repeat of floats
constexpr uint32_t ATTENTION_AHEAD = 2;   // tasks whose scores are computed before they are used
constexpr uint32_t ATTENTION_RING = ATTENTION_AHEAD + 1;
constexpr uint32_t ATTENTION_GROUP = 2;    // tasks over a short segment whose q, k and v are loaded together
constexpr uint32_t ATTENTION_PARTS = 8;    // of a long task's scores and of its results, which take turns
constexpr uint32_t ATTENTION_STRIP = 32;   // rows of each vector core whose weights are announced together
constexpr uint32_t ATTENTION_RESULTS = 3;  // parts of long results that the workspace holds
constexpr uint8_t ATTENTION_CUBE_AND_VECTORS = 2;  // mode of the flags between a cube core and its vectors
constexpr uint16_t ATTENTION_SCORES_READY = 0;
constexpr uint16_t ATTENTION_WEIGHTS_READY = 1;
constexpr uint16_t ATTENTION_RESULT_READY = 2;
constexpr uint16_t ATTENTION_ROTATED = 3;
constexpr uint16_t ATTENTION_ROTATED_TAKEN = 4;

__aicore__ inline uint32_t AttentionRoundUp(uint32_t value, uint32_t unit) {
  return (value + unit - 1) / unit * unit;
}

__aicore__ inline uint32_t AttentionMin(uint32_t a, uint32_t b) {
  return a < b ? a : b;
}

// One task: the scores of some rows and keys of one segment. A short segment is taken whole, several heads at
// a time; of a long one, up to `subs` tiles of rows of one head and one block of keys.
struct AttentionStep {
  uint32_t token;   // the segment's first
  uint32_t length;  // of the segment
  uint32_t head;    // the first
  uint32_t heads;
  uint32_t row;  // of the segment, the first
  uint32_t rows;
  uint32_t subs;  // tiles that the rows are cut into
  uint32_t key;   // of the segment, the first
  uint32_t keys;
  uint32_t number;  // counts the core's tasks
  // The heads of a short segment that are loaded together, for one or several tasks, behind `lead` columns
  // that nobody needs.
  uint32_t groupHead;
  uint32_t groupHeads;
  uint32_t lead;
  bool isShort;
  bool isFirst;  // block of keys of these rows
  bool isLast;

  __aicore__ inline bool OpensGroup() const { return head == groupHead; }
  __aicore__ inline bool ClosesGroup() const { return head + heads == groupHead + groupHeads; }
  // Columns that are loaded before the task's head `i`, where a head takes `width`.
  __aicore__ inline uint32_t ColumnOf(uint32_t i, uint32_t width) const {
    return lead + (head - groupHead + i) * width;
  }
  // Rows of scores lie this many floats apart: whole repeats, in long tasks pairs of them.
  __aicore__ inline uint32_t Pitch() const {
    return AttentionRoundUp(keys, isShort ? ATTENTION_LANES : 2 * ATTENTION_LANES);
  }
  // Rows of a tile of a long segment, all but the last one.
  __aicore__ inline uint32_t SubRows() const {
    return AttentionRoundUp((rows + subs - 1) / subs, ATTENTION_FRACTAL);
  }
  __aicore__ inline uint32_t RowsOf(uint32_t sub) const {
    const uint32_t begin = sub * SubRows();
    return AttentionMin(SubRows(), rows - begin);
  }
  // Of the rows of scores of one tile (heads after heads), how many are the first vector core's: whole heads
  // where there are several.
  __aicore__ inline uint32_t FirstShare(uint32_t sub) const {
    if (heads > 1) return (heads + 1) / 2 * rows;
    const uint32_t all = RowsOf(sub);
    return AttentionMin(all, AttentionRoundUp((all + 1) / 2, 8));
  }
  // The weights of a long task's tile come in strips, and the results go in them: some rows of each vector
  // core. Those of the last block of keys are short, for at a core's end little else is to be done.
  __aicore__ inline uint32_t StripRows() const {
    return isLast && subs > 1 ? ATTENTION_STRIP : FirstShare(0);
  }
  // As many in every tile; those of a short last tile may be empty.
  __aicore__ inline uint32_t Strips() const { return (FirstShare(0) + StripRows() - 1) / StripRows(); }
  // Rows of a strip that a vector core has.
  __aicore__ inline uint32_t RowsOf(uint32_t sub, uint32_t strip, bool isSecond) const {
    const uint32_t share = FirstShare(sub), rows = isSecond ? RowsOf(sub) - share : share;
    const uint32_t begin = strip * StripRows();
    return begin < rows ? AttentionMin(StripRows(), rows - begin) : 0;
  }
};

// Where a tile's scores begin in the workspace, in floats.
__aicore__ inline uint32_t AttentionScoresAt(const AttentionStep& step, uint32_t sub,
                                             const WindowAttentionTiling& tiling) {
  return step.number % ATTENTION_RING * (tiling.scoreBytes / sizeof(float)) +
         sub * (tiling.tile * tiling.keys);
}

// Where a short task's rotated q and k begin in their ring, in elements. The vector cores write a slot after
// the cube core said that it has taken what was in it.
constexpr uint32_t ATTENTION_ROTATED_RING = 2;
__aicore__ inline uint64_t AttentionRingAt(const AttentionStep& step, const WindowAttentionTiling& tiling) {
  return step.number % ATTENTION_ROTATED_RING * uint64_t{2} * tiling.maxRows * tiling.dim;
}

// cu_seqlens, one segment after the other. A segment is the rows between the largest end so far and its own;
// it is valid where that is what cu_seqlens says, so that no two segments share a row whatever it holds.
class AttentionSegments {
 public:
  __aicore__ inline AttentionSegments() {}

  __aicore__ inline void Init(GM_ADDR lengths, const WindowAttentionTiling& tiling) {
    wide_ = tiling.wideLengths != 0;
    tokens_ = tiling.tokens;
    segments_ = tiling.segments;
    narrowGm_.SetGlobalBuffer((__gm__ int32_t*)lengths, segments_ + 1);
    wideGm_.SetGlobalBuffer((__gm__ int64_t*)lengths, segments_ + 1);
    Rewind();
  }

  __aicore__ inline void Rewind() {
    index_ = 0;
    last_ = Read(0);
    end_ = Clamp(last_);
    begin_ = end_;
    valid_ = false;
  }

  __aicore__ inline bool Next() {
    if (index_ == segments_) return false;
    ++index_;
    const int64_t value = Read(index_);
    const uint32_t clamped = Clamp(value);
    begin_ = end_;
    end_ = clamped > begin_ ? clamped : begin_;
    valid_ = last_ == static_cast<int64_t>(begin_) && value == static_cast<int64_t>(end_);
    last_ = value;
    return true;
  }

  __aicore__ inline uint32_t Begin() const { return begin_; }
  __aicore__ inline uint32_t End() const { return end_; }
  __aicore__ inline uint32_t Length() const { return end_ - begin_; }
  __aicore__ inline bool IsValid() const { return valid_; }

 private:
  __aicore__ inline int64_t Read(uint32_t index) const {
    return wide_ ? wideGm_.GetValue(index) : static_cast<int64_t>(narrowGm_.GetValue(index));
  }
  __aicore__ inline uint32_t Clamp(int64_t value) const {
    if (value < 0) return 0;
    return value > static_cast<int64_t>(tokens_) ? tokens_ : static_cast<uint32_t>(value);
  }

  AscendC::GlobalTensor<int32_t> narrowGm_;
  AscendC::GlobalTensor<int64_t> wideGm_;
  bool wide_;
  uint32_t tokens_;
  uint32_t segments_;
  uint32_t index_;
  int64_t last_;
  uint32_t begin_;
  uint32_t end_;
  bool valid_;
};

class AttentionSchedule {
 public:
  __aicore__ inline AttentionSchedule() {}

  __aicore__ inline void Init(GM_ADDR lengths, const WindowAttentionTiling& tiling, uint32_t block) {
    tiling_ = tiling;
    segments_.Init(lengths, tiling);
    hasFills_ = segments_.Begin() > 0;
    longest_ = 0;
    uint64_t total = 0;
    while (segments_.Next()) {
      if (!segments_.IsValid()) hasFills_ = hasFills_ || segments_.Length() > 0;
      if (!Measure()) continue;
      total += unitCost_ * units_;
      if (segments_.Length() > longest_) longest_ = segments_.Length();
    }
    hasFills_ = hasFills_ || segments_.End() < tiling.tokens;
    const uint64_t blocks = AscendC::GetBlockNum();
    from_ = total * block / blocks;
    to_ = total * (block + 1) / blocks;
    cost_ = 0;
    unit_ = 0;
    lastUnit_ = 0;
    number_ = 0;
    nextKey_ = 0;
    segments_.Rewind();
  }

  // Rows that belong to no valid segment exist.
  __aicore__ inline bool HasFills() const { return hasFills_; }

  // Some segment is longer than a tile.
  __aicore__ inline bool HasLong() const { return longest_ > tiling_.tile; }

  // The length of the longest valid segment.
  __aicore__ inline uint32_t Longest() const { return longest_; }

  // The core's next task; false after the last one.
  __aicore__ inline bool Next(AttentionStep& step) {
    if (nextKey_ != 0) {
      step = block_;
    } else {
      if (unit_ == lastUnit_ && !NextShare()) return false;
      step = TakeBlock();
    }
    const uint32_t keysEach = step.isShort ? step.length : KeysEach(step.length);
    step.key = nextKey_;
    step.keys = AttentionMin(keysEach, step.length - nextKey_);
    step.isFirst = nextKey_ == 0;
    step.isLast = nextKey_ + step.keys == step.length;
    step.number = number_++;
    nextKey_ = step.isLast ? 0 : nextKey_ + step.keys;
    return true;
  }

 private:
  // Costs are in bytes that a unit moves through L2, which is what binds: q, k, v and the result, and the
  // scores written and read as floats and as weights. False where the segment holds none.
  __aicore__ inline bool Measure() {
    const uint32_t length = segments_.Length();
    if (!segments_.IsValid() || length == 0) return false;
    isShort_ = length <= tiling_.tile;
    const uint64_t width = tiling_.dim + tiling_.pieces * tiling_.pieceWidth;
    const uint64_t perRow = AttentionRoundUp(length, ATTENTION_LANES) * uint64_t{12} + width * 2;
    if (isShort_) {
      units_ = tiling_.heads;
      unitCost_ = length * (perRow + width * 2) + UNIT_BYTES;
    } else {
      unitsPerHead_ = (length + ATTENTION_FRACTAL - 1) / ATTENTION_FRACTAL;
      units_ = uint64_t{tiling_.heads} * unitsPerHead_;
      const uint64_t share = tiling_.tile * tiling_.subs / ATTENTION_FRACTAL;
      unitCost_ = ATTENTION_FRACTAL * perRow + length * width * 2 / share;
    }
    return true;
  }

  // Goes on to the next segment of which the core has units.
  __aicore__ inline bool NextShare() {
    while (segments_.Next()) {
      if (!Measure()) continue;
      const uint64_t begin = cost_;
      cost_ += unitCost_ * units_;
      if (begin >= to_) return false;
      if (cost_ <= from_) continue;
      unit_ = from_ > begin ? (from_ - begin + unitCost_ - 1) / unitCost_ : 0;
      lastUnit_ = to_ < cost_ ? (to_ - begin + unitCost_ - 1) / unitCost_ : units_;
      groupEnd_ = unit_;
      if (unit_ < lastUnit_) return true;
    }
    return false;
  }

  __aicore__ inline AttentionStep TakeBlock() {
    block_.token = segments_.Begin();
    block_.length = segments_.Length();
    block_.isShort = isShort_;
    const uint32_t left = static_cast<uint32_t>(lastUnit_ - unit_);
    if (isShort_) {
      const uint32_t rows = AttentionRoundUp(block_.length, ATTENTION_FRACTAL);
      const uint32_t pitch = AttentionRoundUp(block_.length, ATTENTION_LANES);
      uint32_t most = AttentionMin(tiling_.heads, tiling_.maxRows / rows);
      most = AttentionMin(most, tiling_.maxScores / (rows * pitch));
      block_.head = static_cast<uint32_t>(unit_);
      if (unit_ == groupEnd_) TakeGroup(rows, most, left);
      block_.heads = AttentionMin(static_cast<uint32_t>(groupEnd_ - unit_), most);
      block_.row = 0;
      block_.rows = block_.length;
      block_.subs = 1;
      unit_ += block_.heads;
      return block_;
    }
    block_.head = static_cast<uint32_t>(unit_ / unitsPerHead_);
    block_.heads = 1;
    block_.groupHead = block_.head;
    block_.groupHeads = 1;
    block_.lead = 0;
    const uint32_t first = static_cast<uint32_t>(unit_ % unitsPerHead_);
    // The rows left in this head, in equal blocks.
    const uint32_t here = AttentionMin(left, unitsPerHead_ - first);
    const uint32_t most = tiling_.tile * tiling_.subs / ATTENTION_FRACTAL;
    const uint32_t blocks = (here + most - 1) / most;
    const uint32_t taken = (here + blocks - 1) / blocks;
    block_.row = first * ATTENTION_FRACTAL;
    block_.rows = AttentionMin(taken * ATTENTION_FRACTAL, block_.length - block_.row);
    block_.subs = (block_.rows + tiling_.tile - 1) / tiling_.tile;
    unit_ += taken;
    return block_;
  }

  // Heads from the current unit on that are loaded together: two tasks' where there is room. The core's first
  // group is one task, for everything else waits for it, and so are its last, so that little is left to
  // compute once all is loaded.
  __aicore__ inline void TakeGroup(uint32_t rows, uint32_t most, uint32_t left) {
    const bool isOne = number_ == 0 || (cost_ >= to_ && left < 2 * ATTENTION_GROUP * most);
    const uint32_t room = tiling_.groupBytes / 2 / rows;  // columns
    const uint32_t lead = LeadOf(block_.head), several = AttentionMin(left, ATTENTION_GROUP * most);
    block_.groupHead = block_.head;
    block_.groupHeads = AttentionMin(left, most);
    if (!isOne && lead + several * tiling_.groupWidth <= room) block_.groupHeads = several;
    block_.lead = lead + block_.groupHeads * tiling_.groupWidth <= room ? lead : 0;
    groupEnd_ = unit_ + block_.groupHeads;
  }

  // Columns between where a burst to `head` should begin and the head.
  __aicore__ inline uint32_t LeadOf(uint32_t head) const { return head * tiling_.dim % tiling_.burst; }

  // Blocks of keys of a long segment are equal, in whole tiles.
  __aicore__ inline uint32_t KeysEach(uint32_t length) const {
    const uint32_t blocks = (length + tiling_.keys - 1) / tiling_.keys;
    return AttentionRoundUp((length + blocks - 1) / blocks, tiling_.tile);
  }

  static constexpr uint64_t UNIT_BYTES = 4096;  // what starting a unit costs, in bytes moved meanwhile

  WindowAttentionTiling tiling_;
  AttentionSegments segments_;
  bool hasFills_;
  uint32_t longest_;
  uint64_t from_;  // the core's interval of cost
  uint64_t to_;
  uint64_t cost_;  // of the segments up to the current one
  bool isShort_;
  uint64_t units_;  // of the current segment: heads, or rows of heads by the fractal
  uint64_t unitCost_;
  uint32_t unitsPerHead_;
  uint64_t unit_;  // the core's next one in the current segment
  uint64_t lastUnit_;
  uint64_t groupEnd_;  // the unit after those that are loaded together
  uint32_t number_;
  AttentionStep block_;  // rows that more blocks of keys follow for
  uint32_t nextKey_;
};
