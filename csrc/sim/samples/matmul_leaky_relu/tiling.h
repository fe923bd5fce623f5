#pragma once

#include <cstdint>

#include "../matmul/tiling.h"

// out[m, n] = leaky_relu(a[m, k] b[k, n]); the workspace holds two tiles of float for every cube core:
// blocks * 2 * baseM * baseN * 4 bytes. baseM is a multiple of 32, so that both vector cores get whole
// fractals.
struct SampleMatmulLeakyReluTiling {
  SampleMatmulTiling matmul;
  float slope;
};
