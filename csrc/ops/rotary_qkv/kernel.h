#pragma once

#include "kernel_operator.h"
#include "tiling.h"

// rotary_qkv on the vector cores. T is the numbers' type, U the tables'. Each core takes a run of tokens, a
// tile of them at a time through a ring of slots: MTE2 loads the next tiles and MTE3 stores the last one
// while V rotates a tile, a few tokens per pass.
//
// A rotated number is self * cos + partner * sin, the partner being the other one of its pair and sin
// negative for the first. By halves, partners are found by address: one instruction goes through a half of
// all q and k heads of a token, the table standing still. Else Gather puts them in line first.
//
// Results go back to where the numbers came from, if they are as long (inPlace); else to slots of their own.
template <typename T, typename U>
class RotaryQkv {
 public:
  __aicore__ inline RotaryQkv() {}

  __aicore__ inline void Init(GM_ADDR qkv, GM_ADDR cos, GM_ADDR sin, GM_ADDR q, GM_ADDR k, GM_ADDR v,
                              const RotaryQkvTiling& tiling) {
    t_ = tiling;
    half_ = t_.dim / 2;
    inSecond_ = t_.interleaved ? half_ : t_.inDim / 2;
    outSecond_ = t_.interleaved ? half_ : t_.outDim / 2;
    pieces_ = t_.inPlace ? 2 : 3;
    qkvGm_.SetGlobalBuffer((__gm__ T*)qkv);
    cosGm_.SetGlobalBuffer((__gm__ U*)cos);
    sinGm_.SetGlobalBuffer((__gm__ U*)sin);
    outGm_[0].SetGlobalBuffer((__gm__ T*)q);
    outGm_[1].SetGlobalBuffer((__gm__ T*)k);
    outGm_[2].SetGlobalBuffer((__gm__ T*)v);
    InitBuffers();
  }

  // The share of vector core `block` of `blocks`.
  __aicore__ inline void Process(uint32_t block, uint32_t blocks) {
    const uint32_t share = t_.tokens / blocks;
    const uint32_t longer = t_.tokens % blocks;  // so many cores take one token more
    firstToken_ = block * share + (block < longer ? block : longer);
    ownTokens_ = share + (block < longer ? 1 : 0);
    groups_ = (t_.heads + t_.tileHeads - 1) / t_.tileHeads;
    tiles_ = (ownTokens_ + t_.tileTokens - 1) / t_.tileTokens * groups_;
    Prepare();
    for (uint32_t slot = 0; slot < t_.slots; ++slot) {
      SetFree(slot);
    }
    for (uint32_t tile = 0; tile + 1 < t_.slots && tile < tiles_; ++tile) {
      Load(tile);
    }
    for (uint32_t tile = 0; tile < tiles_; ++tile) {
      if (tile + t_.slots - 1 < tiles_) {
        Load(tile + t_.slots - 1);
      }
      Compute(tile);
      Store(tile);
    }
    for (uint32_t slot = 0; slot < t_.slots; ++slot) {
      WaitFree(slot);
    }
  }

 private:
  using Floats = AscendC::LocalTensor<float>;
  using Indices = AscendC::LocalTensor<int32_t>;

  static constexpr uint32_t MAX_SLOTS = 3;
  static constexpr uint32_t LANES = 64;  // floats of one repeat
  static constexpr uint32_t BLOCK = 8;   // floats of 32 bytes
  static constexpr uint32_t MAX_REPEATS = 255;
  static constexpr uint32_t PER_BLOCK = 32 / sizeof(T);
  static constexpr bool WIDENS = sizeof(T) == 2;
  enum Step { MULTIPLY, ACCUMULATE, COPY };

  // ---- setting up ----

