#pragma once

#include "kernel_operator.h"
#include "multiply.h"
#include "pack.h"
#include "tiling.h"

// out = rows @ weight.T + bias, where rows are pixels gathered by row_index and cast to the weight's type.
//
// The vector cores bring the weights into L2, and gather, cast and pack rows into a workspace, so that the
// cube cores load rows in long aligned bursts. Each cube core owns a group of columns, whose weights stay in
// L1 if they fit, and a segment of rows, which stream by in pairs of tiles. Round r is pair r of every
// segment. The first is handed over in parts of k, so that the cube cores start early.

template <typename P, typename T>
__aicore__ inline void PatchEmbed(GM_ADDR pixels, GM_ADDR weight, GM_ADDR bias, GM_ADDR rowIndex, GM_ADDR out,
                                  GM_ADDR workspace, const PatchEmbedTiling& tiling) {
  AscendC::TPipe pipe;
  if ASCEND_IS_AIC {
    PatchEmbedMultiply<T> op;
    op.Init(pipe, weight, out, workspace, tiling);
    op.Process();
  }
  if ASCEND_IS_AIV {
    PatchEmbedPack<P, T> op;
    op.Init(pipe, pixels, weight, bias, rowIndex, out, workspace, tiling);
    op.Process();
  }
}
