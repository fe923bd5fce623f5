// The order in which the tower runs its rows: image by image, frame by frame, window by window.
#pragma once

#include <ATen/core/Tensor.h>

#include <tuple>

namespace qwen_vl_npu_ops {

// grid_thw [3 * images]: t, h, w of each, in patches; h and w divisible by merge_size. window_side: in merge
// units. U units of merge_size^2 patches in all, in window order: the unit at each place, its inverse (int64
// [U] each), and the units in each window (int64 [windows]), of which none is empty.
std::tuple<at::Tensor, at::Tensor, at::Tensor> window_order(at::IntArrayRef grid_thw, int64_t merge_size,
                                                            int64_t window_side);

// For each patch in window order, row by row within its unit, the rows of `table` fp32 [positions, D/4] that
// belong to its row and to its column in the image: fp32 [T, D/2].
at::Tensor axial_rows(const at::Tensor& table, at::IntArrayRef grid_thw, int64_t merge_size,
                      int64_t window_side);

}  // namespace qwen_vl_npu_ops
