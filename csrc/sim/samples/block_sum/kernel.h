#pragma once

#include "kernel_operator.h"
#include "tiling.h"

// Row by row, each core sums its share and leaves it in GM; after SyncAll core 0 adds these up with scalar
// reads.
class SampleBlockSum {
 public:
  __aicore__ inline SampleBlockSum() {}

  __aicore__ inline void Init(GM_ADDR x, GM_ADDR totals, GM_ADDR workspace,
                              const SampleBlockSumTiling& tiling) {
    rows_ = tiling.rows;
    length_ = tiling.length;
    share_ = length_ / AscendC::GetBlockNum();
    xGm_.SetGlobalBuffer((__gm__ float*)x, rows_ * length_);
    totalsGm_.SetGlobalBuffer((__gm__ float*)totals, rows_);
    partialGm_.SetGlobalBuffer((__gm__ float*)workspace, AscendC::GetBlockNum() * LINE);
    pipe_.InitBuffer(xBuffer_, share_ * sizeof(float));
    pipe_.InitBuffer(sumBuffer_, LANES * sizeof(float));
    pipe_.InitBuffer(totalsBuffer_, BLOCK * sizeof(float));
  }

  __aicore__ inline void Process() {
    for (uint32_t row = 0; row < rows_; ++row) {
      SumShare(row);
      AscendC::SyncAll();  // every partial sum of this row is in GM
      if (AscendC::GetBlockIdx() == 0) {
        SumPartials(row);
      }
      AscendC::SyncAll();  // core 0 has read them
    }
    if (AscendC::GetBlockIdx() == 0) {
      AscendC::SetFlag<AscendC::HardEvent::S_MTE3>(EVENT_ID0);
      AscendC::WaitFlag<AscendC::HardEvent::S_MTE3>(EVENT_ID0);
      AscendC::DataCopyPad(totalsGm_, totalsBuffer_.Get<float>(),
                           {1, static_cast<uint32_t>(rows_ * sizeof(float)), 0, 0, 0});
    }
  }

 private:
  static constexpr uint32_t LANES = 64;  // floats per repeat
  static constexpr uint32_t BLOCK = 8;   // floats per 32-byte block
  static constexpr uint32_t LINE = 16;   // floats per 64-byte cache line

  __aicore__ inline void SumShare(uint32_t row) {
    AscendC::LocalTensor<float> x = xBuffer_.Get<float>();
    AscendC::LocalTensor<float> sum = sumBuffer_.Get<float>();
    AscendC::DataCopy(x, xGm_[row * length_ + AscendC::GetBlockIdx() * share_], share_);
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

  __aicore__ inline void SumPartials(uint32_t row) {
    float total = 0;
    for (uint32_t core = 0; core < AscendC::GetBlockNum(); ++core) {
      AscendC::GlobalTensor<float> partial = partialGm_[core * LINE];
      // The scalar unit's cache still holds the last row's, and does not see what other cores write.
      AscendC::DataCacheCleanAndInvalid<float, AscendC::CacheLine::SINGLE_CACHE_LINE,
                                        AscendC::DcciDst::CACHELINE_OUT>(partial);
      total = total + partial.GetValue(0);
    }
    totalsBuffer_.Get<float>().SetValue(row, total);
  }

  AscendC::TPipe pipe_;
  AscendC::TBuf<AscendC::TPosition::VECCALC> xBuffer_;
  AscendC::TBuf<AscendC::TPosition::VECCALC> sumBuffer_;
  AscendC::TBuf<AscendC::TPosition::VECCALC> totalsBuffer_;
  AscendC::GlobalTensor<float> xGm_;
  AscendC::GlobalTensor<float> totalsGm_;
  AscendC::GlobalTensor<float> partialGm_;
  uint32_t rows_;
  uint32_t length_;
  uint32_t share_;
};
