#include "vector.h"

#include <algorithm>
#include <cstring>

namespace ascend_sim {

uint32_t source_size(const VectorOp& op) {
  return op.sources ? size_of(op.src0.type) : size_of(op.dst.type);
}

namespace {

// In counter mode Copy takes the count as elements of each repeat: the block stride runs through all of them,
// and the repeat count still applies.
Lattice copy_lattice(Core& core, const VectorOp& op, uint64_t elements) {
  if (op.repeat < 0 || op.repeat > 255)
    core.fail("limit", format("repeat %lld is outside 0 to 255", (long long)op.repeat), "repeatTimes");
  if (elements > core.machine.chip.ub)
    core.fail("limit", format("count of %llu elements", (unsigned long long)elements), "count");
  Lattice lattice;
  lattice.lanes_per_repeat = lattice.tail = static_cast<uint32_t>(elements);
  lattice.repeats = elements ? static_cast<uint32_t>(op.repeat) : 0;
  lattice.full = lattice.counter = true;
  return lattice;
}

}  // namespace

Lattice resolve_mask(Core& core, const VectorOp& op, uint32_t lanes) {
  Lattice lattice;
  lattice.lanes_per_repeat = lattice.tail = lanes;
  uint64_t elements = 0;
  switch (op.mask.kind) {
    case MaskKind::Register:
      if (core.mask_counter) {
        lattice.counter = true;
        elements = core.mask_low;
        if (op.code == VecCode::Copy) return copy_lattice(core, op, elements);
      } else {
        lattice.bits[0] = core.mask_low;
        lattice.bits[1] = lanes > 64 ? core.mask_high : 0;
        if (lanes < 64) lattice.bits[0] &= (uint64_t{1} << lanes) - 1;
      }
      break;
    case MaskKind::Lanes:
      if (op.mask.lanes > lanes)
        core.fail("limit",
                  format("mask of %llu lanes; a repeat of this type has %u",
                         (unsigned long long)op.mask.lanes, lanes),
                  "mask");
      for (int half = 0; half < 2; ++half) {
        const uint64_t count = op.mask.lanes <= 64u * half ? 0 : op.mask.lanes - 64u * half;
        lattice.bits[half] = count >= 64 ? ~uint64_t{0} : (uint64_t{1} << count) - 1;
      }
      break;
    case MaskKind::Bits:
      if (lanes <= 64 && op.mask.bits[1])
        core.fail("limit", "mask[1] must be 0: a repeat of this type has 64 lanes", "mask");
      if (lanes < 64 && op.mask.bits[0] >> lanes)
        core.fail("limit", format("mask has bits beyond lane %u", lanes), "mask");
      lattice.bits[0] = op.mask.bits[0];
      lattice.bits[1] = op.mask.bits[1];
      break;
    case MaskKind::Elements:
      if (op.mask.lanes > core.machine.chip.ub)
        core.fail("limit", format("count of %lld elements", (long long)op.mask.lanes), "count");
      lattice.counter = true;
      elements = op.mask.lanes;
      break;
  }
  if (lattice.counter) {
    lattice.full = true;
    lattice.bits[0] = lattice.bits[1] = ~uint64_t{0};
    lattice.repeats = static_cast<uint32_t>((elements + lanes - 1) / lanes);
    if (elements % lanes) lattice.tail = static_cast<uint32_t>(elements % lanes);
  } else {
    if (op.repeat < 0 || op.repeat > 255)
      core.fail("limit", format("repeat %lld is outside 0 to 255", (long long)op.repeat), "repeatTimes");
    const int alive = __builtin_popcountll(lattice.bits[0]) + __builtin_popcountll(lattice.bits[1]);
    lattice.full = alive == static_cast<int>(lanes);
    lattice.repeats = alive ? static_cast<uint32_t>(op.repeat) : 0;
  }
  // The mask is a register: what a call sets, the next call with isSetMask = false finds.
  if (op.mask.kind == MaskKind::Lanes || op.mask.kind == MaskKind::Bits) {
    core.mask_low = lattice.bits[0];
    core.mask_high = lattice.bits[1];
  } else if (op.mask.kind == MaskKind::Elements) {
    core.mask_low = core.mask_high = ~uint64_t{0};
    core.mask_counter = false;
  }
  return lattice;
}

uint32_t live_end(const Lattice& lattice, uint32_t r) {
  if (lattice.counter) return r + 1 == lattice.repeats ? lattice.tail : lattice.lanes_per_repeat;
  if (lattice.bits[1]) return 128 - static_cast<uint32_t>(__builtin_clzll(lattice.bits[1]));
  return lattice.bits[0] ? 64 - static_cast<uint32_t>(__builtin_clzll(lattice.bits[0])) : 0;
}

bool lane_alive(const Lattice& lattice, uint32_t r, uint32_t lane) {
  if (lattice.counter) return lane < live_end(lattice, r);
  return lattice.bits[lane / 64] >> (lane % 64) & 1;
}

double repeats_of(const Lattice& lattice) {
  return lattice.repeats;
}

void check_strides(Core& core, const VectorOp& op) {
  const auto check = [&](const Stride& stride, const char* which) {
    const uint32_t most = op.code == VecCode::Copy || op.code == VecCode::Brcb ? 65535 : 255;
    if (stride.repeat > most || stride.block > 65535)
      core.fail("limit",
                format("stride %u between repeats, %u between blocks; at most %u fits", stride.repeat,
                       stride.block, most),
                which);
  };
  check(op.dst_stride, "dst");
  if (op.sources > 0) check(op.src0_stride, "src0");
  if (op.sources > 1) check(op.src1_stride, "src1");
}

namespace {

// UB addresses are {bank 2 bits, row 7, group 4, byte 5}. The banks that one repeat of an operand touches, in
// the order of its blocks; a block that is repeated (stride 0) is read once.
struct Banks {
  uint64_t banks = 0;
  uint32_t groups = 0;
  uint8_t order[8] = {};
  uint32_t blocks;

