#include "kernel.h"

template <typename T, typename U>
__aicore__ inline void RunRotaryQkv(GM_ADDR qkv, GM_ADDR cos, GM_ADDR sin, GM_ADDR q, GM_ADDR k, GM_ADDR v,
                                    const RotaryQkvTiling& tiling) {
  RotaryQkv<T, U> op;
  op.Init(qkv, cos, sin, q, k, v, tiling);
  op.Process(AscendC::GetBlockIdx(), AscendC::GetBlockNum());
}

extern "C" __global__ __aicore__ void rotary_qkv_float(GM_ADDR qkv, GM_ADDR cos, GM_ADDR sin, GM_ADDR q,
                                                       GM_ADDR k, GM_ADDR v, RotaryQkvTiling tiling) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
  RunRotaryQkv<float, float>(qkv, cos, sin, q, k, v, tiling);
}

extern "C" __global__ __aicore__ void rotary_qkv_half(GM_ADDR qkv, GM_ADDR cos, GM_ADDR sin, GM_ADDR q,
                                                      GM_ADDR k, GM_ADDR v, RotaryQkvTiling tiling) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
  if (tiling.tableType == 0) {
    RunRotaryQkv<half, float>(qkv, cos, sin, q, k, v, tiling);
  } else {
    RunRotaryQkv<half, half>(qkv, cos, sin, q, k, v, tiling);
  }
}

extern "C" __global__ __aicore__ void rotary_qkv_bfloat16(GM_ADDR qkv, GM_ADDR cos, GM_ADDR sin, GM_ADDR q,
                                                          GM_ADDR k, GM_ADDR v, RotaryQkvTiling tiling) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
  if (tiling.tableType == 0) {
    RunRotaryQkv<bfloat16_t, float>(qkv, cos, sin, q, k, v, tiling);
  } else {
    RunRotaryQkv<bfloat16_t, bfloat16_t>(qkv, cos, sin, q, k, v, tiling);
  }
}

extern "C" void launch_rotary_qkv(uint32_t blocks, void* stream, uint8_t* qkv, uint8_t* cos, uint8_t* sin,
                                  uint8_t* q, uint8_t* k, uint8_t* v, RotaryQkvTiling tiling) {
  if (tiling.type == 0) {
    rotary_qkv_float<<<blocks, nullptr, stream>>>(qkv, cos, sin, q, k, v, tiling);
  } else if (tiling.type == 1) {
    rotary_qkv_half<<<blocks, nullptr, stream>>>(qkv, cos, sin, q, k, v, tiling);
  } else {
    rotary_qkv_bfloat16<<<blocks, nullptr, stream>>>(qkv, cos, sin, q, k, v, tiling);
  }
}
