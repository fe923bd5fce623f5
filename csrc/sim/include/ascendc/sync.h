// Synchronisation inside a core, between cores, and of the scalar data cache.
#pragma once

#include "tensor.h"

namespace AscendC {

template <HardEvent event>
ASCEND_SIM_API void SetFlag(int32_t eventID, ASCEND_SIM_SITE) {
  constexpr sim_detail::EventPipes pipes = sim_detail::pipes_of(event);
  ::ascend_sim::set_flag(pipes.from, pipes.to, eventID, {pipes.set_name, site});
}

template <HardEvent event>
ASCEND_SIM_API void WaitFlag(int32_t eventID, ASCEND_SIM_SITE) {
  constexpr sim_detail::EventPipes pipes = sim_detail::pipes_of(event);
  ::ascend_sim::wait_flag(pipes.from, pipes.to, eventID, {pipes.wait_name, site});
}

template <pipe_t pipe>
ASCEND_SIM_API void PipeBarrier(ASCEND_SIM_SITE) {
  static_assert(pipe != PIPE_S, "PipeBarrier does not support PIPE_S");
  if constexpr (pipe == PIPE_ALL) {
    ::ascend_sim::barrier_all({"PipeBarrier", site});
  } else {
    ::ascend_sim::pipe_barrier(sim_detail::pipe_of(pipe), {"PipeBarrier", site});
  }
}

template <uint8_t modeId, pipe_t pipe>
ASCEND_SIM_API void CrossCoreSetFlag(uint16_t flagId, ASCEND_SIM_SITE) {
  ::ascend_sim::cross_core_set(modeId, sim_detail::pipe_of(pipe), flagId, {"CrossCoreSetFlag", site});
}

// On this chip the mode and the pipe do not matter: whatever the core issues next waits.
template <uint8_t modeId = 0, pipe_t pipe = PIPE_S>
ASCEND_SIM_API void CrossCoreWaitFlag(uint16_t flagId, ASCEND_SIM_SITE) {
  ::ascend_sim::cross_core_wait(flagId, {"CrossCoreWaitFlag", site});
}

template <bool isAIVOnly = true>
ASCEND_SIM_API void SyncAll(ASCEND_SIM_SITE) {
  ::ascend_sim::sync_all(isAIVOnly, {"SyncAll", site});
}

template <pipe_t src, pipe_t dst>
class TQueSync {
 public:
  ASCEND_SIM_API void SetFlag(TEventID id, ASCEND_SIM_SITE) {
    ::ascend_sim::set_flag(sim_detail::pipe_of(src), sim_detail::pipe_of(dst), id,
                           {"TQueSync::SetFlag", site});
  }
  ASCEND_SIM_API void WaitFlag(TEventID id, ASCEND_SIM_SITE) {
    ::ascend_sim::wait_flag(sim_detail::pipe_of(src), sim_detail::pipe_of(dst), id,
                            {"TQueSync::WaitFlag", site});
  }
};

template <typename T, CacheLine entireType, DcciDst dcciDst>
ASCEND_SIM_API void DataCacheCleanAndInvalid(const GlobalTensor<T>& dst, ASCEND_SIM_SITE) {
  ::ascend_sim::clean_cache(dst.operand(), entireType == CacheLine::ENTIRE_DATA_CACHE,
                            {"DataCacheCleanAndInvalid", site});
}
template <typename T, CacheLine entireType>
ASCEND_SIM_API void DataCacheCleanAndInvalid(const GlobalTensor<T>& dst, ASCEND_SIM_SITE) {
  ::ascend_sim::clean_cache(dst.operand(), entireType == CacheLine::ENTIRE_DATA_CACHE,
                            {"DataCacheCleanAndInvalid", site});
}

// Holds the scalar pipe until its own stores are through; what other pipes do is not its business.
template <MemDsbT arg0>
ASCEND_SIM_API void DataSyncBarrier(ASCEND_SIM_SITE) {
  ::ascend_sim::scalar_barrier({"DataSyncBarrier", site});
}

}  // namespace AscendC