  // What V reads and what it writes at a time should not share one of UB's four banks (64 KiB each): what it
  // reads comes first, the sums last, the slots between them.
  __aicore__ inline void InitBuffers() {
    wide_ = Piece(wideBuffer_, t_.wideBytes);
    self_ = Piece(selfBuffer_, t_.selfBytes);
    partner_ = Piece(partnerBuffer_, t_.partnerBytes);
    cast_ = Piece(castBuffer_, t_.castBytes);
    angles_ = Piece(angleBuffer_, t_.angleBytes);
    for (uint32_t slot = 0; slot < t_.slots; ++slot) {
      pipe_.InitBuffer(tableBuffer_[slot], t_.tableBytes);
      table_[slot] = tableBuffer_[slot].template Get<U>();
    }
    for (uint32_t slot = 0; slot < t_.slots; ++slot) {
      pipe_.InitBuffer(inBuffer_[slot], t_.inBytes);
      in_[slot] = inBuffer_[slot].template Get<T>();
      out_[slot] = in_[slot];
    }
    for (uint32_t slot = 0; slot < t_.slots && !t_.inPlace; ++slot) {
      pipe_.InitBuffer(outBuffer_[slot], t_.outBytes);
      out_[slot] = outBuffer_[slot].template Get<T>();
    }
    sum_ = Piece(sumBuffer_, t_.sumBytes);
    const Indices indices = Piece(indexBuffer_, t_.indexBytes).template ReinterpretCast<int32_t>();
    if (t_.gathered) {
      tableIndex_ = indices;
      sign_ = indices[t_.anglePitch].template ReinterpretCast<float>();
      partnerIndex_ = indices[2 * t_.anglePitch];
      selfIndex_ = partnerIndex_[2 * t_.tileHeads * t_.lanePitch];
    }
  }

  __aicore__ inline Floats Piece(AscendC::TBuf<AscendC::TPosition::VECCALC>& buffer, uint32_t bytes) {
    if (bytes == 0) {
      return Floats();
    }
    pipe_.InitBuffer(buffer, bytes);
    return buffer.template Get<float>();
  }

  // What stays the same for all tiles: zeros where the result has padding, and the indices for Gather.
  __aicore__ inline void Prepare() {
    if (t_.outPitch != t_.dim) {
      if constexpr (WIDENS) {
        AscendC::Duplicate(sum_, 0.0f, t_.sumBytes / sizeof(float));
      } else {
        for (uint32_t slot = 0; slot < t_.slots; ++slot) {
          AscendC::Duplicate(out_[slot], 0.0f, t_.outBytes / sizeof(float));
        }
      }
    }
    if (t_.gathered) {
      PrepareIndices();
    }
    // No barrier: the slots are set free after this, and V gets the first tile through them.
  }

  __aicore__ inline void PrepareIndices() {
    for (uint32_t lane = 0; lane < t_.lanes; ++lane) {
      const bool second = lane >= outSecond_;
      const uint32_t pair = second ? lane - outSecond_ : lane;
      const bool isReal = t_.interleaved || pair < half_;  // padding looks at lane 0, and is masked out
      const uint32_t own = !isReal ? 0 : t_.interleaved ? lane : second ? inSecond_ + pair : pair;
      const uint32_t other = !isReal ? 0 : t_.interleaved ? lane ^ 1 : second ? pair : inSecond_ + pair;
      const uint32_t angle = !isReal ? 0 : t_.interleaved ? lane / 2 * t_.tableStep : pair;
      const bool isFirst = t_.interleaved ? lane % 2 == 0 : !second;
      if (!t_.swapped) {
        partnerIndex_.SetValue(lane, static_cast<int32_t>(other * sizeof(float)));
      }
      tableIndex_.SetValue(lane, static_cast<int32_t>(angle * sizeof(float)));
      sign_.SetValue(lane, isFirst ? -1.0f : 1.0f);
      if (t_.gatherSelf) {
        selfIndex_.SetValue(lane, static_cast<int32_t>(own * sizeof(float)));
      }
    }
    // What lies between heads is gathered too, and not used.
    for (uint32_t lane = t_.lanes; lane < t_.lanePitch && !t_.swapped; ++lane) {
      partnerIndex_.SetValue(lane, 0);
      if (t_.gatherSelf) {
        selfIndex_.SetValue(lane, 0);
      }
    }
    AscendC::SetFlag<AscendC::HardEvent::S_V>(EVENT_ID0);
    AscendC::WaitFlag<AscendC::HardEvent::S_V>(EVENT_ID0);
    if (!t_.swapped) {
      RepeatForHeads(partnerIndex_, 2 * t_.tileHeads, t_.lanePitch);
    }
    if (t_.gatherSelf) {
      RepeatForHeads(selfIndex_, pieces_ * t_.tileHeads, t_.outPitch);
    }
  }

