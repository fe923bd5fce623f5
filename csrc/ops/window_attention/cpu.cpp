#include "cpu/attention.h"
#include "ops/window_attention/window_attention.h"

namespace qwen_vl_npu_ops::QVNO_ISA {
namespace {

HeadLayout dense(int64_t dim) {
  return {dim, dim, dim / 2};
}

}  // namespace

int64_t window_attention_tasks(const WindowAttentionParams& p) {
  return attention_tasks(p.tokens, p.heads);
}

void window_attention(const WindowAttentionParams& p, int64_t begin, int64_t end) {
  const AttentionParams params = {
      {p.q, p.q_token_stride, p.q_head_stride, dense(p.head_dim)},
      {p.k, p.k_token_stride, p.k_head_stride, dense(p.head_dim)},
      {p.v, p.v_token_stride, p.v_head_stride, dense(p.value_dim)},
      {p.out, p.out_token_stride, p.out_head_stride, dense(p.value_dim)},
      /*table=*/nullptr,
      /*interleaved=*/false,
      p.dtype,
      p.tokens,
      p.heads,
      p.kv_heads,
      p.cu_seqlens,
      p.segments,
      p.scale,
  };
  attention(params, begin, end);
}

}  // namespace qwen_vl_npu_ops::QVNO_ISA
