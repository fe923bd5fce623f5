#pragma once

#include "kernel_operator.h"
#include "tiling.h"

// One cube core's share of a matmul by the basic API: ND2NZ into L1, LoadData into L0A and L0B, Mmad, and
// Fixpipe by the caller. L1 and L0 hold two slots each, so that loading step i + 1 overlaps multiplying step
// i.
class SampleMatmulTile {
 public:
  __aicore__ inline SampleMatmulTile() {}

  __aicore__ inline void Init(AscendC::TPipe& pipe, GM_ADDR a, GM_ADDR b, const SampleMatmulTiling& tiling) {
    tiling_ = tiling;
    aSlot_ = tiling.baseM * tiling.baseK;
    bSlot_ = tiling.baseK * tiling.baseN;
    aGm_.SetGlobalBuffer((__gm__ half*)a, tiling.m * tiling.k);
    bGm_.SetGlobalBuffer((__gm__ half*)b, tiling.k * tiling.n);
    pipe.InitBuffer(a1_, SLOTS * aSlot_ * sizeof(half));
    pipe.InitBuffer(b1_, SLOTS * bSlot_ * sizeof(half));
    pipe.InitBuffer(a2_, SLOTS * aSlot_ * sizeof(half));
    pipe.InitBuffer(b2_, SLOTS * bSlot_ * sizeof(half));
    pipe.InitBuffer(c_, tiling.baseM * tiling.baseN * sizeof(float));
    for (uint32_t slot = 0; slot < SLOTS; ++slot) {
      AscendC::SetFlag<AscendC::HardEvent::MTE1_MTE2>(slot);
      AscendC::SetFlag<AscendC::HardEvent::M_MTE1>(L0_FREE + slot);
    }
    AscendC::SetFlag<AscendC::HardEvent::FIX_M>(C_FREE);
  }

  // Takes back the events that Init gave out: every set needs its wait.
  __aicore__ inline void Finish() {
    for (uint32_t slot = 0; slot < SLOTS; ++slot) {
      AscendC::WaitFlag<AscendC::HardEvent::MTE1_MTE2>(slot);
      AscendC::WaitFlag<AscendC::HardEvent::M_MTE1>(L0_FREE + slot);
    }
    AscendC::WaitFlag<AscendC::HardEvent::FIX_M>(C_FREE);
  }

  // Multiplies the tile at (row, column) of height x width into L0C and returns it, ready for Fixpipe.
  __aicore__ inline AscendC::LocalTensor<float> Multiply(uint32_t row, uint32_t column, uint32_t height,
                                                         uint32_t width) {
    AscendC::LocalTensor<float> c = c_.Get<float>();
    AscendC::WaitFlag<AscendC::HardEvent::FIX_M>(C_FREE);
    for (uint32_t k = 0; k < tiling_.k; k += tiling_.baseK) {
      const uint32_t rest = tiling_.k - k;
      const uint32_t depth = rest < tiling_.baseK ? rest : tiling_.baseK;
      CopyIn(row, column, k, height, width, depth);
      Load(height, width, depth);
      Accumulate(c, height, width, depth, k == 0);
      slot_ = 1 - slot_;
    }
    AscendC::SetFlag<AscendC::HardEvent::M_FIX>(C_READY);
    AscendC::WaitFlag<AscendC::HardEvent::M_FIX>(C_READY);
    return c;
  }

  // To be called after the Fixpipe that read the tile.
  __aicore__ inline void Release() { AscendC::SetFlag<AscendC::HardEvent::FIX_M>(C_FREE); }

 private:
  static constexpr uint32_t SLOTS = 2;
  static constexpr uint32_t FRACTAL = 16;
  static constexpr uint32_t FRACTAL_ELEMENTS = 256;
  static constexpr int32_t L0_FREE = 3;  // TPipe keeps M_MTE1 events 0 to 2 of a cube core for itself
  static constexpr int32_t C_FREE = 0;
  static constexpr int32_t C_READY = 0;

  __aicore__ inline void CopyIn(uint32_t row, uint32_t column, uint32_t k, uint32_t height, uint32_t width,
                                uint32_t depth) {
    AscendC::WaitFlag<AscendC::HardEvent::MTE1_MTE2>(slot_);
    CopyNd2Nz(a1_.Get<half>()[slot_ * aSlot_], aGm_[row * tiling_.k + k], height, depth, tiling_.k);
    CopyNd2Nz(b1_.Get<half>()[slot_ * bSlot_], bGm_[k * tiling_.n + column], depth, width, tiling_.n);
    AscendC::SetFlag<AscendC::HardEvent::MTE2_MTE1>(slot_);
  }

  __aicore__ inline void CopyNd2Nz(const AscendC::LocalTensor<half>& dst,
                                   const AscendC::GlobalTensor<half>& src, uint32_t rows, uint32_t columns,
                                   uint32_t rowStride) {
    AscendC::Nd2NzParams params;
    params.ndNum = 1;
    params.nValue = rows;
    params.dValue = columns;
    params.srcNdMatrixStride = 0;
    params.srcDValue = rowStride;
    params.dstNzC0Stride = rows;
    params.dstNzNStride = 1;
    params.dstNzMatrixStride = 0;
    AscendC::DataCopy(dst, src, params);
  }

