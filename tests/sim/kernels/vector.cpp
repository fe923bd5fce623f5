#include "arena.h"

// One arithmetic instruction, chosen at run time. The order of the operations is that of OPERATIONS in
// vector.py.
struct VectorCase {
  uint32_t operation;
  uint32_t form;  // 0: count, 1: mask length, 2: mask bits
  uint64_t maskLow;
  uint64_t maskHigh;
  uint32_t bytes;
  uint32_t dst;
  uint32_t src0;
  uint32_t src1;
  uint32_t count;
  uint32_t repeat;
  uint32_t dstBlock;
  uint32_t src0Block;
  uint32_t src1Block;
  uint32_t dstRepeat;
  uint32_t src0Repeat;
  uint32_t src1Repeat;
  float scalar;
};

#define BINARY(code, Api)                                           \
  case code:                                                        \
    if (c.form == 0) {                                              \
      AscendC::Api(dst, src0, src1, static_cast<int32_t>(c.count)); \
    } else if (c.form == 1) {                                       \
      AscendC::Api(dst, src0, src1, c.maskLow, c.repeat, binary);   \
    } else {                                                        \
      AscendC::Api(dst, src0, src1, mask, c.repeat, binary);        \
    }                                                               \
    break;

#define UNARY(code, Api)                                      \
  case code:                                                  \
    if (c.form == 0) {                                        \
      AscendC::Api(dst, src0, static_cast<int32_t>(c.count)); \
    } else if (c.form == 1) {                                 \
      AscendC::Api(dst, src0, c.maskLow, c.repeat, unary);    \
    } else {                                                  \
      AscendC::Api(dst, src0, mask, c.repeat, unary);         \
    }                                                         \
    break;

#define SCALAR(code, Api)                                             \
  case code:                                                          \
    if (c.form == 0) {                                                \
      AscendC::Api(dst, src0, scalar, static_cast<int32_t>(c.count)); \
    } else if (c.form == 1) {                                         \
      AscendC::Api(dst, src0, scalar, c.maskLow, c.repeat, unary);    \
    } else {                                                          \
      AscendC::Api(dst, src0, scalar, mask, c.repeat, unary);         \
    }                                                                 \
    break;

template <typename T>
class Operands {
 public:
  __aicore__ inline Operands(Arena& arena, const VectorCase& c)
      : dst(arena.At<T>(c.dst)),
        src0(arena.At<T>(c.src0)),
        src1(arena.At<T>(c.src1)),
        binary(c.dstBlock, c.src0Block, c.src1Block, c.dstRepeat, c.src0Repeat, c.src1Repeat),
        unary(c.dstBlock, c.src0Block, c.dstRepeat, c.src0Repeat) {
    mask[0] = c.maskLow;
    mask[1] = c.maskHigh;
    scalar = static_cast<T>(c.scalar);
  }

  AscendC::LocalTensor<T> dst;
  AscendC::LocalTensor<T> src0;
  AscendC::LocalTensor<T> src1;
  AscendC::BinaryRepeatParams binary;
  AscendC::UnaryRepeatParams unary;
  uint64_t mask[2];
  T scalar;
};

#define UNPACK(T)                                                    \
  Operands<T> o(arena, c);                                           \
  AscendC::LocalTensor<T> dst = o.dst, src0 = o.src0, src1 = o.src1; \
  AscendC::BinaryRepeatParams binary = o.binary;                     \
  AscendC::UnaryRepeatParams unary = o.unary;                        \
  uint64_t mask[2] = {o.mask[0], o.mask[1]};                         \
  T scalar = o.scalar;

