// One-source arithmetic, Duplicate.
#pragma once

#include "vector_base.h"

namespace AscendC {

#define ASCEND_SIM_UNARY(NAME, ...)                                                                    \
  template <typename T, bool isSetMask = true>                                                         \
  ASCEND_SIM_API void NAME(const LocalTensor<T>& dst, const LocalTensor<T>& src, uint64_t mask[],      \
                           const uint8_t repeatTimes, const UnaryRepeatParams& repeatParams,           \
                           ASCEND_SIM_SITE) {                                                          \
    static_assert(SupportType<PrimT<T>, __VA_ARGS__>(),                                                \
                  #NAME ": this chip has no such instruction for the type");                           \
    ::ascend_sim::VectorOp op = sim_detail::unary(::ascend_sim::VecCode::NAME, dst, src);              \
    sim_detail::set(op, sim_detail::mask_of<isSetMask>(mask), repeatTimes, repeatParams);              \
    ::ascend_sim::vector(op, {#NAME, site});                                                           \
  }                                                                                                    \
  template <typename T, bool isSetMask = true>                                                         \
  ASCEND_SIM_API void NAME(const LocalTensor<T>& dst, const LocalTensor<T>& src, uint64_t mask,        \
                           const uint8_t repeatTimes, const UnaryRepeatParams& repeatParams,           \
                           ASCEND_SIM_SITE) {                                                          \
    static_assert(SupportType<PrimT<T>, __VA_ARGS__>(),                                                \
                  #NAME ": this chip has no such instruction for the type");                           \
    ::ascend_sim::VectorOp op = sim_detail::unary(::ascend_sim::VecCode::NAME, dst, src);              \
    sim_detail::set(op, sim_detail::mask_of<isSetMask>(mask), repeatTimes, repeatParams);              \
    ::ascend_sim::vector(op, {#NAME, site});                                                           \
  }                                                                                                    \
  template <typename T>                                                                                \
  ASCEND_SIM_API void NAME(const LocalTensor<T>& dst, const LocalTensor<T>& src, const int32_t& count, \
                           ASCEND_SIM_SITE) {                                                          \
    static_assert(SupportType<PrimT<T>, __VA_ARGS__>(),                                                \
                  #NAME ": this chip has no such instruction for the type");                           \
    ::ascend_sim::VectorOp op = sim_detail::unary(::ascend_sim::VecCode::NAME, dst, src);              \
    op.mask = sim_detail::elements(count);                                                             \
    ::ascend_sim::vector(op, {#NAME, site});                                                           \
  }

ASCEND_SIM_UNARY(Abs, half, float)
ASCEND_SIM_UNARY(Exp, half, float)
ASCEND_SIM_UNARY(Ln, half, float)
ASCEND_SIM_UNARY(Sqrt, half, float)
ASCEND_SIM_UNARY(Rsqrt, half, float)
ASCEND_SIM_UNARY(Reciprocal, half, float)
ASCEND_SIM_UNARY(Relu, half, float, int32_t)
ASCEND_SIM_UNARY(Not, int16_t, uint16_t)
#undef ASCEND_SIM_UNARY

namespace sim_detail {

template <typename T>
void duplicate(const LocalTensor<T>& dst, const PrimT<T>& value, const ::ascend_sim::Mask& mask,
               int64_t repeat, const ::ascend_sim::Stride& stride, const ::ascend_sim::Site& site) {
  static_assert(sizeof(PrimT<T>) == 2 || sizeof(PrimT<T>) == 4,
                "Duplicate: this chip has no such instruction for the type");
  ::ascend_sim::VectorOp op{};
  op.code = ::ascend_sim::VecCode::Duplicate;
  op.dst = dst.operand();
  op.sources = 0;
  op.mask = mask;
  op.repeat = repeat;
  op.dst_stride = stride;
  op.scalar = bits_of(value);
  ::ascend_sim::vector(op, {"Duplicate", site});
}

}  // namespace sim_detail

template <typename T, bool isSetMask = true>
ASCEND_SIM_API void Duplicate(const LocalTensor<T>& dst, const T& value, uint64_t mask,
                              const uint8_t repeatTimes, const uint16_t dstBlockStride,
                              const uint8_t dstRepeatStride, ASCEND_SIM_SITE) {
  sim_detail::duplicate(dst, value, sim_detail::mask_of<isSetMask>(mask), repeatTimes,
                        {dstBlockStride, dstRepeatStride}, site);
}
template <typename T, bool isSetMask = true>
ASCEND_SIM_API void Duplicate(const LocalTensor<T>& dst, const T& value, uint64_t mask[],
                              const uint8_t repeatTimes, const uint16_t dstBlockStride,
                              const uint8_t dstRepeatStride, ASCEND_SIM_SITE) {
  sim_detail::duplicate(dst, value, sim_detail::mask_of<isSetMask>(mask), repeatTimes,
                        {dstBlockStride, dstRepeatStride}, site);
}
template <typename T>
ASCEND_SIM_API void Duplicate(const LocalTensor<T>& dst, const T& value, const int32_t& count,
                              ASCEND_SIM_SITE) {
  sim_detail::duplicate(dst, value, sim_detail::elements(count), 1, {1, DEFAULT_REPEAT_STRIDE}, site);
}

}  // namespace AscendC
