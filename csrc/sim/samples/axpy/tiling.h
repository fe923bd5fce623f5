#pragma once

#include <cstdint>

// y = a x + y over `length` floats; blocks * tile divides length.
struct SampleAxpyTiling {
  uint32_t length;
  uint32_t tile;  // elements per step, a multiple of 8 (32 B), at most 20000 so that both tiles fit UB
  float a;
};
