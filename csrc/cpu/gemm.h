// The micro-kernel of matrix products: both of attention, and linear's.
//
// Panels hold 4-byte units: one fp32, or a pair of bf16 neighbours along the summed dimension where the
// instruction set has a bf16 dot product. C[i][lane] = sum over s of A[i][s] * B[s][lane]: units of A are
// broadcast, so A needs no particular layout; lanes of B and C are contiguous.
#pragma once

#include "cpu/vec.h"

namespace qwen_vl_npu_ops::QVNO_ISA {

// Accumulators of kTileRows x kTileVecs vectors fill the registers. Products are added up a chain in a row,
// then the sums of chains: long chains touch C less often but lose accuracy, and sooner so without fused
// multiply-add. Scores, which go through an exponential, need short ones; a linear layer's are as accurate as
// the GEMM libraries'.
#if defined(CPU_CAPABILITY_AVX512) || defined(__aarch64__)
constexpr int kTileRows = 6, kTileVecs = 4, kScoreChain = 27, kValueChain = 96, kLinearChain = 128;
#elif defined(CPU_CAPABILITY_AVX2)
constexpr int kTileRows = 6, kTileVecs = 2, kScoreChain = 27, kValueChain = 96, kLinearChain = 192;
#else
constexpr int kTileRows = 2, kTileVecs = 2, kScoreChain = 16, kValueChain = 48, kLinearChain = 48;
#endif
constexpr int kLanes = kTileVecs * kWidth;

struct DotFp32 {
  using Element = float;
  static constexpr int kPack = 1;                                             // elements in a unit
  static constexpr int kScoreTerms = kScoreChain, kValueTerms = kValueChain;  // in a chain

  static Vec pack(const Vec (&x)[kPack]) { return x[0]; }
  static Vec dot(Vec a, Vec b, Vec sum) { return fmadd(a, b, sum); }
};

#ifdef __AVX512BF16__
// bf16 on its way into a dot product, which takes subnormal numbers for zero, as the conversion here does.
struct PanelBf16 {
  uint16_t bits;
};

inline void store(PanelBf16* p, Vec value, int count = kWidth) {
  const auto mask = static_cast<__mmask16>((1u << count) - 1);
  _mm256_mask_storeu_epi16(p, mask, (__m256i)_mm512_cvtneps_pbh(value));
}

struct DotBf16 {
  using Element = PanelBf16;
  static constexpr int kPack = 2;
  static constexpr int kScoreTerms = 256, kValueTerms = 256;

  static Vec pack(const Vec (&x)[kPack]) {
    const __m512i low = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(x[0]));
    const __m512i high = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(x[1]));
    return _mm512_castsi512_ps(_mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
  }
  static Vec dot(Vec a, Vec b, Vec sum) {
    return _mm512_dpbf16_ps(sum, (__m512bh)_mm512_castps_si512(a), (__m512bh)_mm512_castps_si512(b));
  }
};
#endif

// A[i][s] is units[i * row_stride + s * step].
struct Broadcast {
  const float* units;
  int64_t row_stride;
  int64_t step;
};

// C[i][lane], rows kLanes apart. Without factors the product overwrites it, else C = C * factors[j] +
// product.
struct Accumulator {
  float* rows;
  const Vec* factors;  // one per vector of lanes
};

// A function of its own, so that accumulators, lanes and a broadcast share the registers with nothing else.
template <typename Dot, int kRows, int kVecs>
[[gnu::noinline]] void gemm_tile(const Broadcast& a, const float* b, int64_t depth, const Accumulator& c) {
  Vec sum[kRows][kVecs];
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 8
    for (int j = 0; j < kVecs; ++j) sum[i][j] = Vec(0.0f);
  }
  const float* unit = a.units;
  for (int64_t s = 0; s < depth; ++s, unit += a.step, b += kLanes) {
    Vec lanes[kVecs];
#pragma GCC unroll 8
    for (int j = 0; j < kVecs; ++j) lanes[j] = Vec::loadu(b + j * kWidth);
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i) {
      const Vec broadcast(unit[i * a.row_stride]);
#pragma GCC unroll 8
      for (int j = 0; j < kVecs; ++j) sum[i][j] = Dot::dot(broadcast, lanes[j], sum[i][j]);
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 8
    for (int j = 0; j < kVecs; ++j) {
      float* to = c.rows + i * kLanes + j * kWidth;
      if (c.factors != nullptr) sum[i][j] = fmadd(Vec::loadu(to), c.factors[j], sum[i][j]);
      sum[i][j].store(to);
    }
  }
}

template <typename Dot, int kRows, int kVecs>
inline void gemm_tail(int64_t rows, const Broadcast& a, const float* b, int64_t depth, const Accumulator& c) {
  if constexpr (kRows > 0) {
    if (rows == kRows) return gemm_tile<Dot, kRows, kVecs>(a, b, depth, c);
    gemm_tail<Dot, kRows - 1, kVecs>(rows, a, b, depth, c);
  }
}

// rows x kVecs vectors of C, summed over `depth` units in chains of equal length, kChain units at most.
template <typename Dot, int kVecs, int kChain>
inline void gemm(int64_t rows, Broadcast a, const float* b, int64_t depth, Accumulator c) {
  Vec ones[kVecs];
  std::fill_n(ones, kVecs, Vec(1.0f));
  for (int64_t chains = (depth + kChain - 1) / kChain; chains > 0; --chains) {
    const int64_t length = depth / chains;
    int64_t row = 0;
    for (; row + kTileRows <= rows; row += kTileRows) {
      gemm_tile<Dot, kTileRows, kVecs>({a.units + row * a.row_stride, a.row_stride, a.step}, b, length,
                                       {c.rows + row * kLanes, c.factors});
    }
    gemm_tail<Dot, kTileRows - 1, kVecs>(rows - row, {a.units + row * a.row_stride, a.row_stride, a.step}, b,
                                         length, {c.rows + row * kLanes, c.factors});
    a.units += length * a.step;
    b += length * kLanes;
    depth -= length;
    c.factors = ones;
  }
}

}  // namespace qwen_vl_npu_ops::QVNO_ISA