  __aicore__ inline void RepeatForHeads(const Indices& index, uint32_t heads, uint32_t pitch) {
    for (uint32_t head = 1; head < heads; ++head) {
      const int32_t offset = static_cast<int32_t>(head * t_.inPitch * sizeof(float));
      AscendC::Adds(index[head * pitch], index, offset, static_cast<int32_t>(pitch));
    }
  }

  // ---- the slots: who waits for whom ----

  // A slot is free for MTE2 once its tile is stored, or, with slots apart for results, once V has read it.
  __aicore__ inline void SetFree(uint32_t slot) {
    if (t_.inPlace) {
      AscendC::SetFlag<AscendC::HardEvent::MTE3_MTE2>(slot);
    } else {
      AscendC::SetFlag<AscendC::HardEvent::V_MTE2>(slot);
      AscendC::SetFlag<AscendC::HardEvent::MTE3_V>(slot);
    }
  }

  __aicore__ inline void WaitFree(uint32_t slot) {
    WaitToLoad(slot);
    if (!t_.inPlace) {
      AscendC::WaitFlag<AscendC::HardEvent::MTE3_V>(slot);
    }
  }

  __aicore__ inline void WaitToLoad(uint32_t slot) {
    if (t_.inPlace) {
      AscendC::WaitFlag<AscendC::HardEvent::MTE3_MTE2>(slot);
    } else {
      AscendC::WaitFlag<AscendC::HardEvent::V_MTE2>(slot);
    }
  }

  __aicore__ inline void Locate(uint32_t tile) {
    const uint32_t before = tile / groups_ * t_.tileTokens;
    token_ = firstToken_ + before;
    tokens_ = ownTokens_ - before < t_.tileTokens ? ownTokens_ - before : t_.tileTokens;
    head_ = tile % groups_ * t_.tileHeads;
    heads_ = t_.heads - head_ < t_.tileHeads ? t_.heads - head_ : t_.tileHeads;
    slot_ = tile % t_.slots;
  }

  // ---- MTE2 ----

  __aicore__ inline void Load(uint32_t tile) {
    Locate(tile);
    WaitToLoad(slot_);
    LoadTable(table_[slot_], cosGm_[token_ * t_.cosStride], t_.cosStride);
    LoadTable(table_[slot_][t_.tileTokens * t_.tablePitch], sinGm_[token_ * t_.sinStride], t_.sinStride);
    const AscendC::GlobalTensor<T> rows = qkvGm_[token_ * t_.qkvStride];
    if (t_.denseIn) {
      LoadRows<T>(in_[slot_], rows, tokens_, 3 * t_.heads * t_.inDim, t_.qkvStride, t_.rowPitch);
    } else {
      for (uint32_t token = 0; token < tokens_; ++token) {
        for (uint32_t piece = 0; piece < 3; ++piece) {
          LoadRows<T>(in_[slot_][token * t_.rowPitch + piece * heads_ * t_.inPitch],
                      rows[token * t_.qkvStride + (piece * t_.heads + head_) * t_.inDim], heads_, t_.inDim,
                      t_.inDim, t_.inPitch);
        }
      }
    }
    AscendC::SetFlag<AscendC::HardEvent::MTE2_V>(slot_);
  }

  __aicore__ inline void LoadTable(const AscendC::LocalTensor<U>& dst, const AscendC::GlobalTensor<U>& src,
                                   uint64_t stride) {
    LoadRows<U>(dst, src, tokens_, (half_ - 1) * t_.tableStep + 1, stride, t_.tablePitch);
  }

