#include "arena.h"

// One move between GM and UB, with every field of its parameters.
struct CopyCase {
  uint32_t operation;  // 0 DataCopy in, 1 out, 2 DataCopyPad in, 3 DataCopyPad out, 4 UB to UB, 5 in by
                       // count, 6 out by count
  uint32_t bytes;      // of the UB image
  uint32_t gmBytes;
  uint32_t gm;  // byte offset into GM
  uint32_t ub;  // byte offset into the UB image
  uint32_t ubSource;
  uint32_t blockCount;
  uint32_t blockLength;
  uint32_t srcStride;
  uint32_t dstStride;
  uint32_t isPad;
  uint32_t leftPadding;
  uint32_t rightPadding;
  uint32_t count;
  uint32_t setPadValue;  // 1: SetPadValue(padding) first
  float padding;
};

template <typename T>
__aicore__ inline void Run(GM_ADDR image, GM_ADDR memory, const CopyCase& c) {
  Arena arena;
  arena.Load(image, c.bytes);
  AscendC::GlobalTensor<T> gm;
  gm.SetGlobalBuffer((__gm__ T*)(memory + c.gm), (c.gmBytes - c.gm) / sizeof(T));
  AscendC::LocalTensor<T> ub = arena.At<T>(c.ub);
  AscendC::DataCopyParams blocks(c.blockCount, c.blockLength, c.srcStride, c.dstStride);
  AscendC::DataCopyExtParams rows(c.blockCount, c.blockLength, c.srcStride, c.dstStride, 0);
  if (c.setPadValue == 1) {
    AscendC::SetPadValue(static_cast<T>(c.padding));
  }
  switch (c.operation) {
    case 0:
      AscendC::DataCopy(ub, gm, blocks);
      break;
    case 1:
      AscendC::DataCopy(gm, ub, blocks);
      break;
    case 2: {
      AscendC::DataCopyPadExtParams<T> padding(c.isPad == 1, c.leftPadding, c.rightPadding,
                                               static_cast<T>(c.padding));
      AscendC::DataCopyPad(ub, gm, rows, padding);
      break;
    }
    case 3:
      AscendC::DataCopyPad(gm, ub, rows);
      break;
    case 4:
      AscendC::DataCopy(ub, arena.At<T>(c.ubSource), blocks);
      break;
    case 5:
      AscendC::DataCopy(ub, gm, c.count);
      break;
    case 6:
      AscendC::DataCopy(gm, ub, c.count);
      break;
  }
  arena.Store();
}

extern "C" __global__ __aicore__ void copy_half(GM_ADDR image, GM_ADDR memory, CopyCase c) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
  Run<half>(image, memory, c);
}

extern "C" __global__ __aicore__ void copy_float(GM_ADDR image, GM_ADDR memory, CopyCase c) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
  Run<float>(image, memory, c);
}

extern "C" __global__ __aicore__ void copy_int8_t(GM_ADDR image, GM_ADDR memory, CopyCase c) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
  Run<int8_t>(image, memory, c);
}
