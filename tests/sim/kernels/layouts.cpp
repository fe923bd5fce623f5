#include <cstddef>

#include "kernel_operator.h"

// Sizes and field offsets of the parameter structs. This file compiles against CANN's headers and against the
// simulator's: kernels that fill a struct by position mean the same fields in both.
#define SIZE(Struct, bytes) static_assert(sizeof(AscendC::Struct) == bytes, "size of " #Struct);
#define AT(Struct, field, offset) \
  static_assert(offsetof(AscendC::Struct, field) == offset, #Struct "::" #field);

SIZE(BinaryRepeatParams, 12)
AT(BinaryRepeatParams, blockNumber, 0)
AT(BinaryRepeatParams, dstBlkStride, 4)
AT(BinaryRepeatParams, src0BlkStride, 5)
AT(BinaryRepeatParams, src1BlkStride, 6)
AT(BinaryRepeatParams, dstRepStride, 7)
AT(BinaryRepeatParams, src0RepStride, 8)
AT(BinaryRepeatParams, src1RepStride, 9)
AT(BinaryRepeatParams, repeatStrideMode, 10)
AT(BinaryRepeatParams, strideSizeMode, 11)

SIZE(UnaryRepeatParams, 16)
AT(UnaryRepeatParams, blockNumber, 0)
AT(UnaryRepeatParams, dstBlkStride, 4)
AT(UnaryRepeatParams, srcBlkStride, 6)
AT(UnaryRepeatParams, dstRepStride, 8)
AT(UnaryRepeatParams, srcRepStride, 9)
AT(UnaryRepeatParams, repeatStrideMode, 10)
AT(UnaryRepeatParams, strideSizeMode, 11)
AT(UnaryRepeatParams, halfBlock, 12)

SIZE(CopyRepeatParams, 8)
AT(CopyRepeatParams, dstStride, 0)
AT(CopyRepeatParams, srcStride, 2)
AT(CopyRepeatParams, dstRepeatSize, 4)
AT(CopyRepeatParams, srcRepeatSize, 6)

SIZE(BrcbRepeatParams, 16)
AT(BrcbRepeatParams, dstBlkStride, 6)
AT(BrcbRepeatParams, dstRepStride, 4)
AT(BrcbRepeatParams, blockNumber, 0)

SIZE(GatherRepeatParams, 16)
AT(GatherRepeatParams, blockNumber, 0)
AT(GatherRepeatParams, dstBlkStride, 6)
AT(GatherRepeatParams, src0BlkStride, 7)
AT(GatherRepeatParams, src1BlkStride, 8)
AT(GatherRepeatParams, dstRepStride, 4)
AT(GatherRepeatParams, src0RepStride, 9)
AT(GatherRepeatParams, src1RepStride, 10)
AT(GatherRepeatParams, repeatStrideMode, 11)
AT(GatherRepeatParams, strideSizeMode, 12)

SIZE(GatherMaskParams, 8)
AT(GatherMaskParams, src0BlockStride, 0)
AT(GatherMaskParams, repeatTimes, 2)
AT(GatherMaskParams, src0RepeatStride, 4)
AT(GatherMaskParams, src1RepeatStride, 6)

SIZE(DataCopyParams, 8)
AT(DataCopyParams, blockCount, 0)
AT(DataCopyParams, blockLen, 2)
AT(DataCopyParams, srcStride, 4)
AT(DataCopyParams, dstStride, 6)

SIZE(DataCopyExtParams, 20)
AT(DataCopyExtParams, blockCount, 0)
AT(DataCopyExtParams, blockLen, 4)
AT(DataCopyExtParams, srcStride, 8)
AT(DataCopyExtParams, dstStride, 12)
AT(DataCopyExtParams, rsv, 16)

SIZE(DataCopyPadParams, 16)
AT(DataCopyPadParams, isPad, 0)
AT(DataCopyPadParams, leftPadding, 1)
AT(DataCopyPadParams, rightPadding, 2)
AT(DataCopyPadParams, paddingValue, 8)

SIZE(DataCopyPadExtParams<float>, 8)
AT(DataCopyPadExtParams<float>, isPad, 0)
AT(DataCopyPadExtParams<float>, leftPadding, 1)
AT(DataCopyPadExtParams<float>, rightPadding, 2)
AT(DataCopyPadExtParams<float>, paddingValue, 4)

SIZE(Nd2NzParams, 16)
AT(Nd2NzParams, ndNum, 0)
AT(Nd2NzParams, nValue, 2)
AT(Nd2NzParams, dValue, 4)
AT(Nd2NzParams, srcNdMatrixStride, 6)
AT(Nd2NzParams, srcDValue, 8)
AT(Nd2NzParams, dstNzC0Stride, 10)
AT(Nd2NzParams, dstNzNStride, 12)
AT(Nd2NzParams, dstNzMatrixStride, 14)

SIZE(LoadData2DParams, 10)
AT(LoadData2DParams, startIndex, 0)
AT(LoadData2DParams, dstGap, 2)
AT(LoadData2DParams, srcStride, 4)
AT(LoadData2DParams, ifTranspose, 6)
AT(LoadData2DParams, repeatTimes, 7)
AT(LoadData2DParams, sid, 8)
AT(LoadData2DParams, addrMode, 9)

SIZE(LoadData2dTransposeParams, 12)
AT(LoadData2dTransposeParams, startIndex, 0)
AT(LoadData2dTransposeParams, repeatTimes, 2)
AT(LoadData2dTransposeParams, srcStride, 4)
AT(LoadData2dTransposeParams, dstGap, 6)
AT(LoadData2dTransposeParams, dstFracGap, 8)
AT(LoadData2dTransposeParams, addrMode, 10)

SIZE(MmadParams, 20)
AT(MmadParams, m, 0)
AT(MmadParams, n, 2)
AT(MmadParams, k, 4)
AT(MmadParams, isBias, 6)
AT(MmadParams, fmOffset, 8)
AT(MmadParams, unitFlag, 15)
AT(MmadParams, cmatrixSource, 17)
AT(MmadParams, cmatrixInitVal, 18)

SIZE(FixpipeParamsV220, 40)
AT(FixpipeParamsV220, nSize, 0)
AT(FixpipeParamsV220, mSize, 2)
AT(FixpipeParamsV220, srcStride, 4)
AT(FixpipeParamsV220, dstStride, 8)
AT(FixpipeParamsV220, quantPre, 12)
AT(FixpipeParamsV220, deqScalar, 16)
AT(FixpipeParamsV220, ndNum, 24)
AT(FixpipeParamsV220, srcNdStride, 26)
AT(FixpipeParamsV220, dstNdStride, 28)
AT(FixpipeParamsV220, reluEn, 30)
AT(FixpipeParamsV220, unitFlag, 31)
AT(FixpipeParamsV220, isChannelSplit, 32)

// The values that a default-constructed struct holds, in the order of DEFAULTS in test_headers.py.
extern "C" __global__ __aicore__ void defaults(GM_ADDR out) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
  AscendC::GlobalTensor<int32_t> gm;
  gm.SetGlobalBuffer((__gm__ int32_t*)out, 32);
  AscendC::BinaryRepeatParams binary;
  AscendC::UnaryRepeatParams unary;
  AscendC::CopyRepeatParams copy;
  AscendC::DataCopyParams blocks;
  AscendC::DataCopyExtParams rows;
  AscendC::MmadParams mmad;
  AscendC::FixpipeParamsV220 fixpipe;
  AscendC::Nd2NzParams nd2nz;
  const int32_t values[] = {
      binary.dstBlkStride,
      binary.src0BlkStride,
      binary.dstRepStride,
      binary.src1RepStride,
      unary.dstBlkStride,
      unary.srcBlkStride,
      unary.dstRepStride,
      unary.srcRepStride,
      copy.dstStride,
      copy.srcStride,
      copy.dstRepeatSize,
      copy.srcRepeatSize,
      blocks.blockCount,
      blocks.blockLen,
      blocks.srcStride,
      rows.blockCount,
      static_cast<int32_t>(rows.blockLen),
      mmad.m,
      mmad.unitFlag,
      mmad.cmatrixInitVal,
      mmad.cmatrixSource,
      fixpipe.quantPre,
      fixpipe.ndNum,
      fixpipe.reluEn,
      nd2nz.ndNum,
  };
  for (uint32_t i = 0; i < sizeof(values) / sizeof(values[0]); ++i) {
    gm.SetValue(i, values[i]);
  }
}
