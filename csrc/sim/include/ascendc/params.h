// Parameter structs: names, field order, defaults and constructors of CANN's headers.
#pragma once

#include "base.h"

namespace AscendC {

// ---- vector ----

struct BinaryRepeatParams {
  __aicore__ BinaryRepeatParams() {}
  __aicore__ BinaryRepeatParams(const uint8_t dstBlk, const uint8_t src0Blk, const uint8_t src1Blk,
                                const uint8_t dstRep, const uint8_t src0Rep, const uint8_t src1Rep)
      : dstBlkStride(dstBlk),
        src0BlkStride(src0Blk),
        src1BlkStride(src1Blk),
        dstRepStride(dstRep),
        src0RepStride(src0Rep),
        src1RepStride(src1Rep) {}

  uint32_t blockNumber = DEFAULT_BLK_NUM;
  uint8_t dstBlkStride = DEFAULT_BLK_STRIDE;
  uint8_t src0BlkStride = DEFAULT_BLK_STRIDE;
  uint8_t src1BlkStride = DEFAULT_BLK_STRIDE;
  uint8_t dstRepStride = DEFAULT_REPEAT_STRIDE;
  uint8_t src0RepStride = DEFAULT_REPEAT_STRIDE;
  uint8_t src1RepStride = DEFAULT_REPEAT_STRIDE;
  bool repeatStrideMode = false;
  bool strideSizeMode = false;
};

struct UnaryRepeatParams {
  __aicore__ UnaryRepeatParams() {}
  __aicore__ UnaryRepeatParams(const uint16_t dstBlk, const uint16_t srcBlk, const uint8_t dstRep,
                               const uint8_t srcRep)
      : dstBlkStride(dstBlk), srcBlkStride(srcBlk), dstRepStride(dstRep), srcRepStride(srcRep) {}
  __aicore__ UnaryRepeatParams(const uint16_t dstBlk, const uint16_t srcBlk, const uint8_t dstRep,
                               const uint8_t srcRep, const bool half)
      : UnaryRepeatParams(dstBlk, srcBlk, dstRep, srcRep) {
    halfBlock = half;
  }

  uint32_t blockNumber = DEFAULT_BLK_NUM;
  uint16_t dstBlkStride = DEFAULT_BLK_STRIDE;
  uint16_t srcBlkStride = DEFAULT_BLK_STRIDE;
  uint8_t dstRepStride = DEFAULT_REPEAT_STRIDE;
  uint8_t srcRepStride = DEFAULT_REPEAT_STRIDE;
  bool repeatStrideMode = false;
  bool strideSizeMode = false;
  bool halfBlock = false;
};

struct BrcbRepeatParams {
  __aicore__ BrcbRepeatParams() {}
  __aicore__ BrcbRepeatParams(const uint16_t dstBlk, const uint16_t dstRep)
      : dstRepStride(dstRep), dstBlkStride(dstBlk) {}

  uint32_t blockNumber = DEFAULT_BLK_NUM;
  uint16_t dstRepStride = DEFAULT_REPEAT_STRIDE;
  uint16_t dstBlkStride = DEFAULT_BLK_STRIDE;
  uint8_t src0BlkStride = DEFAULT_BLK_STRIDE;
  uint8_t src1BlkStride = DEFAULT_BLK_STRIDE;
  uint8_t src0RepStride = DEFAULT_REPEAT_STRIDE;
  uint8_t src1RepStride = DEFAULT_REPEAT_STRIDE;
  bool repeatStrideMode = false;
  bool strideSizeMode = false;
};

struct CopyRepeatParams {
  __aicore__ CopyRepeatParams() {}
  __aicore__ CopyRepeatParams(const uint16_t dst, const uint16_t src, uint16_t dstRepeat, uint16_t srcRepeat)
      : dstStride(dst), srcStride(src), dstRepeatSize(dstRepeat), srcRepeatSize(srcRepeat) {}

