// Comparisons, which leave a bit per lane, and selections, which read one.
#include <algorithm>
#include <cstring>

#include "vector.h"

namespace ascend_sim {
namespace {

// CANN's Select by tensor borrows 32 bytes here to hold the address of its mask.
constexpr uint64_t kSelectScratch = 184 * 1024;

// Values of the live lanes of one repeat, gathered side by side; dead lanes come out as zeros.
void gather_repeat(const Core& core, const Operand& operand, const Stride& stride, const Lattice& lattice,
                   uint32_t r, uint8_t* out) {
  const uint32_t size = size_of(operand.type);
  const uint8_t* ub = core.memories[static_cast<int>(Memory::UB)].bytes.data() + operand.address;
  std::memset(out, 0, kRepeat);
  for (uint32_t lane = 0; lane < live_end(lattice, r); ++lane)
    if (lane_alive(lattice, r, lane))
      std::memcpy(out + lane * size, ub + lane_offset(stride, r, lane, size), size);
}

void read_repeat(Core& core, const Operand& operand, const Stride& stride, const Lattice& lattice, uint32_t r,
                 const char* which) {
  for_live_pieces(lattice, r, size_of(operand.type), stride, [&](uint32_t offset, uint32_t bytes) {
    core.read(operand, operand.address + offset, bytes, which);
  });
}

void check_whole_count(Core& core, const VectorOp& op, const Lattice& lattice) {
  if (op.mask.kind == MaskKind::Elements && lattice.repeats && lattice.tail != lattice.lanes_per_repeat)
    core.fail("limit", "the counted elements must fill whole repeats of 256 bytes", "count");
}

}  // namespace

void run_compare(Core& core, const VectorOp& op) {
  const bool scalar = op.code == VecCode::CompareScalar, to_register = op.code == VecCode::CompareToMask;
  const Lanes compare = math().compare(op.src0.type, op.mode, scalar);
  if (!compare) core.fail("unsupported", "no such comparison for the type on this chip");
  core.aligned(op.src0, kBlock, "src0");
  if (!scalar) core.aligned(op.src1, kBlock, "src1");
  if (!to_register) core.aligned(op.dst, kBlock, "dst");
  check_strides(core, op);
  const uint32_t lanes = kRepeat / size_of(op.src0.type);
  const Lattice lattice = resolve_mask(core, op, lanes);
  check_whole_count(core, op, lattice);
  charge(core, op, repeats_of(lattice), false);
  for (uint32_t r = 0; r < lattice.repeats; ++r) {
    uint8_t a[kRepeat], b[kRepeat], bits[16] = {};
    read_repeat(core, op.src0, op.src0_stride, lattice, r, "src0");
    gather_repeat(core, op.src0, op.src0_stride, lattice, r, a);
    if (!scalar) {
      read_repeat(core, op.src1, op.src1_stride, lattice, r, "src1");
      gather_repeat(core, op.src1, op.src1_stride, lattice, r, b);
    }
    compare(bits, a, b, lanes, op.scalar);
    for (uint32_t lane = 0; lane < lanes; ++lane)
      if (!lane_alive(lattice, r, lane))
        bits[lane / 8] = static_cast<uint8_t>(bits[lane / 8] & ~(1u << lane % 8));
    if (to_register) {
      std::memcpy(core.compare_mask, bits, sizeof bits);
    } else {
      // Results are packed one repeat after the other; destination strides do not matter.
      std::memcpy(core.write(op.dst, op.dst.address + uint64_t{r} * lanes / 8, lanes / 8, "dst"), bits,
                  lanes / 8);
    }
  }
}

void run_select(Core& core, const VectorOp& op) {
  const uint32_t size = size_of(op.dst.type), lanes = kRepeat / size;
  if (size != 2 && size != 4) core.fail("unsupported", "Select is for 16- and 32-bit types");
  const bool scalar = op.code == VecCode::SelectScalar;
  core.aligned(op.dst, kBlock, "dst");
  core.aligned(op.src0, kBlock, "src0");
  if (!scalar) core.aligned(op.src1, kBlock, "src1");
  check_strides(core, op);
  const Lattice lattice = resolve_mask(core, op, lanes);
  charge(core, op, repeats_of(lattice), lattice.counter && lattice.tail != lanes);
  if (op.code == VecCode::SelectTensor && lattice.repeats) {
    Operand scratch = op.dst;
    scratch.begin = 0, scratch.end = core.machine.chip.ub;
    core.write(scratch, kSelectScratch, kBlock, "scratch");
    core.local(Memory::UB).shadow.mark_unwritten(kSelectScratch, kSelectScratch + kBlock);
  }
  uint8_t* ub = core.local(Memory::UB).bytes.data();
  for (uint32_t r = 0; r < lattice.repeats; ++r) {
    const uint8_t* bits = core.compare_mask;
    if (op.code != VecCode::SelectMask) {
      const uint32_t live = live_end(lattice, r);
      bits = core.read(op.mask_tensor, op.mask_tensor.address + uint64_t{r} * lanes / 8, (live + 7) / 8,
                       "selMask");
    }
    read_repeat(core, op.src0, op.src0_stride, lattice, r, "src0");
    if (!scalar) read_repeat(core, op.src1, op.src1_stride, lattice, r, "src1");
    for_live_pieces(lattice, r, size, op.dst_stride, [&](uint32_t offset, uint32_t bytes) {
      core.write(op.dst, op.dst.address + offset, bytes, "dst");
    });
    for (uint32_t lane = 0; lane < live_end(lattice, r); ++lane) {
      if (!lane_alive(lattice, r, lane)) continue;
      const bool first = bits[lane / 8] >> lane % 8 & 1;
      const uint8_t* second = scalar ? reinterpret_cast<const uint8_t*>(&op.scalar)
                                     : ub + op.src1.address + lane_offset(op.src1_stride, r, lane, size);
      const uint8_t* source =
          first ? ub + op.src0.address + lane_offset(op.src0_stride, r, lane, size) : second;
      std::memcpy(ub + op.dst.address + lane_offset(op.dst_stride, r, lane, size), source, size);
    }
  }
}

}  // namespace ascend_sim
