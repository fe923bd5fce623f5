#include <cstdlib>
#include <stdexcept>
#include <string>

#include "cpu/kernels.h"

namespace qwen_vl_npu_ops {
namespace {

constexpr const char* kVariable = "QWEN_VL_NPU_OPS_ISA";

}  // namespace

// The tables, one per object library of cmake/cpu_isas.cmake.
#if defined(__x86_64__)
namespace portable {
extern const CpuKernels kernels;
}
namespace avx2 {
extern const CpuKernels kernels;
}
namespace avx512 {
extern const CpuKernels kernels;
}
namespace avx512_bf16 {
extern const CpuKernels kernels;
}
#elif defined(__aarch64__)
namespace neon {
extern const CpuKernels kernels;
}
#else
namespace portable {
extern const CpuKernels kernels;
}
#endif

namespace {

// What this machine can run, best first.
std::vector<const CpuKernels*> available_kernels() {
  std::vector<const CpuKernels*> found;
#if defined(__x86_64__)
  const bool has_avx2 =
      __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
  const bool has_avx512 = has_avx2 && __builtin_cpu_supports("avx512f") &&
                          __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                          __builtin_cpu_supports("avx512dq");
  if (has_avx512 && __builtin_cpu_supports("avx512bf16")) found.push_back(&avx512_bf16::kernels);
  if (has_avx512) found.push_back(&avx512::kernels);
  if (has_avx2) found.push_back(&avx2::kernels);
  found.push_back(&portable::kernels);
#elif defined(__aarch64__)
  found.push_back(&neon::kernels);
#else
  found.push_back(&portable::kernels);
#endif
  return found;
}

const CpuKernels& chosen_kernels() {
  const std::vector<const CpuKernels*> available = available_kernels();
  const char* forced = std::getenv(kVariable);
  if (forced == nullptr || *forced == '\0') return *available.front();
  std::string names;
  for (const CpuKernels* kernels : available) {
    if (std::string(forced) == kernels->isa) return *kernels;
    names += (names.empty() ? "" : ", ") + std::string(kernels->isa);
  }
  throw std::invalid_argument(std::string(kVariable) + ": expected an instruction set of this machine (" +
                              names + "), got '" + forced + "'");
}

}  // namespace

const CpuKernels& cpu_kernels() {
  static const CpuKernels& kernels = chosen_kernels();
  return kernels;
}

std::vector<const char*> available_isas() {
  std::vector<const char*> names;
  for (const CpuKernels* kernels : available_kernels()) names.push_back(kernels->isa);
  return names;
}

}  // namespace qwen_vl_npu_ops
