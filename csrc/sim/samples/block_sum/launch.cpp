#include "kernel.h"

// SyncAll needs the mixed task type even without cube cores.
extern "C" __global__ __aicore__ void sample_block_sum(GM_ADDR x, GM_ADDR totals, GM_ADDR workspace,
                                                       SampleBlockSumTiling tiling) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_MIX_AIV_1_0);
  SampleBlockSum op;
  op.Init(x, totals, workspace, tiling);
  op.Process();
}

extern "C" void launch_sample_block_sum(uint32_t blocks, void* stream, uint8_t* x, uint8_t* totals,
                                        uint8_t* workspace, SampleBlockSumTiling tiling) {
  sample_block_sum<<<blocks, nullptr, stream>>>(x, totals, workspace, tiling);
}
