// Fixpipe: results out of L0C, converted on the way.
#pragma once

#include "params.h"
#include "tensor.h"

namespace AscendC {
namespace sim_detail {

constexpr ::ascend_sim::Quant quant_of(QuantMode_t mode) {
  using ::ascend_sim::Quant;
  switch (mode) {
    case NoQuant:
      return Quant::None;
    case F322F16:
      return Quant::F32ToF16;
    case F322BF16:
      return Quant::F32ToBF16;
    case DEQF16:
      return Quant::S32ToF16;
    case VDEQF16:
      return Quant::S32ToF16Vector;
    case QF322B8_PRE:
      return Quant::ToS8;
    case VQF322B8_PRE:
      return Quant::ToS8Vector;
    case REQ8:
      return Quant::S32ToS8;
    case VREQ8:
      return Quant::S32ToS8Vector;
    default:
      return Quant::Unknown;
  }
}

template <typename D, typename S>
::ascend_sim::FixpipeOp drain(const D& dst, const S& src, const FixpipeParamsV220& params, CO2Layout layout) {
  ::ascend_sim::FixpipeOp op;
  op.dst = dst.operand();
  op.src = src.operand();
  op.n = params.nSize;
  op.m = params.mSize;
  op.src_stride = params.srcStride;
  op.dst_stride = params.dstStride;
  op.to_nd = layout == CO2Layout::ROW_MAJOR;
  op.matrices = op.to_nd ? params.ndNum : 1;
  op.src_matrix_stride = params.srcNdStride;
  op.dst_matrix_stride = params.dstNdStride;
  op.quant = quant_of(params.quantPre);
  op.scale = params.deqScalar;
  op.relu = params.reluEn;
  op.channel_split = params.isChannelSplit;
  op.unit_flag = params.unitFlag;
  return op;
}

}  // namespace sim_detail

#define ASCEND_SIM_FIXPIPE(TENSOR)                                                                        \
  template <typename DstT, typename SrcT, const FixpipeConfig& config = CFG_ROW_MAJOR>                    \
  ASCEND_SIM_API void Fixpipe(const TENSOR<DstT>& dst, const LocalTensor<SrcT>& src,                      \
                              const FixpipeParamsV220& params, ASCEND_SIM_SITE) {                         \
    static_assert(config.format != CO2Layout::COLUMN_MAJOR, "Fixpipe: this chip writes NZ or ROW_MAJOR"); \
    ::ascend_sim::fixpipe(sim_detail::drain(dst, src, params, config.format), {"Fixpipe", site});         \
  }                                                                                                       \
  template <typename DstT, typename SrcT, const FixpipeConfig& config = CFG_ROW_MAJOR,                    \
            typename BufT = uint64_t,                                                                     \
            typename std::enable_if<std::is_same_v<PrimT<BufT>, uint64_t>, bool>::type = true>            \
  ASCEND_SIM_API void Fixpipe(const TENSOR<DstT>& dst, const LocalTensor<SrcT>& src,                      \
                              const LocalTensor<BufT>& cbufWorkspace, const FixpipeParamsV220& params,    \
                              ASCEND_SIM_SITE) {                                                          \
    ::ascend_sim::FixpipeOp op = sim_detail::drain(dst, src, params, config.format);                      \
    op.workspace = cbufWorkspace.operand();                                                               \
    op.has_workspace = true;                                                                              \
    ::ascend_sim::fixpipe(op, {"Fixpipe", site});                                                         \
  }
ASCEND_SIM_FIXPIPE(LocalTensor)
ASCEND_SIM_FIXPIPE(GlobalTensor)
#undef ASCEND_SIM_FIXPIPE

// The registers that DataCopy out of CO1 reads.
template <typename T, bool setRelu = false>
ASCEND_SIM_API void SetFixPipeConfig(const LocalTensor<T>& preTensor,
                                     [[maybe_unused]] bool isUnitFlag = false) {
  static_assert(!setRelu, "SetFixPipeConfig: a relu tensor is not simulated");
  ::ascend_sim::set_fixpipe_buffer(preTensor.operand());
}
ASCEND_SIM_API void SetFixpipeNz2ndFlag(uint16_t ndNum, uint16_t srcNdStride, uint16_t dstNdStride) {
  ::ascend_sim::set_fixpipe_matrices(ndNum, srcNdStride, dstNdStride);
}
ASCEND_SIM_API void SetFixpipePreQuantFlag(uint64_t config) {
  ::ascend_sim::set_fixpipe_scale(config);
}

namespace sim_detail {

template <typename D, typename S>
void copy_out(const D& dst, const S& src, const DataCopyCO12DstParams& params,
              const ::ascend_sim::Site& site) {
  if (params.clipReluPre || params.eltWiseOp)
    ::ascend_sim::unsupported("DataCopy: this chip has neither clipReluPre nor eltWiseOp",
                              {"DataCopy", site});
  FixpipeParamsV220 same;
  same.nSize = params.nSize;
  same.mSize = params.mSize;
  same.srcStride = params.srcStride;
  same.dstStride = params.dstStride;
  same.quantPre = params.quantPre;
  same.reluEn = params.reluPre != 0;
  same.unitFlag = params.unitFlag;
  same.isChannelSplit = params.channelSplit;
  ::ascend_sim::FixpipeOp op = drain(dst, src, same, params.nz2ndEn ? CO2Layout::ROW_MAJOR : CO2Layout::NZ);
  op.from_registers = true;
  ::ascend_sim::fixpipe(op, {"DataCopy", site});
}

}  // namespace sim_detail

template <typename T, typename U>
ASCEND_SIM_API void DataCopy(const LocalTensor<T>& dst, const LocalTensor<U>& src,
                             const DataCopyCO12DstParams& params, ASCEND_SIM_SITE) {
  sim_detail::copy_out(dst, src, params, site);
}
template <typename T, typename U>
ASCEND_SIM_API void DataCopy(const GlobalTensor<T>& dst, const LocalTensor<U>& src,
                             const DataCopyCO12DstParams& params, ASCEND_SIM_SITE) {
  sim_detail::copy_out(dst, src, params, site);
}

}  // namespace AscendC
