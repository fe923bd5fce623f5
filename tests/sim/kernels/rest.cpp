#include "arena.h"

// Vector instructions that stand alone; the order of the operations is that of test_rest.py.
struct RestCase {
  uint32_t operation;
  uint32_t bytes;
  uint32_t dst;
  uint32_t src;
  uint32_t work;
  uint32_t count;
  uint32_t repeat;
  uint32_t repeatStride;
  uint32_t withIndex;
  float scalar;
};

template <typename T>
__aicore__ inline void Run(Arena& arena, const RestCase& c) {
  AscendC::LocalTensor<T> dst = arena.At<T>(c.dst), src = arena.At<T>(c.src), work = arena.At<T>(c.work);
  const int32_t count = static_cast<int32_t>(c.count), repeat = static_cast<int32_t>(c.repeat);
  const int32_t stride = static_cast<int32_t>(c.repeatStride);
  switch (c.operation) {
    case 0:
      AscendC::ReduceSum(dst, src, work, count);
      break;
    case 1:
      AscendC::ReduceMax(dst, src, work, count, c.withIndex == 1);
      break;
    case 2:
      AscendC::ReduceMin(dst, src, work, count, c.withIndex == 1);
      break;
    case 3:
      AscendC::ReduceSum(dst, src, work, count, repeat, stride);
      break;
    case 4:
      AscendC::RepeatReduceSum(dst, src, repeat, count, 0, 1, 1, stride);
      break;
    case 5:
      AscendC::CreateVecIndex(dst, static_cast<T>(c.scalar), c.count);
      break;
  }
}

extern "C" __global__ __aicore__ void rest_half(GM_ADDR image, RestCase c) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
  Arena arena;
  arena.Load(image, c.bytes);
  Run<half>(arena, c);
  arena.Store(c.src);
}

extern "C" __global__ __aicore__ void rest_float(GM_ADDR image, RestCase c) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
  Arena arena;
  arena.Load(image, c.bytes);
  Run<float>(arena, c);
  arena.Store(c.src);
}

// int32 to half through the scale of SetDeqScale.
extern "C" __global__ __aicore__ void dequantise(GM_ADDR image, RestCase c) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
  Arena arena;
  arena.Load(image, c.bytes);
  AscendC::SetDeqScale(static_cast<half>(c.scalar));
  AscendC::Cast(arena.At<half>(c.dst), arena.At<int32_t>(c.src), AscendC::RoundMode::CAST_NONE, c.count);
  arena.Store();
}

template <typename T>
__aicore__ inline void MoveBytes(Arena& arena, const RestCase& c) {
  AscendC::LocalTensor<T> dst = arena.At<T>(c.dst), src = arena.At<T>(c.src);
  AscendC::CopyRepeatParams strides(1, 1, 8, 8);
  if (c.operation == 0) {
    AscendC::Copy(dst, src, static_cast<uint64_t>(c.count), c.repeat, strides);
  } else if (c.operation == 1) {
    AscendC::Brcb(dst, src, c.repeat, {1, 8});
  } else {
    AscendC::Gather(dst, src, arena.At<uint32_t>(c.work), 0, c.count);
  }
}

extern "C" __global__ __aicore__ void move_bfloat16(GM_ADDR image, RestCase c) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
  Arena arena;
  arena.Load(image, c.bytes);
  MoveBytes<bfloat16_t>(arena, c);
  arena.Store();
}

// Every core adds (0), or takes the larger (1) or smaller (2), of its `count` elements into the same GM.
template <typename T>
__aicore__ inline void Accumulate(GM_ADDR sources, GM_ADDR out, uint32_t operation, uint32_t count) {
  AscendC::TPipe pipe;
  AscendC::TBuf<AscendC::TPosition::VECCALC> buffer;
  pipe.InitBuffer(buffer, count * sizeof(T));
  AscendC::GlobalTensor<T> sourceGm, outGm;
  sourceGm.SetGlobalBuffer((__gm__ T*)sources + AscendC::GetBlockIdx() * count, count);
  outGm.SetGlobalBuffer((__gm__ T*)out, count);
  AscendC::DataCopy(buffer.Get<T>(), sourceGm, count);
  AscendC::SetFlag<AscendC::HardEvent::MTE2_MTE3>(EVENT_ID0);
  AscendC::WaitFlag<AscendC::HardEvent::MTE2_MTE3>(EVENT_ID0);
  if (operation == 0) {
    AscendC::SetAtomicAdd<T>();
  } else if (operation == 1) {
    AscendC::SetAtomicMax<T>();
  } else {
    AscendC::SetAtomicMin<T>();
  }
  AscendC::DataCopy(outGm, buffer.Get<T>(), count);
  AscendC::SetAtomicNone();
}

extern "C" __global__ __aicore__ void atomic_float(GM_ADDR sources, GM_ADDR out, uint32_t operation,
                                                   uint32_t count) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
  Accumulate<float>(sources, out, operation, count);
}

extern "C" __global__ __aicore__ void atomic_half(GM_ADDR sources, GM_ADDR out, uint32_t operation,
                                                  uint32_t count) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
  Accumulate<half>(sources, out, operation, count);
}

extern "C" __global__ __aicore__ void atomic_int32_t(GM_ADDR sources, GM_ADDR out, uint32_t operation,
                                                     uint32_t count) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
  Accumulate<int32_t>(sources, out, operation, count);
}
