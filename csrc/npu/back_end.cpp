#include "npu/back_end.h"

#include <ATen/Functions.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/library.h>

#include <atomic>
#include <string>

#include "chip/chip.h"

namespace qwen_vl_npu_ops {
namespace {

enum class Live : int { kUndecided, kComposition, kKernels };

std::atomic<const NpuKernels*> built{nullptr};
std::atomic<Live> live{Live::kUndecided};

// Every kernel below is implemented in Python: a program without Python has no composition and is told so.
c10::OperatorHandle python_operator(const std::string& name) {
  return c10::Dispatcher::singleton().findSchemaOrThrow(("qwen_vl_npu_ops_npu::" + name).c_str(), "");
}

bool decide() {
  static const c10::OperatorHandle operation = python_operator("decide");
  torch::jit::Stack stack;
  operation.callBoxed(stack);
  return stack.at(0).toBool();
}

void use_kernels(std::optional<bool> wanted) {
  TORCH_CHECK_VALUE(!wanted.value_or(false) || built.load(),
                    "use_kernels: expected False, as this package was built without CANN, got True");
  live = wanted ? *wanted ? Live::kKernels : Live::kComposition : Live::kUndecided;
}

}  // namespace

void set_npu_kernels(const NpuKernels& kernels) {
  built = &kernels;
}

const NpuKernels* live_npu_kernels() {
  if (live == Live::kUndecided) use_kernels(decide());
  return live == Live::kKernels ? built.load() : nullptr;
}

at::Tensor dense_out(const at::Tensor& out) {
  return out.is_contiguous() ? out : at::empty(out.sizes(), out.options());
}

void compose_on_npu(const char* op, std::vector<c10::IValue> arguments) {
  const at::AutoDispatchBelowADInplaceOrView below_autograd;
  python_operator(op).callBoxed(arguments);
}

}  // namespace qwen_vl_npu_ops

// The seam with python/qwen_vl_npu_ops/npu.py, private to the package. The compositions write their last
// arguments.
TORCH_LIBRARY(qwen_vl_npu_ops_npu, m) {
  using namespace qwen_vl_npu_ops;
  m.def("decide() -> bool");
  m.def("use_kernels(bool? wanted) -> ()", use_kernels);
  m.def("kernels_built() -> bool", [] { return built.load() != nullptr; });
  m.def("chips() -> str[]", [] {
    std::vector<std::string> names;
    for (const Chip& chip : all_chips()) names.emplace_back(chip.name);
    return names;
  });
  m.def(
      "rotary_qkv(Tensor qkv, Tensor cos, Tensor sin, int num_heads, int head_dim, bool interleaved, "
      "Tensor(a!) q, Tensor(b!) k, Tensor(c!) v) -> ()");
  m.def(
      "window_attention(Tensor q, Tensor k, Tensor v, Tensor cu_seqlens, float scale, Tensor(a!) out) -> ()");
  m.def(
      "rotary_window_attention(Tensor qkv, Tensor cos, Tensor sin, Tensor cu_seqlens, int num_heads, "
      "int head_dim, float scale, bool interleaved, Tensor(a!) out) -> ()");
  m.def("patch_embed(Tensor pixels, Tensor weight, Tensor? bias, Tensor? row_index, Tensor(a!) out) -> ()");
}
