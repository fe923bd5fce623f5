// The cube core: LoadData, LoadDataWithTranspose, InitConstValue, Mmad.
#pragma once

#include "params.h"
#include "tensor.h"

namespace AscendC {
namespace sim_detail {

template <typename D, typename S>
::ascend_sim::LoadOp load(const D& dst, const S& src, const LoadData2DParams& params) {
  ::ascend_sim::LoadOp op;
  op.dst = dst.operand();
  op.src = src.operand();
  op.start = params.startIndex;
  op.repeat = params.repeatTimes;
  op.src_stride = params.srcStride;
  op.dst_gap = params.dstGap;
  op.transpose = params.ifTranspose;
  op.decrease = params.addrMode != 0;
  return op;
}

}  // namespace sim_detail

template <typename T>
ASCEND_SIM_API void LoadData(const LocalTensor<T>& dst, const LocalTensor<T>& src,
                             const LoadData2DParams& params, ASCEND_SIM_SITE) {
  ::ascend_sim::load2d(sim_detail::load(dst, src, params), {"LoadData", site});
}
template <typename T>
ASCEND_SIM_API void LoadData(const LocalTensor<T>& dst, const GlobalTensor<T>& src,
                             const LoadData2DParams& params, ASCEND_SIM_SITE) {
  ::ascend_sim::load2d(sim_detail::load(dst, src, params), {"LoadData", site});
}

template <typename T>
ASCEND_SIM_API void LoadDataWithTranspose(const LocalTensor<T>& dst, const LocalTensor<T>& src,
                                          const LoadData2dTransposeParams& params, ASCEND_SIM_SITE) {
  ::ascend_sim::LoadOp op;
  op.dst = dst.operand();
  op.src = src.operand();
  op.square = true;
  op.start = params.startIndex;
  op.repeat = params.repeatTimes;
  op.src_stride = params.srcStride;
  op.dst_gap = params.dstGap;
  op.dst_fractal_gap = params.dstFracGap;
  op.decrease = params.addrMode != 0;
  ::ascend_sim::load2d(op, {"LoadDataWithTranspose", site});
}

template <typename T, typename U = PrimT<T>>
ASCEND_SIM_API void LoadData(const LocalTensor<T>& dst, const LocalTensor<T>& src,
                             const LoadData3DParamsV2<U>& params, ASCEND_SIM_SITE) {
  ::ascend_sim::Load3DOp op;
  op.dst = dst.operand();
  op.src = src.operand();
  for (int i = 0; i < PAD_SIZE; ++i) op.pad[i] = params.padList[i];
  op.h = params.l1H;
  op.w = params.l1W;
  op.channels = params.channelSize;
  op.k_extent = params.kExtension;
  op.m_extent = params.mExtension;
  op.k_start = params.kStartPt;
  op.m_start = params.mStartPt;
  op.stride_w = params.strideW;
  op.stride_h = params.strideH;
  op.filter_w = params.filterW + (params.filterSizeW ? 256u : 0u);
  op.filter_h = params.filterH + (params.filterSizeH ? 256u : 0u);
  op.dilation_w = params.dilationFilterW;
  op.dilation_h = params.dilationFilterH;
  op.transpose = params.enTranspose;
  op.pad_value = sim_detail::bits_of(params.padValue);
  ::ascend_sim::load3d(op, {"LoadData", site});
}

template <typename T, typename U = PrimT<T>,
          typename std::enable_if<std::is_same_v<PrimT<T>, U>, bool>::type = true>
ASCEND_SIM_API void InitConstValue(const LocalTensor<T>& dst, const InitConstValueParams<U>& params,
                                   ASCEND_SIM_SITE) {
  ::ascend_sim::FillOp op;
  op.dst = dst.operand();
  op.repeat = params.repeatTimes;
  op.blocks = params.blockNum;
  op.gap = params.dstGap;
  op.value = sim_detail::bits_of(params.initValue);
  ::ascend_sim::fill(op, {"InitConstValue", site});
}

namespace sim_detail {

template <typename D, typename A, typename B>
::ascend_sim::MmadOp multiply(const LocalTensor<D>& dst, const LocalTensor<A>& a, const LocalTensor<B>& b,
                              const MmadParams& params) {
  ::ascend_sim::MmadOp op;
  op.dst = dst.operand();
  op.a = a.operand();
  op.b = b.operand();
  op.m = params.m;
  op.n = params.n;
  op.k = params.k;
  op.unit_flag = params.unitFlag;
  op.k_align = params.kDirectionAlign;
  op.init_from_table = params.cmatrixSource;
  op.init_zero = params.cmatrixInitVal;
  return op;
}

}  // namespace sim_detail

template <typename DstT, typename Src0T, typename Src1T>
ASCEND_SIM_API void Mmad(const LocalTensor<DstT>& dst, const LocalTensor<Src0T>& fm,
                         const LocalTensor<Src1T>& filter, const MmadParams& params, ASCEND_SIM_SITE) {
  ::ascend_sim::MmadOp op = sim_detail::multiply(dst, fm, filter, params);
  op.init_zero = params.cmatrixInitVal && !params.isBias;
  // Without a bias tensor the bias table is read from its start.
  op.bias.memory = ::ascend_sim::Memory::BT;
  op.bias.end = ::ascend_sim::memory_size(::ascend_sim::Memory::BT);
  ::ascend_sim::mmad(op, {"Mmad", site});
}
// The bias lies in the bias table (C2), or is another tile of L0C (CO1).
template <typename DstT, typename Src0T, typename Src1T, typename BiasT>
ASCEND_SIM_API void Mmad(const LocalTensor<DstT>& dst, const LocalTensor<Src0T>& fm,
                         const LocalTensor<Src1T>& filter, const LocalTensor<BiasT>& bias,
                         const MmadParams& params, ASCEND_SIM_SITE) {
  ::ascend_sim::MmadOp op = sim_detail::multiply(dst, fm, filter, params);
  op.bias = bias.operand();
  op.has_bias = true;
  op.init_from_table = op.bias.memory == ::ascend_sim::Memory::BT;
  ::ascend_sim::mmad(op, {"Mmad", site});
}

ASCEND_SIM_API void SetFmatrix(uint16_t l1H, uint16_t l1W, const uint8_t padList[4]) {
  ::ascend_sim::set_load3d(l1H, l1W, padList);
}
template <typename T>
ASCEND_SIM_API void SetLoadDataPaddingValue(const T padValue) {
  ::ascend_sim::set_load3d_padding(sim_detail::bits_of(padValue));
}

}  // namespace AscendC
