#include "cost.h"

#include <algorithm>
#include <cmath>

namespace ascend_sim {
namespace cost {
// [D] derived from published profiler tables at 1.85 GHz, [E] an estimate.
const double kIssue = 2;  // [E] one bundle to compute the descriptor, one to issue
const double kFlag = 1;   // [E]
const double kFlagLatency =
    12;  // [E] a back-to-back Mmad is 9 cycles dearer than its MACs, an isolated one 62
const double kCrossCore = 220;  // vendor simulator traces of cube/vector handoffs
const double kScalarLocal = 8;  // [E]
const double kScalarGm = 34;    // Add case 0 of the vendor's add_high_performance guide: cycles per element
const double kScalarGmHit = 8;  // [E] as a UB access
const int kQueueDepth = 32;     // depth of the MTE1 and M issue queues
const double kLaunchUs = 6;     // lower end of published launch overheads, 6-21 us
}  // namespace cost

namespace {

struct VectorCost {
  double fixed;
  double slope;  // per repeat
};

// [D] 22-24 cycles to start, then a slope per repeat.
VectorCost vector_cost(const Instruction& i) {
  const bool f16 = i.src_type == DType::F16;
  switch (i.code) {
    case VecCode::Exp:
      return {31, 2};
    case VecCode::Ln:
    case VecCode::Sqrt:
      return {31, 2};  // [E] as Exp
    case VecCode::Div:
      return {23, 4};
    case VecCode::BlockReduceMax:
    case VecCode::BlockReduceMin:
      return {31, f16 ? 7.0 : 1.0};
    case VecCode::BlockReduceSum:
    case VecCode::PairReduceSum:
      return {38, f16 ? 7.0 : 1.0};
    case VecCode::WholeReduceSum:
    case VecCode::WholeReduceMax:
    case VecCode::WholeReduceMin:
      return {46, 7};
    case VecCode::Gather:
    case VecCode::Gatherb:
      return {0, 26};  // per 64 elements
    case VecCode::Cast:
      if (i.src_type == DType::BF16) return {23, 2};
      if (i.dst_type == DType::BF16) return {23, 1.5};
      return {23, 1};
    default:
      return {23, 1};
  }
}

double vector_cycles(const Instruction& i) {
  const VectorCost cost = vector_cost(i);
  // Bank conflicts: +1 per repeat for two reads in a bank group, +0.8 for a read and a write in one bank [D].
  // Counter mode off a whole repeat: +16 [D].
  return cost.fixed + cost.slope * i.repeats + i.read_read + 0.8 * i.read_write + (i.counter_tail ? 16 : 0);
}

double gm_cycles(const Instruction& i) {
  double rate = 58.6;                                          // GM -> UB, bytes per cycle of one core [D]
  if (i.to == Memory::L1) rate = 78.4;                         // GM -> L1 [D]
  if (i.from == Memory::UB && i.to == Memory::GM) rate = 109;  // UB -> GM [D]
  double move = static_cast<double>(i.bytes) / rate;
  if (i.nd2nz && i.misaligned_gm) move *= 2;  // ND2NZ of a misaligned row [D]
  if (i.misaligned_ub) move *= 1.28;          // [D]
  return std::max(20.6, move);                // the least any MTE2 instruction takes [D]
}

double move_cycles(const Instruction& i) {
  const double bytes = static_cast<double>(i.bytes);
  if (i.from == Memory::GM || i.to == Memory::GM) return gm_cycles(i);
  if (i.to == Memory::L0A) return 23.5 + bytes / 256;  // [D]
  if (i.to == Memory::L0B) return 23.5 + bytes / 128;  // [D]
  return 23.5 + bytes / 64;                            // [E] bias and fixpipe tables, UB to UB
}

double mmad_cycles(const Instruction& i) {
  const auto tiles = [](uint32_t size, uint32_t unit) { return std::ceil(static_cast<double>(size) / unit); };
  // A 16x16 result tile advances by 32 bytes of k a cycle; fp32 runs at a quarter of the fp16 rate.
  const double per_step = i.src_type == DType::F32 ? 2 : 1;
  const uint32_t k_unit = 32 / size_of(i.src_type);
  return 9 + per_step * tiles(i.m, 16) * tiles(i.n, 16) * tiles(i.k, k_unit);  // +9 back to back [D]
}

}  // namespace

double cycles(const Instruction& i, const qwen_vl_npu_ops::Chip&) {
  switch (i.work) {
    case Work::Scalar:
      return cost::kScalarLocal;
    case Work::ScalarGm:
      return cost::kScalarGm;
    case Work::Vector:
      return vector_cycles(i);
    case Work::Move:
      return move_cycles(i);
    case Work::Mmad:
      return mmad_cycles(i);
    case Work::Fixpipe:  // output bytes at 67 per cycle to GM [D: 970 cycles per 128x256 fp32 -> half], 74 to
                         // L1 [D]
      return std::max(20.6, static_cast<double>(i.bytes) / (i.to == Memory::L1 ? 74.0 : 67.0));
    case Work::Flag:
      return cost::kFlag;
  }
  return 0;
}

}  // namespace ascend_sim
