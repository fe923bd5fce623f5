#include "cpu/peaks.h"

#include "cpu/table.h"
#include "cpu/vec.h"

namespace qwen_vl_npu_ops::QVNO_ISA {
namespace {

// Independent chains: more than latency times throughput of an instruction, and no more than there are
// registers.
constexpr int kChains = 12;

// The compiler must not know the numbers, nor that nobody reads the result.
volatile float number = 0.5f;
volatile float sink;

int64_t fma_fp32(int64_t iterations) {
  const Vec half(number);
  Vec sum[kChains];
#pragma GCC unroll 12
  for (int i = 0; i < kChains; ++i) sum[i] = Vec(static_cast<float>(i));
  for (int64_t n = 0; n < iterations; ++n) {
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) sum[i] = fmadd(sum[i], half, half);
  }
  float lanes[kWidth];
  for (const Vec& x : sum) {
    x.store(lanes);
    sink = lanes[0];
  }
  return iterations * kChains * kWidth * 2;
}

// The exponential of attention's softmax, from the first cache into it.
int64_t exp_fp32(int64_t iterations) {
  constexpr int kCount = 64 * kWidth;
  float from[kCount], to[kCount];
  for (int i = 0; i < kCount; ++i) from[i] = -number * static_cast<float>(i % 32);
  for (int64_t n = 0; n < iterations; ++n) {
#pragma GCC unroll 4
    for (int i = 0; i < kCount; i += kWidth) exp_nonpositive(Vec::loadu(from + i)).store(to + i);
    asm volatile("" : : "r"(from), "r"(to) : "memory");  // the next iteration is not this one again
  }
  sink = to[0];
  return iterations * kCount;
}

#ifdef CPU_CAPABILITY_AVX512

float first_lane(__m512i x) {
  return static_cast<float>(_mm_cvtsi128_si32(_mm512_castsi512_si128(x)));
}

// No object is compiled for VNNI, whose machines have more or less of everything else.
__attribute__((target("avx512vnni"))) int64_t dot_int8(int64_t iterations) {
  if (!__builtin_cpu_supports("avx512vnni")) return 0;
  const __m512i ones = _mm512_set1_epi8(static_cast<char>(2 * number));
  __m512i sum[kChains];
#pragma GCC unroll 12
  for (int i = 0; i < kChains; ++i) sum[i] = _mm512_set1_epi32(i);
  for (int64_t n = 0; n < iterations; ++n) {
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) sum[i] = _mm512_dpbusd_epi32(sum[i], ones, ones);
  }
  __m512i total = _mm512_setzero_si512();
  for (const __m512i& x : sum) total = _mm512_add_epi32(total, x);
  sink = first_lane(total);
  return iterations * kChains * 16 * 4 * 2;
}

#else

int64_t dot_int8(int64_t) {
  return 0;
}

#endif

#ifdef __AVX512BF16__

int64_t dot_bf16(int64_t iterations) {
  const __m512bh half = _mm512_cvtne2ps_pbh(_mm512_set1_ps(number), _mm512_set1_ps(number));
  __m512 sum[kChains];
#pragma GCC unroll 12
  for (int i = 0; i < kChains; ++i) sum[i] = _mm512_set1_ps(static_cast<float>(i));
  for (int64_t n = 0; n < iterations; ++n) {
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) sum[i] = _mm512_dpbf16_ps(sum[i], half, half);
  }
  __m512 total = _mm512_setzero_ps();
  for (const __m512& x : sum) total = _mm512_add_ps(total, x);
  sink = _mm512_cvtss_f32(total);
  return iterations * kChains * 16 * 2 * 2;
}

#else

int64_t dot_bf16(int64_t) {
  return 0;
}

#endif

}  // namespace

int64_t peak_loop(PeakLoop loop, int64_t iterations) {
  switch (loop) {
    case PeakLoop::kFmaFp32:
      return fma_fp32(iterations);
    case PeakLoop::kDotBf16:
      return dot_bf16(iterations);
    case PeakLoop::kDotInt8:
      return dot_int8(iterations);
    case PeakLoop::kExpFp32:
      return exp_fp32(iterations);
  }
  return 0;
}

}  // namespace qwen_vl_npu_ops::QVNO_ISA
