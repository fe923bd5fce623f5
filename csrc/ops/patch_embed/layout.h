#pragma once

#include "kernel_operator.h"
#include "tiling.h"

// How the work is cut, where packed rows lie in the workspace, and the flags that say so.
//
// A pair of tiles of rows is a panel: it lies block of k by block of k, 32 bytes of each row in turn, as the
// cube core wants it in L1, so that any run of its blocks of k is one burst.

constexpr uint32_t PATCH_EMBED_SIDE = 16;          // rows or columns of the result in a block
constexpr uint32_t PATCH_EMBED_BLOCK = 32;         // bytes of k in a block
constexpr uint32_t PATCH_EMBED_FRACTAL = 16 * 32;  // bytes
constexpr uint32_t PATCH_EMBED_AHEAD = 1;   // rounds that the vector cores may be ahead of their cube core
constexpr uint16_t PATCH_EMBED_PACKED = 0;  // all vector cores have packed a part
constexpr uint16_t PATCH_EMBED_READY = 1;   // as above, told to the cube core
constexpr uint16_t PATCH_EMBED_NEXT = 2;    // the vector cores may pack another round
constexpr uint8_t PATCH_EMBED_ALL_VECTORS = 0;  // modes of cross-core flags
constexpr uint8_t PATCH_EMBED_CUBE_AND_ITS_VECTORS = 2;

__aicore__ inline uint32_t PatchEmbedMin(uint32_t a, uint32_t b) {
  return a < b ? a : b;
}

// Where part `index` begins when `total` is cut into `parts` that differ by one at most.
__aicore__ inline uint32_t PatchEmbedCut(uint32_t total, uint32_t parts, uint32_t index) {
  return static_cast<uint32_t>(static_cast<uint64_t>(total) * index / parts);
}

// The part that `item` is in.
__aicore__ inline uint32_t PatchEmbedPartOf(uint32_t total, uint32_t parts, uint32_t item) {
  return static_cast<uint32_t>(((static_cast<uint64_t>(item) + 1) * parts - 1) / total);
}

struct PatchEmbedPanel {
  uint32_t first;  // row
  uint32_t rows;   // whole blocks
};

// Columns of the result.
__aicore__ inline PatchEmbedPanel PatchEmbedGroup(const PatchEmbedTiling& tiling, uint32_t group) {
  const uint32_t begin = PatchEmbedCut(tiling.columnBlocks, tiling.groups, group);
  const uint32_t end = PatchEmbedCut(tiling.columnBlocks, tiling.groups, group + 1);
  return {begin * PATCH_EMBED_SIDE, (end - begin) * PATCH_EMBED_SIDE};
}

// Pair `round` of a segment's rows. Every segment has a pair in every round.
__aicore__ inline PatchEmbedPanel PatchEmbedPair(const PatchEmbedTiling& tiling, uint32_t segment,
                                                 uint32_t round) {
  const uint32_t segmentBegin = PatchEmbedCut(tiling.rowBlocks, tiling.segments, segment);
  const uint32_t blocks = PatchEmbedCut(tiling.rowBlocks, tiling.segments, segment + 1) - segmentBegin;
  const uint32_t begin = PatchEmbedCut(blocks, tiling.rounds, round);
  const uint32_t end = PatchEmbedCut(blocks, tiling.rounds, round + 1);
  return {(segmentBegin + begin) * PATCH_EMBED_SIDE, (end - begin) * PATCH_EMBED_SIDE};
}

// In blocks of 32 bytes, from the first panel: a panel's block of k.
__aicore__ inline uint64_t PatchEmbedOffset(const PatchEmbedTiling& tiling, const PatchEmbedPanel& panel,
                                            uint32_t kBlock) {
  return static_cast<uint64_t>(panel.first) * tiling.kBlocks + static_cast<uint64_t>(panel.rows) * kBlock;
}

// The first block of k in a chunk.
__aicore__ inline uint32_t PatchEmbedChunk(const PatchEmbedTiling& tiling, uint32_t chunk) {
  return PatchEmbedCut(tiling.kBlocks, tiling.chunks, chunk);
}

// The parts of whole chunks that a round is handed over in. The cube cores wait for the first rounds; the
// others are ready before they come to them, and packed in longer bursts.
__aicore__ inline uint32_t PatchEmbedParts(const PatchEmbedTiling& tiling, uint32_t round) {
  return round < tiling.parts ? tiling.parts / (round + 1) : 1;
}

// The first chunk of a part.
__aicore__ inline uint32_t PatchEmbedPart(const PatchEmbedTiling& tiling, uint32_t round, uint32_t part) {
  return PatchEmbedCut(tiling.chunks, PatchEmbedParts(tiling, round), part);
}
