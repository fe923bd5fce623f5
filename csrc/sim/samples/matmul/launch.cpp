#include "kernel.h"

extern "C" __global__ __aicore__ void sample_matmul(GM_ADDR a, GM_ADDR b, GM_ADDR c,
                                                    SampleMatmulTiling tiling) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIC_ONLY);
  SampleMatmul(a, b, c, tiling);
}

extern "C" void launch_sample_matmul(uint32_t blocks, void* stream, uint8_t* a, uint8_t* b, uint8_t* c,
                                     SampleMatmulTiling tiling) {
  sample_matmul<<<blocks, nullptr, stream>>>(a, b, c, tiling);
}
