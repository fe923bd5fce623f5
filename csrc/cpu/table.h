// The kernels that csrc/ops/*/cpu.cpp and cpu/peaks.cpp define, once per instruction set; see CpuKernels for
// their meaning.
#pragma once

#include "cpu/kernels.h"

namespace qwen_vl_npu_ops::QVNO_ISA {

void rotary_qkv(const RotaryQkvParams&, int64_t begin, int64_t end);
int64_t window_attention_tasks(const WindowAttentionParams&);
void window_attention(const WindowAttentionParams&, int64_t begin, int64_t end);
int64_t rotary_window_attention_tasks(const RotaryWindowAttentionParams&);
void rotary_window_attention(const RotaryWindowAttentionParams&, int64_t begin, int64_t end);
void gather_rows(const GatherRowsParams&, int64_t begin, int64_t end);
void rms_norm(const RmsNormParams&, int64_t begin, int64_t end);
void silu_and_mul(const SiluAndMulParams&, int64_t begin, int64_t end);
int64_t linear_panel_floats(int64_t k);
int64_t linear_panels(const LinearParams&);
void linear_pack(const LinearParams&, int64_t begin, int64_t end);
int64_t linear_tasks(const LinearParams&);
void linear(const LinearParams&, int64_t begin, int64_t end);
int64_t peak_loop(PeakLoop, int64_t iterations);

}  // namespace qwen_vl_npu_ops::QVNO_ISA
