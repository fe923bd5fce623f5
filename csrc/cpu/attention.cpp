// Online softmax over blocks of keys (Dao et al., FlashAttention, 2022), with queries in the vector lanes:
// scores and results are kept transposed, so that maxima, exponentials and rescaling are plain vector
// operations, and keys and values are only ever broadcast.
#include "cpu/attention.h"

#include <algorithm>

#include "cpu/gemm.h"
#include "cpu/rotate.h"
#include "cpu/scratch.h"

namespace qwen_vl_npu_ops::QVNO_ISA {
namespace {

constexpr int64_t kPieceQueries = 512;   // queries of one task: they share every packed block of keys
constexpr int64_t kBlockKeys = 128;      // keys of one block: its scores stay in the inner caches
constexpr int64_t kPrefetchTokens = 64;  // how far ahead rows are fetched: a window

// One call's work on one thread. T is the dtype in memory, Dot how products are formed.
template <typename T, typename Dot>
class Attention {
 public:
  Attention(const AttentionParams& p, Scratch& scratch) : p_(p) {
    const int64_t blocks = kPieceQueries / kLanes;
    const int64_t sizes[] = {blocks * query_rows_ * kLanes,
                             blocks * out_rows_ * kLanes,
                             kPieceQueries,
                             kBlockKeys * key_units_,
                             kBlockKeys * value_units_,
                             kBlockKeys * kLanes,
                             kWidth * staging_stride_,
                             kMaxHeadDim};
    float** const panels[] = {&queries_, &out_, &maxima_, &keys_, &values_, &scores_, &staging_, &angles_};
    int64_t total = 0;
    for (int64_t size : sizes) total += round_up(size, kWidth);
    float* next = scratch.floats(total);
    for (size_t i = 0; i < std::size(sizes); ++i) {
      *panels[i] = next;
      next += round_up(sizes[i], kWidth);
    }
  }

  // Tokens [begin, end) of one head: the pieces of segments that start there, and rows past the last segment.
  void run(int64_t head, int64_t begin, int64_t end) {
    const int64_t* first = p_.cu_seqlens;
    const int64_t* last = first + p_.segments;
    const int64_t* s = p_.segments == 0 ? last : std::upper_bound(first, last, begin) - 1;
    for (; s < last && *s < end; ++s) {
      const int64_t pieces_before = std::max<int64_t>(0, begin - s[0] + kPieceQueries - 1) / kPieceQueries;
      const int64_t piece = s[0] + pieces_before * kPieceQueries;
      if (piece < std::min(end, s[1])) {
        run_piece(head, piece, std::min(kPieceQueries, s[1] - piece), s[0], s[1]);
      }
    }
    for (int64_t token = std::max(begin, *last); token < end; ++token) {
      std::memset(out_head(token, head), 0, p_.out.layout.padded * sizeof(T));
    }
  }

 private:
  using Element = typename Dot::Element;

  static const T* head_of(const HeadsView& view, int64_t token, int64_t head) {
    return static_cast<const T*>(view.data) + token * view.token_stride + head * view.head_stride;
  }
  T* out_head(int64_t token, int64_t head) const { return const_cast<T*>(head_of(p_.out, token, head)); }

  void run_piece(int64_t head, int64_t query, int64_t queries, int64_t key, int64_t key_end) {
    const int64_t kv_head = head / (p_.heads / p_.kv_heads);
    for (int64_t i = 0; i < queries; i += kLanes) {
      pack_queries(head, query + i, std::min<int64_t>(kLanes, queries - i), i / kLanes);
    }
    for (int64_t k = key; k < key_end; k += kBlockKeys) {
      const int64_t keys = std::min(kBlockKeys, key_end - k);
      pack_keys(kv_head, k, keys);
      pack_values(kv_head, k, keys);
      for (int64_t i = 0; i < queries; i += kLanes) {
        attend(std::min<int64_t>(kLanes, queries - i), i / kLanes, keys, k == key);
      }
    }
    for (int64_t i = 0; i < queries; i += kLanes) {
      write_out(head, query + i, std::min<int64_t>(kLanes, queries - i), i / kLanes);
    }
  }

  // Rows of one head lie far apart, which no hardware prefetcher follows.
  void prefetch(const HeadsView& view, int64_t token, int64_t head) const {
    if (token + kPrefetchTokens >= p_.tokens) return;
    const char* row = reinterpret_cast<const char*>(head_of(view, token + kPrefetchTokens, head));
    for (int64_t byte = 0; byte < view.layout.padded * int64_t{sizeof(T)}; byte += 64) {
      __builtin_prefetch(row + byte);
    }
  }

