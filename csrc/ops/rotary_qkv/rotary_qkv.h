// rotary_qkv: split packed qkv, rotate q and k, write all three in TND layout.
#pragma once

#include "common/types.h"

namespace qwen_vl_npu_ops {

struct RotaryQkvParams {
  const void* qkv;  // [T, 3*H*in.padded]: q heads, then k, then v; rows qkv_stride apart
  RotaryTable table;
  void* out[3];  // q, k, v: [T, H, out.padded], strides below
  int64_t out_token_stride[3];
  int64_t out_head_stride[3];
  DType dtype;
  int64_t tokens;
  int64_t heads;
  HeadLayout in;
  HeadLayout out_layout;
  int64_t qkv_stride;  // elements
  bool interleaved;
};

}  // namespace qwen_vl_npu_ops
