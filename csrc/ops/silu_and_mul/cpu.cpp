#include "cpu/table.h"
#include "cpu/vec.h"
#include "ops/silu_and_mul/silu_and_mul.h"

namespace qwen_vl_npu_ops::QVNO_ISA {
namespace {

Vec activate(Vec gate, Vec up) {
  return gate / (Vec(1.0f) + exp(gate.neg())) * up;
}

#ifdef CPU_CAPABILITY_AVX2
// Two vectors of bf16 at a time, the even elements and the odd ones, for which shifts and masks do: bringing
// them into order and back, as load and store must, takes longer than the exponential.
int64_t activate_pairs(const c10::BFloat16* gate, const c10::BFloat16* up, c10::BFloat16* out, int64_t n) {
  const __m256i high = _mm256_set1_epi32(static_cast<int32_t>(0xffff0000));
  const auto even = [](__m256i x) { return Vec(_mm256_castsi256_ps(_mm256_slli_epi32(x, 16))); };
  const auto odd = [&](__m256i x) { return Vec(_mm256_castsi256_ps(_mm256_and_si256(x, high))); };
  // To nearest even, in the upper half of each float.
  const auto rounded = [](Vec x) {
    const __m256i bits = _mm256_castps_si256(x);
    const __m256i last = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i sum = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), last);
    const __m256i number = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_ORD_Q));
    return _mm256_blendv_epi8(_mm256_set1_epi32(0x7fc00000), sum, number);
  };
  int64_t i = 0;
  for (; i + 2 * kWidth <= n; i += 2 * kWidth) {
    const __m256i gates = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(gate + i));
    const __m256i ups = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(up + i));
    const __m256i evens = _mm256_srli_epi32(rounded(activate(even(gates), even(ups))), 16);
    const __m256i odds = rounded(activate(odd(gates), odd(ups)));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + i), _mm256_blend_epi16(evens, odds, 0xaa));
  }
  return i;
}
#endif

// How many elements it did from the first on.
template <typename T>
int64_t activate_pairs(const T*, const T*, T*, int64_t) {
  return 0;
}

template <typename T>
void activate_rows(const SiluAndMulParams& p, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    const T* gate = static_cast<const T*>(p.gate_up) + row * p.stride;
    const T* up = gate + p.columns;
    T* out = static_cast<T*>(p.out) + row * p.columns;
    const int64_t done = activate_pairs(gate, up, out, p.columns);
    for_each_vector(p.columns - done, [&](int64_t i, int count) {
      store(out + done + i, activate(load(gate + done + i, count), load(up + done + i, count)), count);
    });
  }
}

}  // namespace

void silu_and_mul(const SiluAndMulParams& p, int64_t begin, int64_t end) {
  with_element_type(p.dtype, [&](auto element) { activate_rows<decltype(element)>(p, begin, end); });
}

}  // namespace qwen_vl_npu_ops::QVNO_ISA
