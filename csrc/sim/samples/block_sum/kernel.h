#pragma once

#include "kernel_operator.h"
#include "tiling.h"

// Each core sums its share and leaves it in GM; after SyncAll core 0 adds the partial sums up with scalar
// reads.
class SampleBlockSum {
 public:
  __aicore__ inline SampleBlockSum() {}

  __aicore__ inline void Init(GM_ADDR x, GM_ADDR total, GM_ADDR workspace, uint32_t length) {
    share_ = length / AscendC::GetBlockNum();
    xGm_.SetGlobalBuffer((__gm__ float*)x + AscendC::GetBlockIdx() * share_, share_);
    totalGm_.SetGlobalBuffer((__gm__ float*)total, 1);
    partialGm_.SetGlobalBuffer((__gm__ float*)workspace, AscendC::GetBlockNum() * LINE);
    pipe_.InitBuffer(xBuffer_, share_ * sizeof(float));
    pipe_.InitBuffer(sumBuffer_, LANES * sizeof(float));
    pipe_.InitBuffer(resultBuffer_, BLOCK * sizeof(float));
  }

  __aicore__ inline void Process() {
    SumShare();
    // The partial sum has to be in GM before this core says that it is there.
    AscendC::PipeBarrier<PIPE_ALL>();
    AscendC::SyncAll();
    if (AscendC::GetBlockIdx() == 0) {
      SumPartials();
    }
  }

 private:
  static constexpr uint32_t LANES = 64;  // floats per repeat
  static constexpr uint32_t BLOCK = 8;   // floats per 32-byte block
  static constexpr uint32_t LINE = 16;   // floats per 64-byte cache line

  __aicore__ inline void SumShare() {
    AscendC::LocalTensor<float> x = xBuffer_.Get<float>();
    AscendC::LocalTensor<float> sum = sumBuffer_.Get<float>();
    AscendC::DataCopy(x, xGm_, share_);
    AscendC::Duplicate(sum, 0.0f, LANES);
    AscendC::SetFlag<AscendC::HardEvent::MTE2_V>(EVENT_ID0);
    AscendC::WaitFlag<AscendC::HardEvent::MTE2_V>(EVENT_ID0);
    for (uint32_t i = 0; i < share_; i += LANES) {
      AscendC::PipeBarrier<PIPE_V>();
      AscendC::Add(sum, sum, x[i], LANES);
    }
    AscendC::PipeBarrier<PIPE_V>();
    AscendC::WholeReduceSum(sum, sum, LANES, 1, 1, 1, BLOCK);
    AscendC::SetFlag<AscendC::HardEvent::V_MTE3>(EVENT_ID0);
    AscendC::WaitFlag<AscendC::HardEvent::V_MTE3>(EVENT_ID0);
    AscendC::DataCopyPad(partialGm_[AscendC::GetBlockIdx() * LINE], sum, {1, sizeof(float), 0, 0, 0});
  }

  __aicore__ inline void SumPartials() {
    float total = 0;
    for (uint32_t core = 0; core < AscendC::GetBlockNum(); ++core) {
      AscendC::GlobalTensor<float> partial = partialGm_[core * LINE];
      // The scalar unit's cache does not see what other cores write.
      AscendC::DataCacheCleanAndInvalid<float, AscendC::CacheLine::SINGLE_CACHE_LINE,
                                        AscendC::DcciDst::CACHELINE_OUT>(partial);
      total = total + partial.GetValue(0);
    }
    AscendC::LocalTensor<float> result = resultBuffer_.Get<float>();
    result.SetValue(0, total);
    AscendC::SetFlag<AscendC::HardEvent::S_MTE3>(EVENT_ID0);
    AscendC::WaitFlag<AscendC::HardEvent::S_MTE3>(EVENT_ID0);
    AscendC::DataCopyPad(totalGm_, result, {1, sizeof(float), 0, 0, 0});
  }

  AscendC::TPipe pipe_;
  AscendC::TBuf<AscendC::TPosition::VECCALC> xBuffer_;
  AscendC::TBuf<AscendC::TPosition::VECCALC> sumBuffer_;
  AscendC::TBuf<AscendC::TPosition::VECCALC> resultBuffer_;
  AscendC::GlobalTensor<float> xGm_;
  AscendC::GlobalTensor<float> totalGm_;
  AscendC::GlobalTensor<float> partialGm_;
  uint32_t share_;
};
