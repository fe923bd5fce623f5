#include "machine.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace ascend_sim {
namespace {
Core* running = nullptr;
Machine* active = nullptr;
}  // namespace

Core& current() {
  if (!running) {
    Error error;
    error.kind = "unsupported";
    error.detail = "an AscendC call outside a kernel launch";
    throw error;
  }
  return *running;
}

Machine*& active_machine() {
  return active;
}

double Ledger::book(double start, double bytes, double rate) {
  double now = start;
  for (size_t slice = static_cast<size_t>(start / kSlice); bytes > 0; ++slice) {
    if (slice >= used_.size()) used_.resize(slice + slice / 2 + 64, 0);
    const double end = static_cast<double>(slice + 1) * kSlice;
    const double take = std::min({bytes, capacity_ - used_[slice], rate * (end - now)});
    if (take > 0) {
      used_[slice] += take;
      bytes -= take;
    }
    now = bytes > 0 ? end : now + take / rate;
  }
  return now;
}

Machine::Machine(const qwen_vl_npu_ops::Chip& chip, const Options& options)
    : chip(chip), options(options), l2(chip.l2) {
  sites.push_back({});
}

uint32_t Machine::site_of(const Call& call) {
  const SiteKey key{call.site.file, call.api, call.site.line};
  if (key == last_key_) return last_site_;
  const auto found = site_index_.find(key);
  last_key_ = key;
  return last_site_ = found != site_index_.end() ? found->second : site_index_[key] = add_site(call);
}

uint32_t Machine::add_site(const Call& call) {
  // The same literal may live at several addresses; names decide.
  const std::string file = call.site.file ? call.site.file : "";
  for (uint32_t i = 1; i < sites.size(); ++i)
    if (sites[i].line == call.site.line && sites[i].api == call.api && sites[i].file == file) return i;
  SiteRecord record{file, call.site.line, call.api, 0, {}};
  for (size_t i = 0; i < faults.size(); ++i) {
    const Fault& fault = faults[i];
    const bool same_file = file == fault.file || (file.size() > fault.file.size() &&
                                                  file.compare(file.size() - fault.file.size() - 1,
                                                               std::string::npos, "/" + fault.file) == 0);
    if (same_file && fault.line == record.line && (fault.api.empty() || fault.api == record.api))
      record.faults.push_back(static_cast<int>(i));
  }
  sites.push_back(std::move(record));
  return static_cast<uint32_t>(sites.size() - 1);
}

Core& Machine::core_of(int block, CoreKind kind, int sub) {
  const int per_block = type.cube + type.vector;
  return *cores[static_cast<size_t>(block * per_block + (kind == CoreKind::Cube ? 0 : type.cube + sub))];
}

void Machine::launch(const std::string& name, TaskType task, int64_t block_count,
                     const std::function<void()>& body) {
  if (running) {
    running->fail("unsupported", "a launch inside a kernel");
  }
  kernel = name;
  type = task;
  blocks = block_count;
  moment = 0;
  report = {};
  report.kernel = name;
  pending_.clear();
  dirty_lines.clear();
  failure_.reset();
  other_failure_ = nullptr;
  cores.clear();
  trace.clear();
  flows.clear();
  if (options.l2 != L2State::Kept) l2.clear();
  for (auto& [base, region] : gm.regions()) {
    region.shadow = std::make_unique<GmShadow>(region.bytes);
    region.written = false;
    // Warm: as after a launch that wrote every argument, so that neither reading nor writing one costs HBM
    // traffic.
    if (options.l2 == L2State::Warm && region.bytes) l2.write(region.base, region.base + region.bytes);
  }
  hbm_ledger = std::make_unique<Ledger>(chip.hbm_achieved_gbps * 1e3 / chip.mhz);
  l2_ledger = std::make_unique<Ledger>(chip.l2_gbps * 1e3 / chip.mhz);
  cores.resize(static_cast<size_t>(blocks * (type.cube + type.vector)));
  run(body);
  close_report();
}

void Machine::start(Core& core, const std::function<void()>& body) {
  core.fiber = std::make_unique<Fiber>([this, &core, &body] {
    try {
      body();
      core.finish();
    } catch (const Error& error) {
      failure_ = std::make_unique<Error>(error);
    } catch (...) {
      other_failure_ = std::current_exception();
    }
  });
}

Core* Machine::next_runnable() {
  Core* best = nullptr;
  for (auto& core : cores) {
    if (!core || !core->fiber || core->waiting == Waiting::Done || core->waiting == Waiting::Stuck) continue;
    if (core->waiting == Waiting::CrossFlag && core->cross[core->waited_flag].empty()) continue;
    if (!best || core->schedule_time < best->schedule_time) best = core.get();
  }
  return best;
}

