#include "cpu/rotate.h"
#include "cpu/table.h"
#include "ops/rotary_qkv/rotary_qkv.h"

namespace qwen_vl_npu_ops::QVNO_ISA {
namespace {

template <typename T>
void rotate_tokens(const RotaryQkvParams& p, int64_t begin, int64_t end) {
  float scratch[kMaxHeadDim];
  for (int64_t token = begin; token < end; ++token) {
    const Angles angles = angles_of(p.table, token, p.in.dim / 2, scratch);
    const T* from = static_cast<const T*>(p.qkv) + token * p.qkv_stride;
    for (int part = 0; part < 3; ++part) {
      T* row = static_cast<T*>(p.out[part]) + token * p.out_token_stride[part];
      for (int64_t head = 0; head < p.heads; ++head, from += p.in.padded) {
        T* to = row + head * p.out_head_stride[part];
        if (part < 2) {
          rotate_head(from, p.in, angles, p.interleaved, to, p.out_layout);
        } else {
          copy_head(from, p.in, to, p.out_layout);
        }
        zero_padding(to, p.out_layout);
      }
    }
  }
}

}  // namespace

void rotary_qkv(const RotaryQkvParams& p, int64_t begin, int64_t end) {
  with_element_type(p.dtype, [&](auto element) { rotate_tokens<decltype(element)>(p, begin, end); });
}

}  // namespace qwen_vl_npu_ops::QVNO_ISA
