// What an instruction costs. One function, one table; every constant in cost.cpp names its source.
#pragma once

#include <sim/machine.h>

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
  bool three_reads = false;              // vector: of two sources and the destination, no two in one place
  Memory from = Memory::UB, to = Memory::UB;
  uint64_t bytes = 0;       // moved
  uint64_t bursts = 0;      // pieces that are contiguous in GM
  uint64_t missed = 0;      // bytes of HBM traffic: lines that L2 lacks, or that the first write to one owes
  uint64_t split = 0;       // sum of cost::split_bytes over the bursts
  bool slow_nd2nz = false;  // ND2NZ of rows that begin off a 32-byte boundary
  uint32_t m = 0, n = 0, k = 0;
};

struct Cost {
  double cycles = 0;    // it occupies its pipe, were it alone on the chip
  double fill = 0;      // latency, hidden while the pipe is busy with what came before
  double l2_bytes = 0;  // booked with what all cores share
  double hbm_bytes = 0;
};

Cost cost_of(const Instruction& instruction);

namespace cost {
extern const double kIssue;        // S: handing one instruction to a pipe
extern const double kFlagLatency;  // from a SetFlag to the waiting pipe
extern const double kCrossCore;    // from a CrossCoreSetFlag to the waiting core
extern const int kQueueDepth;      // instructions that MTE1 and M hold back from S
extern const double kLaunchUs;     // reported apart

// What a burst moves on top of its bytes when it begins off a 512-byte boundary of GM and crosses one.
uint64_t split_bytes(uint64_t address, uint64_t bytes);
}  // namespace cost

}  // namespace ascend_sim
