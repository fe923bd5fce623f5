#pragma once

#include <cstdint>

#include "../rotary_qkv/tiling.h"
#include "../window_attention/tiling.h"

// How rotary_window_attention is cut: chosen by tile_rotary_window_attention, read by the kernel.
struct RotaryWindowAttentionTiling {
  WindowAttentionTiling attention;  // over rotated q and k, and v where it lies in qkv
  RotaryQkvTiling rotary;           // where q and k of all tokens are rotated first
  uint32_t fused;                   // short segments are rotated task by task; else all tokens come first
  float factor;                     // fused: of the tables, the root of the scale, or 1
  float restScale;                  // fused: what the rotated q and k leave of the scale
  uint64_t sharedBytes;   // of the blocks' attention workspaces; what follows is for rotated q and k
  uint64_t rotatedBytes;  // of q of all tokens, then of k, and of v, which is not read
  uint64_t ringBytes;     // fused: of a block's ring of rotated q and k
};
