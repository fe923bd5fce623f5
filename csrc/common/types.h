// Plain data shared by every operator. No torch here: kernels and simulator include this file.
#pragma once

#include <cstdint>

namespace qwen_vl_npu_ops {

constexpr int64_t kMaxHeadDim = 256;

enum class DType : int32_t { kFloat32, kFloat16, kBFloat16 };

// One angle per rotated pair and token: pair i of token t reads column i * step of row t.
struct RotaryTable {
  const void* cos;     // [T, D/2 or wider], rows cos_stride elements apart
  const void* sin;     // as cos, rows sin_stride elements apart
  DType dtype;         // fp32, or the dtype of the rotated tensor
  int64_t cos_stride;  // elements
  int64_t sin_stride;  // elements
  int64_t step;        // 2 where a full-width interleaved table repeats each angle, else 1
};

// Where a head of `dim` real elements lies inside `padded` ones: the first half at 0, the second half at
// `second`. Half rotary pads each half apart, interleaved rotary pads at the tail.
struct HeadLayout {
  int64_t dim;
  int64_t padded;
  int64_t second;

  static HeadLayout make(int64_t dim, int64_t padded, bool interleaved) {
    return {dim, padded, interleaved ? dim / 2 : padded / 2};
  }
};

}  // namespace qwen_vl_npu_ops
