#include <dlfcn.h>
#include <link.h>

#include <cstring>
#include <mutex>
#include <stdexcept>

#include "library.h"
#include "machine.h"
#include "round.h"

namespace ascend_sim {
namespace {

// Of every library loaded so far, by whichever way it was.
std::vector<Entry>& registered() {
  static std::vector<Entry> entries;
  return entries;
}
Runtime runtime = nullptr;

TaskType task_of(int kernel_meta_type) {
  switch (kernel_meta_type) {
    case 0:
      return {0, 1, false};  // AIV_ONLY
    case 1:
      return {1, 0, false};  // AIC_ONLY
    case 2:
      return {0, 1, true};  // MIX_AIV_1_0
    case 3:
      return {1, 0, true};  // MIX_AIC_1_0
    case 4:
      return {1, 1, true};  // MIX_AIC_1_1
    case 5:
      return {1, 2, true};  // MIX_AIC_1_2
    default:
      throw std::invalid_argument("unknown kernel task type " + std::to_string(kernel_meta_type));
  }
}

}  // namespace

void run(Machine& machine, const Launch& launch) {
  // Which core runs is known to the whole process, so one launch has it to itself.
  static std::recursive_mutex one_at_a_time;
  const std::lock_guard<std::recursive_mutex> lock(one_at_a_time);
  if (launch.blocks < 1)
    throw std::invalid_argument(std::string("kernel ") + launch.kernel + ": blocks must be at least 1, got " +
                                std::to_string(launch.blocks));
  machine.launch(launch.kernel, task_of(launch.task_type), launch.blocks, launch.body);
}

void register_entry(const Entry& entry) {
  registered().push_back(entry);
}

std::vector<Entry> load_library(const std::string& path) {
  void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  link_map* library = nullptr;
  if (!handle || dlinfo(handle, RTLD_DI_LINKMAP, &library)) throw std::runtime_error(dlerror());
  std::vector<Entry> entries;
  for (const Entry& entry : registered()) {
    Dl_info holder;  // the name is a literal of the library that it is from
    if (dladdr(entry.name, &holder) && std::strcmp(holder.dli_fname, library->l_name) == 0)
      entries.push_back(entry);
  }
  return entries;
}

void set_runtime(Runtime taken) {
  runtime = taken;
}

void launch(Launch launch, void* stream) {
  Machine* machine = active_machine();
  if (runtime && (stream || !machine)) return runtime(std::move(launch), stream);
  if (!machine)
    throw std::runtime_error(std::string("kernel ") + launch.kernel +
                             " is launched and no simulated device is active");
  run(*machine, launch);
}

float half_value(uint16_t bits) {
  return widen_half(bits);
}

}  // namespace ascend_sim
