#pragma once

#include "cube.h"
#include "kernel_operator.h"
#include "schedule.h"
#include "source.h"
#include "tiling.h"

// The cube core's pipeline. In turn i it computes the scores of task i and finishes the task ATTENTION_AHEAD
// before, whose weights the vector cores have computed meanwhile. q, k and v of the next group of short tasks
// are loaded while one is worked on, each in a turn of its own: every turn has weights to load too.
template <typename T>
class AttentionPipeline {
 public:
  __aicore__ inline AttentionPipeline() {}

  __aicore__ inline void Run(AttentionSchedule& schedule, const AttentionSource<T>& source,
                             AttentionCube<T>& cube) {
    LoadFirst(schedule, source, cube);
    for (uint32_t i = 0;; ++i) {
      if (i < count_) {
        if (Task(i).OpensGroup()) ReadGroup(schedule);
        Score(i, source, cube);
        LoadNext(i, source, cube);
      }
      if (i < ATTENTION_AHEAD) continue;
      if (i - ATTENTION_AHEAD >= count_) break;
      Finish(cube, i - ATTENTION_AHEAD);
    }
  }

 private:
  static constexpr uint32_t TASKS = ATTENTION_AHEAD + 2 * ATTENTION_GROUP;

  __aicore__ inline AttentionStep& Task(uint32_t i) { return tasks_[i % TASKS]; }

  // ---- q, k and v of short tasks: a long one loads its own, slot after slot ----

  // The tasks of the next group. A long one is a group of its own.
  __aicore__ inline void ReadGroup(AttentionSchedule& schedule) {
    next_ = count_;
    while (schedule.Next(Task(count_))) {
      if (Task(count_++).ClosesGroup()) return;
    }
  }

  __aicore__ inline bool IsShort(uint32_t i) { return i < count_ && Task(i).isShort; }

  __aicore__ inline void LoadFirst(AttentionSchedule& schedule, const AttentionSource<T>& source,
                                   AttentionCube<T>& cube) {
    ReadGroup(schedule);
    if (!IsShort(0)) return;
    source.Wait();
    cube.LoadShortQuery(Task(0), source.Query(Task(0)));
    cube.LoadShortKeys(Task(0), source.Keys(Task(0)));
    source.Release();
    cube.LoadShortValues(Task(0));
  }

  // After the scores of a group's first task q of the next group, after those of its last k.
  __aicore__ inline void LoadNext(uint32_t i, const AttentionSource<T>& source, AttentionCube<T>& cube) {
    if (!IsShort(next_)) return;
    if (Task(i).OpensGroup()) {
      source.Wait();
      cube.LoadShortQuery(Task(next_), source.Query(Task(next_)));
    }
    if (!Task(i).ClosesGroup()) return;
    cube.LoadShortKeys(Task(next_), source.Keys(Task(next_)));
    source.Release();
  }

  // After the result of a group's first task v of the next group.
  __aicore__ inline void LoadNextValues(uint32_t i, AttentionCube<T>& cube) {
    if (!Task(i).OpensGroup()) return;
    uint32_t next = i + 1;
    while (next < count_ && !Task(next).OpensGroup()) ++next;
    if (IsShort(next)) cube.LoadShortValues(Task(next));
  }

  // ---- scores and results ----

  __aicore__ inline void Score(uint32_t i, const AttentionSource<T>& source, AttentionCube<T>& cube) {
    const AttentionStep& step = Task(i);
    if (step.isShort) {
      cube.ScoresShort(step);
    } else if (i == 0) {
      cube.ScoresFirst(step, source.Query(step), source.Keys(step));
    } else {
      for (uint32_t part = 0; part < ATTENTION_PARTS; ++part) {
        cube.ScoresLong(step, source.Query(step), source.Keys(step), part);
        TakeTurns(cube, i, part);
      }
    }
  }

  // Results between the parts of long scores, which keep other pipes busy: the second half of the task that
  // this turn finishes, then the first half of the next, whose weights are there by then. The last scores go
  // first instead: all else is waiting for them.
  __aicore__ inline void TakeTurns(AttentionCube<T>& cube, uint32_t i, uint32_t part) {
    constexpr uint32_t HALF = ATTENTION_PARTS / 2;
    if (i < ATTENTION_AHEAD || Task(i - ATTENTION_AHEAD).isShort) return;
    if (part < HALF) {
      Advance(cube, i - ATTENTION_AHEAD, HALF + part + 1);
    } else if (i + 1 < count_ && Task(i + 1 - ATTENTION_AHEAD).subs > 1) {
      Advance(cube, i + 1 - ATTENTION_AHEAD, part - HALF + 1);
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

  __aicore__ inline void Finish(AttentionCube<T>& cube, uint32_t i) {
    if (Task(i).isShort) {
      cube.ValuesShort(Task(i));
    } else {
      Advance(cube, i, ATTENTION_PARTS);
    }
    LoadNextValues(i, cube);
  }

  AttentionStep tasks_[TASKS];
  uint32_t count_ = 0;     // of tasks read
  uint32_t next_ = 0;      // the first task of the last group read
  uint32_t done_ = 0;      // parts of the results of the next long task
  uint32_t finished_ = 0;  // long tasks before this one have all of theirs
};
