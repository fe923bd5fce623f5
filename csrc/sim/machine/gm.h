// Global memory: the tensors a launch may touch, at addresses of the simulator's own choosing, so that
// bounds, alignment and cache behaviour do not depend on where the host allocated them. Also which of it sits
// in L2.
#pragma once

#include <list>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>

#include "gm_shadow.h"

namespace ascend_sim {

struct Region {
  uint64_t base = 0;
  uint64_t bytes = 0;
  std::string name;
  bool written = false;
  std::unique_ptr<GmShadow> shadow;
};

// Which lines are in L2, and which of them are newer than HBM. Least recently used chunks leave first.
class L2 {
 public:
  explicit L2(uint64_t capacity) : capacity_(capacity) {}
  // Touch [begin, end); the bytes of HBM traffic that makes: lines to fetch, or the write-back that a line
  // owes from its first write on. A copy that bypasses L2 uses what is resident and leaves nothing behind.
  uint64_t read(uint64_t begin, uint64_t end, bool bypass = false);
  uint64_t write(uint64_t begin, uint64_t end, bool bypass = false);
  void clear();

 private:
  // 1.208 GB took 9.437e6 cache requests of data_copy, scenario 5: 128 bytes each.
  static constexpr uint64_t kLine = 128;
  static constexpr uint64_t kChunk = 64 * kLine;  // one bit each

  struct Chunk {
    uint64_t resident = 0, dirty = 0;
    std::list<uint64_t>::iterator age;
  };
  uint64_t touch(uint64_t begin, uint64_t end, bool write, bool bypass);
  uint64_t capacity_, used_ = 0;
  std::unordered_map<uint64_t, Chunk> chunks_;
  std::list<uint64_t> ages_;  // oldest first
};

class GlobalMemory {
 public:
  GlobalMemory();
  ~GlobalMemory();
  GlobalMemory(const GlobalMemory&) = delete;
  GlobalMemory& operator=(const GlobalMemory&) = delete;

  // Map `bytes` of zeroed memory, 512-byte aligned, with unmapped pages around it.
  uint64_t map(uint64_t bytes);
  void unmap(uint64_t address);  // what map() returned; its place can be mapped again
  void unmap_all();
  uint64_t mapped() const { return next_ - base_; }

  // The bytes a launch may touch; kernels see nothing else. A region may lie anywhere, also outside map()'s
  // arena.
  void allow(uint64_t address, uint64_t bytes, const std::string& name);
  void forbid_all() { regions_.clear(); }

  Region* find(uint64_t address);               // the region that holds the byte, or nullptr
  std::string nearest(uint64_t address) const;  // for messages
  std::map<uint64_t, Region>& regions() { return regions_; }

 private:
  uint64_t base_ = 0, next_ = 0;
  std::map<uint64_t, uint64_t> used_, free_;  // address -> room, the gap behind it included
  std::map<uint64_t, Region> regions_;        // by base address
  Region* last_ = nullptr;
};

}  // namespace ascend_sim
