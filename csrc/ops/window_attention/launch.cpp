#include "kernel.h"

template <typename T>
__aicore__ inline void RunWindowAttention(GM_ADDR q, GM_ADDR k, GM_ADDR v, GM_ADDR lengths, GM_ADDR out,
                                          GM_ADDR workspace, const WindowAttentionTiling& tiling) {
  AscendC::TPipe pipe;
  WindowAttention<T> op;
  if ASCEND_IS_AIC {
    const uint32_t block = AscendC::GetBlockIdx();
    AttentionSource<T> source;
    source.InitTensors(q, k, tiling);
    op.Init(lengths, tiling, block);
    op.ProcessCube(pipe, source, v, out, AttentionWorkspace(workspace, tiling, block));
  }
  if ASCEND_IS_AIV {
    const uint32_t block = AscendC::GetBlockIdx() / 2;
    op.Init(lengths, tiling, block);
    op.ProcessVector(pipe, out, AttentionWorkspace(workspace, tiling, block));
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
