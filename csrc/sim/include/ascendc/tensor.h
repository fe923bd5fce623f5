// LocalTensor, GlobalTensor and LocalMemAllocator.
#pragma once

#include "base.h"
#include "half.h"

namespace AscendC {

struct TBuffAddr {
  uint32_t dataLen = 0;
  uint32_t bufferAddr = 0;
  TBufHandle bufferHandle = nullptr;
  uint8_t logicPos = 0;
  // The buffer that the tensor was cut from: what it may touch.
  uint32_t begin = 0;
  uint32_t end = 0;
};

struct ShapeInfo {
  ShapeInfo() = default;
  ShapeInfo(const uint8_t dims, const uint32_t sizes[], const uint8_t originalDims,
            const uint32_t originalSizes[], const DataFormat format)
      : shapeDim(dims), originalShapeDim(originalDims), dataFormat(format) {
    for (int i = 0; i < dims; ++i) shape[i] = sizes[i];
    for (int i = 0; i < originalDims; ++i) originalShape[i] = originalSizes[i];
  }
  ShapeInfo(const uint8_t dims, const uint32_t sizes[], const DataFormat format)
      : ShapeInfo(dims, sizes, dims, sizes, format) {}
  ShapeInfo(const uint8_t dims, const uint32_t sizes[]) : ShapeInfo(dims, sizes, DataFormat::ND) {}

  uint8_t shapeDim = 0;
  uint8_t originalShapeDim = 0;
  uint32_t shape[K_MAX_SHAPE_DIM] = {};
  uint32_t originalShape[K_MAX_SHAPE_DIM] = {};
  DataFormat dataFormat = DataFormat::ND;
};

namespace sim_detail {

// What `tensor(i)` returns on the left or right of an assignment: a scalar access.
template <typename T>
class ScalarReference {
 public:
  ScalarReference(const ::ascend_sim::Operand& operand, const ::ascend_sim::Site& site)
      : operand_(operand), site_(site) {}
  operator T() const {
    return value_of<T>(::ascend_sim::scalar_read(operand_, sizeof(T), {"GetValue", site_}));
  }
  const ScalarReference& operator=(const T& value) const {
    ::ascend_sim::scalar_write(operand_, sizeof(T), bits_of(value), {"SetValue", site_});
    return *this;
  }
  const ScalarReference& operator=(const ScalarReference& other) const {
    return *this = static_cast<T>(other);
  }

 private:
  ::ascend_sim::Operand operand_;
  ::ascend_sim::Site site_;
};

template <typename T>
constexpr uint64_t bytes_of(uint64_t elements) {
  return std::is_same_v<T, int4b_t> ? elements / 2 : elements * sizeof(T);
}

}  // namespace sim_detail

template <typename T>
class LocalTensor {
 public:
  using PrimType = PrimT<T>;

  __aicore__ inline LocalTensor() {}
  __aicore__ inline LocalTensor(TPosition pos, uint32_t addr, uint32_t tileSize) {
    const uint32_t bytes = static_cast<uint32_t>(sim_detail::bytes_of<PrimType>(tileSize));
    // The cube's instructions move whole fractals, which may stick out of a tensor whose place the kernel
    // chose itself.
    const Hardware memory = GetPhyType(pos);
    const bool fractals = memory == Hardware::L0A || memory == Hardware::L0B || memory == Hardware::L0C;
    address_ = {bytes, addr, nullptr, static_cast<uint8_t>(pos), addr, fractals ? ~0u : addr + bytes};
  }
  __aicore__ inline explicit LocalTensor(const TBuffAddr& address) : address_(address) {}

  __aicore__ inline void SetAddr(const TBuffAddr& address) { address_ = address; }
  __aicore__ inline uint64_t GetPhyAddr() const { return address_.bufferAddr; }
  __aicore__ inline uint64_t GetPhyAddr(const uint32_t offset) const {
    return address_.bufferAddr + sim_detail::bytes_of<PrimType>(offset);
  }
  __aicore__ inline TBufHandle GetBufferHandle() const { return address_.bufferHandle; }