  // Rows `stride` apart in GM to rows `pitch` apart in UB, where the next block boundary is; whole if there
  // is nothing between them on either side.
  template <typename E>
  __aicore__ inline void LoadRows(const AscendC::LocalTensor<E>& dst, const AscendC::GlobalTensor<E>& src,
                                  uint32_t rows, uint32_t length, uint64_t stride, uint32_t pitch) {
    AscendC::DataCopyExtParams params{1, static_cast<uint32_t>(rows * length * sizeof(E)), 0, 0, 0};
    if (rows > 1 && (stride != length || pitch != length)) {
      params.blockCount = rows;
      params.blockLen = length * sizeof(E);
      params.srcStride = (stride - length) * sizeof(E);
    }
    AscendC::DataCopyPad(dst, src, params, AscendC::DataCopyPadExtParams<E>{false, 0, 0, 0});
  }

  // ---- V ----

  __aicore__ inline void Compute(uint32_t tile) {
    Locate(tile);
    AscendC::WaitFlag<AscendC::HardEvent::MTE2_V>(slot_);
    if (!t_.inPlace) {
      AscendC::WaitFlag<AscendC::HardEvent::MTE3_V>(slot_);
    }
    for (uint32_t first = 0; first < tokens_; first += t_.passTokens) {
      Pass(first, tokens_ - first < t_.passTokens ? tokens_ - first : t_.passTokens);
    }
    if (!t_.inPlace) {
      AscendC::SetFlag<AscendC::HardEvent::V_MTE2>(slot_);
    }
    AscendC::SetFlag<AscendC::HardEvent::V_MTE3>(slot_);
  }

  // `tokens` of the tile, from `first` on.
  __aicore__ inline void Pass(uint32_t first, uint32_t tokens) {
    if constexpr (WIDENS) {
      if (t_.swapped) {
        SwapNeighbours(first, tokens);
      }
    }
    Widen(first, tokens);
    WidenTables(first, tokens);
    if (t_.gathered) {
      Gather(tokens);
    }
    for (uint32_t token = 0; token < tokens; ++token) {
      Rotate<MULTIPLY>(token);
      if (!t_.inPlace) {
        Rotate<COPY>(token);
      }
    }
    AscendC::PipeBarrier<PIPE_V>();
    for (uint32_t token = 0; token < tokens; ++token) {
      Rotate<ACCUMULATE>(token);
    }
    AscendC::PipeBarrier<PIPE_V>();
    if constexpr (WIDENS) {
      const uint32_t length = pieces_ * heads_ * t_.outPitch;
      const uint32_t pitch = t_.inPlace ? t_.rowPitch : length;
      for (uint32_t token = 0; token < tokens; ++token) {
        AscendC::Cast(out_[slot_][(first + token) * pitch], sum_[token * length],
                      AscendC::RoundMode::CAST_RINT, length);
      }
    }
  }

  // Partners of interleaved pairs of 16 bits are the other half of a 32-bit word: turn the words by 16 bits,
  // in what will be wide_, and widen them.
  __aicore__ inline void SwapNeighbours(uint32_t first, uint32_t tokens) {
    const uint32_t length = 2 * heads_ * t_.inPitch;
    const AscendC::LocalTensor<uint32_t> left = wide_.template ReinterpretCast<uint32_t>();
    const AscendC::LocalTensor<uint32_t> right = left[tokens * length / 2];
    for (uint32_t token = 0; token < tokens; ++token) {
      const AscendC::LocalTensor<uint32_t> words =
          in_[slot_][(first + token) * t_.rowPitch].template ReinterpretCast<uint32_t>();
      const int32_t count = static_cast<int32_t>(length / 2);
      AscendC::ShiftLeft(left[token * length / 2], words, static_cast<uint32_t>(16), count);
      AscendC::ShiftRight(right[token * length / 2], words, static_cast<uint32_t>(16), count);
    }
    AscendC::PipeBarrier<PIPE_V>();
    const AscendC::LocalTensor<uint16_t> swapped = left.template ReinterpretCast<uint16_t>();
    AscendC::Or(swapped, swapped, right.template ReinterpretCast<uint16_t>(),
                static_cast<int32_t>(tokens * length));
    AscendC::PipeBarrier<PIPE_V>();
    AscendC::Cast(partner_, left.template ReinterpretCast<T>(), AscendC::RoundMode::CAST_NONE,
                  tokens * length);
    AscendC::PipeBarrier<PIPE_V>();
  }

