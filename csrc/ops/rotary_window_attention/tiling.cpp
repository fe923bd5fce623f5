#include <algorithm>
#include <cmath>
#include <string>

#include "ops/rotary_qkv/tiling_host.h"
#include "ops/rotary_window_attention/tiling_host.h"
#include "ops/window_attention/tiling_host.h"

namespace qwen_vl_npu_ops {
namespace {

constexpr uint32_t kRing = 2;     // tasks whose rotated q and k the workspace holds
constexpr uint32_t kFloats = 8;   // of 32 bytes
constexpr uint32_t kHalves = 16;  // likewise
// A scale that q and k can share: neither overflows for it, nor loses digits to half's smallest numbers.
constexpr float kLeastFolded = 1.0f / 16;

WindowAttentionShape attention_of(const RotaryWindowAttentionShape& s) {
  WindowAttentionShape a{};
  a.tokens = s.tokens;
  a.heads = s.heads;
  a.kv_heads = s.heads;
  a.segments = s.segments;
  a.dim = s.dim;
  a.value_dim = s.dim;
  a.q_token_stride = a.k_token_stride = s.heads * s.dim;
  a.q_head_stride = a.k_head_stride = s.dim;
  a.v_token_stride = s.qkv_stride;
  a.v_head_stride = s.in_dim;
  a.out_token_stride = s.out_stride;
  a.out_head_stride = s.out_dim;
  a.type = s.type;
  a.wide_lengths = s.wide_lengths;
  a.scale = s.scale;
  return a;
}

}  // namespace

Launch<RotaryWindowAttentionTiling> tile_rotary_window_attention(const RotaryWindowAttentionShape& s,
                                                                 const Chip& chip) {
  if (s.tokens > 1 && s.qkv_stride > kMaxAttentionStride)
    no_tiling("rotary_window_attention: no tiling for qkv_stride " + std::to_string(s.qkv_stride) +
              ": expected 0 to " + std::to_string(kMaxAttentionStride));
  const HeadLayout in = HeadLayout::make(s.dim, s.in_dim, s.interleaved);
  const HeadLayout out = HeadLayout::make(s.dim, s.out_dim, s.interleaved);
  const Launch<WindowAttentionTiling> attention = tile_padded_attention(attention_of(s), in, out, chip);
  const Launch<RotaryQkvTiling> rotary =
      tile_rotary_qkv({s.tokens, s.heads, s.dim, s.in_dim, s.dim, s.qkv_stride, s.cos_stride, s.sin_stride,
                       s.table_step, s.type, s.table_type, s.interleaved},
                      chip);
  RotaryWindowAttentionTiling t{};
  t.attention = attention.tiling;
  t.rotary = rotary.tiling;
  const uint32_t dim = static_cast<uint32_t>(s.dim), in_dim = static_cast<uint32_t>(s.in_dim);
  // Halves are found by address where both start on a block: as floats, and those padded apart as they come.
  t.fused = !s.interleaved && dim / 2 % kFloats == 0 && (in_dim == dim || in_dim / 2 % kHalves == 0);
  const bool folds = s.scale >= kLeastFolded && s.scale <= 1;
  t.factor = folds ? std::sqrt(s.scale) : 1;
  t.restScale = folds ? 1 : s.scale;
  t.sharedBytes = attention.workspace_bytes;
  t.rotatedBytes = static_cast<uint64_t>(s.tokens) * t.attention.heads * dim * 2;
  t.ringBytes = uint64_t{kRing} * 2 * t.attention.maxRows * dim * 2;
  const uint64_t rings = t.fused ? attention.blocks * t.ringBytes : 0;
  return {attention.blocks, t.sharedBytes + std::max(3 * t.rotatedBytes, rings), t};
}

}  // namespace qwen_vl_npu_ops
