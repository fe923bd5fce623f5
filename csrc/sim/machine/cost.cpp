#include "cost.h"

#include <algorithm>
#include <cmath>

// Sources of the constants. The vendor's guides are the samples of asc-devkit under 05_best_practices:
//   [add]    00_vector_compute/add_high_performance       [mm]    01_matrix_compute/matmul_high_performance
//   [basic]  01_matrix_compute/matmul_basic_api_high_performance
//   [copy]   04_memory_access/data_copy                   [bank]  04_memory_access/bank_conflict_ub
//   [ini]    CANN's platform_config/Ascend910B1.ini       [pto]   pto-isa's include/pto/costmodel
// Their profiler tables give microseconds of a pipe; times 1850 MHz, divided by the instructions it executed,
// that is cycles of one instruction: [D] marks what is derived so, [E] an estimate. None comes from an
// operator of this package.
namespace ascend_sim {
namespace cost {
// [D] S spends 26 to 61 cycles on the 12 instructions of an iteration of [add], cases 1 to 4; 57 on some 9 of
// [basic].
const double kIssue = 4;
// [D] An iteration of [mm], case 0, is 669.9 cycles, of which MTE2 and MTE1 in turn take 656.9; case 1:
// 1760.5 and 1747.5. Two handoffs take 13.
const double kFlagLatency = 5.5;
// [D] [pto]'s flash attention model adds 1000 cycles a tile to match hardware, for its three handoffs (220 a
// tile in the vendor's simulator).
const double kCrossCore = 333;
const int kQueueDepth = 32;  // [basic]: the depth of the MTE1 and M queues
// Task Duration less core time of [add], cases 2 to 6, is 2.5 to 9.4 us; [pto] fits 10905 cycles.
const double kLaunchUs = 6;

uint64_t split_bytes(uint64_t address, uint64_t bytes) {
  // [copy], scenario 4: 2048-byte rows off the boundary cost 1.28 times as much, about one granule more.
  // CANN's guide on 512-byte alignment puts the worst case at 70 % of the bandwidth.
  constexpr uint64_t kGranule = 512;
  const uint64_t offset = address % kGranule;
  if (!offset || offset + bytes <= kGranule) return 0;
  return std::min(kGranule, bytes * 3 / 7);
}
}  // namespace cost

namespace {

constexpr double kFlag = 1;  // [pto] a Set, Wait or Barrier on its pipe
// [D] 34.0 cycles an element of [add], case 0, which reads twice and writes once; loop and conversions
// included.
constexpr double kScalarLocal = 11;
// [pto] An L2 access takes 50 cycles, 150 more on a miss; as MTE2 shows below.
constexpr double kScalarGm = 50, kScalarGmMiss = 150;

struct VectorCost {
  double fixed;
  double slope;  // per repeat
};

// Fixed parts and slopes: [pto], calibrated on hardware. 88.4 cycles for 64 repeats of [bank] give Add 24.4
// and 1.
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
    case VecCode::ReduceSum:
    case VecCode::ReduceMax:
    case VecCode::ReduceMin:
      return {46, 7};
    case VecCode::Gather:
    case VecCode::Gatherb:
      return {0, 26};  // per 64 elements
    case VecCode::Cast:
      if (i.src_type == DType::BF16) return {23, 2};
      if (i.dst_type == DType::BF16) return {23, 1.5};
      return {23, 1};
    default:
      return {24, 1};
  }
}

double vector_cycles(const Instruction& i) {
  const VectorCost cost = vector_cost(i);
  // [D] [bank]: 154.2 cycles where 88.4 are free of conflicts, over 64 repeats with two reads in a bank
  // group; 138.8 with a read and a write in a bank. [pto]: counter mode off a whole repeat takes 15 to 19
  // more.
  // [doc] UB serves two reads and a write at a time, so that a third read halves the rate (asc-devkit's page
  // on compound operations: MulAddDst, FusedMulAdd, FusedMulAddRelu).
  const double slope = cost.slope * (i.three_reads ? 2 : 1);
  return cost.fixed + slope * i.repeats + 1.03 * i.read_read + 0.79 * i.read_write +
         (i.counter_tail ? 16 : 0);
}

