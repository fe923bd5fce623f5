#include "arena.h"

// Comparison, selection and rearrangement; the order of the operations is that of OPERATIONS in
// test_select.py.
struct SelectCase {
  uint32_t operation;
  uint32_t mode;  // AscendC::CMPMODE, or GatherMask's pattern
  uint32_t bytes;
  uint32_t dst;
  uint32_t src0;
  uint32_t src1;
  uint32_t bits;
  uint32_t count;
  uint32_t repeat;
  uint32_t dstBlock;
  uint32_t dstRepeat;
  uint32_t srcBlock;
  uint32_t srcRepeat;
  float scalar;
};

template <typename T>
__aicore__ inline void RunSelect(Arena& arena, const SelectCase& c) {
  AscendC::LocalTensor<T> dst = arena.At<T>(c.dst), src0 = arena.At<T>(c.src0), src1 = arena.At<T>(c.src1);
  AscendC::LocalTensor<uint8_t> bits = arena.At<uint8_t>(c.bits);
  AscendC::CMPMODE mode = static_cast<AscendC::CMPMODE>(c.mode);
  AscendC::BinaryRepeatParams binary(1, c.srcBlock, c.srcBlock, 8, c.srcRepeat, c.srcRepeat);
  AscendC::UnaryRepeatParams unary(1, c.srcBlock, 8, c.srcRepeat);
  const uint64_t lanes = 256 / sizeof(T);
  switch (c.operation) {
    case 0:
      AscendC::Compare(bits, src0, src1, mode, c.count);
      break;
    case 1:
      AscendC::Compare(bits, src0, src1, mode, lanes, c.repeat, binary);
      break;
    case 2:
      AscendC::CompareScalar(bits, src0, static_cast<T>(c.scalar), mode, c.count);
      break;
    case 3:
      AscendC::CompareScalar(bits, src0, static_cast<T>(c.scalar), mode, lanes, c.repeat, unary);
      break;
    case 4:
      AscendC::Select(dst, bits, src0, src1, AscendC::SELMODE::VSEL_TENSOR_TENSOR_MODE, c.count);
      break;
    case 5:
      AscendC::Select(dst, bits, src0, static_cast<T>(c.scalar), AscendC::SELMODE::VSEL_TENSOR_SCALAR_MODE,
                      c.count);
      break;
    case 7:  // every repeat takes the same bits
      AscendC::Select(dst, bits, src0, src1, AscendC::SELMODE::VSEL_CMPMASK_SPR, c.count);
      break;
    case 6:
      AscendC::Select(dst, bits, src0, src1, AscendC::SELMODE::VSEL_TENSOR_TENSOR_MODE, lanes, c.repeat,
                      binary);
      break;
  }
}

template <typename T>
__aicore__ inline void RunRearrange(Arena& arena, const SelectCase& c) {
  AscendC::LocalTensor<T> dst = arena.At<T>(c.dst), src0 = arena.At<T>(c.src0);
  uint64_t left = 0;
  switch (c.operation) {
    case 7:
      AscendC::GatherMask(dst, src0, static_cast<uint8_t>(c.mode), false, 0,
                          {static_cast<uint8_t>(c.srcBlock), static_cast<uint16_t>(c.repeat),
                           static_cast<uint16_t>(c.srcRepeat), 0},
                          left);
      break;
    case 9:  // a pattern of one's own, `count` elements of each repeat
      AscendC::GatherMask(dst, src0, arena.At<T>(c.src1), true, c.count,
                          {static_cast<uint8_t>(c.srcBlock), static_cast<uint16_t>(c.repeat),
                           static_cast<uint16_t>(c.srcRepeat), static_cast<uint8_t>(c.mode)},
                          left);
      break;
    case 10: {  // counter mode: the mask register counts the elements of each repeat
      AscendC::CopyRepeatParams params(c.dstBlock, c.srcBlock, c.dstRepeat, c.srcRepeat);
      AscendC::SetMaskCount();
      AscendC::SetVectorMask<T, AscendC::MaskMode::COUNTER>(c.count);
      AscendC::Copy<T, false>(dst, src0, AscendC::MASK_PLACEHOLDER, c.repeat, params);
      AscendC::SetMaskNorm();
      AscendC::ResetMask();
      break;
    }
    case 8: {
      AscendC::GatherRepeatParams params(c.dstBlock, c.dstRepeat);
      AscendC::Gatherb(dst, src0, arena.At<uint32_t>(c.src1), c.repeat, params);
      break;
    }
  }
}

extern "C" __global__ __aicore__ void select_half(GM_ADDR image, SelectCase c) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
  Arena arena;
  arena.Load(image, c.bytes);
  RunSelect<half>(arena, c);
  arena.Store();
}

extern "C" __global__ __aicore__ void select_float(GM_ADDR image, SelectCase c) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
  Arena arena;
  arena.Load(image, c.bytes);
  RunSelect<float>(arena, c);
  arena.Store();
}

extern "C" __global__ __aicore__ void rearrange_uint16_t(GM_ADDR image, SelectCase c) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
  Arena arena;
  arena.Load(image, c.bytes);
  RunRearrange<uint16_t>(arena, c);
  arena.Store();
}

extern "C" __global__ __aicore__ void rearrange_uint32_t(GM_ADDR image, SelectCase c) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
  Arena arena;
  arena.Load(image, c.bytes);
  RunRearrange<uint32_t>(arena, c);
  arena.Store();
}

// A 16 x 16 matrix of 16-bit elements.
extern "C" __global__ __aicore__ void transpose(GM_ADDR image, SelectCase c) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
  Arena arena;
  arena.Load(image, c.bytes);
  AscendC::Transpose(arena.At<uint16_t>(c.dst), arena.At<uint16_t>(c.src0));
  arena.Store();
}

// Sixteen rows of `repeat` blocks, transposed block by block: 16 x 16 elements of 16 bits each.
extern "C" __global__ __aicore__ void transpose_rows(GM_ADDR image, SelectCase c) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
  Arena arena;
  arena.Load(image, c.bytes);
  AscendC::LocalTensor<uint16_t> dst[16], src[16];
  for (uint32_t i = 0; i < 16; ++i) {
    dst[i] = arena.At<uint16_t>(c.dst + i * 32);
    src[i] = arena.At<uint16_t>(c.src0 + i * c.repeat * 32);
  }
  AscendC::TransDataTo5HDParams params(false, false, c.repeat, c.repeat > 1 ? 16 : 0, c.repeat > 1 ? 1 : 0);
  AscendC::TransDataTo5HD<uint16_t>(dst, src, params);
  arena.Store();
}