  uint16_t dstStride = DEFAULT_DATA_COPY_STRIDE;
  uint16_t srcStride = DEFAULT_DATA_COPY_STRIDE;
  uint16_t dstRepeatSize = DEFAULT_REPEAT_STRIDE;
  uint16_t srcRepeatSize = DEFAULT_REPEAT_STRIDE;
};

struct GatherRepeatParams {
  __aicore__ GatherRepeatParams() {}
  __aicore__ GatherRepeatParams(const uint8_t dstBlk, const uint8_t dstRep)
      : dstRepStride(dstRep), dstBlkStride(dstBlk) {}

  uint32_t blockNumber = DEFAULT_BLK_NUM;
  uint16_t dstRepStride = DEFAULT_REPEAT_STRIDE;
  uint8_t dstBlkStride = DEFAULT_BLK_STRIDE;
  uint8_t src0BlkStride = DEFAULT_BLK_STRIDE;
  uint8_t src1BlkStride = DEFAULT_BLK_STRIDE;
  uint8_t src0RepStride = DEFAULT_REPEAT_STRIDE;
  uint8_t src1RepStride = DEFAULT_REPEAT_STRIDE;
  bool repeatStrideMode = false;
  bool strideSizeMode = false;
};

enum class GatherMaskMode : uint8_t { VERSION_V1 = 0, VERSION_V2 = 1 };
constexpr GatherMaskMode defaultGatherMaskMode = GatherMaskMode::VERSION_V2;
constexpr GatherMaskMode defaultGahterMaskMode = GatherMaskMode::VERSION_V2;

struct GatherMaskParams {
  __aicore__ GatherMaskParams() {}
  __aicore__ GatherMaskParams(const uint8_t src0Block, const uint16_t repeat, const uint16_t src0Repeat,
                              const uint8_t src1Repeat)
      : src0BlockStride(src0Block),
        repeatTimes(repeat),
        src0RepeatStride(src0Repeat),
        src1RepeatStride(src1Repeat) {}

  uint8_t src0BlockStride = DEFAULT_BLK_STRIDE;
  uint16_t repeatTimes = 0;
  uint16_t src0RepeatStride = DEFAULT_REPEAT_STRIDE;
  uint8_t src1RepeatStride = DEFAULT_REPEAT_STRIDE;
};

struct TransDataTo5HDParams {
  __aicore__ TransDataTo5HDParams() {}
  __aicore__ TransDataTo5HDParams(const bool dstHigh, const bool srcHigh, const uint8_t repeat,
                                  const uint16_t dstRep, const uint16_t srcRep)
      : dstHighHalf(dstHigh),
        srcHighHalf(srcHigh),
        repeatTimes(repeat),
        dstRepStride(dstRep),
        srcRepStride(srcRep) {}

  bool dstHighHalf = false;
  bool srcHighHalf = false;
  uint8_t repeatTimes = 1;
  uint16_t dstRepStride = 0;
  uint16_t srcRepStride = 0;
};

// ---- movement ----

struct DataCopyParams {
  __aicore__ DataCopyParams() {}
  __aicore__ DataCopyParams(const uint16_t count, const uint16_t len, const uint16_t src, const uint16_t dst)
      : blockCount(count), blockLen(len), srcStride(src), dstStride(dst) {}

  uint16_t blockCount = DEFAULT_DATA_COPY_NBURST;
  uint16_t blockLen = 0;
  union {
    uint16_t srcStride = DEFAULT_DATA_COPY_STRIDE;
    uint16_t srcGap;
  };
  union {
    uint16_t dstStride = DEFAULT_DATA_COPY_STRIDE;
    uint16_t dstGap;
  };
};

struct DataCopyPadParams {
  __aicore__ DataCopyPadParams() {}
  __aicore__ DataCopyPadParams(const bool pad, const uint8_t left, const uint8_t right, const uint64_t value)
      : isPad(pad), leftPadding(left), rightPadding(right), paddingValue(value) {}

  bool isPad = false;
  uint8_t leftPadding = 0;
  uint8_t rightPadding = 0;
  uint64_t paddingValue = 0;
};

struct DataCopyExtParams {
  __aicore__ DataCopyExtParams() {}
  __aicore__ DataCopyExtParams(const uint16_t count, const uint32_t len, const uint32_t src,
                               const uint32_t dst, const uint32_t reserved)
      : blockCount(count), blockLen(len), srcStride(src), dstStride(dst), rsv(reserved) {}

