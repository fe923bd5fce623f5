// aten operators for the virtual NPU, which has no CANN operators: in stream order the operator's CPU kernel
// runs on the device's memory, which the host can see. Results get their shapes from the meta kernels, so
// that nothing waits for the device; and work goes through torch_npu's task queue, as CANN's operators do.
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/stack.h>
#include <ATen/ops/copy_native.h>
#include <ATen/ops/empty_strided.h>
#include <ATen/ops/from_blob.h>
#include <acl/acl.h>
#include <torch/library.h>

#include "torch_npu/csrc/core/npu/NPUStream.h"
#include "torch_npu/csrc/framework/OpCommand.h"

namespace {

using torch::jit::Stack;

bool on_device(const at::Tensor& tensor) {
  return tensor.defined() && tensor.is_privateuseone();
}

// Apply `change` to every tensor in a value, lists included.
template <class Change>
c10::IValue map_tensors(const c10::IValue& value, const Change& change) {
  if (value.isTensor()) return change(value.toTensor());
  if (value.isTensorList()) {
    c10::List<at::Tensor> changed;
    for (const at::Tensor& tensor : value.toTensorVector()) changed.push_back(change(tensor));
    return changed;
  }
  if (value.isOptionalTensorList()) {
    c10::List<std::optional<at::Tensor>> changed;
    for (const auto& tensor : value.toOptionalTensorVector())
      changed.push_back(tensor ? std::optional<at::Tensor>(change(*tensor)) : std::nullopt);
    return changed;
  }
  if (value.isDevice() && value.toDevice().is_privateuseone()) return change(value.toDevice());
  return value;
}

// For the shapes: tensors and devices become meta.
struct ToMeta {
  at::Tensor operator()(const at::Tensor& tensor) const {
    if (!on_device(tensor)) return tensor;
    return at::empty_strided(tensor.sizes(), tensor.strides(), tensor.options().device(at::kMeta));
  }
  c10::IValue operator()(at::Device) const { return at::Device(at::kMeta); }
};

// For the work: a CPU tensor over the same memory.
struct ToHost {
  at::Tensor operator()(const at::Tensor& tensor) const {
    if (!on_device(tensor)) return tensor;
    return at::from_blob(tensor.data_ptr(), tensor.sizes(), tensor.strides(),
                         tensor.options().device(at::kCPU));
  }
  c10::IValue operator()(at::Device) const { return at::Device(at::kCPU); }
};

struct Work {
  c10::OperatorHandle op;
  Stack arguments;
  std::vector<at::Tensor> results;  // undefined where the operator wrote into an argument
};

void replay_work(void* pointer) {
  const Work* work = static_cast<Work*>(pointer);
  const c10::InferenceMode inference;
  Stack stack = work->arguments;
  work->op.callBoxed(stack);
  for (size_t i = 0; i < work->results.size(); ++i)
    if (work->results[i].defined()) work->results[i].copy_(stack[i].toTensor());
}

void run_work(void* pointer) {
  const std::unique_ptr<Work> work(static_cast<Work*>(pointer));
  replay_work(pointer);
}

// In the current stream, behind what torch_npu has queued for it. What is captured stays for the replays.
void enqueue(const std::string& name, std::unique_ptr<Work> work) {
  const aclrtStream stream = c10_npu::getCurrentNPUStream().stream(false);
  Work* released = work.release();
  at_npu::native::OpCommand::RunOpApiV2(name, [stream, released] {
    aclmdlRICaptureStatus status = ACL_MODEL_RI_CAPTURE_STATUS_NONE;
    aclmdlRICaptureGetInfo(stream, &status, nullptr);
    const bool captured = status != ACL_MODEL_RI_CAPTURE_STATUS_NONE;
    return aclrtLaunchHostFunc(stream, captured ? replay_work : run_work, released);
  });
}

void run_on_host(const c10::OperatorHandle& op, Stack* stack) {
  const c10::FunctionSchema& schema = op.schema();
  const size_t count = schema.arguments().size();
  const Stack arguments(stack->end() - static_cast<int64_t>(count), stack->end());
  stack->resize(stack->size() - count);

  auto work = std::make_unique<Work>(Work{op, {}, {}});
  Stack meta, results;
  for (const c10::IValue& argument : arguments) {
    meta.push_back(map_tensors(argument, ToMeta()));
    work->arguments.push_back(map_tensors(argument, ToHost()));
  }
  const bool writes = schema.is_mutable();
  if (!writes) op.callBoxed(meta);
  for (size_t i = 0; i < schema.returns().size(); ++i) {
    if (writes) {
      // What comes back is the argument that the schema says it is.
      for (size_t j = 0; j < count; ++j) {
        const auto* from = schema.arguments()[j].alias_info();
        const auto* to = schema.returns()[i].alias_info();
        if (from && to && *from == *to) results.push_back(arguments[j]);
      }
      work->results.emplace_back();
      continue;
    }
    const at::Tensor shape = meta[i].toTensor();
    const at::Tensor result =
        at::empty_strided(shape.sizes(), shape.strides(), shape.options().device(at::kPrivateUse1));
    work->results.push_back(ToHost()(result));
    results.emplace_back(result);
  }
  enqueue(schema.name(), std::move(work));
  for (c10::IValue& result : results) stack->push_back(std::move(result));
}

}  // namespace

TORCH_LIBRARY_IMPL(aten, PrivateUse1, library) {
  for (const char* name : {"add.Tensor", "add_.Tensor", "add.out", "sub.Tensor", "mul.Tensor", "mul_.Tensor",
                           "mul.out", "div.Tensor"})
    library.impl(name, torch::CppFunction::makeFromBoxedFunction<&run_on_host>());
}
