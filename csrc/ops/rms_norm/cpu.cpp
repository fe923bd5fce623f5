#include <algorithm>
#include <cmath>

#include "cpu/table.h"
#include "cpu/vec.h"
#include "ops/rms_norm/rms_norm.h"

namespace qwen_vl_npu_ops::QVNO_ISA {
namespace {

// Columns summed in fp32 before their sum joins the others in fp64: long rows lose nothing.
constexpr int64_t kChunk = 1024;
constexpr int kSums = 4;  // independent sums, so that additions do not wait for each other

template <typename T>
double chunk_sum_of_squares(const T* x, int64_t n) {
  Vec sums[kSums] = {Vec(0.0f), Vec(0.0f), Vec(0.0f), Vec(0.0f)};
  int64_t i = 0;
  for (; i + kSums * kWidth <= n; i += kSums * kWidth) {
#pragma GCC unroll 4
    for (int j = 0; j < kSums; ++j) {
      const Vec value = load(x + i + j * kWidth, kWidth);
      sums[j] = fmadd(value, value, sums[j]);
    }
  }
  for_each_vector(n - i, [&](int64_t rest, int count) {
    const Vec value = load(x + i + rest, count);
    sums[0] = fmadd(value, value, sums[0]);
  });
  float lanes[kWidth];
  ((sums[0] + sums[1]) + (sums[2] + sums[3])).store(lanes);
  double total = 0;
  for (const float lane : lanes) total += lane;
  return total;
}

template <typename T>
float inverse_root_mean_square(const T* x, int64_t n, double eps) {
  double total = 0;
  for (int64_t i = 0; i < n; i += kChunk) total += chunk_sum_of_squares(x + i, std::min(kChunk, n - i));
  return static_cast<float>(1.0 / std::sqrt(total / static_cast<double>(n) + eps));
}

template <typename T>
void add_row(const T* x, const T* y, T* sum, int64_t n) {
  for_each_vector(
      n, [&](int64_t i, int count) { store(sum + i, load(x + i, count) + load(y + i, count), count); });
}

template <typename T>
void norm_row(const T* x, const T* weight, double eps, T* out, int64_t n) {
  const Vec scale(inverse_root_mean_square(x, n, eps));
  for_each_vector(n, [&](int64_t i, int count) {
    store(out + i, load(x + i, count) * scale * load(weight + i, count), count);
  });
}

template <typename T>
void norm_rows(const RmsNormParams& p, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    const T* x = static_cast<const T*>(p.x) + row * p.x_stride;
    if (p.residual != nullptr) {
      T* sum = static_cast<T*>(p.sum) + row * p.columns;
      add_row(x, static_cast<const T*>(p.residual) + row * p.residual_stride, sum, p.columns);
      x = sum;
    }
    norm_row(x, static_cast<const T*>(p.weight), p.eps, static_cast<T*>(p.out) + row * p.columns, p.columns);
  }
}

}  // namespace

void rms_norm(const RmsNormParams& p, int64_t begin, int64_t end) {
  with_element_type(p.dtype, [&](auto element) { norm_rows<decltype(element)>(p, begin, end); });
}

}  // namespace qwen_vl_npu_ops::QVNO_ISA
