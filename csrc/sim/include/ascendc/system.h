// Who and where a core is, mask registers, atomics, printing.
#pragma once

#include "tensor.h"

#define block_idx (::ascend_sim::block_index())
#define block_num (::ascend_sim::block_count())

namespace AscendC {

__aicore__ inline int64_t GetBlockIdx() {
  return ::ascend_sim::block_index();
}
__aicore__ inline int64_t GetBlockNum() {
  return ::ascend_sim::block_count();
}
__aicore__ inline int64_t GetSubBlockIdx() {
  return ::ascend_sim::sub_block_index();
}
__aicore__ inline int64_t GetSubBlockNum() {
  return ::ascend_sim::sub_block_count();
}
__aicore__ inline int64_t GetTaskRation() {
  return ::ascend_sim::task_ratio();
}
__aicore__ inline int64_t GetTaskRatio() {
  return ::ascend_sim::task_ratio();
}
__aicore__ inline int64_t GetSystemCycle() {
  return ::ascend_sim::cycle();
}
__aicore__ inline void GetArchVersion(uint32_t& coreVersion) {
  coreVersion = __NPU_ARCH__;
}

// Sets up registers that the simulator starts out with.
__aicore__ inline void InitSocState() {}

ASCEND_SIM_API void Trap(ASCEND_SIM_SITE) {
  ::ascend_sim::trap("Trap", {"Trap", site});
}

template <typename T, MaskMode mode = MaskMode::NORMAL>
ASCEND_SIM_API void SetVectorMask(const uint64_t maskHigh, const uint64_t maskLow, ASCEND_SIM_SITE) {
  ::ascend_sim::set_vector_mask(maskHigh, maskLow, {"SetVectorMask", site});
}
template <typename T, MaskMode mode = MaskMode::NORMAL>
ASCEND_SIM_API void SetVectorMask(int32_t len, ASCEND_SIM_SITE) {
  const uint64_t count = static_cast<uint64_t>(len);
  if constexpr (mode == MaskMode::COUNTER) {
    ::ascend_sim::set_vector_mask(0, count, {"SetVectorMask", site});
  } else {
    const uint64_t low = count >= 64 ? ~uint64_t{0} : (uint64_t{1} << count) - 1;
    const uint64_t high = count >= 128 ? ~uint64_t{0} : count > 64 ? (uint64_t{1} << (count - 64)) - 1 : 0;
    ::ascend_sim::set_vector_mask(high, low, {"SetVectorMask", site});
  }
}
ASCEND_SIM_API void ResetMask(ASCEND_SIM_SITE) {
  ::ascend_sim::set_vector_mask(~uint64_t{0}, ~uint64_t{0}, {"ResetMask", site});
}
ASCEND_SIM_API void SetMaskCount(ASCEND_SIM_SITE) {
  ::ascend_sim::set_mask_counter(true, {"SetMaskCount", site});
}
ASCEND_SIM_API void SetMaskNorm(ASCEND_SIM_SITE) {
  ::ascend_sim::set_mask_counter(false, {"SetMaskNorm", site});
}

template <typename T>
ASCEND_SIM_API void SetAtomicAdd(ASCEND_SIM_SITE) {
  ::ascend_sim::set_atomic(1, sim_detail::dtype_of<T>(), {"SetAtomicAdd", site});
}
template <typename T>
ASCEND_SIM_API void SetAtomicMax(ASCEND_SIM_SITE) {
  ::ascend_sim::set_atomic(2, sim_detail::dtype_of<T>(), {"SetAtomicMax", site});
}
template <typename T>
ASCEND_SIM_API void SetAtomicMin(ASCEND_SIM_SITE) {
  ::ascend_sim::set_atomic(3, sim_detail::dtype_of<T>(), {"SetAtomicMin", site});
}
ASCEND_SIM_API void SetAtomicNone(ASCEND_SIM_SITE) {
  ::ascend_sim::set_atomic(0, ::ascend_sim::DType::None, {"SetAtomicNone", site});
}
ASCEND_SIM_API void DisableDmaAtomic(ASCEND_SIM_SITE) {
  ::ascend_sim::set_atomic(0, ::ascend_sim::DType::None, {"DisableDmaAtomic", site});
}

// ---- scalar arithmetic ----

template <int countValue>
__aicore__ inline int64_t ScalarGetCountOfValue(uint64_t valueIn) {
  return countValue == 1 ? __builtin_popcountll(valueIn) : 64 - __builtin_popcountll(valueIn);
}
__aicore__ inline int64_t ScalarCountLeadingZero(uint64_t valueIn) {
  return valueIn ? __builtin_clzll(valueIn) : 64;
}
__aicore__ inline int64_t CountBitsCntSameAsSignBit(int64_t valueIn) {
  return __builtin_clrsbll(valueIn);
}
// The position of the lowest bit that has the value, -1 if there is none.
template <int countValue>
__aicore__ inline int64_t ScalarGetSFFValue(uint64_t valueIn) {
  return __builtin_ffsll(static_cast<long long>(countValue == 1 ? valueIn : ~valueIn)) - 1;
}

ASCEND_SIM_API void SetHF32Mode(bool hf32Mode) {
  ::ascend_sim::set_hf32(hf32Mode);
}

template <typename... Arguments>
inline void printf(const char* format, Arguments... arguments) {
  ::ascend_sim::print(format, arguments...);
}
template <typename... Arguments>
inline void PRINTF(const char* format, Arguments... arguments) {
  ::ascend_sim::print(format, arguments...);
}

// Prints the first elements, for looking into a kernel; the machine takes no notice.
template <typename T>
ASCEND_SIM_API void DumpTensor(const LocalTensor<T>& tensor, uint32_t desc, uint32_t dumpSize,
                               ASCEND_SIM_SITE) {
  ::ascend_sim::dump(tensor.operand(), desc, dumpSize, {"DumpTensor", site});
}
template <typename T>
ASCEND_SIM_API void DumpTensor(const GlobalTensor<T>& tensor, uint32_t desc, uint32_t dumpSize,
                               ASCEND_SIM_SITE) {
  ::ascend_sim::dump(tensor.operand(), desc, dumpSize, {"DumpTensor", site});
}

}  // namespace AscendC

#define ASCENDC_ASSERT_AT(condition, file, line) \
  ((condition) ? static_cast<void>(0)            \
               : ::ascend_sim::trap("assert(" #condition ")", {"assert", {file, line}}))
#ifdef assert
#undef assert
#endif
#define assert(condition, ...) ASCENDC_ASSERT_AT(condition, __FILE__, __LINE__)
#define ascendc_assert(condition, ...) ASCENDC_ASSERT_AT(condition, __FILE__, __LINE__)
