#include "ops/patch_embed/patch_embed.h"

#include <ATen/Functions.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <torch/library.h>

#include <algorithm>
#include <array>

#include "common/checks.h"
#include "common/memory.h"
#include "common/parallel.h"
#include "cpu/kernels.h"
#include "npu/back_end.h"
#include "ops/linear/product.h"

namespace qwen_vl_npu_ops {
namespace {

constexpr const char* kOp = "patch_embed";

// Rows gathered and cast at a time: enough for a GEMM at full speed, few enough for bounded memory.
constexpr int64_t kPanelRows = 2048;

// MKL's fp32 GEMM sums in another order at the edge of a thread's share than inside it, unless shares are
// whole tiles; results here do not depend on the number of threads, so it is given multiples of this.
constexpr int64_t kTile = 16;

struct PatchEmbed {
  at::Tensor pixels;                         // [T, K]
  at::Tensor weight;                         // [hidden, K]
  at::Tensor bias;                           // [hidden] or undefined
  at::Tensor row_index;                      // [out_rows] or undefined
  std::optional<std::vector<int64_t>> rows;  // row_index on the host, where it was read
  int64_t out_rows;

  bool has_index() const { return row_index.defined(); }
};

PatchEmbed checked(const at::Tensor& pixels, const at::Tensor& weight, const std::optional<at::Tensor>& bias,
                   const std::optional<at::Tensor>& row_index) {
  PatchEmbed e;
  checked_dtype(kOp, "weight", weight);
  checked_dtype(kOp, "pixels", pixels);
  QVNO_EXPECT_TYPE(pixels.scalar_type() == at::kFloat || pixels.scalar_type() == weight.scalar_type(), kOp,
                   "pixels", c10::str("float32 or weight's dtype ", weight.scalar_type()),
                   pixels.scalar_type());
  check_tensor(kOp, "pixels", pixels, 2, pixels.device());
  check_device(kOp, "weight", weight, pixels.device());
  QVNO_EXPECT(weight.dim() == 2 || weight.dim() == 5, kOp, "weight",
              "[hidden, C*tp*p*p] or Conv3d's [hidden, C, tp, p, p]", c10::str("shape ", weight.sizes()));
  QVNO_EXPECT(weight.size(0) >= 1 && weight.numel() / weight.size(0) >= 1, kOp, "weight",
              "at least one row and one column", c10::str("shape ", weight.sizes()));
  e.pixels = pixels;
  e.weight = weight.reshape({weight.size(0), -1});
  QVNO_EXPECT(pixels.size(1) == e.weight.size(1), kOp, "pixels",
              c10::str("[T, ", e.weight.size(1), "], the columns of weight"),
              c10::str("shape ", pixels.sizes()));
  if (bias && bias->defined()) {
    check_same_dtype(kOp, "bias", *bias, weight, "weight");
    check_tensor(kOp, "bias", *bias, 1, pixels.device());
    QVNO_EXPECT(bias->size(0) == weight.size(0), kOp, "bias", c10::str("[", weight.size(0), "]"),
                c10::str("shape ", bias->sizes()));
    e.bias = *bias;
  }
  if (row_index && row_index->defined()) {
    e.rows = checked_row_index(kOp, *row_index, pixels.size(0), pixels.device());
    e.row_index = *row_index;
  }
  e.out_rows = e.has_index() ? e.row_index.numel() : pixels.size(0);
  return e;
}

// Zeros after the end of dimension 0, up to a whole tile.
at::Tensor pad_to_tile(const at::Tensor& tensor) {
  const int64_t missing = (kTile - tensor.size(0) % kTile) % kTile;
  if (missing == 0) return tensor;
  std::vector<int64_t> pads(2 * tensor.dim(), 0);
  pads.back() = missing;
  return at::constant_pad_nd(tensor, pads);
}

// out = rows @ weight.T + bias, where rows and weight may be padded.
void gemm(const at::Tensor& rows, const at::Tensor& weight, const at::Tensor& bias, at::Tensor out) {
  if (rows.size(0) != out.size(0) || weight.size(0) != out.size(1)) {
    at::Tensor whole = at::empty({rows.size(0), weight.size(0)}, rows.options());
    gemm(rows, weight, bias, whole);
    out.copy_(whole.narrow(0, 0, out.size(0)).narrow(1, 0, out.size(1)));
  } else if (bias.defined()) {
    at::addmm_out(out, bias, rows, weight.t());
  } else {
    at::mm_out(out, rows, weight.t());
  }
}

// Pixel rows [first, first + rows) of the result's order, in the weight's dtype.
void gather(const PatchEmbed& e, int64_t first, int64_t rows, const at::Tensor& panel) {
  const CpuKernels& kernels = checked_cpu_kernels();
  const at::Tensor source = e.has_index() ? e.pixels : e.pixels.narrow(0, first, rows);
  const GatherRowsParams p = {
      .src = source.const_data_ptr(),
      .src_dtype = checked_dtype(kOp, "pixels", source),
      .src_stride = source.stride(0),
      .index = e.has_index() ? e.rows->data() + first : nullptr,
      .dst = panel.mutable_data_ptr(),
      .dst_dtype = checked_dtype(kOp, "weight", panel),
      .columns = source.size(1),
  };
  constexpr int64_t kRowsPerTask = 32;
  for_each_task(rows, kRowsPerTask, [&](int64_t begin, int64_t end) { kernels.gather_rows(p, begin, end); });
}

void run_on_npu(const PatchEmbed& e, const at::Tensor& out) {
  const NpuKernels* kernels = live_npu_kernels();
  if (!kernels) return compose_on_npu(kOp, {e.pixels, e.weight, e.bias, e.row_index, out});
  const at::Tensor dense = dense_out(out);
  kernels->patch_embed(e.pixels, e.weight, e.bias, e.row_index, dense);
  if (!dense.is_same(out)) out.copy_(dense);
}

void run_on_torch(const PatchEmbed& e, const at::Tensor& out) {
  const bool tiled = e.weight.scalar_type() == at::kFloat;
  const at::Tensor weight = tiled ? pad_to_tile(e.weight) : e.weight;
  const at::Tensor bias = tiled && e.bias.defined() ? pad_to_tile(e.bias) : e.bias;
  const bool as_it_is = !e.has_index() && e.pixels.scalar_type() == e.weight.scalar_type();
  const int64_t panel_rows = as_it_is ? 0 : std::min(kPanelRows, e.out_rows);
  const at::Tensor panel = at::empty({panel_rows, e.pixels.size(1)}, e.weight.options());
  for (int64_t first = 0, rows = 0; first < e.out_rows; first += rows) {
    rows = std::min(kPanelRows, e.out_rows - first);
    if (tiled && rows > kTile) rows -= rows % kTile;  // and the rest in a last round
    if (!as_it_is) gather(e, first, rows, panel);
    const at::Tensor source = as_it_is ? e.pixels.narrow(0, first, rows) : panel.narrow(0, 0, rows);
    gemm(tiled ? pad_to_tile(source) : source, weight, bias, out.narrow(0, first, rows));
  }
}

void run(const PatchEmbed& e, const at::Tensor& out) {
  if (!out.is_cpu()) return run_on_npu(e, out);
  const at::AutoDispatchBelowADInplaceOrView below_autograd;
  if (!linear_is_faster(e.weight.scalar_type())) return run_on_torch(e, out);
  const at::Tensor weight = e.weight.stride(1) == 1 ? e.weight : e.weight.contiguous();
  linear_into(e.pixels, e.has_index() ? e.rows->data() : nullptr, weight, e.bias, out);
}

at::Tensor patch_embed(const at::Tensor& pixels, const at::Tensor& weight,
                       const std::optional<at::Tensor>& bias, const std::optional<at::Tensor>& row_index) {
  const PatchEmbed e = checked(pixels, weight, bias, row_index);
  const at::Tensor out = empty_result({e.out_rows, e.weight.size(0)}, weight.options());
  run(e, out);
  return out;
}

void patch_embed_out(const at::Tensor& pixels, const at::Tensor& weight,
                     const std::optional<at::Tensor>& bias, const std::optional<at::Tensor>& row_index,
                     at::Tensor& out) {
  const PatchEmbed e = checked(pixels, weight, bias, row_index);
  const std::array<int64_t, 2> shape = {e.out_rows, e.weight.size(0)};
  std::vector<at::Tensor> inputs = {pixels, weight};
  if (e.bias.defined()) inputs.push_back(e.bias);
  if (e.has_index()) inputs.push_back(*row_index);
  check_out(kOp, "out", out, shape, weight, "weight", inputs);
  run(e, out);
}

void implement(torch::Library& m) {
  m.impl("patch_embed", patch_embed);
  m.impl("patch_embed_out", patch_embed_out);
}

}  // namespace

TORCH_LIBRARY_IMPL(qwen_vl_npu_ops, CPU, m) {
  implement(m);
}

TORCH_LIBRARY_IMPL(qwen_vl_npu_ops, PrivateUse1, m) {
  implement(m);
}

}  // namespace qwen_vl_npu_ops