  // Numbers and results in float, wherever they come from and go.
  __aicore__ inline void Widen(uint32_t first, uint32_t tokens) {
    if constexpr (WIDENS) {
      numbers_ = wide_;
      numbersPitch_ = pieces_ * heads_ * t_.inPitch;
      results_ = sum_;
      for (uint32_t token = 0; token < tokens; ++token) {
        AscendC::Cast(wide_[token * numbersPitch_], in_[slot_][(first + token) * t_.rowPitch],
                      AscendC::RoundMode::CAST_NONE, numbersPitch_);
      }
    } else {
      numbers_ = in_[slot_][first * t_.rowPitch];
      numbersPitch_ = t_.rowPitch;
      results_ = out_[slot_][first * pieces_ * heads_ * t_.outPitch];
    }
  }

  __aicore__ inline void WidenTables(uint32_t first, uint32_t tokens) {
    const AscendC::LocalTensor<U> cos = table_[slot_][first * t_.tablePitch];
    const AscendC::LocalTensor<U> sin = cos[t_.tileTokens * t_.tablePitch];
    if constexpr (sizeof(U) == 2) {
      cos_ = cast_;
      sin_ = cast_[t_.passTokens * t_.tablePitch];
      AscendC::Cast(cos_, cos, AscendC::RoundMode::CAST_NONE, tokens * t_.tablePitch);
      AscendC::Cast(sin_, sin, AscendC::RoundMode::CAST_NONE, tokens * t_.tablePitch);
    } else {
      cos_ = cos;
      sin_ = sin;
    }
    if constexpr (WIDENS) {
      if (sizeof(U) == 2 ||
          !t_.swapped) {  // else only Rotate needs what was cast, and Gather's barrier comes first
        AscendC::PipeBarrier<PIPE_V>();
      }
    }
    if (!t_.gathered) {
      AscendC::Muls(angles_, sin_, -1.0f, tokens * t_.tablePitch);
    }
  }

  __aicore__ inline void Gather(uint32_t tokens) {
    const uint32_t size = t_.passTokens * t_.anglePitch;
    for (uint32_t token = 0; token < tokens; ++token) {
      const uint32_t row = token * t_.tablePitch;
      Pick(angles_[token * t_.anglePitch], cos_[row], tableIndex_, t_.lanes);
      Pick(angles_[size + token * t_.anglePitch], sin_[row], tableIndex_, t_.lanes);
      const Floats numbers = numbers_[token * numbersPitch_];
      const uint32_t partners = 2 * heads_ * t_.lanePitch;
      if (!t_.swapped) {
        Pick(partner_[token * partners], numbers, partnerIndex_, partners);
      }
      if (t_.gatherSelf) {
        const uint32_t selves = pieces_ * heads_ * t_.outPitch;
        Pick(self_[token * selves], numbers, selfIndex_, selves);
      }
    }
    AscendC::PipeBarrier<PIPE_V>();
    for (uint32_t token = 0; token < tokens; ++token) {
      const Floats sin = angles_[size + token * t_.anglePitch];
      AscendC::Mul(sin, sin, sign_, static_cast<int32_t>(t_.lanes));
    }
  }

  __aicore__ inline void Pick(const Floats& dst, const Floats& src, const Indices& index, uint32_t count) {
    AscendC::Gather(dst, src, index.template ReinterpretCast<uint32_t>(), 0, count);
  }

