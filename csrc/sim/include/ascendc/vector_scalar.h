// A vector and a scalar: Adds, Muls ... and Axpy. Where the tensor's type is a trait, the scalar has its
// plain type.
#pragma once

#include "vector_base.h"

namespace AscendC {
namespace sim_detail {

template <typename T, typename U>
::ascend_sim::VectorOp with_scalar(::ascend_sim::VecCode code, const LocalTensor<T>& dst,
                                   const LocalTensor<T>& src, const U& value) {
  ::ascend_sim::VectorOp op = unary(code, dst, src);
  op.scalar = bits_of(value);
  return op;
}

// The overloads with a scalar type of their own are for tensors of traits.
template <typename T, typename U>
using ForTrait = std::enable_if_t<std::is_same_v<PrimT<T>, U> && !std::is_same_v<T, U>, bool>;

}  // namespace sim_detail

#define ASCEND_SIM_SCALAR_FORM(NAME, HEAD, VALUE, MASK, ...)                                                 \
  HEAD ASCEND_SIM_API void NAME(const LocalTensor<T>& dst, const LocalTensor<T>& src,                        \
                                const VALUE& scalarValue, MASK, const uint8_t repeatTimes,                   \
                                const UnaryRepeatParams& repeatParams, ASCEND_SIM_SITE) {                    \
    static_assert(SupportType<PrimT<T>, __VA_ARGS__>(),                                                      \
                  #NAME ": this chip has no such instruction for the type");                                 \
    ::ascend_sim::VectorOp op = sim_detail::with_scalar(::ascend_sim::VecCode::NAME, dst, src, scalarValue); \
    sim_detail::set(op, sim_detail::mask_of<isSetMask>(mask), repeatTimes, repeatParams);                    \
    ::ascend_sim::vector(op, {#NAME, site});                                                                 \
  }

#define ASCEND_SIM_SCALAR_COUNT(NAME, HEAD, VALUE, ...)                                                      \
  HEAD ASCEND_SIM_API void NAME(const LocalTensor<T>& dst, const LocalTensor<T>& src,                        \
                                const VALUE& scalarValue, const int32_t& count, ASCEND_SIM_SITE) {           \
    static_assert(SupportType<PrimT<T>, __VA_ARGS__>(),                                                      \
                  #NAME ": this chip has no such instruction for the type");                                 \
    ::ascend_sim::VectorOp op = sim_detail::with_scalar(::ascend_sim::VecCode::NAME, dst, src, scalarValue); \
    op.mask = sim_detail::elements(count);                                                                   \
    ::ascend_sim::vector(op, {#NAME, site});                                                                 \
  }

#define ASCEND_SIM_PLAIN template <typename T, bool isSetMask = true>
#define ASCEND_SIM_TRAIT \
  template <typename T, typename U, bool isSetMask = true, sim_detail::ForTrait<T, U> = true>

#define ASCEND_SIM_SCALAR(NAME, ...)                                              \
  ASCEND_SIM_SCALAR_FORM(NAME, ASCEND_SIM_PLAIN, T, uint64_t mask[], __VA_ARGS__) \
  ASCEND_SIM_SCALAR_FORM(NAME, ASCEND_SIM_TRAIT, U, uint64_t mask[], __VA_ARGS__) \
  ASCEND_SIM_SCALAR_FORM(NAME, ASCEND_SIM_PLAIN, T, uint64_t mask, __VA_ARGS__)   \
  ASCEND_SIM_SCALAR_FORM(NAME, ASCEND_SIM_TRAIT, U, uint64_t mask, __VA_ARGS__)   \
  ASCEND_SIM_SCALAR_COUNT(NAME, ASCEND_SIM_PLAIN, T, __VA_ARGS__)                 \
  ASCEND_SIM_SCALAR_COUNT(NAME, ASCEND_SIM_TRAIT, U, __VA_ARGS__)

ASCEND_SIM_SCALAR(Adds, half, float, int16_t, int32_t)
ASCEND_SIM_SCALAR(Muls, half, float, int16_t, int32_t)
ASCEND_SIM_SCALAR(Maxs, half, float, int16_t, int32_t)
ASCEND_SIM_SCALAR(Mins, half, float, int16_t, int32_t)
ASCEND_SIM_SCALAR(LeakyRelu, half, float)
ASCEND_SIM_SCALAR(ShiftLeft, int16_t, uint16_t, int32_t, uint32_t)
ASCEND_SIM_SCALAR_COUNT(ShiftRight, ASCEND_SIM_PLAIN, T, int16_t, uint16_t, int32_t, uint32_t)
ASCEND_SIM_SCALAR_COUNT(ShiftRight, ASCEND_SIM_TRAIT, U, int16_t, uint16_t, int32_t, uint32_t)
#undef ASCEND_SIM_SCALAR
#undef ASCEND_SIM_SCALAR_COUNT
#undef ASCEND_SIM_SCALAR_FORM
#undef ASCEND_SIM_PLAIN
#undef ASCEND_SIM_TRAIT

// Rounding to nearest (roundEn) is for the signed types.
template <typename T, bool isSetMask = true>
ASCEND_SIM_API void ShiftRight(const LocalTensor<T>& dst, const LocalTensor<T>& src, const T& scalarValue,
                               uint64_t mask[], const uint8_t repeatTimes,
                               const UnaryRepeatParams& repeatParams, bool roundEn = false, ASCEND_SIM_SITE) {
  ::ascend_sim::VectorOp op =
      sim_detail::with_scalar(::ascend_sim::VecCode::ShiftRight, dst, src, scalarValue);
  sim_detail::set(op, sim_detail::mask_of<isSetMask>(mask), repeatTimes, repeatParams);
  if (roundEn) op.code = ::ascend_sim::VecCode::ShiftRightRound;
  ::ascend_sim::vector(op, {"ShiftRight", site});
}
template <typename T, bool isSetMask = true>
ASCEND_SIM_API void ShiftRight(const LocalTensor<T>& dst, const LocalTensor<T>& src, const T& scalarValue,
                               uint64_t mask, const uint8_t repeatTimes,
                               const UnaryRepeatParams& repeatParams, bool roundEn = false, ASCEND_SIM_SITE) {
  ::ascend_sim::VectorOp op =
      sim_detail::with_scalar(::ascend_sim::VecCode::ShiftRight, dst, src, scalarValue);
  sim_detail::set(op, sim_detail::mask_of<isSetMask>(mask), repeatTimes, repeatParams);
  if (roundEn) op.code = ::ascend_sim::VecCode::ShiftRightRound;
  ::ascend_sim::vector(op, {"ShiftRight", site});
}

// dst = src * scalar + dst, also from a half source into a float destination.
template <typename T, typename U, bool isSetMask = true>
ASCEND_SIM_API void Axpy(const LocalTensor<T>& dst, const LocalTensor<U>& src, const U& scalarValue,
                         uint64_t mask, const uint8_t repeatTimes, const UnaryRepeatParams& repeatParams,
                         ASCEND_SIM_SITE) {
  ::ascend_sim::VectorOp op = sim_detail::unary(::ascend_sim::VecCode::Axpy, dst, src);
  sim_detail::set(op, sim_detail::mask_of<isSetMask>(mask), repeatTimes, repeatParams);
  op.scalar = sim_detail::bits_of(scalarValue);
  ::ascend_sim::vector(op, {"Axpy", site});
}
template <typename T, typename U, bool isSetMask = true>
ASCEND_SIM_API void Axpy(const LocalTensor<T>& dst, const LocalTensor<U>& src, const U& scalarValue,
                         uint64_t mask[], const uint8_t repeatTimes, const UnaryRepeatParams& repeatParams,
                         ASCEND_SIM_SITE) {
  ::ascend_sim::VectorOp op = sim_detail::unary(::ascend_sim::VecCode::Axpy, dst, src);
  sim_detail::set(op, sim_detail::mask_of<isSetMask>(mask), repeatTimes, repeatParams);
  op.scalar = sim_detail::bits_of(scalarValue);
  ::ascend_sim::vector(op, {"Axpy", site});
}
template <typename T, typename U>
ASCEND_SIM_API void Axpy(const LocalTensor<T>& dst, const LocalTensor<U>& src, const U& scalarValue,
                         const int32_t& count, ASCEND_SIM_SITE) {
  ::ascend_sim::VectorOp op = sim_detail::unary(::ascend_sim::VecCode::Axpy, dst, src);
  op.mask = sim_detail::elements(count);
  op.scalar = sim_detail::bits_of(scalarValue);
  ::ascend_sim::vector(op, {"Axpy", site});
}

}  // namespace AscendC
