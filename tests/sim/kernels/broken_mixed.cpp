#include "kernel_operator.h"

// Mistakes of cube cores, and between cube and vector cores; see broken.cpp.
using namespace AscendC;

template <TPosition position>
__aicore__ inline void Allocate(TPipe& pipe, uint32_t bytes) {
  TBuf<position> buffer;
  pipe.InitBuffer(buffer, bytes);  // cube_capacity
}

__aicore__ inline void CubeMistakes(GM_ADDR memory, uint32_t mistake, uint32_t past) {
  TPipe pipe;
  const LoadData2DParams oneFractal(0, 1, 0, 0, 0, false, 0);
  const MmadParams oneTile(16, 16, 16, 0, false, true);
  switch (mistake) {
    case 0:
      Allocate<TPosition::A1>(pipe, (512 * 1024 - 256) / 32 * 32 + past * 32);
      break;
    case 1:
      Allocate<TPosition::A2>(pipe, 64 * 1024 + past * 512);
      break;
    case 2:
      Allocate<TPosition::B2>(pipe, 64 * 1024 + past * 512);
      break;
    case 3:
      Allocate<TPosition::CO1>(pipe, 128 * 1024 + past * 1024);
      break;
    case 4:
      Allocate<TPosition::C2>(pipe, 1024 + past * 64);
      break;
    case 5:
      SetFlag<HardEvent::M_MTE1>(past == 1 ? EVENT_ID1 : EVENT_ID3);  // tpipe_event
      WaitFlag<HardEvent::M_MTE1>(past == 1 ? EVENT_ID1 : EVENT_ID3);
      break;
    case 6: {
      TBuf<TPosition::A1> a1;
      TBuf<TPosition::A2> a2;
      pipe.InitBuffer(a1, 512);
      pipe.InitBuffer(a2, 512);
      LoadData(a2.Get<half>(), a1.Get<half>(), oneFractal);  // uninitialised_l1
      break;
    }
    case 7: {
      TBuf<TPosition::A2> a2;
      TBuf<TPosition::B2> b2;
      TBuf<TPosition::CO1> c;
      pipe.InitBuffer(a2, 512);
      pipe.InitBuffer(b2, 512);
      pipe.InitBuffer(c, 1024);
      Mmad(c.Get<float>(), a2.Get<half>(), b2.Get<half>(), oneTile);  // uninitialised_l0
      break;
    }
    case 8: {
      TBuf<TPosition::CO1> c;
      pipe.InitBuffer(c, 1024);
      GlobalTensor<float> gm;
      gm.SetGlobalBuffer((__gm__ float*)memory, 256);
      Fixpipe(gm, c.Get<float>(), FixpipeParamsV220(16, 16, 16, 16, false));  // uninitialised_l0c
      break;
    }
    case 9: {
      TBuf<TPosition::VECCALC> ub;
      pipe.InitBuffer(ub, 256);
      Duplicate(ub.Get<float>(), 1.0f, 64);  // vector_on_cube
      break;
    }
  }
}

__aicore__ inline void MixedMistakes(uint32_t mistake, uint32_t past) {
  TPipe pipe;
  const LoadData2DParams oneFractal(0, 1, 0, 0, 0, false, 0);
  if ASCEND_IS_AIC {
    switch (mistake) {
      case 20:
        CrossCoreWaitFlag(4);  // both_wait
        CrossCoreSetFlag<2, PIPE_FIX>(5);
        break;
      case 21:
        CrossCoreSetFlag<2, PIPE_FIX>(4);  // never_waited
        break;
      case 22:
        for (uint32_t i = 0; i < 15 + past; ++i) {
          CrossCoreSetFlag<2, PIPE_FIX>(4);  // flag_counter
        }
        CrossCoreWaitFlag(5);
        break;
      case 23:
        CrossCoreWaitFlag(4);  // one_of_two
        break;
    }
  }
  if ASCEND_IS_AIV {
    switch (mistake) {
      case 20:
        CrossCoreWaitFlag(5);
        CrossCoreSetFlag<2, PIPE_MTE3>(4);
        break;
      case 22:
        CrossCoreSetFlag<2, PIPE_MTE3>(5);
        for (uint32_t i = 0; i < 15 + past; ++i) {
          CrossCoreWaitFlag(4);
        }
        break;
      case 23:
        if (GetSubBlockIdx() == 0 || past == 0) {
          CrossCoreSetFlag<2, PIPE_MTE3>(4);
        }
        break;
      case 24: {
        TBuf<TPosition::A1> a1;
        pipe.InitBuffer(a1, 512);
        TBuf<TPosition::A2> a2;
        pipe.InitBuffer(a2, 512);
        LoadData(a2.Get<half>(), a1.Get<half>(), oneFractal);  // cube_on_vector
        break;
      }
    }
  }
}

extern "C" __global__ __aicore__ void cube_mistake(GM_ADDR memory, uint32_t mistake, uint32_t past) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_MIX_AIC_1_2);
  if ASCEND_IS_AIC {
    CubeMistakes(memory, mistake, past);
  }
}

extern "C" __global__ __aicore__ void mixed_mistake(uint32_t mistake, uint32_t past) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_MIX_AIC_1_2);
  MixedMistakes(mistake, past);
}
