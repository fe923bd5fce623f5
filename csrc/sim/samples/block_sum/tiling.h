#pragma once

#include <cstdint>

// totals[r] = sum of row r of x[rows, length], floats; length is a multiple of 64 * blocks, a core's share of
// a row fits UB, rows is at most 8. The workspace holds one 64-byte cache line per core, so that no two cores
// share one.
struct SampleBlockSumTiling {
  uint32_t rows;
  uint32_t length;
};
