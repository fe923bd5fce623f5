#include "math.h"

#include "round.h"

namespace ascend_sim {

namespace generic {
extern const Math table;
}
#if defined(__x86_64__)
namespace haswell {
extern const Math table;
}
#endif

const Math& math() {
#if defined(__x86_64__)
  static const bool fast =
      __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
  if (fast) return haswell::table;
#endif
  return generic::table;
}

uint16_t round_to_half(float value, uint8_t mode) {
  return narrow_half(value, mode);
}
uint16_t round_to_bf16(float value, uint8_t mode) {
  return narrow_bf16(value, mode);
}

}  // namespace ascend_sim
