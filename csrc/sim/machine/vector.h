// What all vector instructions share: resolving masks, walking repeats and blocks, and the checks of their
// operands.
#pragma once

#include <vector>

#include "machine.h"
#include "math.h"

namespace ascend_sim {

// Lanes that lie side by side in every operand: offsets in bytes from the operands' addresses.
struct Run {
  uint32_t dst, src0, src1;
  uint32_t lanes;
};

// The repeats of an instruction and the lanes alive in each.
struct Lattice {
  uint32_t lanes_per_repeat = 0;
  uint32_t repeats = 0;
  uint32_t tail = 0;      // lanes of the last repeat in counter mode; lanes_per_repeat otherwise
  uint64_t bits[2] = {};  // lanes alive in a repeat
  bool full = false;      // all lanes alive
  bool counter = false;
};

// Work out the mask for repeats of `lanes` lanes, and leave the mask registers as the hardware would.
Lattice resolve_mask(Core& core, const VectorOp& op, uint32_t lanes);

void check_strides(Core& core, const VectorOp& op);
uint32_t source_size(const VectorOp& op);
double repeats_of(const Lattice& lattice);

// One past the highest lane alive in repeat `r`, 0 if none is.
uint32_t live_end(const Lattice& lattice, uint32_t r);
bool lane_alive(const Lattice& lattice, uint32_t r, uint32_t lane);

// Byte offset of a lane in an operand of elements of `size` bytes.
inline uint32_t lane_offset(const Stride& stride, uint32_t r, uint32_t lane, uint32_t size) {
  const uint32_t per_block = kBlock / size;
  return (r * stride.repeat + lane / per_block * stride.block) * kBlock + lane % per_block * size;
}

// Call touch(byte offset, bytes) for the live lanes of repeat `r`, as few contiguous pieces as there are.
template <class Touch>
void for_live_pieces(const Lattice& lattice, uint32_t r, uint32_t size, const Stride& stride, Touch&& touch) {
  uint32_t begin = 0, end = 0;
  for (uint32_t lane = 0; lane < live_end(lattice, r); ++lane) {
    if (!lane_alive(lattice, r, lane)) continue;
    const uint32_t at = lane_offset(stride, r, lane, size);
    if (at != end || begin == end) {
      if (begin != end) touch(begin, end - begin);
      begin = at;
    }
    end = at + size;
  }
  if (begin != end) touch(begin, end - begin);
}

// `elementwise`: strides mean what they say, so bank conflicts can be told from them.
void charge(Core& core, const VectorOp& op, double repeats, bool counter_tail, bool elementwise = false);

// The families, each run on the vector pipe.
void run_elementwise(Core& core, const VectorOp& op);
void run_compare(Core& core, const VectorOp& op);
void run_select(Core& core, const VectorOp& op);
void run_reduce(Core& core, const VectorOp& op);
void run_rearrange(Core& core, const VectorOp& op);

}  // namespace ascend_sim
