// Data movement other than into the cube's buffers: GM, UB and L1, the bias table and the fixpipe buffer.
#include <algorithm>
#include <cstring>

#include "machine.h"
#include "round.h"
#include "transfer.h"

namespace ascend_sim {
namespace {

Pipe pipe_of(Core& core, const CopyOp& op) {
  const Memory from = op.src.memory, to = op.dst.memory;
  if (from == Memory::GM && (to == Memory::UB || to == Memory::L1)) return Pipe::MTE2;
  if (from == Memory::UB && to == Memory::GM) return Pipe::MTE3;
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
  transfer.charge(op.count, op.length);
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
  if (op.pad) core.pad_value = op.pad_value;
  Transfer transfer(core, op.dst, op.src);
  const uint64_t body = op.left * size + op.length, padded = body + op.right * size,
                 row = round_up(padded, kBlock);
  uint64_t from = op.src.address, to = op.dst.address;
  for (uint64_t i = 0; i < op.count && op.length;
       ++i, from += op.length + op.src_gap, to += row + op.dst_gap) {
    const uint8_t* src = transfer.read(from, op.length);
    uint8_t* dst = transfer.write(to, row);
    std::memcpy(dst + op.left * size, src, op.length);
    const auto fill = [&](uint64_t begin, uint64_t end, const void* value) {
      for (uint64_t at = begin; at + size <= end; at += size) std::memcpy(dst + at, value, size);
    };
    if (!op.left && !op.right) {
      // The rest of the block gets the row's first element, whatever isPad says.
      fill(body, row, src);
      continue;
    }
    if (op.pad) {
      fill(0, op.left * size, &core.pad_value);
      fill(body, padded, &core.pad_value);
    } else {
      core.local(Memory::UB)
          .shadow.mark_unwritten(static_cast<uint32_t>(to), static_cast<uint32_t>(to + op.left * size));
      core.local(Memory::UB)
          .shadow.mark_unwritten(static_cast<uint32_t>(to + body), static_cast<uint32_t>(to + padded));
    }
    core.local(Memory::UB)
        .shadow.mark_unwritten(static_cast<uint32_t>(to + padded), static_cast<uint32_t>(to + row));
  }
  transfer.charge(op.count, op.length);
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
  transfer.charge(op.count, op.length);
}

void nd2nz(Core& core, const CopyOp& op) {
  const auto limit = [&](uint64_t value, uint64_t most, const char* which) {
    if (value > most)
      core.fail(
          "limit",
          format("%s is %llu; at most %llu", which, (unsigned long long)value, (unsigned long long)most),
          which);
  };
  limit(op.matrices, 4095, "ndNum");
  limit(op.n, 16384, "nValue");
  limit(op.src_d, 65535, "srcDValue");
  limit(op.dst_c0_stride, 16384, "dstNzC0Stride");
  limit(op.dst_n_stride, 16384, "dstNzNStride");
  if (op.src.memory != Memory::GM || op.dst.memory != Memory::L1)
    core.fail("unsupported", format("ND2NZ goes from GM to L1, not from %s to %s", name_of(op.src.memory),
                                    name_of(op.dst.memory)));
  core.aligned(op.dst, kBlock, "dst");
  const uint32_t size = size_of(op.dst.type), c0 = kBlock / size;
  Transfer transfer(core, op.dst, op.src);
  const uint64_t blocks = (op.d + c0 - 1) / c0;
  const bool dense = op.dst_n_stride == 1;  // the rows of one column of blocks lie side by side
  for (uint64_t matrix = 0; matrix < op.matrices; ++matrix) {
    const uint64_t source = op.src.address + matrix * op.src_matrix_stride * size;
    const uint64_t target = op.dst.address + matrix * op.dst_matrix_stride * size;
    for (uint64_t row = 0; row < op.n && op.d; ++row)
      transfer.read(source + row * op.src_d * size, op.d * size);
    for (uint64_t block = 0; block < blocks; ++block) {
      const uint64_t column = target + block * op.dst_c0_stride * kBlock;
      if (dense && op.n)
        transfer.write(column, op.n * kBlock);
      else
        for (uint64_t row = 0; row < op.n; ++row)
          transfer.write(column + row * op.dst_n_stride * kBlock, kBlock);
      const uint64_t live = std::min<uint64_t>(c0, op.d - block * c0) * size;
      for (uint64_t row = 0; row < op.n; ++row) {
        uint8_t* dst = core.local(Memory::L1).bytes.data() + column + row * op.dst_n_stride * kBlock;
        std::memcpy(dst, reinterpret_cast<const uint8_t*>(source + (row * op.src_d + block * c0) * size),
                    live);
        std::memset(dst + live, 0, kBlock - live);
      }
    }
  }
  transfer.charge_nd2nz(op.matrices * op.n, op.d * size,
                        op.src_d * size % kBlock != 0 || op.src.address % kBlock != 0);
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
