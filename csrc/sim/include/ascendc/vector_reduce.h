// Reductions: of blocks, of pairs, of repeats, and of everything.
#pragma once

#include "vector_base.h"

namespace AscendC {
namespace sim_detail {

template <typename T>
void reduce(::ascend_sim::VecCode code, const char* api, const LocalTensor<T>& dst, const LocalTensor<T>& src,
            const ::ascend_sim::Mask& mask, int32_t repeat, int32_t dstRepStride, int32_t srcBlkStride,
            int32_t srcRepStride, ReduceOrder order, const ::ascend_sim::Site& site) {
  ::ascend_sim::VectorOp op = unary(code, dst, src);
  op.mask = mask;
  op.repeat = repeat;
  op.dst_stride = {1, static_cast<uint32_t>(dstRepStride)};
  op.src0_stride = {static_cast<uint32_t>(srcBlkStride), static_cast<uint32_t>(srcRepStride)};
  op.mode = static_cast<uint8_t>(order);
  ::ascend_sim::vector(op, {api, site});
}

template <typename T>
void reduce_all(::ascend_sim::VecCode code, const char* api, const LocalTensor<T>& dst,
                const LocalTensor<T>& src, const LocalTensor<T>& work, const ::ascend_sim::Mask& mask,
                int32_t repeat, int32_t srcRepStride, bool withIndex, const ::ascend_sim::Site& site) {
  ::ascend_sim::VectorOp op = unary(code, dst, src);
  op.src1 = work.operand();
  op.mask = mask;
  op.repeat = repeat;
  op.src0_stride = {1, static_cast<uint32_t>(srcRepStride)};
  op.flags = withIndex;
  ::ascend_sim::vector(op, {api, site});
}

}  // namespace sim_detail

// Inside blocks of 32 bytes and of pairs of lanes; the destination stride counts 8 elements, or 128 bytes for
// pairs.
#define ASCEND_SIM_BLOCK_REDUCE(NAME)                                                                      \
  template <typename T, bool isSetMask = true>                                                             \
  ASCEND_SIM_API void NAME(const LocalTensor<T>& dst, const LocalTensor<T>& src, const int32_t repeat,     \
                           const int32_t mask, const int32_t dstRepStride, const int32_t srcBlkStride,     \
                           const int32_t srcRepStride, ASCEND_SIM_SITE) {                                  \
    static_assert(SupportType<PrimT<T>, half, float>(),                                                    \
                  #NAME ": this chip has no such instruction for the type");                               \
    sim_detail::reduce(::ascend_sim::VecCode::NAME, #NAME, dst, src,                                       \
                       sim_detail::mask_of<isSetMask>(static_cast<uint64_t>(mask)), repeat, dstRepStride,  \
                       srcBlkStride, srcRepStride, ReduceOrder::ORDER_VALUE_INDEX, site);                  \
  }                                                                                                        \
  template <typename T, bool isSetMask = true>                                                             \
  ASCEND_SIM_API void NAME(const LocalTensor<T>& dst, const LocalTensor<T>& src, const int32_t repeat,     \
                           const uint64_t mask[], const int32_t dstRepStride, const int32_t srcBlkStride,  \
                           const int32_t srcRepStride, ASCEND_SIM_SITE) {                                  \
    static_assert(SupportType<PrimT<T>, half, float>(),                                                    \
                  #NAME ": this chip has no such instruction for the type");                               \
    sim_detail::reduce(::ascend_sim::VecCode::NAME, #NAME, dst, src, sim_detail::mask_of<isSetMask>(mask), \
                       repeat, dstRepStride, srcBlkStride, srcRepStride, ReduceOrder::ORDER_VALUE_INDEX,   \
                       site);                                                                              \
  }
ASCEND_SIM_BLOCK_REDUCE(BlockReduceSum)
ASCEND_SIM_BLOCK_REDUCE(BlockReduceMax)
ASCEND_SIM_BLOCK_REDUCE(BlockReduceMin)
ASCEND_SIM_BLOCK_REDUCE(PairReduceSum)
#undef ASCEND_SIM_BLOCK_REDUCE

template <typename T, bool isSetMask = true>
ASCEND_SIM_API void RepeatReduceSum(const LocalTensor<T>& dst, const LocalTensor<T>& src,
                                    const int32_t repeat, const int32_t elemsInOneRepeat,
                                    [[maybe_unused]] const int32_t dstBlkStride, const int32_t srcBlkStride,
                                    const int32_t dstRepStride, const int32_t srcRepStride, ASCEND_SIM_SITE) {
  static_assert(SupportType<PrimT<T>, half, float>(),
                "RepeatReduceSum: this chip has no such instruction for the type");
  sim_detail::reduce(::ascend_sim::VecCode::WholeReduceSum, "RepeatReduceSum", dst, src,
                     sim_detail::mask_of<isSetMask>(static_cast<uint64_t>(elemsInOneRepeat)), repeat,
                     dstRepStride, srcBlkStride, srcRepStride, ReduceOrder::ORDER_VALUE_INDEX, site);
}

// Of whole repeats; the destination stride counts results.
#define ASCEND_SIM_WHOLE_REDUCE(NAME, MASK, MASK_EXPRESSION)                                       \
  template <typename T, bool isSetMask = true>                                                     \
  ASCEND_SIM_API void NAME(const LocalTensor<T>& dst, const LocalTensor<T>& src, MASK,             \
                           const int32_t repeatTimes, const int32_t dstRepStride,                  \
                           const int32_t srcBlkStride, const int32_t srcRepStride,                 \
                           ReduceOrder order = ReduceOrder::ORDER_VALUE_INDEX, ASCEND_SIM_SITE) {  \
    static_assert(SupportType<PrimT<T>, half, float>(),                                            \
                  #NAME ": this chip has no such instruction for the type");                       \
    sim_detail::reduce(::ascend_sim::VecCode::NAME, #NAME, dst, src,                               \
                       sim_detail::mask_of<isSetMask>(MASK_EXPRESSION), repeatTimes, dstRepStride, \
                       srcBlkStride, srcRepStride, order, site);                                   \
  }
ASCEND_SIM_WHOLE_REDUCE(WholeReduceMax, const uint64_t mask[], mask)
ASCEND_SIM_WHOLE_REDUCE(WholeReduceMax, const int32_t mask, static_cast<uint64_t>(mask))
ASCEND_SIM_WHOLE_REDUCE(WholeReduceMin, const uint64_t mask[], mask)
ASCEND_SIM_WHOLE_REDUCE(WholeReduceMin, const int32_t mask, static_cast<uint64_t>(mask))
#undef ASCEND_SIM_WHOLE_REDUCE

template <typename T, bool isSetMask = true>
ASCEND_SIM_API void WholeReduceSum(const LocalTensor<T>& dst, const LocalTensor<T>& src,
                                   const uint64_t mask[], const int32_t repeatTimes,
                                   const int32_t dstRepStride, const int32_t srcBlkStride,
                                   const int32_t srcRepStride, ASCEND_SIM_SITE) {
  static_assert(SupportType<PrimT<T>, half, float>(),
                "WholeReduceSum: this chip has no such instruction for the type");
  sim_detail::reduce(::ascend_sim::VecCode::WholeReduceSum, "WholeReduceSum", dst, src,
                     sim_detail::mask_of<isSetMask>(mask), repeatTimes, dstRepStride, srcBlkStride,
                     srcRepStride, ReduceOrder::ORDER_VALUE_INDEX, site);
}
template <typename T, bool isSetMask = true>
ASCEND_SIM_API void WholeReduceSum(const LocalTensor<T>& dst, const LocalTensor<T>& src, const int32_t mask,
                                   const int32_t repeatTimes, const int32_t dstRepStride,
                                   const int32_t srcBlkStride, const int32_t srcRepStride, ASCEND_SIM_SITE) {
  static_assert(SupportType<PrimT<T>, half, float>(),
                "WholeReduceSum: this chip has no such instruction for the type");
  sim_detail::reduce(::ascend_sim::VecCode::WholeReduceSum, "WholeReduceSum", dst, src,
                     sim_detail::mask_of<isSetMask>(static_cast<uint64_t>(mask)), repeatTimes, dstRepStride,
                     srcBlkStride, srcRepStride, ReduceOrder::ORDER_VALUE_INDEX, site);
}

// Of everything: value, and index where asked for, into dst; the work tensor is overwritten.
#define ASCEND_SIM_REDUCE_EXTREME(NAME)                                                                      \
  template <typename T>                                                                                      \
  ASCEND_SIM_API void NAME(const LocalTensor<T>& dst, const LocalTensor<T>& src, const LocalTensor<T>& work, \
                           const int32_t mask, const int32_t repeatTimes, const int32_t srcRepStride,        \
                           bool calIndex = 0, ASCEND_SIM_SITE) {                                             \
    sim_detail::reduce_all(::ascend_sim::VecCode::NAME, #NAME, dst, src, work,                               \
                           sim_detail::mask_of<true>(static_cast<uint64_t>(mask)), repeatTimes,              \
                           srcRepStride, calIndex, site);                                                    \
  }                                                                                                          \
  template <typename T>                                                                                      \
  ASCEND_SIM_API void NAME(const LocalTensor<T>& dst, const LocalTensor<T>& src, const LocalTensor<T>& work, \
                           const uint64_t mask[], const int32_t repeatTimes, const int32_t srcRepStride,     \
                           bool calIndex = 0, ASCEND_SIM_SITE) {                                             \
    sim_detail::reduce_all(::ascend_sim::VecCode::NAME, #NAME, dst, src, work,                               \
                           sim_detail::mask_of<true>(mask), repeatTimes, srcRepStride, calIndex, site);      \
  }                                                                                                          \
  template <typename T>                                                                                      \
  ASCEND_SIM_API void NAME(const LocalTensor<T>& dst, const LocalTensor<T>& src, const LocalTensor<T>& work, \
                           const int32_t count, bool calIndex = 0, ASCEND_SIM_SITE) {                        \
    sim_detail::reduce_all(::ascend_sim::VecCode::NAME, #NAME, dst, src, work, sim_detail::elements(count),  \
                           1, DEFAULT_REPEAT_STRIDE, calIndex, site);                                        \
  }
ASCEND_SIM_REDUCE_EXTREME(ReduceMax)
ASCEND_SIM_REDUCE_EXTREME(ReduceMin)
#undef ASCEND_SIM_REDUCE_EXTREME

template <typename T>
ASCEND_SIM_API void ReduceSum(const LocalTensor<T>& dst, const LocalTensor<T>& src,
                              const LocalTensor<T>& work, const int32_t mask, const int32_t repeatTimes,
                              const int32_t srcRepStride, ASCEND_SIM_SITE) {
  sim_detail::reduce_all(::ascend_sim::VecCode::ReduceSum, "ReduceSum", dst, src, work,
                         sim_detail::mask_of<true>(static_cast<uint64_t>(mask)), repeatTimes, srcRepStride,
                         false, site);
}
template <typename T>
ASCEND_SIM_API void ReduceSum(const LocalTensor<T>& dst, const LocalTensor<T>& src,
                              const LocalTensor<T>& work, const uint64_t mask[], const int32_t repeatTimes,
                              const int32_t srcRepStride, ASCEND_SIM_SITE) {
  sim_detail::reduce_all(::ascend_sim::VecCode::ReduceSum, "ReduceSum", dst, src, work,
                         sim_detail::mask_of<true>(mask), repeatTimes, srcRepStride, false, site);
}
template <typename T, bool isSetMask = true>
ASCEND_SIM_API void ReduceSum(const LocalTensor<T>& dst, const LocalTensor<T>& src,
                              const LocalTensor<T>& work, const int32_t count, ASCEND_SIM_SITE) {
  sim_detail::reduce_all(::ascend_sim::VecCode::ReduceSum, "ReduceSum", dst, src, work,
                         sim_detail::elements(count), 1, DEFAULT_REPEAT_STRIDE, false, site);
}

// The same under the names of the current dialect: the operation is a template argument, the mask comes
// first.
#define ASCEND_SIM_REDUCE_AS(NAME, SUM_CODE, MAX_CODE, MIN_CODE, MASK, MASK_EXPRESSION)                      \
  template <ReduceType reduceType, typename T, typename U, bool isSetMask = true>                            \
  ASCEND_SIM_API void NAME(const LocalTensor<T>& dst, const LocalTensor<U>& src, MASK,                       \
                           const int32_t repeatTime, const int32_t dstRepStride, const int32_t srcBlkStride, \
                           const int32_t srcRepStride, ReduceOrder order = ReduceOrder::ORDER_VALUE_INDEX,   \
                           ASCEND_SIM_SITE) {                                                                \
    static_assert(                                                                                           \
        reduceType != ReduceType::NONE && std::is_same_v<T, U> && SupportType<PrimT<T>, half, float>(),      \
        #NAME ": this chip has no such instruction for the types");                                          \
    using ::ascend_sim::VecCode;                                                                             \
    constexpr VecCode code = reduceType == ReduceType::SUM   ? SUM_CODE                                      \
                             : reduceType == ReduceType::MAX ? MAX_CODE                                      \
                                                             : MIN_CODE;                                     \
    sim_detail::reduce(code, #NAME, dst, src, sim_detail::mask_of<isSetMask>(MASK_EXPRESSION), repeatTime,   \
                       dstRepStride, srcBlkStride, srcRepStride, order, site);                               \
  }
#define ASCEND_SIM_REDUCE_NAMES(NAME, SUM_CODE, MAX_CODE, MIN_CODE)                     \
  ASCEND_SIM_REDUCE_AS(NAME, SUM_CODE, MAX_CODE, MIN_CODE, const uint64_t mask[], mask) \
  ASCEND_SIM_REDUCE_AS(NAME, SUM_CODE, MAX_CODE, MIN_CODE, const int32_t mask, static_cast<uint64_t>(mask))
ASCEND_SIM_REDUCE_NAMES(ReduceDataBlock, VecCode::BlockReduceSum, VecCode::BlockReduceMax,
                        VecCode::BlockReduceMin)
ASCEND_SIM_REDUCE_NAMES(ReduceRepeat, VecCode::WholeReduceSum, VecCode::WholeReduceMax,
                        VecCode::WholeReduceMin)
#undef ASCEND_SIM_REDUCE_NAMES
#undef ASCEND_SIM_REDUCE_AS

template <typename T>
ASCEND_SIM_API void GetReduceMaxMinCount(T& maxMinValue, T& maxMinIndex) {
  maxMinValue = sim_detail::value_of<T>(::ascend_sim::reduce_value());
  maxMinIndex = sim_detail::value_of<T>(::ascend_sim::reduce_index());
}
template <typename T>
ASCEND_SIM_API void GetReduceMaxMinCount(T& maxMinValue) {
  maxMinValue = sim_detail::value_of<T>(::ascend_sim::reduce_value());
}

template <typename T>
ASCEND_SIM_API void GetReduceRepeatMaxMinSpr(T& maxMinValue, T& maxMinIndex) {
  GetReduceMaxMinCount(maxMinValue, maxMinIndex);
}
template <typename T>
ASCEND_SIM_API void GetReduceRepeatMaxMinSpr(T& maxMinValue) {
  GetReduceMaxMinCount(maxMinValue);
}

}  // namespace AscendC
