// Keywords, enumerations and small utilities of the AscendC dialects.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <type_traits>

#include "../sim/machine.h"

// The chip, as the device compiler announces it.
#define __CCE_AICORE__ 220
#define __DAV_C220__ 1
#define __NPU_ARCH__ 2201

// Keywords of the device compiler. Address spaces are one on the host; the simulator checks what they would.
#define __aicore__
#define __global__
#define __gm__
#define __ubuf__
#define __cbuf__
#define __ca__
#define __cb__
#define __cc__
#define __fbuf__
#define __vector__
#define __cube__
#define __mix__(cube, vector)
#define __inline__ inline
#define __in_pipe__(pipe)
#define __out_pipe__(pipe)
#define __inout_pipe__(pipe)
#define __sync_alias__
#define __sync_noalias__
#define __check_sync_alias__
#define GM_ADDR uint8_t*

// Every API takes the place it is called from as its last, defaulted parameter.
#define ASCEND_SIM_SITE const ::ascend_sim::Site& site = ::ascend_sim::Site::here()
#define ASCEND_SIM_API inline __attribute__((always_inline))

typedef enum {
  PIPE_S = 0,
  PIPE_V,
  PIPE_M,
  PIPE_MTE1,
  PIPE_MTE2,
  PIPE_MTE3,
  PIPE_ALL,
  PIPE_MTE4,
  PIPE_MTE5,
  PIPE_V2,
  PIPE_FIX,
} pipe_t;

typedef enum {
  EVENT_ID0 = 0,
  EVENT_ID1,
  EVENT_ID2,
  EVENT_ID3,
  EVENT_ID4,
  EVENT_ID5,
  EVENT_ID6,
  EVENT_ID7,
} event_t;

typedef enum {
  NoQuant = 0,
  F322F16 = 1,
  AttachF16Mul = 6,
  VREQ8 = 8,
  REQ8 = 9,
  VDEQF16 = 10,
  DEQF16 = 11,
  VSHIFTS322S16 = 12,
  SHIFTS322S16 = 13,
  F322BF16 = 16,
  VQF162B8_PRE = 17,
  QF162B8_PRE = 18,
  VQF162S4_PRE = 19,
  QF162S4_PRE = 20,
  VREQ4 = 21,
  REQ4 = 22,
  VQF322B8_PRE = 23,
  QF322B8_PRE = 24,
} QuantMode_t;

typedef enum {
  PAD_NONE = 0,
  PAD_MODE1,
  PAD_MODE2,
  PAD_MODE3,
  PAD_MODE4,
  PAD_MODE5,
  PAD_MODE6,
  PAD_MODE7,
  PAD_MODE8
} pad_t;

enum KernelMetaType : uint8_t {
  KERNEL_TYPE_AIV_ONLY,
  KERNEL_TYPE_AIC_ONLY,
  KERNEL_TYPE_MIX_AIV_1_0,
  KERNEL_TYPE_MIX_AIC_1_0,
  KERNEL_TYPE_MIX_AIC_1_1,
  KERNEL_TYPE_MIX_AIC_1_2,
};

// Branches on the core type: `if ASCEND_IS_AIC { ... }`.
#define ASCEND_IS_AIC (::ascend_sim::is_cube())
#define ASCEND_IS_AIV (!::ascend_sim::is_cube())
#define ASCEND_IS_NOT_AIC (!::ascend_sim::is_cube())
#define ASCEND_IS_NOT_AIV (::ascend_sim::is_cube())

