// c[m, n] = a[m, k] b[n, k]^T of halves, one rectangle of c for each cube core. L1 holds one or two slots of
// `stepA` and `stepB` blocks of k, L0 two slots of one block.
#include "kernel_operator.h"

struct CycleMatmulTiling {
  uint32_t m;
  uint32_t n;
  uint32_t k;
  uint32_t singleM;  // of one core
  uint32_t singleN;
  uint32_t baseM;
  uint32_t baseN;
  uint32_t baseK;
  uint32_t stepA;     // blocks of k in a copy of a
  uint32_t stepB;     // and of b
  uint32_t slots;     // in L1: 1 or 2
  uint32_t unitFlag;  // Fixpipe follows Mmad without an event
};

class CycleMatmul {
 public:
  __aicore__ inline CycleMatmul() {}

  __aicore__ inline void Init(GM_ADDR a, GM_ADDR b, GM_ADDR c, const CycleMatmulTiling& tiling) {
    tiling_ = tiling;
    aGm_.SetGlobalBuffer((__gm__ half*)a, uint64_t(tiling.m) * tiling.k);
    bGm_.SetGlobalBuffer((__gm__ half*)b, uint64_t(tiling.n) * tiling.k);
    cGm_.SetGlobalBuffer((__gm__ half*)c, uint64_t(tiling.m) * tiling.n);
    aBlock_ = tiling.baseM * tiling.baseK;
    bBlock_ = tiling.baseN * tiling.baseK;
    pipe_.InitBuffer(a1_, tiling.slots * tiling.stepA * aBlock_ * sizeof(half));
    pipe_.InitBuffer(b1_, tiling.slots * tiling.stepB * bBlock_ * sizeof(half));
    pipe_.InitBuffer(a2_, 2 * aBlock_ * sizeof(half));
    pipe_.InitBuffer(b2_, 2 * bBlock_ * sizeof(half));
    pipe_.InitBuffer(c_, tiling.baseM * tiling.baseN * sizeof(float));
  }

  __aicore__ inline void Process() {
    const uint32_t coresM = tiling_.m / tiling_.singleM;
    const uint32_t row = AscendC::GetBlockIdx() % coresM * tiling_.singleM;
    const uint32_t column = AscendC::GetBlockIdx() / coresM * tiling_.singleN;
    for (uint32_t slot = 0; slot < 2; ++slot) {
      if (slot < tiling_.slots) {
        AscendC::SetFlag<AscendC::HardEvent::MTE1_MTE2>(slot);
        AscendC::SetFlag<AscendC::HardEvent::MTE1_MTE2>(B_SLOT + slot);
      }
      AscendC::SetFlag<AscendC::HardEvent::M_MTE1>(L0_FREE + slot);
    }
    for (uint32_t j = column; j < column + tiling_.singleN && j < tiling_.n; j += tiling_.baseN) {
      for (uint32_t i = row; i < row + tiling_.singleM; i += tiling_.baseM) {
        Tile(i, j);
      }
    }
    for (uint32_t slot = 0; slot < 2; ++slot) {
      if (slot < tiling_.slots) {
        AscendC::WaitFlag<AscendC::HardEvent::MTE1_MTE2>(slot);
        AscendC::WaitFlag<AscendC::HardEvent::MTE1_MTE2>(B_SLOT + slot);
      }
      AscendC::WaitFlag<AscendC::HardEvent::M_MTE1>(L0_FREE + slot);
    }
  }

 private:
  static constexpr uint32_t FRACTAL = 16;
  static constexpr int32_t L0_FREE = 3;  // TPipe keeps M_MTE1 events 0 to 2 of a cube core for itself
  static constexpr int32_t B_SLOT = 2;   // events of b's slots follow those of a's

  __aicore__ inline void Tile(uint32_t row, uint32_t column) {
    const uint32_t steps = tiling_.k / tiling_.baseK;
    const uint32_t ahead = tiling_.slots - 1;
    for (uint32_t chunk = 0; chunk < ahead; ++chunk) {
      CopyA(row, chunk);
      CopyB(column, chunk);
    }
    for (uint32_t step = 0; step < steps; ++step) {
      if (step % tiling_.stepB == 0) {
        CopyB(column, step / tiling_.stepB + ahead);
      }
      if (step % tiling_.stepA == 0) {
        CopyA(row, step / tiling_.stepA + ahead);
      }
      Load(step);
      Multiply(step, step + 1 == steps);
    }
    CopyOut(row, column);
  }

