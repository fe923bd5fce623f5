// Memory of the device and of the host, and copies between them.
#include <cstdlib>
#include <cstring>
#include <vector>

#include "stream.h"

using namespace virtual_npu;

namespace {

std::mutex pinned_mutex;
std::map<uint64_t, uint64_t>& pinned() {
  static auto* kept = new std::map<uint64_t, uint64_t>;  // address -> bytes
  return *kept;
}

std::string place(const void* address, size_t bytes) {
  return std::to_string(bytes) + " bytes at " + std::to_string(reinterpret_cast<uint64_t>(address));
}

aclError check_device_range(const char* function, const void* address, size_t bytes) {
  if (bytes == 0 || memory().holds(address, bytes)) return ACL_SUCCESS;
  return fail(ACL_ERROR_RT_PARAM_INVALID, std::string(function) + ": " + place(address, bytes) +
                                              " are not inside one allocation of the device");
}

struct Direction {
  bool from_device, to_device;
};

// Checked against where the memory is; also counts the copy.
aclError check_copy(const char* function, void* to, size_t room, const void* from, size_t bytes,
                    aclrtMemcpyKind kind, Direction& direction) {
  if (bytes > room)
    return fail(ACL_ERROR_RT_PARAM_INVALID,
                std::string(function) + ": " + std::to_string(bytes) + " bytes into " + std::to_string(room));
  if (bytes && (!to || !from))
    return fail(ACL_ERROR_RT_PARAM_INVALID, std::string(function) + ": a null address");
  switch (kind) {
    case ACL_MEMCPY_HOST_TO_HOST:
      direction = {false, false};
      break;
    case ACL_MEMCPY_HOST_TO_DEVICE:
      direction = {false, true};
      break;
    case ACL_MEMCPY_DEVICE_TO_HOST:
      direction = {true, false};
      break;
    case ACL_MEMCPY_DEVICE_TO_DEVICE:
      direction = {true, true};
      break;
    case ACL_MEMCPY_DEFAULT:
      direction = {memory().holds(from, bytes), memory().holds(to, bytes)};
      break;
    default:
      return fail(ACL_ERROR_RT_FEATURE_NOT_SUPPORT,
                  std::string(function) + ": this kind of copy is not known here");
  }
  if (direction.from_device)
    if (const aclError error = check_device_range(function, from, bytes)) return error;
  if (direction.to_device)
    if (const aclError error = check_device_range(function, to, bytes)) return error;
  count(direction.from_device ? (direction.to_device ? "copy:device_to_device" : "copy:device_to_host")
                              : (direction.to_device ? "copy:host_to_device" : "copy:host_to_host"));
  return ACL_SUCCESS;
}

aclError allocate(const char* function, void** address, size_t bytes) {
  if (!address || !bytes)
    return fail(ACL_ERROR_RT_PARAM_INVALID, std::string(function) + ": a null address or no bytes");
  *address = memory().allocate(bytes);
  return *address ? ACL_SUCCESS
                  : fail(ACL_ERROR_RT_MEMORY_ALLOCATION,
                         std::string(function) + ": no room for " + std::to_string(bytes) + " bytes");
}

}  // namespace

bool virtual_npu::is_pinned(const void* address) {
  const uint64_t at = reinterpret_cast<uint64_t>(address);
  const std::lock_guard<std::mutex> lock(pinned_mutex);
  const auto after = pinned().upper_bound(at);
  return after != pinned().begin() && at - std::prev(after)->first < std::prev(after)->second;
}

