#include "ops/linear/linear.h"

#include <ATen/Functions.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/library.h>

#include <algorithm>
#include <string_view>

#include "common/checks.h"
#include "common/memory.h"
#include "common/parallel.h"
#include "cpu/kernels.h"
#include "ops/linear/product.h"

namespace qwen_vl_npu_ops {
namespace {

constexpr const char* kOp = "linear";

// Tokens packed at a time: enough to make the conversion of a weight cheap, few enough for bounded memory.
constexpr int64_t kChunkTokens = 512;

void check(const at::Tensor& x, const at::Tensor& weight, const std::optional<at::Tensor>& bias) {
  checked_dtype(kOp, "x", x);
  check_same_dtype(kOp, "weight", weight, x, "x");
  check_tensor(kOp, "x", x, 2, x.device());
  check_tensor(kOp, "weight", weight, 2, x.device());
  QVNO_EXPECT(weight.numel() > 0, kOp, "weight", "at least one row and one column",
              c10::str("shape ", weight.sizes()));
  QVNO_EXPECT(x.size(1) == weight.size(1), kOp, "x",
              c10::str("[T, ", weight.size(1), "], the columns of weight"), c10::str("shape ", x.sizes()));
  if (!bias) return;
  check_same_dtype(kOp, "bias", *bias, x, "x");
  check_tensor(kOp, "bias", *bias, 1, x.device());
  QVNO_EXPECT(bias->size(0) == weight.size(0), kOp, "bias", c10::str("[", weight.size(0), "]"),
              c10::str("shape ", bias->sizes()));
}

at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const std::optional<at::Tensor>& bias) {
  check(x, weight, bias);
  const at::Tensor out = empty_result({x.size(0), weight.size(0)}, x.options());
  linear_into(x, nullptr, weight, bias.value_or(at::Tensor()), out);
  return out;
}

// Whether oneDNN, on which torch's products run, has one of this dtype here.
bool onednn_has(const char* query) {
  const auto op = c10::Dispatcher::singleton().findSchema({query, ""});
  return !op || op->typed<bool()>().call();
}

}  // namespace

bool linear_is_faster(at::ScalarType dtype) {
  const std::string_view isa = checked_cpu_kernels().isa;
  if (isa == "neon") return false;  // aarch64's own products are left alone
  switch (dtype) {
    case at::kFloat:
      // Measured: with few rows ours takes half the time of MKL's or oneDNN's or less, with many the same.
      return isa == "avx2" && isa == available_isas().front();
    case at::kBFloat16:
      return !onednn_has("mkldnn::_is_mkldnn_bf16_supported");
    case at::kHalf:
      return !onednn_has("mkldnn::_is_mkldnn_fp16_supported");
    default:
      return false;
  }
}

void linear_into(const at::Tensor& x, const int64_t* index, const at::Tensor& weight, const at::Tensor& bias,
                 const at::Tensor& out) {
  const CpuKernels& kernels = checked_cpu_kernels();
  const int64_t tokens = out.size(0);
  LinearParams p{};
  p.weight = weight.const_data_ptr();
  p.bias = bias.defined() ? bias.const_data_ptr() : nullptr;
  p.x_dtype = checked_dtype(kOp, "x", x);
  p.dtype = checked_dtype(kOp, "weight", weight);
  p.tokens = std::min(tokens, kChunkTokens);
  p.n = weight.size(0);
  p.k = weight.size(1);
  p.x_stride = x.stride(0);
  p.weight_stride = weight.stride(0);
  p.out_stride = out.stride(0);
  const at::Tensor panels =
      at::empty({kernels.linear_panels(p), kernels.linear_panel_floats(p.k)}, at::kFloat);
  p.panels = panels.mutable_data_ptr<float>();
  for (int64_t first = 0; first < tokens; first += kChunkTokens) {
    p.tokens = std::min(tokens - first, kChunkTokens);
    p.index = index ? index + first : nullptr;
    p.x = (index ? x : x.narrow(0, first, p.tokens)).const_data_ptr();
    p.out = out.narrow(0, first, p.tokens).mutable_data_ptr();
    for_each_task(kernels.linear_panels(p), 1,
                  [&](int64_t begin, int64_t end) { kernels.linear_pack(p, begin, end); });
    for_each_task(kernels.linear_tasks(p), 1,
                  [&](int64_t begin, int64_t end) { kernels.linear(p, begin, end); });
  }
}

TORCH_LIBRARY_IMPL(qwen_vl_npu_ops, CPU, m) {
  m.impl("linear", linear);
}

}  // namespace qwen_vl_npu_ops
