#include "common/checks.h"

#include <ATen/Functions.h>
#include <ATen/MemoryOverlap.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <stdexcept>

#include "cpu/kernels.h"

namespace qwen_vl_npu_ops {

const CpuKernels& checked_cpu_kernels() {
  try {
    return cpu_kernels();
  } catch (const std::invalid_argument& error) {
    TORCH_CHECK_VALUE(false, error.what());
  }
}

DType checked_dtype(const char* op, const char* argument, const at::Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case at::kFloat:
      return DType::kFloat32;
    case at::kHalf:
      return DType::kFloat16;
    case at::kBFloat16:
      return DType::kBFloat16;
    default:
      QVNO_EXPECT_TYPE(false, op, argument, "float32, float16 or bfloat16", tensor.scalar_type());
  }
}

void check_same_dtype(const char* op, const char* argument, const at::Tensor& tensor, const at::Tensor& like,
                      const char* like_name) {
  QVNO_EXPECT_TYPE(tensor.scalar_type() == like.scalar_type(), op, argument,
                   c10::str(like_name, "'s dtype ", like.scalar_type()), tensor.scalar_type());
}

void check_device(const char* op, const char* argument, const at::Tensor& tensor, at::Device device) {
  QVNO_EXPECT(tensor.device() == device, op, argument,
              c10::str("a tensor on the ", device, " like the others"), tensor.device());
}

void check_tensor(const char* op, const char* argument, const at::Tensor& tensor, int64_t dims,
                  at::Device device) {
  check_device(op, argument, tensor, device);
  QVNO_EXPECT(tensor.dim() == dims, op, argument, c10::str(dims, " dimensions"),
              c10::str("shape ", tensor.sizes()));
  QVNO_EXPECT(tensor.size(-1) <= 1 || tensor.stride(-1) == 1, op, argument, "a contiguous last dimension",
              c10::str("strides ", tensor.strides()));
}

void check_head_dim(const char* op, const char* argument, int64_t head_dim) {
  QVNO_EXPECT(head_dim >= 2 && head_dim <= kMaxHeadDim && head_dim % 2 == 0, op, argument,
              c10::str("an even head size from 2 to ", kMaxHeadDim), head_dim);
}

int64_t checked_out_head_dim(const char* op, std::optional<int64_t> out_head_dim, int64_t head_dim,
                             int64_t padded) {
  const int64_t out = out_head_dim.value_or(padded);
  check_head_dim(op, "out_head_dim", out);
  QVNO_EXPECT(out >= head_dim, op, "out_head_dim", c10::str("at least head_dim ", head_dim), out);
  return out;
}

int64_t checked_padded_dim(const char* op, const at::Tensor& qkv, int64_t num_heads, int64_t head_dim) {
  const int64_t width = qkv.size(1);
  QVNO_EXPECT(num_heads >= 1 && num_heads <= std::max<int64_t>(width, 1), op, "num_heads",
              "at least 1 and no more than qkv has columns", num_heads);
  QVNO_EXPECT(width > 0 && width % (3 * num_heads) == 0, op, "qkv",
              c10::str("[T, 3 * num_heads * padded head size] with num_heads ", num_heads),
              c10::str("shape ", qkv.sizes()));
  const int64_t padded = width / (3 * num_heads);
  QVNO_EXPECT(padded >= head_dim && padded <= kMaxHeadDim && padded % 2 == 0, op, "qkv",
              c10::str("an even head size from head_dim ", head_dim, " to ", kMaxHeadDim),
              c10::str("shape ", qkv.sizes(), ", which makes it ", padded));
  return padded;
}

namespace {

// [T, width] of a table given as [T, width] or [1, T, 1, width].
at::Tensor table_rows(const char* op, const char* argument, const at::Tensor& table) {
  const bool four = table.dim() == 4 && table.size(0) == 1 && table.size(2) == 1;
  QVNO_EXPECT(table.dim() == 2 || four, op, argument, "shape [T, width] or [1, T, 1, width]",
              c10::str("shape ", table.sizes()));
  return four ? table.select(2, 0).select(0, 0) : table;
}

}  // namespace