// Any copy from or to GM. [D] 20.6 cycles for each 128-byte copy of [copy], scenario 1, of which HBM takes 4.
constexpr double kCopy = 16.6;
// [D] Rows of 128 bytes take 3.385 cycles in [mm], cases 0 and 1: one at 128 B per cycle, and this for a
// burst. The two then predict the MTE2 of [basic] (602 cycles a step) and of [copy], scenario 5 of L1, to 3
// %.
constexpr double kBurst = 2.385;
// [D] ... leaving 80.6 cycles for the pair of copies that starts a step: two kCopy and this.
constexpr double kFillL2 = 47;
// [D] 701 cycles for the pair of 8 KiB copies of [add], case 1: two times kCopy and 256, and this.
constexpr double kFillHbm = 156;
constexpr double kHbmPort = 32;   // [ini] ddr_rate: bytes per cycle of one core
constexpr double kUbPort = 64;    // [ini] ub_to_l2_rate; 67 reached by [copy], scenario 6
constexpr double kL1Port = 128;   // [D] as kBurst
constexpr double kSlowNd2nz = 2;  // [D] 422.5 and 214.5 us of [copy], scenarios 3 and 2 of L1
// [D] 970 cycles for a tile of 128x256 halves of [mm], case 4: kCopy and 64 KiB at this.
constexpr double kFixpipeGm = 68.7;
constexpr double kFixpipeL1 = 74;  // [pto]

// Small copies use HBM worse: full bandwidth from 16 KiB on (CANN's guide on architecture 2201). [D] 8 KiB
// copies are 9 % ([copy], scenarios 2 and 3) to 14 % ([add], cases 2 and 3) slower.
double hbm_traffic(double bytes) {
  return bytes + std::min(bytes / 8, 1024.0);
}

Cost gm_cost(const Instruction& i) {
  const bool fixpipe = i.work == Work::Fixpipe;
  const double stretch = i.slow_nd2nz ? kSlowNd2nz : 1;
  const double bytes = static_cast<double>(i.bytes) * stretch;
  const double split = i.slow_nd2nz ? 0 : static_cast<double>(i.split);  // the measured factor has it in
  const double missed = static_cast<double>(i.missed) * stretch;
  const double port = fixpipe ? kFixpipeGm : i.from == Memory::UB || i.to == Memory::UB ? kUbPort : kL1Port;
  // A split burst fetches its granule from where the rest comes from.
  const double missed_split = i.bytes ? split * std::min(1.0, missed / bytes) : 0;
  Cost cost;
  cost.cycles = (bytes + split) / port + (fixpipe ? 0 : kBurst * static_cast<double>(i.bursts));
  // Fixpipe does not wait for HBM ([mm]: 970 cycles though C is new); MTE2 and MTE3 of one core reach
  // kHbmPort.
  if (!fixpipe) cost.cycles = std::max(cost.cycles, (missed + missed_split) / kHbmPort);
  cost.cycles += kCopy;
  if (i.pipe == Pipe::MTE2) cost.fill = i.missed ? kFillHbm : kFillL2;
  cost.l2_bytes = bytes + split;
  cost.hbm_bytes = hbm_traffic(missed + missed_split);
  return cost;
}

// Inside a core. [D] 143 and 367 cycles for the loads of A and B of [mm], cases 0 and 1: 23.5 each, and 256
// or 128 bytes per cycle. [ini] has twice that for a 512-byte clock, [pto] the same.
Cost local_move(const Instruction& i) {
  constexpr double kLoad = 23.5;
  const double bytes = static_cast<double>(i.bytes);
  if (i.work == Work::Fixpipe) return {kCopy + bytes / kFixpipeL1};
  if (i.to == Memory::L0A) return {kLoad + bytes / 256};
  if (i.to == Memory::L0B) return {kLoad + bytes / 128};
  return {kLoad + bytes / 64};  // [E] bias and fixpipe tables, UB to UB, filling L1
}

Cost mmad_cost(const Instruction& i) {
  const auto tiles = [](uint32_t size, uint32_t unit) { return std::ceil(static_cast<double>(size) / unit); };
  // A 16x16 result tile advances by 32 bytes of k a cycle; fp32 runs at a quarter of the fp16 rate.
  const double per_step = i.src_type == DType::F32 ? 2 : 1;
  const uint32_t k_unit = 32 / size_of(i.src_type);
  Cost cost;
  // [D] Tiles of 64 and 512 steps take 125 and 575 cycles alone ([mm], cases 0 and 1), 521 in a row (case 8).
  cost.cycles = 9 + per_step * tiles(i.m, 16) * tiles(i.n, 16) * tiles(i.k, k_unit);
  cost.fill = 53;
  return cost;
}

}  // namespace

Cost cost_of(const Instruction& i) {
  switch (i.work) {
    case Work::Scalar:
      return {kScalarLocal};
    case Work::ScalarGm: {
      Cost cost{kScalarGm + (i.missed ? kScalarGmMiss : 0)};
      cost.l2_bytes = static_cast<double>(i.bytes);
      cost.hbm_bytes = static_cast<double>(i.missed);
      return cost;
    }
    case Work::Vector:
      return {vector_cycles(i)};
    case Work::Move:
    case Work::Fixpipe:
      return i.from == Memory::GM || i.to == Memory::GM ? gm_cost(i) : local_move(i);
    case Work::Mmad:
      return mmad_cost(i);
    case Work::Flag:
      return {kFlag};
  }
  return {};
}

}  // namespace ascend_sim
