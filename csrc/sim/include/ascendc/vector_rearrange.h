// Brcb, Gather, GatherMask, Transpose, TransDataTo5HD, CreateVecIndex.
#pragma once

#include "vector_base.h"

namespace AscendC {

template <typename T>
ASCEND_SIM_API void Brcb(const LocalTensor<T>& dst, const LocalTensor<T>& src0, const uint8_t repeatTimes,
                         const BrcbRepeatParams& repeatParams, ASCEND_SIM_SITE) {
  ::ascend_sim::VectorOp op = sim_detail::unary(::ascend_sim::VecCode::Brcb, dst, src0);
  op.repeat = repeatTimes;
  op.dst_stride = {repeatParams.dstBlkStride, repeatParams.dstRepStride};
  ::ascend_sim::vector(op, {"Brcb", site});
}

namespace sim_detail {

template <typename T>
void gather(const LocalTensor<T>& dst, const LocalTensor<T>& src, const LocalTensor<uint32_t>& offset,
            uint32_t base, const ::ascend_sim::Mask& mask, int64_t repeat, uint32_t dst_stride,
            const ::ascend_sim::Site& site) {
  ::ascend_sim::VectorOp op = binary(::ascend_sim::VecCode::Gather, dst, src, offset);
  op.scalar = base;
  op.mask = mask;
  op.repeat = repeat;
  op.dst_stride = {1, dst_stride};
  ::ascend_sim::vector(op, {"Gather", site});
}

}  // namespace sim_detail

template <typename T>
ASCEND_SIM_API void Gather(const LocalTensor<T>& dst, const LocalTensor<T>& src,
                           const LocalTensor<uint32_t>& srcOffset, const uint32_t srcBaseAddr,
                           const uint64_t mask, const uint8_t repeatTimes, const uint16_t dstRepStride,
                           ASCEND_SIM_SITE) {
  sim_detail::gather(dst, src, srcOffset, srcBaseAddr, sim_detail::mask_of<true>(mask), repeatTimes,
                     dstRepStride, site);
}
template <typename T>
ASCEND_SIM_API void Gather(const LocalTensor<T>& dst, const LocalTensor<T>& src,
                           const LocalTensor<uint32_t>& srcOffset, const uint32_t srcBaseAddr,
                           const uint64_t mask[], const uint8_t repeatTimes, const uint16_t dstRepStride,
                           ASCEND_SIM_SITE) {
  sim_detail::gather(dst, src, srcOffset, srcBaseAddr, sim_detail::mask_of<true>(mask), repeatTimes,
                     dstRepStride, site);
}
template <typename T>
ASCEND_SIM_API void Gather(const LocalTensor<T>& dst, const LocalTensor<T>& src,
                           const LocalTensor<uint32_t>& srcOffset, const uint32_t srcBaseAddr,
                           const uint32_t count, ASCEND_SIM_SITE) {
  sim_detail::gather(dst, src, srcOffset, srcBaseAddr, sim_detail::elements(count), 1, DEFAULT_REPEAT_STRIDE,
                     site);
}

template <typename T>
ASCEND_SIM_API void Gatherb(const LocalTensor<T>& dst, const LocalTensor<T>& src0,
                            const LocalTensor<uint32_t>& offset, const uint8_t repeatTimes,
                            const GatherRepeatParams& repeatParams, ASCEND_SIM_SITE) {
  ::ascend_sim::VectorOp op = sim_detail::binary(::ascend_sim::VecCode::Gatherb, dst, src0, offset);
  op.repeat = repeatTimes;
  op.dst_stride = {repeatParams.dstBlkStride, repeatParams.dstRepStride};
  ::ascend_sim::vector(op, {"Gatherb", site});
}

namespace sim_detail {

inline void set(::ascend_sim::VectorOp& op, bool reduceMode, uint32_t mask, const GatherMaskParams& params) {
  op.flags = reduceMode;
  op.mask.lanes = mask;
  op.repeat = params.repeatTimes;
  op.src0_stride = {params.src0BlockStride, params.src0RepeatStride};
  op.src1_stride = {1, params.src1RepeatStride};
}

}  // namespace sim_detail

template <typename T, typename U, GatherMaskMode mode = defaultGatherMaskMode>
ASCEND_SIM_API void GatherMask(const LocalTensor<T>& dst, const LocalTensor<T>& src0,
                               const LocalTensor<U>& src1Pattern, const bool reduceMode, const uint32_t mask,
                               const GatherMaskParams& params, uint64_t& rsvdCnt, ASCEND_SIM_SITE) {
  ::ascend_sim::VectorOp op = sim_detail::binary(::ascend_sim::VecCode::GatherMask, dst, src0, src1Pattern);
  sim_detail::set(op, reduceMode, mask, params);
  ::ascend_sim::vector(op, {"GatherMask", site});
  rsvdCnt = ::ascend_sim::gather_remain();
}
template <typename T, GatherMaskMode mode = defaultGatherMaskMode>
ASCEND_SIM_API void GatherMask(const LocalTensor<T>& dst, const LocalTensor<T>& src0,
                               const uint8_t src1Pattern, const bool reduceMode, const uint32_t mask,
                               const GatherMaskParams& params, uint64_t& rsvdCnt, ASCEND_SIM_SITE) {
  ::ascend_sim::VectorOp op = sim_detail::unary(::ascend_sim::VecCode::GatherMask, dst, src0);
  sim_detail::set(op, reduceMode, mask, params);
  op.mode = src1Pattern == 0 ? 8 : src1Pattern;  // 0 is no pattern: out of range
  ::ascend_sim::vector(op, {"GatherMask", site});
  rsvdCnt = ::ascend_sim::gather_remain();
}
ASCEND_SIM_API int64_t GetGatherMaskRemainCount() {
  return static_cast<int64_t>(::ascend_sim::gather_remain());
}

// A 16x16 tile of a 16-bit type.
template <typename T>
ASCEND_SIM_API void Transpose(const LocalTensor<T>& dst, const LocalTensor<T>& src, ASCEND_SIM_SITE) {
  ::ascend_sim::vector(sim_detail::unary(::ascend_sim::VecCode::Transpose, dst, src), {"Transpose", site});
}

template <typename T>
ASCEND_SIM_API void TransDataTo5HD(uint64_t dstList[NCHW_CONV_ADDR_LIST_SIZE],
                                   uint64_t srcList[NCHW_CONV_ADDR_LIST_SIZE],
                                   const TransDataTo5HDParams& params, ASCEND_SIM_SITE) {
  ::ascend_sim::TransposeRowsOp op;
  op.type = sim_detail::dtype_of<PrimT<T>>();
  for (int i = 0; i < NCHW_CONV_ADDR_LIST_SIZE; ++i) {
    op.dst[i] = dstList[i];
    op.src[i] = srcList[i];
  }
  op.dst_high = params.dstHighHalf;
  op.src_high = params.srcHighHalf;
  op.repeat = params.repeatTimes;
  op.dst_stride = params.dstRepStride;
  op.src_stride = params.srcRepStride;
  ::ascend_sim::transpose_rows(op, {"TransDataTo5HD", site});
}
template <typename T>
ASCEND_SIM_API void TransDataTo5HD(const LocalTensor<T> (&dstList)[NCHW_CONV_ADDR_LIST_SIZE],
                                   const LocalTensor<T> (&srcList)[NCHW_CONV_ADDR_LIST_SIZE],
                                   const TransDataTo5HDParams& params, ASCEND_SIM_SITE) {
  uint64_t dst[NCHW_CONV_ADDR_LIST_SIZE], src[NCHW_CONV_ADDR_LIST_SIZE];
  for (int i = 0; i < NCHW_CONV_ADDR_LIST_SIZE; ++i) {
    dst[i] = dstList[i].GetPhyAddr();
    src[i] = srcList[i].GetPhyAddr();
  }
  TransDataTo5HD<T>(dst, src, params, site);
}

namespace sim_detail {

template <typename T>
void create_index(const LocalTensor<T>& dst, const T& first, const ::ascend_sim::Mask& mask, int64_t repeat,
                  const ::ascend_sim::Stride& stride, const ::ascend_sim::Site& site) {
  static_assert(SupportType<PrimT<T>, int16_t, int32_t, half, float>(),
                "CreateVecIndex: no such instruction for the type");
  ::ascend_sim::VectorOp op{};
  op.code = ::ascend_sim::VecCode::CreateVecIndex;
  op.dst = dst.operand();
  op.sources = 0;
  op.mask = mask;
  op.repeat = repeat;
  op.dst_stride = stride;
  op.scalar = bits_of(first);
  ::ascend_sim::vector(op, {"CreateVecIndex", site});
}

}  // namespace sim_detail

template <typename T>
ASCEND_SIM_API void CreateVecIndex(LocalTensor<T>& dst, const T& firstValue, uint64_t mask,
                                   uint8_t repeatTimes, uint16_t dstBlkStride, uint8_t dstRepStride,
                                   ASCEND_SIM_SITE) {
  sim_detail::create_index(dst, firstValue, sim_detail::mask_of<true>(mask), repeatTimes,
                           {dstBlkStride, dstRepStride}, site);
}
template <typename T>
ASCEND_SIM_API void CreateVecIndex(LocalTensor<T>& dst, const T& firstValue, uint64_t mask[],
                                   uint8_t repeatTimes, uint16_t dstBlkStride, uint8_t dstRepStride,
                                   ASCEND_SIM_SITE) {
  sim_detail::create_index(dst, firstValue, sim_detail::mask_of<true>(mask), repeatTimes,
                           {dstBlkStride, dstRepStride}, site);
}
template <typename T>
ASCEND_SIM_API void CreateVecIndex(LocalTensor<T> dst, const T& firstValue, uint32_t count, ASCEND_SIM_SITE) {
  sim_detail::create_index(dst, firstValue, sim_detail::elements(count), 1, {1, DEFAULT_REPEAT_STRIDE}, site);
}

}  // namespace AscendC
