// Events between the pipes of a core, barriers, and flags between cores.
#include "sync.h"

#include <stdexcept>

#include "machine.h"

namespace ascend_sim {
namespace {

bool on_core(CoreKind kind, Pipe pipe) {
  if (kind == CoreKind::Cube) return pipe != Pipe::V;
  return pipe != Pipe::M && pipe != Pipe::MTE1 && pipe != Pipe::FIX;
}

// What the pipe that runs now can vouch for: all it knows, and its own instructions up to this one.
Knowledge vouch(const Core& core) {
  const PipeState& state = core.pipes[static_cast<int>(core.pipe)];
  Knowledge known = state.known;
  known.own[static_cast<int>(core.pipe)] = state.last;
  return known;
}

// Returns where the trace has it.
uint32_t spend_flag(Core& core) {
  Instruction instruction;
  instruction.work = Work::Flag;
  instruction.pipe = core.pipe;
  core.occupy(instruction);
  return static_cast<uint32_t>(core.machine.trace.size() - 1);
}

// Draws the arrow, and shows the cycle of the wait where it ends instead of where it begins to idle.
void trace_flow(Core& core, uint32_t set, uint32_t wait) {
  Machine& machine = core.machine;
  if (!machine.options.trace) return;
  machine.flows.push_back({set, wait});
  TraceEvent& event = machine.trace[wait];
  const double idle = std::max(0.0, core.state(event.pipe).time - event.end);
  event.start += idle;
  event.end += idle;
}

bool take_event(Core& core, Pipe from, Pipe to, int id, uint32_t wait) {
  Event& event = core.events[static_cast<int>(from)][static_cast<int>(to)][id];
  if (!event.set) return false;
  event.set = false;
  const double time = event.time + cost::kFlagLatency;
  if (to == Pipe::S) {
    core.learn(event.known, time);
  } else {
    core.state(to).known.learn(event.known);
    core.state(to).wait_until(time);
  }
  trace_flow(core, event.trace, wait);
  return true;
}

std::string event_name(Pipe from, Pipe to, int id) {
  return format("event %d from %s to %s", id, name_of(from), name_of(to));
}

// How a fault changes a synchronisation.
struct Plan {
  bool drop = false, delay = false;
};

Plan plan(const Fault* fault, int64_t* id, Pipe* pipe) {
  Plan result;
  if (!fault) return result;
  switch (fault->kind) {
    case FaultKind::Drop:
      result.drop = true;
      return result;
    case FaultKind::Delay:
      result.delay = true;
      return result;
    case FaultKind::Event:
      if (id) return *id += fault->amount, result;
      break;
    case FaultKind::Pipe:
      if (pipe) return *pipe = fault->pipe, result;
      break;
    default:
      break;
  }
  throw std::invalid_argument(std::string("fault kind ") + name_of(fault->kind) + " does not apply to " +
                              fault->api + " at " + fault->file + ":" + std::to_string(fault->line));
}

void check_event(Core& core, Pipe from, Pipe to, int64_t id) {
  if (id < 0 || id > 7) core.fail("event", format("event id %lld is outside 0 to 7", (long long)id));
  for (Pipe pipe : {from, to})
    if (!on_core(core.kind, pipe)) core.fail("core_type", format("this core has no pipe %s", name_of(pipe)));
}

// On a cube core CANN's SetFlag and WaitFlag return at once for events of the vector pipe.
bool ignored(const Core& core, Pipe from, Pipe to) {
  return core.kind == CoreKind::Cube && (from == Pipe::V || to == Pipe::V);
}

}  // namespace

void raw_set_flag(Core& core, Pipe from, Pipe to, int64_t id, const Call& call, Pipe where) {
  if (ignored(core, from, to)) return;
  core.pipe = from;
  check_event(core, from, to, id);
  core.issue(where, call, [&core, from, to, id, call] {
    Event& event = core.events[static_cast<int>(from)][static_cast<int>(to)][id];
    if (event.set)
      core.fail("event",
                event_name(from, to, static_cast<int>(id)) + " is set already and nothing has waited for it");
    const uint32_t trace = spend_flag(core);
    event = {true, core.pipes[static_cast<int>(core.pipe)].time, vouch(core), call, trace};
    if (to != Pipe::S) core.drain(to);
  });
}

void raw_wait_flag(Core& core, Pipe from, Pipe to, int64_t id, const Call& call) {
  if (ignored(core, from, to)) return;
  core.pipe = to;
  check_event(core, from, to, id);
  core.issue(to, call, [&core, from, to, id, call] {
    const uint32_t trace = spend_flag(core);
    if (take_event(core, from, to, static_cast<int>(id), trace)) return;
    const std::string reason = event_name(from, to, static_cast<int>(id));
    if (to == Pipe::S) core.stuck(reason, call);
    core.hold_until(to, call, reason, [&core, from, to, id, trace] {
      return take_event(core, from, to, static_cast<int>(id), trace);
    });
  });
}

void raw_pipe_barrier(Core& core, Pipe pipe, const Call& call) {
  if (!on_core(core.kind, pipe)) return;  // as CANN: a barrier of a pipe the core does not have does nothing
  core.issue(pipe, call, [&core, pipe] {
    spend_flag(core);
    PipeState& state = core.state(pipe);
    state.known.own[static_cast<int>(pipe)] = state.last;
  });
}

void raw_barrier_all(Core& core, const Call& call) {
  core.wait_for_pipes(call);
  core.issue(Pipe::S, call, [&core] {
    spend_flag(core);
    Knowledge all;
    for (int p = 0; p < kPipes; ++p) {
      all.learn(core.pipes[p].known);
      all.own[p] = core.pipes[p].last;
    }
    for (PipeState& state : core.pipes) {
      state.known.learn(all);
      state.wait_until(core.state(Pipe::S).time);
    }
    ++core.issue_version;
  });
}

void raw_cross_set(Core& core, int mode, Pipe pipe, int64_t flag, const Call& call) {
  Machine& machine = core.machine;
  core.pipe = pipe;
  if (!machine.type.synchronises)
    core.fail(
        "flag",
        "cross-core flags need a MIX task type (KERNEL_TASK_TYPE_DEFAULT or __mix__): this kernel's is not");
  if (mode < 0 || mode > 2)
    core.fail("flag", format("mode %d does not exist on this chip, modes are 0, 1 and 2", mode));
  if (flag < 0 || flag > 15) core.fail("flag", format("flag id %lld is outside 0 to 15", (long long)flag));
  if (mode > 0 && !(machine.type.cube && machine.type.vector))
    core.fail("flag", format("mode %d needs a task type with cube and vector cores", mode));
  if (mode == 1 && core.kind == CoreKind::Cube)
    core.fail("flag", "mode 1 joins the vector cores of a block, this is a cube core");
  if (pipe == Pipe::S) core.fail("flag", "PIPE_S cannot set cross-core flags");
  if (!on_core(core.kind, pipe)) core.fail("core_type", format("this core has no pipe %s", name_of(pipe)));
  core.issue(pipe, call, [&core, &machine, mode, flag, call] {
    const uint32_t trace = spend_flag(core);
    // Waiters on other cores learn this core's clocks as one row of what is known of foreign cores.
    Knowledge known = vouch(core);
    auto rows = known.foreign ? std::make_shared<std::vector<LocalClock>>(*known.foreign)
                              : std::make_shared<std::vector<LocalClock>>(machine.cores.size());
    join((*rows)[static_cast<size_t>(core.id)], known.own);
    CrossMessage message{
        call, core.pipes[static_cast<int>(core.pipe)].time + cost::kCrossCore, {LocalClock{}, rows}, trace};
    machine.collect_flag(core, mode, static_cast<uint32_t>(flag), std::move(message));
  });
}

void raw_cross_wait(Core& core, int64_t flag, const Call& call) {
  core.pipe = Pipe::S;
  if (!core.machine.type.synchronises)
    core.fail(
        "flag",
        "cross-core flags need a MIX task type (KERNEL_TASK_TYPE_DEFAULT or __mix__): this kernel's is not");
  if (flag < 0 || flag > 15) core.fail("flag", format("flag id %lld is outside 0 to 15", (long long)flag));
  core.issue(Pipe::S, call, [&core, flag, call] {
    const uint32_t trace = spend_flag(core);
    std::deque<CrossMessage>& messages = core.cross[flag];
    core.waited_flag = static_cast<uint32_t>(flag);
    core.waited_call = call;
    while (messages.empty()) {
      core.waiting = Waiting::CrossFlag;
      core.schedule_time = core.state(Pipe::S).time;
      core.fiber->yield();
    }
    core.waiting = Waiting::No;
    Knowledge known = messages.front().known;
    known.own = (*known.foreign)[static_cast<size_t>(core.id)];  // what the others know of this core
    core.learn(known, messages.front().time);
    core.schedule_time = core.state(Pipe::S).time;
    trace_flow(core, messages.front().trace, trace);
    messages.pop_front();
  });
}

void Machine::collect_flag(Core& from, int mode, uint32_t flag, CrossMessage message) {
  const auto deliver = [&](Core& to, const CrossMessage& joined) {
    to.cross[flag].push_back(joined);
    if (to.cross[flag].size() > 15)
      from.fail("flag",
                format("the counter of cross-core flag %u of core %s exceeds 15", flag, to.name.c_str()));
  };
  if (mode == 2 && from.kind == CoreKind::Cube) {
    for (int sub = 0; sub < type.vector; ++sub) deliver(core_of(from.block, CoreKind::Vector, sub), message);
    return;
  }
  std::vector<Core*> members;
  bool complete = true;
  for (auto& core : cores) {
    complete = complete && core;  // a block that has not started yet does not set its flag
    if (core && core->kind == from.kind && (mode == 0 || core->block == from.block))
      members.push_back(core.get());
  }
  const int group = mode * 65536 + (mode == 0 ? static_cast<int>(from.kind) : from.block);
  auto& waiting = pending_[{flag, group}];
  waiting[from.id].push_back(std::move(message));
  if (waiting[from.id].size() > 15)
    from.fail("flag",
              format("cross-core flag %u is set 16 times before the others of the group set it", flag));
  if (mode == 0 && !complete) return;
  for (Core* member : members)
    if (waiting[member->id].empty()) return;
  CrossMessage joined{from.call, 0, {}};
  for (Core* member : members) {
    CrossMessage& part = waiting[member->id].front();
    if (part.time >= joined.time) joined.time = part.time, joined.trace = part.trace;
    joined.known.learn(part.known);
    waiting[member->id].pop_front();
  }
  if (mode == 2)
    deliver(core_of(from.block, CoreKind::Cube, 0), joined);
  else
    for (Core* member : members) deliver(*member, joined);
}

// ---- the calls of the headers ----

void set_flag(Pipe from, Pipe to, int64_t event, const Call& call) {
  Core& core = current();
  Pipe where = from;
  const Plan todo = plan(core.visit(call), &event, &where);
  if (todo.drop) return;
  if (todo.delay)
    return core.defer(from,
                      [&core, from, to, event, call] { raw_set_flag(core, from, to, event, call, from); });
  raw_set_flag(core, from, to, event, call, where);
}

void wait_flag(Pipe from, Pipe to, int64_t event, const Call& call) {
  Core& core = current();
  const Plan todo = plan(core.visit(call), &event, nullptr);
  if (todo.drop) return;
  if (todo.delay)
    return core.defer(to, [&core, from, to, event, call] { raw_wait_flag(core, from, to, event, call); });
  raw_wait_flag(core, from, to, event, call);
}

void pipe_barrier(Pipe pipe, const Call& call) {
  Core& core = current();
  const Plan todo = plan(core.visit(call), nullptr, &pipe);
  if (todo.drop) return;
  if (pipe == Pipe::S)
    core.fail("unsupported", "PipeBarrier<PIPE_S> does not exist: the scalar pipe orders itself");
  if (todo.delay) return core.defer(pipe, [&core, pipe, call] { raw_pipe_barrier(core, pipe, call); });
  raw_pipe_barrier(core, pipe, call);
}

void barrier_all(const Call& call) {
  Core& core = current();
  const Plan todo = plan(core.visit(call), nullptr, nullptr);
  if (todo.drop) return;
  // All pipes take part: moved, it comes after the next instruction of whichever pipe is next.
  if (todo.delay) return core.defer_any([&core, call] { raw_barrier_all(core, call); });
  raw_barrier_all(core, call);
}

void cross_core_set(int mode, Pipe pipe, uint32_t flag, const Call& call) {
  Core& core = current();
  int64_t id = flag;
  const Plan todo = plan(core.visit(call), &id, &pipe);
  if (todo.drop) return;
  if (todo.delay)
    return core.defer(pipe, [&core, mode, pipe, id, call] { raw_cross_set(core, mode, pipe, id, call); });
  raw_cross_set(core, mode, pipe, id, call);
}

void cross_core_wait(uint32_t flag, const Call& call) {
  Core& core = current();
  int64_t id = flag;
  const Plan todo = plan(core.visit(call), &id, nullptr);
  if (todo.drop) return;
  if (todo.delay) return core.defer_any([&core, id, call] { raw_cross_wait(core, id, call); });
  raw_cross_wait(core, id, call);
}

void sync_all(bool vector_only, const Call& call) {
  Core& core = current();
  const Plan todo = plan(core.visit(call), nullptr, nullptr);
  if (todo.drop) return;
  if (todo.delay) return core.defer_any([vector_only, call] { sync_all_now(vector_only, call); });
  sync_all_now(vector_only, call);
}

void sync_all_now(bool vector_only, const Call& call) {
  // The flags CANN reserves for SyncAll are 11 to 14.
  constexpr int kAllCubes = 11, kVectorsDone = 12, kCubesDone = 13, kAllVectors = 14;
  Core& core = current();
  const bool cube = core.kind == CoreKind::Cube;
  if (vector_only && cube) return;
  raw_barrier_all(core, call);
  if (!cube) {
    raw_cross_set(core, 0, Pipe::MTE3, kAllVectors, call);
    raw_cross_wait(core, kAllVectors, call);
    if (vector_only) return;
    raw_cross_set(core, 2, Pipe::MTE3, kVectorsDone, call);
    raw_cross_wait(core, kCubesDone, call);
  } else {
    raw_cross_wait(core, kVectorsDone, call);
    raw_cross_set(core, 0, Pipe::FIX, kAllCubes, call);
    raw_cross_wait(core, kAllCubes, call);
    raw_cross_set(core, 2, Pipe::FIX, kCubesDone, call);
  }
}

}  // namespace ascend_sim
