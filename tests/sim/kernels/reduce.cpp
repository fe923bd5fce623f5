#include "arena.h"

// One reduction, Brcb or Gather; the order of the operations is that of OPERATIONS in test_reduce.py.
struct ReduceCase {
  uint32_t operation;
  uint32_t form;  // 1: mask length, 2: mask bits
  uint64_t maskLow;
  uint64_t maskHigh;
  uint32_t order;  // AscendC::ReduceOrder
  uint32_t bytes;
  uint32_t dst;
  uint32_t src;
  uint32_t offsets;
  uint32_t repeat;
  uint32_t dstBlock;
  uint32_t dstRepeat;
  uint32_t srcBlock;
  uint32_t srcRepeat;
  uint32_t base;
  uint32_t count;
};

#define WHOLE(code, Api)                                                                     \
  case code:                                                                                 \
    if (c.form == 1) {                                                                       \
      AscendC::Api(dst, src, length, c.repeat, c.dstRepeat, c.srcBlock, c.srcRepeat, order); \
    } else {                                                                                 \
      AscendC::Api(dst, src, mask, c.repeat, c.dstRepeat, c.srcBlock, c.srcRepeat, order);   \
    }                                                                                        \
    break;

#define BLOCK(code, Api)                                                              \
  case code:                                                                          \
    if (c.form == 1) {                                                                \
      AscendC::Api(dst, src, c.repeat, length, c.dstRepeat, c.srcBlock, c.srcRepeat); \
    } else {                                                                          \
      AscendC::Api(dst, src, c.repeat, mask, c.dstRepeat, c.srcBlock, c.srcRepeat);   \
    }                                                                                 \
    break;

template <typename T>
__aicore__ inline void Run(Arena& arena, const ReduceCase& c) {
  AscendC::LocalTensor<T> dst = arena.At<T>(c.dst);
  AscendC::LocalTensor<T> src = arena.At<T>(c.src);
  AscendC::ReduceOrder order = static_cast<AscendC::ReduceOrder>(c.order);
  const int32_t length = static_cast<int32_t>(c.maskLow);
  const uint64_t mask[2] = {c.maskLow, c.maskHigh};
  switch (c.operation) {
    WHOLE(0, WholeReduceMax)
    WHOLE(1, WholeReduceMin)
    BLOCK(3, BlockReduceSum)
    BLOCK(4, BlockReduceMax)
    BLOCK(5, BlockReduceMin)
    BLOCK(6, PairReduceSum)
    case 2:
      if (c.form == 1) {
        AscendC::WholeReduceSum(dst, src, length, c.repeat, c.dstRepeat, c.srcBlock, c.srcRepeat);
      } else {
        AscendC::WholeReduceSum(dst, src, mask, c.repeat, c.dstRepeat, c.srcBlock, c.srcRepeat);
      }
      break;
  }
}

template <typename T>
__aicore__ inline void RunMove(Arena& arena, const ReduceCase& c) {
  AscendC::LocalTensor<T> dst = arena.At<T>(c.dst);
  AscendC::LocalTensor<T> src = arena.At<T>(c.src);
  AscendC::LocalTensor<uint32_t> offsets = arena.At<uint32_t>(c.offsets);
  if (c.operation == 7) {
    AscendC::Brcb(dst, src, c.repeat,
                  {static_cast<uint16_t>(c.dstBlock), static_cast<uint16_t>(c.dstRepeat)});
  } else if (c.form == 0) {
    AscendC::Gather(dst, src, offsets, c.base, c.count);
  } else {
    AscendC::Gather(dst, src, offsets, c.base, c.maskLow, c.repeat, c.dstRepeat);
  }
}

extern "C" __global__ __aicore__ void reduce_half(GM_ADDR image, ReduceCase c) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
  Arena arena;
  arena.Load(image, c.bytes);
  Run<half>(arena, c);
  arena.Store();
}

extern "C" __global__ __aicore__ void reduce_float(GM_ADDR image, ReduceCase c) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
  Arena arena;
  arena.Load(image, c.bytes);
  Run<float>(arena, c);
  arena.Store();
}

extern "C" __global__ __aicore__ void move_half(GM_ADDR image, ReduceCase c) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
  Arena arena;
  arena.Load(image, c.bytes);
  RunMove<half>(arena, c);
  arena.Store();
}

extern "C" __global__ __aicore__ void move_float(GM_ADDR image, ReduceCase c) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
  Arena arena;
  arena.Load(image, c.bytes);
  RunMove<float>(arena, c);
  arena.Store();
}
