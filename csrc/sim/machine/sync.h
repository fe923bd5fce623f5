// Synchronisation without fault injection: what the queues and SyncAll are made of.
#pragma once

#include "core.h"

namespace ascend_sim {

// `where` is the pipe that executes the SetFlag: `from`, unless a fault says otherwise.
void raw_set_flag(Core& core, Pipe from, Pipe to, int64_t id, const Call& call, Pipe where);
void raw_wait_flag(Core& core, Pipe from, Pipe to, int64_t id, const Call& call);
void raw_pipe_barrier(Core& core, Pipe pipe, const Call& call);
void raw_barrier_all(Core& core, const Call& call);
void raw_cross_set(Core& core, int mode, Pipe pipe, int64_t flag, const Call& call);
void raw_cross_wait(Core& core, int64_t flag, const Call& call);
void sync_all_now(bool vector_only, const Call& call);

}  // namespace ascend_sim