  uint16_t blockCount = DEFAULT_DATA_COPY_NBURST;
  uint32_t blockLen = 0;
  uint32_t srcStride = DEFAULT_DATA_COPY_STRIDE;
  uint32_t dstStride = DEFAULT_DATA_COPY_STRIDE;
  uint32_t rsv = 0;
};

template <typename T>
struct DataCopyPadExtParams {
  __aicore__ DataCopyPadExtParams() {}
  __aicore__ DataCopyPadExtParams(const bool pad, const uint8_t left, const uint8_t right, T value)
      : isPad(pad), leftPadding(left), rightPadding(right), paddingValue(value) {}

  bool isPad = false;
  uint8_t leftPadding = 0;
  uint8_t rightPadding = 0;
  T paddingValue = 0;
};

struct Nd2NzParams {
  __aicore__ Nd2NzParams() {}
  __aicore__ Nd2NzParams(const uint16_t nd, const uint16_t n, const uint16_t d,
                         const uint16_t srcMatrixStride, const uint16_t srcD, const uint16_t dstC0Stride,
                         const uint16_t dstNStride, const uint16_t dstMatrixStride)
      : ndNum(nd),
        nValue(n),
        dValue(d),
        srcNdMatrixStride(srcMatrixStride),
        srcDValue(srcD),
        dstNzC0Stride(dstC0Stride),
        dstNzNStride(dstNStride),
        dstNzMatrixStride(dstMatrixStride) {}

  uint16_t ndNum = 0;
  uint16_t nValue = 0;
  uint16_t dValue = 0;
  uint16_t srcNdMatrixStride = 0;
  uint16_t srcDValue = 0;
  uint16_t dstNzC0Stride = 0;
  uint16_t dstNzNStride = 0;
  uint16_t dstNzMatrixStride = 0;
};

// ---- cube ----

struct LoadData2DParams {
  __aicore__ LoadData2DParams() {}
  __aicore__ LoadData2DParams(const uint16_t start, const uint8_t repeat, const uint16_t stride,
                              const uint8_t sidIn, const uint16_t gap, const bool transpose,
                              const uint8_t addr)
      : startIndex(start),
        dstGap(gap),
        srcStride(stride),
        ifTranspose(transpose),
        repeatTimes(repeat),
        sid(sidIn),
        addrMode(addr) {}

  uint16_t startIndex = 0;
  uint16_t dstGap = 0;
  uint16_t srcStride = 0;
  bool ifTranspose = 0;
  uint8_t repeatTimes = 0;
  uint8_t sid = 0;
  uint8_t addrMode = 0;
};
using LoadData2dParams = LoadData2DParams;

struct LoadData2dTransposeParams {
  __aicore__ LoadData2dTransposeParams() {}
  __aicore__ LoadData2dTransposeParams(const uint16_t start, const uint8_t repeat, const uint16_t stride,
                                       const uint16_t gap, const uint16_t fracGap)
      : startIndex(start), repeatTimes(repeat), srcStride(stride), dstGap(gap), dstFracGap(fracGap) {}
  __aicore__ LoadData2dTransposeParams(const uint16_t start, const uint8_t repeat, const uint16_t stride,
                                       const uint16_t gap, const uint16_t fracGap, const uint8_t addr)
      : LoadData2dTransposeParams(start, repeat, stride, gap, fracGap) {
    addrMode = addr;
  }

