// Vector clocks. A pipe's clock counts its core's instructions: every instruction of a core gets the next
// number, so "pipe q has completed up to n" orders all of q's accesses with numbers <= n before whoever knows
// it.
#pragma once

#include <sim/machine.h>

#include <algorithm>
#include <array>
#include <memory>
#include <vector>

namespace ascend_sim {

using LocalClock = std::array<uint32_t, kPipes>;

// What is known of other cores: only cross-core flags change it, so it is shared and copied on write.
using ForeignClock = std::shared_ptr<const std::vector<LocalClock>>;

inline void join(LocalClock& into, const LocalClock& from) {
  for (int i = 0; i < kPipes; ++i) into[i] = std::max(into[i], from[i]);
}

inline ForeignClock join(const ForeignClock& a, const ForeignClock& b) {
  if (a == b || !b) return a;
  if (!a) return b;
  auto result = std::make_shared<std::vector<LocalClock>>(*a);
  for (size_t core = 0; core < result->size(); ++core) join((*result)[core], (*b)[core]);
  return result;
}

// All a pipe knows at one moment; what a flag carries from its setter to its waiter.
struct Knowledge {
  LocalClock own{};
  ForeignClock foreign;

  void learn(const Knowledge& other) {
    join(own, other.own);
    foreign = join(foreign, other.foreign);
  }
};

}  // namespace ascend_sim
