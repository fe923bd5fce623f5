// aten operators for the virtual NPU, which has no CANN operators: in stream order the operator's CPU kernel
// runs on the device's memory, which the host can see. Results get their shapes from the meta kernels, so
// that nothing waits for the device; and work goes through torch_npu's task queue, as CANN's operators do.
#include <ATen/Functions.h>
#include <ATen/NativeFunctions.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/stack.h>
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
  try {
    work->op.callBoxed(stack);
    for (size_t i = 0; i < work->results.size(); ++i)
      if (work->results[i].defined()) work->results[i].copy_(stack[i].toTensor());
  } catch (const c10::Error& error) {
    throw std::runtime_error(work->op.schema().name() + ": " + error.what_without_backtrace());
  }
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

// ---- copies ----

const c10::OperatorHandle& copy_operator() {
  static const c10::OperatorHandle op = c10::Dispatcher::singleton().findSchemaOrThrow("aten::copy_", "");
  return op;
}

// torch_npu's own copy, taken before ours is put in its place.
const c10::SafeKernelFunction& copy_of_torch_npu() {
  static const c10::SafeKernelFunction kernel =
      copy_operator().getComputedKernelForDispatchKey(c10::DispatchKey::PrivateUse1);
  return kernel;
}

void plain_copy(const at::Tensor& self, const at::Tensor& source, bool non_blocking) {
  Stack stack{self, source, non_blocking};
  copy_of_torch_npu().callBoxed(copy_operator(), c10::DispatchKeySet(c10::DispatchKey::PrivateUse1), &stack);
}

// Between host and device torch_npu copies what lies in one piece; the rest is brought into that form.
at::Tensor& copy_(at::Tensor& self, const at::Tensor& source, bool non_blocking) {
  if (self.numel() == 0) return self;
  if (on_device(self) && on_device(source)) {
    Stack stack{self, source, non_blocking};
    run_on_host(copy_operator(), &stack);
  } else if (on_device(self)) {
    const at::Tensor host = source.to(self.scalar_type()).expand_as(self).contiguous();
    if (self.is_contiguous()) {
      plain_copy(self, host, non_blocking && host.is_alias_of(source));
    } else {
      at::Tensor device = at::empty(self.sizes(), self.options());
      plain_copy(device, host, false);
      copy_(self, device, false);
    }
  } else {
    const at::Tensor device = source.expand_as(self).contiguous();
    if (self.is_contiguous() && self.scalar_type() == device.scalar_type()) {
      plain_copy(self, device, non_blocking);
    } else {
      const at::Tensor host = at::empty(self.sizes(), device.options().device(at::kCPU));
      plain_copy(host, device, false);
      self.copy_(host);
    }
  }
  return self;
}

at::Tensor contiguous(const at::Tensor& self, at::MemoryFormat format) {
  return self.is_contiguous(format) ? self : self.clone(format);
}

// Moving a module to an NPU casts weights of convolutions to formats of their own, which the 910B's default
// (allow_internal_format off) makes a plain copy.
at::Tensor npu_format_cast(const at::Tensor& self, int64_t, std::optional<int64_t>, std::optional<int64_t>) {
  return self.clone();
}

// ---- torch_npu's fused operators, in fp32 as they work ----

std::tuple<at::Tensor, at::Tensor> npu_rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  const at::Tensor wide = x.to(at::kFloat);
  const at::Tensor rstd = at::rsqrt(at::mean(at::square(wide), -1, true) + eps);
  return {(wide * rstd * weight.to(at::kFloat)).to(x.scalar_type()), rstd};
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> npu_add_rms_norm(const at::Tensor& x1, const at::Tensor& x2,
                                                                const at::Tensor& weight, double eps) {
  const at::Tensor sum = x1 + x2;
  const auto [y, rstd] = npu_rms_norm(sum, weight, eps);
  return {y, rstd, sum};
}

at::Tensor npu_swiglu(const at::Tensor& x, int64_t dim) {
  const std::vector<at::Tensor> halves = at::chunk(x.to(at::kFloat), 2, dim);
  return (at::silu(halves[0]) * halves[1]).to(x.scalar_type());
}

at::Tensor npu_rotary_mul(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin,
                          std::string_view mode, const std::optional<at::Tensor>&) {
  const at::Tensor wide = x.to(at::kFloat);
  at::Tensor turned;
  if (mode == "half") {
    const std::vector<at::Tensor> halves = at::chunk(wide, 2, -1);
    turned = at::cat({-halves[1], halves[0]}, -1);
  } else {
    const at::Tensor pairs = wide.unflatten(-1, {-1, 2});
    turned = at::stack({-pairs.select(-1, 1), pairs.select(-1, 0)}, -1).flatten(-2);
  }
  return (wide * cos.to(at::kFloat) + turned * sin.to(at::kFloat)).to(x.scalar_type());
}

