#include "ops/linear/linear.h"

#include <ATen/Functions.h>
#include <torch/library.h>

#include <algorithm>

#include "common/checks.h"
#include "common/memory.h"
#include "common/parallel.h"
#include "cpu/kernels.h"

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

void run(LinearParams p, const at::Tensor& x, const at::Tensor& out) {
  const CpuKernels& kernels = checked_cpu_kernels();
  const int64_t tokens = p.tokens;
  p.tokens = std::min(tokens, kChunkTokens);
  const at::Tensor panels =
      at::empty({kernels.linear_panels(p), kernels.linear_panel_floats(p.k)}, at::kFloat);
  p.panels = panels.mutable_data_ptr<float>();
  for (int64_t first = 0; first < tokens; first += kChunkTokens) {
    p.tokens = std::min(tokens - first, kChunkTokens);
    p.x = x.narrow(0, first, p.tokens).const_data_ptr();
    p.out = out.narrow(0, first, p.tokens).mutable_data_ptr();
    for_each_task(kernels.linear_panels(p), 1,
                  [&](int64_t begin, int64_t end) { kernels.linear_pack(p, begin, end); });
    for_each_task(kernels.linear_tasks(p), 1,
                  [&](int64_t begin, int64_t end) { kernels.linear(p, begin, end); });
  }
}

at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const std::optional<at::Tensor>& bias) {
  check(x, weight, bias);
  const at::Tensor out = empty_result({x.size(0), weight.size(0)}, x.options());
  LinearParams p{};
  p.weight = weight.const_data_ptr();
  p.bias = bias ? bias->const_data_ptr() : nullptr;
  p.dtype = checked_dtype(kOp, "x", x);
  p.tokens = x.size(0);
  p.n = weight.size(0);
  p.k = weight.size(1);
  p.x_stride = x.stride(0);
  p.weight_stride = weight.stride(0);
  p.out_stride = out.stride(0);
  run(p, x, out);
  return out;
}

}  // namespace

TORCH_LIBRARY_IMPL(qwen_vl_npu_ops, CPU, m) {
  m.impl("linear", linear);
}

}  // namespace qwen_vl_npu_ops
