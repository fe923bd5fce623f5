// linear, for other operators too.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace qwen_vl_npu_ops {

// Whether this machine's torch has no product of the dtype as fast as ours. Everything that may run on one or
// the other asks here.
bool linear_is_faster(at::ScalarType dtype);

// out [T, n] = x[index] weight^T + bias, on the CPU, of tensors that are checked.
//   x: [*, k], float32 or of weight's dtype, to which it is rounded
//   index: [T], rows of x; null means the first T
//   weight: [n, k]; bias: [n] or undefined; all with contiguous rows, as x and out
void linear_into(const at::Tensor& x, const int64_t* index, const at::Tensor& weight, const at::Tensor& bias,
                 const at::Tensor& out);

}  // namespace qwen_vl_npu_ops
