// The scalar pipe: element access to UB and GM, its data cache, and the registers it sets for the others.
#include <cstdarg>
#include <cstdio>
#include <cstring>

#include "machine.h"
#include "round.h"

namespace ascend_sim {
namespace {

constexpr uint64_t kLine = 64;  // of the data cache

void spend(Core& core, Work work, uint64_t bytes = 0, uint64_t missed = 0) {
  Instruction instruction;
  instruction.work = work;
  instruction.pipe = Pipe::S;
  instruction.bytes = bytes;
  instruction.missed = missed;
  core.occupy(instruction);
}

// The cache is not coherent: a line that was read stays as it was until the kernel invalidates it.
void read_through_cache(Core& core, uint64_t address, uint32_t bytes) {
  Region& region = *core.machine.gm.find(address);
  for (uint64_t line = address / kLine; line <= (address + bytes - 1) / kLine; ++line) {
    auto [entry, missed] = core.cache.try_emplace(line, CacheLine{core.machine.moment, false});
    if (missed) {
      spend(core, Work::ScalarGm, kLine, core.machine.l2.read(line * kLine, (line + 1) * kLine));
      continue;
    }
    spend(core, Work::Scalar);
    Epoch writer;
    const uint64_t begin = std::max(address, line * kLine),
                   end = std::min(address + bytes, (line + 1) * kLine);
    if (region.shadow->written_since(begin - region.base, end - region.base, entry->second.moment, core.id,
                                     writer)) {
      Error error;
      try {
        core.fail("stale_read",
                  format("byte %llu of %s is in the scalar data cache since before it was written; "
                         "DataCacheCleanAndInvalid first",
                         (unsigned long long)(begin - region.base), region.name.c_str()),
                  "src");
      } catch (Error& made) {
        error = made;
      }
      error.other =
          core.machine.cores[static_cast<size_t>(writer.core())]->party(writer.pipe(), writer.number());
      throw error;
    }
  }
}

}  // namespace

uint64_t scalar_read(const Operand& given, uint32_t bytes, const Call& call) {
  Core& core = current();
  VectorOp shifted{};
  shifted.dst = given;
  apply(core.visit(call), shifted);
  const Operand src = shifted.dst;
  core.pipe = Pipe::S;
  uint64_t value = 0;
  core.issue(Pipe::S, call, [&] {
    const uint8_t* data = core.read(src, src.address, bytes, "src");
    if (src.memory == Memory::GM)
      read_through_cache(core, src.address, bytes);
    else
      spend(core, Work::Scalar);
    std::memcpy(&value, data, bytes);
  });
  return value;
}

void scalar_write(const Operand& dst, uint32_t bytes, uint64_t value, const Call& call) {
  Core& core = current();
  VectorOp shifted{};
  shifted.dst = dst;
  if (!apply(core.visit(call), shifted)) return;
  const Operand target = shifted.dst;
  core.pipe = Pipe::S;
  core.issue(Pipe::S, call, [&] {
    uint8_t* data = core.write(target, target.address, bytes, "dst");
    std::memcpy(data, &value, bytes);
    if (target.memory != Memory::GM) return spend(core, Work::Scalar);
    spend(core, Work::Scalar);  // into the cache
    for (uint64_t line = target.address / kLine; line <= (target.address + bytes - 1) / kLine; ++line) {
      CacheLine& entry = core.cache[line];
      entry.moment = entry.dirty ? entry.moment : core.machine.moment;
      entry.dirty = true;
      uint64_t& mask = core.machine.dirty_lines[line][core.id];
      for (uint64_t at = std::max(target.address, line * kLine);
           at < std::min(target.address + bytes, (line + 1) * kLine); ++at)
        mask |= uint64_t{1} << at % kLine;
    }
  });
}

void clean_cache(const Operand& line, bool entire, const Call& call) {
  Core& core = current();
  const Fault* fault = core.visit(call);
  if (fault && fault->kind == FaultKind::Drop) return;
  core.pipe = Pipe::S;
  core.issue(Pipe::S, call, [&] {
    uint64_t lines = 0, missed = 0;
    for (auto entry = core.cache.begin(); entry != core.cache.end();) {
      if (!entire && entry->first != line.address / kLine) {
        ++entry;
        continue;
      }
      if (entry->second.dirty) {
        core.machine.dirty_lines[entry->first].erase(core.id);
        missed += core.machine.l2.write(entry->first * kLine, (entry->first + 1) * kLine);
        ++lines;
      }
      entry = core.cache.erase(entry);
    }
    spend(core, Work::ScalarGm, lines * kLine, missed);
  });
}

void scalar_barrier(const Call& call) {
  Core& core = current();
  core.visit(call);
  core.issue(Pipe::S, call, [&core] { spend(core, Work::Flag); });
}

void set_vector_mask(uint64_t high, uint64_t low, const Call& call) {
  Core& core = current();
  core.visit(call);
  core.mask_high = high;
  core.mask_low = low;
  core.charge_issue();
}

void set_mask_counter(bool counter, const Call& call) {
  Core& core = current();
  core.visit(call);
  core.mask_counter = counter;
  core.charge_issue();
}

void set_pad_value(uint64_t value) {
  current().set_pad_value(value);
}

void set_atomic(uint8_t operation, DType type, const Call& call) {
  Core& core = current();
  core.visit(call);
  core.atomic = operation;
  core.atomic_type = type;
}

void set_fixpipe_matrices(uint32_t count, uint32_t src_stride, uint32_t dst_stride) {
  Core& core = current();
  core.nd_count = count;
  core.nd_src_stride = src_stride;
  core.nd_dst_stride = dst_stride;
}

void set_fixpipe_scale(uint64_t scale) {
  current().quant_scale = scale;
}
void set_deq_scale(uint64_t scale) {
  current().deq_scale = scale;
}
void set_fixpipe_buffer(const Operand& quant) {
  current().quant_buffer = quant;
}
void set_hf32(bool on) {
  current().hf32 = on;
}

void set_load3d(uint32_t h, uint32_t w, const uint8_t pad[4]) {
  Core& core = current();
  core.load3d_h = h;
  core.load3d_w = w;
  std::memcpy(core.load3d_pad, pad, 4);
}

void set_load3d_padding(uint64_t value) {
  current().load3d_value = value;
}
uint64_t reduce_value() {
  return current().reduce_value;
}
uint64_t reduce_index() {
  return current().reduce_index;
}
uint64_t gather_remain() {
  return current().gather_remain;
}

bool is_cube() {
  return current().kind == CoreKind::Cube;
}

int64_t block_index() {
  const Core& core = current();
  return core.kind == CoreKind::Cube ? core.block : int64_t{core.block} * core.machine.type.vector + core.sub;
}

int64_t block_count() {
  return current().machine.blocks;
}
int64_t sub_block_index() {
  return current().sub;
}

int64_t sub_block_count() {
  const Machine& machine = current().machine;
  return machine.type.cube && machine.type.vector ? machine.type.vector : 1;
}

int64_t task_ratio() {
  const Core& core = current();
  return core.kind == CoreKind::Cube || !core.machine.type.cube ? 1 : core.machine.type.vector;
}

int64_t cycle() {
  return static_cast<int64_t>(current().state(Pipe::S).time);
}

void unsupported(const char* what, const Call& call) {
  Core& core = current();
  core.visit(call);
  core.fail("unsupported", what);
}

void trap(const char* what, const Call& call) {
  Core& core = current();
  core.visit(call);
  core.fail("trap", what);
}

void dump(const Operand& tensor, uint32_t label, uint32_t elements, const Call& call) {
  Core& core = current();
  core.visit(call);
  const uint32_t size = size_of(tensor.type);
  core.in_bounds(tensor, tensor.address, uint64_t{elements} * size, "tensor");
  const uint8_t* data = tensor.memory == Memory::GM ? reinterpret_cast<const uint8_t*>(tensor.address)
                                                    : core.local(tensor.memory).bytes.data() + tensor.address;
  std::printf("DumpTensor %u %s %s:", label, core.name.c_str(), name_of(tensor.memory));
  for (uint32_t i = 0; i < elements; ++i) {
    uint64_t bits = 0;
    std::memcpy(&bits, data + uint64_t{i} * size, size);
    float value;
    const uint32_t wide =
        tensor.type == DType::BF16 ? static_cast<uint32_t>(bits) << 16 : static_cast<uint32_t>(bits);
    std::memcpy(&value, &wide, 4);
    if (tensor.type == DType::F16) value = widen_half(static_cast<uint16_t>(bits));
    if (tensor.type == DType::F32 || tensor.type == DType::F16 || tensor.type == DType::BF16)
      std::printf(" %g", static_cast<double>(value));
    else
      std::printf(" %llu", static_cast<unsigned long long>(bits));
  }
  std::printf("\n");
}

void print(const char* pattern, ...) {
  va_list arguments;
  va_start(arguments, pattern);
  std::vprintf(pattern, arguments);
  va_end(arguments);
}

}  // namespace ascend_sim
