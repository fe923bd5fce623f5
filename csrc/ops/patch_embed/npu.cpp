#include "common/checks.h"
#include "npu/operators.h"
#include "ops/patch_embed/tiling_host.h"

extern "C" void launch_patch_embed(uint32_t blocks, void* stream, uint8_t* pixels, uint8_t* weight,
                                   uint8_t* bias, uint8_t* row_index, uint8_t* out, uint8_t* workspace,
                                   PatchEmbedTiling tiling);

namespace qwen_vl_npu_ops {

void patch_embed_on_npu(const at::Tensor& pixels, const at::Tensor& weight, const at::Tensor& bias,
                        const at::Tensor& row_index, const at::Tensor& out) {
  const at::Tensor rows = weight.contiguous();
  const at::Tensor index = row_index.defined() ? row_index.contiguous() : row_index;
  const PatchEmbedShape shape = {
      .pixel_rows = pixels.size(0),
      .pixel_stride = pixels.stride(0),
      .rows = out.size(0),
      .k = pixels.size(1),
      .hidden = weight.size(0),
      .pixel_type = checked_dtype("patch_embed", "pixels", pixels),
      .type = checked_dtype("patch_embed", "weight", weight),
      .index_bytes = index.defined() ? static_cast<int64_t>(index.element_size()) : 0,
      .has_bias = bias.defined(),
  };
  const auto how = tiled(tile_patch_embed, shape);
  const at::Tensor workspace = empty_workspace(how.workspace_bytes, out.device());
  launch("patch_embed", out.device(), how, launch_patch_embed, pixels, rows, bias, index, out, workspace);
}

}  // namespace qwen_vl_npu_ops
