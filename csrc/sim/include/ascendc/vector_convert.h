// Cast, and the operations that convert on the way.
#pragma once

#include "vector_base.h"

namespace AscendC {
namespace sim_detail {

template <typename T, typename U>
::ascend_sim::VectorOp cast(const LocalTensor<T>& dst, const LocalTensor<U>& src, RoundMode mode) {
  ::ascend_sim::VectorOp op = unary(::ascend_sim::VecCode::Cast, dst, src);
  op.mode = static_cast<uint8_t>(mode);
  return op;
}

}  // namespace sim_detail

template <typename T, typename U, bool isSetMask = true>
ASCEND_SIM_API void Cast(const LocalTensor<T>& dst, const LocalTensor<U>& src, const RoundMode& roundMode,
                         const uint64_t mask[], const uint8_t repeatTimes,
                         const UnaryRepeatParams& repeatParams, ASCEND_SIM_SITE) {
  ::ascend_sim::VectorOp op = sim_detail::cast(dst, src, roundMode);
  sim_detail::set(op, sim_detail::mask_of<isSetMask>(mask), repeatTimes, repeatParams);
  ::ascend_sim::vector(op, {"Cast", site});
}
template <typename T, typename U, bool isSetMask = true>
ASCEND_SIM_API void Cast(const LocalTensor<T>& dst, const LocalTensor<U>& src, const RoundMode& roundMode,
                         const uint64_t mask, const uint8_t repeatTimes,
                         const UnaryRepeatParams& repeatParams, ASCEND_SIM_SITE) {
  ::ascend_sim::VectorOp op = sim_detail::cast(dst, src, roundMode);
  sim_detail::set(op, sim_detail::mask_of<isSetMask>(mask), repeatTimes, repeatParams);
  ::ascend_sim::vector(op, {"Cast", site});
}
template <typename T, typename U>
ASCEND_SIM_API void Cast(const LocalTensor<T>& dst, const LocalTensor<U>& src, const RoundMode& roundMode,
                         const uint32_t count, ASCEND_SIM_SITE) {
  ::ascend_sim::VectorOp op = sim_detail::cast(dst, src, roundMode);
  op.mask = sim_detail::elements(count);
  ::ascend_sim::vector(op, {"Cast", site});
}

// The scale of int32 to half conversions.
ASCEND_SIM_API void SetDeqScale(half scale) {
  ::ascend_sim::set_deq_scale(sim_detail::bits_of(scale));
}

}  // namespace AscendC
