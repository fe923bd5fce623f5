#include "cpu/table.h"
#include "cpu/vec.h"
#include "ops/patch_embed/patch_embed.h"

namespace qwen_vl_npu_ops::QVNO_ISA {
namespace {

template <typename From, typename To>
void gather(const GatherRowsParams& p, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    const int64_t source = p.index ? p.index[row] : row;
    copy_row(static_cast<const From*>(p.src) + source * p.src_stride,
             static_cast<To*>(p.dst) + row * p.columns, p.columns);
  }
}

}  // namespace

void gather_rows(const GatherRowsParams& p, int64_t begin, int64_t end) {
  with_element_type(p.src_dtype, [&](auto from) {
    with_element_type(p.dst_dtype, [&](auto to) { gather<decltype(from), decltype(to)>(p, begin, end); });
  });
}

}  // namespace qwen_vl_npu_ops::QVNO_ISA
