#pragma once

#include "kernel_operator.h"
#include "tiling.h"

// y = a x + y. The kernel of docs/simulator.md: events by hand, one buffer per operand.
__aicore__ inline void SampleAxpy(GM_ADDR xAddress, GM_ADDR yAddress, const SampleAxpyTiling& tiling) {
  using namespace AscendC;
  TPipe pipe;
  TBuf<TPosition::VECCALC> xBuffer, yBuffer;
  pipe.InitBuffer(xBuffer, tiling.tile * sizeof(float));
  pipe.InitBuffer(yBuffer, tiling.tile * sizeof(float));
  LocalTensor<float> x = xBuffer.Get<float>(), y = yBuffer.Get<float>();
  GlobalTensor<float> xGm, yGm;
  xGm.SetGlobalBuffer((__gm__ float*)xAddress, tiling.length);
  yGm.SetGlobalBuffer((__gm__ float*)yAddress, tiling.length);
  const uint32_t share = tiling.length / GetBlockNum();
  const uint32_t begin = GetBlockIdx() * share;
  SetFlag<HardEvent::V_MTE2>(EVENT_ID0);     // x is free to be loaded
  SetFlag<HardEvent::MTE3_MTE2>(EVENT_ID0);  // y is free to be loaded
  for (uint32_t i = begin; i < begin + share; i += tiling.tile) {
    WaitFlag<HardEvent::V_MTE2>(EVENT_ID0);
    WaitFlag<HardEvent::MTE3_MTE2>(EVENT_ID0);
    DataCopy(x, xGm[i], tiling.tile);
    DataCopy(y, yGm[i], tiling.tile);
    SetFlag<HardEvent::MTE2_V>(EVENT_ID0);
    WaitFlag<HardEvent::MTE2_V>(EVENT_ID0);
    Axpy(y, x, tiling.a, tiling.tile);
    SetFlag<HardEvent::V_MTE2>(EVENT_ID0);
    SetFlag<HardEvent::V_MTE3>(EVENT_ID0);
    WaitFlag<HardEvent::V_MTE3>(EVENT_ID0);
    DataCopy(yGm[i], y, tiling.tile);
    SetFlag<HardEvent::MTE3_MTE2>(EVENT_ID0);
  }
  WaitFlag<HardEvent::V_MTE2>(EVENT_ID0);
  WaitFlag<HardEvent::MTE3_MTE2>(EVENT_ID0);
}
