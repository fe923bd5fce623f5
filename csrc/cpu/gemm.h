// The micro-kernel of both matrix products of attention.
//
// Panels hold 4-byte units: one fp32, or a pair of bf16 neighbours along the summed dimension where the
// instruction set has a bf16 dot product. C[i][lane] = sum over s of A[i][s] * B[s][lane]: units of A are
// broadcast, so A needs no particular layout; lanes of B and C are contiguous.
#pragma once

#include "cpu/vec.h"

namespace qwen_vl_npu_ops::QVNO_ISA {

// Accumulators of kTileRows x kTileVecs vectors fill the registers.
#if defined(CPU_CAPABILITY_AVX512) || defined(__aarch64__)
constexpr int kTileRows = 6, kTileVecs = 4;
#elif defined(CPU_CAPABILITY_AVX2)
constexpr int kTileRows = 6, kTileVecs = 2;
#else
constexpr int kTileRows = 2, kTileVecs = 2;
#endif
constexpr int kLanes = kTileVecs * kWidth;

struct DotFp32 {
  using Element = float;
  static constexpr int kPack = 1;  // elements in a unit

  static Vec pack(const Vec (&x)[kPack]) { return x[0]; }
  static Vec dot(Vec a, Vec b, Vec sum) { return fmadd(a, b, sum); }
};

#ifdef __AVX512BF16__
struct DotBf16 {
  using Element = c10::BFloat16;
  static constexpr int kPack = 2;

  static Vec pack(const Vec (&x)[kPack]) {
    const __m512i halves = (__m512i)_mm512_cvtne2ps_pbh(x[1], x[0]);
    const __m512i low = _mm512_cvtepu16_epi32(_mm512_castsi512_si256(halves));
    const __m512i high = _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(halves, 1));
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

template <typename Dot, int kRows, int kVecs, typename Epilogue>
inline void gemm_tile(int64_t row, const Broadcast& a, const float* b, int64_t depth,
                      const Epilogue& epilogue) {
  Vec sum[kRows][kVecs];
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 8
    for (int j = 0; j < kVecs; ++j) sum[i][j] = Vec(0.0f);
  }
  const float* unit = a.units + row * a.row_stride;
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
    for (int j = 0; j < kVecs; ++j) epilogue(row + i, j, sum[i][j]);
  }
}

template <typename Dot, int kRows, int kVecs, typename Epilogue>
inline void gemm_tail(int64_t row, int64_t rows, const Broadcast& a, const float* b, int64_t depth,
                      const Epilogue& epilogue) {
  if constexpr (kRows > 0) {
    if (rows == kRows) return gemm_tile<Dot, kRows, kVecs>(row, a, b, depth, epilogue);
    gemm_tail<Dot, kRows - 1, kVecs>(row, rows, a, b, depth, epilogue);
  }
}

// Calls epilogue(row, vec, sum) once for each of rows x kVecs vectors of C.
template <typename Dot, int kVecs, typename Epilogue>
inline void gemm(int64_t rows, const Broadcast& a, const float* b, int64_t depth, const Epilogue& epilogue) {
  int64_t row = 0;
  for (; row + kTileRows <= rows; row += kTileRows) {
    gemm_tile<Dot, kTileRows, kVecs>(row, a, b, depth, epilogue);
  }
  gemm_tail<Dot, kTileRows - 1, kVecs>(row, rows - row, a, b, depth, epilogue);
}

}  // namespace qwen_vl_npu_ops::QVNO_ISA
