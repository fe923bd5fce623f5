// The device and what is known of it. There is one.
#include <atomic>
#include <cstring>

#include "stream.h"

using namespace virtual_npu;

namespace {
constexpr int kDevices = 1;
std::atomic<bool> initialised{false};
thread_local int current_device = -1;  // until aclrtSetDevice
int context_of_device;                 // its address is the context

aclError check_device(int id) {
  return id >= 0 && id < kDevices
             ? ACL_SUCCESS
             : fail(ACL_ERROR_RT_INVALID_DEVICEID, "there is no device " + std::to_string(id));
}
}  // namespace

extern "C" {

aclError aclInit(const char*) {
  COUNT_CALL();
  return initialised.exchange(true) ? ACL_ERROR_REPEAT_INITIALIZE : ACL_SUCCESS;
}

aclError aclFinalize() {
  COUNT_CALL();
  return initialised.exchange(false) ? ACL_SUCCESS : ACL_ERROR_REPEAT_FINALIZE;
}

const char* aclrtGetSocName() {
  COUNT_CALL();
  return setup().soc.c_str();
}

aclError aclsysGetCANNVersion(aclCANNPackageName, aclCANNPackageVersion* version) {
  COUNT_CALL();
  RETURN_IF_NULL(version);
  *version = {"8.1.RC1", "8", "1", "RC1", "", ""};  // the version that the kernels are written for
  return ACL_SUCCESS;
}

aclError aclrtGetDeviceCount(uint32_t* number) {
  COUNT_CALL();
  RETURN_IF_NULL(number);
  *number = kDevices;
  return ACL_SUCCESS;
}

aclError aclrtSetDevice(int32_t id) {
  COUNT_CALL();
  if (const aclError error = check_device(id)) return error;
  current_device = id;
  return ACL_SUCCESS;
}

aclError aclrtResetDevice(int32_t id) {
  COUNT_CALL();
  if (const aclError error = check_device(id)) return error;
  current_device = -1;
  return ACL_SUCCESS;
}

aclError aclrtGetDevice(int32_t* id) {
  COUNT_CALL();
  RETURN_IF_NULL(id);
  if (current_device < 0) return fail(ACL_ERROR_RT_CONTEXT_NULL, "this thread has set no device");
  *id = current_device;
  return ACL_SUCCESS;
}

aclError aclrtGetPrimaryCtxState(int32_t id, uint32_t* flags, int32_t* active) {
  COUNT_CALL();
  if (const aclError error = check_device(id)) return error;
  if (flags) *flags = 0;
  if (active) *active = initialised;
  return ACL_SUCCESS;
}

aclError aclrtGetCurrentContext(aclrtContext* context) {
  COUNT_CALL();
  RETURN_IF_NULL(context);
  if (current_device < 0) return fail(ACL_ERROR_RT_CONTEXT_NULL, "this thread has set no device");
  *context = &context_of_device;
  return ACL_SUCCESS;
}

aclError aclrtSetCurrentContext(aclrtContext context) {
  COUNT_CALL();
  if (context != &context_of_device) return fail(ACL_ERROR_INVALID_PARAM, "not a context of this device");
  current_device = 0;
  return ACL_SUCCESS;
}

aclError aclrtSetDeviceSatMode(aclrtFloatOverflowMode) {
  COUNT_CALL();
  return ACL_SUCCESS;
}

aclError aclrtSetOpWaitTimeout(uint32_t) {
  COUNT_CALL();
  return ACL_SUCCESS;
}

aclError aclrtSetOpExecuteTimeOut(uint32_t) {
  COUNT_CALL();
  return ACL_SUCCESS;
}

aclError aclrtDeviceCanAccessPeer(int32_t* can, int32_t, int32_t) {
  COUNT_CALL();
  RETURN_IF_NULL(can);
  *can = 0;
  return ACL_SUCCESS;
}

aclError aclrtDeviceGetBareTgid(int32_t* pid) {
  COUNT_CALL();
  RETURN_IF_NULL(pid);
  *pid = 0;
  return ACL_SUCCESS;
}

aclError aclGetDeviceCapability(uint32_t id, aclDeviceInfo what, int64_t* value) {
  COUNT_CALL();
  RETURN_IF_NULL(value);
  if (const aclError error = check_device(static_cast<int>(id))) return error;
  switch (what) {
    case ACL_DEVICE_INFO_AI_CORE_NUM:
      *value = setup().cube_cores;
      return ACL_SUCCESS;
    case ACL_DEVICE_INFO_VECTOR_CORE_NUM:
      *value = setup().vector_cores;
      return ACL_SUCCESS;
    default:
      return fail(ACL_ERROR_RT_FEATURE_NOT_SUPPORT, "this capability is not known here");
  }
}

aclError aclrtSynchronizeDevice() {
  COUNT_CALL();
  if (const aclError error = refuse_in_capture(__func__)) return error;
  aclError first = ACL_SUCCESS;
  Stream::for_each([&](Stream& stream) {
    if (const aclError error = stream.synchronize(-1); first == ACL_SUCCESS) first = error;
  });
  return first;
}

aclError aclrtSynchronizeDeviceWithTimeout(int32_t timeout_ms) {
  COUNT_CALL();
  if (const aclError error = refuse_in_capture(__func__)) return error;
  aclError first = ACL_SUCCESS;
  Stream::for_each([&](Stream& stream) {
    if (const aclError error = stream.synchronize(timeout_ms); first == ACL_SUCCESS) first = error;
  });
  return first;
}

}  // extern "C"
