// One Add of 64 fp32 repeats, again and again, with operands at chosen addresses of UB.
#include "kernel_operator.h"

struct CycleBankTiling {
  uint32_t count;  // Adds
  uint32_t src0;   // addresses in UB
  uint32_t src1;
  uint32_t dst;
  uint32_t blockStride0;  // of src0, in 32-byte blocks
  uint32_t repeatStride0;
};

extern "C" __global__ __aicore__ void cycle_bank(GM_ADDR z, CycleBankTiling tiling) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
  constexpr uint32_t UB_BYTES = 192 * 1024 - 256;
  constexpr uint32_t LANES = 64;
  constexpr uint32_t REPEATS = 64;
  AscendC::TPipe pipe;
  AscendC::TBuf<AscendC::TPosition::VECCALC> ub;
  pipe.InitBuffer(ub, UB_BYTES);
  AscendC::LocalTensor<float> all = ub.Get<float>();
  AscendC::Duplicate(all, 0.0f, UB_BYTES / sizeof(float));
  AscendC::PipeBarrier<PIPE_V>();
  AscendC::BinaryRepeatParams params;
  params.src0BlkStride = tiling.blockStride0;
  params.src0RepStride = tiling.repeatStride0;
  for (uint32_t i = 0; i < tiling.count; ++i) {
    AscendC::Add(all[tiling.dst / sizeof(float)], all[tiling.src0 / sizeof(float)],
                 all[tiling.src1 / sizeof(float)], LANES, REPEATS, params);
  }
  AscendC::SetFlag<AscendC::HardEvent::V_MTE3>(EVENT_ID0);
  AscendC::WaitFlag<AscendC::HardEvent::V_MTE3>(EVENT_ID0);
  AscendC::GlobalTensor<float> zGm;
  zGm.SetGlobalBuffer((__gm__ float*)z, LANES);
  AscendC::DataCopy(zGm, all[tiling.dst / sizeof(float)], LANES);
}
