#include "ops/window_attention/window_attention.h"

#include <torch/library.h>

#include <array>

#include "common/checks.h"
#include "common/memory.h"
#include "common/parallel.h"
#include "cpu/kernels.h"
#include "npu/back_end.h"

namespace qwen_vl_npu_ops {
namespace {

constexpr const char* kOp = "window_attention";

// Checked arguments, all but out.
struct Call {
  at::Tensor q, k, v, cu_seqlens;
  std::optional<std::vector<int64_t>> ends;  // cu_seqlens on the host, where it was read
  WindowAttentionParams p;
};

Call checked_call(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& cu_seqlens,
                  std::optional<double> scale) {
  WindowAttentionParams p{};
  p.dtype = checked_dtype(kOp, "q", q);
  check_same_dtype(kOp, "k", k, q, "q");
  check_same_dtype(kOp, "v", v, q, "q");
  check_tensor(kOp, "q", q, 3, q.device());
  check_tensor(kOp, "k", k, 3, q.device());
  check_tensor(kOp, "v", v, 3, q.device());
  check_head_dim(kOp, "q", q.size(2));
  check_head_dim(kOp, "v", v.size(2));
  QVNO_EXPECT(k.size(0) == q.size(0) && k.size(2) == q.size(2), kOp, "k",
              c10::str("q's tokens and head size, [", q.size(0), ", heads, ", q.size(2), "]"),
              c10::str("shape ", k.sizes()));
  QVNO_EXPECT(v.size(0) == k.size(0) && v.size(1) == k.size(1), kOp, "v",
              c10::str("k's tokens and heads, [", k.size(0), ", ", k.size(1), ", head size]"),
              c10::str("shape ", v.sizes()));
  QVNO_EXPECT(q.size(1) >= 1, kOp, "q", "at least one head", c10::str("shape ", q.sizes()));
  QVNO_EXPECT(k.size(1) >= 1 && q.size(1) % k.size(1) == 0, kOp, "k",
              c10::str("a number of heads that divides q's ", q.size(1)), k.size(1));
  p.q = q.const_data_ptr();
  p.k = k.const_data_ptr();
  p.v = v.const_data_ptr();
  p.q_token_stride = q.stride(0);
  p.q_head_stride = q.stride(1);
  p.k_token_stride = k.stride(0);
  p.k_head_stride = k.stride(1);
  p.v_token_stride = v.stride(0);
  p.v_head_stride = v.stride(1);
  p.tokens = q.size(0);
  p.heads = q.size(1);
  p.kv_heads = k.size(1);
  p.head_dim = q.size(2);
  p.value_dim = v.size(2);
  p.scale = checked_scale(kOp, scale, p.head_dim);
  auto ends = checked_cu_seqlens(kOp, cu_seqlens, p.tokens, q.device());
  p.segments = cu_seqlens.size(0) - 1;
  return {q, k, v, cu_seqlens, std::move(ends), p};
}

void run_on_npu(const Call& call, const at::Tensor& out) {
  const WindowAttentionParams& p = call.p;
  // fp32 attention has no kernel: the cube core would round it.
  const NpuKernels* kernels = p.dtype == DType::kFloat32 ? nullptr : live_npu_kernels();
  if (kernels)
    kernels->window_attention(p, call.cu_seqlens);
  else
    compose_on_npu(kOp, {call.q, call.k, call.v, call.cu_seqlens, static_cast<double>(p.scale), out});
}

void run(Call& call, const at::Tensor& out) {
  WindowAttentionParams& p = call.p;
  p.out = out.mutable_data_ptr();
  p.out_token_stride = out.stride(0);
  p.out_head_stride = out.stride(1);
  if (!out.is_cpu()) return run_on_npu(call, out);
  p.cu_seqlens = call.ends->data();
  const CpuKernels& kernels = checked_cpu_kernels();
  for_each_task(kernels.window_attention_tasks(p), 1,
                [&](int64_t begin, int64_t end) { kernels.window_attention(p, begin, end); });
}

at::Tensor window_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            const at::Tensor& cu_seqlens, std::optional<double> scale,
                            std::optional<int64_t> /*max_seqlen*/) {
  Call call = checked_call(q, k, v, cu_seqlens, scale);
  const at::Tensor out = empty_result({call.p.tokens, call.p.heads, call.p.value_dim}, q.options());
  run(call, out);
  return out;
}

void window_attention_out(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                          const at::Tensor& cu_seqlens, std::optional<double> scale,
                          std::optional<int64_t> /*max_seqlen*/, at::Tensor& out) {
  Call call = checked_call(q, k, v, cu_seqlens, scale);
  const std::array<int64_t, 3> shape = {call.p.tokens, call.p.heads, call.p.value_dim};
  check_out(kOp, "out", out, shape, q, "q", {q, k, v, cu_seqlens});
  run(call, out);
}

void implement(torch::Library& m) {
  m.impl("window_attention", window_attention);
  m.impl("window_attention_out", window_attention_out);
}

}  // namespace

TORCH_LIBRARY_IMPL(qwen_vl_npu_ops, CPU, m) {
  implement(m);
}

TORCH_LIBRARY_IMPL(qwen_vl_npu_ops, PrivateUse1, m) {
  implement(m);
}

}  // namespace qwen_vl_npu_ops
