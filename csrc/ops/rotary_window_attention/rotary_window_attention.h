// rotary_window_attention: rotary_qkv and window_attention in one pass; rotated q and k stay in scratch.
#pragma once

#include "common/types.h"

namespace qwen_vl_npu_ops {

struct RotaryWindowAttentionParams {
  const void* qkv;  // [T, 3*H*in.padded], rows qkv_stride apart
  RotaryTable table;
  void* out;  // [T, H*out_layout.padded], rows out_stride apart; padding is written as zero
  DType dtype;
  int64_t tokens;
  int64_t heads;
  HeadLayout in;
  HeadLayout out_layout;
  int64_t qkv_stride;         // elements
  int64_t out_stride;         // elements
  const int64_t* cu_seqlens;  // [segments + 1], host, starts at 0, never decreases, last <= tokens
  int64_t segments;
  float scale;
  bool interleaved;
};

}  // namespace qwen_vl_npu_ops