  ASCEND_SIM_API PrimType GetValue(const uint32_t index, ASCEND_SIM_SITE) const {
    return sim_detail::value_of<PrimType>(
        ::ascend_sim::scalar_read(element(index), sizeof(PrimType), {"GetValue", site}));
  }
  template <typename S>
  ASCEND_SIM_API void SetValue(const uint32_t index, const S value, ASCEND_SIM_SITE) const {
    const PrimType converted = static_cast<PrimType>(value);
    ::ascend_sim::scalar_write(element(index), sizeof(PrimType), sim_detail::bits_of(converted),
                               {"SetValue", site});
  }
  // operator() takes exactly one argument in CANN; the site is the second here.
  ASCEND_SIM_API sim_detail::ScalarReference<PrimType> operator()(const uint32_t offset,
                                                                  ASCEND_SIM_SITE) const {
    return {element(offset), site};
  }

  template <typename U>
  __aicore__ inline LocalTensor<U> ReinterpretCast() const {
    return LocalTensor<U>(address_);
  }
  __aicore__ inline LocalTensor operator[](const uint32_t offset) const {
    LocalTensor result = *this;
    const uint32_t bytes = static_cast<uint32_t>(sim_detail::bytes_of<PrimType>(offset));
    result.address_.bufferAddr += bytes;
    result.address_.dataLen = bytes < address_.dataLen ? address_.dataLen - bytes : 0;
    return result;
  }

  __aicore__ inline int32_t GetPosition() const { return address_.logicPos; }
  __aicore__ inline void SetSize(const uint32_t size) {
    address_.dataLen = static_cast<uint32_t>(sim_detail::bytes_of<PrimType>(size));
  }
  __aicore__ inline uint32_t GetSize() const {
    return std::is_same_v<PrimType, int4b_t> ? address_.dataLen * 2
                                             : address_.dataLen / static_cast<uint32_t>(sizeof(PrimType));
  }
  __aicore__ inline uint32_t GetLength() const { return address_.dataLen; }
  __aicore__ inline void SetBufferLen(uint32_t dataLen) { address_.dataLen = dataLen; }
  __aicore__ inline void SetUserTag(const TTagType tag) { tag_ = tag; }
  __aicore__ inline TTagType GetUserTag() const { return tag_; }
  __aicore__ inline void SetShapeInfo(const ShapeInfo& shapeInfo) { shapeInfo_ = shapeInfo; }
  __aicore__ inline ShapeInfo GetShapeInfo() const { return shapeInfo_; }

  // What an instruction sees.
  ::ascend_sim::Operand operand() const {
    return {static_cast<::ascend_sim::Memory>(GetPhyType(static_cast<TPosition>(address_.logicPos))),
            sim_detail::dtype_of<PrimType>(), address_.bufferAddr, address_.begin, address_.end};
  }

  TBuffAddr address_;
  ShapeInfo shapeInfo_;

 private:
  ::ascend_sim::Operand element(uint32_t index) const {
    ::ascend_sim::Operand result = operand();
    result.address += sim_detail::bytes_of<PrimType>(index);
    return result;
  }
  TTagType tag_ = -1;
};

template <typename T>
class GlobalTensor {
 public:
  using PrimType = PrimT<T>;

  __aicore__ inline GlobalTensor() {}
  __aicore__ inline void SetGlobalBuffer(__gm__ PrimType* buffer, uint64_t bufferSize) {
    address_ = buffer;
    bufferSize_ = bufferSize;
  }
  __aicore__ inline void SetGlobalBuffer(__gm__ PrimType* buffer) { SetGlobalBuffer(buffer, 0); }
  __aicore__ inline const __gm__ PrimType* GetPhyAddr() const { return address_; }
  __aicore__ inline __gm__ PrimType* GetPhyAddr(const uint64_t offset) const { return address_ + offset; }

  ASCEND_SIM_API PrimType GetValue(const uint64_t offset, ASCEND_SIM_SITE) const {
    return sim_detail::value_of<PrimType>(
        ::ascend_sim::scalar_read(element(offset), sizeof(PrimType), {"GetValue", site}));
  }
  ASCEND_SIM_API void SetValue(const uint64_t offset, PrimType value, ASCEND_SIM_SITE) {
    ::ascend_sim::scalar_write(element(offset), sizeof(PrimType), sim_detail::bits_of(value),
                               {"SetValue", site});
  }
  ASCEND_SIM_API sim_detail::ScalarReference<PrimType> operator()(const uint64_t offset,
                                                                  ASCEND_SIM_SITE) const {
    return {element(offset), site};
  }

