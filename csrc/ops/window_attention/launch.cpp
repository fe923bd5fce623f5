#include "kernel.h"

template <typename T>
__aicore__ inline void RunWindowAttention(GM_ADDR q, GM_ADDR k, GM_ADDR v, GM_ADDR lengths, GM_ADDR out,
                                          GM_ADDR workspace, const WindowAttentionTiling& tiling) {
  AscendC::TPipe pipe;
  WindowAttention<T> op;
  if ASCEND_IS_AIC {
    op.Init(q, k, v, lengths, out, workspace, tiling, AscendC::GetBlockIdx());
    op.ProcessCube(pipe);
  }
  if ASCEND_IS_AIV {
    op.Init(q, k, v, lengths, out, workspace, tiling, AscendC::GetBlockIdx() / 2);
    op.ProcessVector(pipe);
  }
}

extern "C" __global__ __aicore__ void window_attention_half(GM_ADDR q, GM_ADDR k, GM_ADDR v,
                                                            GM_ADDR cu_seqlens, GM_ADDR out,
                                                            GM_ADDR workspace, WindowAttentionTiling tiling) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_MIX_AIC_1_2);
  RunWindowAttention<half>(q, k, v, cu_seqlens, out, workspace, tiling);
}

extern "C" __global__ __aicore__ void window_attention_bf16(GM_ADDR q, GM_ADDR k, GM_ADDR v,
                                                            GM_ADDR cu_seqlens, GM_ADDR out,
                                                            GM_ADDR workspace, WindowAttentionTiling tiling) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_MIX_AIC_1_2);
  RunWindowAttention<bfloat16_t>(q, k, v, cu_seqlens, out, workspace, tiling);
}

extern "C" void launch_window_attention(uint32_t blocks, void* stream, uint8_t* q, uint8_t* k, uint8_t* v,
                                        uint8_t* cu_seqlens, uint8_t* out, uint8_t* workspace,
                                        WindowAttentionTiling tiling) {
  if (tiling.type == 1) {
    window_attention_half<<<blocks, nullptr, stream>>>(q, k, v, cu_seqlens, out, workspace, tiling);
  } else {
    window_attention_bf16<<<blocks, nullptr, stream>>>(q, k, v, cu_seqlens, out, workspace, tiling);
  }
}
