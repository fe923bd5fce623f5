// DataCopy in its forms, DataCopyPad, ND2NZ, and the vector pipe's Copy.
#pragma once

#include "params.h"
#include "vector_base.h"

namespace AscendC {
namespace sim_detail {

inline ::ascend_sim::CopyOp bursts(const ::ascend_sim::Operand& dst, const ::ascend_sim::Operand& src,
                                   const DataCopyParams& params, uint64_t length_unit = ONE_BLK_SIZE,
                                   uint64_t dst_gap_unit = ONE_BLK_SIZE) {
  ::ascend_sim::CopyOp op;
  op.dst = dst;
  op.src = src;
  op.count = params.blockCount;
  op.length = params.blockLen * length_unit;
  op.src_gap = uint64_t{params.srcStride} * ONE_BLK_SIZE;
  op.dst_gap = params.dstStride * dst_gap_unit;
  return op;
}

inline ::ascend_sim::CopyOp contiguous(const ::ascend_sim::Operand& dst, const ::ascend_sim::Operand& src,
                                       uint64_t bytes) {
  ::ascend_sim::CopyOp op;
  op.dst = dst;
  op.src = src;
  op.length = bytes;
  return op;
}

// L1 to the bias table counts bursts in 64 bytes, L1 to the fixpipe buffer in 128.
inline void local_copy(const ::ascend_sim::Operand& dst, const ::ascend_sim::Operand& src,
                       const DataCopyParams& params, const ::ascend_sim::Site& site) {
  using ::ascend_sim::CopyKind;
  using ::ascend_sim::Memory;
  const uint64_t unit = dst.memory == Memory::BT ? 64 : dst.memory == Memory::FB ? 128 : ONE_BLK_SIZE;
  ::ascend_sim::CopyOp op = bursts(dst, src, params, unit, unit);
  if (dst.memory == Memory::BT) op.kind = CopyKind::BiasTable;
  if (dst.memory == Memory::FB) op.kind = CopyKind::FixpipeBuffer;
  if (dst.memory == Memory::BT && dst.type != src.type) op.length /= 2;  // half widens to float on the way
  ::ascend_sim::copy(op, {"DataCopy", site});
}

}  // namespace sim_detail

// ---- between GM and local memory ----

template <typename T>
ASCEND_SIM_API void DataCopy(const LocalTensor<T>& dst, const GlobalTensor<T>& src,
                             const DataCopyParams& params, ASCEND_SIM_SITE) {
  ::ascend_sim::copy(sim_detail::bursts(dst.operand(), src.operand(), params), {"DataCopy", site});
}
template <typename T>
ASCEND_SIM_API void DataCopy(const GlobalTensor<T>& dst, const LocalTensor<T>& src,
                             const DataCopyParams& params, ASCEND_SIM_SITE) {
  ::ascend_sim::copy(sim_detail::bursts(dst.operand(), src.operand(), params), {"DataCopy", site});
}
template <typename T>
ASCEND_SIM_API void DataCopy(const LocalTensor<T>& dst, const GlobalTensor<T>& src, const uint32_t count,
                             ASCEND_SIM_SITE) {
  ::ascend_sim::copy(
      sim_detail::contiguous(dst.operand(), src.operand(), sim_detail::bytes_of<PrimT<T>>(count)),
      {"DataCopy", site});
}
template <typename T>
ASCEND_SIM_API void DataCopy(const GlobalTensor<T>& dst, const LocalTensor<T>& src, const uint32_t count,
                             ASCEND_SIM_SITE) {
  ::ascend_sim::copy(
      sim_detail::contiguous(dst.operand(), src.operand(), sim_detail::bytes_of<PrimT<T>>(count)),
      {"DataCopy", site});
}
template <typename T>
ASCEND_SIM_API void DataCopy(const LocalTensor<T>& dst, const GlobalTensor<T>& src, const Nd2NzParams& params,
                             ASCEND_SIM_SITE) {
  ::ascend_sim::CopyOp op;
  op.kind = ::ascend_sim::CopyKind::Nd2Nz;
  op.dst = dst.operand();
  op.src = src.operand();
  op.matrices = params.ndNum;
  op.n = params.nValue;
  op.d = params.dValue;
  op.src_matrix_stride = params.srcNdMatrixStride;
  op.src_d = params.srcDValue;
  op.dst_c0_stride = params.dstNzC0Stride;
  op.dst_n_stride = params.dstNzNStride;
  op.dst_matrix_stride = params.dstNzMatrixStride;
  ::ascend_sim::copy(op, {"DataCopy", site});
}

// ---- inside a core ----

template <typename T>
ASCEND_SIM_API void DataCopy(const LocalTensor<T>& dst, const LocalTensor<T>& src,
                             const DataCopyParams& params, ASCEND_SIM_SITE) {
  sim_detail::local_copy(dst.operand(), src.operand(), params, site);
}
template <typename T, typename U>
ASCEND_SIM_API void DataCopy(const LocalTensor<T>& dst, const LocalTensor<U>& src,
                             const DataCopyParams& params, ASCEND_SIM_SITE) {
  sim_detail::local_copy(dst.operand(), src.operand(), params, site);
}
template <typename T>
ASCEND_SIM_API void DataCopy(const LocalTensor<T>& dst, const LocalTensor<T>& src, const uint32_t count,
                             ASCEND_SIM_SITE) {
  ::ascend_sim::CopyOp op =
      sim_detail::contiguous(dst.operand(), src.operand(), sim_detail::bytes_of<PrimT<T>>(count));
  if (op.dst.memory == ::ascend_sim::Memory::BT) op.kind = ::ascend_sim::CopyKind::BiasTable;
  if (op.dst.memory == ::ascend_sim::Memory::FB) op.kind = ::ascend_sim::CopyKind::FixpipeBuffer;
  ::ascend_sim::copy(op, {"DataCopy", site});
}

// ---- DataCopyPad ----

namespace sim_detail {

inline ::ascend_sim::CopyOp padded(const ::ascend_sim::Operand& dst, const ::ascend_sim::Operand& src,
                                   const DataCopyExtParams& params) {
  ::ascend_sim::CopyOp op;
  op.kind = ::ascend_sim::CopyKind::Pad;
  op.dst = dst;
  op.src = src;
  op.count = params.blockCount;
  op.length = params.blockLen;
  // Gaps count bytes in GM and 32-byte blocks in UB.
  op.src_gap = uint64_t{params.srcStride} * (src.memory == ::ascend_sim::Memory::GM ? 1 : ONE_BLK_SIZE);
  op.dst_gap = uint64_t{params.dstStride} * (dst.memory == ::ascend_sim::Memory::GM ? 1 : ONE_BLK_SIZE);
  return op;
}

inline DataCopyExtParams extended(const DataCopyParams& params) {
  return {params.blockCount, params.blockLen, params.srcStride, params.dstStride, 0};
}

}  // namespace sim_detail

template <typename T>
ASCEND_SIM_API void DataCopyPad(const LocalTensor<T>& dst, const GlobalTensor<T>& src,
                                const DataCopyExtParams& params, const DataCopyPadExtParams<T>& pad,
                                ASCEND_SIM_SITE) {
  ::ascend_sim::CopyOp op = sim_detail::padded(dst.operand(), src.operand(), params);
  op.pad = pad.isPad;
  op.left = pad.leftPadding;
  op.right = pad.rightPadding;
  op.pad_value = sim_detail::bits_of(pad.paddingValue);
  ::ascend_sim::copy(op, {"DataCopyPad", site});
}
template <typename T>
ASCEND_SIM_API void DataCopyPad(const LocalTensor<T>& dst, const GlobalTensor<T>& src,
                                const DataCopyParams& params, const DataCopyPadParams& pad, ASCEND_SIM_SITE) {
  ::ascend_sim::CopyOp op = sim_detail::padded(dst.operand(), src.operand(), sim_detail::extended(params));
  op.pad = pad.isPad;
  op.left = pad.leftPadding;
  op.right = pad.rightPadding;
  op.pad_value = pad.paddingValue;
  ::ascend_sim::copy(op, {"DataCopyPad", site});
}
template <typename T>
ASCEND_SIM_API void DataCopyPad(const GlobalTensor<T>& dst, const LocalTensor<T>& src,
                                const DataCopyExtParams& params, ASCEND_SIM_SITE) {
  ::ascend_sim::copy(sim_detail::padded(dst.operand(), src.operand(), params), {"DataCopyPad", site});
}
template <typename T>
ASCEND_SIM_API void DataCopyPad(const GlobalTensor<T>& dst, const LocalTensor<T>& src,
                                const DataCopyParams& params, ASCEND_SIM_SITE) {
  ::ascend_sim::copy(sim_detail::padded(dst.operand(), src.operand(), sim_detail::extended(params)),
                     {"DataCopyPad", site});
}
template <typename T, TPosition pos = TPosition::MAX>
ASCEND_SIM_API void SetPadValue(T paddingValue) {
  ::ascend_sim::set_pad_value(sim_detail::bits_of(paddingValue));
}

// ---- Copy: on the vector pipe; in counter mode the count is elements per repeat ----

template <typename T, bool isSetMask = true>
ASCEND_SIM_API void Copy(const LocalTensor<T>& dst, const LocalTensor<T>& src, const uint64_t mask,
                         const uint8_t repeatTimes, const CopyRepeatParams& params, ASCEND_SIM_SITE) {
  sim_detail::vector_copy(dst, src, sim_detail::mask_of<isSetMask>(mask), repeatTimes, params, site);
}
template <typename T, bool isSetMask = true>
ASCEND_SIM_API void Copy(const LocalTensor<T>& dst, const LocalTensor<T>& src, const uint64_t mask[],
                         const uint8_t repeatTimes, const CopyRepeatParams& params, ASCEND_SIM_SITE) {
  sim_detail::vector_copy(dst, src, sim_detail::mask_of<isSetMask>(mask), repeatTimes, params, site);
}

}  // namespace AscendC
