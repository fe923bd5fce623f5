#pragma once

#include <cstdint>

// z = x + y over `totalLength` halves, cut into tiles that the cores take in turn.
struct SampleAddTiling {
  uint32_t totalLength;  // elements of x, y and z; need not be a multiple of anything
  uint32_t tileLength;   // elements per tile, a multiple of 16 (32 B)
};
