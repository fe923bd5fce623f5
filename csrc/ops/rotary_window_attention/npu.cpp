#include "npu/operators.h"
#include "ops/rotary_window_attention/rotary_window_attention.h"
#include "ops/rotary_window_attention/tiling_host.h"

extern "C" void launch_rotary_window_attention(uint32_t blocks, void* stream, uint8_t* qkv, uint8_t* cos,
                                               uint8_t* sin, uint8_t* cu_seqlens, uint8_t* out,
                                               uint8_t* workspace, RotaryWindowAttentionTiling tiling);

namespace qwen_vl_npu_ops {

void rotary_window_attention_on_npu(const RotaryWindowAttentionParams& p, const at::Tensor& cu_seqlens) {
  const RotaryWindowAttentionShape shape = {
      .tokens = p.tokens,
      .heads = p.heads,
      .segments = p.segments,
      .dim = p.in.dim,
      .in_dim = p.in.padded,
      .out_dim = p.out_layout.padded,
      .qkv_stride = p.qkv_stride,
      .cos_stride = p.table.cos_stride,
      .sin_stride = p.table.sin_stride,
      .out_stride = p.out_stride,
      .table_step = p.table.step,
      .type = p.dtype,
      .table_type = p.table.dtype,
      .interleaved = p.interleaved,
      .wide_lengths = cu_seqlens.scalar_type() == at::kLong,
      .scale = p.scale,
  };
  const auto how = tiled(tile_rotary_window_attention, shape);
  const at::Tensor ends = cu_seqlens.contiguous();
  const at::Tensor workspace = empty_workspace(how.workspace_bytes, ends.device());
  launch("rotary_window_attention", ends.device(), how, launch_rotary_window_attention, p.qkv, p.table.cos,
         p.table.sin, ends, p.out, workspace);
}

}  // namespace qwen_vl_npu_ops
