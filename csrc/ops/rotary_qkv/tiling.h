#pragma once

#include <cstdint>

// How rotary_qkv is cut into tiles: chosen by tile_rotary_qkv, read by the kernel. Sizes are in elements
// unless a name says bytes. A pitch is the distance between heads, rows or tables in UB.
struct RotaryQkvTiling {
  // The problem.
  uint64_t qkvStride;  // between rows in GM, as the next two
  uint64_t cosStride;
  uint64_t sinStride;
  uint32_t tokens;
  uint32_t heads;
  uint32_t dim;          // real head size D
  uint32_t inDim;        // as stored
  uint32_t outDim;       // as written
  uint32_t tableStep;    // between the angles of neighbouring pairs in a table's row
  uint32_t type;         // of qkv, q, k and v: a DType (0 float, 1 half, 2 bfloat16)
  uint32_t tableType;    // 0 float, else type
  uint32_t interleaved;  // pairs are (2i, 2i + 1), not (i, i + D/2)

  // The tile: tokens x heads of q, k and v each.
  uint32_t slots;       // tiles in flight
  uint32_t passTokens;  // tokens that V takes at a time
  uint32_t inPlace;     // results take the numbers' place, and v stays in its own
  uint32_t tileTokens;
  uint32_t tileHeads;
  uint32_t denseIn;     // rows are loaded whole; else head by head, each on a 32-byte boundary
  uint32_t denseOut;    // as denseIn, for q, k and v
  uint32_t inPitch;     // of heads
  uint32_t outPitch;    // of heads
  uint32_t rowPitch;    // of loaded rows
  uint32_t tablePitch;  // of loaded rows of cos and sin

  // How a pair's partner is found.
  uint32_t gathered;    // by index, into lanes in the order of the result; else by address, half by half
  uint32_t swapped;     // gathered, but partners come from turning 32-bit words
  uint32_t gatherSelf;  // the numbers themselves too
  uint32_t lanes;       // gathered: lanes of a head; tables have as many
  uint32_t lanePitch;   // gathered: of partners' heads
  uint32_t anglePitch;  // gathered: of tables

  // Bytes of UB. The first three are of one slot.
  uint32_t inBytes;
  uint32_t tableBytes;
  uint32_t outBytes;
  uint32_t wideBytes;     // q, k (v) in float, where they come in 16 bits
  uint32_t selfBytes;     // gathered: themselves
  uint32_t partnerBytes;  // gathered: their partners
  uint32_t sumBytes;      // the result in float, where it leaves in 16 bits
  uint32_t castBytes;     // tables in float, where they come in 16 bits
  uint32_t angleBytes;    // -sin; gathered: cos and sin lane by lane
  uint32_t indexBytes;    // gathered: what Gather takes
};
