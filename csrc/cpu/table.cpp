#include "cpu/table.h"

#define QVNO_STRING(name) #name
#define QVNO_NAME(name) QVNO_STRING(name)

namespace qwen_vl_npu_ops::QVNO_ISA {

extern const CpuKernels kernels;
const CpuKernels kernels = {
    QVNO_NAME(QVNO_ISA),
    rotary_qkv,
    window_attention_tasks,
    window_attention,
    rotary_window_attention_tasks,
    rotary_window_attention,
    gather_rows,
    rms_norm,
    silu_and_mul,
    linear_panel_floats,
    linear_panels,
    linear_pack,
    linear_tasks,
    linear,
    peak_loop,
};

}  // namespace qwen_vl_npu_ops::QVNO_ISA
