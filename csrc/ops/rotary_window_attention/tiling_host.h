// Chooses rotary_window_attention's tiling.
#pragma once

#include "chip/chip.h"
#include "common/launch.h"
#include "common/types.h"
#include "ops/rotary_window_attention/tiling.h"

namespace qwen_vl_npu_ops {

struct RotaryWindowAttentionShape {
  int64_t tokens;
  int64_t heads;
  int64_t segments;
  int64_t dim;         // real head size D
  int64_t in_dim;      // head size of qkv
  int64_t out_dim;     // head size of out
  int64_t qkv_stride;  // elements between rows, as the next three
  int64_t cos_stride;
  int64_t sin_stride;
  int64_t out_stride;
  int64_t table_step;  // RotaryTable::step
  DType type;          // half or bfloat16
  DType table_type;
  bool interleaved;
  bool wide_lengths;  // cu_seqlens is int64
  float scale;
};

// Blocks are cube cores, each with its two vector cores. Throws std::invalid_argument for what no tiling can
// serve.
Launch<RotaryWindowAttentionTiling> tile_rotary_window_attention(const RotaryWindowAttentionShape& shape,
                                                                 const Chip& chip);

}  // namespace qwen_vl_npu_ops
