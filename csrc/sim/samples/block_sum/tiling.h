#pragma once

#include <cstdint>

// total[0] = sum of x over `length` floats, a multiple of 64 * blocks; each core's share fits UB.
// The workspace holds one 64-byte cache line per core, so that no two cores share one.
struct SampleBlockSumTiling {
  uint32_t length;
};
