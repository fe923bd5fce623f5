// An operator of the tests: a sample kernel, launched as the operators' npu.cpp launch theirs.
#include <torch/library.h>

#include "sim/samples/add/tiling.h"
#include "torch_npu/csrc/core/npu/NPUStream.h"
#include "torch_npu/csrc/framework/OpCommand.h"

extern "C" void launch_sample_add(uint32_t blocks, void* stream, uint8_t* x, uint8_t* y, uint8_t* z,
                                  SampleAddTiling tiling);

namespace {

uint8_t* bytes(const at::Tensor& tensor) {
  return static_cast<uint8_t*>(tensor.data_ptr());
}

// `claimed` elements are added, whatever the tensors hold: more is a kernel that goes out of bounds.
void sample_add(const at::Tensor& x, const at::Tensor& y, at::Tensor& out, int64_t claimed) {
  const SampleAddTiling tiling{static_cast<uint32_t>(claimed), 128};
  const aclrtStream stream = c10_npu::getCurrentNPUStream().stream(false);
  at_npu::native::OpCommand::RunOpApiV2("sample_add", [=, px = bytes(x), py = bytes(y), pz = bytes(out)] {
    launch_sample_add(2, stream, px, py, pz, tiling);
    return 0;
  });
}

}  // namespace

TORCH_LIBRARY(virtual_npu_tests, m) {
  m.def("sample_add(Tensor x, Tensor y, Tensor(a!) out, int claimed) -> ()");
}

TORCH_LIBRARY_IMPL(virtual_npu_tests, PrivateUse1, m) {
  m.impl("sample_add", sample_add);
}