  __aicore__ inline void CopyA(uint32_t row, uint32_t chunk) {
    const uint32_t depth = tiling_.stepA * tiling_.baseK;
    if (chunk * depth >= tiling_.k) {
      return;
    }
    const uint32_t slot = chunk % tiling_.slots;
    AscendC::WaitFlag<AscendC::HardEvent::MTE1_MTE2>(slot);
    CopyNd2Nz(a1_.Get<half>()[slot * tiling_.stepA * aBlock_],
              aGm_[uint64_t(row) * tiling_.k + chunk * depth], tiling_.baseM, depth);
    AscendC::SetFlag<AscendC::HardEvent::MTE2_MTE1>(slot);
  }

  __aicore__ inline void CopyB(uint32_t column, uint32_t chunk) {
    const uint32_t depth = tiling_.stepB * tiling_.baseK;
    if (chunk * depth >= tiling_.k) {
      return;
    }
    const uint32_t slot = chunk % tiling_.slots;
    AscendC::WaitFlag<AscendC::HardEvent::MTE1_MTE2>(B_SLOT + slot);
    CopyNd2Nz(b1_.Get<half>()[slot * tiling_.stepB * bBlock_],
              bGm_[uint64_t(column) * tiling_.k + chunk * depth], tiling_.baseN, depth);
    AscendC::SetFlag<AscendC::HardEvent::MTE2_MTE1>(B_SLOT + slot);
  }

  __aicore__ inline void CopyNd2Nz(const AscendC::LocalTensor<half>& dst,
                                   const AscendC::GlobalTensor<half>& src, uint32_t rows, uint32_t depth) {
    AscendC::Nd2NzParams params;
    params.ndNum = 1;
    params.nValue = rows;
    params.dValue = depth;
    params.srcNdMatrixStride = 0;
    params.srcDValue = tiling_.k;
    params.dstNzC0Stride = rows;
    params.dstNzNStride = 1;
    params.dstNzMatrixStride = 0;
    AscendC::DataCopy(dst, src, params);
  }

  __aicore__ inline void Load(uint32_t step) {
    const uint32_t inA = step % tiling_.stepA;
    const uint32_t inB = step % tiling_.stepB;
    const uint32_t slotA = step / tiling_.stepA % tiling_.slots;
    const uint32_t slotB = step / tiling_.stepB % tiling_.slots;
    AscendC::LocalTensor<half> a2 = a2_.Get<half>()[slot_ * aBlock_];
    AscendC::LocalTensor<half> b2 = b2_.Get<half>()[slot_ * bBlock_];
    AscendC::WaitFlag<AscendC::HardEvent::M_MTE1>(L0_FREE + slot_);
    if (inA == 0) {
      AscendC::WaitFlag<AscendC::HardEvent::MTE2_MTE1>(slotA);
    }
    if (inB == 0) {
      AscendC::WaitFlag<AscendC::HardEvent::MTE2_MTE1>(B_SLOT + slotB);
    }
    LoadA(a2, a1_.Get<half>()[(slotA * tiling_.stepA + inA) * aBlock_]);
    LoadB(b2, b1_.Get<half>()[(slotB * tiling_.stepB + inB) * bBlock_]);
    if (inA + 1 == tiling_.stepA) {
      AscendC::SetFlag<AscendC::HardEvent::MTE1_MTE2>(slotA);
    }
    if (inB + 1 == tiling_.stepB) {
      AscendC::SetFlag<AscendC::HardEvent::MTE1_MTE2>(B_SLOT + slotB);
    }
    AscendC::SetFlag<AscendC::HardEvent::MTE1_M>(slot_);
  }

