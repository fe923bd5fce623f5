// Runs independent tasks on ATen's threads.
#pragma once

#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace qwen_vl_npu_ops {

// Calls run(begin, end) over [0, tasks) in runs of `grain`. Threads take the next run when they are free,
// because tasks cost unequal time; no task's result depends on who runs it.
template <typename Run>
void for_each_task(int64_t tasks, int64_t grain, const Run& run) {
  if (tasks <= 0) return;
  const int64_t runs = (tasks + grain - 1) / grain;
  const int64_t threads = std::min<int64_t>(at::get_num_threads(), runs);
  std::atomic<int64_t> next{0};
  at::parallel_for(0, threads, 1, [&](int64_t, int64_t) {
    for (int64_t i = next++; i < runs; i = next++) run(i * grain, std::min((i + 1) * grain, tasks));
  });
}

}  // namespace qwen_vl_npu_ops
