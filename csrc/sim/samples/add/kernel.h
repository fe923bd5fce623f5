#pragma once

#include "kernel_operator.h"
#include "tiling.h"

// The TPipe/TQue Add: copy in, add, copy out, each stage handing its tensors on through a queue of two
// buffers.
class SampleAdd {
 public:
  __aicore__ inline SampleAdd() {}

  __aicore__ inline void Init(GM_ADDR x, GM_ADDR y, GM_ADDR z, uint32_t totalLength, uint32_t tileLength) {
    totalLength_ = totalLength;
    tileLength_ = tileLength;
    xGm_.SetGlobalBuffer((__gm__ half*)x, totalLength);
    yGm_.SetGlobalBuffer((__gm__ half*)y, totalLength);
    zGm_.SetGlobalBuffer((__gm__ half*)z, totalLength);
    pipe_.InitBuffer(xQueue_, BUFFERS, tileLength * sizeof(half));
    pipe_.InitBuffer(yQueue_, BUFFERS, tileLength * sizeof(half));
    pipe_.InitBuffer(zQueue_, BUFFERS, tileLength * sizeof(half));
  }

  __aicore__ inline void Process() {
    const uint32_t stride = AscendC::GetBlockNum() * tileLength_;
    for (uint32_t start = AscendC::GetBlockIdx() * tileLength_; start < totalLength_; start += stride) {
      const uint32_t rest = totalLength_ - start;
      const uint32_t length = rest < tileLength_ ? rest : tileLength_;
      CopyIn(start, length);
      Compute(length);
      CopyOut(start, length);
    }
  }

 private:
  static constexpr int32_t BUFFERS = 2;

  __aicore__ inline void CopyIn(uint32_t start, uint32_t length) {
    // DataCopyPad counts bytes, so the last tile needs no rounding up that would read past the tensor.
    const AscendC::DataCopyExtParams row{1, static_cast<uint32_t>(length * sizeof(half)), 0, 0, 0};
    const AscendC::DataCopyPadExtParams<half> noPadding{false, 0, 0, 0};
    AscendC::LocalTensor<half> x = xQueue_.AllocTensor<half>();
    AscendC::LocalTensor<half> y = yQueue_.AllocTensor<half>();
    AscendC::DataCopyPad(x, xGm_[start], row, noPadding);
    AscendC::DataCopyPad(y, yGm_[start], row, noPadding);
    xQueue_.EnQue(x);
    yQueue_.EnQue(y);
  }

  __aicore__ inline void Compute(uint32_t length) {
    AscendC::LocalTensor<half> x = xQueue_.DeQue<half>();
    AscendC::LocalTensor<half> y = yQueue_.DeQue<half>();
    AscendC::LocalTensor<half> z = zQueue_.AllocTensor<half>();
    AscendC::Add(z, x, y, length);
    zQueue_.EnQue(z);
    xQueue_.FreeTensor(x);
    yQueue_.FreeTensor(y);
  }

  __aicore__ inline void CopyOut(uint32_t start, uint32_t length) {
    AscendC::LocalTensor<half> z = zQueue_.DeQue<half>();
    AscendC::DataCopyPad(zGm_[start], z, {1, static_cast<uint32_t>(length * sizeof(half)), 0, 0, 0});
    zQueue_.FreeTensor(z);
  }

  AscendC::TPipe pipe_;
  AscendC::TQue<AscendC::TPosition::VECIN, BUFFERS> xQueue_;
  AscendC::TQue<AscendC::TPosition::VECIN, BUFFERS> yQueue_;
  AscendC::TQue<AscendC::TPosition::VECOUT, BUFFERS> zQueue_;
  AscendC::GlobalTensor<half> xGm_;
  AscendC::GlobalTensor<half> yGm_;
  AscendC::GlobalTensor<half> zGm_;
  uint32_t totalLength_;
  uint32_t tileLength_;
};
