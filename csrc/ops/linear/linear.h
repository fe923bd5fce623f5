// linear: x weight^T + bias for CPUs whose GEMM library has no fast one for the dtype.
#pragma once

#include <cstdint>

#include "common/types.h"

namespace qwen_vl_npu_ops {

struct LinearParams {
  const void* x;       // [tokens, k], rows x_stride apart
  const void* weight;  // [n, k], rows weight_stride apart
  const void* bias;    // [n] or null
  void* out;           // [tokens, n], rows out_stride apart
  float* panels;       // linear_panel_floats(k) for each panel of tokens
  DType dtype;
  int64_t tokens, n, k;
  int64_t x_stride, weight_stride, out_stride;  // elements
};

}  // namespace qwen_vl_npu_ops
