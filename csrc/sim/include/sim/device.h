// A simulated chip for a runtime that keeps device memory and runs launches in an order of its own, as
// csrc/virtual_npu does. Everything may be called from any thread.
#pragma once

#include <sim/launch.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>

namespace ascend_sim {

class Machine;

// What a kernel did wrong; `hangs` when the hardware would never come back from it.
struct KernelError : std::runtime_error {
  KernelError(const std::string& text, bool hangs) : std::runtime_error(text), hangs(hangs) {}
  bool hangs;
};

class Device {
 public:
  explicit Device(const std::string& chip);  // throws std::invalid_argument for one that is not simulated
  ~Device();

  // Memory that kernels and the host see at the same address, 512-byte aligned. Kernels may touch what is
  // allocated and nothing else. Waits for the kernel that runs. Throws std::bad_alloc.
  void* allocate(uint64_t bytes);
  void release(void* address);

  void add_fault(const std::string& fault);  // as fault.h describes; throws std::invalid_argument
  void run(const Launch& launch);            // throws KernelError

 private:
  std::mutex mutex_;
  std::unique_ptr<Machine> machine_;
};

}  // namespace ascend_sim
