// Faults planted at run time, by call site: a site is a place in the kernel source together with the API
// called there.
#pragma once

#include <sim/machine.h>

#include <string>
#include <vector>

namespace ascend_sim {

enum class FaultKind : uint8_t {
  Drop,
  Event,
  Delay,
  Pipe,
  Shift,
  Shrink,
  Repeat,
  Mask,
  Count,
  Stride,
  SkipQueue
};

struct Fault {
  FaultKind kind;
  std::string file;
  int line = 0;
  std::string api;   // empty: any API on that line
  int64_t nth = -1;  // only this execution on each core; -1: all
  std::string core;  // empty: every core
  int64_t amount = 0;
  std::string operand;  // dst, src0, src1
  Pipe pipe = Pipe::S;  // for FaultKind::Pipe
  bool fired = false;
};

struct SiteRecord {
  std::string file;
  int line = 0;
  std::string api;
  uint64_t count = 0;
  std::vector<int> faults;  // indices of the faults planted here
};

const char* name_of(FaultKind kind);
FaultKind fault_kind_named(const std::string& name);  // throws std::invalid_argument
Pipe pipe_named(const std::string& name);             // throws std::invalid_argument

// "kind@file.cpp:12[,api=Add][,nth=0][,core=aiv0][,amount=32][,operand=dst]", amount a name for kind "pipe".
Fault parse_fault(const std::string& text);  // throws std::invalid_argument

// Apply a fault to an instruction; false when it is to be dropped. Throws std::invalid_argument when the kind
// of fault does not apply to the instruction.
bool apply(const Fault* fault, VectorOp& op);
bool apply(const Fault* fault, CopyOp& op);
bool apply(const Fault* fault, LoadOp& op);
bool apply(const Fault* fault, Load3DOp& op);
bool apply(const Fault* fault, FillOp& op);
bool apply(const Fault* fault, MmadOp& op);
bool apply(const Fault* fault, FixpipeOp& op);

}  // namespace ascend_sim
