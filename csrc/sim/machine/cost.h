// What an instruction costs. One function, one table; every constant in cost.cpp names its source.
#pragma once

#include <sim/machine.h>

#include "../../chip/chip.h"

namespace ascend_sim {

enum class Work : uint8_t { Scalar, ScalarGm, Vector, Move, Mmad, Fixpipe, Flag };

// What the cost function may look at.
struct Instruction {
  Work work = Work::Flag;
  Pipe pipe = Pipe::S;
  VecCode code = VecCode::Add;
  DType dst_type = DType::None, src_type = DType::None;
  double repeats = 0;                    // vector: 256-byte repeats, partial ones included
  bool counter_tail = false;             // vector: counter mode off a whole repeat
  double read_read = 0, read_write = 0;  // vector: repeats with UB bank conflicts
  Memory from = Memory::UB, to = Memory::UB;
  uint64_t bytes = 0;   // moved
  uint64_t bursts = 1;  // movement: pieces that are contiguous in GM
  uint64_t burst_bytes = 0;
  bool nd2nz = false, misaligned_gm = false, misaligned_ub = false;
  uint32_t m = 0, n = 0, k = 0;
};

// Cycles the instruction occupies its pipe, were it alone on the chip. GM rates of all cores together are the
// bandwidth ledger's business.
double cycles(const Instruction& instruction, const qwen_vl_npu_ops::Chip& chip);

namespace cost {
extern const double kIssue;        // S: handing one instruction to a pipe
extern const double kFlag;         // a Set, Wait or Barrier on its pipe
extern const double kFlagLatency;  // from a SetFlag to the waiting pipe
extern const double kCrossCore;    // from a CrossCoreSetFlag to the waiting core
extern const double kScalarLocal;  // S: one access to UB
extern const double kScalarGm;     // S: one access to GM that misses the data cache
extern const double kScalarGmHit;
extern const int kQueueDepth;   // instructions that MTE1 and M hold back from S
extern const double kLaunchUs;  // reported apart
}  // namespace cost

}  // namespace ascend_sim
