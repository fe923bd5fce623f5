// window_attention: softmax(q k^T * scale) v inside each segment of cu_seqlens.
#pragma once

#include "common/types.h"

namespace qwen_vl_npu_ops {

struct WindowAttentionParams {
  const void* q;  // [T, H, D]
  const void* k;  // [T, Hkv, D]
  const void* v;  // [T, Hkv, Dv]
  void* out;      // [T, H, Dv]
  int64_t q_token_stride, q_head_stride;
  int64_t k_token_stride, k_head_stride;
  int64_t v_token_stride, v_head_stride;
  int64_t out_token_stride, out_head_stride;
  DType dtype;
  int64_t tokens;
  int64_t heads;
  int64_t kv_heads;           // divides heads
  int64_t head_dim;           // D, even, <= 256
  int64_t value_dim;          // Dv, even, <= 256
  const int64_t* cu_seqlens;  // [segments + 1], host, starts at 0, never decreases, last <= tokens
  int64_t segments;
  float scale;
};

}  // namespace qwen_vl_npu_ops