void flash_attention_unpad(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                           const at::Tensor& lengths, double scale, int64_t heads, int64_t kv_heads,
                           at::Tensor& out) {
  int64_t begin = 0;
  const at::Tensor wide_lengths = lengths.to(at::kLong).contiguous();
  for (const int64_t length :
       at::IntArrayRef(wide_lengths.data_ptr<int64_t>(), static_cast<size_t>(wide_lengths.numel()))) {
    const auto sequence = [&](const at::Tensor& x, int64_t repeats) {
      return x.narrow(0, begin, length).transpose(0, 1).to(at::kFloat).repeat_interleave(repeats, 0);
    };
    const at::Tensor q = sequence(query, 1);
    const at::Tensor k = sequence(key, heads / kv_heads), v = sequence(value, heads / kv_heads);
    const at::Tensor weights = at::softmax(at::matmul(q, k.transpose(1, 2)) * scale, -1);
    out.narrow(0, begin, length).copy_(at::matmul(weights, v).transpose(0, 1));
    begin += length;
  }
}

}  // namespace

TORCH_LIBRARY_IMPL(aten, PrivateUse1, library) {
  copy_of_torch_npu();
  library.impl("copy_", copy_);
  library.impl("contiguous", contiguous);
  library.impl("clone", at::native::clone);
  library.impl("_to_copy", at::native::_to_copy);
  const auto on_host = [] { return torch::CppFunction::makeFromBoxedFunction<&run_on_host>(); };
  for (const char* name :
       {// factories and fills
        "arange", "arange.start", "arange.start_step", "arange.start_out", "fill_.Scalar", "fill_.Tensor",
        "zero_", "zeros", "ones", "full", "masked_fill_.Scalar", "uniform_", "normal_",
        // element by element
        "abs", "add.Tensor", "add_.Tensor", "add.out", "add.Scalar", "bitwise_and.Tensor", "bitwise_not",
        "bitwise_or.Tensor", "clamp", "clamp.Tensor", "cos", "div.Scalar", "div.Tensor", "div.Tensor_mode",
        "eq.Scalar", "eq.Tensor", "exp", "ge.Scalar", "ge.Tensor", "gelu", "gelu.out", "gt.Scalar",
        "gt.Tensor", "isfinite", "isnan", "le.Scalar", "le.Tensor", "logical_and", "logical_not", "lt.Scalar",
        "lt.Tensor", "maximum", "minimum", "mul.Scalar", "mul.Tensor", "mul_.Tensor", "mul.out", "ne.Scalar",
        "ne.Tensor", "neg", "pow.Scalar", "pow.Tensor_Scalar", "reciprocal", "remainder.Scalar", "rsqrt",
        "rsub.Scalar", "silu", "silu.out", "silu_", "sin", "sqrt", "sub.Scalar", "sub.Tensor", "sub_.Tensor",
        "where.self",
        // along dimensions
        "_softmax", "all", "all.dim", "amax", "amin", "any", "any.dim", "cumsum", "max", "mean.dim", "mean",
        "min", "softmax.int", "sum", "sum.dim_IntList",
        // places
        "cat", "constant_pad_nd", "embedding", "gather", "index.Tensor", "index_copy_", "index_put_",
        "index_select", "masked_fill.Scalar", "repeat", "repeat_interleave.self_int", "searchsorted.Tensor",
        "bucketize.Tensor", "scatter.src", "stack",
        // products
        "addmm", "baddbmm", "bmm", "matmul", "mm", "scaled_dot_product_attention"})
    library.impl(name, on_host());
}

TORCH_LIBRARY_IMPL(npu, CPU, library) {
  library.impl("npu_rms_norm", npu_rms_norm);
  library.impl("npu_add_rms_norm", npu_add_rms_norm);
  library.impl("npu_swiglu", npu_swiglu);
  library.impl("npu_rotary_mul", npu_rotary_mul);
}

TORCH_LIBRARY_IMPL(npu, PrivateUse1, library) {
  library.impl("npu_format_cast", npu_format_cast);
  for (const char* name : {"npu_rms_norm", "npu_add_rms_norm", "npu_swiglu", "npu_rotary_mul"})
    library.impl(name, torch::CppFunction::makeFromBoxedFunction<&run_on_host>());
}

TORCH_LIBRARY_IMPL(atb, CPU, library) {
  library.impl("_npu_flash_attention_unpad", flash_attention_unpad);
}

TORCH_LIBRARY_IMPL(atb, PrivateUse1, library) {
  library.impl("_npu_flash_attention_unpad", torch::CppFunction::makeFromBoxedFunction<&run_on_host>());
}
