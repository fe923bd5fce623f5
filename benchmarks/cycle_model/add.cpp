// z = x + y of halves, by the steps of the vendor's Add tuning guide. Written for the cycle model's
// validation.
#include "kernel_operator.h"

struct CycleAddTiling {
  uint32_t length;  // elements of one core
  uint32_t tile;    // elements of a copy
  uint32_t scalar;  // add element by element on the scalar pipe
  uint32_t slots;   // buffers of each operand: 1 or 2
  uint32_t bypass;  // read x and y past L2
  uint32_t x[2];    // addresses in UB, by slot
  uint32_t y[2];
  uint32_t z[2];
};

class CycleAdd {
 public:
  __aicore__ inline CycleAdd() {}

  __aicore__ inline void Init(GM_ADDR x, GM_ADDR y, GM_ADDR z, const CycleAddTiling& tiling) {
    tiling_ = tiling;
    const uint64_t begin = uint64_t(AscendC::GetBlockIdx()) * tiling.length;
    xGm_.SetGlobalBuffer((__gm__ half*)x + begin, tiling.length);
    yGm_.SetGlobalBuffer((__gm__ half*)y + begin, tiling.length);
    zGm_.SetGlobalBuffer((__gm__ half*)z + begin, tiling.length);
    if (tiling.bypass) {
      xGm_.SetL2CacheHint(AscendC::CacheMode::CACHE_MODE_DISABLE);
      yGm_.SetL2CacheHint(AscendC::CacheMode::CACHE_MODE_DISABLE);
    }
    pipe_.InitBuffer(ub_, UB_BYTES);
  }

  __aicore__ inline void Process() {
    for (uint32_t slot = 0; slot < tiling_.slots; ++slot) {
      AscendC::SetFlag<AscendC::HardEvent::V_MTE2>(slot);
      AscendC::SetFlag<AscendC::HardEvent::MTE3_V>(slot);
    }
    uint32_t slot = 0;
    for (uint32_t start = 0; start < tiling_.length; start += tiling_.tile) {
      const uint32_t rest = tiling_.length - start;
      Step(start, rest < tiling_.tile ? rest : tiling_.tile, slot);
      slot = (slot + 1) % tiling_.slots;
    }
    for (uint32_t i = 0; i < tiling_.slots; ++i) {
      AscendC::WaitFlag<AscendC::HardEvent::V_MTE2>(i);
      AscendC::WaitFlag<AscendC::HardEvent::MTE3_V>(i);
    }
  }

 private:
  static constexpr uint32_t UB_BYTES = 192 * 1024 - 256;

  __aicore__ inline void Step(uint32_t start, uint32_t count, uint32_t slot) {
    AscendC::LocalTensor<half> x = ub_.Get<half>()[tiling_.x[slot] / sizeof(half)];
    AscendC::LocalTensor<half> y = ub_.Get<half>()[tiling_.y[slot] / sizeof(half)];
    AscendC::LocalTensor<half> z = ub_.Get<half>()[tiling_.z[slot] / sizeof(half)];
    AscendC::WaitFlag<AscendC::HardEvent::V_MTE2>(slot);
    AscendC::DataCopy(x, xGm_[start], count);
    AscendC::DataCopy(y, yGm_[start], count);
    AscendC::SetFlag<AscendC::HardEvent::MTE2_V>(slot);
    AscendC::WaitFlag<AscendC::HardEvent::MTE2_V>(slot);
    AscendC::WaitFlag<AscendC::HardEvent::MTE3_V>(slot);
    if (tiling_.scalar) {
      AddScalar(x, y, z, count);
    } else {
      AscendC::Add(z, x, y, count);
    }
    AscendC::SetFlag<AscendC::HardEvent::V_MTE2>(slot);
    AscendC::SetFlag<AscendC::HardEvent::V_MTE3>(slot);
    AscendC::WaitFlag<AscendC::HardEvent::V_MTE3>(slot);
    AscendC::DataCopy(zGm_[start], z, count);
    AscendC::SetFlag<AscendC::HardEvent::MTE3_V>(slot);
  }

  __aicore__ inline void AddScalar(const AscendC::LocalTensor<half>& x, const AscendC::LocalTensor<half>& y,
                                   const AscendC::LocalTensor<half>& z, uint32_t count) {
    AscendC::SetFlag<AscendC::HardEvent::V_S>(EVENT_ID0);
    AscendC::WaitFlag<AscendC::HardEvent::V_S>(EVENT_ID0);
    for (uint32_t i = 0; i < count; ++i) {
      z.SetValue(i, (half)((float)x.GetValue(i) + (float)y.GetValue(i)));
    }
    AscendC::SetFlag<AscendC::HardEvent::S_V>(EVENT_ID0);
    AscendC::WaitFlag<AscendC::HardEvent::S_V>(EVENT_ID0);
  }

  AscendC::TPipe pipe_;
  AscendC::TBuf<AscendC::TPosition::VECCALC> ub_;
  AscendC::GlobalTensor<half> xGm_;
  AscendC::GlobalTensor<half> yGm_;
  AscendC::GlobalTensor<half> zGm_;
  CycleAddTiling tiling_;
};

extern "C" __global__ __aicore__ void cycle_add(GM_ADDR x, GM_ADDR y, GM_ADDR z, CycleAddTiling tiling) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
  CycleAdd op;
  op.Init(x, y, z, tiling);
  op.Process();
}
