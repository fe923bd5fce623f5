#include "ops/rotary_qkv/rotary_qkv.h"

#include <torch/library.h>

#include <array>
#include <tuple>

#include "common/checks.h"
#include "common/memory.h"
#include "common/parallel.h"
#include "cpu/kernels.h"
#include "npu/back_end.h"

namespace qwen_vl_npu_ops {
namespace {

constexpr const char* kOp = "rotary_qkv";

// Checked arguments, all but the outputs.
struct Call {
  at::Tensor qkv, cos, sin;
  RotaryQkvParams p;
};

Call checked_call(const at::Tensor& qkv, const at::Tensor& cos, const at::Tensor& sin, int64_t num_heads,
                  int64_t head_dim, std::optional<int64_t> out_head_dim, bool interleaved) {
  RotaryQkvParams p{};
  p.dtype = checked_dtype(kOp, "qkv", qkv);
  check_tensor(kOp, "qkv", qkv, 2, qkv.device());
  check_head_dim(kOp, "head_dim", head_dim);
  const int64_t padded = checked_padded_dim(kOp, qkv, num_heads, head_dim);
  const int64_t out_dim = checked_out_head_dim(kOp, out_head_dim, head_dim, padded);
  p.table = checked_table(kOp, cos, sin, qkv, head_dim, padded, out_dim, interleaved);
  p.qkv = qkv.const_data_ptr();
  p.tokens = qkv.size(0);
  p.heads = num_heads;
  p.in = HeadLayout::make(head_dim, padded, interleaved);
  p.out_layout = HeadLayout::make(head_dim, out_dim, interleaved);
  p.qkv_stride = qkv.stride(0);
  p.interleaved = interleaved;
  return {qkv, cos, sin, p};
}

void run_on_npu(const Call& call, const std::array<at::Tensor, 3>& out) {
  RotaryQkvParams p = call.p;
  const NpuKernels* kernels = live_npu_kernels();
  if (!kernels) {
    compose_on_npu(kOp,
                   {call.qkv, call.cos, call.sin, p.heads, p.in.dim, p.interleaved, out[0], out[1], out[2]});
    return;
  }
  const std::array<at::Tensor, 3> dense = {dense_out(out[0]), dense_out(out[1]), dense_out(out[2])};
  for (size_t i = 0; i < dense.size(); ++i) p.out[i] = dense[i].mutable_data_ptr();
  kernels->rotary_qkv(p, call.qkv.device());
  for (size_t i = 0; i < dense.size(); ++i)
    if (!dense[i].is_same(out[i])) out[i].copy_(dense[i]);
}

void run(Call& call, const std::array<at::Tensor, 3>& out) {
  RotaryQkvParams& p = call.p;
  for (size_t i = 0; i < out.size(); ++i) {
    p.out[i] = out[i].mutable_data_ptr();
    p.out_token_stride[i] = out[i].stride(0);
    p.out_head_stride[i] = out[i].stride(1);
  }
  if (!call.qkv.is_cpu()) return run_on_npu(call, out);
  const CpuKernels& kernels = checked_cpu_kernels();
  constexpr int64_t kTokensPerTask = 16;
  for_each_task(p.tokens, kTokensPerTask,
                [&](int64_t begin, int64_t end) { kernels.rotary_qkv(p, begin, end); });
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> rotary_qkv(const at::Tensor& qkv, const at::Tensor& cos,
                                                          const at::Tensor& sin, int64_t num_heads,
                                                          int64_t head_dim,
                                                          std::optional<int64_t> out_head_dim,
                                                          bool interleaved) {
  Call call = checked_call(qkv, cos, sin, num_heads, head_dim, out_head_dim, interleaved);
  const std::array<int64_t, 3> shape = {call.p.tokens, call.p.heads, call.p.out_layout.padded};
  const auto empty = [&] { return empty_result(shape, qkv.options()); };
  const std::array<at::Tensor, 3> out = {empty(), empty(), empty()};
  run(call, out);
  return {out[0], out[1], out[2]};
}

void rotary_qkv_out(const at::Tensor& qkv, const at::Tensor& cos, const at::Tensor& sin, int64_t num_heads,
                    int64_t head_dim, bool interleaved, at::Tensor& q, at::Tensor& k, at::Tensor& v) {
  check_tensor(kOp, "q", q, 3, qkv.device());
  Call call = checked_call(qkv, cos, sin, num_heads, head_dim, q.size(2), interleaved);
  const std::array<int64_t, 3> shape = {call.p.tokens, call.p.heads, call.p.out_layout.padded};
  check_out(kOp, "q", q, shape, qkv, "qkv", {qkv, cos, sin});
  check_out(kOp, "k", k, shape, qkv, "qkv", {qkv, cos, sin, q});
  check_out(kOp, "v", v, shape, qkv, "qkv", {qkv, cos, sin, q, k});
  run(call, {q, k, v});
}

void implement(torch::Library& m) {
  m.impl("rotary_qkv", rotary_qkv);
  m.impl("rotary_qkv_out", rotary_qkv_out);
}

}  // namespace

TORCH_LIBRARY_IMPL(qwen_vl_npu_ops, CPU, m) {
  implement(m);
}

TORCH_LIBRARY_IMPL(qwen_vl_npu_ops, PrivateUse1, m) {
  implement(m);
}

}  // namespace qwen_vl_npu_ops
