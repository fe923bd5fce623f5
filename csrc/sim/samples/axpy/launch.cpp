#include "kernel.h"

extern "C" __global__ __aicore__ void sample_axpy(GM_ADDR x, GM_ADDR y, SampleAxpyTiling tiling) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
  SampleAxpy(x, y, tiling);
}

extern "C" void launch_sample_axpy(uint32_t blocks, void* stream, uint8_t* x, uint8_t* y,
                                   SampleAxpyTiling tiling) {
  sample_axpy<<<blocks, nullptr, stream>>>(x, y, tiling);
}
