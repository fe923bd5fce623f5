#include <algorithm>

#include "ops/patch_embed/tiling_host.h"

namespace qwen_vl_npu_ops {
namespace {

constexpr uint32_t kSide = 16;   // rows or columns of the result in a block
constexpr uint32_t kBlock = 32;  // bytes of k in a block; what UB and L1 addresses are multiples of
constexpr uint32_t kFractal = kSide * kBlock;  // bytes in L0A and L0B
constexpr uint32_t kTileFractals = 64;         // of a result tile: half of L0C at 1 KiB each
constexpr uint32_t kWeightFractals = 64;       // of a step's weights: half of L0B
constexpr uint32_t kRowFractals = 42;          // of a step's rows: a third of L0A
constexpr uint32_t kMaxGroupBlocks = 16;       // columns of a group: what the bias table holds
constexpr uint32_t kMaxTileBlocks = 16;
constexpr uint32_t kLongestSum = 256;   // of floats
constexpr uint32_t kMaxStride = 65535;  // elements between the rows of an ND2NZ
constexpr int64_t kMaxK = kMaxStride / kSide * kSide;
constexpr int64_t kMaxSize = INT32_MAX / 2;  // rows of the result, and columns
constexpr uint32_t kReserved = 8 * 1024;     // bytes of UB that CANN keeps unless told not to
constexpr uint32_t kMaxParts = 4;            // a cross-core flag counts to 15
constexpr uint32_t kFewBlocks = 4;           // of k in a chunk: below that the pipes' fixed costs show

// Cycles and bytes a cycle of what competes, as the simulator prices them (csrc/sim/machine/cost.cpp).
constexpr double kToL1 = 128, kToL0A = 256, kToL0B = 128, kFromL0C = 68.7;
constexpr double kMisaligned = 2;  // ND2NZ of rows that do not start on 32 bytes takes so many times as long
constexpr double kCopy = 16.6;     // of a copy from GM, before its bytes
constexpr double kBurst = 2.4;     // of a row of an ND2NZ, before its bytes
constexpr double kLoad = 23.5;     // of a LoadData, before its bytes
constexpr double kStep = 9;        // from one Mmad to the next
constexpr double kHandoff = 1000;  // from a vector core's last store to the first Mmad
// HBM traffic of packing over its bytes, as bursts are short and off 512 bytes.
constexpr double kCrooked = 1.3;

uint32_t ceil_div(uint32_t value, uint32_t unit) {
  return (value + unit - 1) / unit;
}

void check_size(const char* name, int64_t value, int64_t low, int64_t high) {
  if (value < low || value > high)
    no_tiling(std::string("patch_embed: no tiling for ") + name + " " + std::to_string(value) +
              ": expected " + std::to_string(low) + " to " + std::to_string(high));
}

uint32_t size_of(DType type) {
  return type == DType::kFloat32 ? 4 : 2;
}

// A cut of the work for the cube cores, and what its slowest core takes, in cycles.
struct Cut {
  uint32_t groups, segments, chunks, tile_blocks;
  bool resident;
  double cycles;
};

// Chooses Cuts: what stays the same for all of them.
struct Problem {
  uint32_t row_blocks, column_blocks, k_blocks;
  uint32_t type_size, pixel_size;
  double weight_slowdown;
  const Chip& chip;

  uint32_t group_blocks(uint32_t groups) const { return ceil_div(column_blocks, groups); }
  uint32_t chunk_blocks(const Cut& cut) const { return ceil_div(k_blocks, cut.chunks); }
  uint32_t weight_bytes(const Cut& cut) const {
    return group_blocks(cut.groups) * kFractal * (cut.resident ? k_blocks : 2 * chunk_blocks(cut));
  }
  uint32_t row_bytes(const Cut& cut) const { return 2 * cut.tile_blocks * kFractal * chunk_blocks(cut); }
  uint32_t bias_bytes(const Cut& cut) const { return group_blocks(cut.groups) * kSide * 4; }

