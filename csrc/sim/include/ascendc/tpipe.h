// TPipe, TQue, TQueBind, TBuf: local memory that is handed out, and queues that carry it from pipe to pipe.
#pragma once

#include "sync.h"
#include "tensor.h"

namespace AscendC {

struct TQueConfig {
  bool nd2nz = false;
  bool nz2nd = false;
  bool scmBlockGroup = false;
  uint32_t bufferLen = 0;
  uint32_t bufferNumber = 0;
  uint32_t consumerSize = 0;
  TPosition consumer[8] = {};
  bool enableStaticEvtId = false;
  bool enableLoopQueue = false;
};

namespace sim_detail {

// The pipe that fills (from GM or another buffer) and the pipe that empties a buffer on its way from src to
// dst.
constexpr ::ascend_sim::Pipe mover(Hardware src, Hardware dst) {
  using ::ascend_sim::Pipe;
  if (src == Hardware::GM) return Pipe::MTE2;
  if (src == Hardware::UB) return dst == Hardware::GM || dst == Hardware::L1 ? Pipe::MTE3 : Pipe::V;
  if (src == Hardware::L1) return Pipe::MTE1;
  if (src == Hardware::L0A || src == Hardware::L0B || src == Hardware::BIAS) return Pipe::M;
  return Pipe::FIX;
}

// EnQue's event for a buffer between two positions: producer of src's side, consumer of dst's side.
struct QueuePipes {
  ::ascend_sim::Pipe producer, consumer;
};
constexpr QueuePipes queue_pipes(TPosition src, TPosition dst) {
  using ::ascend_sim::Pipe;
  const Hardware from = GetPhyType(src), to = GetPhyType(dst);
  if (from == Hardware::GM && to == Hardware::UB) return {Pipe::MTE2, Pipe::V};
  if (from == Hardware::GM && to == Hardware::L1) return {Pipe::MTE2, Pipe::MTE1};
  if (from == Hardware::UB && to == Hardware::GM) return {Pipe::V, Pipe::MTE3};
  if (from == Hardware::UB && to == Hardware::UB) return {Pipe::V, Pipe::V};
  if (from == Hardware::L1) return {Pipe::MTE1, Pipe::M};  // into L0A, L0B or the bias table
  if (from == Hardware::L0C) return {Pipe::M, Pipe::FIX};
  return {Pipe::MTE2, Pipe::MTE3};
}

}  // namespace sim_detail

// The ends of a queue at a position: where its data comes from and goes to.
__aicore__ constexpr TPosition GetBufferLogicPos(TPosition pos, bool isSrc) {
  switch (pos) {
    case TPosition::A1:
    case TPosition::B1:
    case TPosition::C1:
    case TPosition::VECIN:
      return isSrc ? TPosition::GM : pos;
    case TPosition::A2:
      return isSrc ? TPosition::A1 : pos;
    case TPosition::B2:
      return isSrc ? TPosition::B1 : pos;
    case TPosition::C2:
    case TPosition::C2PIPE2GM:
      return isSrc ? TPosition::C1 : pos;
    case TPosition::CO1:
      return isSrc ? pos : TPosition::CO2;
    case TPosition::CO2:
    case TPosition::VECOUT:
      return isSrc ? pos : TPosition::GM;
    default:
      return pos;
  }
}

template <TPosition src, TPosition dst, int32_t depth, auto mask = 0>
class TQueBind {
 public:
  __aicore__ inline TQueBind() {
    queue_.memory = static_cast<::ascend_sim::Memory>(GetBufferPos(src, dst));
    constexpr sim_detail::QueuePipes pipes = sim_detail::queue_pipes(src, dst);
    queue_.producer = pipes.producer;
    queue_.consumer = pipes.consumer;
    queue_.depth = depth;
    queue_.position = static_cast<int>(GetPosition(src, dst));
  }

