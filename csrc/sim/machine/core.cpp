#include "core.h"

#include <cstring>

#include "machine.h"

namespace ascend_sim {

const char* name_of(Pipe pipe) {
  static const char* const names[] = {"S", "V", "M", "MTE1", "MTE2", "MTE3", "FIX"};
  return names[static_cast<int>(pipe)];
}

const char* name_of(Memory memory) {
  static const char* const names[] = {"GM", "UB", "L1", "L0A", "L0B", "L0C", "BT", "FB"};
  return names[static_cast<int>(memory)];
}

namespace {

uint32_t capacity(const qwen_vl_npu_ops::Chip& chip, Memory memory) {
  switch (memory) {
    case Memory::UB:
      return chip.ub;
    case Memory::L1:
      return chip.l1;
    case Memory::L0A:
      return chip.l0a;
    case Memory::L0B:
      return chip.l0b;
    case Memory::L0C:
      return chip.l0c;
    case Memory::BT:
      return chip.bias_table;
    case Memory::FB:
      return chip.fixpipe_buffer;
    default:
      return 0;
  }
}

}  // namespace

Core::Core(Machine& machine, int id, CoreKind kind, int block, int sub)
    : machine(machine), id(id), kind(kind), block(block), sub(sub) {
  const int vectors = std::max(machine.type.vector, 1);
  const int index = kind == CoreKind::Cube ? block : block * vectors + sub;
  name = (kind == CoreKind::Cube ? "aic" : "aiv") + std::to_string(index);
  sites.push_back(0);
  for (Pipe p : {Pipe::MTE1, Pipe::M}) state(p).starts.assign(cost::kQueueDepth, 0);
}

LocalMemory& Core::local(Memory m) {
  LocalMemory& memory = this->memory(m);
  if (!memory.bytes.empty()) return memory;
  const uint32_t bytes = capacity(machine.chip, m);
  memory.bytes.resize(bytes);
  switch (m) {
    case Memory::UB:
      memory.shadow.reset(bytes, {Pipe::V, Pipe::MTE3, Pipe::S});
      break;
    case Memory::L1:
      memory.shadow.reset(bytes, {Pipe::MTE1, Pipe::FIX, Pipe::MTE3});
      break;
    case Memory::L0C:
      memory.shadow.reset(bytes, {Pipe::FIX, Pipe::M});
      break;
    case Memory::FB:
      memory.shadow.reset(bytes, {Pipe::FIX});
      break;
    default:
      memory.shadow.reset(bytes, {Pipe::M});
      break;
  }
  return memory;
}

// ---- issue ----

const Fault* Core::visit(const Call& call) {
  this->call = call;
  site = machine.site_of(call);
  SiteRecord& record = machine.sites[site];
  ++record.count;
  if (record.faults.empty()) return nullptr;
  const int64_t nth = visits[site]++;
  for (int index : record.faults) {
    Fault& fault = machine.faults[static_cast<size_t>(index)];
    if ((fault.nth >= 0 && fault.nth != nth) || (!fault.core.empty() && fault.core != name)) continue;
    fault.fired = true;
    fault.api = call.api;
    return &fault;
  }
  return nullptr;
}

void Core::before_issue(Pipe p, const Call& call) {
  PipeState &scalar = state(Pipe::S), &target = state(p);
  if (p != Pipe::S) charge_issue();
  if (!target.starts.empty()) {
    // A full issue queue stalls the scalar pipe until its oldest instruction starts. Those held back are in
    // it too.
    const size_t number = target.count + target.held.size();
    if (target.held.size() < target.starts.size())
      scalar.time = std::max(scalar.time, target.starts[number % target.starts.size()]);
    else
      stuck(std::string("room in the issue queue of ") + name_of(p) + ", which waits for " +
                target.held.front().reason,
            call);
  }
}

void Core::charge_issue() {
  PipeState& scalar = state(Pipe::S);
  const double start = scalar.time;
  scalar.time += cost::kIssue;
  scalar.busy += cost::kIssue;
  if (machine.options.trace) machine.trace.push_back({id, Pipe::S, start, scalar.time, site, 0});
}

void Core::begin(Pipe p, const Call& call) {
  PipeState &target = state(p), &scalar = state(Pipe::S);
  this->call = call;
  pipe = p;
  target.last = ++number;
  sites.push_back(site);
  target.issued_at = scalar.time;
  if (p != Pipe::S && target.learned != issue_version) {
    Knowledge known = scalar.known;
    known.own[static_cast<int>(Pipe::S)] = 0;  // issuing orders nothing that the scalar pipe did itself
    target.known.learn(known);
    target.learned = issue_version;
  }
  ++machine.report.instructions;
}

void Core::hold(Pipe p, const Call& call, std::function<void()> run) {
  Knowledge known = state(Pipe::S).known;
  known.own[static_cast<int>(Pipe::S)] = 0;
  state(p).held.push_back({call, site, state(Pipe::S).time, std::move(known), std::move(run), nullptr, ""});
}

void Core::hold_until(Pipe p, const Call& call, std::string reason, std::function<bool()> retry) {
  state(p).held.push_front(
      {call, site, state(Pipe::S).time, {}, nullptr, std::move(retry), std::move(reason)});
}

void Core::run_held(Pipe p, Held& held) {
  PipeState& target = state(p);
  call = held.call;
  site = held.site;
  pipe = p;
  target.last = ++number;
  sites.push_back(site);
  target.issued_at = held.issued;
  target.known.learn(held.known);
  ++machine.report.instructions;
  held.run();
}

void Core::drain(Pipe p) {
  PipeState& target = state(p);
  const Call call_before = call;
  const uint32_t site_before = site;
  while (!target.held.empty()) {
    Held held = std::move(target.held.front());
    target.held.pop_front();
    if (held.retry) {
      call = held.call;
      pipe = p;
      if (!held.retry()) {
        target.held.push_front(std::move(held));
        break;
      }
    } else {
      run_held(p, held);
      // The instruction may have been a wait that is not over yet: then it put itself back in front.
    }
  }
  call = call_before;
  site = site_before;
}

void Core::run_deferred(Pipe p) {
  std::vector<std::function<void()>> due;
  for (size_t i = 0; i < deferred.size();)
    if (deferred[i].first == p || deferred[i].first == Pipe::Count) {
      due.push_back(std::move(deferred[i].second));
      deferred.erase(deferred.begin() + static_cast<long>(i));
    } else {
      ++i;
    }
  for (auto& run : due) run();
}

void Core::wait_for_pipes(const Call& call) {
  PipeState& scalar = state(Pipe::S);
  for (int p = 0; p < kPipes; ++p) {
    if (!pipes[p].held.empty())
      stuck(std::string(name_of(static_cast<Pipe>(p))) + ", which waits for " + pipes[p].held.front().reason,
            call);
    scalar.time = std::max(scalar.time, pipes[p].time);
  }
}

void Core::learn(const Knowledge& known, double time) {
  PipeState& scalar = state(Pipe::S);
  scalar.known.learn(known);
  scalar.time = std::max(scalar.time, time);
  ++issue_version;
}

void Core::stuck(const std::string& reason, const Call& call) {
  waiting = Waiting::Stuck;
  waited_text = reason;
  waited_call = call;
  fiber->yield();  // never resumed: nothing inside a core can free its own scalar pipe
  __builtin_unreachable();
}

void Core::finish() {
  while (!deferred.empty()) run_deferred(deferred.front().first);
  wait_for_pipes(Call{"the end of the kernel", call.site});
  for (int from = 0; from < kPipes; ++from)
    for (int to = 0; to < kPipes; ++to)
      for (int id = 0; id < 8; ++id) {
        const Event& event = events[from][to][id];
        if (!event.set) continue;
        call = event.call;
        pipe = static_cast<Pipe>(from);
        fail("event", format("event %d from %s to %s is set and never waited for", id, name_of(pipe),
                             name_of(static_cast<Pipe>(to))));
      }
  waiting = Waiting::Done;
}

void Core::release_memory() {
  events.reset();
  for (LocalMemory& memory : memories) memory = LocalMemory{{}, {}, memory.peak};
  unit_flags.clear();
  cache.clear();
}

// ---- access ----

void Core::in_bounds(const Operand& operand, uint64_t address, uint64_t bytes, const char* which) {
  if (operand.memory == Memory::GM) {
    Region* region = machine.gm.find(address);
    if (!region || address + bytes > region->base + region->bytes || address + bytes < address) {
      const std::string where =
          region ? format("%llu bytes at byte %llu of %s, which has %llu bytes", (unsigned long long)bytes,
                          (unsigned long long)(address - region->base), region->name.c_str(),
                          (unsigned long long)region->bytes)
                 : format("%llu bytes at ", (unsigned long long)bytes) + machine.gm.nearest(address);
      fail("out_of_bounds", where, which);
    }
    return;
  }
  const uint64_t size = local(operand.memory).bytes.size(), end = std::min(operand.end, size);
  if (address < operand.begin || address + bytes > end || address + bytes < address)
    fail("out_of_bounds",
         format("bytes %llu to %llu of %s; the tensor has %llu to %llu", (unsigned long long)address,
                (unsigned long long)(address + bytes), name_of(operand.memory),
                (unsigned long long)operand.begin, (unsigned long long)end),
         which);
}

void Core::aligned(const Operand& operand, uint64_t unit, const char* which) {
  if (operand.address % unit)
    fail("alignment",
         format("address %llu of %s is not a multiple of %llu bytes", (unsigned long long)operand.address,
                name_of(operand.memory), (unsigned long long)unit),
         which);
}

namespace {

bool strict(const Core& core, Pipe pipe) {
  // Within one pipe instructions start in order, but one may start before the last has written its results.
  // The vector pipe needs PipeBarrier<PIPE_V> between dependent instructions unless the compiler puts it
  // there; MTE2 needs one between copies to overlapping places.
  if (pipe == Pipe::V) return !core.machine.options.auto_sync;
  if (pipe == Pipe::M) return core.small_mmad;
  return pipe == Pipe::MTE2;
}

}  // namespace

// A read as far as bounds and races go.
uint8_t* Core::touch(const Operand& operand, uint64_t address, uint64_t bytes, const char* which) {
  in_bounds(operand, address, bytes, which);
  PipeState& state = this->state(pipe);
  machine.report.bytes[static_cast<int>(operand.memory)] += bytes;
  if (operand.memory == Memory::GM) {
    Region& region = *machine.gm.find(address);
    if (!machine.dirty_lines.empty()) check_dirty(region, address, bytes, which);
    if (machine.options.races) {
      GmConflict conflict;
      const GmAccessor who{id, pipe, state.last, &state.known, true};
      const uint64_t at = address - region.base;
      if (!region.shadow->access(GmAccess::Read, at, at + bytes, who, ++machine.moment, conflict))
        fail_race(which, conflict.other.core(), conflict.other.pipe(), conflict.other.number(),
                  conflict.write,
                  format("byte %llu of %s", (unsigned long long)conflict.offset, region.name.c_str()));
    }
    return reinterpret_cast<uint8_t*>(address);
  }
  LocalMemory& memory = local(operand.memory);
  const uint32_t begin = static_cast<uint32_t>(address), end = static_cast<uint32_t>(address + bytes);
  if (machine.options.races) {
    Conflict conflict;
    const Accessor who{pipe, state.last, &state.known.own, !strict(*this, pipe)};
    if (!memory.shadow.read(begin, end, who, conflict))
      fail_race(which, id, conflict.pipe, conflict.number, conflict.write,
                format("byte %llu of %s", (unsigned long long)conflict.address, name_of(operand.memory)));
  }
  return memory.bytes.data() + begin;
}

uint8_t* Core::read(const Operand& operand, uint64_t address, uint64_t bytes, const char* which) {
  uint8_t* data = touch(operand, address, bytes, which);
  if (operand.memory == Memory::GM) return data;
  const uint32_t begin = static_cast<uint32_t>(address), end = static_cast<uint32_t>(address + bytes);
  const uint32_t bad = memory(operand.memory).shadow.first_unwritten(begin, end);
  if (bad != end)
    fail("uninitialised", format("byte %u of %s was never written", bad, name_of(operand.memory)), which);
  return data;
}

uint8_t* Core::read_edges(const Operand& operand, uint64_t address, uint64_t bytes, const char* which,
                          bool* complete) {
  uint8_t* data = touch(operand, address, bytes, which);
  const uint32_t begin = static_cast<uint32_t>(address), end = static_cast<uint32_t>(address + bytes);
  *complete =
      operand.memory == Memory::GM || memory(operand.memory).shadow.first_unwritten(begin, end) == end;
  return data;
}

void Core::check_dirty(const Region& region, uint64_t address, uint64_t bytes, const char* which) {
  for (uint64_t line = address / 64; line <= (address + bytes - 1) / 64; ++line) {
    const auto found = machine.dirty_lines.find(line);
    if (found == machine.dirty_lines.end()) continue;
    for (auto [owner, mask] : found->second) {
      if (pipe == Pipe::S && owner == id) continue;
      for (uint64_t at = std::max(address, line * 64); at < std::min(address + bytes, (line + 1) * 64); ++at)
        if (mask >> (at % 64) & 1)
          fail("stale_read",
               format(
                   "byte %llu of %s was written by the scalar pipe of core %s and is still in its data cache",
                   (unsigned long long)(at - region.base), region.name.c_str(),
                   machine.cores[static_cast<size_t>(owner)]->name.c_str()),
               which);
    }
  }
}

uint8_t* Core::write(const Operand& operand, uint64_t address, uint64_t bytes, const char* which) {
  in_bounds(operand, address, bytes, which);
  PipeState& state = this->state(pipe);
  machine.report.bytes[static_cast<int>(operand.memory)] += bytes;
  if (operand.memory == Memory::GM) {
    Region& region = *machine.gm.find(address);
    region.written = true;
    const uint64_t at = address - region.base;
    ++machine.moment;
    if (machine.options.races) {
      GmConflict conflict;
      const GmAccess kind = atomic && pipe != Pipe::S ? GmAccess::Atomic : GmAccess::Write;
      const GmAccessor who{id, pipe, state.last, &state.known, pipe != Pipe::MTE3};
      if (!region.shadow->access(kind, at, at + bytes, who, machine.moment, conflict))
        fail_race(which, conflict.other.core(), conflict.other.pipe(), conflict.other.number(),
                  conflict.write,
                  format("byte %llu of %s", (unsigned long long)conflict.offset, region.name.c_str()));
    }
    return reinterpret_cast<uint8_t*>(address);
  }
  LocalMemory& memory = local(operand.memory);
  const uint32_t begin = static_cast<uint32_t>(address), end = static_cast<uint32_t>(address + bytes);
  if (machine.options.races) {
    Conflict conflict;
    const Accessor who{pipe, state.last, &state.known.own, !strict(*this, pipe)};
    if (!memory.shadow.write(begin, end, who, conflict))
      fail_race(which, id, conflict.pipe, conflict.number, conflict.write,
                format("byte %llu of %s", (unsigned long long)conflict.address, name_of(operand.memory)));
  }
  memory.shadow.mark_written(begin, end);
  memory.peak = std::max<uint64_t>(memory.peak, end);
  return memory.bytes.data() + begin;
}

void Core::occupy(const Instruction& instruction) {
  PipeState& state = this->state(pipe);
  const Cost cost = cost_of(instruction);
  // A pipe fills while the instruction before still runs: only what started late shows its latency.
  const double ready = std::max(state.ready, state.issued_at);
  const double start = std::max(state.time, state.issued_at);
  double end = std::max(start, ready + cost.fill) + cost.cycles;
  if (cost.l2_bytes > 0) {
    // Shared bandwidth can only make it slower than it would be alone.
    end = std::max(end, machine.l2_ledger->book(start, cost.l2_bytes, cost.l2_bytes / (end - start)));
    if (cost.hbm_bytes > 0)
      end = std::max(end, machine.hbm_ledger->book(start, cost.hbm_bytes, cost.hbm_bytes / (end - start)));
    machine.report.hbm_bytes += instruction.missed;
    machine.report.l2_bytes += instruction.bytes - std::min(instruction.bytes, instruction.missed);
  }
  end = std::max(end, state.floor);
  state.floor = 0;
  state.started = start;
  state.time = end;
  state.busy += end - start;
  if (!state.starts.empty()) state.starts[state.count % state.starts.size()] = start;
  ++state.count;
  machine.report.repeats += static_cast<uint64_t>(instruction.repeats);
  if (machine.options.trace) machine.trace.push_back({id, pipe, start, end, site, instruction.bytes});
  if (cost.l2_bytes > 0) machine.maybe_yield(*this, end);
}

// ---- failure ----

void Core::take_unit_flag(uint64_t address) {
  const auto found = unit_flags.find(address);
  if (found == unit_flags.end()) return;
  PipeState& state = this->state(pipe);
  state.known.learn(found->second.known);
  // Fixpipe follows Mmad in steps of 512 bytes, and the next Mmad Fixpipe: the two overlap.
  state.wait_until(found->second.start);
  state.floor = std::max(state.floor, found->second.end);
}

void Core::give_unit_flag(uint64_t address) {
  const PipeState& state = this->state(pipe);
  UnitFlag flag{state.known, state.started, state.time};
  flag.known.own[static_cast<int>(pipe)] = state.last;
  unit_flags[address] = flag;
}

void Core::need(CoreKind wanted) {
  if (kind == wanted) return;
  fail("core_type", wanted == CoreKind::Cube
                        ? "a cube instruction on a vector core; declare a task type with cube cores and "
                          "branch on ASCEND_IS_AIC"
                        : "a vector instruction on a cube core; branch on ASCEND_IS_AIV");
}

Party Core::party(Pipe p, uint32_t instruction) const {
  const SiteRecord& record = machine.site(sites[instruction]);
  return {name, name_of(p), record.api, record.file, "", record.line};
}

void Core::fail(const char* kind, const std::string& detail, const char* operand) {
  Error error;
  error.kind = kind;
  error.kernel = machine.kernel;
  error.core = name;
  error.block = block;
  error.pipe = name_of(pipe);
  error.instruction = call.api ? call.api : "";
  error.operand = operand;
  error.file = call.site.file ? call.site.file : "";
  error.line = call.site.line;
  error.detail = detail;
  throw error;
}

void Core::fail_race(const char* which, int other_core, Pipe other_pipe, uint32_t other_number,
                     bool other_write, const std::string& where) {
  Error error;
  try {
    fail("race",
         where + " is also " + (other_write ? "written" : "read") +
             " by another instruction, and nothing orders the two",
         which);
  } catch (Error& made) {
    error = made;
  }
  error.other = machine.cores[static_cast<size_t>(other_core)]->party(other_pipe, other_number);
  throw error;
}

}  // namespace ascend_sim
