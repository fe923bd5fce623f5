// half and bfloat16_t: storage that rounds to nearest even on the way in, and computes in float.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

namespace ascend_sim {
uint16_t round_to_half(float value, uint8_t mode);
uint16_t round_to_bf16(float value, uint8_t mode);
float half_value(uint16_t bits);
}  // namespace ascend_sim

struct half {
  uint16_t bits = 0;

  half() = default;
  template <typename T, typename = std::enable_if_t<std::is_arithmetic_v<T>>>
  half(T value) : bits(::ascend_sim::round_to_half(static_cast<float>(value), 1)) {}
  operator float() const { return ::ascend_sim::half_value(bits); }

  half& operator+=(half other) { return *this = half(float(*this) + float(other)); }
  half& operator-=(half other) { return *this = half(float(*this) - float(other)); }
  half& operator*=(half other) { return *this = half(float(*this) * float(other)); }
  half& operator/=(half other) { return *this = half(float(*this) / float(other)); }
};

struct bfloat16_t {
  uint16_t bits = 0;

  bfloat16_t() = default;
  template <typename T, typename = std::enable_if_t<std::is_arithmetic_v<T>>>
  bfloat16_t(T value) : bits(::ascend_sim::round_to_bf16(static_cast<float>(value), 1)) {}
  operator float() const {
    const uint32_t wide = uint32_t{bits} << 16;
    float value;
    std::memcpy(&value, &wide, sizeof value);
    return value;
  }
};
using bfloat16 = bfloat16_t;

static_assert(sizeof(half) == 2 && sizeof(bfloat16_t) == 2);

namespace AscendC {

struct int4b_t {
  uint8_t storage;
};

inline bfloat16_t ToBfloat16(const float& value) {
  return bfloat16_t(value);
}
inline float ToFloat(const bfloat16_t& value) {
  return value;
}

namespace sim_detail {

template <typename T>
constexpr ::ascend_sim::DType dtype_of() {
  using ::ascend_sim::DType;
  if constexpr (std::is_same_v<T, float>)
    return DType::F32;
  else if constexpr (std::is_same_v<T, half>)
    return DType::F16;
  else if constexpr (std::is_same_v<T, bfloat16_t>)
    return DType::BF16;
  else if constexpr (std::is_same_v<T, int4b_t>)
    return DType::S4;
  else if constexpr (std::is_same_v<T, bool>)
    return DType::U8;
  else if constexpr (std::is_integral_v<T>) {
    constexpr bool is_signed = std::is_signed_v<T>;
    switch (sizeof(T)) {
      case 1:
        return is_signed ? DType::S8 : DType::U8;
      case 2:
        return is_signed ? DType::S16 : DType::U16;
      case 4:
        return is_signed ? DType::S32 : DType::U32;
      default:
        return is_signed ? DType::S64 : DType::U64;
    }
  } else {
    return DType::None;
  }
}

// The bits of a scalar operand, in the low bytes.
template <typename T>
uint64_t bits_of(const T& value) {
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  return bits;
}

template <typename T>
T value_of(uint64_t bits) {
  T value;
  std::memcpy(static_cast<void*>(&value), &bits, sizeof(T));
  return value;
}

}  // namespace sim_detail
}  // namespace AscendC