  // The longest chunks of k that L0 and the rest of L1 take; false if there is no room for any.
  bool choose_chunks(Cut& cut) const {
    const uint32_t n = group_blocks(cut.groups), m = cut.tile_blocks;
    const uint32_t room = chip.l1 - n * kSide * 4;
    const uint32_t per_block = 2 * 2 * m * kFractal + (cut.resident ? 0 : 2 * n * kFractal);
    const uint64_t weights = cut.resident ? uint64_t{n} * kFractal * k_blocks : 0;
    if (weights >= room) return false;
    const uint32_t steps = 2 * std::min(kWeightFractals / n, kRowFractals / m);
    const uint32_t blocks = std::min(static_cast<uint32_t>((room - weights) / per_block), steps);
    if (blocks == 0) return false;
    cut.chunks = ceil_div(k_blocks, blocks);
    return true;
  }

  // As many rows in a tile as give chunks of a decent length.
  bool choose_tile(Cut& cut) const {
    const uint32_t most = std::min(kTileFractals / group_blocks(cut.groups), kMaxTileBlocks);
    cut.tile_blocks = std::min(most, std::max(1u, ceil_div(row_blocks, 2)));
    for (;; --cut.tile_blocks) {
      const bool fits = choose_chunks(cut);
      if (fits && (cut.tile_blocks == 1 || chunk_blocks(cut) >= std::min(k_blocks, kFewBlocks))) return true;
      if (cut.tile_blocks == 1) return fits;
    }
  }

  // Bytes a cycle.
  double hbm() const { return chip.hbm_achieved_gbps * 1000 / chip.mhz; }
  double to_l1() const { return std::min(kToL1, chip.l2_gbps * 1000 / chip.mhz / chip.cube_cores); }

  // Until the first part of the first round is packed.
  double start(const Cut& cut) const {
    const double rows = std::min(row_blocks, cut.segments * 2 * cut.tile_blocks);
    const double packed = kCrooked * rows * (pixel_size + type_size) / type_size;
    return packed / std::min(cut.chunks, kMaxParts) * k_blocks * kFractal / hbm() + kHandoff;
  }

  double cycles(const Cut& cut) const {
    const double n = group_blocks(cut.groups), k = k_blocks;
    const double rows = ceil_div(row_blocks, cut.segments);
    const double pairs = ceil_div(static_cast<uint32_t>(rows), 2 * cut.tile_blocks), m = rows / pairs;
    const double half_chunks = 2 * cut.chunks;
    // Of a pair.
    const double multiply = m * n * k * (type_size == 4 ? 2 : 1) + 2 * half_chunks * kStep;
    const double to_l0 = n * k * kFractal / kToL0B + m * k * kFractal / kToL0A + 3 * half_chunks * kLoad;
    const double weights =
        n * k * kFractal * weight_slowdown / to_l1() + cut.chunks * (n * kSide * kBurst + 2 * kCopy);
    const double load = m * k * kFractal / to_l1() + half_chunks * kCopy;
    const double store = m * n * kSide * kSide * type_size / kFromL0C;
    const double first = std::max({multiply, to_l0, load + weights, store});
    const double other = std::max({multiply, to_l0, load + (cut.resident ? 0 : weights), store});
    const uint32_t tasks = ceil_div(cut.groups * cut.segments, static_cast<uint32_t>(chip.cube_cores));
    return start(cut) + tasks * (first + (pairs - 1) * other + store / 2);
  }

