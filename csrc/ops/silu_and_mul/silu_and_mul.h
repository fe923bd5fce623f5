// silu_and_mul: silu(gate) * up, SwiGLU's activation.
#pragma once

#include <cstdint>

#include "common/types.h"

namespace qwen_vl_npu_ops {

struct SiluAndMulParams {
  const void* gate_up;  // [rows, 2 * columns]: gate, then up; rows stride apart
  void* out;            // [rows, columns], contiguous
  DType dtype;
  int64_t rows, columns;
  int64_t stride;  // elements
};

}  // namespace qwen_vl_npu_ops
