// The operators' NPU side (csrc/ops/<op>/npu.cpp): a tiling, a workspace, a place in the task queue.
#pragma once

#include "npu/back_end.h"
#include "npu/launch.h"

namespace qwen_vl_npu_ops {

void rotary_qkv_on_npu(const RotaryQkvParams& p, at::Device device);
void window_attention_on_npu(const WindowAttentionParams& p, const at::Tensor& cu_seqlens);
void rotary_window_attention_on_npu(const RotaryWindowAttentionParams& p, const at::Tensor& cu_seqlens);
void patch_embed_on_npu(const at::Tensor& pixels, const at::Tensor& weight, const at::Tensor& bias,
                        const at::Tensor& row_index, const at::Tensor& out);

}  // namespace qwen_vl_npu_ops
