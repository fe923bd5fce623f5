// patch_embed: rows of pixels, gathered in window order and cast, times the embedding weight.
#pragma once

#include "common/types.h"

namespace qwen_vl_npu_ops {

// The part of patch_embed that is not a GEMM: panel row i = cast(pixels row index[i]).
struct GatherRowsParams {
  const void* src;  // [T, columns], rows src_stride apart
  DType src_dtype;
  int64_t src_stride;    // elements
  const int64_t* index;  // [rows], checked; null means row i itself
  void* dst;             // [rows, columns], contiguous
  DType dst_dtype;
  int64_t columns;
};

}  // namespace qwen_vl_npu_ops
