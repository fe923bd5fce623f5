// The chip: all cores of a launch, global memory, what they share, and the scheduler that interleaves them.
#pragma once

#include <sim/launch.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "../../chip/chip.h"
#include "core.h"
#include "fault.h"
#include "gm.h"

namespace ascend_sim {

struct TaskType {  // cube and vector cores of one block
  int cube = 0;
  int vector = 1;
  bool synchronises = false;  // whether the hardware's cross-core scheduler is on (the MIX types)
};

struct TraceEvent {
  int core;
  Pipe pipe;
  double start, end;
  uint32_t site;
  uint64_t bytes;
};

// A wait that a set released: indices of trace events.
struct TraceFlow {
  uint32_t set, wait;
};

struct Report {
  std::string kernel;
  double cycles = 0;
  double busy[2][kPipes] = {};  // cycles, over all cube and all vector cores
  std::vector<std::pair<std::string, double>> cores;
  uint64_t bytes[static_cast<int>(Memory::Count)] = {};  // read and written by instructions
  uint64_t hbm_bytes = 0, l2_bytes = 0;
  uint64_t peak[static_cast<int>(Memory::Count)] = {};
  uint64_t instructions = 0, repeats = 0;
  int vector_cores = 0, cube_cores = 0;
};

// What L2 holds when a launch begins: nothing, the arguments, or what the launch before left there.
enum class L2State : uint8_t { Cold, Warm, Kept };

struct Options {
  L2State l2 = L2State::Cold;
  bool auto_sync = false;  // the compiler puts PIPE_V barriers between dependent vector instructions
  bool races = true;
  bool trace = false;
};

// Bytes per cycle that all cores share, booked in slices of time: cores may book in any order.
class Ledger {
 public:
  explicit Ledger(double bytes_per_cycle) : capacity_(bytes_per_cycle * kSlice) {}
  // Book `bytes` from `start` on, no faster than `rate` per cycle; the time of the last one.
  double book(double start, double bytes, double rate);

 private:
  static constexpr double kSlice = 128;  // cycles
  double capacity_;
  std::vector<double> used_;
};

class Machine {
 public:
  Machine(const qwen_vl_npu_ops::Chip& chip, const Options& options);

  void launch(const std::string& kernel, TaskType type, int64_t blocks, const std::function<void()>& body);

  uint32_t site_of(const Call& call);
  const SiteRecord& site(uint32_t index) const { return sites[index]; }

  const qwen_vl_npu_ops::Chip& chip;
  const Options options;
  GlobalMemory gm;
  L2 l2;
  std::vector<Fault> faults;
  std::vector<SiteRecord> sites;
  std::vector<TraceEvent> trace;
  std::vector<TraceFlow> flows;
  std::vector<Report> reports;

  // Of the launch that runs.
  std::string kernel;
  TaskType type;
  int64_t blocks = 0;
  std::vector<std::unique_ptr<Core>> cores;
  uint64_t moment = 0;
  // Bytes of 64-byte lines that some core's scalar cache holds modified: line -> core, a bit per byte.
  std::unordered_map<uint64_t, std::map<int, uint64_t>> dirty_lines;
  Report report;
  std::unique_ptr<Ledger> hbm_ledger, l2_ledger;

  Core& core_of(int block, CoreKind kind, int sub);
  void collect_flag(Core& from, int mode, uint32_t flag, CrossMessage message);
  void maybe_yield(Core& core, double time);

 private:
  struct SiteKey {
    const char* file;
    const char* api;
    int line;
    bool operator==(const SiteKey& other) const {
      return file == other.file && api == other.api && line == other.line;
    }
  };
  struct SiteHash {
    size_t operator()(const SiteKey& key) const {
      return reinterpret_cast<size_t>(key.file) * 31 + reinterpret_cast<size_t>(key.api) * 7 +
             static_cast<size_t>(key.line);
    }
  };

  void run(const std::function<void()>& body);
  void start(Core& core, const std::function<void()>& body);
  Core* next_runnable();
  [[noreturn]] void deadlock();
  void check_leftovers();
  void close_report();
  uint32_t add_site(const Call& call);

  std::unordered_map<SiteKey, uint32_t, SiteHash> site_index_;
  SiteKey last_key_{};
  uint32_t last_site_ = 0;
  std::unique_ptr<Error> failure_;
  std::exception_ptr other_failure_;
  // Sets of a group's flags that still lack a member: (flag, group) -> member -> messages.
  std::map<std::pair<uint32_t, int>, std::map<int, std::deque<CrossMessage>>> pending_;
};

// The machine that kernel code launches on.
Machine*& active_machine();

void run(Machine& machine, const Launch& launch);

}  // namespace ascend_sim