template <typename T>
__aicore__ inline void RunCommon(Arena& arena, const VectorCase& c) {
  UNPACK(T)
  switch (c.operation) {
    BINARY(0, Add)
    BINARY(1, Sub)
    BINARY(2, Mul)
    BINARY(3, Max)
    BINARY(4, Min)
    SCALAR(5, Adds)
    SCALAR(6, Muls)
    SCALAR(7, Maxs)
    SCALAR(8, Mins)
    case 9:
      if (c.form == 0) {
        AscendC::Duplicate(dst, scalar, static_cast<int32_t>(c.count));
      } else if (c.form == 1) {
        AscendC::Duplicate(dst, scalar, c.maskLow, c.repeat, c.dstBlock, c.dstRepeat);
      } else {
        AscendC::Duplicate(dst, scalar, mask, c.repeat, c.dstBlock, c.dstRepeat);
      }
      break;
    case 11:  // the mask comes from the register: bits
      AscendC::SetVectorMask<T>(c.maskHigh, c.maskLow);
      AscendC::Add<T, false>(dst, src0, src1, AscendC::MASK_PLACEHOLDER, c.repeat, binary);
      AscendC::ResetMask();
      break;
    case 12:  // counter mode: elements in all, whatever the repeat count
      AscendC::SetMaskCount();
      AscendC::SetVectorMask<T, AscendC::MaskMode::COUNTER>(c.count);
      AscendC::Add<T, false>(dst, src0, src1, AscendC::MASK_PLACEHOLDER, 1, binary);
      AscendC::SetMaskNorm();
      AscendC::ResetMask();
      break;
    case 10: {
      AscendC::CopyRepeatParams copy(c.dstBlock, c.src0Block, c.dstRepeat, c.src0Repeat);
      if (c.form == 1) {
        AscendC::Copy(dst, src0, c.maskLow, c.repeat, copy);
      } else {
        AscendC::Copy(dst, src0, mask, c.repeat, copy);
      }
      break;
    }
  }
}

template <typename T>
__aicore__ inline void RunFloating(Arena& arena, const VectorCase& c) {
  UNPACK(T)
  switch (c.operation) {
    BINARY(20, Div)
    BINARY(21, MulAddDst)
    UNARY(22, Exp)
    UNARY(23, Ln)
    UNARY(24, Abs)
    UNARY(25, Reciprocal)
    UNARY(26, Sqrt)
    UNARY(27, Rsqrt)
    UNARY(28, Relu)
    SCALAR(29, LeakyRelu)
    SCALAR(30, Axpy)
    BINARY(31, AddRelu)
    BINARY(32, SubRelu)
    BINARY(33, FusedMulAdd)
    BINARY(34, FusedMulAddRelu)
    default:
      RunCommon<T>(arena, c);
  }
}

template <typename T>
__aicore__ inline void RunShifts(Arena& arena, const VectorCase& c) {
  UNPACK(T)
  switch (c.operation) {
    SCALAR(43, ShiftLeft)
    SCALAR(44, ShiftRight)
  }
}

template <typename T>
__aicore__ inline void RunBits(Arena& arena, const VectorCase& c) {
  UNPACK(T)
  switch (c.operation) {
    BINARY(40, And)
    BINARY(41, Or)
    UNARY(42, Not)
    default:
      RunShifts<T>(arena, c);
  }
}

extern "C" __global__ __aicore__ void vector_half(GM_ADDR image, VectorCase c) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
  Arena arena;
  arena.Load(image, c.bytes);
  RunFloating<half>(arena, c);
  arena.Store();
}

extern "C" __global__ __aicore__ void vector_float(GM_ADDR image, VectorCase c) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
  Arena arena;
  arena.Load(image, c.bytes);
  RunFloating<float>(arena, c);
  arena.Store();
}

extern "C" __global__ __aicore__ void vector_int16_t(GM_ADDR image, VectorCase c) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
  Arena arena;
  arena.Load(image, c.bytes);
  if (c.operation < 40) {
    RunCommon<int16_t>(arena, c);
  } else {
    RunBits<int16_t>(arena, c);
  }
  arena.Store();
}

extern "C" __global__ __aicore__ void vector_int32_t(GM_ADDR image, VectorCase c) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
  Arena arena;
  arena.Load(image, c.bytes);
  if (c.operation < 40) {
    RunCommon<int32_t>(arena, c);
  } else {
    RunShifts<int32_t>(arena, c);
  }
  arena.Store();
}
