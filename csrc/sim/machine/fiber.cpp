#include "fiber.h"

#include <sys/mman.h>

#include <cstdint>
#include <new>

namespace ascend_sim {
namespace {
constexpr size_t kStack = 1 << 20;
constexpr size_t kGuard =
    1 << 14;  // never mapped readable: a runaway kernel stops here instead of in its neighbour
}  // namespace

Fiber::Fiber(std::function<void()> body) : body_(std::move(body)) {
  stack_ = mmap(nullptr, kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (stack_ == MAP_FAILED) throw std::bad_alloc();
  mprotect(stack_, kGuard, PROT_NONE);
  getcontext(&own_);
  own_.uc_stack.ss_sp = stack_;
  own_.uc_stack.ss_size = kStack;
  own_.uc_link = &scheduler_;
  // makecontext passes ints only, so the pointer travels in two halves.
  const auto self = reinterpret_cast<uintptr_t>(this);
  makecontext(&own_, reinterpret_cast<void (*)()>(&Fiber::start), 2, static_cast<unsigned>(self >> 32),
              static_cast<unsigned>(self));
}

Fiber::~Fiber() {
  munmap(stack_, kStack);
}

void Fiber::start(unsigned high, unsigned low) {
  auto* fiber = reinterpret_cast<Fiber*>(static_cast<uintptr_t>(high) << 32 | low);
  fiber->body_();
  fiber->finished_ = true;
}

void Fiber::resume() {
  swapcontext(&scheduler_, &own_);
}
void Fiber::yield() {
  swapcontext(&own_, &scheduler_);
}

}  // namespace ascend_sim