void Machine::run(const std::function<void()>& body) {
  const int per_block = type.cube + type.vector;
  const int64_t slots = type.cube ? chip.cube_cores : chip.vector_cores;
  int64_t next_block = 0;
  const auto start_block = [&](double time) {
    for (int i = 0; i < per_block; ++i) {
      const size_t index = static_cast<size_t>(next_block * per_block + i);
      const bool cube = i < type.cube;
      cores[index] =
          std::make_unique<Core>(*this, static_cast<int>(index), cube ? CoreKind::Cube : CoreKind::Vector,
                                 static_cast<int>(next_block), cube ? i : i - type.cube);
      Core& core = *cores[index];
      for (PipeState& pipe : core.pipes) pipe.time = time;
      core.schedule_time = time;
      start(core, body);
    }
    ++next_block;
  };
  while (next_block < std::min(slots, blocks)) start_block(0);
  while (Core* core = next_runnable()) {
    running = core;
    core->fiber->resume();
    running = nullptr;
    if (failure_) throw Error(*failure_);
    if (other_failure_) std::rethrow_exception(other_failure_);
    if (core->waiting != Waiting::Done) continue;
    core->fiber.reset();
    core->release_memory();
    bool block_done = true;
    double time = 0;
    for (int i = 0; i < per_block; ++i) {
      const Core& member = *cores[static_cast<size_t>(core->block * per_block + i)];
      block_done = block_done && member.waiting == Waiting::Done;
      time = std::max(time, member.pipes[0].time);
    }
    if (block_done && next_block < blocks) start_block(time);
  }
  for (auto& core : cores)
    if (!core || core->waiting != Waiting::Done) deadlock();
  check_leftovers();
}

void Machine::deadlock() {
  Error error;
  error.kind = "deadlock";
  error.kernel = kernel;
  error.detail = "no core can go on";
  for (auto& core : cores) {
    if (!core) {
      error.detail += "; blocks beyond the chip's cores wait for a free one";
      break;
    }
    if (core->waiting == Waiting::Done) continue;
    Party party{
        core->name,
        "S",
        core->waited_call.api,
        core->waited_call.site.file ? core->waited_call.site.file : "",
        core->waiting == Waiting::Stuck ? core->waited_text : format("cross-core flag %u", core->waited_flag),
        core->waited_call.site.line};
    error.waiting.push_back(party);
    for (int p = 0; p < kPipes; ++p) {
      if (core->pipes[p].held.empty()) continue;
      const Held& held = core->pipes[p].held.front();
      error.waiting.push_back({core->name, name_of(static_cast<Pipe>(p)), held.call.api,
                               held.call.site.file ? held.call.site.file : "", held.reason,
                               held.call.site.line});
    }
  }
  if (!error.waiting.empty()) {
    // The most telling place: a pipe that waits for an event, else the first core that waits.
    const Party* first = &error.waiting.front();
    for (const Party& party : error.waiting)
      if (party.pipe != "S") {
        first = &party;
        break;
      }
    error.core = first->core;
    error.pipe = first->pipe;
    error.instruction = first->instruction;
    error.file = first->file;
    error.line = first->line;
  }
  throw error;
}

void Machine::check_leftovers() {
  for (auto& owned : cores) {
    Core& core = *owned;
    for (uint32_t flag = 0; flag < 16; ++flag)
      if (!core.cross[flag].empty()) {
        core.call = core.cross[flag].front().call;
        core.pipe = Pipe::S;
        core.fail("flag", format("cross-core flag %u is set %zu more times than core %s waits for it", flag,
                                 core.cross[flag].size(), core.name.c_str()));
      }
  }
  for (auto& [key, members] : pending_)
    for (auto& [member, messages] : members)
      if (!messages.empty()) {
        Core& core = *cores[static_cast<size_t>(member)];
        core.call = messages.front().call;
        core.pipe = Pipe::S;
        core.fail(
            "flag",
            format("cross-core flag %u of mode %d is set by this core but not by all others of its group",
                   key.first, key.second / 65536));
      }
}

void Machine::close_report() {
  for (auto& core : cores) {
    double time = 0;
    for (int p = 0; p < kPipes; ++p) {
      time = std::max(time, core->pipes[p].time);
      report.busy[static_cast<int>(core->kind)][p] += core->pipes[p].busy;
    }
    report.cycles = std::max(report.cycles, time);
    report.cores.emplace_back(core->name, time);
    for (int m = 0; m < static_cast<int>(Memory::Count); ++m)
      report.peak[m] = std::max(report.peak[m], core->memories[m].peak);
    ++(core->kind == CoreKind::Cube ? report.cube_cores : report.vector_cores);
  }
  reports.push_back(report);
}

void Machine::maybe_yield(Core& core, double time) {
  // Cores that share bandwidth stay within a quantum of each other, so that none books all of it first.
  constexpr double kQuantum = 512;
  core.schedule_time = time;
  for (auto& other : cores)
    if (other && other->fiber && other.get() != &core && other->waiting == Waiting::No &&
        other->schedule_time + kQuantum < time) {
      core.fiber->yield();
      return;
    }
}

}  // namespace ascend_sim
