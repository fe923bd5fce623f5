// The NPU back end as the operators see it: AscendC kernels where they are live, else a composition of
// torch_npu's and ATen's operators. Nothing here needs torch_npu or CANN.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>

#include <vector>

namespace qwen_vl_npu_ops {

struct RotaryQkvParams;
struct WindowAttentionParams;
struct RotaryWindowAttentionParams;

// What the library built with CANN hands over when it is loaded. Each function puts a kernel into the task
// queue of torch_npu's current stream and returns; pointers in the parameters are device memory.
struct NpuKernels {
  void (*rotary_qkv)(const RotaryQkvParams&, at::Device);
  void (*window_attention)(const WindowAttentionParams&, const at::Tensor& cu_seqlens);
  void (*rotary_window_attention)(const RotaryWindowAttentionParams&, const at::Tensor& cu_seqlens);
  // weight is [hidden, K]; bias and row_index may be undefined.
  void (*patch_embed)(const at::Tensor& pixels, const at::Tensor& weight, const at::Tensor& bias,
                      const at::Tensor& row_index, const at::Tensor& out);
};

void set_npu_kernels(const NpuKernels& kernels);

// The kernels, or null where the composition is live. Which of them is decided once in a process, at the
// first call with npu tensors, by python/qwen_vl_npu_ops/npu.py.
const NpuKernels* live_npu_kernels();

// For a kernel that writes dense results only: `out` itself where it is dense, else memory to copy_ into out.
at::Tensor dense_out(const at::Tensor& out);

// Calls the composition of `op`: qwen_vl_npu_ops_npu::<op>(arguments), the outputs last.
void compose_on_npu(const char* op, std::vector<c10::IValue> arguments);

}  // namespace qwen_vl_npu_ops
