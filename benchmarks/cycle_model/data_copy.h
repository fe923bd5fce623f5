// What data_copy_ub.cpp and data_copy_l1.cpp share: reading a matrix of halves [rows, n] tile by tile.
#pragma once

#include "kernel_operator.h"

struct CycleCopyTiling {
  uint32_t rows;  // of one core
  uint32_t n;
  uint32_t tileM;
  uint32_t tileN;
  uint32_t parts;   // of n, taken one after the other
  uint32_t rounds;  // times each part is read
};

// The rows of this core.
__aicore__ inline AscendC::GlobalTensor<half> OwnRows(GM_ADDR x, const CycleCopyTiling& tiling) {
  const uint64_t share = uint64_t(tiling.rows) * tiling.n;
  AscendC::GlobalTensor<half> gm;
  gm.SetGlobalBuffer((__gm__ half*)x + AscendC::GetBlockIdx() * share, share);
  return gm;
}

// Calls copy.Run(first element, columns) for the tiles of a core.
template <typename Copy>
__aicore__ inline void ForTiles(const CycleCopyTiling& tiling, Copy& copy) {
  const uint32_t width = tiling.n / tiling.parts;
  for (uint32_t part = 0; part < tiling.parts; ++part) {
    for (uint32_t round = 0; round < tiling.rounds; ++round) {
      for (uint32_t row = 0; row < tiling.rows; row += tiling.tileM) {
        for (uint32_t column = 0; column < width; column += tiling.tileN) {
          const uint32_t rest = width - column;
          copy.Run(uint64_t(row) * tiling.n + part * width + column,
                   rest < tiling.tileN ? rest : tiling.tileN);
        }
      }
    }
  }
}
