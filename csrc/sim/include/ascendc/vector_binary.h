// Two-source arithmetic: each in its three forms (mask as bits, mask as a count, first n elements).
#pragma once

#include "vector_base.h"

namespace AscendC {

#define ASCEND_SIM_BINARY(NAME, ...)                                                               \
  template <typename T, bool isSetMask = true>                                                     \
  ASCEND_SIM_API void NAME(const LocalTensor<T>& dst, const LocalTensor<T>& src0,                  \
                           const LocalTensor<T>& src1, uint64_t mask[], const uint8_t repeatTimes, \
                           const BinaryRepeatParams& repeatParams, ASCEND_SIM_SITE) {              \
    static_assert(SupportType<PrimT<T>, __VA_ARGS__>(),                                            \
                  #NAME ": this chip has no such instruction for the type");                       \
    ::ascend_sim::VectorOp op = sim_detail::binary(::ascend_sim::VecCode::NAME, dst, src0, src1);  \
    sim_detail::set(op, sim_detail::mask_of<isSetMask>(mask), repeatTimes, repeatParams);          \
    ::ascend_sim::vector(op, {#NAME, site});                                                       \
  }                                                                                                \
  template <typename T, bool isSetMask = true>                                                     \
  ASCEND_SIM_API void NAME(const LocalTensor<T>& dst, const LocalTensor<T>& src0,                  \
                           const LocalTensor<T>& src1, uint64_t mask, const uint8_t repeatTimes,   \
                           const BinaryRepeatParams& repeatParams, ASCEND_SIM_SITE) {              \
    static_assert(SupportType<PrimT<T>, __VA_ARGS__>(),                                            \
                  #NAME ": this chip has no such instruction for the type");                       \
    ::ascend_sim::VectorOp op = sim_detail::binary(::ascend_sim::VecCode::NAME, dst, src0, src1);  \
    sim_detail::set(op, sim_detail::mask_of<isSetMask>(mask), repeatTimes, repeatParams);          \
    ::ascend_sim::vector(op, {#NAME, site});                                                       \
  }                                                                                                \
  template <typename T>                                                                            \
  ASCEND_SIM_API void NAME(const LocalTensor<T>& dst, const LocalTensor<T>& src0,                  \
                           const LocalTensor<T>& src1, const int32_t& count, ASCEND_SIM_SITE) {    \
    static_assert(SupportType<PrimT<T>, __VA_ARGS__>(),                                            \
                  #NAME ": this chip has no such instruction for the type");                       \
    ::ascend_sim::VectorOp op = sim_detail::binary(::ascend_sim::VecCode::NAME, dst, src0, src1);  \
    op.mask = sim_detail::elements(count);                                                         \
    ::ascend_sim::vector(op, {#NAME, site});                                                       \
  }

ASCEND_SIM_BINARY(Add, half, float, int16_t, int32_t)
ASCEND_SIM_BINARY(Sub, half, float, int16_t, int32_t)
ASCEND_SIM_BINARY(Mul, half, float, int16_t, int32_t)
ASCEND_SIM_BINARY(Div, half, float)
ASCEND_SIM_BINARY(Max, half, float, int16_t, int32_t)
ASCEND_SIM_BINARY(Min, half, float, int16_t, int32_t)
ASCEND_SIM_BINARY(AddRelu, half, float, int16_t)
ASCEND_SIM_BINARY(SubRelu, half, float, int16_t)
ASCEND_SIM_BINARY(FusedMulAdd, half, float)      // dst = src0 * dst + src1
ASCEND_SIM_BINARY(FusedMulAddRelu, half, float)  // dst = relu(src0 * dst + src1)
#undef ASCEND_SIM_BINARY

// The bitwise operations work on 16-bit lanes; count-style calls take 32-bit types too, as twice as many
// lanes.
#define ASCEND_SIM_BITWISE(NAME)                                                                   \
  template <typename T, bool isSetMask = true>                                                     \
  ASCEND_SIM_API void NAME(const LocalTensor<T>& dst, const LocalTensor<T>& src0,                  \
                           const LocalTensor<T>& src1, uint64_t mask[], const uint8_t repeatTimes, \
                           const BinaryRepeatParams& repeatParams, ASCEND_SIM_SITE) {              \
    static_assert(SupportType<PrimT<T>, int16_t, uint16_t>(),                                      \
                  #NAME ": this chip has no such instruction for the type");                       \
    ::ascend_sim::VectorOp op = sim_detail::binary(::ascend_sim::VecCode::NAME, dst, src0, src1);  \
    sim_detail::set(op, sim_detail::mask_of<isSetMask>(mask), repeatTimes, repeatParams);          \
    ::ascend_sim::vector(op, {#NAME, site});                                                       \
  }                                                                                                \
  template <typename T, bool isSetMask = true>                                                     \
  ASCEND_SIM_API void NAME(const LocalTensor<T>& dst, const LocalTensor<T>& src0,                  \
                           const LocalTensor<T>& src1, uint64_t mask, const uint8_t repeatTimes,   \
                           const BinaryRepeatParams& repeatParams, ASCEND_SIM_SITE) {              \
    static_assert(SupportType<PrimT<T>, int16_t, uint16_t>(),                                      \
                  #NAME ": this chip has no such instruction for the type");                       \
    ::ascend_sim::VectorOp op = sim_detail::binary(::ascend_sim::VecCode::NAME, dst, src0, src1);  \
    sim_detail::set(op, sim_detail::mask_of<isSetMask>(mask), repeatTimes, repeatParams);          \
    ::ascend_sim::vector(op, {#NAME, site});                                                       \
  }                                                                                                \
  template <typename T>                                                                            \
  ASCEND_SIM_API void NAME(const LocalTensor<T>& dst, const LocalTensor<T>& src0,                  \
                           const LocalTensor<T>& src1, const int32_t& count, ASCEND_SIM_SITE) {    \
    static_assert(SupportType<PrimT<T>, int16_t, uint16_t, int32_t, uint32_t>(),                   \
                  #NAME ": this chip has no such instruction for the type");                       \
    const auto as16 = [](const LocalTensor<T>& tensor) {                                           \
      return tensor.template ReinterpretCast<uint16_t>();                                          \
    };                                                                                             \
    ::ascend_sim::VectorOp op =                                                                    \
        sim_detail::binary(::ascend_sim::VecCode::NAME, as16(dst), as16(src0), as16(src1));        \
    op.mask = sim_detail::elements(count * static_cast<int64_t>(sizeof(PrimT<T>) / 2));            \
    ::ascend_sim::vector(op, {#NAME, site});                                                       \
  }

ASCEND_SIM_BITWISE(And)
ASCEND_SIM_BITWISE(Or)
#undef ASCEND_SIM_BITWISE

// dst = src0 * src1 + dst, also from half sources into a float destination.
template <typename T, typename U, bool isSetMask = true>
ASCEND_SIM_API void MulAddDst(const LocalTensor<T>& dst, const LocalTensor<U>& src0,
                              const LocalTensor<U>& src1, const uint64_t mask[], const uint8_t repeatTimes,
                              const BinaryRepeatParams& repeatParams, ASCEND_SIM_SITE) {
  ::ascend_sim::VectorOp op = sim_detail::binary(::ascend_sim::VecCode::MulAddDst, dst, src0, src1);
  sim_detail::set(op, sim_detail::mask_of<isSetMask>(mask), repeatTimes, repeatParams);
  ::ascend_sim::vector(op, {"MulAddDst", site});
}
template <typename T, typename U, bool isSetMask = true>
ASCEND_SIM_API void MulAddDst(const LocalTensor<T>& dst, const LocalTensor<U>& src0,
                              const LocalTensor<U>& src1, uint64_t mask, const uint8_t repeatTimes,
                              const BinaryRepeatParams& repeatParams, ASCEND_SIM_SITE) {
  ::ascend_sim::VectorOp op = sim_detail::binary(::ascend_sim::VecCode::MulAddDst, dst, src0, src1);
  sim_detail::set(op, sim_detail::mask_of<isSetMask>(mask), repeatTimes, repeatParams);
  ::ascend_sim::vector(op, {"MulAddDst", site});
}
template <typename T, typename U>
ASCEND_SIM_API void MulAddDst(const LocalTensor<T>& dst, const LocalTensor<U>& src0,
                              const LocalTensor<U>& src1, const int32_t& count, ASCEND_SIM_SITE) {
  ::ascend_sim::VectorOp op = sim_detail::binary(::ascend_sim::VecCode::MulAddDst, dst, src0, src1);
  op.mask = sim_detail::elements(count);
  ::ascend_sim::vector(op, {"MulAddDst", site});
}

}  // namespace AscendC
