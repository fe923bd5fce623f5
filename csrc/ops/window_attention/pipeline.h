#pragma once

#include "cube.h"
#include "kernel_operator.h"
#include "schedule.h"
#include "source.h"
#include "tiling.h"

// The cube core's pipeline. In turn i it loads task i, computes the scores of task i - 1, and finishes the
// task ATTENTION_AHEAD before that, whose weights the vector cores have computed meanwhile.
template <typename T>
class AttentionPipeline {
 public:
  __aicore__ inline AttentionPipeline() {}

  __aicore__ inline void Run(AttentionSchedule& schedule, const AttentionSource<T>& source,
                             AttentionCube<T>& cube) {
    uint32_t count = 0;
    bool more = true;
    for (uint32_t i = 0;; ++i) {
      const bool scores = i > 0 && i - 1 < count;
      // A long task loads its own q and k, slot after slot: the next task's have to wait for it.
      const bool isLong = scores && !Task(i - 1).isShort;
      if (isLong && i == 1) cube.ScoresFirst(Task(0), source.Query(Task(0)), source.Keys(Task(0)));
      for (uint32_t part = 0; isLong && i > 1 && part < ATTENTION_PARTS; ++part) {
        cube.ScoresLong(Task(i - 1), source.Query(Task(i - 1)), source.Keys(Task(i - 1)), part);
        TakeTurns(cube, i, part);
      }
      more = more && schedule.Next(Task(i));
      if (more) {
        ++count;
        if (Task(i).isShort) {
          source.Wait();
          cube.LoadShort(Task(i), source.Query(Task(i)), source.Keys(Task(i)));
        }
      }
      if (scores && !isLong) cube.ScoresShort(Task(i - 1));
      if (i <= ATTENTION_AHEAD) continue;
      const uint32_t last = i - 1 - ATTENTION_AHEAD;
      if (last >= count) break;
      Finish(cube, last, last + 1 < count);
    }
  }

 private:
  static constexpr uint32_t TASKS = ATTENTION_AHEAD + 2;

  __aicore__ inline AttentionStep& Task(uint32_t i) { return tasks_[i % TASKS]; }

  // Results between the parts of long scores, which keep other pipes busy: the second half of the task that
  // this turn finishes, then the first half of the next, whose weights are there by then.
  __aicore__ inline void TakeTurns(AttentionCube<T>& cube, uint32_t i, uint32_t part) {
    constexpr uint32_t HALF = ATTENTION_PARTS / 2;
    const bool hasLast = i > ATTENTION_AHEAD;
    if (hasLast && Task(i - 1 - ATTENTION_AHEAD).isShort) return;
    if (part < HALF) {
      if (hasLast) Advance(cube, i - 1 - ATTENTION_AHEAD, HALF + part + 1);
    } else if (Task(i - ATTENTION_AHEAD).subs > 1) {
      Advance(cube, i - ATTENTION_AHEAD, part - HALF + 1);
    }
  }

  // Brings a long task's results up to `end` parts.
  __aicore__ inline void Advance(AttentionCube<T>& cube, uint32_t i, uint32_t end) {
    if (i >= finished_) {
      for (; done_ < end; ++done_) cube.ValuesLong(Task(i), done_);
    }
    if (done_ < ATTENTION_PARTS) return;
    done_ = 0;
    finished_ = i + 1;
  }

  // A short task's v is loaded one task ahead, except past a long one, which uses both slots.
  __aicore__ inline void Finish(AttentionCube<T>& cube, uint32_t i, bool hasNext) {
    const AttentionStep& step = Task(i);
    if (!step.isShort) {
      Advance(cube, i, ATTENTION_PARTS);
      return;
    }
    if (valuesLoaded_ <= i) cube.LoadShortValues(step);
    if (hasNext && Task(i + 1).isShort) {
      cube.LoadShortValues(Task(i + 1));
      valuesLoaded_ = i + 2;
    }
    cube.ValuesShort(step);
  }

  AttentionStep tasks_[TASKS];
  uint32_t done_ = 0;          // parts of the results of the next long task
  uint32_t finished_ = 0;      // long tasks before this one have all of theirs
  uint32_t valuesLoaded_ = 0;  // so many tasks have had their v loaded, or load it themselves
};
