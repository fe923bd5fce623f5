// Runs the kernels of this machine's best instruction set, without torch's libraries, against sums in fp64:
// for emulated machines, on which there is no torch.
#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <random>
#include <string>
#include <vector>

#include "cpu/kernels.h"
#include "ops/linear/linear.h"
#include "ops/patch_embed/patch_embed.h"
#include "ops/rms_norm/rms_norm.h"
#include "ops/rotary_qkv/rotary_qkv.h"
#include "ops/rotary_window_attention/rotary_window_attention.h"
#include "ops/silu_and_mul/silu_and_mul.h"
#include "ops/window_attention/window_attention.h"

namespace qwen_vl_npu_ops {
namespace {

const CpuKernels& kernels = cpu_kernels();
int failures = 0;

struct Shape {
  int64_t head_dim, padded;
  bool interleaved;
  std::vector<int64_t> cu_seqlens;
};

const std::vector<Shape> kShapes = {
    {80, 80, false, {0, 64, 128}},     {80, 128, false, {0, 3, 3, 20, 21, 60}},
    {80, 80, true, {0, 64, 75}},       {72, 80, true, {0, 150}},
    {2, 2, false, {0, 1, 2, 7}},       {6, 10, true, {0, 33}},
    {256, 256, false, {0, 5, 40, 40}}, {8, 8, true, {0, 7, 537}}};
constexpr int64_t kHeads = 2;
constexpr int64_t kTail = 3;  // rows past the last segment

template <typename T>
struct Type;
template <>
struct Type<float> {
  static constexpr DType dtype = DType::kFloat32;
  static constexpr double tolerance = 2e-6;
};
template <>
struct Type<c10::Half> {
  static constexpr DType dtype = DType::kFloat16;
  static constexpr double tolerance = 1e-3;
};
template <>
struct Type<c10::BFloat16> {
  static constexpr DType dtype = DType::kBFloat16;
  static constexpr double tolerance = 1.2e-2;
};

// [T, 3, kHeads, padded] of values that T holds exactly, and a table of angles.
template <typename T>
struct Sample {
  const Shape& shape;
  int64_t tokens;
  HeadLayout layout;
  std::vector<T> qkv;
  std::vector<double> exact;  // the same numbers
  std::vector<float> cos, sin;

  explicit Sample(const Shape& s)
      : shape(s),
        tokens(s.cu_seqlens.back() + kTail),
        layout(HeadLayout::make(s.head_dim, s.padded, s.interleaved)) {
    std::mt19937 random(7);
    std::normal_distribution<float> normal;
    for (int64_t i = 0; i < tokens * 3 * kHeads * s.padded; ++i)
      qkv.push_back(static_cast<T>(normal(random)));
    exact.assign(qkv.begin(), qkv.end());
    for (int64_t i = 0; i < tokens * s.head_dim / 2; ++i) {
      const float angle = 3 * normal(random);
      cos.push_back(std::cos(angle));
      sin.push_back(std::sin(angle));
    }
  }

  // Where real element d of a head lies.
  int64_t place(int64_t d) const {
    const int64_t half = layout.dim / 2;
    return d < half ? d : layout.second + d - half;
  }
  double at(int64_t token, int part, int64_t head, int64_t d) const {
    return exact[((token * 3 + part) * kHeads + head) * layout.padded + place(d)];
  }
  double rotated(int64_t token, int part, int64_t head, int64_t d) const {
    if (part == 2) return at(token, part, head, d);
    const int64_t half = layout.dim / 2;
    const bool second = shape.interleaved ? d % 2 == 1 : d >= half;
    const int64_t pair = shape.interleaved ? d / 2 : d % half;
    const int64_t other = shape.interleaved ? d ^ 1 : (d + half) % layout.dim;
    const double c = cos[token * half + pair], s = sin[token * half + pair];
    return at(token, part, head, d) * c + (second ? s : -s) * at(token, part, head, other);
  }

