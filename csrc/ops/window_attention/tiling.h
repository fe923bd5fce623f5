#pragma once

#include <cstdint>

// How window_attention is cut: chosen by tile_window_attention, read by the kernel. Counts and strides are in
// elements unless a name says bytes.
struct WindowAttentionTiling {
  // The problem.
  uint64_t qTokenStride;
  uint64_t qHeadStride;
  uint64_t kTokenStride;
  uint64_t kHeadStride;
  uint64_t vTokenStride;
  uint64_t vHeadStride;
  uint64_t outTokenStride;
  uint64_t outHeadStride;
  uint32_t tokens;
  uint32_t heads;
  uint32_t kvHeads;
  uint32_t segments;
  uint32_t dim;          // head size of q and k
  uint32_t type;         // a DType: 1 half, 2 bfloat16
  uint32_t wideLengths;  // cu_seqlens is int64, else int32
  float scale;

  // A head of v and out is one piece, or two where its halves are padded apart. A piece of pieceIn elements
  // is loaded, computed pieceWidth (a multiple of 16, zeros at the end) wide and stored as pieceOut.
  uint32_t pieces;
  uint32_t pieceIn;
  uint32_t pieceInStride;
  uint32_t pieceOut;
  uint32_t pieceWidth;

  // Blocks.
  uint32_t tile;       // rows of one task of the vector cores, and keys of one Mmad: 128 or 64
  uint32_t keys;       // of one softmax block; a longer segment runs the online softmax
  uint32_t subs;       // tiles of rows that share one pass over the keys
  uint32_t slotRows;   // rows of a slot of q or k in L1
  uint32_t maxRows;    // of all heads of a task over a short segment
  uint32_t maxScores;  // of such a task

  // Loads of q, k and v over short segments, several tasks' at a time.
  uint32_t burst;       // columns of which a row should begin at a multiple; 1 where that cannot be had
  uint32_t groupBytes;  // room for them in the slots of q, k and v; 0: each task loads its own
  uint32_t groupWidth;  // columns of a head

  // Bytes of a slot in L1 (two of each), and of one block's workspace.
  uint32_t qkSlotBytes;
  uint32_t vSlotBytes;
  uint32_t pSlotBytes;
  uint32_t scoreBytes;  // of a task's scores, of which the workspace holds ATTENTION_RING
  uint32_t outBytes;    // of a tile's unfinished result, of which it holds ATTENTION_RESULTS
};
