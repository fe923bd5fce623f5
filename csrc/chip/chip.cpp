#include "chip.h"

#include <cstring>

namespace qwen_vl_npu_ops {
namespace {

constexpr uint32_t kKiB = 1024;
constexpr uint64_t kMiB = 1024 * 1024;
constexpr uint32_t kReserved = 256;  // of UB and L1, kept by the runtime

// Cores and clocks: CANN's platform_config/Ascend910B*.ini. Buffers: the same files.
// HBM rates are what published data-copy profiles reach (1.4-1.5 TB/s; the B4 has half the
// stacks), L2 rates the middle of the 5-6 TB/s they show.
Chip a2(const char* name, int cube_cores, double mhz, uint64_t l2, double hbm_gbps, double l2_gbps) {
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
          hbm_gbps,
          l2_gbps};
}

}  // namespace

const std::vector<Chip>& all_chips() {
  static const std::vector<Chip> chips = {
      a2("910B1", 24, 1850, 192 * kMiB, 1450, 5500),
      a2("910B2", 24, 1800, 192 * kMiB, 1450, 5350),
      a2("910B3", 20, 1800, 192 * kMiB, 1450, 4460),
      a2("910B4", 20, 1500, 96 * kMiB, 725, 3720),
  };
  return chips;
}

const Chip* find_chip(const char* name) {
  for (const Chip& chip : all_chips())
    if (std::strcmp(chip.name, name) == 0) return &chip;
  return nullptr;
}

}  // namespace qwen_vl_npu_ops
