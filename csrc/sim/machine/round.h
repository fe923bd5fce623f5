// Rounding to narrower types, for one number at a time.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

namespace ascend_sim {

// AscendC::RoundMode.
enum Round : uint8_t { kNone, kRint, kFloor, kCeil, kRound, kTrunc, kOdd };

// Whether to round the magnitude up, given the bits cut off (`rest`, of which `half` is the weight of one
// half), the sign and the lowest bit kept.
constexpr bool rounds_up(int mode, bool negative, bool odd, uint64_t rest, uint64_t half) {
  switch (mode) {
    case kFloor:
      return negative && rest != 0;
    case kCeil:
      return !negative && rest != 0;
    case kRound:
      return rest >= half;
    case kTrunc:
    case kOdd:
      return false;
    default:
      return rest > half || (rest == half && odd);
  }
}

inline float widen_half(uint16_t bits) {
  const uint32_t sign = uint32_t{bits & 0x8000u} << 16, exponent = bits >> 10 & 31, fraction = bits & 0x3FF;
  uint32_t wide;
  if (exponent == 31) {
    wide = sign | 0x7F800000 | fraction << 13 | (fraction ? 0x400000 : 0);
  } else if (exponent) {
    wide = sign | (exponent + 112) << 23 | fraction << 13;
  } else {
    const float value = static_cast<float>(fraction) * 0x1p-24f;
    std::memcpy(&wide, &value, 4);
    wide |= sign;
  }
  float value;
  std::memcpy(&value, &wide, 4);
  return value;
}

inline uint16_t narrow_half(float value, int mode) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  const bool negative = bits >> 31;
  const uint16_t sign = static_cast<uint16_t>(bits >> 16 & 0x8000);
  const uint32_t magnitude = bits & 0x7FFFFFFF;
  if (magnitude > 0x7F800000) return static_cast<uint16_t>(sign | 0x7E00 | (magnitude >> 13 & 0x1FF));
  if (magnitude == 0x7F800000) return static_cast<uint16_t>(sign | 0x7C00);
  // Count in units of the result's last place: 2^-24 for everything below 2^-14.
  const int exponent = static_cast<int>(magnitude >> 23);
  const uint64_t significand = exponent ? (magnitude & 0x7FFFFF) | 0x800000 : magnitude;
  const int cut = exponent >= 113 ? 13 : 126 - exponent + (exponent ? 0 : -1);
  uint64_t kept, rest, half;
  if (cut > 40) {
    kept = 0, rest = significand != 0, half = 2;
  } else {
    kept = significand >> cut, rest = significand & ((uint64_t{1} << cut) - 1),
    half = uint64_t{1} << (cut - 1);
  }
  // For normal results `kept` still has its leading one at bit 10.
  uint64_t result = exponent >= 113 ? (static_cast<uint64_t>(exponent - 113) << 10) + kept : kept;
  if (rounds_up(mode, negative, kept & 1, rest, half)) ++result;
  if (mode == kOdd && rest) result |= 1;
  if (result > 0x7C00) result = 0x7C00;  // overflow gives infinity in every mode: the hardware's INF/NAN mode
  return static_cast<uint16_t>(sign | result);
}

inline uint16_t narrow_bf16(float value, int mode) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  if ((bits & 0x7FFFFFFF) > 0x7F800000) return static_cast<uint16_t>(bits >> 16 | 0x40);
  const uint32_t kept = bits >> 16;
  // The exponent field follows the fraction, so a carry out of the fraction is right by itself, infinity
  // included.
  return static_cast<uint16_t>(kept + rounds_up(mode, bits >> 31, kept & 1, bits & 0xFFFF, 0x8000));
}

// To a whole number.
inline double round_whole(double value, int mode) {
  switch (mode) {
    case kFloor:
      return std::floor(value);
    case kCeil:
      return std::ceil(value);
    case kRound:
      return std::round(value);
    case kTrunc:
      return std::trunc(value);
    default:
      return std::nearbyint(value);
  }
}

// int64 and int32 to float.
inline float narrow_float(int64_t value, int mode) {
  const bool negative = value < 0;
  const uint64_t magnitude = negative ? ~static_cast<uint64_t>(value) + 1 : static_cast<uint64_t>(value);
  const int length = magnitude ? 64 - __builtin_clzll(magnitude) : 0;
  const int cut = length - 24;
  if (cut <= 0) return static_cast<float>(value);
  uint64_t kept = magnitude >> cut;
  const uint64_t rest = magnitude & ((uint64_t{1} << cut) - 1);
  if (rounds_up(mode, negative, kept & 1, rest, uint64_t{1} << (cut - 1))) ++kept;
  const float result = std::ldexp(static_cast<float>(kept), cut);
  return negative ? -result : result;
}

}  // namespace ascend_sim
