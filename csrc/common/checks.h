// Argument checks of the operators. Every failure reads "op: argument: expected ..., got ...".
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "common/types.h"

// The message is only built when the check fails.
#define QVNO_EXPECT(condition, op, argument, expected, got) \
  TORCH_CHECK_VALUE(condition, op, ": ", argument, ": expected ", expected, ", got ", got)
#define QVNO_EXPECT_TYPE(condition, op, argument, expected, got) \
  TORCH_CHECK_TYPE(condition, op, ": ", argument, ": expected ", expected, ", got ", got)

namespace qwen_vl_npu_ops {

struct CpuKernels;

// cpu_kernels(), where a bad QWEN_VL_NPU_OPS_ISA is a ValueError.
const CpuKernels& checked_cpu_kernels();

// fp32, fp16 or bf16; anything else is a TypeError.
DType checked_dtype(const char* op, const char* argument, const at::Tensor& tensor);

void check_same_dtype(const char* op, const char* argument, const at::Tensor& tensor, const at::Tensor& like,
                      const char* like_name);

// All tensors of a call live where its first one does.
void check_device(const char* op, const char* argument, const at::Tensor& tensor, at::Device device);

// A strided tensor on `device` with `dims` dimensions, the last of them contiguous.
void check_tensor(const char* op, const char* argument, const at::Tensor& tensor, int64_t dims,
                  at::Device device);

// An even head size in [2, 256].
void check_head_dim(const char* op, const char* argument, int64_t head_dim);

// out_head_dim, or `padded` where it is none: even, at least head_dim, at most 256.
int64_t checked_out_head_dim(const char* op, std::optional<int64_t> out_head_dim, int64_t head_dim,
                             int64_t padded);

// Dp of qkv [T, 3*H*Dp], with Dp even, >= head_dim, at most 256.
int64_t checked_padded_dim(const char* op, const at::Tensor& qkv, int64_t num_heads, int64_t head_dim);

// cos and sin as [T, D/2], [T, D], [T, Dp] or [1, T, 1, any of these].
RotaryTable checked_table(const char* op, const at::Tensor& cos, const at::Tensor& sin, const at::Tensor& qkv,
                          int64_t head_dim, int64_t padded_dim, int64_t out_dim, bool interleaved);

// An int32 or int64 tensor on `device`.
void check_indices(const char* op, const char* argument, const at::Tensor& indices, at::Device device);

// The contents of an index tensor, where they are to be checked: always on the CPU; on an NPU, where reading
// waits for the device, only under QWEN_VL_NPU_OPS_CHECK=1.
std::optional<std::vector<int64_t>> contents_to_check(const at::Tensor& indices);

// The contents of cu_seqlens, if they are to be checked: start at 0, never decrease, end at or before
// `tokens`.
std::optional<std::vector<int64_t>> checked_cu_seqlens(const char* op, const at::Tensor& cu_seqlens,
                                                       int64_t tokens, at::Device device);

// The contents of row_index [out_rows], if they are to be checked: each from 0 to rows - 1.
std::optional<std::vector<int64_t>> checked_row_index(const char* op, const at::Tensor& row_index,
                                                      int64_t rows, at::Device device);

// scale, or head_dim^-0.5 where it is none; a NaN or infinite scale is a ValueError.
float checked_scale(const char* op, std::optional<double> scale, int64_t head_dim);

// The shape, dtype, device and layout of a caller's out, which shares no element with itself or an input.
void check_out(const char* op, const char* argument, const at::Tensor& out, at::IntArrayRef shape,
               const at::Tensor& like, const char* like_name, at::TensorList inputs);

}  // namespace qwen_vl_npu_ops