RotaryTable checked_table(const char* op, const at::Tensor& cos, const at::Tensor& sin, const at::Tensor& qkv,
                          int64_t head_dim, int64_t padded_dim, int64_t out_dim, bool interleaved) {
  const DType dtype = checked_dtype(op, "cos", cos);
  QVNO_EXPECT_TYPE(dtype == DType::kFloat32 || cos.scalar_type() == qkv.scalar_type(), op, "cos",
                   c10::str("float32 or qkv's dtype ", qkv.scalar_type()), cos.scalar_type());
  check_same_dtype(op, "sin", sin, cos, "cos");
  const at::Tensor cos_rows = table_rows(op, "cos", cos);
  const at::Tensor sin_rows = table_rows(op, "sin", sin);
  check_tensor(op, "cos", cos_rows, 2, qkv.device());
  check_tensor(op, "sin", sin_rows, 2, qkv.device());
  const int64_t width = cos_rows.size(1);
  const bool full = width == head_dim || width == padded_dim || width == out_dim;
  QVNO_EXPECT(cos_rows.size(0) == qkv.size(0), op, "cos", c10::str(qkv.size(0), " rows, one for each token"),
              c10::str("shape ", cos.sizes()));
  QVNO_EXPECT(full || width == head_dim / 2, op, "cos",
              c10::str("width head_dim/2 = ", head_dim / 2, ", head_dim = ", head_dim,
                       " or a padded head size, ", padded_dim, " (qkv's) or ", out_dim, " (the result's)"),
              c10::str("shape ", cos.sizes()));
  QVNO_EXPECT(sin_rows.sizes() == cos_rows.sizes(), op, "sin", c10::str("cos's shape ", cos.sizes()),
              c10::str("shape ", sin.sizes()));
  return {cos_rows.const_data_ptr(), sin_rows.const_data_ptr(), dtype,
          cos_rows.stride(0),        sin_rows.stride(0),        interleaved && full ? 2 : 1};
}

void check_indices(const char* op, const char* argument, const at::Tensor& indices, at::Device device) {
  const auto type = indices.scalar_type();
  QVNO_EXPECT_TYPE(type == at::kInt || type == at::kLong, op, argument, "int32 or int64", type);
  check_device(op, argument, indices, device);
}

std::optional<std::vector<int64_t>> contents_to_check(const at::Tensor& indices) {
  constexpr const char* kVariable = "QWEN_VL_NPU_OPS_CHECK";
  if (!indices.is_cpu()) {
    const char* set = std::getenv(kVariable);
    const std::string value = set ? set : "0";
    TORCH_CHECK_VALUE(value == "0" || value == "1", kVariable, ": expected 0 or 1, got ", value);
    if (value == "0") return std::nullopt;
  }
  const at::Tensor wide = indices.to(at::kCPU, at::kLong).contiguous();
  const int64_t* first = wide.const_data_ptr<int64_t>();
  return std::vector<int64_t>(first, first + wide.numel());
}

std::optional<std::vector<int64_t>> checked_cu_seqlens(const char* op, const at::Tensor& cu_seqlens,
                                                       int64_t tokens, at::Device device) {
  check_indices(op, "cu_seqlens", cu_seqlens, device);
  QVNO_EXPECT(cu_seqlens.dim() == 1 && cu_seqlens.size(0) >= 1, op, "cu_seqlens",
              "one dimension with at least the leading 0", c10::str("shape ", cu_seqlens.sizes()));
  const auto contents = contents_to_check(cu_seqlens);
  if (!contents) return contents;
  const std::vector<int64_t>& ends = *contents;
  QVNO_EXPECT(ends.front() == 0, op, "cu_seqlens", "cumulative lengths that start at 0",
              c10::str(ends.front(), " at index 0"));
  for (size_t i = 1; i < ends.size(); ++i) {
    QVNO_EXPECT(ends[i] >= ends[i - 1], op, "cu_seqlens", "cumulative lengths that never decrease",
                c10::str(ends[i], " after ", ends[i - 1], " at index ", i));
  }
  QVNO_EXPECT(ends.back() <= tokens, op, "cu_seqlens",
              c10::str("a last value of at most ", tokens, " tokens"), ends.back());
  return contents;
}

