#pragma once

#include <cstdint>

constexpr uint32_t PATCH_EMBED_STRIP = 8;  // rows that a vector core packs at a time, at most

// How patch_embed is cut: chosen by tile_patch_embed, read by the kernel. A block is 16 rows or columns of
// the result, or 32 bytes of k: the sides of the cube core's fractals.
struct PatchEmbedTiling {
  // The problem.
  uint64_t pixelRows;
  uint64_t pixelStride;  // elements between rows of pixels
  uint64_t biasOffset;   // bytes into the workspace: bias in float, behind the packed rows
  uint32_t rows;         // of the result
  uint32_t hidden;       // its columns
  uint32_t k;
  uint32_t type;        // of weight, bias and result: a DType (0 float, 1 half, 2 bfloat16)
  uint32_t pixelType;   // 0 float, else type
  uint32_t indexBytes;  // of an element of row_index; 0: there is none
  uint32_t hasBias;

  // Cube cores. Tasks are `groups` of columns times `segments` of rows, all of equal size to within a block.
  uint32_t groups;
  uint32_t segments;
  uint32_t rowBlocks;
  uint32_t columnBlocks;
  uint32_t kBlocks;
  uint32_t chunks;       // that k is cut into, of equal size to within a block
  uint32_t sumChunks;    // that one sum runs over; long sums of floats are cut, and added up in the result
  uint32_t tileBlocks;   // row blocks of a tile; two tiles, a pair, are in work together
  uint32_t resident;     // a group's weights stay in L1 for the whole task; else they stream as the rows do
  uint32_t everyOther;   // row of weight starts on 32 bytes, and they are loaded apart from the rest, faster
  uint32_t weightBytes;  // of L1, for weights
  uint32_t rowBytes;     // of L1, for a chunk of a pair's rows; there are two such slots
  uint32_t biasBytes;    // of L1

  // Vector cores.
  uint32_t rounds;       // in which rows are packed: a pair of every segment each
  uint32_t parts;        // of whole chunks, that the first round is handed over in; later ones in fewer
  uint32_t stripBlocks;  // blocks of k of a strip that fit UB
  uint32_t inBytes;      // of UB, for a strip as it comes; two slots, as the next
  uint32_t outBytes;     // for a strip as it leaves
  uint32_t biasColumns;  // columns of bias that fit a slot
};
