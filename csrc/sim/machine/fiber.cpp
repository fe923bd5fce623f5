#include "fiber.h"

#include <sys/mman.h>

#include <cstdint>
#include <new>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

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

// The address sanitizer has to be told whose stack is whose.
void Fiber::leave_to([[maybe_unused]] Fiber* target, [[maybe_unused]] bool for_good) {
#if defined(__SANITIZE_ADDRESS__)
  if (target)
    __sanitizer_start_switch_fiber(&scheduler_fake_, target->stack_, kStack);
  else
    __sanitizer_start_switch_fiber(for_good ? nullptr : &own_fake_, scheduler_stack_, scheduler_size_);
#endif
}

void Fiber::arrive([[maybe_unused]] bool in_fiber) {
#if defined(__SANITIZE_ADDRESS__)
  if (in_fiber)
    __sanitizer_finish_switch_fiber(own_fake_, &scheduler_stack_, &scheduler_size_);
  else
    __sanitizer_finish_switch_fiber(scheduler_fake_, nullptr, nullptr);
#endif
}

void Fiber::start(unsigned high, unsigned low) {
  auto* fiber = reinterpret_cast<Fiber*>(static_cast<uintptr_t>(high) << 32 | low);
  fiber->arrive(true);
  fiber->body_();
  fiber->leave_to(nullptr, true);
}

void Fiber::resume() {
  leave_to(this, false);
  swapcontext(&scheduler_, &own_);
  arrive(false);
}

void Fiber::yield() {
  leave_to(nullptr, false);
  swapcontext(&own_, &scheduler_);
  arrive(true);
}

}  // namespace ascend_sim
