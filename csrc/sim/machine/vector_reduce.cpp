// Reductions inside blocks, inside repeats, of pairs, and over everything. Sums are binary trees over
// neighbouring lanes, rounded in the type at each node, fp16 too.
#include <algorithm>
#include <cstring>
#include <limits>

#include "round.h"
#include "vector.h"

namespace ascend_sim {
namespace {

enum class Kind { Sum, Max, Min };

Kind kind_of(VecCode code) {
  switch (code) {
    case VecCode::BlockReduceMax:
    case VecCode::WholeReduceMax:
    case VecCode::ReduceMax:
      return Kind::Max;
    case VecCode::BlockReduceMin:
    case VecCode::WholeReduceMin:
    case VecCode::ReduceMin:
      return Kind::Min;
    default:
      return Kind::Sum;
  }
}

float load(const uint8_t* at, DType type) {
  if (type == DType::F32) {
    float value;
    std::memcpy(&value, at, 4);
    return value;
  }
  uint16_t bits;
  std::memcpy(&bits, at, 2);
  return widen_half(bits);
}

void store(uint8_t* at, float value, DType type) {
  if (type == DType::F32) {
    std::memcpy(at, &value, 4);
    return;
  }
  const uint16_t bits = narrow_half(value, kRint);
  std::memcpy(at, &bits, 2);
}

float rounded(float value, DType type) {
  return type == DType::F32 ? value : widen_half(narrow_half(value, kRint));
}

float tree_sum(float* values, uint32_t count, DType type) {
  for (; count > 1; count = (count + 1) / 2)
    for (uint32_t i = 0; i < count / 2 + count % 2; ++i)
      values[i] = 2 * i + 1 < count ? rounded(values[2 * i] + values[2 * i + 1], type) : values[2 * i];
  return values[0];
}

// The extreme of the live lanes and where it is; the first of equals. NaN wins over numbers.
struct Extreme {
  float value;
  uint32_t index;
};

Extreme extreme(const float* values, const bool* alive, uint32_t count, Kind kind) {
  Extreme best{0, ~0u};
  for (uint32_t i = 0; i < count; ++i) {
    if (!alive[i]) continue;
    const bool better =
        best.index == ~0u ||
        (best.value == best.value &&
         (values[i] != values[i] || (kind == Kind::Max ? values[i] > best.value : values[i] < best.value)));
    if (better) best = {values[i], i};
  }
  return best;
}

struct Repeat {
  float values[128] = {};
  bool alive[128] = {};
  uint32_t live = 0;
};

Repeat fetch(Core& core, const VectorOp& op, const Lattice& lattice, uint32_t r) {
  const uint32_t size = size_of(op.src0.type);
  Repeat repeat;
  for_live_pieces(lattice, r, size, op.src0_stride, [&](uint32_t offset, uint32_t bytes) {
    core.read(op.src0, op.src0.address + offset, bytes, "src");
  });
  const uint8_t* ub = core.local(Memory::UB).bytes.data() + op.src0.address;
  repeat.live = live_end(lattice, r);
  for (uint32_t lane = 0; lane < repeat.live; ++lane) {
    repeat.alive[lane] = lane_alive(lattice, r, lane);
    if (repeat.alive[lane])
      repeat.values[lane] = load(ub + lane_offset(op.src0_stride, r, lane, size), op.src0.type);
  }
  return repeat;
}

// An index is stored as an integer of the type's width.
void store_index(uint8_t* at, uint32_t index, uint32_t size) {
  std::memcpy(at, &index, size);
}

void blocks(Core& core, const VectorOp& op, const Lattice& lattice, uint32_t r) {
  Repeat repeat = fetch(core, op, lattice, r);
  const uint32_t size = size_of(op.dst.type), per_block = kBlock / size;
  const uint64_t base = op.dst.address + uint64_t{r} * op.dst_stride.repeat * 8 * size;
  for (uint32_t block = 0; block < 8; ++block) {
    float* values = repeat.values + block * per_block;
    const bool* alive = repeat.alive + block * per_block;
    if (std::none_of(alive, alive + per_block, [](bool b) { return b; }))
      continue;  // the destination stays as it was
    const Kind kind = kind_of(op.code);
    const float result = kind == Kind::Sum ? tree_sum(values, per_block, op.dst.type)
                                           : extreme(values, alive, per_block, kind).value;
    store(core.write(op.dst, base + block * size, size, "dst"), result, op.dst.type);
  }
}

void pairs(Core& core, const VectorOp& op, const Lattice& lattice, uint32_t r) {
  const Repeat repeat = fetch(core, op, lattice, r);
  const uint32_t size = size_of(op.dst.type);
  const uint64_t base = op.dst.address + uint64_t{r} * op.dst_stride.repeat * 128;
  for (uint32_t lane = 0; lane < repeat.live; lane += 2) {
    if (!repeat.alive[lane] && !repeat.alive[lane + 1]) continue;
    store(core.write(op.dst, base + lane / 2 * size, size, "dst"),
          rounded(repeat.values[lane] + repeat.values[lane + 1], op.dst.type), op.dst.type);
  }
}

void whole(Core& core, const VectorOp& op, const Lattice& lattice, uint32_t r) {
  enum { ValueIndex, IndexValue, OnlyValue, OnlyIndex };
  Repeat repeat = fetch(core, op, lattice, r);
  const uint32_t size = size_of(op.dst.type), lanes = lattice.lanes_per_repeat;
  const Kind kind = kind_of(op.code);
  if (kind == Kind::Sum) {
    const uint64_t at = op.dst.address + uint64_t{r} * op.dst_stride.repeat * size;
    store(core.write(op.dst, at, size, "dst"), tree_sum(repeat.values, lanes, op.dst.type), op.dst.type);
    return;
  }
  const Extreme best = extreme(repeat.values, repeat.alive, lanes, kind);
  // A lone index is 32 bits wide whatever the type.
  const uint32_t bytes = op.mode == OnlyIndex ? 4 : op.mode == OnlyValue ? size : 2 * size;
  uint8_t* dst =
      core.write(op.dst, op.dst.address + uint64_t{r} * op.dst_stride.repeat * bytes, bytes, "dst");
  if (op.mode == OnlyIndex) return store_index(dst, best.index, 4);
  store(dst + (op.mode == IndexValue ? size : 0), best.value, op.dst.type);
  if (op.mode != OnlyValue) store_index(dst + (op.mode == IndexValue ? 0 : size), best.index, size);
  uint64_t value_bits = 0;
  std::memcpy(&value_bits, dst + (op.mode == IndexValue ? size : 0), size);
  core.reduce_value = value_bits;
  core.reduce_index = best.index;
}

// Over all repeats: each repeat's result goes to the work tensor, then those are reduced the same way.
void everything(Core& core, const VectorOp& op, const Lattice& lattice) {
  const uint32_t size = size_of(op.dst.type), lanes = lattice.lanes_per_repeat;
  const Kind kind = kind_of(op.code);
  std::vector<float> values(lattice.repeats);
  std::vector<uint32_t> indices(lattice.repeats);
  uint32_t position = 0;
  for (uint32_t r = 0; r < lattice.repeats; ++r) {
    Repeat repeat = fetch(core, op, lattice, r);
    if (kind == Kind::Sum) {
      values[r] = tree_sum(repeat.values, lanes, op.dst.type);
    } else {
      const Extreme best = extreme(repeat.values, repeat.alive, lanes, kind);
      values[r] = best.value;
      indices[r] = position + best.index;
    }
    position += lanes;
  }
  const uint32_t work = lattice.repeats * size * (kind == Kind::Sum ? 1 : 2);
  core.write(op.src1, op.src1.address, work, "workLocal");
  core.local(Memory::UB)
      .shadow.mark_unwritten(static_cast<uint32_t>(op.src1.address),
                             static_cast<uint32_t>(op.src1.address) + work);
  const bool with_index = kind != Kind::Sum && op.flags;
  uint8_t* dst = core.write(op.dst, op.dst.address, with_index ? 2 * size : size, "dst");
  if (kind == Kind::Sum) {
    while (values.size() > 1) {  // repeat by repeat, until one is left
      std::vector<float> next;
      for (size_t from = 0; from < values.size(); from += lanes) {
        float padded[128] = {};
        const size_t count = std::min<size_t>(lanes, values.size() - from);
        std::copy_n(values.begin() + static_cast<long>(from), count, padded);
        next.push_back(tree_sum(padded, lanes, op.dst.type));
      }
      values = std::move(next);
    }
    store(dst, values[0], op.dst.type);
    return;
  }
  std::vector<uint8_t> alive(values.size(), 1);
  const Extreme best = extreme(values.data(), reinterpret_cast<const bool*>(alive.data()),
                               static_cast<uint32_t>(values.size()), kind);
  store(dst, best.value, op.dst.type);
  if (with_index) store_index(dst + size, indices[best.index], size);
}

uint64_t dst_alignment(const VectorOp& op) {
  const uint32_t size = size_of(op.dst.type);
  switch (op.code) {
    case VecCode::BlockReduceSum:
    case VecCode::BlockReduceMax:
    case VecCode::BlockReduceMin:
      return 8 * size;
    case VecCode::PairReduceSum:
      return kBlock;
    case VecCode::WholeReduceMax:
    case VecCode::WholeReduceMin:
      return op.mode < 2 ? 2 * size : op.mode == 2 ? size : 4;
    default:
      return size;
  }
}

}  // namespace

void run_reduce(Core& core, const VectorOp& op) {
  if (op.src0.type != DType::F32 && op.src0.type != DType::F16)
    core.fail("unsupported", "reductions are for half and float on this chip");
  core.aligned(op.src0, kBlock, "src");
  core.aligned(op.dst, dst_alignment(op), "dst");
  if (op.src0_stride.repeat > 65535 || op.src0_stride.block > 65535 || op.dst_stride.repeat > 65535)
    core.fail("limit", "strides of reductions are at most 65535");
  const Lattice lattice = resolve_mask(core, op, kRepeat / size_of(op.src0.type));
  charge(core, op, repeats_of(lattice), lattice.counter && lattice.tail != lattice.lanes_per_repeat);
  const bool all =
      op.code == VecCode::ReduceSum || op.code == VecCode::ReduceMax || op.code == VecCode::ReduceMin;
  if (all && lattice.repeats) return everything(core, op, lattice);
  for (uint32_t r = 0; r < lattice.repeats; ++r) {
    switch (op.code) {
      case VecCode::PairReduceSum:
        pairs(core, op, lattice, r);
        break;
      case VecCode::WholeReduceSum:
      case VecCode::WholeReduceMax:
      case VecCode::WholeReduceMin:
        whole(core, op, lattice, r);
        break;
      default:
        blocks(core, op, lattice, r);
    }
  }
}

}  // namespace ascend_sim
