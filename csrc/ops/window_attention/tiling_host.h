// Chooses window_attention's tiling.
#pragma once

#include "chip/chip.h"
#include "common/launch.h"
#include "common/types.h"
#include "ops/window_attention/tiling.h"

namespace qwen_vl_npu_ops {

struct WindowAttentionShape {
  int64_t tokens;
  int64_t heads;
  int64_t kv_heads;
  int64_t segments;
  int64_t dim;        // of q and k
  int64_t value_dim;  // of v and out
  // Elements between tokens and between heads; the last dimension is contiguous.
  int64_t q_token_stride, q_head_stride;
  int64_t k_token_stride, k_head_stride;
  int64_t v_token_stride, v_head_stride;
  int64_t out_token_stride, out_head_stride;
  DType type;         // half or bfloat16: float has no cube path worth having, its callers compose
  bool wide_lengths;  // cu_seqlens is int64
  float scale;
};

constexpr int64_t kMaxAttentionStride = 65535;  // of tokens in q, k and v: what Nd2NzParams takes

// Blocks are cube cores, each with its two vector cores. Throws std::invalid_argument for what no tiling can
// serve.
Launch<WindowAttentionTiling> tile_window_attention(const WindowAttentionShape& shape, const Chip& chip);

// The same with v's and out's heads laid out apart: `out_layout` decides what is written, padding as zeros.
// Each task loads its own q, k and v.
Launch<WindowAttentionTiling> tile_padded_attention(const WindowAttentionShape& shape, const HeadLayout& v,
                                                    const HeadLayout& out, const Chip& chip);

}  // namespace qwen_vl_npu_ops
