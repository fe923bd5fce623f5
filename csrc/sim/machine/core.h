// One simulated core: its in-order pipes with their timelines and clocks, its local buffers, events and
// registers.
#pragma once

#include <sim/machine.h>

#include <algorithm>
#include <deque>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "clock.h"
#include "cost.h"
#include "error.h"
#include "fault.h"
#include "fiber.h"
#include "local_shadow.h"

namespace ascend_sim {

class Machine;
struct Region;

const char* name_of(Pipe pipe);
const char* name_of(Memory memory);

struct LocalMemory {
  std::vector<uint8_t> bytes;
  LocalShadow shadow;
  uint64_t peak = 0;  // highest byte touched or handed out
};

// An instruction held back because an earlier one of its pipe waits for an event.
struct Held {
  Call call;
  uint32_t site;
  double issued;
  Knowledge known;
  std::function<void()> run;
  std::function<bool()> retry;  // of a wait: true once its event has come
  std::string reason;
};

struct PipeState {
  double time = 0;   // when the pipe is free
  double ready = 0;  // when what its next instruction waited for had come
  double floor = 0;  // what its next instruction cannot finish before
  double busy = 0;
  uint32_t last = 0;  // number of the last instruction it executed
  Knowledge known;
  uint64_t learned = 0;  // version of the issue knowledge that it has
  double issued_at = 0;  // when the instruction being executed left the scalar pipe
  double started = 0;    // when the last instruction started
  std::deque<Held> held;
  std::vector<double> starts;  // ring of start times, for queues of limited depth
  uint64_t count = 0;

  void wait_until(double moment) {
    time = std::max(time, moment);
    ready = std::max(ready, moment);
  }
};

struct Event {
  bool set = false;
  double time = 0;
  Knowledge known;
  Call call{};
  uint32_t trace = 0;  // the set, among the trace's events
};

struct CrossMessage {
  Call call{};
  double time = 0;
  Knowledge known;
  uint32_t trace = 0;  // the set that came last, among the trace's events
};

struct CacheLine {
  uint64_t moment = 0;
  bool dirty = false;
};

enum class Waiting : uint8_t { No, CrossFlag, Stuck, Done };

class Core {
 public:
  Core(Machine& machine, int id, CoreKind kind, int block, int sub);

  Machine& machine;
  const int id;
  const CoreKind kind;
  const int block, sub;
  std::string name;
  std::unique_ptr<Fiber> fiber;

  PipeState pipes[kPipes];
  LocalMemory memories[static_cast<int>(Memory::Count)];
  std::unique_ptr<Event[][kPipes][8]> events{new Event[kPipes][kPipes][8]};
  std::deque<CrossMessage> cross[16];
  std::unordered_map<uint64_t, CacheLine> cache;  // scalar data cache, by line number

  uint32_t number = 0;          // of the last instruction
  std::vector<uint32_t> sites;  // instruction number -> site
  uint64_t issue_version = 1;   // grows whenever the scalar pipe learns something

  Waiting waiting = Waiting::No;
  double schedule_time = 0;  // the scheduler resumes the core that is furthest behind
  uint32_t waited_flag = 0;
  Call waited_call{};
  std::string waited_text;

  // Registers.
  uint64_t mask_high = ~uint64_t{0}, mask_low = ~uint64_t{0};
  bool mask_counter = false;
  uint8_t compare_mask[16] = {};
  uint64_t compare_address = 0;
  uint64_t pad_value = 0;
  bool pad_value_set = false;
  void set_pad_value(uint64_t value) { pad_value = value, pad_value_set = true; }
  uint8_t atomic = 0;
  DType atomic_type = DType::None;
  uint32_t nd_count = 1, nd_src_stride = 0, nd_dst_stride = 0;
  uint64_t quant_scale = 0, deq_scale = 0;
  Operand quant_buffer{};
  bool hf32 = false;
  bool small_mmad = false;  // the Mmad being executed is not ordered after the last one by itself
  struct UnitFlag {
    Knowledge known;
    double start = 0, end = 0;  // of the instruction that gave it
  };
  std::unordered_map<uint64_t, UnitFlag> unit_flags;  // by L0C address
  uint32_t load3d_h = 0, load3d_w = 0;
  uint8_t load3d_pad[4] = {};
  uint64_t load3d_value = 0;
  uint64_t reduce_value = 0, reduce_index = 0, gather_remain = 0;