  Cut best() const {
    Cut found{};
    const uint32_t cores = static_cast<uint32_t>(chip.cube_cores);
    const uint32_t fewest = ceil_div(column_blocks, kMaxGroupBlocks);
    const uint32_t most = std::min(column_blocks, fewest + 2 * cores);
    for (const bool resident : {true, false}) {
      for (uint32_t groups = fewest; groups <= most; ++groups) {
        Cut cut{groups, 1, 0, 0, resident, 0};
        if (!choose_tile(cut)) continue;
        const uint32_t segments = std::min(row_blocks, ceil_div(3 * cores, groups));
        for (cut.segments = 1; cut.segments <= segments; ++cut.segments) {
          cut.cycles = cycles(cut);
          if (!found.groups || cut.cycles < found.cycles) found = cut;
        }
      }
    }
    return found;
  }
};

// The vector cores' strips: all blocks of k, or as many as fit.
void choose_strip(PatchEmbedTiling& t, uint32_t pixel_size, uint32_t type_size, const Chip& chip) {
  const uint32_t room = (chip.ub - kReserved) / 2;  // two slots
  const uint32_t pixel_block = kBlock / type_size * pixel_size;
  t.stripBlocks = std::min(t.kBlocks, room / (PATCH_EMBED_STRIP * (pixel_block + kBlock)));
  // Weights come in their own type. At least 16 columns of bias as float.
  t.inBytes = std::max(PATCH_EMBED_STRIP * t.stripBlocks * std::max(pixel_block, kBlock), kSide * 4);
  t.outBytes = PATCH_EMBED_STRIP * t.stripBlocks * kBlock;
  t.biasColumns = t.outBytes / 4 / kSide * kSide;
}

}  // namespace

Launch<PatchEmbedTiling> tile_patch_embed(const PatchEmbedShape& shape, const Chip& chip) {
  check_size("rows", shape.rows, 0, kMaxSize);
  check_size("hidden", shape.hidden, 1, kMaxSize);
  check_size("k", shape.k, 1, kMaxK);
  check_size("pixel_rows", shape.pixel_rows, 0, INT64_MAX);
  check_size("pixel_stride", shape.pixel_stride, 0, INT64_MAX);
  PatchEmbedTiling t{};
  t.pixelRows = static_cast<uint64_t>(shape.pixel_rows);
  t.pixelStride = static_cast<uint64_t>(shape.pixel_stride);
  t.rows = static_cast<uint32_t>(shape.rows);
  t.hidden = static_cast<uint32_t>(shape.hidden);
  t.k = static_cast<uint32_t>(shape.k);
  t.type = static_cast<uint32_t>(shape.type);
  t.pixelType = static_cast<uint32_t>(shape.pixel_type);
  t.indexBytes = static_cast<uint32_t>(shape.index_bytes);
  t.hasBias = shape.has_bias;
  if (t.rows == 0) return {0, 0, t};

  const uint32_t type_size = size_of(shape.type), pixel_size = size_of(shape.pixel_type);
  t.rowBlocks = ceil_div(t.rows, kSide);
  t.columnBlocks = ceil_div(t.hidden, kSide);
  t.kBlocks = ceil_div(t.k, kBlock / type_size);
  t.everyOther = t.k * type_size % kBlock == kBlock / 2 && 2 * t.k <= kMaxStride;
  const bool aligned = t.k * type_size % kBlock == 0;
  const double slowdown = aligned ? 1 : t.everyOther ? (1 + kMisaligned) / 2 : kMisaligned;
  const Problem problem{t.rowBlocks, t.columnBlocks, t.kBlocks, type_size, pixel_size, slowdown, chip};
  const Cut cut = problem.best();
  t.groups = cut.groups;
  t.segments = cut.segments;
  t.chunks = cut.chunks;
  // A sum in float over all of k would round twice as much as torch's, which is cut as well.
  t.sumChunks =
      type_size == 4 ? std::max(1u, kLongestSum * type_size / kBlock / problem.chunk_blocks(cut)) : t.chunks;
  t.tileBlocks = cut.tile_blocks;
  t.resident = cut.resident;
  t.weightBytes = problem.weight_bytes(cut);
  t.rowBytes = problem.row_bytes(cut);
  t.biasBytes = problem.bias_bytes(cut);
  t.rounds = ceil_div(ceil_div(t.rowBlocks, t.segments), 2 * t.tileBlocks);
  t.parts = std::min(t.chunks, kMaxParts);
  choose_strip(t, pixel_size, type_size, chip);

  t.biasOffset = uint64_t{t.rowBlocks} * t.kBlocks * kFractal;
  const uint64_t bias = shape.has_bias && type_size == 2 ? uint64_t{t.columnBlocks} * kSide * 4 : 0;
  const uint32_t tasks = t.groups * t.segments;
  return {std::min(static_cast<uint32_t>(chip.cube_cores), tasks), t.biasOffset + bias, t};
}

}  // namespace qwen_vl_npu_ops
