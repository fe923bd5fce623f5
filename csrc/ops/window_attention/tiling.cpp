#include <algorithm>

#include "ops/window_attention/tiling_host.h"

namespace qwen_vl_npu_ops {
namespace {

constexpr uint32_t kFractal = 16;
constexpr uint32_t kHalf = 2;              // bytes of an element
constexpr uint32_t kMaxSlotBytes = 40960;  // of q and k in L1: four heads of a 64-token window at D = 80
constexpr uint32_t kWindowRows = 128;      // of all heads of a task over a short segment
constexpr uint32_t kMaxKeys = 1024;        // of one softmax block: eight rows fill a chunk of UB
constexpr uint32_t kRing = 3;              // tasks whose scores the workspace holds
constexpr uint32_t kResults = 3;           // parts of long results, likewise
constexpr uint32_t kSubs = 2;
constexpr uint32_t kBurst = 512;  // bytes of GM: bursts that begin at a multiple are fastest
constexpr uint64_t kMaxCount = INT32_MAX;

uint32_t round_up(uint32_t value, uint32_t unit) {
  return (value + unit - 1) / unit * unit;
}

uint32_t check_size(const char* name, int64_t value, int64_t low, uint64_t high) {
  if (value < low || (value > 0 && static_cast<uint64_t>(value) > high))
    no_tiling(std::string("window_attention: no tiling for ") + name + " " + std::to_string(value) +
              ": expected " + std::to_string(low) + " to " + std::to_string(high));
  return static_cast<uint32_t>(value);
}

// A dimension of one element has no next one, so torch may give it any stride: take one that fits.
uint64_t stride_of(const char* name, int64_t stride, int64_t count, uint64_t fallback, uint64_t most) {
  if (count < 2) return fallback;
  check_size(name, stride, 0, most);
  return static_cast<uint64_t>(stride);
}

WindowAttentionTiling describe(const WindowAttentionShape& s, const HeadLayout& v, const HeadLayout& out) {
  WindowAttentionTiling t{};
  if (s.type != DType::kFloat16 && s.type != DType::kBFloat16)
    no_tiling("window_attention: no tiling for float32: expected float16 or bfloat16");
  t.tokens = check_size("tokens", s.tokens, 0, kMaxCount);
  t.heads = check_size("heads", s.heads, 1, kMaxAttentionStride);
  t.kvHeads = check_size("kv_heads", s.kv_heads, 1, kMaxAttentionStride);
  if (s.heads % s.kv_heads)
    no_tiling("window_attention: no tiling for " + std::to_string(s.heads) + " heads over " +
              std::to_string(s.kv_heads) + ": expected a multiple");
  t.segments = check_size("segments", s.segments, 0, kMaxCount);
  t.dim = check_size("head size", s.dim, 1, kMaxHeadDim);
  check_size("head size of v", v.padded, v.dim, kMaxHeadDim);
  check_size("head size of out", out.padded, out.dim, kMaxHeadDim);
  const uint64_t dim = t.dim, wide = std::max<uint64_t>(static_cast<uint64_t>(v.padded), 1);
  t.qTokenStride = stride_of("token stride of q", s.q_token_stride, s.tokens, dim, kMaxAttentionStride);
  t.kTokenStride = stride_of("token stride of k", s.k_token_stride, s.tokens, dim, kMaxAttentionStride);
  t.vTokenStride = stride_of("token stride of v", s.v_token_stride, s.tokens, wide, kMaxAttentionStride);
  t.qHeadStride = stride_of("head stride of q", s.q_head_stride, s.heads, dim, kMaxCount);
  t.kHeadStride = stride_of("head stride of k", s.k_head_stride, s.kv_heads, dim, kMaxCount);
  t.vHeadStride = stride_of("head stride of v", s.v_head_stride, s.kv_heads, wide, kMaxCount);
  t.outTokenStride = stride_of("token stride of out", s.out_token_stride, s.tokens, 1, kMaxCount);
  t.outHeadStride = stride_of("head stride of out", s.out_head_stride, s.heads,
                              static_cast<uint64_t>(out.padded), kMaxCount);
  t.type = static_cast<uint32_t>(s.type);
  t.wideLengths = s.wide_lengths;
  t.scale = s.scale;
  // Padding at the tail only is one piece with a longer row; two halves apart are two.
  const bool apart =
      (v.padded != v.dim && v.second != v.dim / 2) || (out.padded != out.dim && out.second != out.dim / 2);
  t.pieces = apart ? 2 : 1;
  t.pieceIn = static_cast<uint32_t>(v.dim) / t.pieces;
  t.pieceInStride = static_cast<uint32_t>(v.second);
  t.pieceOut = static_cast<uint32_t>(out.padded) / t.pieces;
  t.pieceWidth = round_up(t.pieceOut, kFractal);
  return t;
}

uint32_t l1_bytes(const WindowAttentionTiling& t) {
  return 2 * (2 * t.qkSlotBytes + t.vSlotBytes + t.pSlotBytes);
}

// Rows of all heads lie side by side, and begin where a burst should.
bool lies_in_bursts(uint64_t token_stride, uint64_t head_stride, uint32_t dim) {
  return head_stride == dim && token_stride * kHalf % kBurst == 0;
}

// Tasks over a short segment load q, k and v together, into what is left of L1.
void group_loads(WindowAttentionTiling& t, const Chip& chip) {
  t.qkSlotBytes += (static_cast<uint32_t>(chip.l1) - l1_bytes(t)) / 4 / kBurst * kBurst;
  t.groupBytes = std::min(t.qkSlotBytes, t.vSlotBytes);
  const bool same = t.pieces == 1 && t.pieceIn == t.dim && t.groupWidth == t.dim && t.kvHeads == t.heads;
  const bool in_bursts = lies_in_bursts(t.qTokenStride, t.qHeadStride, t.dim) &&
                         lies_in_bursts(t.kTokenStride, t.kHeadStride, t.dim) &&
                         lies_in_bursts(t.vTokenStride, t.vHeadStride, t.dim);
  if (same && in_bursts) t.burst = kBurst / kHalf;
}

}  // namespace

Launch<WindowAttentionTiling> tile_padded_attention(const WindowAttentionShape& shape, const HeadLayout& v,
                                                    const HeadLayout& out, const Chip& chip) {
  WindowAttentionTiling t = describe(shape, v, out);
  const uint32_t width = round_up(t.dim, kFractal), value_width = t.pieces * t.pieceWidth;
  const uint32_t widest = std::max(width, value_width);
  if (widest > kMaxHeadDim)
    no_tiling("window_attention: no tiling for heads of " + std::to_string(widest) + ": expected at most " +
              std::to_string(kMaxHeadDim));
  // A block of keys takes at most half of L0B, a tile of results half of L0C.
  t.tile = widest <= 128 ? 128 : 64;
  t.slotRows = 256;
  while (t.slotRows > t.tile && t.slotRows * widest * kHalf > kMaxSlotBytes) t.slotRows /= 2;
  t.subs = kSubs;
  t.maxRows = std::min(t.slotRows, std::max(t.tile, kWindowRows));
  t.maxScores = std::max(t.tile * t.tile, kWindowRows * 64);
  t.qkSlotBytes = t.slotRows * width * kHalf;
  t.pSlotBytes = t.maxScores * kHalf;
  t.burst = 1;
  t.groupWidth = std::max(width, value_width);
  t.keys = kMaxKeys;
  do {
    t.vSlotBytes = std::max(t.keys / 2, t.slotRows) * value_width * kHalf;
    if (l1_bytes(t) <= chip.l1) break;
    t.keys -= 2 * t.tile;
  } while (t.keys >= 2 * t.tile);
  if (l1_bytes(t) > chip.l1) no_tiling("window_attention: no tiling whose slots fit L1");
  t.scoreBytes = t.subs * t.tile * t.keys * 4;
  t.outBytes = t.tile * value_width * 4;
  const uint64_t work = uint64_t{t.tokens} * t.heads;
  const uint32_t blocks = static_cast<uint32_t>(
      std::min<uint64_t>(static_cast<uint64_t>(chip.cube_cores), (work + kFractal - 1) / kFractal));
  const uint64_t each = uint64_t{kRing} * t.scoreBytes + uint64_t{kResults} * t.outBytes;
  return {blocks, blocks * each, t};
}

Launch<WindowAttentionTiling> tile_window_attention(const WindowAttentionShape& shape, const Chip& chip) {
  const HeadLayout dense = {shape.value_dim, shape.value_dim, shape.value_dim / 2};
  Launch<WindowAttentionTiling> launch = tile_padded_attention(shape, dense, dense, chip);
  group_loads(launch.tiling, chip);
  return launch;
}

}  // namespace qwen_vl_npu_ops