  // One LoadData3D turns the columns of fractals of L1 into the rows of L0A.
  __aicore__ inline void LoadA(const AscendC::LocalTensor<half>& a2, const AscendC::LocalTensor<half>& a1) {
    AscendC::LoadData3DParamsV2<half> params;
    params.l1H = 1;
    params.l1W = tiling_.baseM;
    params.channelSize = tiling_.baseK;
    params.kExtension = tiling_.baseK;
    params.mExtension = tiling_.baseM;
    params.mStartPt = 0;
    params.kStartPt = 0;
    params.strideW = 1;
    params.strideH = 1;
    params.filterW = 1;
    params.filterH = 1;
    params.dilationFilterW = 1;
    params.dilationFilterH = 1;
    params.filterSizeW = false;
    params.filterSizeH = false;
    params.enTranspose = false;
    params.fMatrixCtrl = false;
    AscendC::LoadData(a2, a1, params);
  }

  // b is stored [n, k]: its fractals are those of L0B already, in the same order.
  __aicore__ inline void LoadB(const AscendC::LocalTensor<half>& b2, const AscendC::LocalTensor<half>& b1) {
    const uint32_t fractals = tiling_.baseN / FRACTAL;
    const uint32_t columns = tiling_.baseK / FRACTAL;
    AscendC::LoadData2DParams params;
    params.srcStride = 1;
    if (tiling_.slots == 1) {
      params.repeatTimes = fractals * columns;
      AscendC::LoadData(b2, b1, params);
      return;
    }
    params.repeatTimes = fractals;
    for (uint32_t i = 0; i < columns; ++i) {
      AscendC::LoadData(b2[i * tiling_.baseN * FRACTAL], b1[i * tiling_.baseN * FRACTAL], params);
    }
  }

  __aicore__ inline void Multiply(uint32_t step, bool last) {
    AscendC::MmadParams params;
    params.m = tiling_.baseM;
    params.n = tiling_.baseN;
    params.k = tiling_.baseK;
    params.cmatrixInitVal = step == 0;
    if (tiling_.unitFlag) {
      params.unitFlag = last ? 3 : 2;
    }
    AscendC::WaitFlag<AscendC::HardEvent::MTE1_M>(slot_);
    AscendC::Mmad(c_.Get<float>(), a2_.Get<half>()[slot_ * aBlock_], b2_.Get<half>()[slot_ * bBlock_],
                  params);
    AscendC::SetFlag<AscendC::HardEvent::M_MTE1>(L0_FREE + slot_);
    slot_ = 1 - slot_;
  }

  __aicore__ inline void CopyOut(uint32_t row, uint32_t column) {
    AscendC::FixpipeParamsV220 params;
    params.nSize = tiling_.baseN;
    params.mSize = tiling_.baseM;
    params.srcStride = tiling_.baseM;
    params.dstStride = tiling_.n;
    params.quantPre = QuantMode_t::F322F16;
    params.ndNum = 1;
    params.unitFlag = tiling_.unitFlag ? 3 : 0;
    if (!tiling_.unitFlag) {
      AscendC::SetFlag<AscendC::HardEvent::M_FIX>(EVENT_ID0);
      AscendC::WaitFlag<AscendC::HardEvent::M_FIX>(EVENT_ID0);
    }
    AscendC::Fixpipe(cGm_[uint64_t(row) * tiling_.n + column], c_.Get<float>(), params);
    if (!tiling_.unitFlag) {
      AscendC::SetFlag<AscendC::HardEvent::FIX_M>(EVENT_ID0);
      AscendC::WaitFlag<AscendC::HardEvent::FIX_M>(EVENT_ID0);
    }
  }

  AscendC::TPipe pipe_;
  AscendC::GlobalTensor<half> aGm_;
  AscendC::GlobalTensor<half> bGm_;
  AscendC::GlobalTensor<half> cGm_;
  AscendC::TBuf<AscendC::TPosition::A1> a1_;
  AscendC::TBuf<AscendC::TPosition::B1> b1_;
  AscendC::TBuf<AscendC::TPosition::A2> a2_;
  AscendC::TBuf<AscendC::TPosition::B2> b2_;
  AscendC::TBuf<AscendC::TPosition::CO1> c_;
  CycleMatmulTiling tiling_;
  uint32_t aBlock_;
  uint32_t bBlock_;
  uint32_t slot_ = 0;
};

extern "C" __global__ __aicore__ void cycle_matmul(GM_ADDR a, GM_ADDR b, GM_ADDR c,
                                                   CycleMatmulTiling tiling) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIC_ONLY);
  CycleMatmul op;
  op.Init(a, b, c, tiling);
  op.Process();
}
