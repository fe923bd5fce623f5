#include <algorithm>

#include "ops/rotary_qkv/tiling_host.h"

namespace qwen_vl_npu_ops {
namespace {

constexpr uint32_t kBlock = 32;             // bytes: what UB addresses are multiples of
constexpr uint32_t kReserved = 8 * 1024;    // bytes of UB that CANN keeps unless told not to
constexpr uint32_t kMaxBursts = 4095;       // of one DataCopyPad
constexpr uint32_t kPassTokens = 2;         // more would need more scratch, which larger tiles want
constexpr uint64_t kMaxGap = UINT32_MAX;    // bytes between its bursts
constexpr uint64_t kMaxCount = UINT32_MAX;  // tokens, heads

uint32_t round_up(uint32_t value, uint32_t unit) {
  return (value + unit - 1) / unit * unit;
}

void check_size(const char* name, int64_t value, int64_t low, uint64_t high) {
  if (value < low || static_cast<uint64_t>(value) > high)
    no_tiling(std::string("rotary_qkv: no tiling for ") + name + " " + std::to_string(value) + ": expected " +
              std::to_string(low) + " to " + std::to_string(high));
}

void check(const RotaryQkvShape& shape) {
  const int64_t size = shape.type == DType::kFloat32 ? 4 : 2;
  const int64_t table_size = shape.table_type == DType::kFloat32 ? 4 : 2;
  check_size("tokens", shape.tokens, 0, kMaxCount);
  check_size("heads", shape.heads, 1, kMaxCount / (3 * kMaxHeadDim));
  check_size("dim", shape.dim, 2, kMaxHeadDim);
  check_size("in_dim", shape.in_dim, shape.dim, kMaxHeadDim);
  check_size("out_dim", shape.out_dim, shape.dim, kMaxHeadDim);
  // A single row has no next one, so torch may give it any stride.
  if (shape.tokens < 2) return;
  check_size("qkv_stride", shape.qkv_stride, 0, kMaxGap / size);
  check_size("cos_stride", shape.cos_stride, 0, kMaxGap / table_size);
  check_size("sin_stride", shape.sin_stride, 0, kMaxGap / table_size);
}

bool same_layout(const RotaryQkvTiling& t) {
  return t.dim == t.inDim && t.dim == t.outDim;
}

// Everything that does not depend on the tile's size.
RotaryQkvTiling plan(const RotaryQkvShape& shape) {
  RotaryQkvTiling t{};
  t.qkvStride = static_cast<uint64_t>(shape.qkv_stride);
  t.cosStride = static_cast<uint64_t>(shape.cos_stride);
  t.sinStride = static_cast<uint64_t>(shape.sin_stride);
  t.tokens = static_cast<uint32_t>(shape.tokens);
  t.heads = static_cast<uint32_t>(shape.heads);
  t.dim = static_cast<uint32_t>(shape.dim);
  t.inDim = static_cast<uint32_t>(shape.in_dim);
  t.outDim = static_cast<uint32_t>(shape.out_dim);
  t.tableStep = static_cast<uint32_t>(shape.table_step);
  t.type = static_cast<uint32_t>(shape.type);
  t.tableType = static_cast<uint32_t>(shape.table_type);
  t.interleaved = shape.interleaved;
  // Halves are found by address where both start on a 32-byte boundary as floats.
  t.gathered = t.interleaved || t.inDim / 2 % 8 || t.outDim / 2 % 8;
  t.swapped = t.interleaved && t.type != 0;
  t.gatherSelf = t.gathered && !t.interleaved && !same_layout(t);
  return t;
}

// Sizes in UB for a tile of `tokens` x `heads`; the bytes they take together.
uint32_t lay_out(RotaryQkvTiling& t, uint32_t tokens, uint32_t heads) {
  const uint32_t size = t.type == 0 ? 4 : 2;
  const uint32_t table_size = t.tableType == 0 ? 4 : 2;
  const uint32_t per_block = kBlock / size;
  const uint32_t pass = std::min(tokens, kPassTokens);
  t.tileTokens = tokens;
  t.tileHeads = heads;
  t.passTokens = pass;
  // As floats every head must start on a block, and as stored every row of q, k and v.
  t.denseIn = heads == t.heads && t.inDim % 8 == 0;
  t.denseOut = heads == t.heads && t.outDim % 8 == 0 && heads * t.outDim % per_block == 0;
  t.inPitch = t.denseIn ? t.inDim : round_up(t.inDim, per_block);
  t.outPitch = t.denseOut ? t.outDim : round_up(t.outDim, per_block);
  t.rowPitch = round_up(3 * heads * t.inPitch, per_block);
  t.tablePitch = round_up(t.dim / 2 * t.tableStep, kBlock / table_size);
  t.inPlace = size == 2 && same_layout(t) && t.denseIn == t.denseOut;
  t.slots = t.inPlace ? 3 : 2;
  const uint32_t pieces = t.inPlace ? 2 : 3;
  if (t.gathered) {
    t.lanes = t.interleaved ? t.dim : t.outDim;
    t.lanePitch = t.interleaved ? t.inPitch : t.outPitch;
    t.anglePitch = round_up(t.lanes, 8);
  }
  t.inBytes = tokens * t.rowPitch * size;
  t.tableBytes = 2 * tokens * t.tablePitch * table_size;
  t.outBytes = t.inPlace ? 0 : tokens * 3 * heads * t.outPitch * size;
  t.wideBytes = size == 2 ? pass * pieces * heads * t.inPitch * 4 : 0;
  t.selfBytes = t.gatherSelf ? pass * pieces * heads * t.outPitch * 4 : 0;
  t.partnerBytes = t.gathered ? pass * 2 * heads * t.lanePitch * 4 : 0;
  t.sumBytes = size == 2 ? pass * pieces * heads * t.outPitch * 4 : 0;
  t.castBytes = table_size == 2 ? 2 * pass * t.tablePitch * 4 : 0;
  t.angleBytes = t.gathered ? 2 * pass * t.anglePitch * 4 : pass * t.tablePitch * 4;
  t.indexBytes = 0;
  if (t.gathered) {
    t.indexBytes = ((t.swapped ? 0 : 2 * heads * t.lanePitch) + 2 * t.anglePitch) * 4;
    if (t.gatherSelf) t.indexBytes += pieces * heads * t.outPitch * 4;
  }
  return t.slots * (t.inBytes + t.tableBytes + t.outBytes) + t.wideBytes + t.selfBytes + t.partnerBytes +
         t.sumBytes + t.castBytes + t.angleBytes + t.indexBytes;
}

}  // namespace

Launch<RotaryQkvTiling> tile_rotary_qkv(const RotaryQkvShape& shape, const Chip& chip) {
  check(shape);
  RotaryQkvTiling t = plan(shape);
  const uint32_t room = chip.ub - kReserved;
  const uint32_t blocks = std::min<uint32_t>(static_cast<uint32_t>(chip.vector_cores), t.tokens);
  const uint32_t share = blocks ? (t.tokens + blocks - 1) / blocks : 1;
  // One token of all heads, or as many heads as fit: one always does, and thousands never do.
  uint32_t heads = std::min<uint32_t>(t.heads, 4096);
  while (lay_out(t, 1, heads) > room) --heads;
  uint32_t tokens = 1;
  while (tokens < std::min(share, kMaxBursts) && lay_out(t, tokens + 1, heads) <= room) ++tokens;
  lay_out(t, tokens, heads);
  return {blocks, 0, t};
}

}  // namespace qwen_vl_npu_ops
