// Every operator's schema, once. Meanings and shapes: python/qwen_vl_npu_ops/ops.py.
#include <ATen/Parallel.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/library.h>

#include <atomic>
#include <map>

#include "common/checks.h"
#include "cpu/kernels.h"
#include "ops/linear/product.h"
#include "plan/window_order.h"

using qwen_vl_npu_ops::PeakLoop;

TORCH_LIBRARY(qwen_vl_npu_ops, m) {
  const std::vector<at::Tag> tags = {at::Tag::pt2_compliant_tag};
  m.def(
      "rotary_qkv(Tensor qkv, Tensor cos, Tensor sin, int num_heads, int head_dim, *, "
      "int? out_head_dim=None, bool interleaved=False) -> (Tensor q, Tensor k, Tensor v)",
      tags);
  m.def(
      "rotary_qkv_out(Tensor qkv, Tensor cos, Tensor sin, int num_heads, int head_dim, *, "
      "bool interleaved=False, Tensor(a!) q, Tensor(b!) k, Tensor(c!) v) -> ()",
      tags);
  m.def(
      "window_attention(Tensor q, Tensor k, Tensor v, Tensor cu_seqlens, *, float? scale=None, "
      "SymInt? max_seqlen=None) -> Tensor",
      tags);
  m.def(
      "window_attention_out(Tensor q, Tensor k, Tensor v, Tensor cu_seqlens, *, float? scale=None, "
      "SymInt? max_seqlen=None, Tensor(a!) out) -> ()",
      tags);
  m.def(
      "rotary_window_attention(Tensor qkv, Tensor cos, Tensor sin, Tensor cu_seqlens, int num_heads, "
      "int head_dim, *, int? out_head_dim=None, float? scale=None, SymInt? max_seqlen=None, "
      "bool interleaved=False) -> Tensor",
      tags);
  m.def(
      "rotary_window_attention_out(Tensor qkv, Tensor cos, Tensor sin, Tensor cu_seqlens, int num_heads, "
      "int head_dim, *, float? scale=None, SymInt? max_seqlen=None, bool interleaved=False, "
      "Tensor(a!) out) -> ()",
      tags);
  m.def("patch_embed(Tensor pixels, Tensor weight, Tensor? bias=None, *, Tensor? row_index=None) -> Tensor",
        tags);
  m.def(
      "patch_embed_out(Tensor pixels, Tensor weight, Tensor? bias=None, *, Tensor? row_index=None, "
      "Tensor(a!) out) -> ()",
      tags);
  m.def("linear(Tensor x, Tensor weight, Tensor? bias=None) -> Tensor", tags);
  m.def("rms_norm(Tensor x, Tensor weight, float eps=1e-06) -> Tensor", tags);
  m.def("add_rms_norm(Tensor x, Tensor residual, Tensor weight, float eps=1e-06) -> (Tensor out, Tensor sum)",
        tags);
  m.def("silu_and_mul(Tensor gate_up) -> Tensor", tags);
  m.def("cpu_isa() -> str", [] { return std::string(qwen_vl_npu_ops::checked_cpu_kernels().isa); });
  m.def("available_cpu_isas() -> str[]", [] {
    const auto isas = qwen_vl_npu_ops::available_isas();
    return std::vector<std::string>(isas.begin(), isas.end());
  });
  // Checks of contents alone, for the simulated chip, whose operators do without as an NPU's do.
  m.def("_check_cu_seqlens(str op, Tensor cu_seqlens, int tokens) -> ()",
        [](const std::string& op, const at::Tensor& cu_seqlens, int64_t tokens) {
          qwen_vl_npu_ops::checked_cu_seqlens(op.c_str(), cu_seqlens, tokens, cu_seqlens.device());
        });
  m.def("_check_row_index(str op, Tensor row_index, int rows) -> ()",
        [](const std::string& op, const at::Tensor& row_index, int64_t rows) {
          qwen_vl_npu_ops::checked_row_index(op.c_str(), row_index, rows, row_index.device());
        });
  // What VisionPlan is made of.
  m.def("_window_order(int[] grid_thw, int merge_size, int window_side) -> (Tensor, Tensor, Tensor)",
        qwen_vl_npu_ops::window_order);
  m.def("_axial_rows(Tensor table, int[] grid_thw, int merge_size, int window_side) -> Tensor",
        qwen_vl_npu_ops::axial_rows);
  // For linear layers.
  m.def("_linear_is_faster(ScalarType dtype) -> bool", qwen_vl_npu_ops::linear_is_faster);
  // For benchmarks: each thread runs the loop; returns the operations of all, 0 without such an instruction.
  m.def("_peak_loop(str name, int iterations) -> int", [](const std::string& name, int64_t iterations) {
    const std::map<std::string, PeakLoop> loops = {{"fma_fp32", PeakLoop::kFmaFp32},
                                                   {"dot_bf16", PeakLoop::kDotBf16},
                                                   {"dot_int8", PeakLoop::kDotInt8},
                                                   {"exp_fp32", PeakLoop::kExpFp32}};
    const auto loop = loops.find(name);
    TORCH_CHECK_VALUE(loop != loops.end(),
                      "_peak_loop: name: expected fma_fp32, dot_bf16, dot_int8 or exp_fp32, got ", name);
    const auto& kernels = qwen_vl_npu_ops::checked_cpu_kernels();
    std::atomic<int64_t> operations{0};
    at::parallel_for(0, at::get_num_threads(), 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) operations += kernels.peak_loop(loop->second, iterations);
    });
    return operations.load();
  });
}

namespace {

void refuse(const c10::OperatorHandle& op, size_t argument, const at::Tensor& tensor) {
  if (!tensor.requires_grad() && !tensor._fw_grad(/*level=*/0).defined()) return;
  const std::string& qualified = op.schema().name();
  TORCH_CHECK_VALUE(
      false, qualified.substr(qualified.rfind(':') + 1), ": ", op.schema().arguments()[argument].name(),
      ": expected a tensor that needs no gradient, as the operators are for inference only, "
      "got one with requires_grad=True or a forward-mode tangent; call it under torch.no_grad() or "
      "detach()");
}

// In place of a backward: an input that needs one is an error, for every operator alike. What an operator
// writes is marked as modified, so that autograd notices where some other operation had saved it.
void refuse_gradients(const c10::OperatorHandle& op, c10::DispatchKeySet keys, torch::jit::Stack* stack) {
  const auto& arguments = op.schema().arguments();
  std::vector<at::Tensor> written;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const c10::IValue& value = torch::jit::peek(*stack, i, arguments.size());
    if (!value.isTensor() || !value.toTensor().defined()) continue;
    if (at::GradMode::is_enabled()) refuse(op, i, value.toTensor());
    if (arguments[i].alias_info() && arguments[i].alias_info()->isWrite())
      written.push_back(value.toTensor());
  }
  op.redispatchBoxed(keys & c10::after_autograd_keyset, stack);
  for (const at::Tensor& tensor : written) {
    if (!tensor.is_inference()) tensor.unsafeGetTensorImpl()->bump_version();
  }
}

}  // namespace

TORCH_LIBRARY_IMPL(qwen_vl_npu_ops, Autograd, m) {
  for (const char* name : {"rotary_qkv", "rotary_qkv_out", "window_attention", "window_attention_out",
                           "rotary_window_attention", "rotary_window_attention_out", "patch_embed",
                           "patch_embed_out", "linear", "rms_norm", "add_rms_norm", "silu_and_mul"}) {
    m.impl(name, torch::CppFunction::makeFromBoxedFunction<&refuse_gradients>());
  }
}
