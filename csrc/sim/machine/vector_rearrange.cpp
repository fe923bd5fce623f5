// Instructions that move lanes about: broadcast, gather, transpose, index vectors, and the comparison
// register.
#include <algorithm>
#include <cstring>

#include "round.h"
#include "vector.h"

namespace ascend_sim {
namespace {

void check_width(Core& core, DType type) {
  if (size_of(type) != 2 && size_of(type) != 4)
    core.fail("unsupported", "this instruction is for 16- and 32-bit types");
}

void check_repeat(Core& core, const VectorOp& op) {
  if (op.repeat < 0 || op.repeat > 255)
    core.fail("limit", format("repeat %lld is outside 0 to 255", (long long)op.repeat), "repeatTimes");
}

// Each of 8 elements fills a block.
void brcb(Core& core, const VectorOp& op) {
  check_width(core, op.dst.type);
  check_repeat(core, op);
  core.aligned(op.dst, kBlock, "dst");
  core.aligned(op.src0, kBlock, "src0");
  const uint32_t size = size_of(op.dst.type);
  charge(core, op, static_cast<double>(op.repeat), false);
  for (uint32_t r = 0; r < op.repeat; ++r) {
    uint8_t elements[8 * 4];
    std::memcpy(elements, core.read(op.src0, op.src0.address + uint64_t{r} * 8 * size, 8 * size, "src0"),
                8 * size);
    for (uint32_t block = 0; block < 8; ++block) {
      uint8_t* dst = core.write(
          op.dst,
          op.dst.address +
              (uint64_t{r} * op.dst_stride.repeat + uint64_t{block} * op.dst_stride.block) * kBlock,
          kBlock, "dst");
      for (uint32_t at = 0; at < kBlock; at += size) std::memcpy(dst + at, elements + block * size, size);
    }
  }
}

// Lane i comes from byte src_base + offset[i] of the source; op.scalar is the base.
void gather(Core& core, const VectorOp& op) {
  check_width(core, op.dst.type);
  core.aligned(op.dst, kBlock, "dst");
  core.aligned(op.src1, kBlock, "offset");
  const uint32_t size = size_of(op.dst.type), lanes = kRepeat / size;
  const Lattice lattice = resolve_mask(core, op, lanes);
  charge(core, op, repeats_of(lattice) * lanes / 64, false);
  for (uint32_t r = 0; r < lattice.repeats; ++r)
    for (uint32_t lane = 0; lane < live_end(lattice, r); ++lane) {
      if (!lane_alive(lattice, r, lane)) continue;
      uint32_t offset;
      std::memcpy(&offset,
                  core.read(op.src1, op.src1.address + (uint64_t{r} * lanes + lane) * 4, 4, "offset"), 4);
      if (offset % size)
        core.fail("alignment",
                  format("offset %u of lane %u is not a multiple of the element's size", offset, lane),
                  "offset");
      const uint8_t* src = core.read(op.src0, op.src0.address + op.scalar + offset, size, "src");
      std::memcpy(core.write(op.dst, op.dst.address + lane_offset(op.dst_stride, r, lane, size), size, "dst"),
                  src, size);
    }
}

// Blocks of 32 bytes by their offsets, 8 per repeat.
void gatherb(Core& core, const VectorOp& op) {
  check_repeat(core, op);
  core.aligned(op.dst, kBlock, "dst");
  core.aligned(op.src0, kBlock, "src0");
  core.aligned(op.src1, kBlock, "offset");
  charge(core, op, static_cast<double>(op.repeat), false);
  for (uint32_t r = 0; r < op.repeat; ++r)
    for (uint32_t block = 0; block < 8; ++block) {
      uint32_t offset;
      std::memcpy(&offset, core.read(op.src1, op.src1.address + (uint64_t{r} * 8 + block) * 4, 4, "offset"),
                  4);
      if (offset % kBlock)
        core.fail("alignment", format("offset %u of block %u is not a multiple of 32", offset, block),
                  "offset");
      const uint8_t* src = core.read(op.src0, op.src0.address + offset, kBlock, "src0");
      std::memcpy(core.write(op.dst,
                             op.dst.address + (uint64_t{r} * op.dst_stride.repeat +
                                               uint64_t{block} * op.dst_stride.block) *
                                                  kBlock,
                             kBlock, "dst"),
                  src, kBlock);
    }
}

bool picked(uint8_t pattern, uint32_t lane) {
  switch (pattern) {
    case 1:
      return lane % 2 == 0;
    case 2:
      return lane % 2 == 1;
    case 3:
    case 4:
    case 5:
    case 6:
      return lane % 4 == pattern - 3u;
    default:
      return true;
  }
}

// Keep the lanes whose pattern bit is set, packed. op.mode is a built-in pattern, or 0 for bits in src1;
// op.flags the reduce (counter) mode, in which op.mask.lanes is the number of elements of each repeat.
void gather_mask(Core& core, const VectorOp& op) {
  check_width(core, op.dst.type);
  core.aligned(op.dst, kBlock, "dst");
  core.aligned(op.src0, kBlock, "src0");
  if (op.mode > 7) core.fail("limit", format("pattern %u is outside 1 to 7", op.mode), "src1Pattern");
  if (op.mode == 0) core.aligned(op.src1, kBlock, "src1Pattern");
  const uint32_t size = size_of(op.dst.type),
                 lanes = op.flags ? static_cast<uint32_t>(op.mask.lanes) : kRepeat / size;
  charge(core, op, static_cast<double>(op.repeat) * ((lanes * size + kRepeat - 1) / kRepeat), false);
  uint64_t kept = 0;
  for (uint32_t r = 0; r < op.repeat; ++r)
    for (uint32_t lane = 0; lane < lanes; ++lane) {
      bool keep = picked(op.mode, lane);
      if (op.mode == 0)
        keep = *core.read(op.src1, op.src1.address + uint64_t{r} * op.src1_stride.repeat * kBlock + lane / 8,
                          1, "src1Pattern") >>
                   lane % 8 &
               1;
      if (!keep) continue;
      const uint8_t* src =
          core.read(op.src0, op.src0.address + lane_offset(op.src0_stride, r, lane, size), size, "src0");
      std::memcpy(core.write(op.dst, op.dst.address + kept++ * size, size, "dst"), src, size);
    }
  core.gather_remain = kept;
}

void transpose(Core& core, const VectorOp& op) {
  if (size_of(op.dst.type) != 2) core.fail("unsupported", "Transpose is for 16-bit types");
  core.aligned(op.dst, kBlock, "dst");
  core.aligned(op.src0, kBlock, "src0");
  charge(core, op, 2, false);
  uint16_t in[256];
  std::memcpy(in, core.read(op.src0, op.src0.address, sizeof in, "src0"), sizeof in);
  uint16_t* out = reinterpret_cast<uint16_t*>(core.write(op.dst, op.dst.address, sizeof in, "dst"));
  for (uint32_t r = 0; r < 16; ++r)
    for (uint32_t c = 0; c < 16; ++c) out[c * 16 + r] = in[r * 16 + c];
}

// first, first + 1, ...; op.scalar is the first value in the type.
void create_index(Core& core, const VectorOp& op) {
  core.aligned(op.dst, kBlock, "dst");
  const uint32_t size = size_of(op.dst.type), lanes = kRepeat / size;
  const Lattice lattice = resolve_mask(core, op, lanes);
  charge(core, op, repeats_of(lattice), false);
  int64_t position = 0;
  for (uint32_t r = 0; r < lattice.repeats; ++r, position += lanes)
    for (uint32_t lane = 0; lane < live_end(lattice, r); ++lane) {
      if (!lane_alive(lattice, r, lane)) continue;
      const float step = static_cast<float>(position + lane);
      uint64_t bits = op.scalar + static_cast<uint64_t>(position + lane);
      if (op.dst.type == DType::F32) {
        float value;
        std::memcpy(&value, &op.scalar, 4);
        value += step;
        std::memcpy(&bits, &value, 4);
      } else if (op.dst.type == DType::F16) {
        bits = narrow_half(widen_half(static_cast<uint16_t>(op.scalar)) + step, kRint);
      }
      std::memcpy(core.write(op.dst, op.dst.address + lane_offset(op.dst_stride, r, lane, size), size, "dst"),
                  &bits, size);
    }
}

void compare_register(Core& core, const VectorOp& op) {
  charge(core, op, 1, false);
  core.aligned(op.dst, 16, "dst");
  if (op.code == VecCode::GetCmpMask)
    std::memcpy(core.write(op.dst, op.dst.address, 16, "dst"), core.compare_mask, 16);
  else
    std::memcpy(core.compare_mask, core.read(op.dst, op.dst.address, 16, "src"), 16);
}

void rows(Core& core, const TransposeRowsOp& op) {
  const uint32_t size = size_of(op.type);
  if (size != 2 && size != 4)
    core.fail("unsupported", "TransDataTo5HD is simulated for 16- and 32-bit types");
  if (op.repeat > 255) core.fail("limit", format("repeat %u is outside 0 to 255", op.repeat), "repeatTimes");
  Operand operand;
  operand.memory = Memory::UB;
  operand.type = op.type;
  operand.end = core.machine.chip.ub;
  VectorOp as_vector{};
  as_vector.code = VecCode::Transpose;
  as_vector.dst = as_vector.src0 = operand;
  as_vector.sources = 1;
  charge(core, as_vector, op.repeat * 2.0, false);
  const uint32_t width = kBlock / size;
  for (uint32_t r = 0; r < op.repeat; ++r) {
    uint8_t in[16][kBlock];
    for (uint32_t i = 0; i < 16; ++i) {
      if (op.src[i] % kBlock || op.dst[i] % kBlock)
        core.fail("alignment", format("address %u of the lists is not a multiple of 32 bytes", i));
      std::memcpy(in[i], core.read(operand, op.src[i] + uint64_t{r} * op.src_stride * kBlock, kBlock, "src"),
                  kBlock);
    }
    // Row j of the result is column j of the sources: 16 elements, one block of 16-bit types, two of 32-bit
    // ones.
    for (uint32_t j = 0; j < width; ++j)
      for (uint32_t half = 0; half < 16 / width; ++half) {
        const uint32_t target = j * (16 / width) + half;
        uint8_t* dst =
            core.write(operand, op.dst[target] + uint64_t{r} * op.dst_stride * kBlock, kBlock, "dst");
        for (uint32_t i = 0; i < width; ++i)
          std::memcpy(dst + i * size, in[half * width + i] + j * size, size);
      }
  }
}

}  // namespace

void run_rearrange(Core& core, const VectorOp& op) {
  switch (op.code) {
    case VecCode::Brcb:
      brcb(core, op);
      break;
    case VecCode::Gather:
      gather(core, op);
      break;
    case VecCode::Gatherb:
      gatherb(core, op);
      break;
    case VecCode::GatherMask:
      gather_mask(core, op);
      break;
    case VecCode::Transpose:
      transpose(core, op);
      break;
    case VecCode::CreateVecIndex:
      create_index(core, op);
      break;
    default:
      compare_register(core, op);
  }
}

void transpose_rows(const TransposeRowsOp& given, const Call& call) {
  Core& core = current();
  const Fault* fault = core.visit(call);
  if (fault && fault->kind == FaultKind::Drop) return;
  core.pipe = Pipe::V;
  core.need(CoreKind::Vector);
  core.issue(Pipe::V, call, [&core, op = given] { rows(core, op); });
}

}  // namespace ascend_sim
