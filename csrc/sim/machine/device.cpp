#include <sim/device.h>

#include "machine.h"

namespace ascend_sim {

Device::Device(const std::string& chip) {
  const auto* found = qwen_vl_npu_ops::find_chip(chip.c_str());
  if (!found) throw std::invalid_argument("no simulated chip is called " + chip);
  machine_ = std::make_unique<Machine>(*found, Options{});
}

Device::~Device() = default;

void* Device::allocate(uint64_t bytes) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const uint64_t address = machine_->gm.map(bytes);
  machine_->gm.allow(address, bytes, "the allocation at " + format("%#llx", (unsigned long long)address));
  return reinterpret_cast<void*>(address);
}

void Device::release(void* address) {
  const std::lock_guard<std::mutex> lock(mutex_);
  machine_->gm.unmap(reinterpret_cast<uint64_t>(address));
}

void Device::add_fault(const std::string& fault) {
  const std::lock_guard<std::mutex> lock(mutex_);
  machine_->faults.push_back(parse_fault(fault));
}

void Device::run(const Launch& launch) {
  const std::lock_guard<std::mutex> lock(mutex_);
  try {
    ascend_sim::run(*machine_, launch);
  } catch (const Error& error) {
    throw KernelError(error.what(), error.kind == "deadlock");
  } catch (const std::exception& error) {
    throw KernelError(error.what(), false);
  }
}

}  // namespace ascend_sim
