// One simulated core's thread of control: a stack of its own, switched to and from by the scheduler.
#pragma once

#include <ucontext.h>

#include <cstddef>
#include <functional>

namespace ascend_sim {

class Fiber {
 public:
  explicit Fiber(std::function<void()> body);
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  void resume();  // called by the scheduler; returns when the body yields or ends
  void yield();   // called from inside the body

 private:
  static void start(unsigned high, unsigned low);
  void leave_to(Fiber* target, bool for_good);
  void arrive(bool in_fiber);

  std::function<void()> body_;
  ucontext_t own_{}, scheduler_{};
  void* stack_ = nullptr;
  void *own_fake_ = nullptr, *scheduler_fake_ = nullptr;  // the sanitizer's own
  const void* scheduler_stack_ = nullptr;
  size_t scheduler_size_ = 0;
};

}  // namespace ascend_sim
