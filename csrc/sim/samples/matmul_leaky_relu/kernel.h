#pragma once

#include "../matmul/kernel.h"
#include "kernel_operator.h"
#include "tiling.h"

// Matmul on a cube core, LeakyReLU on its two vector cores. A2 has no path from L0C to UB, so tiles cross
// through a ring of two in a GM workspace: READY says that a tile is there, FREE that both vector cores have
// read theirs.
class SampleMatmulLeakyRelu {
 public:
  __aicore__ inline SampleMatmulLeakyRelu() {}

  __aicore__ inline void Init(GM_ADDR out, GM_ADDR workspace, const SampleMatmulLeakyReluTiling& tiling,
                              uint32_t cube) {
    tiling_ = tiling.matmul;
    slope_ = tiling.slope;
    cube_ = cube;
    tileSize_ = tiling_.baseM * tiling_.baseN;
    tilesN_ = (tiling_.n + tiling_.baseN - 1) / tiling_.baseN;
    tiles_ = (tiling_.m + tiling_.baseM - 1) / tiling_.baseM * tilesN_;
    outGm_.SetGlobalBuffer((__gm__ half*)out, tiling_.m * tiling_.n);
    workspaceGm_.SetGlobalBuffer((__gm__ float*)workspace + cube * RING * tileSize_, RING * tileSize_);
  }

  __aicore__ inline void ProcessCube(AscendC::TPipe& pipe, GM_ADDR a, GM_ADDR b) {
    SampleMatmulTile matmul;
    matmul.Init(pipe, a, b, tiling_);
    uint32_t done = 0;
    for (uint32_t i = cube_; i < tiles_; i += AscendC::GetBlockNum()) {
      Locate(i);
      AscendC::LocalTensor<float> c = matmul.Multiply(row_, column_, height_, width_);
      if (done >= RING) {
        AscendC::CrossCoreWaitFlag(FREE);
      }
      AscendC::FixpipeParamsV220 params;
      params.nSize = width_;
      params.mSize = height_;
      params.srcStride = height_;
      params.dstStride = width_;
      params.quantPre = QuantMode_t::NoQuant;
      params.ndNum = 1;
      AscendC::Fixpipe(workspaceGm_[done % RING * tileSize_], c, params);
      matmul.Release();
      AscendC::CrossCoreSetFlag<CUBE_AND_ITS_VECTORS, PIPE_FIX>(READY);
      ++done;
    }
    matmul.Finish();
    for (uint32_t i = 0; i < RING && i < done; ++i) {
      AscendC::CrossCoreWaitFlag(FREE);
    }
  }

  __aicore__ inline void ProcessVector(AscendC::TPipe& pipe) {
    const uint32_t share = tileSize_ / 2;
    pipe.InitBuffer(inQueue_, 2, share * sizeof(float));
    pipe.InitBuffer(outQueue_, 2, share * sizeof(half));
    uint32_t done = 0;
    for (uint32_t i = cube_; i < tiles_; i += AscendC::GetBlockNum()) {
      Locate(i);
      const uint32_t rows = height_ / 2;
      const uint32_t first = AscendC::GetSubBlockIdx() * rows;
      AscendC::CrossCoreWaitFlag(READY);
      CopyIn(workspaceGm_[done % RING * tileSize_ + first * width_], rows * width_);
      AscendC::CrossCoreSetFlag<CUBE_AND_ITS_VECTORS, PIPE_MTE2>(FREE);
      Compute(rows * width_);
      CopyOut(outGm_[(row_ + first) * tiling_.n + column_], rows);
      ++done;
    }
  }

 private:
  static constexpr uint32_t RING = 2;
  static constexpr uint8_t CUBE_AND_ITS_VECTORS = 2;
  static constexpr uint16_t READY = 0;
  static constexpr uint16_t FREE = 1;

  __aicore__ inline void Locate(uint32_t tile) {
    row_ = tile / tilesN_ * tiling_.baseM;
    column_ = tile % tilesN_ * tiling_.baseN;
    height_ = tiling_.m - row_ < tiling_.baseM ? tiling_.m - row_ : tiling_.baseM;
    width_ = tiling_.n - column_ < tiling_.baseN ? tiling_.n - column_ : tiling_.baseN;
  }

  __aicore__ inline void CopyIn(const AscendC::GlobalTensor<float>& src, uint32_t length) {
    AscendC::LocalTensor<float> in = inQueue_.AllocTensor<float>();
    AscendC::DataCopy(in, src, length);
    inQueue_.EnQue(in);
  }

  __aicore__ inline void Compute(uint32_t length) {
    AscendC::LocalTensor<float> in = inQueue_.DeQue<float>();
    AscendC::LocalTensor<half> out = outQueue_.AllocTensor<half>();
    AscendC::LeakyRelu(in, in, slope_, length);
    AscendC::PipeBarrier<PIPE_V>();
    AscendC::Cast(out, in, AscendC::RoundMode::CAST_RINT, length);
    outQueue_.EnQue(out);
    inQueue_.FreeTensor(in);
  }

  __aicore__ inline void CopyOut(const AscendC::GlobalTensor<half>& dst, uint32_t rows) {
    AscendC::LocalTensor<half> out = outQueue_.DeQue<half>();
    const uint32_t gap = (tiling_.n - width_) * sizeof(half);
    AscendC::DataCopyPad(
        dst, out, {static_cast<uint16_t>(rows), static_cast<uint32_t>(width_ * sizeof(half)), 0, gap, 0});
    outQueue_.FreeTensor(out);
  }

  AscendC::TQue<AscendC::TPosition::VECIN, 2> inQueue_;
  AscendC::TQue<AscendC::TPosition::VECOUT, 2> outQueue_;
  AscendC::GlobalTensor<half> outGm_;
  AscendC::GlobalTensor<float> workspaceGm_;
  SampleMatmulTiling tiling_;
  float slope_;
  uint32_t cube_;
  uint32_t tileSize_;
  uint32_t tilesN_;
  uint32_t tiles_;
  uint32_t row_;
  uint32_t column_;
  uint32_t height_;
  uint32_t width_;
};
