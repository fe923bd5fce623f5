#include "common/memory.h"

#include <ATen/Functions.h>
#include <sys/mman.h>

#include <cstdint>

namespace qwen_vl_npu_ops {
namespace {

constexpr uintptr_t kHugePage = 2 << 20;

// For the whole huge pages inside [p, p + bytes). Only advice: a system without them goes on with small ones.
void advise_huge_pages(void* p, size_t bytes) {
#ifdef MADV_HUGEPAGE
  const auto begin = reinterpret_cast<uintptr_t>(p);
  const uintptr_t first = (begin + kHugePage - 1) / kHugePage * kHugePage;
  const uintptr_t last = (begin + bytes) / kHugePage * kHugePage;
  if (first < last) madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
#endif
}

}  // namespace

at::Tensor empty_result(at::IntArrayRef shape, const at::TensorOptions& options) {
  at::Tensor result = at::empty(shape, options);
  if (result.is_cpu()) advise_huge_pages(result.mutable_data_ptr(), result.nbytes());
  return result;
}

}  // namespace qwen_vl_npu_ops