  // softmax(q k^T / sqrt(D)) v in fp64, [T, kHeads, D]
  std::vector<double> attention(bool rotary) const {
    const int64_t dim = layout.dim;
    std::vector<double> out(tokens * kHeads * dim, 0.0);
    const auto element = [&](int64_t t, int part, int64_t h, int64_t d) {
      return rotary ? rotated(t, part, h, d) : at(t, part, h, d);
    };
    for (size_t s = 0; s + 1 < shape.cu_seqlens.size(); ++s) {
      const int64_t begin = shape.cu_seqlens[s], end = shape.cu_seqlens[s + 1];
      for (int64_t h = 0; h < kHeads; ++h) {
        std::vector<double> q, k, v;
        for (int64_t t = begin; t < end; ++t) {
          for (int64_t d = 0; d < dim; ++d) {
            q.push_back(element(t, 0, h, d));
            k.push_back(element(t, 1, h, d));
            v.push_back(element(t, 2, h, d));
          }
        }
        for (int64_t i = 0; i < end - begin; ++i) {
          double total = 0;
          double* row = &out[((begin + i) * kHeads + h) * dim];
          for (int64_t j = 0; j < end - begin; ++j) {
            double score = 0;
            for (int64_t d = 0; d < dim; ++d) score += q[i * dim + d] * k[j * dim + d];
            const double weight = std::exp(score / std::sqrt(dim));
            total += weight;
            for (int64_t d = 0; d < dim; ++d) row[d] += weight * v[j * dim + d];
          }
          for (int64_t d = 0; d < dim; ++d) row[d] /= total;
        }
      }
    }
    return out;
  }
};

template <typename T>
void expect(const char* what, const Shape& shape, double worst) {
  const bool ok = worst <= Type<T>::tolerance;  // false for NaN
  failures += !ok;
  std::printf("%s %s %s dim %d padded %d: error %.3g of %.3g\n", ok ? "ok  " : "FAIL", kernels.isa, what,
              static_cast<int>(shape.head_dim), static_cast<int>(shape.padded), worst, Type<T>::tolerance);
}

// The larger of `worst` and this error, relative to what is expected above one; NaN is infinitely wrong.
template <typename T>
double worse(double worst, T got, double expected) {
  const double error =
      std::abs(static_cast<double>(static_cast<float>(got)) - expected) / std::max(1.0, std::abs(expected));
  return std::isnan(error) ? INFINITY : std::max(worst, error);
}

template <typename T>
void check_rotary_qkv(const Sample<T>& x) {
  const int64_t padded = x.layout.padded + 4;
  const HeadLayout out_layout = HeadLayout::make(x.layout.dim, padded, x.shape.interleaved);
  std::vector<T> out(3 * x.tokens * kHeads * padded, static_cast<T>(9.0f));
  RotaryQkvParams p{};
  p.qkv = x.qkv.data();
  p.table = {x.cos.data(), x.sin.data(), DType::kFloat32, x.layout.dim / 2, x.layout.dim / 2, 1};
  for (int part = 0; part < 3; ++part) {
    p.out[part] = out.data() + part * x.tokens * kHeads * padded;
    p.out_token_stride[part] = kHeads * padded;
    p.out_head_stride[part] = padded;
  }
  p.dtype = Type<T>::dtype;
  p.tokens = x.tokens;
  p.heads = kHeads;
  p.in = x.layout;
  p.out_layout = out_layout;
  p.qkv_stride = 3 * kHeads * x.layout.padded;
  p.interleaved = x.shape.interleaved;
  kernels.rotary_qkv(p, 0, x.tokens);
  double worst = 0, sum = 0, expected_sum = 0;
  for (int part = 0; part < 3; ++part) {
    for (int64_t row = 0; row < x.tokens * kHeads; ++row) {
      const T* head = static_cast<const T*>(p.out[part]) + row * padded;
      for (int64_t i = 0; i < padded; ++i) sum += std::abs(static_cast<double>(static_cast<float>(head[i])));
      for (int64_t d = 0; d < x.layout.dim; ++d) {
        const T got = head[d < x.layout.dim / 2 ? d : out_layout.second + d - x.layout.dim / 2];
        worst = worse(worst, got, x.rotated(row / kHeads, part, row % kHeads, d));
        expected_sum += std::abs(static_cast<double>(static_cast<float>(got)));
      }
    }
  }
  if (sum != expected_sum) worst = INFINITY;  // something in the padding
  expect<T>("rotary_qkv", x.shape, worst);
}

template <typename T>
double worst_of_attention(const Sample<T>& x, const std::vector<T>& out, bool rotary) {
  const std::vector<double> expected = x.attention(rotary);
  double worst = 0;
  for (int64_t row = 0; row < x.tokens * kHeads; ++row) {
    for (int64_t d = 0; d < x.layout.dim; ++d) {
      worst = worse(worst, out[row * x.layout.padded + x.place(d)], expected[row * x.layout.dim + d]);
    }
  }
  return worst;
}

template <typename T>
void check_rotary_window_attention(const Sample<T>& x) {
  std::vector<T> out(x.tokens * kHeads * x.layout.padded, static_cast<T>(9.0f));
  RotaryWindowAttentionParams p{};
  p.qkv = x.qkv.data();
  p.table = {x.cos.data(), x.sin.data(), DType::kFloat32, x.layout.dim / 2, x.layout.dim / 2, 1};
  p.out = out.data();
  p.dtype = Type<T>::dtype;
  p.tokens = x.tokens;
  p.heads = kHeads;
  p.in = p.out_layout = x.layout;
  p.qkv_stride = 3 * kHeads * x.layout.padded;
  p.out_stride = kHeads * x.layout.padded;
  p.cu_seqlens = x.shape.cu_seqlens.data();
  p.segments = x.shape.cu_seqlens.size() - 1;
  p.scale = 1.0f / std::sqrt(static_cast<float>(x.layout.dim));
  p.interleaved = x.shape.interleaved;
  for (int64_t task = kernels.rotary_window_attention_tasks(p) - 1; task >= 0; --task) {
    kernels.rotary_window_attention(p, task, task + 1);
  }
  expect<T>("rotary_window_attention", x.shape, worst_of_attention(x, out, true));
}

template <typename T>
void check_window_attention(const Sample<T>& x) {
  if (x.layout.padded != x.layout.dim) return;  // the same as dense, for this operator
  const int64_t dim = x.layout.dim, part = kHeads * dim;
  std::vector<T> out(x.tokens * part, static_cast<T>(9.0f));
  WindowAttentionParams p{};
  p.q = x.qkv.data();
  p.k = x.qkv.data() + part;
  p.v = x.qkv.data() + 2 * part;
  p.out = out.data();
  p.q_token_stride = p.k_token_stride = p.v_token_stride = 3 * part;
  p.out_token_stride = part;
  p.q_head_stride = p.k_head_stride = p.v_head_stride = p.out_head_stride = dim;
  p.dtype = Type<T>::dtype;
  p.tokens = x.tokens;
  p.heads = p.kv_heads = kHeads;
  p.head_dim = p.value_dim = dim;
  p.cu_seqlens = x.shape.cu_seqlens.data();
  p.segments = x.shape.cu_seqlens.size() - 1;
  p.scale = 1.0f / std::sqrt(static_cast<float>(dim));
  kernels.window_attention(p, 0, kernels.window_attention_tasks(p));
  expect<T>("window_attention", x.shape, worst_of_attention(x, out, false));
}

template <typename T>
void check_gather_rows(const Sample<T>& x) {
  const int64_t columns = 3 * kHeads * x.layout.padded;
  std::vector<int64_t> index;
  for (int64_t i = 0; i < x.tokens; ++i) index.push_back((i * 5 + 2) % x.tokens);
  std::vector<float> wide(x.qkv.begin(), x.qkv.end());
  std::vector<T> out(wide.size());
  kernels.gather_rows(
      {wide.data(), DType::kFloat32, columns, index.data(), out.data(), Type<T>::dtype, columns}, 0,
      x.tokens);
  double worst = 0;
  for (size_t i = 0; i < out.size(); ++i) {
    worst = worse(worst, out[i], x.exact[index[i / columns] * columns + i % columns]);
  }
  expect<T>("gather_rows", x.shape, worst);
}

// The tokens times the first rows of themselves, plus the first token.
template <typename T>
void check_linear(const Sample<T>& x) {
  const int64_t columns = 3 * kHeads * x.layout.padded, rows = std::min<int64_t>(x.tokens, 50);
  std::vector<T> out(x.tokens * rows, static_cast<T>(9.0f));
  LinearParams p{};
  p.x = p.weight = p.bias = x.qkv.data();
  p.out = out.data();
  p.x_dtype = p.dtype = Type<T>::dtype;
  p.tokens = x.tokens;
  p.n = p.out_stride = rows;
  p.k = p.x_stride = p.weight_stride = columns;
  if (columns < rows) return;  // too few numbers for the bias
  std::vector<float> panels(kernels.linear_panels(p) * kernels.linear_panel_floats(p.k));
  p.panels = panels.data();
  for (int64_t panel = kernels.linear_panels(p) - 1; panel >= 0; --panel)
    kernels.linear_pack(p, panel, panel + 1);
  kernels.linear(p, 0, kernels.linear_tasks(p));
  double worst = 0;
  for (int64_t i = 0; i < x.tokens * rows; ++i) {
    double expected = x.exact[i % rows], size = 1;
    for (int64_t c = 0; c < columns; ++c) {
      const double term = x.exact[i / rows * columns + c] * x.exact[i % rows * columns + c];
      expected += term;
      size += term * term;
    }
    // Errors grow with the terms, not with what is left of them.
    worst = worse(worst, static_cast<double>(out[i]) / std::sqrt(size), expected / std::sqrt(size));
  }
  expect<T>("linear", x.shape, worst);
}

// The tokens, each plus itself where there is a residual, times the first of them.
template <typename T>
void check_rms_norm(const Sample<T>& x, bool adds) {
  const int64_t columns = 3 * kHeads * x.layout.padded;
  std::vector<T> out(x.qkv.size(), static_cast<T>(9.0f)), sum(out);
  RmsNormParams p{};
  p.x = p.weight = x.qkv.data();
  p.residual = adds ? p.x : nullptr;
  p.out = out.data();
  p.sum = sum.data();
  p.dtype = Type<T>::dtype;
  p.rows = x.tokens;
  p.columns = p.x_stride = p.residual_stride = columns;
  p.eps = 1e-6;
  kernels.rms_norm(p, 0, x.tokens);
  const double terms = adds ? 2 : 1;
  double worst = 0;
  for (int64_t row = 0; row < x.tokens; ++row) {
    const double* token = x.exact.data() + row * columns;
    double squares = 0;
    for (int64_t c = 0; c < columns; ++c) squares += terms * terms * token[c] * token[c];
    const double scale = 1 / std::sqrt(squares / columns + p.eps);
    for (int64_t c = 0; c < columns; ++c) {
      if (adds) worst = worse(worst, sum[row * columns + c], terms * token[c]);
      worst = worse(worst, out[row * columns + c], terms * token[c] * scale * x.exact[c]);
    }
  }
  expect<T>(adds ? "add_rms_norm" : "rms_norm", x.shape, worst);
}

// The first half of a token is the gate, 32-fold: so far from zero that its exponential overflows, too.
template <typename T>
void check_silu_and_mul(const Sample<T>& x) {
  const int64_t columns = 3 * kHeads * x.layout.padded / 2;
  std::vector<T> gate_up(x.qkv), out(x.tokens * columns, static_cast<T>(9.0f));
  for (int64_t i = 0; i < x.tokens * columns; ++i) {
    T& gate = gate_up[i / columns * 2 * columns + i % columns];
    gate = static_cast<T>(32 * static_cast<float>(gate));
  }
  kernels.silu_and_mul({gate_up.data(), out.data(), Type<T>::dtype, x.tokens, columns, 2 * columns}, 0,
                       x.tokens);
  double worst = 0;
  for (int64_t i = 0; i < x.tokens * columns; ++i) {
    const int64_t place = i / columns * 2 * columns + i % columns;
    const double gate = 32 * x.exact[place], up = x.exact[place + columns];
    worst = worse(worst, out[i], gate / (1 + std::exp(-gate)) * up);
  }
  expect<T>("silu_and_mul", x.shape, worst);
}

template <typename T>
void check_all() {
  for (const Shape& shape : kShapes) {
    const Sample<T> sample(shape);
    check_rotary_qkv(sample);
    check_window_attention(sample);
    check_rotary_window_attention(sample);
    check_gather_rows(sample);
    check_linear(sample);
    check_rms_norm(sample, false);
    check_rms_norm(sample, true);
    check_silu_and_mul(sample);
  }
}

}  // namespace
}  // namespace qwen_vl_npu_ops

int main() {
  using namespace qwen_vl_npu_ops;
  check_all<float>();
  check_all<c10::Half>();
  check_all<c10::BFloat16>();
  std::printf("%d failures\n", failures);
  return failures != 0;
}