  // Buffer management (tpipe.cpp).
  struct Handed {
    uint64_t address = 0, length = 0;
    Memory memory = Memory::UB;
    enum State : uint8_t { Free, Occupied, Queued, Dequeued } state = Free;
    int queued_event = kNoEvent, free_event = kNoEvent;
    Pipe event_from = Pipe::S, event_to = Pipe::S;  // of queued_event
    Pipe free_from = Pipe::S, free_to = Pipe::S;
  };
  std::vector<Handed> handed;
  std::map<int, int> queue_buffers;  // by TPosition
  uint64_t next_address[static_cast<int>(Memory::Count)] = {};
  uint8_t events_taken[kPipes][kPipes] = {};
  bool tpipe_alive = false;
  void* tpipe = nullptr;

  // What is being executed, for messages.
  Call call{};
  Pipe pipe = Pipe::S;

  PipeState& state(Pipe p) { return pipes[static_cast<int>(p)]; }
  LocalMemory& memory(Memory m) { return memories[static_cast<int>(m)]; }
  LocalMemory& local(Memory m);  // as memory(), allocated

  // Hand an instruction to a pipe. It runs at once unless an earlier one of its pipe waits for an event.
  template <class Run>
  void issue(Pipe p, const Call& call, Run&& run) {
    before_issue(p, call);
    if (state(p).held.empty()) {
      begin(p, call);
      run();
    } else {
      hold(p, call, std::forward<Run>(run));
    }
    if (!deferred.empty()) run_deferred(p);
  }
  void defer_any(std::function<void()> run) { defer(Pipe::Count, std::move(run)); }

  // Count an execution of the call's site; the fault that applies to it, or nullptr. Once per API call.
  const Fault* visit(const Call& call);

  // Faults that move a synchronisation run it here, after the next instruction of pipe `p`.
  void defer(Pipe p, std::function<void()> run) { deferred.emplace_back(p, std::move(run)); }

  // Called by an instruction that runs: the checks and records of one access, then the time it takes.
  uint8_t* read(const Operand& operand, uint64_t address, uint64_t bytes, const char* which);
  // As read(), for moves of whole fractals, whose edges may hold nothing yet: `complete` tells whether they
  // all do.
  uint8_t* read_edges(const Operand& operand, uint64_t address, uint64_t bytes, const char* which,
                      bool* complete);
  uint8_t* write(const Operand& operand, uint64_t address, uint64_t bytes, const char* which);
  void in_bounds(const Operand& operand, uint64_t address, uint64_t bytes, const char* which);
  void aligned(const Operand& operand, uint64_t unit, const char* which);
  void occupy(const Instruction& instruction);
  void charge_issue();  // S: handing an instruction to a pipe, or setting a register

  // Keep `retry` and all that follows on pipe `p` until it returns true.
  void hold_until(Pipe p, const Call& call, std::string reason, std::function<bool()> retry);
  void drain(Pipe p);
  // unitFlag: Mmad hands a tile of L0C to Fixpipe and back without an event.
  void take_unit_flag(uint64_t address);
  void give_unit_flag(uint64_t address);
  void need(CoreKind wanted);
  void wait_for_pipes(const Call& call);
  void learn(const Knowledge& known,
             double time);  // the scalar pipe learns something; so does all it issues later
  void stuck(const std::string& reason, const Call& call);
  void finish();
  void release_memory();  // what a finished core no longer needs

  [[noreturn]] void fail(const char* kind, const std::string& detail, const char* operand = "");
  [[noreturn]] void fail_race(const char* which, int other_core, Pipe other_pipe, uint32_t other_number,
                              bool other_write, const std::string& where);
  Party party(Pipe p, uint32_t instruction) const;

 private:
  void before_issue(Pipe p, const Call& call);
  void begin(Pipe p, const Call& call);
  void hold(Pipe p, const Call& call, std::function<void()> run);
  void run_deferred(Pipe p);
  uint8_t* touch(const Operand& operand, uint64_t address, uint64_t bytes, const char* which);
  void check_dirty(const Region& region, uint64_t address, uint64_t bytes, const char* which);
  void run_held(Pipe p, Held& held);

  std::vector<std::pair<Pipe, std::function<void()>>> deferred;
  uint32_t site = 0;                             // of the API call being handled
  std::unordered_map<uint32_t, int64_t> visits;  // of the sites that have faults
};

// The core whose fiber runs now.
Core& current();

}  // namespace ascend_sim
