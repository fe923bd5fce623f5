// Memory for a kernel's intermediate results.
#pragma once

#include <cstdint>
#include <memory>
#include <new>

namespace qwen_vl_npu_ops::QVNO_ISA {

constexpr int64_t round_up(int64_t n, int64_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

// Memory of one thread that only grows, a few MiB at most.
class Scratch {
 public:
  float* floats(int64_t count) {
    if (count > capacity_) {
      capacity_ = 0;
      data_.reset(new (kAlignment) float[count]);
      capacity_ = count;
    }
    return data_.get();
  }

 private:
  static constexpr std::align_val_t kAlignment{64};
  struct Delete {
    void operator()(float* p) const { operator delete[](p, kAlignment); }
  };
  std::unique_ptr<float[], Delete> data_;
  int64_t capacity_ = 0;
};

}  // namespace qwen_vl_npu_ops::QVNO_ISA
