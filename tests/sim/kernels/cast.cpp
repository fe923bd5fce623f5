#include "arena.h"

// One Cast; the pair of types is chosen at run time, in the order of PAIRS in test_cast.py.
struct CastCase {
  uint32_t pair;
  uint32_t mode;  // AscendC::RoundMode
  uint32_t form;  // 0: count, 1: mask length, 2: mask bits
  uint32_t bytes;
  uint64_t maskLow;
  uint64_t maskHigh;
  uint32_t dst;
  uint32_t src;
  uint32_t count;
  uint32_t repeat;
  uint32_t dstBlock;
  uint32_t srcBlock;
  uint32_t dstRepeat;
  uint32_t srcRepeat;
};

template <typename Dst, typename Src>
__aicore__ inline void Run(Arena& arena, const CastCase& c) {
  AscendC::LocalTensor<Dst> dst = arena.At<Dst>(c.dst);
  AscendC::LocalTensor<Src> src = arena.At<Src>(c.src);
  AscendC::RoundMode mode = static_cast<AscendC::RoundMode>(c.mode);
  AscendC::UnaryRepeatParams params(c.dstBlock, c.srcBlock, c.dstRepeat, c.srcRepeat);
  uint64_t mask[2] = {c.maskLow, c.maskHigh};
  if (c.form == 0) {
    AscendC::Cast(dst, src, mode, c.count);
  } else if (c.form == 1) {
    AscendC::Cast(dst, src, mode, c.maskLow, c.repeat, params);
  } else {
    AscendC::Cast(dst, src, mode, mask, c.repeat, params);
  }
}

extern "C" __global__ __aicore__ void cast(GM_ADDR image, CastCase c) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
  Arena arena;
  arena.Load(image, c.bytes);
  switch (c.pair) {
    case 0:
      Run<half, float>(arena, c);
      break;
    case 1:
      Run<bfloat16_t, float>(arena, c);
      break;
    case 2:
      Run<float, half>(arena, c);
      break;
    case 3:
      Run<float, bfloat16_t>(arena, c);
      break;
    case 4:
      Run<float, float>(arena, c);
      break;
    case 5:
      Run<int32_t, float>(arena, c);
      break;
    case 6:
      Run<int16_t, float>(arena, c);
      break;
    case 7:
      Run<int64_t, float>(arena, c);
      break;
    case 8:
      Run<float, int16_t>(arena, c);
      break;
    case 9:
      Run<float, int32_t>(arena, c);
      break;
    case 10:
      Run<float, int64_t>(arena, c);
      break;
    case 11:
      Run<int32_t, half>(arena, c);
      break;
    case 12:
      Run<int16_t, half>(arena, c);
      break;
    case 13:
      Run<int8_t, half>(arena, c);
      break;
    case 14:
      Run<uint8_t, half>(arena, c);
      break;
    case 15:
      Run<half, int16_t>(arena, c);
      break;
    case 16:
      Run<half, int8_t>(arena, c);
      break;
    case 17:
      Run<half, uint8_t>(arena, c);
      break;
    case 18:
      Run<int32_t, bfloat16_t>(arena, c);
      break;
    case 19:
      Run<int16_t, int32_t>(arena, c);
      break;
    case 20:
      Run<int64_t, int32_t>(arena, c);
      break;
    case 21:
      Run<int32_t, int64_t>(arena, c);
      break;
  }
  arena.Store();
}
