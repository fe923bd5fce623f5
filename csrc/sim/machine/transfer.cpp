#include "transfer.h"

#include <cstring>

#include "round.h"

namespace ascend_sim {
namespace {

template <class T>
T combined(uint8_t operation, T old, T fresh) {
  switch (operation) {
    case 1:
      return static_cast<T>(old + fresh);
    case 2:
      return old > fresh ? old : fresh;
    default:
      return old < fresh ? old : fresh;
  }
}

template <class T>
void combine(uint8_t operation, uint8_t* dst, const uint8_t* src, uint64_t bytes) {
  for (uint64_t at = 0; at + sizeof(T) <= bytes; at += sizeof(T)) {
    T old, fresh;
    std::memcpy(&old, dst + at, sizeof(T));
    std::memcpy(&fresh, src + at, sizeof(T));
    old = combined(operation, old, fresh);
    std::memcpy(dst + at, &old, sizeof(T));
  }
}

void combine16(uint8_t operation, uint8_t* dst, const uint8_t* src, uint64_t bytes, bool bf16) {
  const auto widen = [bf16](uint16_t bits) {
    uint32_t wide = uint32_t{bits} << 16;
    float value;
    std::memcpy(&value, &wide, 4);
    return bf16 ? value : widen_half(bits);
  };
  for (uint64_t at = 0; at + 2 <= bytes; at += 2) {
    uint16_t old, fresh;
    std::memcpy(&old, dst + at, 2);
    std::memcpy(&fresh, src + at, 2);
    const float result = combined(operation, widen(old), widen(fresh));
    old = bf16 ? narrow_bf16(result, kRint) : narrow_half(result, kRint);
    std::memcpy(dst + at, &old, 2);
  }
}

}  // namespace

void Transfer::burst(uint64_t address, uint64_t bytes, bool write) {
  if (!bytes) return;
  L2& l2 = core_.machine.l2;
  missed_ += write ? l2.write(address, address + bytes, dst_.bypass_l2)
                   : l2.read(address, address + bytes, src_.bypass_l2);
  split_ += cost::split_bytes(address, bytes);
  misaligned_ |= address % kBlock != 0;
  ++bursts_;
}

const uint8_t* Transfer::read(uint64_t address, uint64_t bytes) {
  const uint8_t* data = core_.read(src_, address, bytes, "src");
  if (src_.memory == Memory::GM) burst(address, bytes, false);
  read_ += bytes;
  return data;
}

const uint8_t* Transfer::read_edges(uint64_t address, uint64_t bytes, uint8_t* live, bool some,
                                    bool* complete) {
  const uint8_t* data = core_.read_edges(src_, address, bytes, "src", complete);
  if (src_.memory == Memory::GM) burst(address, bytes, false);
  read_ += bytes;
  if (*complete) {
    std::memset(live, 1, bytes);
    return data;
  }
  const LocalShadow& shadow = core_.local(src_.memory).shadow;
  bool any = false;
  for (uint64_t at = 0; at < bytes; ++at)
    any |= live[at] = shadow.written(static_cast<uint32_t>(address + at));
  if (some && !any)
    core_.fail("uninitialised",
               format("bytes %llu to %llu of %s were never written", (unsigned long long)address,
                      (unsigned long long)(address + bytes), name_of(src_.memory)),
               "src");
  return data;
}

void Transfer::write_edges(uint64_t address, const uint8_t* data, const uint8_t* live, uint64_t bytes) {
  std::memcpy(write(address, bytes), data, bytes);
  LocalShadow& shadow = core_.local(dst_.memory).shadow;
  for (uint64_t at = 0; at < bytes; ++at)
    if (!live[at])
      shadow.mark_unwritten(static_cast<uint32_t>(address + at), static_cast<uint32_t>(address + at + 1));
}

uint8_t* Transfer::write(uint64_t address, uint64_t bytes) {
  uint8_t* data = core_.write(dst_, address, bytes, "dst");
  if (dst_.memory == Memory::GM) burst(address, bytes, true);
  written_ += bytes;
  return data;
}

void Transfer::store(uint64_t address, const uint8_t* data, uint64_t bytes, DType type) {
  uint8_t* dst = write(address, bytes);
  if (dst_.memory != Memory::GM || !core_.atomic) {
    std::memmove(dst, data, bytes);
    return;
  }
  const uint8_t operation = core_.atomic;
  if (core_.atomic_type != type)
    core_.fail("unsupported", "the atomic type that is set differs from the tensor's", "dst");
  switch (type) {
    case DType::F32:
      combine<float>(operation, dst, data, bytes);
      break;
    case DType::S32:
      combine<int32_t>(operation, dst, data, bytes);
      break;
    case DType::S16:
      combine<int16_t>(operation, dst, data, bytes);
      break;
    case DType::S8:
      combine<int8_t>(operation, dst, data, bytes);
      break;
    case DType::F16:
      combine16(operation, dst, data, bytes, false);
      break;
    case DType::BF16:
      combine16(operation, dst, data, bytes, true);
      break;
    default:
      core_.fail("unsupported", "no atomic operation for this type", "dst");
  }
}

void Transfer::charge(Work work, bool nd2nz) {
  Instruction instruction;
  instruction.work = work;
  instruction.pipe = core_.pipe;
  instruction.from = src_.memory;
  instruction.to = dst_.memory;
  instruction.bytes = work == Work::Fixpipe ? written_ : std::max(read_, written_);
  if (nd2nz) instruction.bytes = read_;  // what fills up the last columns comes from nowhere
  instruction.bursts = bursts_;
  instruction.missed = missed_;
  instruction.split = split_;
  instruction.slow_nd2nz = nd2nz && misaligned_;
  core_.occupy(instruction);
}

}  // namespace ascend_sim
