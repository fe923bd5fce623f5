// The arithmetic of the lanes, apart from masks, strides and checks. Compiled once per instruction set of the
// host and chosen at run time; every variant gives the same bits.
#pragma once

#include <sim/machine.h>

namespace ascend_sim {

// n lanes that lie side by side: dst = f(a, b, scalar); unary operations ignore b. In place is fine.
using Lanes = void (*)(uint8_t* dst, const uint8_t* a, const uint8_t* b, size_t n, uint64_t scalar);

struct Math {
  // nullptr where the hardware has no such instruction for the types.
  Lanes (*elementwise)(VecCode code, DType dst, DType src);
  Lanes (*cast)(DType dst, DType src, uint8_t round_mode);
  // One bit per lane, lowest first: dst must hold (n + 7) / 8 bytes, the unused bits become 0.
  Lanes (*compare)(DType src, uint8_t mode, bool scalar);

  void (*half_to_float)(float* dst, const uint16_t* src, size_t n);
  void (*float_to_half)(uint16_t* dst, const float* src, size_t n);

  // c[16][16] += a[16][k] b[k][16], all fp32.
  void (*tile_f32)(float* c, const float* a, const float* b, int k);
};

const Math& math();

inline float bf16_to_float(uint16_t bits) {
  const uint32_t wide = uint32_t{bits} << 16;
  float value;
  __builtin_memcpy(&value, &wide, 4);
  return value;
}

// Rounding of one number, for the paths that need no speed. Modes as AscendC::RoundMode.
uint16_t round_to_half(float value, uint8_t mode);
uint16_t round_to_bf16(float value, uint8_t mode);

}  // namespace ascend_sim
