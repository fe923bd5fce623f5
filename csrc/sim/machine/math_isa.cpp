// See math.h. SIM_ISA names the variant; the build compiles this file once for each, with that instruction
// set's flags.
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>

#if defined(__F16C__)
#include <immintrin.h>
#endif

#include "math.h"
#include "round.h"

namespace ascend_sim {
namespace SIM_ISA {
namespace {

// ---- types ----

struct Half {};  // stored as 16 bits, computed in fp32 and rounded: exact for one +, -, *, / or sqrt

template <class T>
struct Storage {
  using type = T;
};
template <>
struct Storage<Half> {
  using type = uint16_t;
};

template <class T>
T scalar_as(uint64_t bits) {
  T value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}
template <>
[[maybe_unused]] Half scalar_as<Half>(uint64_t) {
  return {};
}

void half_to_float(float* dst, const uint16_t* src, size_t n) {
  size_t i = 0;
#if defined(__F16C__)
  for (; i + 8 <= n; i += 8)
    _mm256_storeu_ps(dst + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(src + i))));
#endif
  for (; i < n; ++i) dst[i] = widen_half(src[i]);
}

void float_to_half(uint16_t* dst, const float* src, size_t n) {
  size_t i = 0;
#if defined(__F16C__)
  for (; i + 8 <= n; i += 8)
    _mm_storeu_si128(reinterpret_cast<__m128i*>(dst + i),
                     _mm256_cvtps_ph(_mm256_loadu_ps(src + i), _MM_FROUND_TO_NEAREST_INT));
#endif
  for (; i < n; ++i) dst[i] = narrow_half(src[i], kRint);
}

// ---- operations; float covers fp16 too ----

template <class T>
using Wrap = std::make_unsigned_t<T>;

// Integer arithmetic wraps around.
#define SIM_ARITHMETIC(NAME, SIGN)                                                     \
  struct NAME {                                                                        \
    template <class T>                                                                 \
    static T of(T a, T b, T, T) {                                                      \
      if constexpr (std::is_integral_v<T>)                                             \
        return static_cast<T>(static_cast<uint64_t>(a) SIGN static_cast<uint64_t>(b)); \
      else                                                                             \
        return a SIGN b;                                                               \
    }                                                                                  \
  };
SIM_ARITHMETIC(Add, +)
SIM_ARITHMETIC(Sub, -)
SIM_ARITHMETIC(Mul, *)
#undef SIM_ARITHMETIC

#define SIM_OP(NAME, EXPRESSION)                                                                          \
  struct NAME {                                                                                           \
    template <class T>                                                                                    \
    static T of([[maybe_unused]] T a, [[maybe_unused]] T b, [[maybe_unused]] T s, [[maybe_unused]] T d) { \
      return EXPRESSION;                                                                                  \
    }                                                                                                     \
  };
// NaN operands of Max and Min come through, as IEEE 754-2019 maximum and minimum.
SIM_OP(Max, a != a ? a : b != b ? b : (a > b ? a : b))
SIM_OP(Min, a != a ? a : b != b ? b : (a < b ? a : b))
SIM_OP(Div, a / b)
SIM_OP(And, static_cast<T>(a& b))
SIM_OP(Or, static_cast<T>(a | b))
SIM_OP(Not, static_cast<T>(~a))
SIM_OP(AbsOf, std::fabs(a))
SIM_OP(Relu, a < 0 ? T(0) : a)
SIM_OP(SqrtOf, std::sqrt(a))
SIM_OP(LnOf, std::log(a))
SIM_OP(AddRelu, (Relu::of<T>(Add::of<T>(a, b, s, d), b, s, d)))
SIM_OP(SubRelu, (Relu::of<T>(Sub::of<T>(a, b, s, d), b, s, d)))
SIM_OP(Adds, (Add::of<T>(a, s, s, d)))
SIM_OP(Muls, (Mul::of<T>(a, s, s, d)))
SIM_OP(Maxs, (Max::of<T>(a, s, s, d)))
SIM_OP(Mins, (Min::of<T>(a, s, s, d)))
SIM_OP(LeakyRelu, a < 0 ? a * s : a)
SIM_OP(ShiftLeft, static_cast<T>(static_cast<Wrap<T>>(a) << (s & (sizeof(T) * 8 - 1))))
SIM_OP(ShiftRight, static_cast<T>(a >> (s & (sizeof(T) * 8 - 1))))
SIM_OP(ShiftRightRound,
       s == 0 ? a : static_cast<T>((int64_t{a} + (int64_t{1} << (s - 1))) >> (s & (sizeof(T) * 8 - 1))))
// Fused: one rounding.
SIM_OP(MulAddDst, std::fma(a, b, d))
SIM_OP(FusedMulAdd, std::fma(a, d, b))
SIM_OP(FusedMulAddRelu, (Relu::of<T>(std::fma(a, d, b), b, s, d)))
SIM_OP(Axpy, std::fma(a, s, d))

// e^x to about 1 ulp, the error CANN states for Exp: 2^n times a polynomial on [-ln2/2, ln2/2]. Vectorises.
SIM_OP(ExpOf, ([](float x) {
         const float clamped = x > 89.0f ? 89.0f : x < -104.0f ? -104.0f : x;
         const float n = std::nearbyint(clamped * 1.44269504f);
         const float r = std::fma(n, -1.42860677e-6f, std::fma(n, -0.693145752f, clamped));
         float p = 1.98756912e-4f;
         p = std::fma(p, r, 1.39819994e-3f);
         p = std::fma(p, r, 8.33345205e-3f);
         p = std::fma(p, r, 4.16657962e-2f);
         p = std::fma(p, r, 1.66666657e-1f);
         p = std::fma(p, r, 5.00000000e-1f);
         p = std::fma(p, r * r, r) + 1.0f;
         // Two factors, so that results below 2^-126 round once and overflow gives infinity.
         const int whole = static_cast<int>(n), half = whole / 2;
         const auto power = [](int e) {
           const uint32_t bits = static_cast<uint32_t>(e + 127) << 23;
           float f;
           std::memcpy(&f, &bits, 4);
           return f;
         };
         const float result = p * power(half) * power(whole - half);
         return x != x ? x : result;
       }(a)))

// The hardware's reciprocal instructions are estimates: CANN documents that fp32 misses 1e-4 and fp16 1e-3.
// Modelled as the exact result cut to its leading fraction bits.
template <int kBits>
float estimate(float exact) {
  uint32_t bits;
  std::memcpy(&bits, &exact, 4);
  if ((bits & 0x7F800000) != 0x7F800000) bits &= ~((1u << (23 - kBits)) - 1);
  float result;
  std::memcpy(&result, &bits, 4);
  return result;
}
template <int kBits>
struct Reciprocal {
  template <class T>
  static T of(T a, T, T, T) {
    return estimate<kBits>(1.0f / a);
  }
};
template <int kBits>
struct Rsqrt {
  template <class T>
  static T of(T a, T, T, T) {
    return estimate<kBits>(1.0f / std::sqrt(a));
  }
};
constexpr int kFloatEstimate = 11, kHalfEstimate = 8;

// ---- loops ----

// `kReads` tells which of a, b and the old dst the operation needs.
enum Reads { kA = 1, kB = 2, kD = 4 };

template <class Op, class T, int kReads>
void loop(uint8_t* dst, const uint8_t* a, const uint8_t* b, size_t n, uint64_t scalar) {
  if constexpr (std::is_same_v<T, Half>) {
    constexpr size_t kChunk = 512;
    float x[kChunk], y[kChunk] = {}, d[kChunk] = {};
    const uint16_t bits = static_cast<uint16_t>(scalar);
    float s;
    half_to_float(&s, &bits, 1);
    for (size_t from = 0; from < n; from += kChunk) {
      const size_t count = n - from < kChunk ? n - from : kChunk;
      half_to_float(x, reinterpret_cast<const uint16_t*>(a) + from, count);
      if constexpr (kReads & kB) half_to_float(y, reinterpret_cast<const uint16_t*>(b) + from, count);
      if constexpr (kReads & kD) half_to_float(d, reinterpret_cast<const uint16_t*>(dst) + from, count);
      for (size_t i = 0; i < count; ++i) x[i] = Op::template of<float>(x[i], y[i], s, d[i]);
      float_to_half(reinterpret_cast<uint16_t*>(dst) + from, x, count);
    }
  } else {
    T* out = reinterpret_cast<T*>(dst);
    const T *x = reinterpret_cast<const T*>(a), *y = reinterpret_cast<const T*>(kReads & kB ? b : a);
    const T s = scalar_as<T>(scalar);
#pragma GCC ivdep
    for (size_t i = 0; i < n; ++i) out[i] = Op::template of<T>(x[i], y[i], s, out[i]);
  }
}

// dst fp32, sources fp16.
template <class Op, int kReads>
void loop_widening(uint8_t* dst, const uint8_t* a, const uint8_t* b, size_t n, uint64_t scalar) {
  constexpr size_t kChunk = 512;
  float x[kChunk], y[kChunk] = {};
  const uint16_t bits = static_cast<uint16_t>(scalar);
  float s;
  half_to_float(&s, &bits, 1);
  float* out = reinterpret_cast<float*>(dst);
  for (size_t from = 0; from < n; from += kChunk) {
    const size_t count = n - from < kChunk ? n - from : kChunk;
    half_to_float(x, reinterpret_cast<const uint16_t*>(a) + from, count);
    if constexpr (kReads & kB) half_to_float(y, reinterpret_cast<const uint16_t*>(b) + from, count);
    for (size_t i = 0; i < count; ++i) out[from + i] = Op::template of<float>(x[i], y[i], s, out[from + i]);
  }
}

template <class Op, int kReads>
Lanes pick_float(DType type) {
  if (type == DType::F32) return loop<Op, float, kReads>;
  if (type == DType::F16) return loop<Op, Half, kReads>;
  return nullptr;
}

template <class Op, int kReads>
Lanes pick_number(DType type) {
  if (type == DType::S16) return loop<Op, int16_t, kReads>;
  if (type == DType::S32) return loop<Op, int32_t, kReads>;
  return pick_float<Op, kReads>(type);
}

template <class Op, int kReads>
Lanes pick_bits(DType type) {
  if (type == DType::S16) return loop<Op, int16_t, kReads>;
  if (type == DType::U16) return loop<Op, uint16_t, kReads>;
  return nullptr;
}

template <class Op, int kReads>
Lanes pick_shift(DType type) {
  if (type == DType::S32) return loop<Op, int32_t, kReads>;
  if (type == DType::U32) return loop<Op, uint32_t, kReads>;
  return pick_bits<Op, kReads>(type);
}

template <template <int> class Op>
Lanes pick_estimate(DType type) {
  if (type == DType::F32) return loop<Op<kFloatEstimate>, float, kA>;
  if (type == DType::F16) return loop<Op<kHalfEstimate>, Half, kA>;
  return nullptr;
}

template <class Op, int kReads>
Lanes pick_fused(DType dst, DType src) {
  if (dst == src) return pick_float<Op, kReads>(dst);
  if (dst == DType::F32 && src == DType::F16) return loop_widening<Op, kReads>;
  return nullptr;
}

template <class Op, int kReads>
Lanes pick_relu(DType type) {
  if (type == DType::S16) return loop<Op, int16_t, kReads>;
  return pick_float<Op, kReads>(type);
}

void fill(uint8_t* dst, const uint8_t*, const uint8_t*, size_t n, uint64_t scalar, size_t size) {
  if (size == 4) {
    std::fill_n(reinterpret_cast<uint32_t*>(dst), n, static_cast<uint32_t>(scalar));
  } else {
    std::fill_n(reinterpret_cast<uint16_t*>(dst), n, static_cast<uint16_t>(scalar));
  }
}
void fill16(uint8_t* dst, const uint8_t* a, const uint8_t* b, size_t n, uint64_t s) {
  fill(dst, a, b, n, s, 2);
}
void fill32(uint8_t* dst, const uint8_t* a, const uint8_t* b, size_t n, uint64_t s) {
  fill(dst, a, b, n, s, 4);
}
void copy16(uint8_t* dst, const uint8_t* a, const uint8_t*, size_t n, uint64_t) {
  std::memmove(dst, a, n * 2);
}
void copy32(uint8_t* dst, const uint8_t* a, const uint8_t*, size_t n, uint64_t) {
  std::memmove(dst, a, n * 4);
}

Lanes elementwise(VecCode code, DType dst, DType src) {
  switch (code) {
    case VecCode::Abs:
      return pick_float<AbsOf, kA>(dst);
    case VecCode::Exp:
      return pick_float<ExpOf, kA>(dst);
    case VecCode::Ln:
      return pick_float<LnOf, kA>(dst);
    case VecCode::Sqrt:
      return pick_float<SqrtOf, kA>(dst);
    case VecCode::Rsqrt:
      return pick_estimate<Rsqrt>(dst);
    case VecCode::Reciprocal:
      return pick_estimate<Reciprocal>(dst);
    case VecCode::Relu:
      return dst == DType::S32 ? loop<Relu, int32_t, kA> : pick_float<Relu, kA>(dst);
    case VecCode::Not:
      return pick_bits<Not, kA>(dst);
    case VecCode::Add:
      return pick_number<Add, kA | kB>(dst);
    case VecCode::Sub:
      return pick_number<Sub, kA | kB>(dst);
    case VecCode::Mul:
      return pick_number<Mul, kA | kB>(dst);
    case VecCode::Div:
      return pick_float<Div, kA | kB>(dst);
    case VecCode::Max:
      return pick_number<Max, kA | kB>(dst);
    case VecCode::Min:
      return pick_number<Min, kA | kB>(dst);
    case VecCode::And:
      return pick_bits<And, kA | kB>(dst);
    case VecCode::Or:
      return pick_bits<Or, kA | kB>(dst);
    case VecCode::AddRelu:
      return pick_relu<AddRelu, kA | kB>(dst);
    case VecCode::SubRelu:
      return pick_relu<SubRelu, kA | kB>(dst);
    case VecCode::MulAddDst:
      return pick_fused<MulAddDst, kA | kB | kD>(dst, src);
    case VecCode::FusedMulAdd:
      return pick_float<FusedMulAdd, kA | kB | kD>(dst);
    case VecCode::FusedMulAddRelu:
      return pick_float<FusedMulAddRelu, kA | kB | kD>(dst);
    case VecCode::Adds:
      return pick_number<Adds, kA>(dst);
    case VecCode::Muls:
      return pick_number<Muls, kA>(dst);
    case VecCode::Maxs:
      return pick_number<Maxs, kA>(dst);
    case VecCode::Mins:
      return pick_number<Mins, kA>(dst);
    case VecCode::LeakyRelu:
      return pick_float<LeakyRelu, kA>(dst);
    case VecCode::ShiftLeft:
      return pick_shift<ShiftLeft, kA>(dst);
    case VecCode::ShiftRight:
      return pick_shift<ShiftRight, kA>(dst);
    case VecCode::ShiftRightRound:
      return pick_shift<ShiftRightRound, kA>(dst);
    case VecCode::Axpy:
      return pick_fused<Axpy, kA | kD>(dst, src);
    case VecCode::Duplicate:
      return size_of(dst) == 4 ? fill32 : size_of(dst) == 2 ? fill16 : nullptr;
    case VecCode::Copy:
      return size_of(dst) == 4 ? copy32 : size_of(dst) == 2 ? copy16 : nullptr;
    default:
      return nullptr;
  }
}

// ---- comparison ----

template <class T>
bool compared(T a, T b, int mode) {
  switch (mode) {
    case 0:
      return a < b;
    case 1:
      return a > b;
    case 2:
      return a == b;
    case 3:
      return a <= b;
    case 4:
      return a >= b;
    default:
      return a != b;
  }
}

template <class T, int kMode, bool kScalar>
void compare_loop(uint8_t* dst, const uint8_t* a, const uint8_t* b, size_t n, uint64_t scalar) {
  using Stored = typename Storage<T>::type;
  const auto value = [](const uint8_t* at, size_t i) {
    Stored stored;
    std::memcpy(&stored, at + i * sizeof stored, sizeof stored);
    if constexpr (std::is_same_v<T, Half>)
      return widen_half(stored);
    else
      return stored;
  };
  const uint8_t* second = kScalar ? reinterpret_cast<const uint8_t*>(&scalar) : b;
  std::memset(dst, 0, (n + 7) / 8);
  for (size_t i = 0; i < n; ++i)
    if (compared(value(a, i), value(second, kScalar ? 0 : i), kMode))
      dst[i / 8] = static_cast<uint8_t>(dst[i / 8] | 1u << (i % 8));
}

template <class T, bool kScalar>
Lanes pick_compare(uint8_t mode) {
  constexpr Lanes modes[] = {compare_loop<T, 0, kScalar>, compare_loop<T, 1, kScalar>,
                             compare_loop<T, 2, kScalar>, compare_loop<T, 3, kScalar>,
                             compare_loop<T, 4, kScalar>, compare_loop<T, 5, kScalar>};
  return mode < 6 ? modes[mode] : nullptr;
}

Lanes compare(DType src, uint8_t mode, bool scalar) {
  if (src == DType::F32) return scalar ? pick_compare<float, true>(mode) : pick_compare<float, false>(mode);
  if (src == DType::F16) return scalar ? pick_compare<Half, true>(mode) : pick_compare<Half, false>(mode);
  // Of the integers the hardware compares int32 only, and only for equality.
  if (src == DType::S32 && mode == 2)
    return scalar ? pick_compare<int32_t, true>(mode) : pick_compare<int32_t, false>(mode);
  return nullptr;
}

// ---- casts ----

#include "math_cast.inc"

// ---- cube ----

void tile_f32(float* c, const float* a, const float* b, int k) {
  using Wide = float __attribute__((vector_size(32), aligned(4), may_alias));  // half a row of 16
  const Wide* rows = reinterpret_cast<const Wide*>(b);
  constexpr int kRows = 4;  // at a time: enough independent sums to hide the latency of an addition
  for (int i = 0; i < 16; i += kRows) {
    Wide* out = reinterpret_cast<Wide*>(c + i * 16);
    Wide left[kRows], right[kRows];
    for (int r = 0; r < kRows; ++r) left[r] = out[2 * r], right[r] = out[2 * r + 1];
    for (int l = 0; l < k; ++l) {
      const Wide b_left = rows[2 * l], b_right = rows[2 * l + 1];
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        const float x = a[(i + r) * k + l];
        left[r] += x * b_left;
        right[r] += x * b_right;
      }
    }
    for (int r = 0; r < kRows; ++r) out[2 * r] = left[r], out[2 * r + 1] = right[r];
  }
}

}  // namespace

extern const Math table;
const Math table = {elementwise, cast, compare, half_to_float, float_to_half, tile_f32};

}  // namespace SIM_ISA
}  // namespace ascend_sim