  __aicore__ inline uint64_t GetSize() const { return bufferSize_; }
  __aicore__ inline GlobalTensor operator[](const uint64_t offset) const {
    GlobalTensor result = *this;
    result.address_ += offset;
    return result;
  }
  __aicore__ inline void SetShapeInfo(const ShapeInfo& shapeInfo) { shapeInfo_ = shapeInfo; }
  __aicore__ inline ShapeInfo GetShapeInfo() const { return shapeInfo_; }
  template <CacheRwMode rwMode = CacheRwMode::RW>
  __aicore__ inline void SetL2CacheHint(CacheMode mode) {
    cacheMode_ = mode;
  }

  ::ascend_sim::Operand operand() const { return element(0); }

  __gm__ PrimType* address_ = nullptr;
  uint64_t bufferSize_ = 0;
  ShapeInfo shapeInfo_;
  CacheMode cacheMode_ = CacheMode::CACHE_MODE_NORMAL;

 private:
  ::ascend_sim::Operand element(uint64_t offset) const {
    ::ascend_sim::Operand result;
    result.memory = ::ascend_sim::Memory::GM;
    result.type = sim_detail::dtype_of<PrimType>();
    result.address = reinterpret_cast<uint64_t>(address_) + sim_detail::bytes_of<PrimType>(offset);
    result.bypass_l2 = cacheMode_ == CacheMode::CACHE_MODE_DISABLE;
    return result;
  }
};

// Static tensors of the current dialect: pieces of one memory, one after the other.
template <Hardware hard = Hardware::UB>
class LocalMemAllocator {
 public:
  __aicore__ inline LocalMemAllocator() {}
  __aicore__ inline uint32_t GetCurAddr() const { return head_; }

  template <TPosition pos, class DataType, uint32_t tileSize>
  ASCEND_SIM_API LocalTensor<DataType> Alloc(ASCEND_SIM_SITE) {
    return make<DataType>(pos, tileSize, site);
  }
  template <TPosition pos, class DataType>
  ASCEND_SIM_API LocalTensor<DataType> Alloc(uint32_t tileSize, ASCEND_SIM_SITE) {
    return make<DataType>(pos, tileSize, site);
  }
  template <class DataType, uint32_t tileSize>
  ASCEND_SIM_API LocalTensor<DataType> Alloc(ASCEND_SIM_SITE) {
    return make<DataType>(position(), tileSize, site);
  }
  template <class DataType>
  ASCEND_SIM_API LocalTensor<DataType> Alloc(uint32_t tileSize, ASCEND_SIM_SITE) {
    return make<DataType>(position(), tileSize, site);
  }

 private:
  static constexpr TPosition position() {
    switch (hard) {
      case Hardware::L1:
        return TPosition::A1;
      case Hardware::L0A:
        return TPosition::A2;
      case Hardware::L0B:
        return TPosition::B2;
      case Hardware::L0C:
        return TPosition::CO1;
      case Hardware::BIAS:
        return TPosition::C2;
      case Hardware::FIXBUF:
        return TPosition::C2PIPE2GM;
      default:
        return TPosition::VECCALC;
    }
  }
  template <class DataType>
  LocalTensor<DataType> make(TPosition pos, uint32_t tileSize, const ::ascend_sim::Site& site) {
    const uint64_t bytes =
        ::ascend_sim::static_alloc(static_cast<::ascend_sim::Memory>(hard), head_,
                                   sim_detail::bytes_of<PrimT<DataType>>(tileSize), {"Alloc", site});
    LocalTensor<DataType> tensor;
    tensor.address_ = {static_cast<uint32_t>(bytes), head_, nullptr,
                       static_cast<uint8_t>(pos),    head_, head_ + static_cast<uint32_t>(bytes)};
    head_ += static_cast<uint32_t>(sim_detail::bytes_of<PrimT<DataType>>(tileSize));
    return tensor;
  }
  uint32_t head_ = 0;
};

}  // namespace AscendC