  uint16_t startIndex = 0;
  uint8_t repeatTimes = 0;
  uint16_t srcStride = 0;
  uint16_t dstGap = 0;
  uint16_t dstFracGap = 0;
  uint8_t addrMode = 0;
};

template <typename T>
struct LoadData3DParamsV2 {
  __aicore__ LoadData3DParamsV2() {}
  __aicore__ LoadData3DParamsV2(const uint8_t pads[PAD_SIZE], const uint16_t h, const uint16_t w,
                                const uint16_t channels, const uint16_t kExtent, const uint16_t mExtent,
                                const uint16_t kStart, const uint16_t mStart, const uint8_t strideWIn,
                                const uint8_t strideHIn, const uint8_t filterWIn, const uint8_t filterHIn,
                                const uint8_t dilationW, const uint8_t dilationH, const bool transpose,
                                const bool smallK, const T pad)
      : l1H(h),
        l1W(w),
        channelSize(channels),
        kExtension(kExtent),
        mExtension(mExtent),
        kStartPt(kStart),
        mStartPt(mStart),
        strideW(strideWIn),
        strideH(strideHIn),
        filterW(filterWIn),
        filterH(filterHIn),
        dilationFilterW(dilationW),
        dilationFilterH(dilationH),
        enTranspose(transpose),
        enSmallK(smallK),
        padValue(pad) {
    for (int i = 0; i < PAD_SIZE; ++i) padList[i] = pads[i];
  }
  __aicore__ LoadData3DParamsV2(const uint8_t pads[PAD_SIZE], const uint16_t h, const uint16_t w,
                                const uint16_t channels, const uint16_t kExtent, const uint16_t mExtent,
                                const uint16_t kStart, const uint16_t mStart, const uint8_t strideWIn,
                                const uint8_t strideHIn, const uint8_t filterWIn, const uint8_t filterHIn,
                                const uint8_t dilationW, const uint8_t dilationH, const bool transpose,
                                const bool smallK, const T pad, const bool sizeW, const bool sizeH,
                                const bool fMatrix)
      : LoadData3DParamsV2(pads, h, w, channels, kExtent, mExtent, kStart, mStart, strideWIn, strideHIn,
                           filterWIn, filterHIn, dilationW, dilationH, transpose, smallK, pad) {
    filterSizeW = sizeW;
    filterSizeH = sizeH;
    fMatrixCtrl = fMatrix;
  }

  uint8_t padList[PAD_SIZE] = {0};
  uint16_t l1H = 0;
  uint16_t l1W = 0;
  uint16_t channelSize = 0;
  uint16_t kExtension = 0;
  uint16_t mExtension = 0;
  uint16_t kStartPt = 0;
  uint16_t mStartPt = 0;
  uint8_t strideW = 1;
  uint8_t strideH = 1;
  uint8_t filterW = 1;
  uint8_t filterH = 1;
  uint8_t dilationFilterW = 1;
  uint8_t dilationFilterH = 1;
  bool enTranspose = false;
  bool enSmallK = false;
  T padValue = 0;
  bool filterSizeW = false;
  bool filterSizeH = false;
  bool fMatrixCtrl = false;
};

template <typename U>
struct InitConstValueParams {
  __aicore__ InitConstValueParams() {}
  __aicore__ InitConstValueParams(const uint16_t repeat, const uint16_t blocks, const uint16_t gap,
                                  const U value)
      : repeatTimes(repeat), blockNum(blocks), dstGap(gap), initValue(value) {}
  __aicore__ InitConstValueParams(const uint16_t repeat, const U value)
      : repeatTimes(repeat), initValue(value) {}

  uint16_t repeatTimes = 0;
  uint16_t blockNum = 0;
  uint16_t dstGap = 0;
  U initValue = 0;
};

struct MmadParams {
  __aicore__ MmadParams() {}
  __aicore__ MmadParams(const uint16_t mIn, const uint16_t nIn, const uint16_t kIn, const bool bias,
                        const int32_t offset, const bool sparse, const bool winogradA, const bool winogradB)
      : m(mIn),
        n(nIn),
        k(kIn),
        isBias(bias),
        fmOffset(offset),
        enSsparse(sparse),
        enWinogradA(winogradA),
        enWinogradB(winogradB) {}
  __aicore__ MmadParams(const uint16_t mIn, const uint16_t nIn, const uint16_t kIn, const uint8_t unit,
                        const bool source, const bool initial)
      : m(mIn), n(nIn), k(kIn), unitFlag(unit), cmatrixSource(source), cmatrixInitVal(initial) {}

