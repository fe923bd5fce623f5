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
      const bool isPair = isLong && i > ATTENTION_AHEAD && !Task(i - 1 - ATTENTION_AHEAD).isShort;
      if (isLong && i == 1) cube.ScoresFirst(Task(0), source.Query(Task(0)), source.Keys(Task(0)));
      for (uint32_t part = 0; isLong && i > 1 && part < ATTENTION_PARTS; ++part) {
        cube.ScoresLong(Task(i - 1), source.Query(Task(i - 1)), source.Keys(Task(i - 1)), part);
        // The results of a long task take turns with the scores: they keep different pipes busy.
        if (isPair) cube.ValuesLong(Task(i - 1 - ATTENTION_AHEAD), part);
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
      if (!isPair) Finish(cube, last, last + 1 < count);
    }
  }

 private:
  static constexpr uint32_t TASKS = ATTENTION_AHEAD + 2;

  __aicore__ inline AttentionStep& Task(uint32_t i) { return tasks_[i % TASKS]; }

  // A short task's v is loaded one task ahead, except past a long one, which uses both slots.
  __aicore__ inline void Finish(AttentionCube<T>& cube, uint32_t i, bool hasNext) {
    const AttentionStep& step = Task(i);
    if (!step.isShort) {
      for (uint32_t part = 0; part < ATTENTION_PARTS; ++part) cube.ValuesLong(step, part);
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
  uint32_t valuesLoaded_ = 0;  // so many tasks have had their v loaded, or load it themselves
};