  // The real elements of a row of q or k, rotated where there is a table, in the panels' element type.
  void load_row(const HeadsView& view, int64_t token, int64_t head, Element* to) {
    const int64_t dim = view.layout.dim;
    const HeadLayout dense = {dim, dim, dim / 2};
    const T* from = head_of(view, token, head);
    prefetch(view, token, head);
    if (p_.table == nullptr) return copy_head(from, view.layout, to, dense);
    const Angles angles = angles_of(*p_.table, token, dim / 2, angles_);
    rotate_head(from, view.layout, angles, p_.interleaved, to, dense);
  }

  // queries_[block]: [units][lanes]; lanes past `queries` are zero.
  void pack_queries(int64_t head, int64_t query, int64_t queries, int64_t block) {
    float* panel = queries_ + block * query_rows_ * kLanes;
    for (int64_t lane = 0; lane < queries; lane += kWidth) {
      for (int64_t i = 0; i < kWidth; ++i) {
        float* row = staging_ + i * staging_stride_;
        if (lane + i < queries) {
          load_row(p_.q, query + lane + i, head, reinterpret_cast<Element*>(row));
        } else {
          std::fill_n(row, key_units_, 0.0f);
        }
      }
      for (int64_t unit = 0; unit < key_units_; unit += kWidth) {
        transpose(staging_ + unit, staging_stride_, panel + unit * kLanes + lane, kLanes);
      }
    }
  }

  // keys_: [keys][units]
  void pack_keys(int64_t kv_head, int64_t key, int64_t keys) {
    for (int64_t i = 0; i < keys; ++i) {
      load_row(p_.k, key + i, kv_head, reinterpret_cast<Element*>(keys_ + i * key_units_));
    }
  }

  // values_: [keys / kPack][dim + 1]. The last column is one: its product with the weights is their sum.
  void pack_values(int64_t kv_head, int64_t key, int64_t keys) {
    float* row = values_;
    for (int64_t i = 0; i < keys; ++i) prefetch(p_.v, key + i, kv_head);
    for (int64_t i = 0; i < keys; i += Dot::kPack, row += value_units_) {
      for_each_run(p_.v.layout, [&](int64_t offset, int64_t place, int64_t count) {
        const T* from[Dot::kPack];
        for (int j = 0; j < Dot::kPack; ++j) {
          from[j] = head_of(p_.v, key + std::min(i + j, keys - 1), kv_head) + place;
        }
        for_each_vector(count, [&](int64_t d, int n) {
          Vec x[Dot::kPack];
          for (int j = 0; j < Dot::kPack; ++j) x[j] = i + j < keys ? load(from[j] + d, n) : Vec(0.0f);
          store(row + offset + d, Dot::pack(x), n);
        });
      });
      Vec ones[Dot::kPack];
      std::fill_n(ones, Dot::kPack, Vec(1.0f));
      store(row + p_.v.layout.dim, Dot::pack(ones), 1);
    }
  }

  // One block of queries against one block of keys, with no more vectors than the queries fill.
  void attend(int64_t queries, int64_t block, int64_t keys, bool first) {
    attend_vecs<kTileVecs>((queries + kWidth - 1) / kWidth, block, keys, first);
  }

  template <int kVecs>
  void attend_vecs(int64_t vecs, int64_t block, int64_t keys, bool first) {
    if constexpr (kVecs > 1) {
      if (vecs < kVecs) return attend_vecs<kVecs - 1>(vecs, block, keys, first);
    }
    Vec rescale[kVecs];
    score<kVecs>(block, keys, first, rescale);
    accumulate<kVecs>(block, keys, first, rescale);
  }

