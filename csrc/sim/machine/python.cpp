// The Python module: devices, libraries, launches. sim.py wraps it.
#include <pybind11/functional.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstring>

#include "cost.h"
#include "library.h"
#include "machine.h"

namespace py = pybind11;

namespace ascend_sim {
namespace {

py::object error_type;  // sim.SimulatorError, called with the fields of an Error

py::dict to_dict(const Party& party) {
  py::dict result;
  result["core"] = party.core;
  result["pipe"] = party.pipe;
  result["instruction"] = party.instruction;
  result["file"] = party.file;
  result["line"] = party.line;
  if (!party.waits_for.empty()) result["waits_for"] = party.waits_for;
  return result;
}

void raise(const Error& error) {
  const auto text = [](const std::string& value) -> py::object {
    return value.empty() ? py::object(py::none()) : py::object(py::str(value));
  };
  py::list waiting;
  for (const Party& party : error.waiting) waiting.append(to_dict(party));
  py::dict fields;
  fields["kind"] = error.kind;
  fields["kernel"] = error.kernel;
  fields["core"] = text(error.core);
  fields["block"] = error.block < 0 ? py::object(py::none()) : py::object(py::int_(error.block));
  fields["pipe"] = text(error.pipe);
  fields["instruction"] = text(error.instruction);
  fields["operand"] = text(error.operand);
  fields["file"] = text(error.file);
  fields["line"] = error.file.empty() ? py::object(py::none()) : py::object(py::int_(error.line));
  fields["other"] =
      error.other.instruction.empty() ? py::object(py::none()) : py::object(to_dict(error.other));
  fields["waiting"] = waiting;
  fields["message"] = std::string(error.what());
  PyErr_SetObject(error_type.ptr(), error_type(**fields).ptr());
}

// Makes a machine the one that kernels launch on, for a scope.
struct Activation {
  explicit Activation(Machine& machine) : before(active_machine()) { active_machine() = &machine; }
  ~Activation() { active_machine() = before; }
  Machine* before;
};

void call(Machine& machine, const Entry& entry, int64_t blocks, const std::vector<std::string>& arguments) {
  if (arguments.size() != entry.count)
    throw std::invalid_argument(std::string(entry.name) + ": wrong number of arguments");
  // Aligned as any parameter may need.
  std::vector<std::vector<std::max_align_t>> storage;
  std::vector<void*> pointers;
  for (const std::string& argument : arguments) {
    storage.emplace_back(argument.size() / sizeof(std::max_align_t) + 1);
    std::memcpy(storage.back().data(), argument.data(), argument.size());
    pointers.push_back(storage.back().data());
  }
  Activation active(machine);
  if (entry.launcher)
    entry.call(pointers.data());
  else
    launch({entry.name, entry.task_type, blocks, [&] { entry.call(pointers.data()); }}, nullptr);
}

py::dict to_dict(const Machine& machine, const Report& report) {
  const double cycles = report.cycles;
  py::dict busy, busy_by_core, bytes, peak, cores;
  // More blocks than cores take turns on them.
  const int counts[] = {std::min(report.cube_cores, machine.chip.cube_cores),
                        std::min(report.vector_cores, machine.chip.vector_cores)};
  const bool on_core[2][kPipes] = {{true, false, true, true, true, true, true},
                                   {true, true, false, false, true, true, false}};  // in the order of Pipe
  for (int p = 0; p < kPipes; ++p) {
    double total = 0;
    int count = 0;
    for (int kind = 0; kind < 2; ++kind) {
      if (!counts[kind] || !on_core[kind][p]) continue;
      const char* name = kind == 0 ? "aic" : "aiv";
      if (!busy_by_core.contains(name)) busy_by_core[name] = py::dict();
      const double share = cycles > 0 ? report.busy[kind][p] / (cycles * counts[kind]) : 0.0;
      busy_by_core[name][name_of(static_cast<Pipe>(p))] = share;
      total += report.busy[kind][p];
      count += counts[kind];
    }
    if (count) busy[name_of(static_cast<Pipe>(p))] = cycles > 0 ? total / (cycles * count) : 0.0;
  }
  for (int m = 0; m < static_cast<int>(Memory::Count); ++m) {
    const char* name = name_of(static_cast<Memory>(m));
    std::string key = name;
    for (char& c : key) c = static_cast<char>(std::tolower(c));
    if (m != static_cast<int>(Memory::GM)) {
      bytes[key.c_str()] = report.bytes[m];
      peak[key.c_str()] = report.peak[m];
    }
  }
  bytes["gm"] = report.bytes[0];
  bytes["hbm"] = report.hbm_bytes;
  bytes["l2"] = report.l2_bytes;
  for (const auto& [name, time] : report.cores) cores[name.c_str()] = time;
  py::dict result;
  result["kernel"] = report.kernel;
  result["cycles"] = cycles;
  result["time_us"] = machine.chip.cycles_to_us(cycles);
  result["launch_us"] = cost::kLaunchUs;
  result["busy"] = busy;
  result["busy_by_core"] = busy_by_core;
  result["bytes"] = bytes;
  result["peak_bytes"] = peak;
  result["cores"] = cores;
  result["instructions"] = report.instructions;
  result["repeats"] = report.repeats;
  return result;
}

py::dict to_dict(const qwen_vl_npu_ops::Chip& chip) {
  py::dict result;
  result["name"] = chip.name;
  result["cube_cores"] = chip.cube_cores;
  result["vector_cores"] = chip.vector_cores;
  result["mhz"] = chip.mhz;
  result["ub"] = chip.ub;
  result["l1"] = chip.l1;
  result["l0a"] = chip.l0a;
  result["l0b"] = chip.l0b;
  result["l0c"] = chip.l0c;
  result["bias_table"] = chip.bias_table;
  result["fixpipe_buffer"] = chip.fixpipe_buffer;
  result["l2"] = chip.l2;
  result["hbm_gbps"] = chip.hbm_gbps;
  result["hbm_achieved_gbps"] = chip.hbm_achieved_gbps;
  result["l2_gbps"] = chip.l2_gbps;
  return result;
}

L2State l2_state(const std::string& name) {
  if (name == "cold") return L2State::Cold;
  if (name == "warm") return L2State::Warm;
  if (name == "kept") return L2State::Kept;
  throw std::invalid_argument("unknown state of L2 " + name);
}

const qwen_vl_npu_ops::Chip& chip_named(const std::string& name) {
  const qwen_vl_npu_ops::Chip* chip = qwen_vl_npu_ops::find_chip(name.c_str());
  if (!chip) throw std::invalid_argument("unknown chip " + name);
  return *chip;
}

py::list trace_of(const Machine& machine) {
  py::list events;
  for (const TraceEvent& event : machine.trace) {
    const SiteRecord& site = machine.site(event.site);
    events.append(py::make_tuple(machine.cores[static_cast<size_t>(event.core)]->name, name_of(event.pipe),
                                 event.start, event.end, site.api, site.file, site.line, event.bytes));
  }
  return events;
}

py::list flows_of(const Machine& machine) {
  py::list flows;
  for (const TraceFlow& flow : machine.flows) flows.append(py::make_tuple(flow.set, flow.wait));
  return flows;
}

}  // namespace
}  // namespace ascend_sim

