// How a kernel gets onto an NPU: at the end of torch_npu's task queue, on its current stream, with a
// workspace from its caching allocator. The host waits for nothing and copies nothing, so that a stream can
// be captured.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>

#include <array>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <tuple>

#include "chip/chip.h"
#include "common/launch.h"

namespace qwen_vl_npu_ops {

// The chip of this machine, or an error that names the ones with kernels.
const Chip& current_chip();

// Has `call` run, given the stream, when the tasks before it have been launched.
void enqueue(const char* name, at::Device device, std::function<void(void* stream)> call);

// Device memory for the kernel that is enqueued next; null for none. It may be dropped as soon as the kernel
// is in the queue: the allocator gives it again only to what comes later on this stream.
at::Tensor empty_workspace(uint64_t bytes, at::Device device);

// A kernel's argument: device memory, null for an undefined tensor.
inline uint8_t* device_bytes(const void* pointer) {
  return static_cast<uint8_t*>(const_cast<void*>(pointer));
}
inline uint8_t* device_bytes(const at::Tensor& tensor) {
  return tensor.defined() ? device_bytes(tensor.const_data_ptr()) : nullptr;
}

// tile(shape, chip), where a shape that no tiling serves is a ValueError.
template <class Tiling, class Shape>
Launch<Tiling> tiled(Launch<Tiling> (*tile)(const Shape&, const Chip&), const Shape& shape) {
  try {
    return tile(shape, current_chip());
  } catch (const std::invalid_argument& error) {
    TORCH_CHECK_VALUE(false, error.what());
  }
}

// Enqueues function(blocks, stream, memory..., tiling); `memory` is pointers and tensors.
template <class Tiling, class Function, class... Memory>
void launch(const char* op, at::Device device, const Launch<Tiling>& how, Function* function,
            const Memory&... memory) {
  if (how.blocks == 0) return;
  const std::array pointers = {device_bytes(memory)...};
  enqueue(op, device, [=](void* stream) {
    std::apply([&](auto... pointer) { function(how.blocks, stream, pointer..., how.tiling); }, pointers);
  });
}

}  // namespace qwen_vl_npu_ops
