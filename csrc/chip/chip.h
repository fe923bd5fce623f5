// What a chip is: cores, buffers, clocks, bandwidths. Shared by the tiling functions and the simulator.
#pragma once

#include <cstdint>
#include <vector>

namespace qwen_vl_npu_ops {

struct Chip {
  const char* name;
  int cube_cores;
  int vector_cores;
  double mhz;

  // Bytes of each buffer of one core, as the kernel may use them.
  uint32_t ub;
  uint32_t l1;
  uint32_t l0a;
  uint32_t l0b;
  uint32_t l0c;
  uint32_t bias_table;
  uint32_t fixpipe_buffer;

  // Shared by all cores. Rates are GB/s (1e9 bytes per second).
  uint64_t l2;
  double hbm_gbps;           // peak: what bounds are computed with
  double hbm_achieved_gbps;  // what long streams reach: what simulated launches run at
  double l2_gbps;

  double cycles_to_us(double cycles) const { return cycles / mhz; }
};

// nullptr when there is no such chip.
const Chip* find_chip(const char* name);
const std::vector<Chip>& all_chips();

}  // namespace qwen_vl_npu_ops
