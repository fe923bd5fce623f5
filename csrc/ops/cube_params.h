#pragma once

#include "kernel_operator.h"

// What the operators' cube cores tell LoadData and Fixpipe alike. A matrix in L1 is columns of fractals (Nz).

// How a sum in float becomes a T on its way out of L0C.
template <typename T>
struct CubeQuant {
  static constexpr QuantMode_t MODE = QuantMode_t::NoQuant;
};
template <>
struct CubeQuant<half> {
  static constexpr QuantMode_t MODE = QuantMode_t::F322F16;
};
template <>
struct CubeQuant<bfloat16_t> {
  static constexpr QuantMode_t MODE = QuantMode_t::F322BF16;
};

// A result out of L0C, whose fractals have `fractalRows` rows there, as rows of T `pitch` elements apart.
template <typename T>
__aicore__ inline AscendC::FixpipeParamsV220 CubeResult(uint32_t rows, uint32_t columns, uint32_t fractalRows,
                                                        uint32_t pitch) {
  AscendC::FixpipeParamsV220 params;
  params.nSize = columns;
  params.mSize = rows;
  params.srcStride = fractalRows;
  params.dstStride = pitch;
  params.quantPre = CubeQuant<T>::MODE;
  params.ndNum = 1;
  return params;
}

// `rows` (of 16) x `columns` of a matrix of `allRows` rows, from `row` on, in the order of L0A (Zz) or,
// turned over, of L0B: a convolution's load with an image of one row and a window of one pixel.
template <typename T>
__aicore__ inline AscendC::LoadData3DParamsV2<T> CubeBlock(uint32_t allRows, uint32_t row, uint32_t rows,
                                                           uint32_t columns) {
  AscendC::LoadData3DParamsV2<T> params;
  params.l1H = 1;
  params.l1W = allRows;
  params.channelSize = columns;
  params.kExtension = columns;
  params.mExtension = rows;
  params.kStartPt = 0;
  params.mStartPt = row;
  return params;
}

// Fractals one after another, as they lie: rows of B^T are what L0B wants (Zn).
__aicore__ inline AscendC::LoadData2DParams CubeFractals(uint32_t count) {
  AscendC::LoadData2DParams params;
  params.repeatTimes = count;
  params.srcStride = 1;
  return params;
}