  uint16_t m = 0;
  uint16_t n = 0;
  uint16_t k = 0;
  bool isBias = false;
  int32_t fmOffset = 0;
  bool enSsparse = false;
  bool enWinogradA = false;
  bool enWinogradB = false;
  uint8_t unitFlag = 0;
  bool kDirectionAlign = false;
  bool cmatrixSource = false;
  bool cmatrixInitVal = true;
};

enum class CO2Layout : uint8_t { NZ = 0, ROW_MAJOR, COLUMN_MAJOR };
struct FixpipeConfig {
  CO2Layout format;
};
constexpr FixpipeConfig CFG_NZ = {CO2Layout::NZ};
constexpr FixpipeConfig CFG_ROW_MAJOR = {CO2Layout::ROW_MAJOR};
constexpr FixpipeConfig CFG_COLUMN_MAJOR = {CO2Layout::COLUMN_MAJOR};

// DataCopy out of CO1; the matrix count and its strides come from SetFixpipeNz2ndFlag.
struct DataCopyCO12DstParams {
  __aicore__ DataCopyCO12DstParams() {}
  __aicore__ DataCopyCO12DstParams(const uint16_t n, const uint16_t m, const uint32_t dst, const uint16_t src,
                                   const QuantMode_t quant, const uint8_t relu, const bool split,
                                   const bool nz2nd)
      : nSize(n),
        mSize(m),
        dstStride(dst),
        srcStride(src),
        quantPre(quant),
        reluPre(relu),
        channelSplit(split),
        nz2ndEn(nz2nd) {}

  uint8_t sid = 0;
  uint16_t nSize = 0;
  uint16_t mSize = 0;
  uint32_t dstStride = DEFAULT_DATA_COPY_STRIDE;
  uint16_t srcStride = DEFAULT_DATA_COPY_STRIDE;
  uint8_t unitFlag = 0;
  uint8_t clipReluPre = 0;
  uint8_t eltWiseOp = 0;
  QuantMode_t quantPre = QuantMode_t::NoQuant;
  uint8_t reluPre = 0;
  bool channelSplit = false;
  bool nz2ndEn = false;
};

struct FixpipeParamsV220 {
  __aicore__ FixpipeParamsV220() {}
  __aicore__ FixpipeParamsV220(const uint16_t n, const uint16_t m, const uint16_t src, const uint32_t dst,
                               const bool relu)
      : nSize(n), mSize(m), srcStride(src), dstStride(dst), reluEn(relu) {}
  __aicore__ FixpipeParamsV220(const uint16_t n, const uint16_t m, const uint16_t src, const uint32_t dst,
                               const bool relu, const QuantMode_t quant, const int64_t scalar,
                               const uint16_t nd, const uint16_t srcNd, const uint16_t dstNd,
                               const uint8_t unit)
      : nSize(n),
        mSize(m),
        srcStride(src),
        dstStride(dst),
        quantPre(quant),
        deqScalar(static_cast<uint64_t>(scalar)),
        ndNum(nd),
        srcNdStride(srcNd),
        dstNdStride(dstNd),
        reluEn(relu),
        unitFlag(unit) {}
  __aicore__ FixpipeParamsV220(const uint16_t n, const uint16_t m, const uint16_t src, const uint32_t dst,
                               const bool relu, const QuantMode_t quant, const int64_t scalar,
                               const uint16_t nd, const uint16_t srcNd, const uint16_t dstNd,
                               const uint8_t unit, const bool split)
      : FixpipeParamsV220(n, m, src, dst, relu, quant, scalar, nd, srcNd, dstNd, unit) {
    isChannelSplit = split;
  }

  uint16_t nSize = 0;
  uint16_t mSize = 0;
  uint16_t srcStride = 0;
  uint32_t dstStride = 0;
  QuantMode_t quantPre = QuantMode_t::NoQuant;
  uint64_t deqScalar = 0;
  uint16_t ndNum = 1;
  uint16_t srcNdStride = 0;
  uint16_t dstNdStride = 0;
  bool reluEn = false;
  uint8_t unitFlag = 0;
  bool isChannelSplit = false;
};

}  // namespace AscendC
