// rms_norm and add_rms_norm: rows scaled to a root mean square of one, then by a weight for each column.
#pragma once

#include <cstdint>

#include "common/types.h"

namespace qwen_vl_npu_ops {

struct RmsNormParams {
  const void* x;         // [rows, columns], rows x_stride apart
  const void* residual;  // as x, rows residual_stride apart; null for rms_norm
  const void* weight;    // [columns]
  void* out;             // [rows, columns], contiguous
  void* sum;             // [rows, columns], contiguous: x + residual; null for rms_norm
  DType dtype;
  int64_t rows, columns;
  int64_t x_stride, residual_stride;  // elements
  double eps;
};

}  // namespace qwen_vl_npu_ops
