#pragma once

#include "kernel_operator.h"

// Two slots of L1 that are filled and used in turn. Each has an event that says it is full and one that says
// it is free.
template <typename T, AscendC::TPosition position>
class AttentionSlots {
 public:
  __aicore__ inline AttentionSlots() {}

  // Takes the events `event` and `event + 1`.
  __aicore__ inline void Init(AscendC::TPipe& pipe, int32_t event, uint32_t bytes) {
    event_ = event;
    size_ = bytes / sizeof(T);
    pipe.InitBuffer(buffer_, 2 * bytes);
    for (int32_t slot = event; slot < event + 2; ++slot) {
      AscendC::SetFlag<AscendC::HardEvent::MTE1_MTE2>(slot);
    }
  }

  // Takes back the events that Init gave out: every set needs its wait.
  __aicore__ inline void Finish() {
    for (int32_t slot = event_; slot < event_ + 2; ++slot) {
      AscendC::WaitFlag<AscendC::HardEvent::MTE1_MTE2>(slot);
    }
  }

  // The slot to be filled next, once it is free; Announce says that it is full.
  __aicore__ inline AscendC::LocalTensor<T> Acquire() {
    AscendC::WaitFlag<AscendC::HardEvent::MTE1_MTE2>(EventOf(filled_));
    return At(filled_);
  }

  __aicore__ inline void Announce() {
    AscendC::SetFlag<AscendC::HardEvent::MTE2_MTE1>(EventOf(filled_));
    ++filled_;
  }

  // The slot to be used next, or the one `later`, once it is full; Release frees the next.
  __aicore__ inline AscendC::LocalTensor<T> Take(uint32_t later = 0) {
    AscendC::WaitFlag<AscendC::HardEvent::MTE2_MTE1>(EventOf(used_ + later));
    return Taken(later);
  }

  // The same again.
  __aicore__ inline AscendC::LocalTensor<T> Taken(uint32_t later = 0) { return At(used_ + later); }

  __aicore__ inline void Release() {
    AscendC::SetFlag<AscendC::HardEvent::MTE1_MTE2>(EventOf(used_));
    ++used_;
  }

 private:
  __aicore__ inline int32_t EventOf(uint32_t turn) const { return event_ + static_cast<int32_t>(turn & 1); }
  __aicore__ inline AscendC::LocalTensor<T> At(uint32_t turn) {
    return buffer_.template Get<T>()[(turn & 1) * size_];
  }

  AscendC::TBuf<position> buffer_;
  int32_t event_;
  uint32_t size_;  // of a slot, in elements
  uint32_t filled_ = 0;
  uint32_t used_ = 0;
};