  Banks(const Operand& operand, const Stride& stride, uint32_t r, uint32_t blocks) : blocks(blocks) {
    for (uint32_t b = 0; b < blocks; ++b) {
      const uint64_t at = operand.address + (uint64_t{r} * stride.repeat + b * stride.block) * kBlock;
      order[b] = static_cast<uint8_t>(at >> 12 & 0x30) | static_cast<uint8_t>(at >> 5 & 15);
      banks |= uint64_t{1} << order[b];
      groups |= 1u << (order[b] & 15);
    }
  }
  // The hardware writes a repeat later when all its blocks line up with those that are read.
  bool lines_up(const Banks& other) const {
    return blocks == other.blocks && std::equal(order, order + blocks, other.order);
  }
};

// Two reads in one bank group conflict, and so do a read and a write in one bank (bank_conflict_ub).
void find_conflicts(const VectorOp& op, Instruction& instruction) {
  if (!op.sources) return;
  const uint32_t widest =
      std::max({size_of(op.dst.type), size_of(op.src0.type), op.sources > 1 ? size_of(op.src1.type) : 0u});
  const auto blocks = [&](const Operand& operand) { return 8 * size_of(operand.type) / widest; };
  const uint32_t repeats = static_cast<uint32_t>(instruction.repeats);
  // Operands that step alike, each within its 64 KiB of banks, meet in every repeat as they do in the first.
  const auto like_dst = [&](const Operand& operand, const Stride& stride) {
    const uint64_t last = operand.address + (uint64_t{repeats} * stride.repeat + 8 * stride.block) * kBlock;
    return stride.repeat == op.dst_stride.repeat && operand.address >> 16 == last >> 16;
  };
  const bool alike = like_dst(op.dst, op.dst_stride) && like_dst(op.src0, op.src0_stride) &&
                     (op.sources < 2 || like_dst(op.src1, op.src1_stride));
  const uint32_t step = alike ? std::max(repeats, 1u) : 1;
  for (uint32_t r = 0; r < repeats; r += step) {
    const Banks dst(op.dst, op.dst_stride, r, blocks(op.dst));
    const Banks src0(op.src0, op.src0_stride, r, blocks(op.src0));
    bool clash = dst.banks & src0.banks && !dst.lines_up(src0);
    if (op.sources > 1) {
      const Banks src1(op.src1, op.src1_stride, r, blocks(op.src1));
      if (src0.groups & src1.groups) instruction.read_read += step;
      clash |= dst.banks & src1.banks && !dst.lines_up(src1);
    }
    if (clash) instruction.read_write += step;
  }
}

bool three_reads(const VectorOp& op) {
  return (op.code == VecCode::MulAddDst || op.code == VecCode::FusedMulAdd ||
          op.code == VecCode::FusedMulAddRelu) &&
         op.dst.address != op.src0.address && op.dst.address != op.src1.address &&
         op.src0.address != op.src1.address;
}

}  // namespace

void charge(Core& core, const VectorOp& op, double repeats, bool counter_tail, bool elementwise) {
  Instruction instruction;
  instruction.work = Work::Vector;
  instruction.pipe = Pipe::V;
  instruction.code = op.code;
  instruction.dst_type = op.dst.type;
  instruction.src_type = op.sources ? op.src0.type : op.dst.type;
  instruction.repeats = repeats;
  instruction.counter_tail = counter_tail;
  instruction.three_reads = three_reads(op);
  if (elementwise) find_conflicts(op, instruction);
  core.occupy(instruction);
}

namespace {

struct Sizes {
  uint32_t dst, src0, src1;
};

// Cut the instruction into runs; neighbours that continue each other become one.
void cut(const VectorOp& op, const Lattice& lattice, const Sizes& size, std::vector<Run>& runs) {
  runs.clear();
  const uint32_t widest = std::max(size.dst, size.src0);
  const uint32_t step = kBlock / widest;  // lanes that share a block in every operand
  const auto add = [&](uint32_t r, uint32_t lane, uint32_t lanes) {
    const Run run{lane_offset(op.dst_stride, r, lane, size.dst),
                  lane_offset(op.src0_stride, r, lane, size.src0),
                  op.sources > 1 ? lane_offset(op.src1_stride, r, lane, size.src1) : 0, lanes};
    if (!runs.empty()) {
      Run& last = runs.back();
      if (last.dst + last.lanes * size.dst == run.dst && last.src0 + last.lanes * size.src0 == run.src0 &&
          (op.sources < 2 || last.src1 + last.lanes * size.src1 == run.src1)) {
        last.lanes += lanes;
        return;
      }
    }
    runs.push_back(run);
  };
  const bool dense = op.dst_stride.block == 1 && (op.sources < 1 || op.src0_stride.block == 1) &&
                     (op.sources < 2 || op.src1_stride.block == 1);
  for (uint32_t r = 0; r < lattice.repeats; ++r) {
    const uint32_t end = live_end(lattice, r);
    const bool prefix =
        lattice.counter || lattice.full ||
        (end <= 64 ? lattice.bits[0] == ~uint64_t{0} >> (64 - end)
                   : lattice.bits[0] == ~uint64_t{0} && lattice.bits[1] == ~uint64_t{0} >> (128 - end));
    if (prefix && dense) {
      add(r, 0, end);
    } else if (prefix) {
      for (uint32_t lane = 0; lane < end; lane += step) add(r, lane, std::min(step, end - lane));
    } else {
      for (uint32_t lane = 0; lane < end; ++lane)
        if (lane_alive(lattice, r, lane)) add(r, lane, 1);
    }
  }
}

// All live lanes of a dense instruction in one run, without walking the repeats.
bool cut_flat(const VectorOp& op, const Lattice& lattice, const Sizes& size, std::vector<Run>& runs) {
  const auto flat = [&](const Stride& stride, uint32_t bytes) {
    return stride.block == 1 &&
           (lattice.repeats == 1 || stride.repeat * kBlock == lattice.lanes_per_repeat * bytes);
  };
  if (!lattice.full || !flat(op.dst_stride, size.dst)) return false;
  if (op.sources > 0 && !flat(op.src0_stride, size.src0)) return false;
  if (op.sources > 1 && !flat(op.src1_stride, size.src1)) return false;
  const uint32_t lanes = (lattice.repeats - 1) * lattice.lanes_per_repeat + lattice.tail;
  runs.assign(1, {0, 0, 0, lanes});
  return true;
}

// Touch the bytes of one operand, run by run, joining what is contiguous.
template <class Touch>
void touch_runs(const std::vector<Run>& runs, uint32_t Run::* offset, uint32_t size, Touch&& touch) {
  uint64_t begin = runs[0].*offset, end = begin;
  for (const Run& run : runs) {
    const uint64_t at = run.*offset, bytes = uint64_t{run.lanes} * size;
    if (at == end) {
      end += bytes;
    } else if (at != begin || end - begin < bytes) {
      touch(begin, end - begin);
      begin = at, end = at + bytes;
    }
  }
  touch(begin, end - begin);
}

// The general rules for operands that share memory: source and destination coincide completely, or not at
// all; and no repeat may write what a later one reads, except that binary operations may accumulate into
// their second source.
void check_overlap(Core& core, const VectorOp& op, const std::vector<Run>& runs, uint32_t repeats,
                   const Operand& source, const Stride& stride, uint32_t Run::* offset, uint32_t source_bytes,
                   uint32_t dst_bytes, const char* which) {
  const bool same_place = source.address == op.dst.address && stride.block == op.dst_stride.block &&
                          stride.repeat == op.dst_stride.repeat && source_bytes == dst_bytes;
  if (same_place) {
    const bool accumulates = stride.repeat == 0 && repeats > 1;
    if (!accumulates || offset == &Run::src1) return;
    core.fail("overlap",
              "a repeat reads what an earlier repeat wrote: only the second source may be accumulated into",
              which);
  }
  uint64_t low = ~uint64_t{0}, high = 0, source_low = ~uint64_t{0}, source_high = 0;
  for (const Run& run : runs) {
    low = std::min<uint64_t>(low, op.dst.address + run.dst);
    high = std::max<uint64_t>(high, op.dst.address + run.dst + run.lanes * dst_bytes);
    source_low = std::min<uint64_t>(source_low, source.address + run.*offset);
    source_high = std::max<uint64_t>(source_high, source.address + run.*offset + run.lanes * source_bytes);
  }
  if (high <= source_low || source_high <= low) return;
  // A narrowing conversion in place writes behind what it reads.
  if (dst_bytes < source_bytes && source.address == op.dst.address && runs.size() == 1) return;
  std::vector<bool> written(high - low);
  for (const Run& run : runs)
    std::fill_n(written.begin() + static_cast<long>(op.dst.address + run.dst - low), run.lanes * dst_bytes,
                true);
  for (const Run& run : runs) {
    const uint64_t begin = std::max(low, source.address + run.*offset);
    const uint64_t end = std::min(high, source.address + run.*offset + run.lanes * source_bytes);
    for (uint64_t at = begin; at < end; ++at)
      if (written[at - low])
        core.fail("overlap",
                  format("byte %llu of UB is both read and written, and the operands do not coincide",
                         (unsigned long long)at),
                  which);
  }
}

bool reads_destination(VecCode code) {
  return code == VecCode::MulAddDst || code == VecCode::FusedMulAdd || code == VecCode::FusedMulAddRelu ||
         code == VecCode::Axpy;
}

const char* name_of(DType type) {
  static const char* const names[] = {"float",    "half",     "bfloat16_t", "int8_t",   "uint8_t",
                                      "int16_t",  "uint16_t", "int32_t",    "uint32_t", "int64_t",
                                      "uint64_t", "int4b_t",  "none"};
  return names[static_cast<int>(type)];
}

}  // namespace

void run_elementwise(Core& core, const VectorOp& op) {
  static thread_local std::vector<Run> runs;
  const bool cast = op.code == VecCode::Cast;
  const Lanes lanes = cast
                          ? math().cast(op.dst.type, op.src0.type, op.mode)
                          : math().elementwise(op.code, op.dst.type, op.sources ? op.src0.type : op.dst.type);
  if (!lanes)
    core.fail("unsupported", cast ? format("no conversion from %s to %s with round mode %d on this chip",
                                           name_of(op.src0.type), name_of(op.dst.type), op.mode)
                                  : format("no such instruction for %s on this chip", name_of(op.dst.type)));
  core.aligned(op.dst, kBlock, "dst");
  if (op.sources > 0) core.aligned(op.src0, kBlock, "src0");
  if (op.sources > 1) core.aligned(op.src1, kBlock, "src1");
  check_strides(core, op);
  Sizes size{size_of(op.dst.type), source_size(op), op.sources > 1 ? size_of(op.src1.type) : 0};
  const Lattice lattice = resolve_mask(core, op, kRepeat / std::max(size.dst, size.src0));
  const uint32_t lanes_at_once = kRepeat / std::max(size.dst, size.src0);
  const uint32_t passes = (lattice.lanes_per_repeat + lanes_at_once - 1) / lanes_at_once;  // 1 but for Copy
  charge(core, op, repeats_of(lattice) * passes, lattice.counter && lattice.tail != lattice.lanes_per_repeat,
         true);
  if (!lattice.repeats) return;
  if (!cut_flat(op, lattice, size, runs)) cut(op, lattice, size, runs);
  if (op.sources > 0) {
    check_overlap(core, op, runs, lattice.repeats, op.src0, op.src0_stride, &Run::src0, size.src0, size.dst,
                  "src0");
    touch_runs(runs, &Run::src0, size.src0,
               [&](uint64_t at, uint64_t bytes) { core.read(op.src0, op.src0.address + at, bytes, "src0"); });
  }
  if (op.sources > 1) {
    check_overlap(core, op, runs, lattice.repeats, op.src1, op.src1_stride, &Run::src1, size.src1, size.dst,
                  "src1");
    touch_runs(runs, &Run::src1, size.src1,
               [&](uint64_t at, uint64_t bytes) { core.read(op.src1, op.src1.address + at, bytes, "src1"); });
  }
  if (reads_destination(op.code))
    touch_runs(runs, &Run::dst, size.dst,
               [&](uint64_t at, uint64_t bytes) { core.read(op.dst, op.dst.address + at, bytes, "dst"); });
  touch_runs(runs, &Run::dst, size.dst,
             [&](uint64_t at, uint64_t bytes) { core.write(op.dst, op.dst.address + at, bytes, "dst"); });

  uint8_t* ub = core.local(Memory::UB).bytes.data();
  uint8_t* dst = ub + op.dst.address;
  const uint8_t *a = op.sources > 0 ? ub + op.src0.address : dst,
                *b = op.sources > 1 ? ub + op.src1.address : a;
  for (const Run& run : runs) lanes(dst + run.dst, a + run.src0, b + run.src1, run.lanes, op.scalar);
}

namespace {

void run(Core& core, const VectorOp& op) {
  for (const Operand* operand : {&op.dst, &op.src0, &op.src1})
    if (operand->type != DType::None && operand->memory != Memory::UB)
      core.fail("unsupported",
                format("vector instructions work on UB, this tensor is in %s", name_of(operand->memory)));
  switch (op.code) {
    case VecCode::Compare:
    case VecCode::CompareScalar:
    case VecCode::CompareToMask:
      run_compare(core, op);
      return;
    case VecCode::SelectMask:
    case VecCode::SelectScalar:
    case VecCode::SelectTensor:
      run_select(core, op);
      return;
    case VecCode::BlockReduceSum:
    case VecCode::BlockReduceMax:
    case VecCode::BlockReduceMin:
    case VecCode::PairReduceSum:
    case VecCode::WholeReduceSum:
    case VecCode::WholeReduceMax:
    case VecCode::WholeReduceMin:
    case VecCode::ReduceSum:
    case VecCode::ReduceMax:
    case VecCode::ReduceMin:
      run_reduce(core, op);
      return;
    case VecCode::Brcb:
    case VecCode::Gather:
    case VecCode::Gatherb:
    case VecCode::GatherMask:
    case VecCode::Transpose:
    case VecCode::CreateVecIndex:
    case VecCode::GetCmpMask:
    case VecCode::SetCmpMask:
      run_rearrange(core, op);
      return;
    default:
      run_elementwise(core, op);
  }
}

}  // namespace

void vector(const VectorOp& given, const Call& call) {
  Core& core = current();
  VectorOp op = given;
  if (!apply(core.visit(call), op)) return;
  core.pipe = Pipe::V;
  core.need(CoreKind::Vector);
  if (op.code == VecCode::Cast) op.scalar = core.deq_scale;  // for int32 to half
  core.issue(Pipe::V, call, [&core, op] { run(core, op); });
}

}  // namespace ascend_sim