  template <typename T>
  ASCEND_SIM_API LocalTensor<T> AllocTensor(ASCEND_SIM_SITE) {
    return tensor<T>(::ascend_sim::queue_alloc(queue_, {"AllocTensor", site}));
  }
  template <typename T>
  ASCEND_SIM_API void AllocTensor(LocalTensor<T>& result, ASCEND_SIM_SITE) {
    result = tensor<T>(::ascend_sim::queue_alloc(queue_, {"AllocTensor", site}));
  }
  template <typename T>
  ASCEND_SIM_API void FreeTensor(LocalTensor<T>& freed, ASCEND_SIM_SITE) {
    ::ascend_sim::queue_free(queue_, handle_of(freed.GetBufferHandle()), {"FreeTensor", site});
  }
  template <typename T>
  ASCEND_SIM_API bool EnQue(const LocalTensor<T>& queued, ASCEND_SIM_SITE) {
    ::ascend_sim::queue_push(queue_, handle_of(queued.GetBufferHandle()), queue_.producer, queue_.consumer,
                             {"EnQue", site});
    return true;
  }
  template <TPosition srcUserPos, TPosition dstUserPos, typename T>
  ASCEND_SIM_API bool EnQue(const LocalTensor<T>& queued, ASCEND_SIM_SITE) {
    constexpr sim_detail::QueuePipes pipes = sim_detail::queue_pipes(srcUserPos, dstUserPos);
    ::ascend_sim::queue_push(queue_, handle_of(queued.GetBufferHandle()), pipes.producer, pipes.consumer,
                             {"EnQue", site});
    return true;
  }
  template <typename T>
  ASCEND_SIM_API LocalTensor<T> DeQue(ASCEND_SIM_SITE) {
    return tensor<T>(::ascend_sim::queue_pop(queue_, queue_.producer, queue_.consumer, {"DeQue", site}));
  }
  template <TPosition srcUserPos, TPosition dstUserPos, typename T>
  ASCEND_SIM_API LocalTensor<T> DeQue(ASCEND_SIM_SITE) {
    constexpr sim_detail::QueuePipes pipes = sim_detail::queue_pipes(srcUserPos, dstUserPos);
    return tensor<T>(::ascend_sim::queue_pop(queue_, pipes.producer, pipes.consumer, {"DeQue", site}));
  }
  __aicore__ inline bool VacantInQue() { return queue_.used < queue_.depth; }
  __aicore__ inline bool HasTensorInQue() { return queue_.used > 0; }
  __aicore__ inline int32_t GetTensorCountInQue() { return queue_.used; }
  __aicore__ inline bool HasIdleBuffer() { return ::ascend_sim::queue_has_idle(queue_); }
  ASCEND_SIM_API void FreeAllEvent(ASCEND_SIM_SITE) {
    ::ascend_sim::queue_release_events(queue_, {"FreeAllEvent", site});
  }

 protected:
  static_assert(depth >= 0 && depth <= 16, "the simulator's queues hold at most 16 tensors");
  static constexpr bool isTQue = true;
  friend class TPipe;

  static int handle_of(TBufHandle handle) {
    return static_cast<int>(reinterpret_cast<uintptr_t>(handle)) - 1;
  }

  template <typename T>
  static LocalTensor<T> tensor(const ::ascend_sim::Piece& piece) {
    const uint32_t address = static_cast<uint32_t>(piece.address),
                   bytes = static_cast<uint32_t>(piece.length);
    LocalTensor<T> result;
    result.address_ = {bytes,
                       address,
                       reinterpret_cast<TBufHandle>(static_cast<uintptr_t>(piece.handle + 1)),
                       static_cast<uint8_t>(GetPosition(src, dst)),
                       address,
                       address + bytes};
    return result;
  }

  ::ascend_sim::Queue queue_;
};

template <TPosition pos, int32_t depth, auto mask = 0>
class TQue : public TQueBind<GetBufferLogicPos(pos, true), GetBufferLogicPos(pos, false), depth, mask> {
 public:
  __aicore__ inline TQue() = default;
};

template <TPosition pos = TPosition::LCM>
class TBuf : public TQueBind<pos, pos, 0, 0> {
 public:
  __aicore__ inline TBuf() = default;

