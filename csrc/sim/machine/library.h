// Shared libraries of compiled kernels, and what can be called in them.
#pragma once

#include <sim/launch.h>

#include <string>
#include <vector>

namespace ascend_sim {

// dlopen `path` and return the entries that registered themselves. Throws std::runtime_error.
std::vector<Entry> load_library(const std::string& path);

}  // namespace ascend_sim
