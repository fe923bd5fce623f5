// out^T = weight x^T: rows of weight are broadcast as they lie in memory, a panel of tokens fills the vector
// lanes. So only x, the smaller of the two, is ever transposed, and no packed copy of a weight is kept.
#include <algorithm>
#include <utility>

#include "cpu/gemm.h"
#include "cpu/scratch.h"
#include "cpu/table.h"
#include "ops/linear/linear.h"

namespace qwen_vl_npu_ops::QVNO_ISA {
namespace {

// A row as T holds it, in float.
template <typename T, typename From>
void copy_row_rounded(const From* from, float* to, int64_t n) {
  if constexpr (std::is_same_v<T, From> || std::is_same_v<T, float>) return copy_row(from, to, n);
  for_each_vector(n, [&](int64_t i, int count) {
    T rounded[kWidth];
    store(rounded, load(from + i, count), count);
    store(to + i, load(rounded, count), count);
  });
}

constexpr int64_t kTaskRows = 48;    // rows of weight of one task: whole tiles, and about what L2 holds
constexpr int64_t kTaskPanels = 16;  // panels of tokens of one task, which share the rows' conversion
static_assert(kTaskRows % kTileRows == 0 && kTaskRows % kWidth == 0);

int64_t panels_of(const LinearParams& p) {
  return (p.tokens + kLanes - 1) / kLanes;
}

// Panel [k][kLanes] of x^T, rounded to T; lanes past the last token are zero.
template <typename X, typename T>
void pack_panel(const LinearParams& p, int64_t panel, float* rows) {
  const int64_t depth = round_up(p.k, kWidth);
  const int64_t tokens = std::min<int64_t>(kLanes, p.tokens - panel * kLanes);
  for (int64_t token = 0; token < tokens; ++token) {
    const int64_t row = panel * kLanes + token;
    const X* x = static_cast<const X*>(p.x) + (p.index ? p.index[row] : row) * p.x_stride;
    copy_row_rounded<T>(x, rows + token * depth, p.k);
    std::fill(rows + token * depth + p.k, rows + (token + 1) * depth, 0.0f);
  }
  std::fill(rows + tokens * depth, rows + kLanes * depth, 0.0f);
  float* to = p.panels + panel * linear_panel_floats(p.k);
  for (int64_t i = 0; i < depth; i += kWidth) {
    for (int64_t lane = 0; lane < kLanes; lane += kWidth) {
      transpose(rows + lane * depth + i, depth, to + i * kLanes + lane, kLanes);
    }
  }
}

template <typename T>
class Task {
 public:
  Task(const LinearParams& p, int64_t first_row, Scratch& scratch)
      : p_(p), first_row_(first_row), rows_(std::min(kTaskRows, p.n - first_row)) {
    float* next = scratch.floats(kTaskRows * (2 * kLanes + 1 + (kConverts ? p.k : 0)));
    const auto take = [&](int64_t count) { return std::exchange(next, next + count); };
    sums_ = take(kTaskRows * kLanes);
    result_ = take(kTaskRows * kLanes);
    bias_ = take(kTaskRows);
    load_bias();
    load_weight(next);
  }

  void run(int64_t panel) const {
    const float* tokens = p_.panels + panel * linear_panel_floats(p_.k);
    gemm<DotFp32, kTileVecs, kLinearChain>(rows_, weight_, tokens, p_.k, {sums_, nullptr});
    for (int64_t row = 0; row < rows_; row += kWidth) {
      for (int64_t lane = 0; lane < kLanes; lane += kWidth) {
        transpose(sums_ + row * kLanes + lane, kLanes, result_ + lane * kTaskRows + row, kTaskRows);
      }
    }
    const int64_t last = std::min((panel + 1) * kLanes, p_.tokens);
    for (int64_t token = panel * kLanes; token < last; ++token) {
      const float* from = result_ + (token - panel * kLanes) * kTaskRows;
      T* to = static_cast<T*>(p_.out) + token * p_.out_stride + first_row_;
      for_each_vector(rows_, [&](int64_t i, int count) {
        store(to + i, Vec::loadu(from + i) + Vec::loadu(bias_ + i), count);
      });
    }
  }

 private:
  static constexpr bool kConverts = !std::is_same_v<T, float>;

  void load_bias() {
    std::fill_n(bias_, kTaskRows, 0.0f);
    if (p_.bias != nullptr) copy_row(static_cast<const T*>(p_.bias) + first_row_, bias_, rows_);
  }

  void load_weight(float* converted) {
    const T* weight = static_cast<const T*>(p_.weight) + first_row_ * p_.weight_stride;
    if constexpr (kConverts) {
      for (int64_t row = 0; row < rows_; ++row)
        copy_row(weight + row * p_.weight_stride, converted + row * p_.k, p_.k);
      weight_ = {converted, p_.k, 1};
    } else {
      weight_ = {weight, p_.weight_stride, 1};
    }
  }

  const LinearParams& p_;
  const int64_t first_row_, rows_;
  Broadcast weight_;
  float *sums_, *result_, *bias_;  // [kTaskRows][kLanes], [kLanes][kTaskRows], [kTaskRows]
};

Scratch& thread_scratch() {
  static thread_local Scratch scratch;
  return scratch;
}

int64_t panel_groups(const LinearParams& p) {
  return (panels_of(p) + kTaskPanels - 1) / kTaskPanels;
}

}  // namespace

int64_t linear_panel_floats(int64_t k) {
  return round_up(k, kWidth) * kLanes;
}

int64_t linear_panels(const LinearParams& p) {
  return panels_of(p);
}

void linear_pack(const LinearParams& p, int64_t begin, int64_t end) {
  float* rows = thread_scratch().floats(linear_panel_floats(p.k));
  with_element_type(p.x_dtype, [&](auto x) {
    with_element_type(p.dtype, [&](auto element) {
      for (int64_t panel = begin; panel < end; ++panel)
        pack_panel<decltype(x), decltype(element)>(p, panel, rows);
    });
  });
}

int64_t linear_tasks(const LinearParams& p) {
  return (p.n + kTaskRows - 1) / kTaskRows * panel_groups(p);
}

void linear(const LinearParams& p, int64_t begin, int64_t end) {
  with_element_type(p.dtype, [&](auto element) {
    for (int64_t i = begin; i < end; ++i) {
      const Task<decltype(element)> task(p, i / panel_groups(p) * kTaskRows, thread_scratch());
      const int64_t first = i % panel_groups(p) * kTaskPanels;
      for (int64_t panel = first; panel < std::min(first + kTaskPanels, panels_of(p)); ++panel) {
        task.run(panel);
      }
    }
  });
}

}  // namespace qwen_vl_npu_ops::QVNO_ISA