namespace AscendC {

enum class TPosition : uint8_t {
  GM,
  A1,
  A2,
  B1,
  B2,
  C1,
  C2,
  CO1,
  CO2,
  VECIN,
  VECOUT,
  VECCALC,
  LCM = VECCALC,
  SPM,
  SHM = SPM,
  TSCM,
  C2PIPE2GM,
  C2PIPE2LOCAL,
  MAX,
};
using QuePosition = TPosition;

enum class Hardware : uint8_t { GM, UB, L1, L0A, L0B, L0C, BIAS, FIXBUF, MAX };

enum class HardEvent : uint8_t {
  MTE2_MTE1,
  MTE1_MTE2,
  MTE1_M,
  M_MTE1,
  MTE2_V,
  V_MTE2,
  MTE3_V,
  V_MTE3,
  M_V,
  V_M,
  V_V,
  MTE3_MTE1,
  MTE1_MTE3,
  MTE1_V,
  MTE2_M,
  M_MTE2,
  V_MTE1,
  M_FIX,
  FIX_M,
  MTE3_MTE2,
  MTE2_MTE3,
  S_V,
  V_S,
  S_MTE2,
  MTE2_S,
  S_MTE3,
  MTE3_S,
  MTE2_FIX,
  FIX_MTE2,
  FIX_S,
  M_S,
  FIX_MTE3,
  MTE1_FIX,
  FIX_MTE1,
  FIX_FIX,
  MAX,
};

enum class MemoryT : uint8_t { L1 = 0, L0A, L0B, L0C, UB, BIAS };
enum class MemDsbT : uint8_t { ALL = 0, DDR, UB, SEQ };
enum class RoundMode : uint8_t {
  CAST_NONE = 0,
  CAST_RINT,
  CAST_FLOOR,
  CAST_CEIL,
  CAST_ROUND,
  CAST_TRUNC,
  CAST_ODD
};
enum class CMPMODE : uint8_t { LT = 0, GT, EQ, LE, GE, NE };
enum class SELMODE : uint8_t { VSEL_CMPMASK_SPR = 0, VSEL_TENSOR_SCALAR_MODE, VSEL_TENSOR_TENSOR_MODE };
enum class ReduceOrder : uint8_t {
  ORDER_VALUE_INDEX = 0,
  ORDER_INDEX_VALUE,
  ORDER_ONLY_VALUE,
  ORDER_ONLY_INDEX
};
enum class ReduceType { NONE = -1, SUM = 0, MAX, MIN };
enum class MaskMode : uint8_t { NORMAL = 0, COUNTER };
enum class CacheLine : uint64_t { SINGLE_CACHE_LINE = 0, ENTIRE_DATA_CACHE };
enum class DcciDst : uint64_t { CACHELINE_ALL = 0, CACHELINE_UB, CACHELINE_OUT, CACHELINE_ATOMIC };
enum class CacheMode {
  CACHE_MODE_DISABLE = 0,
  CACHE_MODE_NORMAL = 1,
  CACHE_MODE_LAST = 2,
  CACHE_MODE_PERSISTENT = 4
};
enum class CacheRwMode { READ = 1, WRITE = 2, RW = 3 };
enum class DataFormat : uint8_t { ND = 0, NZ, NCHW, NC1HWC0, NHWC, NCDHW, NDC1HWC0, FRACTAL_Z_3D };
enum class BlockMode : uint8_t {
  BLOCK_MODE_NORMAL = 0,
  BLOCK_MODE_MATRIX,
  BLOCK_MODE_VECTOR,
  BLOCK_MODE_SMALL_CHANNEL,
  BLOCK_MODE_DEPTHWISE,
};
enum class DeqScale : uint8_t { DEQ_NONE = 0, DEQ, VDEQ, DEQ8, VDEQ8, DEQ16, VDEQ16 };

using TEventID = int8_t;
using TBufHandle = uint8_t*;
using TTagType = int32_t;

constexpr int32_t MIX = 0;
constexpr int32_t AIC = 1;
constexpr int32_t AIV = 2;
constexpr uint32_t ONE_BLK_SIZE = 32;
constexpr uint32_t ONE_REPEAT_BYTE_SIZE = 256;
constexpr int32_t DEFAULT_BLK_NUM = 8;
constexpr int32_t DEFAULT_BLK_STRIDE = 1;
constexpr uint8_t DEFAULT_REPEAT_STRIDE = 8;
constexpr uint8_t HALF_DEFAULT_REPEAT_STRIDE = 4;
constexpr uint16_t DEFAULT_DATA_COPY_NBURST = 1;
constexpr uint8_t DEFAULT_DATA_COPY_STRIDE = 0;
constexpr uint64_t MASK_PLACEHOLDER = 0;
constexpr uint64_t MASK_PLACEHOLDER_LIST[2] = {0, 0};
constexpr int32_t MAX_REPEAT_TIMES = 255;
constexpr int32_t PAD_SIZE = 4;
constexpr int32_t NCHW_CONV_ADDR_LIST_SIZE = 16;
constexpr uint8_t K_MAX_SHAPE_DIM = 8;
constexpr TEventID INVALID_TEVENTID = static_cast<TEventID>(-1);

template <typename T, typename U>
using IsSameType = std::is_same<T, U>;

template <typename T, typename... Others>
constexpr bool SupportType() {
  return (std::is_same_v<T, Others> || ...);
}

// A tensor's element type may be a trait that carries one.
template <typename T>
struct TensorTrait {
  using LiteType = T;
};
template <typename T, typename = void>
struct PrimTypeOf {
  using type = T;
};
template <typename T>
struct PrimTypeOf<T, std::void_t<typename T::LiteType>> {
  using type = typename T::LiteType;
};
template <typename T>
using PrimT = typename PrimTypeOf<T>::type;

__aicore__ constexpr Hardware GetPhyType(TPosition pos) {
  switch (pos) {
    case TPosition::GM:
    case TPosition::CO2:
      return Hardware::GM;
    case TPosition::A1:
    case TPosition::B1:
    case TPosition::C1:
    case TPosition::SHM:
    case TPosition::TSCM:
      return Hardware::L1;
    case TPosition::A2:
      return Hardware::L0A;
    case TPosition::B2:
      return Hardware::L0B;
    case TPosition::C2:
      return Hardware::BIAS;
    case TPosition::CO1:
      return Hardware::L0C;
    case TPosition::C2PIPE2GM:
      return Hardware::FIXBUF;
    default:
      return Hardware::UB;
  }
}

__aicore__ constexpr TPosition GetPosition(TPosition srcPos, TPosition dstPos) {
  return dstPos == TPosition::GM || dstPos == TPosition::CO2 ? srcPos : dstPos;
}
__aicore__ constexpr Hardware GetBufferPos(TPosition srcPos, TPosition dstPos) {
  return GetPhyType(GetPosition(srcPos, dstPos));
}

__aicore__ inline constexpr int16_t GetDataBlockSizeInBytes() {
  return ONE_BLK_SIZE;
}

template <typename T, typename U>
__aicore__ constexpr auto DivCeil(T a, U b) {
  return b == 0 ? a : (a + b - 1) / b;
}
template <typename T, typename U>
__aicore__ constexpr auto AlignUp(T a, U b) {
  return DivCeil(a, b) * b;
}
template <typename T, typename U>
__aicore__ constexpr auto Ceil(T a, U b) {
  return DivCeil(a, b);
}

namespace sim_detail {

constexpr ::ascend_sim::Pipe pipe_of(pipe_t pipe) {
  using ::ascend_sim::Pipe;
  switch (pipe) {
    case PIPE_S:
      return Pipe::S;
    case PIPE_V:
      return Pipe::V;
    case PIPE_M:
      return Pipe::M;
    case PIPE_MTE1:
      return Pipe::MTE1;
    case PIPE_MTE2:
      return Pipe::MTE2;
    case PIPE_MTE3:
      return Pipe::MTE3;
    case PIPE_FIX:
      return Pipe::FIX;
    default:
      return Pipe::Count;
  }
}

struct EventPipes {
  ::ascend_sim::Pipe from, to;
  const char *set_name, *wait_name;
};

// Both pipes of an event, and how its calls are named in messages.
constexpr EventPipes pipes_of(HardEvent event) {
  using ::ascend_sim::Pipe;
  switch (event) {
    default:
      return {Pipe::S, Pipe::S, "SetFlag", "WaitFlag"};
#define ASCEND_SIM_EVENT(FROM, TO) \
  case HardEvent::FROM##_##TO:     \
    return {Pipe::FROM, Pipe::TO, "SetFlag<" #FROM "_" #TO ">", "WaitFlag<" #FROM "_" #TO ">"};
      // clang-format off: it takes the list for one statement
    ASCEND_SIM_EVENT(MTE2, MTE1) ASCEND_SIM_EVENT(MTE1, MTE2) ASCEND_SIM_EVENT(MTE1, M)
    ASCEND_SIM_EVENT(M, MTE1) ASCEND_SIM_EVENT(MTE2, V) ASCEND_SIM_EVENT(V, MTE2)
    ASCEND_SIM_EVENT(MTE3, V) ASCEND_SIM_EVENT(V, MTE3) ASCEND_SIM_EVENT(M, V)
    ASCEND_SIM_EVENT(V, M) ASCEND_SIM_EVENT(V, V) ASCEND_SIM_EVENT(MTE3, MTE1)
    ASCEND_SIM_EVENT(MTE1, MTE3) ASCEND_SIM_EVENT(MTE1, V) ASCEND_SIM_EVENT(MTE2, M)
    ASCEND_SIM_EVENT(M, MTE2) ASCEND_SIM_EVENT(V, MTE1) ASCEND_SIM_EVENT(M, FIX)
    ASCEND_SIM_EVENT(FIX, M) ASCEND_SIM_EVENT(MTE3, MTE2) ASCEND_SIM_EVENT(MTE2, MTE3)
    ASCEND_SIM_EVENT(S, V) ASCEND_SIM_EVENT(V, S) ASCEND_SIM_EVENT(S, MTE2)
    ASCEND_SIM_EVENT(MTE2, S) ASCEND_SIM_EVENT(S, MTE3) ASCEND_SIM_EVENT(MTE3, S)
    ASCEND_SIM_EVENT(MTE2, FIX) ASCEND_SIM_EVENT(FIX, MTE2) ASCEND_SIM_EVENT(FIX, S)
    ASCEND_SIM_EVENT(M, S) ASCEND_SIM_EVENT(FIX, MTE3) ASCEND_SIM_EVENT(MTE1, FIX)
    ASCEND_SIM_EVENT(FIX, MTE1) ASCEND_SIM_EVENT(FIX, FIX)
      // clang-format on
#undef ASCEND_SIM_EVENT
  }
}

}  // namespace sim_detail
}  // namespace AscendC

inline int32_t sim_core_type() {
  return ::ascend_sim::is_cube() ? AscendC::AIC : AscendC::AIV;
}
#define g_coreType (::sim_core_type())
