#include "npu/operators.h"
#include "ops/rotary_qkv/rotary_qkv.h"
#include "ops/rotary_qkv/tiling_host.h"

extern "C" void launch_rotary_qkv(uint32_t blocks, void* stream, uint8_t* qkv, uint8_t* cos, uint8_t* sin,
                                  uint8_t* q, uint8_t* k, uint8_t* v, RotaryQkvTiling tiling);

namespace qwen_vl_npu_ops {

void rotary_qkv_on_npu(const RotaryQkvParams& p, at::Device device) {
  const RotaryQkvShape shape = {
      .tokens = p.tokens,
      .heads = p.heads,
      .dim = p.in.dim,
      .in_dim = p.in.padded,
      .out_dim = p.out_layout.padded,
      .qkv_stride = p.qkv_stride,
      .cos_stride = p.table.cos_stride,
      .sin_stride = p.table.sin_stride,
      .table_step = p.table.step,
      .type = p.dtype,
      .table_type = p.table.dtype,
      .interleaved = p.interleaved,
  };
  const auto how = tiled(tile_rotary_qkv, shape);
  launch("rotary_qkv", device, how, launch_rotary_qkv, p.qkv, p.table.cos, p.table.sin, p.out[0], p.out[1],
         p.out[2]);
}

}  // namespace qwen_vl_npu_ops