  template <typename T>
  __aicore__ inline LocalTensor<T> Get() {
    return this->template tensor<T>(piece_);
  }
  template <typename T>
  __aicore__ inline LocalTensor<T> Get(uint32_t len) {
    LocalTensor<T> result = Get<T>();
    result.SetSize(len);
    return result;
  }
  template <typename T>
  __aicore__ inline LocalTensor<T> GetWithOffset(uint32_t size, uint32_t bufOffset) {
    LocalTensor<T> result = Get<T>();
    result.address_.bufferAddr += bufOffset;
    result.SetSize(size);
    return result;
  }

 private:
  friend class TPipe;
  ::ascend_sim::Piece piece_;
};

class TPipe {
 public:
  ASCEND_SIM_API TPipe(ASCEND_SIM_SITE) : site_(site) { Init(site); }
  ASCEND_SIM_API ~TPipe() noexcept(false) {
    if (!destroyed_ && !std::uncaught_exceptions()) Destroy(site_);
  }
  TPipe(const TPipe&) = delete;

  ASCEND_SIM_API void Init(ASCEND_SIM_SITE) {
    ::ascend_sim::pipe_init({"TPipe", site});
    ::ascend_sim::current_tpipe() = this;
    destroyed_ = false;
  }
  ASCEND_SIM_API void Destroy(ASCEND_SIM_SITE) {
    destroyed_ = true;
    ::ascend_sim::pipe_destroy({"~TPipe", site});
  }
  ASCEND_SIM_API void Reset(ASCEND_SIM_SITE) { ::ascend_sim::pipe_reset({"Reset", site}); }

  template <class T>
  ASCEND_SIM_API bool InitBuffer(T& que, uint8_t num, uint32_t len, ASCEND_SIM_SITE) {
    ::ascend_sim::queue_init(que.queue_, num, len, {"InitBuffer", site});
    return true;
  }
  template <TPosition pos>
  ASCEND_SIM_API bool InitBuffer(TBuf<pos>& buf, uint32_t len, ASCEND_SIM_SITE) {
    buf.piece_ = ::ascend_sim::buffer_init(static_cast<::ascend_sim::Memory>(GetPhyType(pos)), len,
                                           {"InitBuffer", site});
    return true;
  }

  template <HardEvent evt>
  ASCEND_SIM_API TEventID AllocEventID(ASCEND_SIM_SITE) {
    constexpr sim_detail::EventPipes pipes = sim_detail::pipes_of(evt);
    return static_cast<TEventID>(
        ::ascend_sim::pipe_alloc_event(pipes.from, pipes.to, {"AllocEventID", site}));
  }
  template <HardEvent evt>
  ASCEND_SIM_API void ReleaseEventID(TEventID id, ASCEND_SIM_SITE) {
    constexpr sim_detail::EventPipes pipes = sim_detail::pipes_of(evt);
    ::ascend_sim::pipe_release_event(pipes.from, pipes.to, id, {"ReleaseEventID", site});
  }
  template <HardEvent evt>
  ASCEND_SIM_API TEventID FetchEventID(ASCEND_SIM_SITE) {
    return FetchEventID(evt, site);
  }
  ASCEND_SIM_API TEventID FetchEventID(HardEvent evt, ASCEND_SIM_SITE) {
    const sim_detail::EventPipes pipes = sim_detail::pipes_of(evt);
    return static_cast<TEventID>(
        ::ascend_sim::pipe_fetch_event(pipes.from, pipes.to, {"FetchEventID", site}));
  }

  template <TPosition pos, typename T>
  __aicore__ inline LocalTensor<T> GetAbsAddr(int32_t offset, int32_t size) const {
    return LocalTensor<T>(pos, static_cast<uint32_t>(offset), static_cast<uint32_t>(size));
  }

 private:
  ::ascend_sim::Site site_;
  bool destroyed_ = false;
};

}  // namespace AscendC

inline AscendC::TPipe* GetTPipePtr() {
  return static_cast<AscendC::TPipe*>(::ascend_sim::current_tpipe());
}
