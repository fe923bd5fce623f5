// Loads, stores and the exponential for kernels that compute in fp32 whatever the dtype in memory.
// Everything here is compiled once per instruction set, inside namespace QVNO_ISA.
#pragma once

#include <ATen/cpu/vec/vec.h>

#include <cstdint>
#include <cstring>
#include <limits>
#include <tuple>
#include <type_traits>

#include "common/types.h"

namespace qwen_vl_npu_ops::QVNO_ISA {

using Vec = at::vec::Vectorized<float>;
using at::vec::fmadd;

constexpr int kWidth = Vec::size();

// `count` elements of T as fp32; lanes past them are zero and their memory is not touched.
template <typename T>
inline Vec load(const T* p, int count = kWidth) {
  if constexpr (std::is_same_v<T, float>) {
    return count == kWidth ? Vec::loadu(p) : Vec::loadu(p, count);
  } else {
    if (count < kWidth) return at::vec::convert<float>(at::vec::Vectorized<T>::loadu(p, count));
    Vec value;
    if constexpr (std::is_same_v<T, c10::Half>) {
      at::vec::load_fp32_from_fp16(p, value);
    } else {
      at::vec::load_fp32_from_bf16(p, value);
    }
    return value;
  }
}

// Rounds to T once, to nearest even.
template <typename T>
inline void store(T* p, Vec value, int count = kWidth) {
  if constexpr (std::is_same_v<T, float>) {
    value.store(p, count);
  } else {
    const at::vec::Vectorized<T> rounded = at::vec::convert<T>(value);
    if (count < kWidth) return rounded.store(p, count);
    std::memcpy(p, &rounded, kWidth * sizeof(T));  // one store, where that of half a vector is a call
  }
}

// Calls body(offset, count) for whole vectors of [0, n), then for the rest.
template <typename Body>
inline void for_each_vector(int64_t n, const Body& body) {
  int64_t i = 0;
  for (; i + kWidth <= n; i += kWidth) body(i, kWidth);
  if (i < n) body(i, static_cast<int>(n - i));
}

template <typename From, typename To>
inline void copy_row(const From* from, To* to, int64_t n) {
  if constexpr (std::is_same_v<From, To>) {
    std::memcpy(to, from, n * sizeof(To));
  } else {
    for_each_vector(n, [&](int64_t i, int count) { store(to + i, load(from + i, count), count); });
  }
}

// exp(x) for x from -88 to 89, within 1.5 ulp: exactly 0 below ln(2^-126.5), infinity above ln(2^127.5), NaN
// for NaN.
inline Vec exp_in_range(Vec x) {
  // Adding this rounds to an integer n, and leaves n + 127, the exponent field of 2^n, in the low bits.
  const Vec magic(12582912.0f + 127.0f);
  const Vec shifted = fmadd(x, Vec(1.44269504f), magic);
  const Vec n = shifted - magic;
  // Cody-Waite: n * 0.693359375 is exact, so r = x - n ln(2) loses nothing to cancellation.
  Vec r = fmadd(n, Vec(-0.693359375f), x);
  r = fmadd(n, Vec(2.12194440e-4f), r);
  // Minimax polynomial of exp(r) on [-ln(2)/2, ln(2)/2].
  Vec p = Vec(0.0013814539f);
  p = fmadd(p, r, Vec(0.008368745f));
  p = fmadd(p, r, Vec(0.04166839f));
  p = fmadd(p, r, Vec(0.16666521f));
  p = fmadd(p, r, Vec(0.49999994f));
  p = fmadd(p, r, Vec(1.0f));
  p = fmadd(p, r, Vec(1.0f));
  const auto bits = at::vec::cast<int32_t>(shifted) << at::vec::Vectorized<int32_t>(23);
  return p * at::vec::cast<float>(bits);
}

inline Vec exp_nonpositive(Vec x) {
  return exp_in_range(at::vec::clamp_min(x, Vec(-88.0f)));
}

inline Vec exp(Vec x) {
  return exp_in_range(at::vec::clamp(x, Vec(-88.0f), Vec(89.0f)));
}

// to[j][i] = from[i][j] for kWidth x kWidth 4-byte units. A riffle of the first and second half of the rows
// moves the top bit of the row number to the bottom of the column number; log2(kWidth) riffles swap the two.
inline void transpose(const float* from, int64_t from_stride, float* to, int64_t to_stride) {
  Vec x[kWidth], y[kWidth];
#pragma GCC unroll 16
  for (int i = 0; i < kWidth; ++i) x[i] = Vec::loadu(from + i * from_stride);
#pragma GCC unroll 4
  for (int riffles = 1; riffles < kWidth; riffles *= 2) {
#pragma GCC unroll 8
    for (int i = 0; i < kWidth / 2; ++i) {
      std::tie(y[2 * i], y[2 * i + 1]) = at::vec::interleave2(x[i], x[i + kWidth / 2]);
    }
#pragma GCC unroll 16
    for (int i = 0; i < kWidth; ++i) x[i] = y[i];
  }
#pragma GCC unroll 16
  for (int i = 0; i < kWidth; ++i) x[i].store(to + i * to_stride);
}

// Calls body(T{}) with the element type that dtype names.
template <typename Body>
inline void with_element_type(DType dtype, const Body& body) {
  switch (dtype) {
    case DType::kFloat32:
      return body(float{});
    case DType::kFloat16:
      return body(c10::Half{});
    case DType::kBFloat16:
      return body(c10::BFloat16{});
  }
}

}  // namespace qwen_vl_npu_ops::QVNO_ISA