  // scores_: [keys / kPack][lanes], the weights exp((score - maximum) * scale); rescale: what the new maximum
  // makes of the old weights. Scores are subtracted before they are scaled, so that the exponent is never
  // above zero however large they are; a negative scale turns their order round by its sign. The maximum
  // starts at the lowest finite number, so that rows of -inf have weights of zero until a larger score comes;
  // NaN and +inf come through the exponential.
  template <int kVecs>
  void score(int64_t block, int64_t keys, bool first, Vec (&rescale)[kVecs]) {
    float* maxima = maxima_ + block * kLanes;
    const Vec sign(std::copysign(1.0f, p_.scale));
    const Vec scale(std::abs(p_.scale));
    gemm<Dot, kVecs, Dot::kScoreTerms>(keys, {keys_, key_units_, 1}, queries_ + block * query_rows_ * kLanes,
                                       key_units_, {scores_, nullptr});
    Vec maximum[kVecs];
    for (int j = 0; j < kVecs; ++j) {
      const Vec old = first ? Vec(std::numeric_limits<float>::lowest()) : Vec::loadu(maxima + j * kWidth);
      maximum[j] = old;
      for (int64_t key = 0; key < keys; ++key) {
        const Vec score = Vec::loadu(scores_ + key * kLanes + j * kWidth) * sign;
        maximum[j] = at::vec::clamp_min(maximum[j], score);
      }
      maximum[j].store(maxima + j * kWidth);
      rescale[j] = exp_nonpositive((old - maximum[j]) * scale);
    }
    float* weights = scores_;
    for (int64_t key = 0; key < keys; key += Dot::kPack, weights += kLanes) {
      for (int j = 0; j < kVecs; ++j) {
        Vec x[Dot::kPack];
        for (int i = 0; i < Dot::kPack; ++i) {
          const float* row = scores_ + (key + i) * kLanes + j * kWidth;
          x[i] = key + i < keys ? exp_nonpositive((Vec::loadu(row) * sign - maximum[j]) * scale) : Vec(0.0f);
        }
        Dot::pack(x).store(weights + j * kWidth);
      }
    }
  }

  // out_[block]: [dim + 1][lanes]
  template <int kVecs>
  void accumulate(int64_t block, int64_t keys, bool first, const Vec (&rescale)[kVecs]) {
    gemm<Dot, kVecs, Dot::kValueTerms>(value_units_, {values_, 1, value_units_}, scores_,
                                       (keys + Dot::kPack - 1) / Dot::kPack,
                                       {out_ + block * out_rows_ * kLanes, first ? nullptr : rescale});
  }

  void write_out(int64_t head, int64_t query, int64_t queries, int64_t block) {
    const HeadLayout& layout = p_.out.layout;
    const float* panel = out_ + block * out_rows_ * kLanes;
    const float* sums = panel + layout.dim * kLanes;
    for (int64_t lane = 0; lane < queries; lane += kWidth) {
      for (int64_t d = 0; d < layout.dim; d += kWidth) {
        transpose(panel + d * kLanes + lane, kLanes, staging_ + d, staging_stride_);
      }
      for (int64_t i = 0; i < std::min<int64_t>(kWidth, queries - lane); ++i) {
        const Vec inverse(1.0f / sums[lane + i]);
        const float* row = staging_ + i * staging_stride_;
        T* to = out_head(query + lane + i, head);
        for_each_run(layout, [&](int64_t offset, int64_t place, int64_t count) {
          for_each_vector(count, [&](int64_t d, int n) {
            store(to + place + d, load(row + offset + d, n) * inverse, n);
          });
        });
        zero_padding(to, layout);
      }
    }
  }

  const AttentionParams& p_;
  // In units; rows that a transpose writes or reads are whole vectors.
  const int64_t key_units_ = p_.q.layout.dim / Dot::kPack;
  const int64_t value_units_ = p_.v.layout.dim + 1;
  const int64_t query_rows_ = round_up(key_units_, kWidth);
  const int64_t out_rows_ = round_up(value_units_, kWidth);
  const int64_t staging_stride_ = std::max(query_rows_, out_rows_);
  float *queries_, *out_, *maxima_, *keys_, *values_, *scores_, *staging_, *angles_;
};

template <typename T, typename Dot>
void run_tasks(const AttentionParams& p, int64_t begin, int64_t end) {
  static thread_local Scratch scratch;
  Attention<T, Dot> attention(p, scratch);
  for (int64_t task = begin; task < end; ++task) {
    const int64_t first = task / p.heads * kPieceQueries;
    attention.run(task % p.heads, first, std::min(first + kPieceQueries, p.tokens));
  }
}

}  // namespace

int64_t attention_tasks(int64_t tokens, int64_t heads) {
  return heads * ((tokens + kPieceQueries - 1) / kPieceQueries);
}

void attention(const AttentionParams& p, int64_t begin, int64_t end) {
  with_element_type(p.dtype, [&](auto element) {
    using T = decltype(element);
#ifdef __AVX512BF16__
    using Dot = std::conditional_t<std::is_same_v<T, c10::BFloat16>, DotBf16, DotFp32>;
#else
    using Dot = DotFp32;
#endif
    run_tasks<T, Dot>(p, begin, end);
  });
}

}  // namespace qwen_vl_npu_ops::QVNO_ISA
