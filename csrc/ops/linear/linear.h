// linear: x weight^T + bias for CPUs where torch has none as fast for the dtype.
#pragma once

#include <cstdint>

#include "common/types.h"

namespace qwen_vl_npu_ops {

struct LinearParams {
  const void* x;         // rows of k, x_stride apart
  const int64_t* index;  // [tokens], the row of x of each; null means row i itself
  const void* weight;    // [n, k], rows weight_stride apart
  const void* bias;      // [n] or null
  void* out;             // [tokens, n], rows out_stride apart
  float* panels;         // linear_panel_floats(k) for each panel of tokens
  DType x_dtype;         // fp32, or dtype
  DType dtype;           // of weight, bias and out; x is rounded to it
  int64_t tokens, n, k;
  int64_t x_stride, weight_stride, out_stride;  // elements
};

}  // namespace qwen_vl_npu_ops