extern "C" {

aclError aclrtMalloc(void** address, size_t bytes, aclrtMemMallocPolicy) {
  COUNT_CALL();
  return allocate(__func__, address, bytes);
}

aclError aclrtMallocAlign32(void** address, size_t bytes, aclrtMemMallocPolicy) {
  COUNT_CALL();
  return allocate(__func__, address, bytes);
}

aclError aclrtFree(void* address) {
  COUNT_CALL();
  return memory().release(address) ? ACL_SUCCESS
                                   : fail(ACL_ERROR_RT_PARAM_INVALID,
                                          "aclrtFree: the address is not one that aclrtMalloc returned");
}

aclError aclrtMallocHost(void** address, size_t bytes) {
  COUNT_CALL();
  RETURN_IF_NULL(address);
  *address = std::aligned_alloc(512, (bytes + 511) / 512 * 512);
  if (!*address) return fail(ACL_ERROR_RT_MEMORY_ALLOCATION, "aclrtMallocHost: no memory");
  const std::lock_guard<std::mutex> lock(pinned_mutex);
  pinned()[reinterpret_cast<uint64_t>(*address)] = bytes;
  return ACL_SUCCESS;
}

aclError aclrtFreeHost(void* address) {
  COUNT_CALL();
  {
    const std::lock_guard<std::mutex> lock(pinned_mutex);
    if (!pinned().erase(reinterpret_cast<uint64_t>(address)))
      return fail(ACL_ERROR_RT_PARAM_INVALID,
                  "aclrtFreeHost: the address is not one that aclrtMallocHost returned");
  }
  std::free(address);
  return ACL_SUCCESS;
}

aclError aclrtGetMemInfo(aclrtMemAttr, size_t* free_bytes, size_t* total) {
  COUNT_CALL();
  RETURN_IF_NULL(free_bytes);
  RETURN_IF_NULL(total);
  *total = setup().memory_bytes;
  *free_bytes = *total - memory().used();
  return ACL_SUCCESS;
}

aclError aclrtPointerGetAttributes(const void* address, aclrtPtrAttributes* attributes) {
  COUNT_CALL();
  RETURN_IF_NULL(attributes);
  *attributes = {};
  attributes->location.type = memory().holds(address, 1) ? ACL_MEM_LOCATION_TYPE_DEVICE
                              : is_pinned(address)       ? ACL_MEM_LOCATION_TYPE_HOST
                                                         : ACL_MEM_LOCATION_TYPE_UNREGISTERED;
  return ACL_SUCCESS;
}

aclError aclrtMemcpy(void* to, size_t room, const void* from, size_t bytes, aclrtMemcpyKind kind) {
  COUNT_CALL();
  if (const aclError error = refuse_in_capture(__func__)) return error;
  Direction direction;
  if (const aclError error = check_copy(__func__, to, room, from, bytes, kind, direction)) return error;
  // Not ordered with any stream: a program that forgot to synchronise copies what is there now.
  std::memcpy(to, from, bytes);
  return ACL_SUCCESS;
}

aclError aclrtMemcpyAsync(void* to, size_t room, const void* from, size_t bytes, aclrtMemcpyKind kind,
                          aclrtStream handle) {
  COUNT_CALL();
  Stream* stream = Stream::from(handle);
  if (!stream) return fail(ACL_ERROR_RT_STREAM_CONTEXT, "aclrtMemcpyAsync: not a stream");
  Direction direction;
  if (const aclError error = check_copy(__func__, to, room, from, bytes, kind, direction)) return error;
  const bool pageable =
      (!direction.from_device && !is_pinned(from)) || (!direction.to_device && !is_pinned(to));
  if (!pageable) {
    stream->push(TaskKind::Work, [=] { std::memcpy(to, from, bytes); });
    return ACL_SUCCESS;
  }
  // From or to ordinary memory the copy is over when the call returns.
  if (const aclError error = refuse_in_capture(__func__)) return error;
  if (direction.from_device || !direction.to_device) {
    stream->push(TaskKind::Work, [=] { std::memcpy(to, from, bytes); });
    count("implicit synchronisation");
    return stream->synchronize(-1);
  }
  const char* begin = static_cast<const char*>(from);
  stream->push(TaskKind::Work, [to, staged = std::vector<char>(begin, begin + bytes)] {
    std::memcpy(to, staged.data(), staged.size());
  });
  return ACL_SUCCESS;
}

aclError aclrtMemset(void* address, size_t room, int32_t value, size_t bytes) {
  COUNT_CALL();
  if (const aclError error = refuse_in_capture(__func__)) return error;
  if (bytes > room) return fail(ACL_ERROR_RT_PARAM_INVALID, "aclrtMemset: more bytes than there is room for");
  if (const aclError error = check_device_range(__func__, address, bytes)) return error;
  std::memset(address, value, bytes);
  return ACL_SUCCESS;
}

aclError aclrtMemsetAsync(void* address, size_t room, int32_t value, size_t bytes, aclrtStream handle) {
  COUNT_CALL();
  Stream* stream = Stream::from(handle);
  if (!stream) return fail(ACL_ERROR_RT_STREAM_CONTEXT, "aclrtMemsetAsync: not a stream");
  if (bytes > room)
    return fail(ACL_ERROR_RT_PARAM_INVALID, "aclrtMemsetAsync: more bytes than there is room for");
  if (const aclError error = check_device_range(__func__, address, bytes)) return error;
  stream->push(TaskKind::Work, [=] { std::memset(address, value, bytes); });
  return ACL_SUCCESS;
}

}  // extern "C"
