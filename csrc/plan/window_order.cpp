#include "plan/window_order.h"

#include <ATen/Functions.h>

#include <algorithm>
#include <vector>

#include "common/checks.h"
#include "common/memory.h"
#include "common/parallel.h"

namespace qwen_vl_npu_ops {
namespace {

// One frame of an image or video, in merge units, and where its units and windows start among all.
struct Frame {
  int64_t height, width;
  int64_t first_unit, first_window;

  int64_t units() const { return height * width; }
  int64_t windows(int64_t side) const { return ((height + side - 1) / side) * ((width + side - 1) / side); }
};

std::vector<Frame> frames_of(at::IntArrayRef grid_thw, int64_t merge_size, int64_t side) {
  std::vector<Frame> frames;
  Frame next{};
  for (size_t i = 0; i + 2 < grid_thw.size(); i += 3) {
    next.height = grid_thw[i + 1] / merge_size;
    next.width = grid_thw[i + 2] / merge_size;
    for (int64_t t = 0; t < grid_thw[i]; ++t) {
      frames.push_back(next);
      next.first_unit += next.units();
      next.first_window += next.windows(side);
    }
  }
  return frames;
}

// Calls body(top, left, bottom, right) for each window of the frame; those at the edges are smaller.
template <typename Body>
void for_each_window(const Frame& frame, int64_t side, const Body& body) {
  for (int64_t top = 0; top < frame.height; top += side) {
    for (int64_t left = 0; left < frame.width; left += side) {
      body(top, left, std::min(top + side, frame.height), std::min(left + side, frame.width));
    }
  }
}

// Calls body(row, column) for each unit of the frame, in window order.
template <typename Body>
void for_each_unit(const Frame& frame, int64_t side, const Body& body) {
  for_each_window(frame, side, [&](int64_t top, int64_t left, int64_t bottom, int64_t right) {
    for (int64_t row = top; row < bottom; ++row) {
      for (int64_t column = left; column < right; ++column) body(row, column);
    }
  });
}

template <typename Body>
void for_each_frame(const std::vector<Frame>& frames, const Body& body) {
  for_each_task(frames.size(), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) body(frames[i]);
  });
}

int64_t total_units(const std::vector<Frame>& frames) {
  return frames.empty() ? 0 : frames.back().first_unit + frames.back().units();
}

}  // namespace

std::tuple<at::Tensor, at::Tensor, at::Tensor> window_order(at::IntArrayRef grid_thw, int64_t merge_size,
                                                            int64_t window_side) {
  const std::vector<Frame> frames = frames_of(grid_thw, merge_size, window_side);
  const int64_t units = total_units(frames);
  const int64_t windows =
      frames.empty() ? 0 : frames.back().first_window + frames.back().windows(window_side);
  const at::Tensor window_index = at::empty({units}, at::kLong),
                   reverse_index = at::empty({units}, at::kLong);
  const at::Tensor window_lengths = at::empty({windows}, at::kLong);
  int64_t* unit_at = window_index.mutable_data_ptr<int64_t>();
  int64_t* place_of = reverse_index.mutable_data_ptr<int64_t>();
  int64_t* lengths = window_lengths.mutable_data_ptr<int64_t>();
  for_each_frame(frames, [&](const Frame& frame) {
    int64_t place = frame.first_unit, window = frame.first_window;
    for_each_unit(frame, window_side, [&](int64_t row, int64_t column) {
      const int64_t unit = frame.first_unit + row * frame.width + column;
      unit_at[place] = unit;
      place_of[unit] = place++;
    });
    for_each_window(frame, window_side, [&](int64_t top, int64_t left, int64_t bottom, int64_t right) {
      lengths[window++] = (bottom - top) * (right - left);
    });
  });
  return {window_index, reverse_index, window_lengths};
}

at::Tensor axial_rows(const at::Tensor& table, at::IntArrayRef grid_thw, int64_t merge_size,
                      int64_t window_side) {
  constexpr const char* kOp = "axial_rows";
  const std::vector<Frame> frames = frames_of(grid_thw, merge_size, window_side);
  int64_t longest = 0;
  for (const Frame& frame : frames) longest = std::max({longest, frame.height, frame.width});
  QVNO_EXPECT_TYPE(table.scalar_type() == at::kFloat, kOp, "table", "float32", table.scalar_type());
  QVNO_EXPECT(table.is_contiguous() && table.dim() == 2 && table.size(0) >= longest * merge_size, kOp,
              "table",
              c10::str("contiguous [positions, D/4] with at least ", longest * merge_size, " positions"),
              c10::str("shape ", table.sizes()));
  const int64_t width = table.size(1);
  const at::Tensor rows =
      empty_result({total_units(frames) * merge_size * merge_size, 2 * width}, at::kFloat);
  const float* from = table.const_data_ptr<float>();
  float* first = rows.mutable_data_ptr<float>();
  for_each_frame(frames, [&](const Frame& frame) {
    float* to = first + frame.first_unit * merge_size * merge_size * 2 * width;
    for_each_unit(frame, window_side, [&](int64_t row, int64_t column) {
      for (int64_t h = row * merge_size; h < (row + 1) * merge_size; ++h) {
        for (int64_t w = column * merge_size; w < (column + 1) * merge_size; ++w) {
          to = std::copy_n(from + h * width, width, to);
          to = std::copy_n(from + w * width, width, to);
        }
      }
    });
  });
  return rows;
}

}  // namespace qwen_vl_npu_ops
