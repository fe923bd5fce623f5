#include "ops/rotary_window_attention/rotary_window_attention.h"

#include <torch/library.h>

#include <array>

#include "common/checks.h"
#include "common/memory.h"
#include "common/parallel.h"
#include "cpu/kernels.h"
#include "npu/back_end.h"

namespace qwen_vl_npu_ops {
namespace {

constexpr const char* kOp = "rotary_window_attention";

// Checked arguments, all but out.
struct Call {
  at::Tensor qkv, cos, sin, cu_seqlens;
  std::optional<std::vector<int64_t>> ends;  // cu_seqlens on the host, where it was read
  RotaryWindowAttentionParams p;
};

Call checked_call(const at::Tensor& qkv, const at::Tensor& cos, const at::Tensor& sin,
                  const at::Tensor& cu_seqlens, int64_t num_heads, int64_t head_dim,
                  std::optional<int64_t> out_head_dim, std::optional<double> scale, bool interleaved) {
  RotaryWindowAttentionParams p{};
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
  p.scale = checked_scale(kOp, scale, head_dim);
  p.interleaved = interleaved;
  auto ends = checked_cu_seqlens(kOp, cu_seqlens, p.tokens, qkv.device());
  p.segments = cu_seqlens.size(0) - 1;
  return {qkv, cos, sin, cu_seqlens, std::move(ends), p};
}

void run_on_npu(const Call& call, const at::Tensor& out) {
  const RotaryWindowAttentionParams& p = call.p;
  // fp32 attention has no kernel: the cube core would round it.
  const NpuKernels* kernels = p.dtype == DType::kFloat32 ? nullptr : live_npu_kernels();
  if (kernels)
    kernels->rotary_window_attention(p, call.cu_seqlens);
  else
    compose_on_npu(kOp, {call.qkv, call.cos, call.sin, call.cu_seqlens, p.heads, p.in.dim,
                         static_cast<double>(p.scale), p.interleaved, out});
}

void run(Call& call, const at::Tensor& out) {
  RotaryWindowAttentionParams& p = call.p;
  p.out = out.mutable_data_ptr();
  p.out_stride = out.stride(0);
  if (!out.is_cpu()) return run_on_npu(call, out);
  p.cu_seqlens = call.ends->data();
  const CpuKernels& kernels = checked_cpu_kernels();
  for_each_task(kernels.rotary_window_attention_tasks(p), 1,
                [&](int64_t begin, int64_t end) { kernels.rotary_window_attention(p, begin, end); });
}

at::Tensor rotary_window_attention(const at::Tensor& qkv, const at::Tensor& cos, const at::Tensor& sin,
                                   const at::Tensor& cu_seqlens, int64_t num_heads, int64_t head_dim,
                                   std::optional<int64_t> out_head_dim, std::optional<double> scale,
                                   std::optional<int64_t> /*max_seqlen*/, bool interleaved) {
  Call call = checked_call(qkv, cos, sin, cu_seqlens, num_heads, head_dim, out_head_dim, scale, interleaved);
  const at::Tensor out =
      empty_result({call.p.tokens, call.p.heads * call.p.out_layout.padded}, qkv.options());
  run(call, out);
  return out;
}

void rotary_window_attention_out(const at::Tensor& qkv, const at::Tensor& cos, const at::Tensor& sin,
                                 const at::Tensor& cu_seqlens, int64_t num_heads, int64_t head_dim,
                                 std::optional<double> scale, std::optional<int64_t> /*max_seqlen*/,
                                 bool interleaved, at::Tensor& out) {
  check_tensor(kOp, "out", out, 2, qkv.device());
  QVNO_EXPECT(num_heads >= 1 && out.size(1) % num_heads == 0, kOp, "out",
              c10::str("[T, num_heads * padded head size] with num_heads ", num_heads),
              c10::str("shape ", out.sizes()));
  const int64_t out_dim = out.size(1) / num_heads;
  Call call = checked_call(qkv, cos, sin, cu_seqlens, num_heads, head_dim, out_dim, scale, interleaved);
  const std::array<int64_t, 2> shape = {call.p.tokens, call.p.heads * out_dim};
  check_out(kOp, "out", out, shape, qkv, "qkv", {qkv, cos, sin, cu_seqlens});
  run(call, out);
}

void implement(torch::Library& m) {
  m.impl("rotary_window_attention", rotary_window_attention);
  m.impl("rotary_window_attention_out", rotary_window_attention_out);
}

}  // namespace

TORCH_LIBRARY_IMPL(qwen_vl_npu_ops, CPU, m) {
  implement(m);
}

TORCH_LIBRARY_IMPL(qwen_vl_npu_ops, PrivateUse1, m) {
  implement(m);
}

}  // namespace qwen_vl_npu_ops