  // One step for one token's q and k, or with COPY its v.
  template <Step STEP>
  __aicore__ inline void Rotate(uint32_t token) {
    const uint32_t first = STEP == COPY ? 2 * heads_ : 0;
    const Floats dst = results_[token * pieces_ * heads_ * t_.outPitch + first * t_.outPitch];
    const Floats numbers = numbers_[token * numbersPitch_ + first * t_.inPitch];
    if (t_.gathered) {
      RotateLanes<STEP>(token, dst, numbers);
    } else {
      RotateHalves<STEP>(token, dst, numbers);
    }
  }

  template <Step STEP>
  __aicore__ inline void RotateHalves(uint32_t token, const Floats& dst, const Floats& numbers) {
    const uint32_t row = token * t_.tablePitch;
    const Floats firstTable = STEP == ACCUMULATE ? angles_[row] : cos_[row];
    const Floats secondTable = STEP == ACCUMULATE ? sin_[row] : cos_[row];
    const Floats first = STEP == ACCUMULATE ? numbers[inSecond_] : numbers;
    const Floats second = STEP == ACCUMULATE ? numbers : numbers[inSecond_];
    for (uint32_t lane = 0; lane < half_; lane += LANES) {
      const uint64_t bits = Range(0, half_, lane);
      Apply<STEP>(dst[lane], first[lane], firstTable[lane], t_.inPitch, bits);
      Apply<STEP>(dst[outSecond_ + lane], second[lane], secondTable[lane], t_.inPitch, bits);
    }
  }

  template <Step STEP>
  __aicore__ inline void RotateLanes(uint32_t token, const Floats& dst, const Floats& numbers) {
    const Floats cos = angles_[token * t_.anglePitch];
    const Floats sin = cos[t_.passTokens * t_.anglePitch];
    Floats src = numbers;
    uint32_t pitch = t_.inPitch;
    if (STEP == ACCUMULATE) {
      src = partner_[token * 2 * heads_ * t_.lanePitch];
      pitch = t_.lanePitch;
    } else if (t_.gatherSelf) {
      const uint32_t first = STEP == COPY ? 2 * heads_ : 0;
      src = self_[(token * pieces_ * heads_ + first) * t_.outPitch];
      pitch = t_.outPitch;
    }
    for (uint32_t lane = 0; lane < t_.lanes; lane += LANES) {
      const uint64_t bits = Range(0, half_, lane) | Range(outSecond_, outSecond_ + half_, lane);
      Apply<STEP>(dst[lane], src[lane], STEP == ACCUMULATE ? sin[lane] : cos[lane], pitch, bits);
    }
  }

  // The bits of a repeat that starts at lane `start`, for the lanes from `begin` to `end`.
  __aicore__ inline uint64_t Range(uint32_t begin, uint32_t end, uint32_t start) {
    const uint32_t low = begin > start ? begin - start : 0;
    const uint32_t high = end < start + LANES ? (end > start ? end - start : 0) : LANES;
    if (low >= high) {
      return 0;
    }
    return (~static_cast<uint64_t>(0) >> (LANES - (high - low))) << low;
  }

  // The lanes `bits` of every head, 255 heads to an instruction.
  template <Step STEP>
  __aicore__ inline void Apply(const Floats& dst, const Floats& src, const Floats& table, uint32_t srcPitch,
                               uint64_t bits) {
    uint64_t mask[2] = {bits, 0};
    const uint8_t dstStride = t_.outPitch / BLOCK;
    const uint8_t srcStride = srcPitch / BLOCK;
    const uint32_t heads = STEP == COPY ? heads_ : 2 * heads_;
    for (uint32_t head = 0; head < heads; head += MAX_REPEATS) {
      const uint8_t repeats = heads - head < MAX_REPEATS ? heads - head : MAX_REPEATS;
      const Floats to = dst[head * t_.outPitch];
      const Floats from = src[head * srcPitch];
      if constexpr (STEP == MULTIPLY) {
        AscendC::Mul(to, from, table, mask, repeats, {1, 1, 1, dstStride, srcStride, 0});
      } else if constexpr (STEP == ACCUMULATE) {
        AscendC::MulAddDst(to, from, table, mask, repeats, {1, 1, 1, dstStride, srcStride, 0});
      } else {
        AscendC::Copy(to, from, mask, repeats, {1, 1, dstStride, srcStride});
      }
    }
  }

