// Kernel launches: what `kernel<<<blocks, nullptr, stream>>>(...)` comes to here, and the faults that
// QWEN_VL_NPU_OPS_VIRTUAL_FAULTS plants, separated by semicolons:
//   hang:<kernel>   the kernel never comes back     skip:<kernel>   it returns having done nothing
//   error:<kernel>  it fails like a bad access      <kind>@<file>:<line>[,...]  a simulator's fault, see
//   fault.h
#include <condition_variable>
#include <cstdlib>
#include <sstream>

#include "stream.h"

namespace virtual_npu {
namespace {

struct Faults {
  std::map<std::string, std::string> kernels;  // kernel -> hang, skip or error
  std::string wrong;                           // what could not be read
};

Faults read_faults() {
  Faults faults;
  const char* value = std::getenv("QWEN_VL_NPU_OPS_VIRTUAL_FAULTS");
  std::stringstream all(value ? value : "");
  for (std::string fault; std::getline(all, fault, ';');) {
    const size_t colon = fault.find(':');
    const std::string kind = fault.substr(0, colon);
    if (kind == "hang" || kind == "skip" || kind == "error") {
      faults.kernels[colon == std::string::npos ? "" : fault.substr(colon + 1)] = kind;
      continue;
    }
    try {
      device().add_fault(fault);
    } catch (const std::exception& error) {
      faults.wrong = std::string("QWEN_VL_NPU_OPS_VIRTUAL_FAULTS: ") + error.what();
    }
  }
  return faults;
}

// hang, skip, error or nothing.
std::string fault_of(const Faults& faults, const std::string& kernel) {
  for (const auto& [name, kind] : faults.kernels)
    if (kernel == name || kernel.rfind(name + "_", 0) == 0) return kind;
  return "";
}

[[noreturn]] void hang() {
  std::mutex mutex;
  std::unique_lock<std::mutex> lock(mutex);
  std::condition_variable never;
  for (;;) never.wait(lock);
}

void run(const ascend_sim::Launch& launch) {
  static const Faults faults = read_faults();
  if (!faults.wrong.empty()) throw ascend_sim::KernelError(faults.wrong, false);
  if (!setup().has_kernels)
    throw ascend_sim::KernelError("kernel " + std::string(launch.kernel) + " is not built for " + setup().soc,
                                  false);
  const std::string kind = fault_of(faults, launch.kernel);
  if (kind == "skip") return;
  if (kind == "hang") hang();
  if (kind == "error")
    throw ascend_sim::KernelError("out_of_bounds: kernel " + std::string(launch.kernel) + ": a planted fault",
                                  false);
  device().run(launch);
}

void enqueue(ascend_sim::Launch launch, void* handle) {
  count("launch");
  count(std::string("launch:") + launch.kernel);
  Stream* stream = Stream::from(handle);
  if (!stream) {
    fail(ACL_ERROR_RT_STREAM_CONTEXT, std::string("kernel ") + launch.kernel + ": not a stream");
    return;
  }
  stream->push(TaskKind::Work, [launch = std::move(launch)] { run(launch); });
}

[[maybe_unused]] const bool registered = (ascend_sim::set_runtime(&enqueue), true);

}  // namespace
}  // namespace virtual_npu
