#pragma once

#include <cstdint>

// c[m, n] = a[m, k] b[k, n], cut into baseM x baseN tiles that the cube cores take in turn.
// Every size is a multiple of 16; two slots of both operands fit L1 and L0, one tile of c fits L0C.
struct SampleMatmulTiling {
  uint32_t m;
  uint32_t n;
  uint32_t k;
  uint32_t baseM;
  uint32_t baseN;
  uint32_t baseK;
};
