// Tiles of a matrix into UB by DataCopyPad; nothing is done with them.
#include "data_copy.h"

class CycleCopyToUb {
 public:
  __aicore__ inline CycleCopyToUb(GM_ADDR x, const CycleCopyTiling& tiling) {
    tiling_ = tiling;
    gm_ = OwnRows(x, tiling);
    pipe_.InitBuffer(buffer_, tiling.tileM * tiling.tileN * sizeof(half));
  }

  __aicore__ inline void Run(uint64_t first, uint32_t columns) {
    AscendC::DataCopyExtParams params;
    params.blockCount = tiling_.tileM;
    params.blockLen = columns * sizeof(half);
    params.srcStride = (tiling_.n - columns) * sizeof(half);
    params.dstStride = 0;
    const AscendC::DataCopyPadExtParams<half> noPadding{false, 0, 0, 0};
    AscendC::DataCopyPad(buffer_.Get<half>(), gm_[first], params, noPadding);
  }

 private:
  AscendC::TPipe pipe_;
  AscendC::TBuf<AscendC::TPosition::VECCALC> buffer_;
  AscendC::GlobalTensor<half> gm_;
  CycleCopyTiling tiling_;
};

extern "C" __global__ __aicore__ void cycle_copy_ub(GM_ADDR x, CycleCopyTiling tiling) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
  CycleCopyToUb copy(x, tiling);
  ForTiles(tiling, copy);
}
