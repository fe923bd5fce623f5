#include "cpu/table.h"
#include "cpu/vec.h"
#include "ops/silu_and_mul/silu_and_mul.h"

namespace qwen_vl_npu_ops::QVNO_ISA {
namespace {

template <typename T>
void activate_rows(const SiluAndMulParams& p, int64_t begin, int64_t end) {
  const Vec one(1.0f);
  for (int64_t row = begin; row < end; ++row) {
    const T* gate = static_cast<const T*>(p.gate_up) + row * p.stride;
    const T* up = gate + p.columns;
    T* out = static_cast<T*>(p.out) + row * p.columns;
    for_each_vector(p.columns, [&](int64_t i, int count) {
      const Vec x = load(gate + i, count);
      store(out + i, x / (one + exp(x.neg())) * load(up + i, count), count);
    });
  }
}

}  // namespace

void silu_and_mul(const SiluAndMulParams& p, int64_t begin, int64_t end) {
  with_element_type(p.dtype, [&](auto element) { activate_rows<decltype(element)>(p, begin, end); });
}

}  // namespace qwen_vl_npu_ops::QVNO_ISA
