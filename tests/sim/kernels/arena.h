#pragma once

#include "kernel_operator.h"

// Test kernels run one instruction on an image of UB: the whole image comes in from GM, the instruction runs,
// the whole image goes back. So a test sees every byte that an instruction wrote, and that it wrote no other.
class Arena {
 public:
  __aicore__ inline Arena() {}

  __aicore__ inline void Load(GM_ADDR image, uint32_t bytes) {
    bytes_ = bytes;
    gm_.SetGlobalBuffer((__gm__ uint8_t*)image, bytes);
    pipe_.InitBuffer(buffer_, bytes);
    AscendC::DataCopy(buffer_.Get<uint8_t>(), gm_, bytes);
    AscendC::PipeBarrier<PIPE_ALL>();
  }

  __aicore__ inline void Store() { Store(bytes_); }

  // The first `bytes` only: instructions leave their work space undefined.
  __aicore__ inline void Store(uint32_t bytes) {
    AscendC::PipeBarrier<PIPE_ALL>();
    AscendC::DataCopy(gm_, buffer_.Get<uint8_t>(), bytes);
  }

  // The tensor that starts `offset` bytes into the image and runs to its end.
  template <typename T>
  __aicore__ inline AscendC::LocalTensor<T> At(uint32_t offset) {
    return buffer_.Get<uint8_t>()[offset].ReinterpretCast<T>();
  }

 private:
  AscendC::TPipe pipe_;
  AscendC::TBuf<AscendC::TPosition::VECCALC> buffer_;
  AscendC::GlobalTensor<uint8_t> gm_;
  uint32_t bytes_;
};