  __aicore__ inline void Load(uint32_t height, uint32_t width, uint32_t depth) {
    AscendC::LocalTensor<half> a1 = a1_.Get<half>()[slot_ * aSlot_];
    AscendC::LocalTensor<half> b1 = b1_.Get<half>()[slot_ * bSlot_];
    AscendC::LocalTensor<half> a2 = a2_.Get<half>()[slot_ * aSlot_];
    AscendC::LocalTensor<half> b2 = b2_.Get<half>()[slot_ * bSlot_];
    AscendC::WaitFlag<AscendC::HardEvent::MTE2_MTE1>(slot_);
    AscendC::WaitFlag<AscendC::HardEvent::M_MTE1>(L0_FREE + slot_);
    // L1 runs down the columns of fractals (Nz), L0A along the rows (Zz).
    for (uint32_t i = 0; i < height / FRACTAL; ++i) {
      AscendC::LoadData(a2[i * depth * FRACTAL], a1[i * FRACTAL_ELEMENTS], LoadRow(depth, height, false));
    }
    // L0B wants every fractal transposed (Zn).
    for (uint32_t i = 0; i < depth / FRACTAL; ++i) {
      AscendC::LoadData(b2[i * width * FRACTAL], b1[i * FRACTAL_ELEMENTS], LoadRow(width, depth, true));
    }
    AscendC::SetFlag<AscendC::HardEvent::MTE1_MTE2>(slot_);
    AscendC::SetFlag<AscendC::HardEvent::MTE1_M>(slot_);
  }

  __aicore__ inline AscendC::LoadData2DParams LoadRow(uint32_t columns, uint32_t rows, bool transpose) {
    AscendC::LoadData2DParams params;
    params.repeatTimes = columns / FRACTAL;
    params.srcStride = rows / FRACTAL;
    params.ifTranspose = transpose;
    return params;
  }

  __aicore__ inline void Accumulate(const AscendC::LocalTensor<float>& c, uint32_t height, uint32_t width,
                                    uint32_t depth, bool first) {
    AscendC::MmadParams params;
    params.m = height;
    params.n = width;
    params.k = depth;
    params.cmatrixInitVal = first;
    AscendC::WaitFlag<AscendC::HardEvent::MTE1_M>(slot_);
    AscendC::Mmad(c, a2_.Get<half>()[slot_ * aSlot_], b2_.Get<half>()[slot_ * bSlot_], params);
    // A small tile's result is not back in L0C before the next Mmad would read it.
    if ((height / FRACTAL) * (width / FRACTAL) < 10) {
      AscendC::PipeBarrier<PIPE_M>();
    }
    AscendC::SetFlag<AscendC::HardEvent::M_MTE1>(L0_FREE + slot_);
  }

  AscendC::GlobalTensor<half> aGm_;
  AscendC::GlobalTensor<half> bGm_;
  AscendC::TBuf<AscendC::TPosition::A1> a1_;
  AscendC::TBuf<AscendC::TPosition::B1> b1_;
  AscendC::TBuf<AscendC::TPosition::A2> a2_;
  AscendC::TBuf<AscendC::TPosition::B2> b2_;
  AscendC::TBuf<AscendC::TPosition::CO1> c_;
  SampleMatmulTiling tiling_;
  uint32_t aSlot_;
  uint32_t bSlot_;
  uint32_t slot_ = 0;
};

__aicore__ inline void SampleMatmul(GM_ADDR a, GM_ADDR b, GM_ADDR c, const SampleMatmulTiling& tiling) {
  AscendC::TPipe pipe;
  AscendC::GlobalTensor<half> cGm;
  cGm.SetGlobalBuffer((__gm__ half*)c, tiling.m * tiling.n);
  SampleMatmulTile tile;
  tile.Init(pipe, a, b, tiling);
  const uint32_t tilesN = (tiling.n + tiling.baseN - 1) / tiling.baseN;
  const uint32_t tiles = (tiling.m + tiling.baseM - 1) / tiling.baseM * tilesN;
  for (uint32_t i = AscendC::GetBlockIdx(); i < tiles; i += AscendC::GetBlockNum()) {
    const uint32_t row = i / tilesN * tiling.baseM;
    const uint32_t column = i % tilesN * tiling.baseN;
    const uint32_t height = tiling.m - row < tiling.baseM ? tiling.m - row : tiling.baseM;
    const uint32_t width = tiling.n - column < tiling.baseN ? tiling.n - column : tiling.baseN;
    AscendC::FixpipeParamsV220 params;
    params.nSize = width;
    params.mSize = height;
    params.srcStride = height;
    params.dstStride = tiling.n;
    params.quantPre = QuantMode_t::F322F16;
    params.ndNum = 1;
    AscendC::Fixpipe(cGm[row * tiling.n + column], tile.Multiply(row, column, height, width), params);
    tile.Release();
  }
  tile.Finish();
}
