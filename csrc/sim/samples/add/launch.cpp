#include "kernel.h"

extern "C" __global__ __aicore__ void sample_add(GM_ADDR x, GM_ADDR y, GM_ADDR z, SampleAddTiling tiling) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
  SampleAdd op;
  op.Init(x, y, z, tiling.totalLength, tiling.tileLength);
  op.Process();
}

extern "C" void launch_sample_add(uint32_t blocks, void* stream, uint8_t* x, uint8_t* y, uint8_t* z,
                                  SampleAddTiling tiling) {
  sample_add<<<blocks, nullptr, stream>>>(x, y, z, tiling);
}