std::optional<std::vector<int64_t>> checked_row_index(const char* op, const at::Tensor& row_index,
                                                      int64_t rows, at::Device device) {
  check_indices(op, "row_index", row_index, device);
  QVNO_EXPECT(row_index.dim() == 1, op, "row_index", "one dimension", c10::str("shape ", row_index.sizes()));
  const auto contents = contents_to_check(row_index);
  for (size_t i = 0; contents && i < contents->size(); ++i) {
    const int64_t row = (*contents)[i];
    QVNO_EXPECT(row >= 0 && row < rows, op, "row_index", c10::str("rows from 0 to ", rows - 1, " of pixels"),
                c10::str(row, " at index ", i));
  }
  return contents;
}

float checked_scale(const char* op, std::optional<double> scale, int64_t head_dim) {
  if (!scale) return static_cast<float>(1.0 / std::sqrt(static_cast<double>(head_dim)));
  const float value = static_cast<float>(*scale);
  QVNO_EXPECT(std::isfinite(value), op, "scale", "a finite float32", *scale);
  return value;
}

namespace {

struct Span {
  const char* begin;
  const char* end;  // one past the last byte
};

Span bytes_of(const at::Tensor& tensor) {
  int64_t last = 0;
  for (int64_t d = 0; d < tensor.dim(); ++d) last += (tensor.size(d) - 1) * tensor.stride(d);
  const char* begin = static_cast<const char*>(tensor.const_data_ptr());
  return {begin, begin + (last + 1) * tensor.element_size()};
}

// True where the rows of a and b, dim 0 apart, are column ranges of one matrix that do not meet.
bool are_disjoint_columns(const at::Tensor& a, const at::Tensor& b) {
  const int64_t pitch = a.stride(0) * a.element_size();
  if (pitch <= 0 || pitch != b.stride(0) * b.element_size()) return false;
  const Span row_a = bytes_of(a.select(0, 0));
  const Span row_b = bytes_of(b.select(0, 0));
  const int64_t width_a = row_a.end - row_a.begin;
  const int64_t width_b = row_b.end - row_b.begin;
  const int64_t ahead = ((row_b.begin - row_a.begin) % pitch + pitch) % pitch;
  return ahead >= width_a && ahead + width_b <= pitch;
}

bool share_memory(const at::Tensor& a, const at::Tensor& b) {
  if (a.numel() == 0 || b.numel() == 0) return false;
  const Span x = bytes_of(a);
  const Span y = bytes_of(b);
  if (x.end <= y.begin || y.end <= x.begin) return false;
  return !(a.dim() > 0 && b.dim() > 0 && are_disjoint_columns(a, b));
}

// True where no two indices of `tensor` reach the same element: each stride steps over all smaller ones.
bool has_distinct_elements(const at::Tensor& tensor) {
  std::vector<std::pair<int64_t, int64_t>> dims;  // stride, size
  for (int64_t d = 0; d < tensor.dim(); ++d) {
    if (tensor.size(d) > 1) dims.emplace_back(tensor.stride(d), tensor.size(d));
  }
  std::sort(dims.begin(), dims.end());
  int64_t reach = 0;
  for (const auto& [stride, size] : dims) {
    if (stride <= reach) return false;
    reach += stride * (size - 1);
  }
  return true;
}

}  // namespace

void check_out(const char* op, const char* argument, const at::Tensor& out, at::IntArrayRef shape,
               const at::Tensor& like, const char* like_name, at::TensorList inputs) {
  check_same_dtype(op, argument, out, like, like_name);
  check_tensor(op, argument, out, static_cast<int64_t>(shape.size()), like.device());
  QVNO_EXPECT(out.sizes() == shape, op, argument, c10::str("shape ", shape), c10::str("shape ", out.sizes()));
  QVNO_EXPECT(has_distinct_elements(out), op, argument, "a tensor whose elements are all distinct",
              c10::str("strides ", out.strides()));
  for (const at::Tensor& input : inputs) {
    QVNO_EXPECT(!share_memory(out, input), op, argument, "memory of its own",
                c10::str("one that overlaps an input of shape ", input.sizes()));
  }
}

}  // namespace qwen_vl_npu_ops
