// Who last touched each byte of one local buffer, kept per 32-byte granule, and which bytes were ever
// written.
#pragma once

#include <memory>
#include <unordered_map>
#include <vector>

#include "clock.h"

namespace ascend_sim {

// One instruction's view when it touches memory.
struct Accessor {
  Pipe pipe;
  uint32_t number;          // of the instruction, within its core
  const LocalClock* known;  // what its pipe knows of the core's pipes
  bool in_order;            // whether earlier accesses of the same pipe are ordered by themselves
};

struct Conflict {
  Pipe pipe = Pipe::S;
  uint32_t number = 0;
  bool write = false;
  uint64_t address = 0;
};

class LocalShadow {
 public:
  void reset(uint32_t bytes, std::initializer_list<Pipe> readers);

  // Record the access to [begin, end) and return true, or return false and fill in what it races with.
  bool read(uint32_t begin, uint32_t end, const Accessor& who, Conflict& conflict);
  bool write(uint32_t begin, uint32_t end, const Accessor& who, Conflict& conflict);

  void mark_written(uint32_t begin, uint32_t end);
  void mark_unwritten(uint32_t begin, uint32_t end);
  bool written(uint32_t at) const { return written_[at / kGranule] >> at % kGranule & 1; }
  // The first byte of [begin, end) that was never written, or end.
  uint32_t first_unwritten(uint32_t begin, uint32_t end) const;

 private:
  static constexpr uint32_t kGranule = 32;
  static constexpr uint32_t kPipeShift = 29;
  static constexpr uint32_t kSplit = 0xFFFFFFFF;  // in write_: the granule is kept byte by byte in split_
  static constexpr int kMaxReaders = 3;

  struct Bytes {
    uint32_t write[kGranule];
    uint32_t read[kMaxReaders][kGranule];
  };

  int slot_of(Pipe pipe) const { return slot_[static_cast<int>(pipe)]; }
  bool ordered(Pipe pipe, uint32_t number, const Accessor& who) const;
  bool write_ordered(uint32_t entry, uint64_t address, const Accessor& who, Conflict& conflict) const;
  bool reads_ordered(int slot, uint32_t number, uint64_t address, const Accessor& who,
                     Conflict& conflict) const;
  Bytes& split(uint32_t granule);
  bool read_bytes(uint32_t begin, uint32_t end, const Accessor& who, Conflict& conflict);
  bool write_bytes(uint32_t begin, uint32_t end, const Accessor& who, Conflict& conflict);
  bool read_granules(uint32_t first, uint32_t last, const Accessor& who, Conflict& conflict);
  bool write_granules(uint32_t first, uint32_t last, const Accessor& who, Conflict& conflict);

  std::vector<uint32_t> write_;  // pipe << 29 | number; 0: never
  std::vector<uint32_t> read_[kMaxReaders];
  std::vector<uint32_t> written_;  // a bit per byte
  int slot_[kPipes];
  Pipe readers_[kMaxReaders];
  int reader_count_ = 0;
  std::unordered_map<uint32_t, std::unique_ptr<Bytes>> split_;
};

}  // namespace ascend_sim
