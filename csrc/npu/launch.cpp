#include "npu/launch.h"

#include <ATen/Functions.h>
#include <acl/acl.h>
#include <torch_npu/csrc/core/npu/NPUStream.h>
#include <torch_npu/csrc/framework/OpCommand.h>

#include <string>
#include <utility>

namespace qwen_vl_npu_ops {

const Chip& current_chip() {
  static const Chip& chip = []() -> const Chip& {
    const char* name = aclrtGetSocName();
    const std::string soc = name ? name : "";
    const std::string prefix = "Ascend";
    const Chip* found = soc.rfind(prefix, 0) == 0 ? find_chip(soc.c_str() + prefix.size()) : nullptr;
    std::string supported;
    for (const Chip& other : all_chips())
      supported += (supported.empty() ? "" : ", ") + std::string(other.name);
    TORCH_CHECK(found, "qwen_vl_npu_ops: no kernels for the chip '", soc, "'; there are some for ",
                supported);
    return *found;
  }();
  return chip;
}

void enqueue(const char* name, at::Device device, std::function<void(void* stream)> call) {
  const c10::DeviceGuard guard(device);
  // stream(false): the stream itself, without waiting for the task queue to run empty.
  aclrtStream stream = c10_npu::getCurrentNPUStream().stream(false);
  at_npu::native::OpCommand::RunOpApiV2(name, [stream, call = std::move(call)]() -> int {
    call(stream);
    return ACL_SUCCESS;
  });
}

at::Tensor empty_workspace(uint64_t bytes, at::Device device) {
  if (bytes == 0) return {};
  return at::empty({static_cast<int64_t>(bytes)}, at::TensorOptions(device).dtype(at::kByte));
}

}  // namespace qwen_vl_npu_ops
