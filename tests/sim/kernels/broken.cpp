#include "kernel_operator.h"

// One mistake each, on the line that ends in its name; test_broken.py says what the simulator must make of
// it. The entry's `past` is 0 for the last legal value where a mistake is a limit exceeded, 1 for one more.
using namespace AscendC;

constexpr uint32_t UB_BYTES = 192 * 1024 - 256;

class VectorMistakes {
 public:
  __aicore__ inline VectorMistakes(GM_ADDR memory, uint32_t past) : past_(past) {
    gm_.SetGlobalBuffer((__gm__ float*)memory, 1024);
  }

  __aicore__ inline void Buffers(uint32_t mistake) {
    TBuf<TPosition::VECCALC> small[65];
    TQue<TPosition::VECIN, 1> queues[10];
    switch (mistake) {
      case 0:
        pipe_.InitBuffer(buffer_, UB_BYTES / 32 * 32 + past_ * 32);  // ub_capacity
        break;
      case 1:
        for (uint32_t i = 0; i < 64 + past_; ++i) {
          pipe_.InitBuffer(small[i], 32);  // buffer_count
        }
        break;
      case 2:
        for (uint32_t i = 0; i < 8 + past_; ++i) {
          pipe_.InitBuffer(queues[i], 1, 32);  // queue_count
        }
        break;
    }
  }

  __aicore__ inline void Queues(uint32_t mistake) {
    pipe_.InitBuffer(queue_, 2, 256);
    pipe_.InitBuffer(other_, 1, 256);
    LocalTensor<float> x = queue_.AllocTensor<float>();
    switch (mistake) {
      case 10: {
        LocalTensor<float> y = queue_.AllocTensor<float>();
        queue_.EnQue(y);
        queue_.EnQue(x);
        queue_.AllocTensor<float>();  // queue_depth
        break;
      }
      case 11:
        queue_.EnQue(x);
        queue_.EnQue(x);  // enqueued_twice
        break;
      case 12:
        queue_.DeQue<float>();  // empty_queue
        break;
      case 13:
        other_.FreeTensor(x);  // foreign_tensor
        break;
      case 14:
        queue_.FreeTensor(x);
        queue_.FreeTensor(x);  // freed_twice
        break;
    }
  }

  __aicore__ inline void Events(uint32_t mistake) {
    switch (mistake) {
      case 20:
        SetFlag<HardEvent::V_MTE3>(7 + past_);  // event_id
        WaitFlag<HardEvent::V_MTE3>(7 + past_);
        break;
      case 21:
        SetFlag<HardEvent::V_MTE3>(EVENT_ID0);
        SetFlag<HardEvent::V_MTE3>(EVENT_ID0);  // set_twice
        break;
      case 22:
        SetFlag<HardEvent::MTE2_V>(EVENT_ID3);  // never_waited
        break;
      case 23:
        WaitFlag<HardEvent::MTE2_V>(EVENT_ID3);  // never_set
        break;
      case 24:
        CrossCoreSetFlag<2, PIPE_MTE3>(15 + past_);  // cross_core_id
        break;
      case 25:
        CrossCoreWaitFlag(3);  // cross_core_never_set
        break;
    }
  }

  __aicore__ inline void Data(uint32_t mistake) {
    pipe_.InitBuffer(buffer_, 1024);
    LocalTensor<float> x = buffer_.Get<float>();
    LocalTensor<float> y = x[64];
    switch (mistake) {
      case 30:
        Adds(y, x, 1.0f, 64);  // uninitialised_vector
        break;
      case 31:
        DataCopy(gm_, x, 64);  // uninitialised_copy
        break;
      case 32:
        gm_.SetValue(0, x.GetValue(3));  // uninitialised_scalar
        break;
      case 33:
        DataCopy(x, gm_[1024 - 64 + past_], 64);  // gm_read
        break;
      case 34:
        Duplicate(x, 1.0f, 64);
        SetFlag<HardEvent::V_MTE3>(EVENT_ID0);
        WaitFlag<HardEvent::V_MTE3>(EVENT_ID0);
        DataCopy(gm_[1024 - 64 + past_], x, 64);  // gm_write
        break;
      case 35:
        gm_.GetValue(1023 + past_);  // gm_scalar_read
        break;
      case 36:
        gm_.SetValue(1023 + past_, 1.0f);  // gm_scalar_write
        break;
      case 37:
        Duplicate(x, 1.0f, 256 + past_ * 8);  // past_the_tensor
        break;
      case 38:
        Duplicate(x, 1.0f, 64);
        Adds(x, x, 1.0f, 64);  // no_barrier
        break;
      case 39:
        Duplicate(x, 1.0f, 128);
        PipeBarrier<PIPE_V>();
        Adds(x[8], x, 1.0f, 64);  // partial_overlap
        break;
    }
  }

  // Every core writes its line of GM and reads its neighbour's, without what has to be between.
  __aicore__ inline void Cores(uint32_t mistake) {
    pipe_.InitBuffer(buffer_, 64);
    LocalTensor<float> x = buffer_.Get<float>();
    const uint32_t mine = GetBlockIdx() * 16, next = (GetBlockIdx() + 1) % GetBlockNum() * 16;
    GlobalTensor<float> line = gm_[next];
    Duplicate(x, 1.0f, 16);
    SetFlag<HardEvent::V_MTE3>(EVENT_ID0);
    WaitFlag<HardEvent::V_MTE3>(EVENT_ID0);
    switch (mistake) {
      case 40:
        DataCopy(gm_[mine], x, 16);
        PipeBarrier<PIPE_ALL>();
        DataCopy(x, gm_[next], 16);  // cross_core_race
        break;
      case 41:
        line.GetValue(0);
        SyncAll();
        DataCopy(gm_[mine], x, 16);
        PipeBarrier<PIPE_ALL>();
        SyncAll();
        line.GetValue(0);  // stale_scalar_read
        break;
      case 42:
        if (GetBlockIdx() == 0) {
          SyncAll();  // sync_all_deadlock
        }
        break;
      case 43:
        DataCopy(gm_, x, 16);  // write_write_race
        break;
    }
  }

 private:
  TPipe pipe_;
  TBuf<TPosition::VECCALC> buffer_;
  TQue<TPosition::VECIN, 2> queue_;
  TQue<TPosition::VECIN, 1> other_;
  GlobalTensor<float> gm_;
  uint32_t past_;
};

extern "C" __global__ __aicore__ void vector_mistake(GM_ADDR memory, uint32_t mistake, uint32_t past) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_MIX_AIV_1_0);
  VectorMistakes mistakes(memory, past);
  if (mistake < 10) {
    mistakes.Buffers(mistake);
  } else if (mistake < 20) {
    mistakes.Queues(mistake);
  } else if (mistake < 30) {
    mistakes.Events(mistake);
  } else if (mistake < 40) {
    mistakes.Data(mistake);
  } else {
    mistakes.Cores(mistake);
  }
}
