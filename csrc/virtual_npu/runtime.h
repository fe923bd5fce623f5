// A stand-in for CANN's runtime, libascendcl.so: device memory is memory of the host, which the simulator and
// the host see at the same addresses; a stream is a thread; kernels run in the simulator. The functions that
// acl/acl.h declares are in the acl_*.cpp beside this file; here is what they share.
#pragma once

#include <acl/acl.h>
#include <acl/error_codes/rt_error_codes.h>
#include <sim/device.h>

#include <cstdint>
#include <map>
#include <mutex>
#include <string>

namespace virtual_npu {

// ---- counters: of every call of the runtime by name, and of copies by direction and launches by kernel ----
void count(const std::string& name);

// Opens every function of the API.
#define COUNT_CALL() ::virtual_npu::count(__func__)

// ---- errors ----

// Remember why for aclGetRecentErrMsg and aclrtPeekAtLastError of this thread; returns `code`.
aclError fail(aclError code, const std::string& why);

#define RETURN_IF_NULL(pointer) \
  if (!(pointer))               \
  return ::virtual_npu::fail(ACL_ERROR_RT_PARAM_INVALID, std::string(__func__) + ": " #pointer " is null")

// ---- the chip ----

struct Setup {
  std::string soc;   // what aclrtGetSocName returns, such as Ascend910B1
  bool has_kernels;  // whether the simulator knows the chip
  int cube_cores, vector_cores;
  uint64_t memory_bytes;
};
const Setup& setup();

// ---- device memory ----

class Memory {
 public:
  void* allocate(uint64_t bytes);  // nullptr when there is no room
  bool release(void* address);     // false for what allocate() did not return
  // Whether [address, address + bytes) lies inside one allocation.
  bool holds(const void* address, uint64_t bytes);
  uint64_t used();

 private:
  std::mutex mutex_;
  std::map<uint64_t, uint64_t> blocks_;  // address -> bytes
  uint64_t used_ = 0;
};
Memory& memory();

ascend_sim::Device& device();

// Whether memory came from aclrtMallocHost: asynchronous copies need that.
bool is_pinned(const void* address);

}  // namespace virtual_npu