PYBIND11_MODULE(_sim, module) {
  using namespace ascend_sim;
  module.doc() = "The simulated Ascend 910B.";
  module.def("set_error_type", [](py::object type) { error_type = std::move(type); });
  module.add_object("_cleanup", py::capsule([] { error_type.release(); }));
  py::register_exception_translator([](std::exception_ptr pointer) {
    try {
      if (pointer) std::rethrow_exception(pointer);
    } catch (const Error& error) {
      raise(error);
    }
  });

  py::class_<Entry>(module, "Entry")
      .def_property_readonly("name", [](const Entry& entry) { return std::string(entry.name); })
      .def_readonly("launcher", &Entry::launcher)
      .def_property_readonly("parameters", [](const Entry& entry) {
        std::vector<std::pair<std::string, uint32_t>> result;
        for (size_t i = 0; i < entry.count; ++i)
          result.emplace_back(std::string(1, entry.parameters[i].kind), entry.parameters[i].size);
        return result;
      });
  module.def("load_library", &load_library);

  module.def("chips", [] {
    std::vector<std::string> names;
    for (const auto& chip : qwen_vl_npu_ops::all_chips()) names.emplace_back(chip.name);
    return names;
  });

  module.def("chip", [](const std::string& name) { return to_dict(chip_named(name)); });

  py::class_<Machine>(module, "Machine")
      .def(py::init([](const std::string& chip, const std::string& l2, bool auto_sync, bool races,
                       bool trace) {
        return std::make_unique<Machine>(chip_named(chip), Options{l2_state(l2), auto_sync, races, trace});
      }))
      .def("add_fault",
           [](Machine& machine, const std::string& kind, const std::string& file, int line,
              const std::string& api, int64_t nth, const std::string& core, int64_t amount,
              const std::string& operand, const std::string& pipe) {
             Fault fault;
             fault.kind = fault_kind_named(kind);
             fault.file = file;
             fault.line = line;
             fault.api = api;
             fault.nth = nth;
             fault.core = core;
             fault.amount = amount;
             fault.operand = operand;
             if (!pipe.empty()) fault.pipe = pipe_named(pipe);
             machine.faults.push_back(std::move(fault));
           })
      .def("map", [](Machine& machine, uint64_t bytes) { return machine.gm.map(bytes); })
      .def("mapped", [](Machine& machine) { return machine.gm.mapped(); })
      .def("unmap_all",
           [](Machine& machine) {
             machine.gm.unmap_all();
             machine.l2.clear();
           })
      .def("allow", [](Machine& machine, uint64_t address, uint64_t bytes,
                       const std::string& name) { machine.gm.allow(address, bytes, name); })
      .def("forbid_all", [](Machine& machine) { machine.gm.forbid_all(); })
      .def("written",
           [](Machine& machine, uint64_t address) {
             const Region* region = machine.gm.find(address);
             return region && region->written;
           })
      .def("copy",
           [](Machine&, uint64_t to, uint64_t from, uint64_t bytes) {
             std::memcpy(reinterpret_cast<void*>(to), reinterpret_cast<const void*>(from), bytes);
           })
      .def("call",
           [](Machine& machine, const Entry& entry, int64_t blocks, const std::vector<py::bytes>& arguments) {
             std::vector<std::string> values;
             for (const py::bytes& argument : arguments) values.emplace_back(argument);
             call(machine, entry, blocks, values);
           })
      .def("reports",
           [](const Machine& machine) {
             py::list result;
             for (const Report& report : machine.reports) result.append(to_dict(machine, report));
             return result;
           })
      .def("sites",
           [](const Machine& machine) {
             py::list result;
             for (size_t i = 1; i < machine.sites.size(); ++i) {
               const SiteRecord& site = machine.sites[i];
               result.append(py::make_tuple(site.file, site.line, site.api, site.count));
             }
             return result;
           })
      .def("fired",
           [](const Machine& machine) {
             std::vector<bool> result;
             for (const Fault& fault : machine.faults) result.push_back(fault.fired);
             return result;
           })
      .def("trace", &trace_of)
      .def("flows", &flows_of);
}
