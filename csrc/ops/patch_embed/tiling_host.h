// Chooses patch_embed's tiling.
#pragma once

#include "chip/chip.h"
#include "common/launch.h"
#include "common/types.h"
#include "ops/patch_embed/tiling.h"

namespace qwen_vl_npu_ops {

struct PatchEmbedShape {
  int64_t pixel_rows;
  int64_t pixel_stride;  // elements between rows
  int64_t rows;          // of the result: row_index's length, or pixel_rows
  int64_t k;
  int64_t hidden;
  DType pixel_type;     // fp32, or type
  DType type;           // of weight, bias and result
  int64_t index_bytes;  // of an element of row_index; 0 without one
  bool has_bias;
};

// Blocks are cube cores, each with its two vector cores. Throws std::invalid_argument for sizes that no
// tiling can serve.
Launch<PatchEmbedTiling> tile_patch_embed(const PatchEmbedShape& shape, const Chip& chip);

}  // namespace qwen_vl_npu_ops
