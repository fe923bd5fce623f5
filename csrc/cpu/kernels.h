// The CPU back end's kernels, once per instruction set, and the choice between them at run time.
// Kernels run a range of independent tasks: results never depend on how tasks are spread over threads.
#pragma once

#include <cstdint>
#include <vector>

#include "cpu/peaks.h"

namespace qwen_vl_npu_ops {

struct RotaryQkvParams;
struct WindowAttentionParams;
struct RotaryWindowAttentionParams;
struct GatherRowsParams;
struct LinearParams;
struct RmsNormParams;
struct SiluAndMulParams;

struct CpuKernels {
  const char* isa;

  // Tasks are tokens.
  void (*rotary_qkv)(const RotaryQkvParams&, int64_t begin, int64_t end);

  // Tasks are ranges of one head's tokens; see cpu/attention.h.
  int64_t (*window_attention_tasks)(const WindowAttentionParams&);
  void (*window_attention)(const WindowAttentionParams&, int64_t begin, int64_t end);

  int64_t (*rotary_window_attention_tasks)(const RotaryWindowAttentionParams&);
  void (*rotary_window_attention)(const RotaryWindowAttentionParams&, int64_t begin, int64_t end);

  // Tasks are rows.
  void (*gather_rows)(const GatherRowsParams&, int64_t begin, int64_t end);
  void (*rms_norm)(const RmsNormParams&, int64_t begin, int64_t end);
  void (*silu_and_mul)(const SiluAndMulParams&, int64_t begin, int64_t end);

  // Two steps. Tasks of the first are panels of tokens, laid out in p.panels; tasks of the second are tiles
  // of the result.
  int64_t (*linear_panel_floats)(int64_t k);
  int64_t (*linear_panels)(const LinearParams&);
  void (*linear_pack)(const LinearParams&, int64_t begin, int64_t end);
  int64_t (*linear_tasks)(const LinearParams&);
  void (*linear)(const LinearParams&, int64_t begin, int64_t end);

  // Runs the loop on this thread; returns the operations it did, 0 where there is no such instruction.
  int64_t (*peak_loop)(PeakLoop, int64_t iterations);
};

// The kernels of the best instruction set this machine has, or of the one QWEN_VL_NPU_OPS_ISA names.
// Throws std::invalid_argument when that name is unknown or the machine lacks it.
const CpuKernels& cpu_kernels();

// Names of the instruction sets that are built in and that this machine has, best first.
std::vector<const char*> available_isas();

}  // namespace qwen_vl_npu_ops
