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

const uint8_t* Transfer::read(uint64_t address, uint64_t bytes) {
  const uint8_t* data = core_.read(src_, address, bytes, "src");
  if (src_.memory == Memory::GM) missed_ += core_.machine.l2.touch(address, address + bytes);
  read_ += bytes;
  return data;
}

const uint8_t* Transfer::read_edges(uint64_t address, uint64_t bytes, uint8_t* live, bool some,
                                    bool* complete) {
  const uint8_t* data = core_.read_edges(src_, address, bytes, "src", complete);
  if (src_.memory == Memory::GM) missed_ += core_.machine.l2.touch(address, address + bytes);
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
  if (dst_.memory == Memory::GM) missed_ += core_.machine.l2.touch(address, address + bytes);
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

void Transfer::finish(Instruction instruction) {
  instruction.pipe = core_.pipe;
  instruction.from = src_.memory;
  instruction.to = dst_.memory;
  const bool gm = src_.memory == Memory::GM || dst_.memory == Memory::GM;
  core_.occupy(instruction, gm ? instruction.bytes : 0, missed_);
}

void Transfer::charge(uint64_t bursts, uint64_t burst_bytes) {
  Instruction instruction;
  instruction.work = Work::Move;
  instruction.bytes = std::max(read_, written_);
  instruction.bursts = bursts;
  instruction.burst_bytes = burst_bytes;
  const Operand& local = src_.memory == Memory::GM ? dst_ : src_;
  instruction.misaligned_ub = local.memory == Memory::UB && burst_bytes % kBlock != 0;
  finish(instruction);
}

void Transfer::charge_nd2nz(uint64_t rows, uint64_t row_bytes, bool misaligned) {
  Instruction instruction;
  instruction.work = Work::Move;
  instruction.bytes = read_;
  instruction.bursts = rows;
  instruction.burst_bytes = row_bytes;
  instruction.nd2nz = true;
  instruction.misaligned_gm = misaligned;
  finish(instruction);
}

void Transfer::charge_fixpipe() {
  Instruction instruction;
  instruction.work = Work::Fixpipe;
  instruction.bytes = written_;
  finish(instruction);
}

}  // namespace ascend_sim
