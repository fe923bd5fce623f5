// Who last touched each byte of global memory, across all cores: a granule of 32 bytes holds its last writer
// and the set of accesses since that a write must come after.
#pragma once

#include <memory>
#include <unordered_map>
#include <vector>

#include "clock.h"

namespace ascend_sim {

// Which instruction of which pipe and core: what a shadow entry remembers.
struct Epoch {
  uint64_t bits = 0;

  static Epoch of(int core, Pipe pipe, uint32_t number, bool atomic) {
    return {uint64_t(core) << 40 | uint64_t(atomic) << 35 | uint64_t(pipe) << 32 | number};
  }
  int core() const { return static_cast<int>(bits >> 40); }
  bool atomic() const { return bits >> 35 & 1; }
  Pipe pipe() const { return static_cast<Pipe>(bits >> 32 & 7); }
  uint32_t number() const { return static_cast<uint32_t>(bits); }
  explicit operator bool() const { return bits != 0; }
};

enum class GmAccess : uint8_t { Read, Write, Atomic };

struct GmAccessor {
  int core;
  Pipe pipe;
  uint32_t number;
  const Knowledge* known;
  bool writes_in_order;  // whether earlier writes of the same pipe need no barrier
};

struct GmConflict {
  Epoch other;
  bool write = false;
  uint64_t offset = 0;
};

class GmShadow {
 public:
  explicit GmShadow(uint64_t bytes);

  // Record the access to [begin, end), or return false and fill in what it races with. `moment` is a number
  // that grows with every access of the launch: it tells stale cache lines from fresh ones.
  bool access(GmAccess kind, uint64_t begin, uint64_t end, const GmAccessor& who, uint64_t moment,
              GmConflict& conflict);

  // The last write to any byte of [begin, end) by another agent than core `core`'s scalar pipe that came
  // after `moment`.
  bool written_since(uint64_t begin, uint64_t end, uint64_t moment, int core, Epoch& writer) const;

 private:
  static constexpr uint64_t kGranule = 32;
  static constexpr uint64_t kChunk = 2048;  // granules that are allocated together, on first use

  struct Cell {
    Epoch write;
    uint64_t moment = 0;  // of that write
    uint32_t since = 0;   // the set of reads and atomics since, as an index into sets_
    uint32_t split = 0;   // index into splits_, plus one
  };
  using Set = std::vector<Epoch>;

  Cell* chunk(uint64_t granule);
  bool ordered(Epoch epoch, const GmAccessor& who, bool writes) const;
  bool touch(GmAccess kind, Cell& cell, uint64_t offset, const GmAccessor& who, uint64_t moment,
             GmConflict& conflict);
  bool touch_bytes(GmAccess kind, uint64_t begin, uint64_t end, const GmAccessor& who, uint64_t moment,
                   GmConflict& conflict);
  uint32_t with(uint32_t set, Epoch epoch, const GmAccessor& who);

  std::vector<std::unique_ptr<Cell[]>> chunks_;
  std::vector<std::unique_ptr<Cell[]>> splits_;  // 32 cells each
  std::vector<Set> sets_{Set{}};
  std::unordered_map<uint64_t, uint32_t> extended_;  // (set, epoch) of the current instruction -> set
  Epoch extending_;
};

}  // namespace ascend_sim
