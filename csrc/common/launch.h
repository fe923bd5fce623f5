// What a tiling function decides: how a kernel is launched.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

namespace qwen_vl_npu_ops {

template <class Tiling>
struct Launch {
  uint32_t blocks;           // 0: there is nothing to compute, and nothing is launched
  uint64_t workspace_bytes;  // device memory for the kernel alone, uninitialised
  Tiling tiling;             // goes to the kernel by value
};

// What no tiling can serve; the text says what was asked for and what the limit is.
[[noreturn]] inline void no_tiling(const std::string& text) {
  throw std::invalid_argument(text);
}

}  // namespace qwen_vl_npu_ops
