#include "cpu/attention.h"
#include "ops/rotary_window_attention/rotary_window_attention.h"

namespace qwen_vl_npu_ops::QVNO_ISA {
namespace {

// Part 0, 1 or 2 of a row of qkv: q, k or v.
HeadsView part_of(const RotaryWindowAttentionParams& p, int64_t part) {
  const int64_t element = p.dtype == DType::kFloat32 ? 4 : 2;
  const char* data = static_cast<const char*>(p.qkv) + part * p.heads * p.in.padded * element;
  return {data, p.qkv_stride, p.in.padded, p.in};
}

}  // namespace

int64_t rotary_window_attention_tasks(const RotaryWindowAttentionParams& p) {
  return attention_tasks(p.tokens, p.heads);
}

void rotary_window_attention(const RotaryWindowAttentionParams& p, int64_t begin, int64_t end) {
  const AttentionParams params = {
      part_of(p, 0), part_of(p, 1), part_of(p, 2), {p.out, p.out_stride, p.out_layout.padded, p.out_layout},
      &p.table,      p.interleaved, p.dtype,       p.tokens,
      p.heads,       p.heads,       p.cu_seqlens,  p.segments,
      p.scale,
  };
  attention(params, begin, end);
}

}  // namespace qwen_vl_npu_ops::QVNO_ISA
