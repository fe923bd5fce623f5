#include "chip.h"

#include <cstring>

namespace qwen_vl_npu_ops {
namespace {

constexpr uint32_t kKiB = 1024;
constexpr uint64_t kMiB = 1024 * 1024;
constexpr uint32_t kReserved = 256;  // of UB and L1, kept by the runtime

// Cores, clocks, buffers and L2 sizes: CANN's platform_config/Ascend910B*.ini.
// HBM: 1.8 TB/s peak, the figure of the vendor's data_copy and matmul_high_performance guides; the B4 has
// half the memory (same files), so half the stacks. Achieved: 403 MB of mixed traffic in 257.6 us of
// add_high_performance, case 4, is 1.56 TB/s, and reads alone are 1.49 (data_copy, scenario 3).
constexpr double kHbmPeak = 1800, kHbmAchieved = 1550;
// L2 of the B1: 75.5 MB read four times over by data_copy, scenario 6, gives 5.96 TB/s and its ND2NZ
// twin 4.94; the guides call it 5 to 5.2. The others scale with cores and clock.
constexpr double kL2 = 5500, kL2Cores = 24, kL2Mhz = 1850;

Chip a2(const char* name, int cube_cores, double mhz, uint64_t l2, double hbm_stacks) {
  return {name,
          cube_cores,
          2 * cube_cores,
          mhz,
          192 * kKiB - kReserved,
          512 * kKiB - kReserved,
          64 * kKiB,
          64 * kKiB,
          128 * kKiB,
          1 * kKiB,
          2 * kKiB,
          l2,
          kHbmPeak * hbm_stacks,
          kHbmAchieved * hbm_stacks,
          kL2 * cube_cores / kL2Cores * mhz / kL2Mhz};
}

}  // namespace

const std::vector<Chip>& all_chips() {
  static const std::vector<Chip> chips = {
      a2("910B1", 24, 1850, 192 * kMiB, 1),
      a2("910B2", 24, 1800, 192 * kMiB, 1),
      a2("910B3", 20, 1800, 192 * kMiB, 1),
      a2("910B4", 20, 1500, 96 * kMiB, 0.5),
  };
  return chips;
}

const Chip* find_chip(const char* name) {
  for (const Chip& chip : all_chips())
    if (std::strcmp(chip.name, name) == 0) return &chip;
  return nullptr;
}

}  // namespace qwen_vl_npu_ops
