// One rotated head: rounded once, in any of the two pairings, from and to any padding.
#pragma once

#include "common/types.h"
#include "cpu/vec.h"

namespace qwen_vl_npu_ops::QVNO_ISA {

// The angles of one token, fp32 and contiguous.
struct Angles {
  const float* cos;  // [D/2]
  const float* sin;  // [D/2]
};

inline const float* contiguous_fp32(const void* table, DType dtype, int64_t offset, int64_t step, int64_t n,
                                    float* scratch) {
  if (dtype == DType::kFloat32 && step == 1) return static_cast<const float*>(table) + offset;
  with_element_type(dtype, [&](auto element) {
    const auto* row = static_cast<const decltype(element)*>(table) + offset;
    if (step == 1) return copy_row(row, scratch, n);
    for (int64_t i = 0; i < n; ++i) scratch[i] = static_cast<float>(row[i * step]);
  });
  return scratch;
}

// Row `token` of the table; scratch [2 * pairs] is used where the table is not fp32 or not contiguous.
inline Angles angles_of(const RotaryTable& table, int64_t token, int64_t pairs, float* scratch) {
  return {
      contiguous_fp32(table.cos, table.dtype, token * table.cos_stride, table.step, pairs, scratch),
      contiguous_fp32(table.sin, table.dtype, token * table.sin_stride, table.step, pairs, scratch + pairs)};
}

// Pair i is (lo[i], hi[i]).
template <typename From, typename To>
inline void rotate_half(const From* lo, const From* hi, Angles angles, int64_t pairs, To* to_lo, To* to_hi) {
  for_each_vector(pairs, [&](int64_t i, int count) {
    const Vec x = load(lo + i, count), y = load(hi + i, count);
    const Vec c = load(angles.cos + i, count), s = load(angles.sin + i, count);
    store(to_lo + i, x * c - y * s, count);
    store(to_hi + i, fmadd(x, s, y * c), count);
  });
}

// Pair i is (from[2i], from[2i+1]).
template <typename From, typename To>
inline void rotate_interleaved(const From* from, Angles angles, int64_t pairs, To* to) {
  for_each_vector(pairs, [&](int64_t i, int count) {
    const int low = std::min(2 * count, kWidth), high = 2 * count - low;
    const From* x = from + 2 * i;
    const Vec zero(0.0f);
    const auto [even, odd] = at::vec::deinterleave2(load(x, low), high > 0 ? load(x + kWidth, high) : zero);
    const Vec c = load(angles.cos + i, count), s = load(angles.sin + i, count);
    const auto [first, second] = at::vec::interleave2(even * c - odd * s, fmadd(even, s, odd * c));
    store(to + 2 * i, first, low);
    if (high > 0) store(to + 2 * i + kWidth, second, high);
  });
}

template <typename T>
inline void zero_padding(T* head, const HeadLayout& layout) {
  if (layout.dim == layout.padded) return;
  const int64_t half = layout.dim / 2;
  std::memset(head + half, 0, (layout.second - half) * sizeof(T));
  std::memset(head + layout.second + half, 0, (layout.padded - layout.second - half) * sizeof(T));
}

// Calls body(offset, place, count) for each contiguous run of a head's real elements: `offset` counts real
// elements, `place` is where they lie.
template <typename Body>
inline void for_each_run(const HeadLayout& layout, const Body& body) {
  const int64_t half = layout.dim / 2;
  if (layout.second == half) return body(0, 0, layout.dim);
  body(0, 0, half);
  body(half, layout.second, half);
}

template <typename From, typename To>
inline void rotate_head(const From* from, const HeadLayout& in, Angles angles, bool interleaved, To* to,
                        const HeadLayout& out) {
  const int64_t half = in.dim / 2;
  if (interleaved) {
    rotate_interleaved(from, angles, half, to);
  } else {
    rotate_half(from, from + in.second, angles, half, to, to + out.second);
  }
}

template <typename From, typename To>
inline void copy_head(const From* from, const HeadLayout& in, To* to, const HeadLayout& out) {
  const int64_t half = in.dim / 2;
  if (in.second == half && out.second == half) return copy_row(from, to, in.dim);
  copy_row(from, to, half);
  copy_row(from + in.second, to + out.second, half);
}

}  // namespace qwen_vl_npu_ops::QVNO_ISA
