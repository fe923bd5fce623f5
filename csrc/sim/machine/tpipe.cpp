// TPipe and TQue: handing out local memory, and the events that queues set and wait for.
#include <stdexcept>

#include "machine.h"
#include "sync.h"

namespace ascend_sim {
namespace {

constexpr size_t kMaxBuffers = 64;   // of one TPipe
constexpr int kMaxQueueBuffers = 8;  // of the queues of one TPosition
constexpr int kCubeEvents = 3;       // M_MTE1 events that a TPipe keeps set on a cube core

uint64_t round_up(uint64_t bytes) {
  return (bytes + kBlock - 1) / kBlock * kBlock;
}

// What a fault leaves of a queue operation.
struct QueuePlan {
  bool skip = false;      // nothing at all happens
  bool no_event = false;  // the bookkeeping happens, the synchronisation does not
};

QueuePlan plan(const Fault* fault) {
  if (!fault) return {};
  if (fault->kind == FaultKind::Drop) return {false, true};
  if (fault->kind == FaultKind::SkipQueue) return {true, false};
  throw std::invalid_argument(std::string("fault kind ") + name_of(fault->kind) + " does not apply to " +
                              fault->api + " at " + fault->file + ":" + std::to_string(fault->line));
}

uint64_t shrunk(const Fault* fault, uint64_t bytes) {
  if (!fault) return bytes;
  if (fault->kind == FaultKind::Shrink) return bytes - static_cast<uint64_t>(fault->amount);
  throw std::invalid_argument(std::string("fault kind ") + name_of(fault->kind) + " does not apply to " +
                              fault->api + " at " + fault->file + ":" + std::to_string(fault->line));
}

uint64_t hand_out(Core& core, Memory memory, uint64_t bytes) {
  LocalMemory& local = core.local(memory);
  uint64_t& next = core.next_address[static_cast<int>(memory)];
  if (bytes == 0) core.fail("capacity", "a buffer of 0 bytes");
  if (next + bytes > local.bytes.size())
    core.fail("capacity", format("%llu bytes asked for and %llu handed out already; %s has %zu",
                                 (unsigned long long)bytes, (unsigned long long)next, name_of(memory),
                                 local.bytes.size()));
  if (core.handed.size() >= kMaxBuffers) core.fail("capacity", "a TPipe manages at most 64 buffers");
  const uint64_t address = next;
  next += bytes;
  local.peak = std::max(local.peak, next);
  Core::Handed handed;
  handed.address = address;
  handed.length = bytes;
  handed.memory = memory;
  core.handed.push_back(handed);
  return address;
}

int take_event_id(Core& core, Pipe from, Pipe to) {
  uint8_t& taken = core.events_taken[static_cast<int>(from)][static_cast<int>(to)];
  const int id = __builtin_ctz(~static_cast<unsigned>(taken));
  if (id > 7) core.fail("event", format("all 8 events from %s to %s are taken", name_of(from), name_of(to)));
  taken = static_cast<uint8_t>(taken | 1u << id);
  return id;
}

void give_event_id(Core& core, Pipe from, Pipe to, int id) {
  uint8_t& taken = core.events_taken[static_cast<int>(from)][static_cast<int>(to)];
  taken = static_cast<uint8_t>(taken & ~(1u << id));
}

void wait_free_event(Core& core, Core::Handed& buffer, const Call& call) {
  if (buffer.free_event == kNoEvent) return;
  raw_wait_flag(core, buffer.free_from, buffer.free_to, buffer.free_event, call);
  give_event_id(core, buffer.free_from, buffer.free_to, buffer.free_event);
  buffer.free_event = kNoEvent;
}

Core::Handed& buffer_of(Core& core, const Queue& queue, int handle) {
  if (handle < queue.first || handle >= queue.first + queue.count)
    core.fail("queue", "the tensor was not allocated from this queue");
  return core.handed[static_cast<size_t>(handle)];
}

Core& enter(const Call& call, QueuePlan& todo) {
  Core& core = current();
  core.pipe = Pipe::S;
  todo = plan(core.visit(call));
  return core;
}

}  // namespace

void*& current_tpipe() {
  return current().tpipe;
}

uint64_t memory_size(Memory memory) {
  return current().local(memory).bytes.size();
}

void pipe_init(const Call& call) {
  Core& core = current();
  core.visit(call);
  core.pipe = Pipe::S;
  core.handed.clear();
  std::fill(std::begin(core.next_address), std::end(core.next_address), 0);
  std::fill(&core.events_taken[0][0], &core.events_taken[0][0] + kPipes * kPipes, uint8_t{0});
  core.tpipe_alive = true;
  if (core.kind == CoreKind::Cube)
    for (int i = 0; i < kCubeEvents; ++i)
      raw_set_flag(core, Pipe::M, Pipe::MTE1, take_event_id(core, Pipe::M, Pipe::MTE1), call, Pipe::M);
}

void pipe_destroy(const Call& call) {
  Core& core = current();
  if (!core.tpipe_alive) return;
  core.visit(call);
  core.tpipe_alive = false;
  for (Core::Handed& buffer : core.handed) wait_free_event(core, buffer, call);
  if (core.kind == CoreKind::Cube)
    for (int i = 0; i < kCubeEvents; ++i) {
      raw_wait_flag(core, Pipe::M, Pipe::MTE1, i, call);
      give_event_id(core, Pipe::M, Pipe::MTE1, i);
    }
  raw_barrier_all(core, call);
}

void pipe_reset(const Call& call) {
  Core& core = current();
  core.visit(call);
  for (Core::Handed& buffer : core.handed) wait_free_event(core, buffer, call);
  core.handed.clear();
  std::fill(std::begin(core.next_address), std::end(core.next_address), 0);
}

int pipe_alloc_event(Pipe from, Pipe to, const Call& call) {
  Core& core = current();
  core.visit(call);
  core.pipe = Pipe::S;
  return take_event_id(core, from, to);
}

int pipe_fetch_event(Pipe from, Pipe to, const Call& call) {
  Core& core = current();
  core.visit(call);
  core.pipe = Pipe::S;
  const int id = take_event_id(core, from, to);
  give_event_id(core, from, to, id);
  return id;
}

void pipe_release_event(Pipe from, Pipe to, int event, const Call& call) {
  Core& core = current();
  core.visit(call);
  core.pipe = Pipe::S;
  if (event < 0 || event > 7) core.fail("event", format("event id %d is outside 0 to 7", event));
  give_event_id(core, from, to, event);
}

void queue_init(Queue& queue, uint32_t buffers, uint64_t bytes, const Call& call) {
  Core& core = current();
  bytes = round_up(shrunk(core.visit(call), bytes));
  core.pipe = Pipe::S;
  if (buffers < 1 || buffers > kMaxBuffers)
    core.fail("limit", format("%u buffers asked for, a queue has 1 to 64", buffers));
  const int at_position = core.queue_buffers[queue.position] += static_cast<int>(buffers);
  if (at_position > kMaxQueueBuffers)
    core.fail("capacity", format("%d queue buffers at one TPosition, at most %d are possible", at_position,
                                 kMaxQueueBuffers));
  queue.first = static_cast<int>(core.handed.size());
  queue.count = static_cast<int>(buffers);
  queue.cursor = queue.head = queue.used = queue.occupied = 0;
  queue.initialised = true;
  for (uint32_t i = 0; i < buffers; ++i) hand_out(core, queue.memory, bytes);
}

Piece buffer_init(Memory memory, uint64_t bytes, const Call& call) {
  Core& core = current();
  bytes = round_up(shrunk(core.visit(call), bytes));
  core.pipe = Pipe::S;
  const uint64_t address = hand_out(core, memory, bytes);
  return {address, bytes, static_cast<int>(core.handed.size()) - 1};
}

Piece queue_alloc(Queue& queue, const Call& call) {
  QueuePlan todo;
  Core& core = enter(call, todo);
  if (!queue.initialised) core.fail("queue", "AllocTensor before InitBuffer");
  for (int tried = 0; tried < queue.count; ++tried) {
    const int handle = queue.first + queue.cursor;
    Core::Handed& buffer = core.handed[static_cast<size_t>(handle)];
    queue.cursor = (queue.cursor + 1) % queue.count;
    if (buffer.state != Core::Handed::Free) continue;
    if (todo.skip) return {buffer.address, buffer.length, handle};
    buffer.state = Core::Handed::Occupied;
    ++queue.occupied;
    if (!todo.no_event) wait_free_event(core, buffer, call);
    return {buffer.address, buffer.length, handle};
  }
  core.fail("queue", format("all %d buffers of the queue are in use: nothing was freed", queue.count));
}

void queue_free(Queue& queue, int handle, const Call& call) {
  QueuePlan todo;
  Core& core = enter(call, todo);
  if (todo.skip) return;
  Core::Handed& buffer = buffer_of(core, queue, handle);
  if (buffer.state == Core::Handed::Free) core.fail("queue", "FreeTensor of a tensor that is free already");
  if (!todo.no_event) {
    // The consumer tells the producer that the buffer may be filled again.
    buffer.free_from = queue.consumer;
    buffer.free_to = queue.producer;
    buffer.free_event = take_event_id(core, queue.consumer, queue.producer);
    raw_set_flag(core, queue.consumer, queue.producer, buffer.free_event, call, queue.consumer);
  }
  buffer.state = Core::Handed::Free;
  --queue.occupied;
}

void queue_push(Queue& queue, int handle, Pipe from, Pipe to, const Call& call) {
  QueuePlan todo;
  Core& core = enter(call, todo);
  if (todo.skip) return;
  if (queue.used >= queue.depth)
    core.fail("queue",
              format("EnQue of tensor number %d into a queue of depth %d", queue.used + 1, queue.depth));
  Core::Handed& buffer = buffer_of(core, queue, handle);
  if (buffer.state != Core::Handed::Occupied && buffer.state != Core::Handed::Dequeued)
    core.fail("queue", buffer.state == Core::Handed::Free ? "EnQue of a tensor that is free"
                                                          : "EnQue of a tensor that is in the queue already");
  buffer.state = Core::Handed::Queued;
  queue.ring[(queue.head + queue.used++) % queue.depth] = handle;
  if (todo.no_event) {
    buffer.queued_event = kNoEvent;
    return;
  }
  buffer.event_from = from;
  buffer.event_to = to;
  if (from == to) {
    raw_pipe_barrier(core, from, call);  // VECIN to VECCALC: both on the vector pipe
    return;
  }
  buffer.queued_event = take_event_id(core, from, to);
  raw_set_flag(core, from, to, buffer.queued_event, call, from);
}

Piece queue_pop(Queue& queue, Pipe from, Pipe to, const Call& call) {
  QueuePlan todo;
  Core& core = enter(call, todo);
  if (queue.used == 0) core.fail("queue", "DeQue of an empty queue");
  const int handle = queue.ring[queue.head];
  Core::Handed& buffer = core.handed[static_cast<size_t>(handle)];
  if (todo.skip) return {buffer.address, buffer.length, handle};
  queue.head = (queue.head + 1) % queue.depth;
  --queue.used;
  buffer.state = Core::Handed::Dequeued;
  if (buffer.queued_event != kNoEvent && (buffer.event_from != from || buffer.event_to != to))
    core.fail("queue", "EnQue and DeQue name different positions");
  if (buffer.queued_event != kNoEvent && !todo.no_event) {
    raw_wait_flag(core, from, to, buffer.queued_event, call);
    give_event_id(core, from, to, buffer.queued_event);
    buffer.queued_event = kNoEvent;
  }
  return {buffer.address, buffer.length, handle};
}

bool queue_has_idle(const Queue& queue) {
  const Core& core = current();
  for (int i = 0; i < queue.count; ++i)
    if (core.handed[static_cast<size_t>(queue.first + i)].state == Core::Handed::Free) return true;
  return false;
}

void queue_release_events(Queue& queue, const Call& call) {
  Core& core = current();
  core.visit(call);
  for (int i = 0; i < queue.count; ++i)
    wait_free_event(core, core.handed[static_cast<size_t>(queue.first + i)], call);
}

uint64_t static_alloc(Memory memory, uint64_t head, uint64_t bytes, const Call& call) {
  Core& core = current();
  bytes = shrunk(core.visit(call), bytes);
  core.pipe = Pipe::S;
  LocalMemory& local = core.local(memory);
  if (head + bytes > local.bytes.size())
    core.fail("capacity", format("%llu bytes from address %llu; %s has %zu", (unsigned long long)bytes,
                                 (unsigned long long)head, name_of(memory), local.bytes.size()));
  local.peak = std::max(local.peak, head + bytes);
  return bytes;
}

}  // namespace ascend_sim
