#include "ops/window_attention/window_attention.h"

#include <ATen/Functions.h>
#include <torch/library.h>

#include <array>

#include "common/checks.h"
#include "common/parallel.h"
#include "cpu/kernels.h"

namespace qwen_vl_npu_ops {
namespace {

constexpr const char* kOp = "window_attention";

// Everything but out and the contents of cu_seqlens.
WindowAttentionParams checked_params(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                     std::optional<double> scale) {
  WindowAttentionParams p{};
  p.dtype = checked_dtype(kOp, "q", q);
  check_same_dtype(kOp, "k", k, q, "q");
  check_same_dtype(kOp, "v", v, q, "q");
  check_tensor(kOp, "q", q, 3);
  check_tensor(kOp, "k", k, 3);
  check_tensor(kOp, "v", v, 3);
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
  return p;
}

void run(WindowAttentionParams& p, const std::vector<int64_t>& ends, const at::Tensor& out) {
  p.cu_seqlens = ends.data();
  p.segments = static_cast<int64_t>(ends.size()) - 1;
  p.out = out.mutable_data_ptr();
  p.out_token_stride = out.stride(0);
  p.out_head_stride = out.stride(1);
  const CpuKernels& kernels = checked_cpu_kernels();
  for_each_task(kernels.window_attention_tasks(p), 1,
                [&](int64_t begin, int64_t end) { kernels.window_attention(p, begin, end); });
}

at::Tensor window_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            const at::Tensor& cu_seqlens, std::optional<double> scale,
                            std::optional<int64_t> /*max_seqlen*/) {
  WindowAttentionParams p = checked_params(q, k, v, scale);
  const std::vector<int64_t> ends = checked_cu_seqlens(kOp, cu_seqlens, p.tokens);
  const at::Tensor out = at::empty({p.tokens, p.heads, p.value_dim}, q.options());
  run(p, ends, out);
  return out;
}

void window_attention_out(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                          const at::Tensor& cu_seqlens, std::optional<double> scale,
                          std::optional<int64_t> /*max_seqlen*/, at::Tensor& out) {
  WindowAttentionParams p = checked_params(q, k, v, scale);
  const std::vector<int64_t> ends = checked_cu_seqlens(kOp, cu_seqlens, p.tokens);
  const std::array<int64_t, 3> shape = {p.tokens, p.heads, p.value_dim};
  check_out(kOp, "out", out, shape, q, "q", {q, k, v, cu_seqlens});
  run(p, ends, out);
}

}  // namespace

TORCH_LIBRARY_IMPL(qwen_vl_npu_ops, CPU, m) {
  m.impl("window_attention", window_attention);
  m.impl("window_attention_out", window_attention_out);
}

}  // namespace qwen_vl_npu_ops
