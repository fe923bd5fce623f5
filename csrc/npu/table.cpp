// Hands the kernels to the operators when this library is loaded.
#include "npu/operators.h"

namespace qwen_vl_npu_ops {
namespace {

constexpr NpuKernels kKernels = {
    rotary_qkv_on_npu,
    window_attention_on_npu,
    rotary_window_attention_on_npu,
    patch_embed_on_npu,
};

[[maybe_unused]] const bool kHandedOver = (set_npu_kernels(kKernels), true);

}  // namespace
}  // namespace qwen_vl_npu_ops
