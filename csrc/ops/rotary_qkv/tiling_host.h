// Chooses rotary_qkv's tiling.
#pragma once

#include "chip/chip.h"
#include "common/launch.h"
#include "common/types.h"
#include "ops/rotary_qkv/tiling.h"

namespace qwen_vl_npu_ops {

struct RotaryQkvShape {
  int64_t tokens;
  int64_t heads;
  int64_t dim;         // real head size D
  int64_t in_dim;      // head size of qkv
  int64_t out_dim;     // head size of q, k and v
  int64_t qkv_stride;  // elements between rows, as the next two
  int64_t cos_stride;
  int64_t sin_stride;
  int64_t table_step;  // RotaryTable::step
  DType type;
  DType table_type;
  bool interleaved;
};

// Blocks are vector cores. Throws std::invalid_argument for sizes past what a tiling can say.
Launch<RotaryQkvTiling> tile_rotary_qkv(const RotaryQkvShape& shape, const Chip& chip);

}  // namespace qwen_vl_npu_ops
