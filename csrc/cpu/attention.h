// Attention inside segments, with or without rotation of q and k: what both attention operators run.
#pragma once

#include "common/types.h"
#include "cpu/table.h"

namespace qwen_vl_npu_ops::QVNO_ISA {

// [T, heads, layout.padded], of which layout says where the real elements are.
struct HeadsView {
  const void* data;
  int64_t token_stride;  // elements
  int64_t head_stride;   // elements
  HeadLayout layout;
};

struct AttentionParams {
  HeadsView q, k, v;
  HeadsView out;             // written, its padding with zeros
  const RotaryTable* table;  // null: q and k as they are
  bool interleaved;
  DType dtype;
  int64_t tokens;
  int64_t heads;
  int64_t kv_heads;           // divides heads
  const int64_t* cu_seqlens;  // [segments + 1]
  int64_t segments;
  float scale;
};

int64_t attention_tasks(int64_t tokens, int64_t heads);
void attention(const AttentionParams&, int64_t begin, int64_t end);

}  // namespace qwen_vl_npu_ops::QVNO_ISA