  // ---- MTE3 ----

  __aicore__ inline void Store(uint32_t tile) {
    Locate(tile);
    const uint32_t rowPitch = t_.inPlace ? t_.rowPitch : 3 * heads_ * t_.outPitch;
    AscendC::WaitFlag<AscendC::HardEvent::V_MTE3>(slot_);
    for (uint32_t piece = 0; piece < 3; ++piece) {
      StorePiece(piece, out_[slot_][piece * heads_ * t_.outPitch], rowPitch);
    }
    if (t_.inPlace) {
      AscendC::SetFlag<AscendC::HardEvent::MTE3_MTE2>(slot_);
    } else {
      AscendC::SetFlag<AscendC::HardEvent::MTE3_V>(slot_);
    }
  }

  // q, k or v of the tile's tokens, which lie `rowPitch` apart in UB.
  __aicore__ inline void StorePiece(uint32_t piece, const AscendC::LocalTensor<T>& src, uint32_t rowPitch) {
    const AscendC::GlobalTensor<T> dst =
        outGm_[piece][(static_cast<uint64_t>(token_) * t_.heads + head_) * t_.outDim];
    if (t_.denseOut) {
      const uint32_t length = t_.heads * t_.outDim;
      const uint32_t gap = (rowPitch - (length + PER_BLOCK - 1) / PER_BLOCK * PER_BLOCK) / PER_BLOCK;
      AscendC::DataCopyPad(
          dst, src, {static_cast<uint16_t>(tokens_), static_cast<uint32_t>(length * sizeof(T)), gap, 0, 0});
    } else {
      for (uint32_t token = 0; token < tokens_; ++token) {
        AscendC::DataCopyPad(
            dst[static_cast<uint64_t>(token) * t_.heads * t_.outDim], src[token * rowPitch],
            {static_cast<uint16_t>(heads_), static_cast<uint32_t>(t_.outDim * sizeof(T)), 0, 0, 0});
      }
    }
  }

  AscendC::TPipe pipe_;
  AscendC::TBuf<AscendC::TPosition::VECIN> inBuffer_[MAX_SLOTS], tableBuffer_[MAX_SLOTS];
  AscendC::TBuf<AscendC::TPosition::VECOUT> outBuffer_[MAX_SLOTS];
  AscendC::TBuf<AscendC::TPosition::VECCALC> wideBuffer_, selfBuffer_, partnerBuffer_, sumBuffer_;
  AscendC::TBuf<AscendC::TPosition::VECCALC> castBuffer_, angleBuffer_, indexBuffer_;
  AscendC::GlobalTensor<T> qkvGm_, outGm_[3];
  AscendC::GlobalTensor<U> cosGm_, sinGm_;

  AscendC::LocalTensor<T> in_[MAX_SLOTS], out_[MAX_SLOTS];  // [tokens, 3 or pieces, heads, pitch]
  AscendC::LocalTensor<U> table_[MAX_SLOTS];                // [cos and sin, tile tokens, tablePitch]
  Floats wide_, self_, partner_, sum_, cast_, angles_, sign_;
  Indices partnerIndex_, selfIndex_, tableIndex_;
  Floats numbers_, results_, cos_, sin_;  // of the tile that V is at

  RotaryQkvTiling t_;
  uint32_t half_;
  uint32_t inSecond_;  // where a head's second half starts
  uint32_t outSecond_;
  uint32_t pieces_;  // that V computes: q, k and, unless it stays where it is, v
  uint32_t firstToken_;
  uint32_t ownTokens_;
  uint32_t groups_;  // of heads
  uint32_t tiles_;
  uint32_t numbersPitch_;
  // The tile at hand.
  uint32_t token_;
  uint32_t tokens_;
  uint32_t head_;
  uint32_t heads_;
  uint32_t slot_;
};
