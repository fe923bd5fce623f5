// One data movement as it runs: its reads and writes, atomics included, and what it costs in the end.
#pragma once

#include "machine.h"

namespace ascend_sim {

class Transfer {
 public:
  Transfer(Core& core, const Operand& dst, const Operand& src) : core_(core), dst_(dst), src_(src) {}

  const uint8_t* read(uint64_t address, uint64_t bytes);
  // Of a piece whose edges may hold nothing yet: `live` gets a byte per byte, 1 where there is something.
  // With `some`, a piece that holds nothing at all is an error.
  const uint8_t* read_edges(uint64_t address, uint64_t bytes, uint8_t* live, bool some, bool* complete);
  // Write, and take back the bytes that `live` says are not there.
  void write_edges(uint64_t address, const uint8_t* data, const uint8_t* live, uint64_t bytes);
  uint8_t* write(uint64_t address, uint64_t bytes);
  // Write `bytes` from `data`, combining with what is there when the core's atomic mode says so and dst is
  // GM.
  void store(uint64_t address, const uint8_t* data, uint64_t bytes, DType type);

  void charge(Work work = Work::Move, bool nd2nz = false);

 private:
  void burst(uint64_t address, uint64_t bytes, bool write);  // a contiguous piece of GM

  Core& core_;
  const Operand &dst_, &src_;
  uint64_t read_ = 0, written_ = 0;
  uint64_t bursts_ = 0, missed_ = 0, split_ = 0;
  bool misaligned_ = false;
};

}  // namespace ascend_sim
