#include "kernel.h"

extern "C" __global__ __aicore__ void patch_embed_half(GM_ADDR pixels, GM_ADDR weight, GM_ADDR bias,
                                                       GM_ADDR rowIndex, GM_ADDR out, GM_ADDR workspace,
                                                       PatchEmbedTiling tiling) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_MIX_AIC_1_2);
  PatchEmbed<half, half>(pixels, weight, bias, rowIndex, out, workspace, tiling);
}

extern "C" __global__ __aicore__ void patch_embed_bfloat16(GM_ADDR pixels, GM_ADDR weight, GM_ADDR bias,
                                                           GM_ADDR rowIndex, GM_ADDR out, GM_ADDR workspace,
                                                           PatchEmbedTiling tiling) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_MIX_AIC_1_2);
  PatchEmbed<bfloat16_t, bfloat16_t>(pixels, weight, bias, rowIndex, out, workspace, tiling);
}

extern "C" __global__ __aicore__ void patch_embed_float(GM_ADDR pixels, GM_ADDR weight, GM_ADDR bias,
                                                        GM_ADDR rowIndex, GM_ADDR out, GM_ADDR workspace,
                                                        PatchEmbedTiling tiling) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_MIX_AIC_1_2);
  PatchEmbed<float, float>(pixels, weight, bias, rowIndex, out, workspace, tiling);
}

extern "C" __global__ __aicore__ void patch_embed_float_to_half(GM_ADDR pixels, GM_ADDR weight, GM_ADDR bias,
                                                                GM_ADDR rowIndex, GM_ADDR out,
                                                                GM_ADDR workspace, PatchEmbedTiling tiling) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_MIX_AIC_1_2);
  PatchEmbed<float, half>(pixels, weight, bias, rowIndex, out, workspace, tiling);
}

extern "C" __global__ __aicore__ void patch_embed_float_to_bfloat16(GM_ADDR pixels, GM_ADDR weight,
                                                                    GM_ADDR bias, GM_ADDR rowIndex,
                                                                    GM_ADDR out, GM_ADDR workspace,
                                                                    PatchEmbedTiling tiling) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_MIX_AIC_1_2);
  PatchEmbed<float, bfloat16_t>(pixels, weight, bias, rowIndex, out, workspace, tiling);
}

extern "C" void launch_patch_embed(uint32_t blocks, void* stream, uint8_t* pixels, uint8_t* weight,
                                   uint8_t* bias, uint8_t* rowIndex, uint8_t* out, uint8_t* workspace,
                                   PatchEmbedTiling tiling) {
  const bool cast = tiling.pixelType != tiling.type;
  if (tiling.type == 0) {
    patch_embed_float<<<blocks, nullptr, stream>>>(pixels, weight, bias, rowIndex, out, workspace, tiling);
  } else if (tiling.type == 1 && cast) {
    patch_embed_float_to_half<<<blocks, nullptr, stream>>>(pixels, weight, bias, rowIndex, out, workspace,
                                                           tiling);
  } else if (tiling.type == 1) {
    patch_embed_half<<<blocks, nullptr, stream>>>(pixels, weight, bias, rowIndex, out, workspace, tiling);
  } else if (cast) {
    patch_embed_float_to_bfloat16<<<blocks, nullptr, stream>>>(pixels, weight, bias, rowIndex, out, workspace,
                                                               tiling);
  } else {
    patch_embed_bfloat16<<<blocks, nullptr, stream>>>(pixels, weight, bias, rowIndex, out, workspace, tiling);
  }
}
