// How a kernel gets onto an NPU: at the end of torch_npu's task queue, on its current stream, with a
// workspace from its caching allocator. The host waits for nothing and copies nothing, so that a stream can
// be captured.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>

#include "chip/chip.h"
#include "common/launch.h"

namespace qwen_vl_npu_ops {

// The chip of this machine, or an error that names the ones with kernels.
const Chip& current_chip();

// Has `call` run, given the stream, when the tasks before it have been launched.
void enqueue(const char* name, at::Device device, std::function<void(void* stream)> call);

// Device memory for the kernel that is enqueued next. It may be dropped at once: the allocator gives it again
// only to what comes later on this stream.
at::Tensor empty_workspace(uint64_t bytes, at::Device device);

inline uint8_t* bytes_of(const void* pointer) {
  return static_cast<uint8_t*>(const_cast<void*>(pointer));
}

// tile(shape, chip), where a shape that no tiling serves is a ValueError of `op`.
template <class Tiling, class Shape>
Launch<Tiling> tiled(const char* op, Launch<Tiling> (*tile)(const Shape&, const Chip&), const Shape& shape) {
  try {
    return tile(shape, current_chip());
  } catch (const std::invalid_argument& error) {
    TORCH_CHECK_VALUE(false, op, ": ", error.what());
  }
}

// Enqueues launch_<op>(blocks, stream, pointers..., tiling).
template <class Tiling, class... Pointers>
void launch(const char* op, at::Device device, const Launch<Tiling>& how,
            void (*function)(uint32_t, void*, Pointers..., Tiling),
            std::type_identity_t<Pointers>... pointers) {
  if (how.blocks == 0) return;
  enqueue(op, device, [=](void* stream) { function(how.blocks, stream, pointers..., how.tiling); });
}

}  // namespace qwen_vl_npu_ops
