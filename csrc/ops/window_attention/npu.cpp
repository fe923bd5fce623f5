#include "npu/operators.h"
#include "ops/window_attention/tiling_host.h"
#include "ops/window_attention/window_attention.h"

extern "C" void launch_window_attention(uint32_t blocks, void* stream, uint8_t* q, uint8_t* k, uint8_t* v,
                                        uint8_t* cu_seqlens, uint8_t* out, uint8_t* workspace,
                                        WindowAttentionTiling tiling);

namespace qwen_vl_npu_ops {

void window_attention_on_npu(const WindowAttentionParams& p, const at::Tensor& cu_seqlens) {
  const WindowAttentionShape shape = {
      .tokens = p.tokens,
      .heads = p.heads,
      .kv_heads = p.kv_heads,
      .segments = p.segments,
      .dim = p.head_dim,
      .value_dim = p.value_dim,
      .q_token_stride = p.q_token_stride,
      .q_head_stride = p.q_head_stride,
      .k_token_stride = p.k_token_stride,
      .k_head_stride = p.k_head_stride,
      .v_token_stride = p.v_token_stride,
      .v_head_stride = p.v_head_stride,
      .out_token_stride = p.out_token_stride,
      .out_head_stride = p.out_head_stride,
      .type = p.dtype,
      .wide_lengths = cu_seqlens.scalar_type() == at::kLong,
      .scale = p.scale,
  };
  const auto how = tiled(tile_window_attention, shape);
  const at::Tensor ends = cu_seqlens.contiguous();
  const at::Tensor workspace = empty_workspace(how.workspace_bytes, ends.device());
  launch("window_attention", ends.device(), how, launch_window_attention, p.q, p.k, p.v, ends, p.out,
         workspace);
}

}  // namespace qwen_vl_npu_ops
