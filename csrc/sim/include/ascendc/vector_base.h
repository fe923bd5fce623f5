// What the vector APIs share: masks and strides as the machine takes them.
#pragma once

#include "params.h"
#include "tensor.h"

namespace AscendC {
namespace sim_detail {

template <bool isSetMask>
::ascend_sim::Mask mask_of(uint64_t lanes) {
  ::ascend_sim::Mask mask;
  mask.kind = isSetMask ? ::ascend_sim::MaskKind::Lanes : ::ascend_sim::MaskKind::Register;
  mask.lanes = lanes;
  return mask;
}

template <bool isSetMask>
::ascend_sim::Mask mask_of(const uint64_t bits[]) {
  ::ascend_sim::Mask mask;
  mask.kind = isSetMask ? ::ascend_sim::MaskKind::Bits : ::ascend_sim::MaskKind::Register;
  mask.bits[0] = bits[0];
  mask.bits[1] = bits[1];
  return mask;
}

// Count-style calls run in counter mode over contiguous data.
inline ::ascend_sim::Mask elements(int64_t count) {
  ::ascend_sim::Mask mask;
  mask.kind = ::ascend_sim::MaskKind::Elements;
  mask.lanes = static_cast<uint64_t>(count);
  return mask;
}

// Strides of contiguous data: a narrow operand beside a wide one uses fewer blocks per repeat.
template <typename T, typename Wide>
constexpr ::ascend_sim::Stride contiguous_stride() {
  constexpr size_t widest = sizeof(Wide) > sizeof(T) ? sizeof(Wide) : sizeof(T);
  return {1, static_cast<uint32_t>(DEFAULT_BLK_NUM * sizeof(T) / widest)};
}

template <typename D, typename S0, typename S1>
::ascend_sim::VectorOp binary(::ascend_sim::VecCode code, const LocalTensor<D>& dst,
                              const LocalTensor<S0>& src0, const LocalTensor<S1>& src1) {
  ::ascend_sim::VectorOp op{};
  op.code = code;
  op.dst = dst.operand();
  op.src0 = src0.operand();
  op.src1 = src1.operand();
  op.sources = 2;
  op.dst_stride = contiguous_stride<PrimT<D>, PrimT<S0>>();
  op.src0_stride = contiguous_stride<PrimT<S0>, PrimT<D>>();
  op.src1_stride = contiguous_stride<PrimT<S1>, PrimT<D>>();
  return op;
}

template <typename D, typename S>
::ascend_sim::VectorOp unary(::ascend_sim::VecCode code, const LocalTensor<D>& dst,
                             const LocalTensor<S>& src) {
  ::ascend_sim::VectorOp op{};
  op.code = code;
  op.dst = dst.operand();
  op.src0 = src.operand();
  op.sources = 1;
  op.dst_stride = contiguous_stride<PrimT<D>, PrimT<S>>();
  op.src0_stride = contiguous_stride<PrimT<S>, PrimT<D>>();
  return op;
}

inline void set(::ascend_sim::VectorOp& op, const ::ascend_sim::Mask& mask, int64_t repeat,
                const BinaryRepeatParams& params) {
  op.mask = mask;
  op.repeat = repeat;
  op.dst_stride = {params.dstBlkStride, params.dstRepStride};
  op.src0_stride = {params.src0BlkStride, params.src0RepStride};
  op.src1_stride = {params.src1BlkStride, params.src1RepStride};
}

inline void set(::ascend_sim::VectorOp& op, const ::ascend_sim::Mask& mask, int64_t repeat,
                const UnaryRepeatParams& params) {
  op.mask = mask;
  op.repeat = repeat;
  op.dst_stride = {params.dstBlkStride, params.dstRepStride};
  op.src0_stride = {params.srcBlkStride, params.srcRepStride};
}

template <typename T>
void vector_copy(const LocalTensor<T>& dst, const LocalTensor<T>& src, const ::ascend_sim::Mask& mask,
                 uint8_t repeatTimes, const CopyRepeatParams& params, const ::ascend_sim::Site& site) {
  ::ascend_sim::VectorOp op = unary(::ascend_sim::VecCode::Copy, dst, src);
  op.mask = mask;
  op.repeat = repeatTimes;
  op.dst_stride = {params.dstStride, params.dstRepeatSize};
  op.src0_stride = {params.srcStride, params.srcRepeatSize};
  ::ascend_sim::vector(op, {"Copy", site});
}

}  // namespace sim_detail
}  // namespace AscendC
