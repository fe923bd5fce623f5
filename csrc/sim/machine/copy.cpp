// Data movement other than into the cube's buffers: GM, UB and L1, the bias table and the fixpipe buffer.
#include <algorithm>
#include <cstring>
#include <vector>

#include "machine.h"
#include "round.h"
#include "transfer.h"

namespace ascend_sim {
namespace {

Pipe pipe_of(Core& core, const CopyOp& op) {
  const Memory from = op.src.memory, to = op.dst.memory;
  if (from == Memory::GM && (to == Memory::UB || to == Memory::L1)) return Pipe::MTE2;
  if ((from == Memory::UB || from == Memory::L1) && to == Memory::GM) return Pipe::MTE3;
  if (from == Memory::UB && to == Memory::UB) return Pipe::V;
  if (from == Memory::L1 && to == Memory::BT) return Pipe::MTE1;
  if (from == Memory::L1 && to == Memory::FB) return Pipe::FIX;
  core.fail("unsupported", format("this chip has no path from %s to %s", name_of(from), name_of(to)));
}

uint64_t round_up(uint64_t bytes, uint64_t unit) {
  return (bytes + unit - 1) / unit * unit;
}

void check_counts(Core& core, const CopyOp& op) {
  if (op.count > 4095)
    core.fail("limit", format("%llu bursts; at most 4095 fit", (unsigned long long)op.count), "blockCount");
  const uint64_t most = op.kind == CopyKind::Pad ? 2097151 : uint64_t{65535} * 32;
  if (op.length > most)
    core.fail("limit",
              format("bursts of %llu bytes; at most %llu fit", (unsigned long long)op.length,
                     (unsigned long long)most),
              "blockLen");
}

void plain(Core& core, const CopyOp& op) {
  check_counts(core, op);
  const uint64_t unit = op.kind == CopyKind::BiasTable       ? 64
                        : op.kind == CopyKind::FixpipeBuffer ? 128
                                                             : kBlock;
  if (op.src.memory != Memory::GM) core.aligned(op.src, kBlock, "src");
  if (op.dst.memory != Memory::GM) core.aligned(op.dst, unit, "dst");
  if (op.length % kBlock)
    core.fail("alignment",
              format("bursts of %llu bytes are not a multiple of 32; DataCopyPad moves any length",
                     (unsigned long long)op.length),
              "count");
  const bool widen = op.kind == CopyKind::BiasTable && op.dst.type == DType::F32 && op.src.type == DType::F16;
  const uint64_t dst_length = widen ? op.length * 2 : op.length;
  Transfer transfer(core, op.dst, op.src);
  uint64_t from = op.src.address, to = op.dst.address;
  for (uint64_t i = 0; i < op.count && op.length; ++i) {
    if (op.kind == CopyKind::BiasTable && !widen) {
      // The table is filled in units of 64 bytes, of which the last may be half empty.
      std::vector<uint8_t> live(op.length);
      bool complete;
      const uint8_t* src = transfer.read_edges(from, op.length, live.data(), true, &complete);
      transfer.write_edges(to, src, live.data(), op.length);
      from += op.length + op.src_gap;
      to += op.length + op.dst_gap;
      continue;
    }
    const uint8_t* src = transfer.read(from, op.length);
    if (widen) {
      float* dst = reinterpret_cast<float*>(transfer.write(to, dst_length));
      for (uint64_t e = 0; e < op.length / 2; ++e)
        dst[e] = widen_half(reinterpret_cast<const uint16_t*>(src)[e]);
    } else {
      transfer.store(to, src, op.length, op.dst.type);
    }
    from += op.length + op.src_gap;
    to += dst_length + op.dst_gap;
  }
  transfer.charge();
}

void pad_in(Core& core, const CopyOp& op) {
  const uint32_t size = size_of(op.dst.type);
  if (op.dst.memory != Memory::UB)
    core.fail("unsupported", "DataCopyPad moves between GM and UB only", "dst");
  core.aligned(op.dst, kBlock, "dst");
  if (op.left * size > kBlock || op.right * size > kBlock)
    core.fail("limit",
              format("padding of %u and %u elements; each side is at most 32 bytes", op.left, op.right),
              "padParams");
  if (op.pad) core.set_pad_value(op.pad_value);
  Transfer transfer(core, op.dst, op.src);
  const uint64_t body = op.left * size + op.length, row = round_up(body + op.right * size, kBlock);
  uint64_t from = op.src.address, to = op.dst.address;
  for (uint64_t i = 0; i < op.count && op.length;
       ++i, from += op.length + op.src_gap, to += row + op.dst_gap) {
    const uint8_t* src = transfer.read(from, op.length);
    uint8_t* dst = transfer.write(to, row);
    std::memcpy(dst + op.left * size, src, op.length);
    // Both sides and the rest of the last block get the padding value: the register's, or, where neither side
    // is padded, the row's first element. Without a value they hold whatever was on the wires.
    const bool known = core.pad_value_set || (!op.left && !op.right);
    if (known) {
      const void* value = !op.left && !op.right ? static_cast<const void*>(src) : &core.pad_value;
      for (uint64_t at = 0; at < op.left * size; at += size) std::memcpy(dst + at, value, size);
      for (uint64_t at = body; at < row; at += size) std::memcpy(dst + at, value, size);
    } else {
      LocalShadow& shadow = core.local(Memory::UB).shadow;
      shadow.mark_unwritten(static_cast<uint32_t>(to), static_cast<uint32_t>(to + op.left * size));
      shadow.mark_unwritten(static_cast<uint32_t>(to + body), static_cast<uint32_t>(to + row));
    }
  }
  transfer.charge();
}

void pad_out(Core& core, const CopyOp& op) {
  if (op.src.memory != Memory::UB)
    core.fail("unsupported", "DataCopyPad moves between GM and UB only", "src");
  core.aligned(op.src, kBlock, "src");
  Transfer transfer(core, op.dst, op.src);
  uint64_t from = op.src.address, to = op.dst.address;
  for (uint64_t i = 0; i < op.count && op.length; ++i) {
    const uint8_t* src = transfer.read(from, op.length);
    transfer.store(to, src, op.length, op.dst.type);
    from += round_up(op.length, kBlock) + op.src_gap;
    to += op.length + op.dst_gap;
  }
  transfer.charge();
}

void check_nd2nz(Core& core, const CopyOp& op) {
  const auto limit = [&](uint64_t value, uint64_t least, uint64_t most, const char* which) {
    if (value < least || value > most)
      core.fail("limit",
                format("%s is %llu; it is %llu to %llu", which, (unsigned long long)value,
                       (unsigned long long)least, (unsigned long long)most),
                which);
  };
  limit(op.matrices, 0, 4095, "ndNum");
  limit(op.n, 0, 16384, "nValue");
  limit(op.src_d, 1, 65535, "srcDValue");
  limit(op.dst_c0_stride, 1, 16384, "dstNzC0Stride");
  limit(op.dst_n_stride, 1, 16384, "dstNzNStride");
  if (op.src.memory != Memory::GM || op.dst.memory != Memory::L1)
    core.fail("unsupported", format("ND2NZ goes from GM to L1, not from %s to %s", name_of(op.src.memory),
                                    name_of(op.dst.memory)));
  core.aligned(op.dst, kBlock, "dst");
}

// Columns of fractals, 32 bytes wide; the last one is filled up with zeros.
void nd2nz(Core& core, const CopyOp& op) {
  check_nd2nz(core, op);
  const uint32_t size = size_of(op.dst.type), c0 = kBlock / size;
  const uint64_t blocks = (op.d + c0 - 1) / c0;
  Transfer transfer(core, op.dst, op.src);
  uint8_t* const l1 = core.local(Memory::L1).bytes.data();
  std::vector<bool> taken(core.local(Memory::L1).bytes.size() / kBlock);
  for (uint64_t matrix = 0; matrix < op.matrices; ++matrix) {
    const uint64_t source = op.src.address + matrix * op.src_matrix_stride * size;
    const uint64_t target = op.dst.address + matrix * op.dst_matrix_stride * size;
    for (uint64_t row = 0; row < op.n && op.d; ++row)
      transfer.read(source + row * op.src_d * size, op.d * size);
    for (uint64_t block = 0; block < blocks && op.n; ++block) {
      const uint64_t column = target + block * op.dst_c0_stride * kBlock;
      const uint64_t live = std::min<uint64_t>(c0, op.d - block * c0) * size;
      // Rows that lie side by side are checked in one piece.
      if (op.dst_n_stride == 1) transfer.write(column, op.n * kBlock);
      for (uint64_t row = 0; row < op.n; ++row) {
        const uint64_t at = column + row * op.dst_n_stride * kBlock;
        if (op.dst_n_stride != 1) transfer.write(at, kBlock);
        if (taken[at / kBlock])
          core.fail("overlap", format("byte %llu of L1 is written twice", (unsigned long long)at), "dst");
        taken[at / kBlock] = true;
        std::memcpy(l1 + at, reinterpret_cast<const uint8_t*>(source + (row * op.src_d + block * c0) * size),
                    live);
        std::memset(l1 + at + live, 0, kBlock - live);
      }
    }
  }
  transfer.charge(Work::Move, true);
}

void run(Core& core, const CopyOp& op) {
  switch (op.kind) {
    case CopyKind::Plain:
    case CopyKind::BiasTable:
    case CopyKind::FixpipeBuffer:
      plain(core, op);
      break;
    case CopyKind::Pad:
      check_counts(core, op);
      if (op.length % size_of(op.dst.type))
        core.fail("alignment",
                  format("bursts of %llu bytes are not whole elements", (unsigned long long)op.length),
                  "blockLen");
      op.src.memory == Memory::GM ? pad_in(core, op) : pad_out(core, op);
      break;
    case CopyKind::Nd2Nz:
      nd2nz(core, op);
      break;
  }
}

}  // namespace

void copy(const CopyOp& given, const Call& call) {
  Core& core = current();
  CopyOp op = given;
  if (!apply(core.visit(call), op)) return;
  core.pipe = Pipe::MTE2;
  const Pipe pipe = pipe_of(core, op);
  core.pipe = pipe;
  const bool uses_ub = op.src.memory == Memory::UB || op.dst.memory == Memory::UB;
  core.need(uses_ub ? CoreKind::Vector : CoreKind::Cube);
  // The vector pipe's own UB to UB moves are plain copies of blocks.
  core.issue(pipe, call, [&core, op] { run(core, op); });
}

}  // namespace ascend_sim
