// Memory for the operators' results.
#pragma once

#include <ATen/core/Tensor.h>

namespace qwen_vl_npu_ops {

// at::empty, which asks for huge pages where it gets fresh memory on the CPU: the first touch of a page of 4
// KiB takes longer than filling it.
at::Tensor empty_result(at::IntArrayRef shape, const at::TensorOptions& options);

}  // namespace qwen_vl_npu_ops
