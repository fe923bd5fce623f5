#include "ops/rms_norm/rms_norm.h"

#include <torch/library.h>

#include <cmath>
#include <tuple>

#include "common/checks.h"
#include "common/memory.h"
#include "common/parallel.h"
#include "cpu/kernels.h"

namespace qwen_vl_npu_ops {
namespace {

// Checked arguments, all but the residual and the outputs.
RmsNormParams checked_params(const char* op, const at::Tensor& x, const at::Tensor& weight, double eps) {
  RmsNormParams p{};
  p.dtype = checked_dtype(op, "x", x);
  check_same_dtype(op, "weight", weight, x, "x");
  check_tensor(op, "x", x, 2, x.device());
  check_tensor(op, "weight", weight, 1, x.device());
  QVNO_EXPECT(weight.size(0) > 0, op, "weight", "at least one column", c10::str("shape ", weight.sizes()));
  QVNO_EXPECT(x.size(1) == weight.size(0), op, "x",
              c10::str("[T, ", weight.size(0), "], the columns of weight"), c10::str("shape ", x.sizes()));
  QVNO_EXPECT(std::isfinite(eps) && eps >= 0, op, "eps", "a finite number of at least 0", eps);
  p.x = x.const_data_ptr();
  p.weight = weight.const_data_ptr();
  p.rows = x.size(0);
  p.columns = x.size(1);
  p.x_stride = x.stride(0);
  p.eps = eps;
  return p;
}

void run(const RmsNormParams& p) {
  const CpuKernels& kernels = checked_cpu_kernels();
  constexpr int64_t kRowsPerTask = 16;
  for_each_task(p.rows, kRowsPerTask, [&](int64_t begin, int64_t end) { kernels.rms_norm(p, begin, end); });
}

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  RmsNormParams p = checked_params("rms_norm", x, weight, eps);
  const at::Tensor out = empty_result(x.sizes(), x.options());
  p.out = out.mutable_data_ptr();
  run(p);
  return out;
}

std::tuple<at::Tensor, at::Tensor> add_rms_norm(const at::Tensor& x, const at::Tensor& residual,
                                                const at::Tensor& weight, double eps) {
  constexpr const char* kOp = "add_rms_norm";
  RmsNormParams p = checked_params(kOp, x, weight, eps);
  check_same_dtype(kOp, "residual", residual, x, "x");
  check_tensor(kOp, "residual", residual, 2, x.device());
  QVNO_EXPECT(residual.sizes() == x.sizes(), kOp, "residual", c10::str("x's shape ", x.sizes()),
              c10::str("shape ", residual.sizes()));
  const at::Tensor out = empty_result(x.sizes(), x.options());
  const at::Tensor sum = empty_result(x.sizes(), x.options());
  p.residual = residual.const_data_ptr();
  p.residual_stride = residual.stride(0);
  p.out = out.mutable_data_ptr();
  p.sum = sum.mutable_data_ptr();
  run(p);
  return {out, sum};
}

}  // namespace

TORCH_LIBRARY_IMPL(qwen_vl_npu_ops, CPU, m) {
  m.impl("rms_norm", rms_norm);
  m.impl("add_rms_norm", add_rms_norm);
}

}  // namespace qwen_vl_npu_ops
