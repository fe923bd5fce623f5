// Tiles of a matrix into L1 by ND2NZ; nothing is done with them.
#include "data_copy.h"

class CycleCopyToL1 {
 public:
  __aicore__ inline CycleCopyToL1(GM_ADDR x, const CycleCopyTiling& tiling) {
    tiling_ = tiling;
    gm_ = OwnRows(x, tiling);
    pipe_.InitBuffer(buffer_, tiling.tileM * tiling.tileN * sizeof(half));
  }

  __aicore__ inline void Run(uint64_t first, uint32_t columns) {
    AscendC::Nd2NzParams params;
    params.ndNum = 1;
    params.nValue = tiling_.tileM;
    params.dValue = columns;
    params.srcNdMatrixStride = 0;
    params.srcDValue = tiling_.n;
    params.dstNzC0Stride = tiling_.tileM;
    params.dstNzNStride = 1;
    params.dstNzMatrixStride = 0;
    AscendC::DataCopy(buffer_.Get<half>(), gm_[first], params);
  }

 private:
  AscendC::TPipe pipe_;
  AscendC::TBuf<AscendC::TPosition::A1> buffer_;
  AscendC::GlobalTensor<half> gm_;
  CycleCopyTiling tiling_;
};

extern "C" __global__ __aicore__ void cycle_copy_l1(GM_ADDR x, CycleCopyTiling tiling) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIC_ONLY);
  CycleCopyToL1 copy(x, tiling);
  ForTiles(tiling, copy);
}
