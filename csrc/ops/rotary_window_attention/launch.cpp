#include "kernel.h"

template <typename T, typename U>
__aicore__ inline void RunRotaryWindowAttention(GM_ADDR qkv, GM_ADDR cos, GM_ADDR sin, GM_ADDR lengths,
                                                GM_ADDR out, GM_ADDR workspace,
                                                const RotaryWindowAttentionTiling& tiling) {
  RotaryWindowAttention<T, U> op;
  if ASCEND_IS_AIC {
    op.Init(qkv, cos, sin, lengths, out, workspace, tiling, AscendC::GetBlockIdx());
    op.ProcessCube();
  }
  if ASCEND_IS_AIV {
    op.Init(qkv, cos, sin, lengths, out, workspace, tiling, AscendC::GetBlockIdx() / 2);
    op.ProcessVector();
  }
}

extern "C" __global__ __aicore__ void rotary_window_attention_half(GM_ADDR qkv, GM_ADDR cos, GM_ADDR sin,
                                                                   GM_ADDR cu_seqlens, GM_ADDR out,
                                                                   GM_ADDR workspace,
                                                                   RotaryWindowAttentionTiling tiling) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_MIX_AIC_1_2);
  if (tiling.rotary.tableType == 0) {
    RunRotaryWindowAttention<half, float>(qkv, cos, sin, cu_seqlens, out, workspace, tiling);
  } else {
    RunRotaryWindowAttention<half, half>(qkv, cos, sin, cu_seqlens, out, workspace, tiling);
  }
}

extern "C" __global__ __aicore__ void rotary_window_attention_bf16(GM_ADDR qkv, GM_ADDR cos, GM_ADDR sin,
                                                                   GM_ADDR cu_seqlens, GM_ADDR out,
                                                                   GM_ADDR workspace,
                                                                   RotaryWindowAttentionTiling tiling) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_MIX_AIC_1_2);
  if (tiling.rotary.tableType == 0) {
    RunRotaryWindowAttention<bfloat16_t, float>(qkv, cos, sin, cu_seqlens, out, workspace, tiling);
  } else {
    RunRotaryWindowAttention<bfloat16_t, bfloat16_t>(qkv, cos, sin, cu_seqlens, out, workspace, tiling);
  }
}

extern "C" void launch_rotary_window_attention(uint32_t blocks, void* stream, uint8_t* qkv, uint8_t* cos,
                                               uint8_t* sin, uint8_t* cu_seqlens, uint8_t* out,
                                               uint8_t* workspace, RotaryWindowAttentionTiling tiling) {
  if (tiling.attention.type == 1) {
    rotary_window_attention_half<<<blocks, nullptr, stream>>>(qkv, cos, sin, cu_seqlens, out, workspace,
                                                              tiling);
  } else {
    rotary_window_attention_bf16<<<blocks, nullptr, stream>>>(qkv, cos, sin, cu_seqlens, out, workspace,
                                                              tiling);
  }
}
