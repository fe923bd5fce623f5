#include "runtime.h"

#include <cstdlib>
#include <cstring>
#include <new>

namespace virtual_npu {
namespace {

std::mutex counting;
std::map<std::string, uint64_t>& counts() {
  static auto* kept = new std::map<std::string, uint64_t>;  // threads count until the process ends
  return *kept;
}

thread_local std::string recent, shown;
thread_local aclError last = ACL_SUCCESS;

const char* environment(const char* name, const char* otherwise) {
  const char* value = std::getenv(name);
  return value && *value ? value : otherwise;
}

Setup read_setup() {
  const std::string chip = environment("QWEN_VL_NPU_OPS_VIRTUAL_CHIP", "910B1");
  constexpr uint64_t kGiB = uint64_t{1} << 30;
  const bool few = chip == "910B3" || chip == "910B4";
  if (chip.rfind("910B", 0) == 0) {
    const int cubes = few ? 20 : 24;
    return {"Ascend" + chip, true, cubes, 2 * cubes, (chip == "910B4" ? 32 : 64) * kGiB};
  }
  return {"Ascend" + chip, false, 8, 8, 24 * kGiB};
}

}  // namespace

void count(const std::string& name) {
  const std::lock_guard<std::mutex> lock(counting);
  ++counts()[name];
}

aclError fail(aclError code, const std::string& why) {
  recent = why;
  return last = code;
}

const Setup& setup() {
  static const Setup kept = read_setup();
  return kept;
}

ascend_sim::Device& device() {
  // A chip that is not simulated still has memory. Never destroyed: streams may outlive main().
  static auto* kept = new ascend_sim::Device(setup().has_kernels ? setup().soc.substr(6) : "910B1");
  return *kept;
}

Memory& memory() {
  static auto* kept = new Memory;
  return *kept;
}

void* Memory::allocate(uint64_t bytes) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (used_ + bytes > setup().memory_bytes) return nullptr;
  void* address = nullptr;
  try {
    address = device().allocate(bytes);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
  // What a program has not written is not zero on a device: ones are NaN, or -1. Not for what is large, whose
  // pages the host need not have until they are used.
  constexpr uint64_t kLarge = uint64_t{1} << 26;
  if (bytes < kLarge) std::memset(address, 0xff, bytes);
  blocks_[reinterpret_cast<uint64_t>(address)] = bytes;
  used_ += bytes;
  return address;
}

bool Memory::release(void* address) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto block = blocks_.find(reinterpret_cast<uint64_t>(address));
  if (block == blocks_.end()) return false;
  used_ -= block->second;
  blocks_.erase(block);
  device().release(address);
  return true;
}

bool Memory::holds(const void* address, uint64_t bytes) {
  const uint64_t begin = reinterpret_cast<uint64_t>(address);
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto after = blocks_.upper_bound(begin);
  if (after == blocks_.begin()) return false;
  const auto [base, size] = *std::prev(after);
  return begin - base < size && bytes <= size - (begin - base);
}

uint64_t Memory::used() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return used_;
}

}  // namespace virtual_npu

extern "C" {

const char* aclGetRecentErrMsg() {
  using namespace virtual_npu;
  shown.swap(recent);
  recent.clear();
  return shown.empty() ? nullptr : shown.c_str();
}

aclError aclrtPeekAtLastError(aclrtLastErrLevel) {
  return virtual_npu::last;
}

aclError aclrtGetLastError(aclrtLastErrLevel) {
  const aclError error = virtual_npu::last;
  virtual_npu::last = ACL_SUCCESS;
  return error;
}

// For the process that counts: "name count" lines into `text`; the length that all of them need.
size_t virtual_npu_counters(char* text, size_t capacity) {
  std::string lines;
  {
    const std::lock_guard<std::mutex> lock(virtual_npu::counting);
    for (const auto& [name, number] : virtual_npu::counts())
      lines += name + " " + std::to_string(number) + "\n";
  }
  if (capacity) text[lines.copy(text, capacity - 1)] = 0;
  return lines.size() + 1;
}

void virtual_npu_reset_counters() {
  const std::lock_guard<std::mutex> lock(virtual_npu::counting);
  virtual_npu::counts().clear();
}

}  // extern "C"
