#include "kernel.h"

extern "C" __global__ __aicore__ void sample_matmul_leaky_relu(GM_ADDR a, GM_ADDR b, GM_ADDR out,
                                                               GM_ADDR workspace,
                                                               SampleMatmulLeakyReluTiling tiling) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_MIX_AIC_1_2);
  AscendC::TPipe pipe;
  SampleMatmulLeakyRelu op;
  if ASCEND_IS_AIC {
    op.Init(out, workspace, tiling, AscendC::GetBlockIdx());
    op.ProcessCube(pipe, a, b);
  }
  if ASCEND_IS_AIV {
    op.Init(out, workspace, tiling, AscendC::GetBlockIdx() / 2);
    op.ProcessVector(pipe);
  }
}

extern "C" void launch_sample_matmul_leaky_relu(uint32_t blocks, void* stream, uint8_t* a, uint8_t* b,
                                                uint8_t* out, uint8_t* workspace,
                                                SampleMatmulLeakyReluTiling tiling) {
  sample_matmul_leaky_relu<<<blocks, nullptr, stream>>>(a, b, out, workspace, tiling);
}
