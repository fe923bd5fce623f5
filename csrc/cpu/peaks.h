// Loops of one kind of operation on registers: the most that a core can do, for benchmarks to compare with.
#pragma once

#include <cstdint>

namespace qwen_vl_npu_ops {

enum class PeakLoop : int32_t { kFmaFp32, kDotBf16, kDotInt8, kExpFp32 };

}  // namespace qwen_vl_npu_ops
