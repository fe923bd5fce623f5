// Comparisons into bits, and selection by bits.
#pragma once

#include "vector_base.h"

namespace AscendC {
namespace sim_detail {

template <typename T, typename U>
::ascend_sim::VectorOp compare(const LocalTensor<U>& dst, const LocalTensor<T>& src0,
                               const LocalTensor<T>& src1, CMPMODE mode) {
  ::ascend_sim::VectorOp op = binary(::ascend_sim::VecCode::Compare, dst, src0, src1);
  op.src0_stride = op.src1_stride = {1, DEFAULT_REPEAT_STRIDE};
  op.mode = static_cast<uint8_t>(mode);
  return op;
}

template <typename T, typename U>
::ascend_sim::VectorOp compare_scalar(const LocalTensor<U>& dst, const LocalTensor<T>& src,
                                      const PrimT<T>& value, CMPMODE mode) {
  ::ascend_sim::VectorOp op = unary(::ascend_sim::VecCode::CompareScalar, dst, src);
  op.src0_stride = {1, DEFAULT_REPEAT_STRIDE};
  op.scalar = bits_of(value);
  op.mode = static_cast<uint8_t>(mode);
  return op;
}

}  // namespace sim_detail

// ---- Compare ----

template <typename T, typename U, bool isSetMask = true>
ASCEND_SIM_API void Compare(const LocalTensor<U>& dst, const LocalTensor<T>& src0, const LocalTensor<T>& src1,
                            CMPMODE cmpMode, const uint64_t mask[], uint8_t repeatTimes,
                            const BinaryRepeatParams& repeatParams, ASCEND_SIM_SITE) {
  ::ascend_sim::VectorOp op = sim_detail::compare(dst, src0, src1, cmpMode);
  sim_detail::set(op, sim_detail::mask_of<isSetMask>(mask), repeatTimes, repeatParams);
  ::ascend_sim::vector(op, {"Compare", site});
}
template <typename T, typename U, bool isSetMask = true>
ASCEND_SIM_API void Compare(const LocalTensor<U>& dst, const LocalTensor<T>& src0, const LocalTensor<T>& src1,
                            CMPMODE cmpMode, const uint64_t mask, uint8_t repeatTimes,
                            const BinaryRepeatParams& repeatParams, ASCEND_SIM_SITE) {
  ::ascend_sim::VectorOp op = sim_detail::compare(dst, src0, src1, cmpMode);
  sim_detail::set(op, sim_detail::mask_of<isSetMask>(mask), repeatTimes, repeatParams);
  ::ascend_sim::vector(op, {"Compare", site});
}
template <typename T, typename U>
ASCEND_SIM_API void Compare(const LocalTensor<U>& dst, const LocalTensor<T>& src0, const LocalTensor<T>& src1,
                            CMPMODE cmpMode, uint32_t count, ASCEND_SIM_SITE) {
  ::ascend_sim::VectorOp op = sim_detail::compare(dst, src0, src1, cmpMode);
  op.mask = sim_detail::elements(count);
  ::ascend_sim::vector(op, {"Compare", site});
}

// Into the comparison register: one repeat.
template <typename T, bool isSetMask = true>
ASCEND_SIM_API void Compare(const LocalTensor<T>& src0, const LocalTensor<T>& src1, CMPMODE cmpMode,
                            const uint64_t mask[], const BinaryRepeatParams& repeatParams, ASCEND_SIM_SITE) {
  ::ascend_sim::VectorOp op = sim_detail::compare(src0, src0, src1, cmpMode);
  op.code = ::ascend_sim::VecCode::CompareToMask;
  sim_detail::set(op, sim_detail::mask_of<isSetMask>(mask), 1, repeatParams);
  ::ascend_sim::vector(op, {"Compare", site});
}
template <typename T, bool isSetMask = true>
ASCEND_SIM_API void Compare(const LocalTensor<T>& src0, const LocalTensor<T>& src1, CMPMODE cmpMode,
                            const uint64_t mask, const BinaryRepeatParams& repeatParams, ASCEND_SIM_SITE) {
  ::ascend_sim::VectorOp op = sim_detail::compare(src0, src0, src1, cmpMode);
  op.code = ::ascend_sim::VecCode::CompareToMask;
  sim_detail::set(op, sim_detail::mask_of<isSetMask>(mask), 1, repeatParams);
  ::ascend_sim::vector(op, {"Compare", site});
}

namespace sim_detail {

template <typename T>
void compare_register(::ascend_sim::VecCode code, const LocalTensor<T>& tensor,
                      const ::ascend_sim::Call& call) {
  ::ascend_sim::VectorOp op{};
  op.code = code;
  op.dst = tensor.operand();
  op.sources = 0;
  ::ascend_sim::vector(op, call);
}

}  // namespace sim_detail

template <typename T>
ASCEND_SIM_API void GetCmpMask(const LocalTensor<T>& dst, ASCEND_SIM_SITE) {
  sim_detail::compare_register(::ascend_sim::VecCode::GetCmpMask, dst, {"GetCmpMask", site});
}
template <typename T>
ASCEND_SIM_API void SetCmpMask(const LocalTensor<T>& src, ASCEND_SIM_SITE) {
  sim_detail::compare_register(::ascend_sim::VecCode::SetCmpMask, src, {"SetCmpMask", site});
}

// ---- with a scalar: CompareScalar in 8.1, Compares in the current dialect ----

#define ASCEND_SIM_COMPARE_SCALAR(NAME)                                                               \
  template <typename T, typename U, bool isSetMask = true>                                            \
  ASCEND_SIM_API void NAME(const LocalTensor<U>& dst, const LocalTensor<T>& src0, const T src1Scalar, \
                           CMPMODE cmpMode, const uint64_t mask[], uint8_t repeatTimes,               \
                           const UnaryRepeatParams& repeatParams, ASCEND_SIM_SITE) {                  \
    ::ascend_sim::VectorOp op = sim_detail::compare_scalar(dst, src0, src1Scalar, cmpMode);           \
    sim_detail::set(op, sim_detail::mask_of<isSetMask>(mask), repeatTimes, repeatParams);             \
    ::ascend_sim::vector(op, {#NAME, site});                                                          \
  }                                                                                                   \
  template <typename T, typename U, bool isSetMask = true>                                            \
  ASCEND_SIM_API void NAME(const LocalTensor<U>& dst, const LocalTensor<T>& src0, const T src1Scalar, \
                           CMPMODE cmpMode, const uint64_t mask, uint8_t repeatTimes,                 \
                           const UnaryRepeatParams& repeatParams, ASCEND_SIM_SITE) {                  \
    ::ascend_sim::VectorOp op = sim_detail::compare_scalar(dst, src0, src1Scalar, cmpMode);           \
    sim_detail::set(op, sim_detail::mask_of<isSetMask>(mask), repeatTimes, repeatParams);             \
    ::ascend_sim::vector(op, {#NAME, site});                                                          \
  }                                                                                                   \
  template <typename T, typename U>                                                                   \
  ASCEND_SIM_API void NAME(const LocalTensor<U>& dst, const LocalTensor<T>& src0, const T src1Scalar, \
                           CMPMODE cmpMode, uint32_t count, ASCEND_SIM_SITE) {                        \
    ::ascend_sim::VectorOp op = sim_detail::compare_scalar(dst, src0, src1Scalar, cmpMode);           \
    op.mask = sim_detail::elements(count);                                                            \
    ::ascend_sim::vector(op, {#NAME, site});                                                          \
  }
ASCEND_SIM_COMPARE_SCALAR(CompareScalar)
ASCEND_SIM_COMPARE_SCALAR(Compares)
#undef ASCEND_SIM_COMPARE_SCALAR

// ---- Select ----

namespace sim_detail {

// Mode 0 takes one set of bits for all repeats; it goes through the comparison register.
template <typename T, typename U>
void select(const LocalTensor<T>& dst, const LocalTensor<U>& selMask, const LocalTensor<T>& src0,
            const LocalTensor<T>* src1, const PrimT<T>& value, SELMODE mode, const ::ascend_sim::Mask& mask,
            int64_t repeat, const BinaryRepeatParams& params, const ::ascend_sim::Site& site) {
  using ::ascend_sim::VecCode;
  ::ascend_sim::VectorOp op =
      src1 ? binary(VecCode::SelectTensor, dst, src0, *src1) : unary(VecCode::SelectScalar, dst, src0);
  if (src1 ? mode == SELMODE::VSEL_TENSOR_SCALAR_MODE : mode != SELMODE::VSEL_TENSOR_SCALAR_MODE)
    ::ascend_sim::unsupported("Select: the mode does not fit the second source", {"Select", site});
  op.mask_tensor = selMask.operand();
  op.scalar = bits_of(value);
  if (mode == SELMODE::VSEL_CMPMASK_SPR) {
    compare_register(VecCode::SetCmpMask, selMask, {"Select", site});
    op.code = VecCode::SelectMask;
  }
  set(op, mask, repeat, params);
  ::ascend_sim::vector(op, {"Select", site});
}

}  // namespace sim_detail

template <typename T, typename U, bool isSetMask = true>
ASCEND_SIM_API void Select(const LocalTensor<T>& dst, const LocalTensor<U>& selMask,
                           const LocalTensor<T>& src0, const LocalTensor<T>& src1, SELMODE selMode,
                           uint64_t mask[], uint8_t repeatTimes, const BinaryRepeatParams& repeatParams,
                           ASCEND_SIM_SITE) {
  sim_detail::select(dst, selMask, src0, &src1, {}, selMode, sim_detail::mask_of<isSetMask>(mask),
                     repeatTimes, repeatParams, site);
}
template <typename T, typename U, bool isSetMask = true>
ASCEND_SIM_API void Select(const LocalTensor<T>& dst, const LocalTensor<U>& selMask,
                           const LocalTensor<T>& src0, const LocalTensor<T>& src1, SELMODE selMode,
                           uint64_t mask, uint8_t repeatTimes, const BinaryRepeatParams& repeatParams,
                           ASCEND_SIM_SITE) {
  sim_detail::select(dst, selMask, src0, &src1, {}, selMode, sim_detail::mask_of<isSetMask>(mask),
                     repeatTimes, repeatParams, site);
}
template <typename T, typename U>
ASCEND_SIM_API void Select(const LocalTensor<T>& dst, const LocalTensor<U>& selMask,
                           const LocalTensor<T>& src0, const LocalTensor<T>& src1, SELMODE selMode,
                           uint32_t count, ASCEND_SIM_SITE) {
  sim_detail::select(dst, selMask, src0, &src1, {}, selMode, sim_detail::elements(count), 1, {}, site);
}
template <typename T, typename U, bool isSetMask = true>
ASCEND_SIM_API void Select(const LocalTensor<T>& dst, const LocalTensor<U>& selMask,
                           const LocalTensor<T>& src0, T src1, SELMODE selMode, uint64_t mask[],
                           uint8_t repeatTimes, const BinaryRepeatParams& repeatParams, ASCEND_SIM_SITE) {
  sim_detail::select<T>(dst, selMask, src0, nullptr, src1, selMode, sim_detail::mask_of<isSetMask>(mask),
                        repeatTimes, repeatParams, site);
}
template <typename T, typename U, bool isSetMask = true>
ASCEND_SIM_API void Select(const LocalTensor<T>& dst, const LocalTensor<U>& selMask,
                           const LocalTensor<T>& src0, T src1, SELMODE selMode, uint64_t mask,
                           uint8_t repeatTimes, const BinaryRepeatParams& repeatParams, ASCEND_SIM_SITE) {
  sim_detail::select<T>(dst, selMask, src0, nullptr, src1, selMode, sim_detail::mask_of<isSetMask>(mask),
                        repeatTimes, repeatParams, site);
}
template <typename T, typename U>
ASCEND_SIM_API void Select(const LocalTensor<T>& dst, const LocalTensor<U>& selMask,
                           const LocalTensor<T>& src0, T src1, SELMODE selMode, uint32_t count,
                           ASCEND_SIM_SITE) {
  sim_detail::select<T>(dst, selMask, src0, nullptr, src1, selMode, sim_detail::elements(count), 1, {}, site);
}
// By the comparison register.
template <typename T, SELMODE selMode>
ASCEND_SIM_API void Select(const LocalTensor<T>& dst, const LocalTensor<T>& src0, const LocalTensor<T>& src1,
                           uint8_t repeatTimes, const BinaryRepeatParams& repeatParams, ASCEND_SIM_SITE) {
  static_assert(selMode == SELMODE::VSEL_CMPMASK_SPR,
                "Select: only the comparison register is possible here");
  ::ascend_sim::VectorOp op = sim_detail::binary(::ascend_sim::VecCode::SelectMask, dst, src0, src1);
  sim_detail::set(op, sim_detail::mask_of<false>(uint64_t{0}), repeatTimes, repeatParams);
  ::ascend_sim::vector(op, {"Select", site});
}

}  // namespace AscendC
