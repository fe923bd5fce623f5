#include "ops/silu_and_mul/silu_and_mul.h"

#include <torch/library.h>

#include "common/checks.h"
#include "common/memory.h"
#include "common/parallel.h"
#include "cpu/kernels.h"

namespace qwen_vl_npu_ops {
namespace {

constexpr const char* kOp = "silu_and_mul";

at::Tensor silu_and_mul(const at::Tensor& gate_up) {
  SiluAndMulParams p{};
  p.dtype = checked_dtype(kOp, "gate_up", gate_up);
  check_tensor(kOp, "gate_up", gate_up, 2, gate_up.device());
  QVNO_EXPECT(gate_up.size(1) % 2 == 0, kOp, "gate_up", "[T, 2 * I]", c10::str("shape ", gate_up.sizes()));
  p.gate_up = gate_up.const_data_ptr();
  p.rows = gate_up.size(0);
  p.columns = gate_up.size(1) / 2;
  p.stride = gate_up.stride(0);
  const at::Tensor out = empty_result({p.rows, p.columns}, gate_up.options());
  p.out = out.mutable_data_ptr();
  const CpuKernels& kernels = checked_cpu_kernels();
  constexpr int64_t kRowsPerTask = 16;
  for_each_task(p.rows, kRowsPerTask,
                [&](int64_t begin, int64_t end) { kernels.silu_and_mul(p, begin, end); });
  return out;
}

}  // namespace

TORCH_LIBRARY_IMPL(qwen_vl_npu_ops, CPU, m) {
  m.impl("silu_and_mul", silu_and_mul);
}

}  // namespace qwen_vl_npu_ops
