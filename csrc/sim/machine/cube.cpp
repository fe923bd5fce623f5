// The cube core: loads into L0A and L0B, Mmad, and filling with constants. Layouts are those of the A2: L0A
// holds 512-byte fractals of 16 rows, rows of fractals one after the other (Zz); L0B fractals stored column
// by column (Zn); L0C 16x16 fractals, columns of fractals one after the other (Nz).
#include <algorithm>
#include <cstring>

#include "machine.h"
#include "math.h"
#include "transfer.h"

namespace ascend_sim {
namespace {

constexpr uint32_t kFractal = 512;
constexpr uint32_t kTile = 16;

bool is_l0(Memory memory) {
  return memory == Memory::L0A || memory == Memory::L0B;
}

template <class T>
void transpose(uint8_t* dst, const uint8_t* src, uint32_t rows, uint32_t columns) {
  const T* in = reinterpret_cast<const T*>(src);
  T* out = reinterpret_cast<T*>(dst);
  for (uint32_t r = 0; r < rows; ++r)
    for (uint32_t c = 0; c < columns; ++c) out[c * rows + r] = in[r * columns + c];
}

// The squares that loads move: 512-byte fractals as they are, or transposed squares of one or two of them.
struct Square {
  uint32_t size;  // of an element
  bool transposed;
  uint32_t fractals;

  uint32_t bytes() const { return fractals * kFractal; }
  void move(uint8_t* dst, const uint8_t* src) const {
    if (!transposed) {
      std::memcpy(dst, src, bytes());
    } else if (size == 1) {
      transpose<uint8_t>(dst, src, 32, 32);
    } else if (size == 2) {
      transpose<uint16_t>(dst, src, kTile, kTile);
    } else {  // stored as a left and a right fractal of 8 columns
      const uint32_t* in = reinterpret_cast<const uint32_t*>(src);
      uint32_t* out = reinterpret_cast<uint32_t*>(dst);
      for (uint32_t r = 0; r < kTile; ++r)
        for (uint32_t c = 0; c < kTile; ++c)
          out[r / 8 * 128 + c * 8 + r % 8] = in[c / 8 * 128 + r * 8 + c % 8];
    }
  }
};

void run_load2d(Core& core, const LoadOp& op) {
  const uint32_t size = size_of(op.dst.type);
  if (op.repeat > 255)
    core.fail("limit", format("repeatTimes %u is outside 0 to 255", op.repeat), "repeatTimes");
  if (op.start > 65535 || op.src_stride > 65535 || op.dst_gap > 65535 || op.dst_fractal_gap > 65535)
    core.fail("limit", "startIndex, srcStride, dstGap and dstFracGap are at most 65535");
  if (op.transpose && size != 2)
    core.fail("unsupported", "LoadData transposes 16-bit types only; see LoadDataWithTranspose");
  if (op.transpose && op.src.memory == Memory::GM)
    core.fail("unsupported", "LoadData from GM does not transpose");
  core.aligned(op.dst, is_l0(op.dst.memory) ? kFractal : kBlock, "dst");
  if (op.src.memory != Memory::GM) core.aligned(op.src, kBlock, "src");
  const Square square{size, op.transpose || op.square, op.square && size != 2 ? 2u : 1u};
  Transfer transfer(core, op.dst, op.src);
  for (uint32_t i = 0; i < op.repeat; ++i) {
    const int64_t step = static_cast<int64_t>(i) * op.src_stride;
    const int64_t index = op.start + (op.decrease ? -step : step);
    bool complete;
    uint8_t live[2 * kFractal], moved[2 * kFractal], moved_live[2 * kFractal];
    const uint64_t from = op.src.address + static_cast<uint64_t>(index * square.bytes());
    square.move(moved, transfer.read_edges(from, square.bytes(), live, true, &complete));
    if (!complete) square.move(moved_live, live);
    for (uint32_t f = 0; f < square.fractals; ++f) {
      const uint64_t to = op.dst.address + uint64_t{i} * (1 + op.dst_gap) * kFractal +
                          uint64_t{f} * (1 + op.dst_fractal_gap) * kFractal;
      if (complete)
        std::memcpy(transfer.write(to, kFractal), moved + f * kFractal, kFractal);
      else
        transfer.write_edges(to, moved + f * kFractal, moved_live + f * kFractal, kFractal);
    }
  }
  transfer.charge();
}

void run_fill(Core& core, const FillOp& op) {
  core.aligned(op.dst, kBlock, "dst");
  if (op.repeat > 32767 || op.blocks > 32767 || op.gap > 32767)
    core.fail("limit", "repeatTimes, blockNum and dstGap are at most 32767");
  const uint32_t unit = op.dst.memory == Memory::L1 ? kBlock : kFractal, size = size_of(op.dst.type);
  Operand none = op.dst;
  Transfer transfer(core, op.dst, none);
  for (uint32_t i = 0; i < op.repeat; ++i) {
    const uint64_t at = op.dst.address + uint64_t{i} * (op.blocks + op.gap) * unit;
    if (!op.blocks) continue;
    uint8_t* dst = transfer.write(at, uint64_t{op.blocks} * unit);
    for (uint64_t byte = 0; byte < uint64_t{op.blocks} * unit; byte += size)
      std::memcpy(dst + byte, &op.value, size);
  }
  transfer.charge();
}

// ---- Mmad ----

struct Shape {
  uint32_t m, n, k;
  uint32_t m_blocks, n_blocks, k_blocks;
  uint32_t k_unit;  // elements of a fractal's row
};

// Elements of A: row i of fractal row m, in the Zz order; in a GEMV (m = 1) A is a plain vector.
uint64_t a_offset(const Shape& s, uint32_t i, uint32_t k) {
  if (s.m == 1) return k;
  return (uint64_t{i / kTile} * s.k_blocks + k / s.k_unit) * kTile * s.k_unit + i % kTile * s.k_unit +
         k % s.k_unit;
}

uint64_t b_offset(const Shape& s, uint32_t k, uint32_t j) {
  return (uint64_t{k / s.k_unit} * s.n_blocks + j / kTile) * kTile * s.k_unit + j % kTile * s.k_unit +
         k % s.k_unit;
}

// Check and record the bytes of A or B that take part; whole fractals in one piece where no edge cuts them.
void read_operand(Core& core, const Operand& operand, const Shape& s, bool is_a, const char* which) {
  const uint32_t size = size_of(operand.type), row = s.k_unit * size;
  if (is_a && s.m == 1) {
    core.read(operand, operand.address, uint64_t{s.k} * size, which);
    return;
  }
  const uint32_t outer = is_a ? s.m : s.n, blocks = is_a ? s.m_blocks : s.n_blocks;
  if (outer % kTile == 0 && s.k_blocks * s.k_unit == s.k) {
    core.read(operand, operand.address, uint64_t{blocks} * s.k_blocks * kFractal, which);
    return;
  }
  for (uint32_t block = 0; block < blocks; ++block)
    for (uint32_t k = 0; k * s.k_unit < s.k; ++k) {
      const uint64_t fractal =
          operand.address +
          (is_a ? uint64_t{block} * s.k_blocks + k : uint64_t{k} * blocks + block) * kFractal;
      const uint32_t rows = std::min(kTile, outer - block * kTile);
      const uint32_t columns = std::min(s.k_unit, s.k - k * s.k_unit) * size;
      if (columns == row) {
        core.read(operand, fractal, uint64_t{rows} * row, which);
        continue;
      }
      for (uint32_t r = 0; r < rows; ++r) core.read(operand, fractal + uint64_t{r} * row, columns, which);
    }
}

// The part of C that exists: rows of 16 values, one fractal column after the other.
template <class Touch>
void for_rows_of_c(const Shape& s, Touch&& touch) {
  for (uint32_t j = 0; j < s.n_blocks; ++j) {
    const uint32_t columns = std::min(kTile, s.n - j * kTile);
    const uint64_t base = uint64_t{j} * s.m_blocks * 1024;
    if (columns == kTile) {
      touch(base, uint64_t{s.m} * 64);
    } else {
      for (uint32_t i = 0; i < s.m; ++i) touch(base + uint64_t{i} * 64, uint64_t{columns} * 4);
    }
  }
}

void unpack_a(const Core& core, const MmadOp& op, const Shape& s, std::vector<float>& out) {
  const uint8_t* base = core.memories[static_cast<int>(Memory::L0A)].bytes.data() + op.a.address;
  out.assign(uint64_t{s.m_blocks} * kTile * s.k, 0);
  for (uint32_t i = 0; i < s.m; ++i)
    for (uint32_t k = 0; k < s.k; k += s.k_unit) {
      const uint32_t count = std::min(s.k_unit, s.k - k);
      const uint64_t at = a_offset(s, i, k);
      float* target = out.data() + uint64_t{i} * s.k + k;
      if (op.a.type == DType::F16) {
        math().half_to_float(target, reinterpret_cast<const uint16_t*>(base) + at, count);
      } else if (op.a.type == DType::BF16) {
        for (uint32_t e = 0; e < count; ++e)
          target[e] = bf16_to_float(reinterpret_cast<const uint16_t*>(base)[at + e]);
      } else {
        std::memcpy(target, base + at * 4, count * 4);
      }
    }
}

// B of one column of fractals, as k rows of 16.
void unpack_b(const Core& core, const MmadOp& op, const Shape& s, uint32_t j, float* out) {
  const uint8_t* base = core.memories[static_cast<int>(Memory::L0B)].bytes.data() + op.b.address;
  float row[kTile];
  std::fill_n(out, uint64_t{s.k} * kTile, 0.0f);
  const uint32_t columns = std::min(kTile, s.n - j * kTile);
  for (uint32_t k = 0; k < s.k; k += s.k_unit)
    for (uint32_t c = 0; c < columns; ++c) {
      const uint32_t count = std::min(s.k_unit, s.k - k);
      const uint64_t at = b_offset(s, k, j * kTile + c);
      if (op.b.type == DType::F16) {
        math().half_to_float(row, reinterpret_cast<const uint16_t*>(base) + at, count);
      } else if (op.b.type == DType::BF16) {
        for (uint32_t e = 0; e < count; ++e)
          row[e] = bf16_to_float(reinterpret_cast<const uint16_t*>(base)[at + e]);
      } else {
        std::memcpy(row, base + at * 4, count * 4);
      }
      for (uint32_t e = 0; e < count; ++e) out[(k + e) * kTile + c] = row[e];
    }
}

// TF32-like rounding of the HF32 mode: 11 fraction bits, to nearest even.
void round_hf32(float* values, size_t n) {
  for (size_t i = 0; i < n; ++i) {
    uint32_t bits;
    std::memcpy(&bits, &values[i], 4);
    if ((bits & 0x7F800000) == 0x7F800000) continue;
    bits = (bits + 0x7FF + (bits >> 12 & 1)) & ~0xFFFu;
    std::memcpy(&values[i], &bits, 4);
  }
}

void multiply_float(Core& core, const MmadOp& op, const Shape& s) {
  static thread_local std::vector<float> a, b;
  unpack_a(core, op, s, a);
  b.resize(uint64_t{s.k} * kTile);
  const bool hf32 = core.hf32 && op.a.type == DType::F32;
  if (hf32) round_hf32(a.data(), a.size());
  float* c = reinterpret_cast<float*>(core.local(Memory::L0C).bytes.data() + op.dst.address);
  for (uint32_t j = 0; j < s.n_blocks; ++j) {
    unpack_b(core, op, s, j, b.data());
    if (hf32) round_hf32(b.data(), b.size());
    for (uint32_t i = 0; i < s.m_blocks; ++i)
      math().tile_f32(c + (uint64_t{j} * s.m_blocks + i) * 256, a.data() + uint64_t{i} * kTile * s.k,
                      b.data(), static_cast<int>(s.k));
  }
}

void multiply_int8(Core& core, const MmadOp& op, const Shape& s) {
  const int8_t* a = reinterpret_cast<const int8_t*>(core.local(Memory::L0A).bytes.data() + op.a.address);
  const int8_t* b = reinterpret_cast<const int8_t*>(core.local(Memory::L0B).bytes.data() + op.b.address);
  int32_t* c = reinterpret_cast<int32_t*>(core.local(Memory::L0C).bytes.data() + op.dst.address);
  for (uint32_t i = 0; i < s.m; ++i)
    for (uint32_t j = 0; j < s.n; ++j) {
      int32_t sum = 0;
      for (uint32_t k = 0; k < s.k; ++k) sum += a[a_offset(s, i, k)] * b[b_offset(s, k, j)];
      c[(uint64_t{j / kTile} * s.m_blocks + i / kTile) * 256 + i % kTile * kTile + j % kTile] += sum;
    }
}

// Whole fractals are multiplied: where the rows or columns that fill the last one up exist in L0, their
// products do too.
uint32_t filled_up(Core& core, const Operand& operand, const Shape& s, bool is_a) {
  const uint32_t outer = is_a ? s.m : s.n, blocks = is_a ? s.m_blocks : s.n_blocks;
  if (outer % kTile == 0 || (is_a && s.m == 1)) return outer;
  const LocalMemory& memory = core.local(operand.memory);
  const uint32_t row = s.k_unit * size_of(operand.type);
  for (uint32_t k = 0; k * s.k_unit < s.k; ++k) {
    const uint64_t index = is_a ? uint64_t{blocks - 1} * s.k_blocks + k : uint64_t{k} * blocks + blocks - 1;
    const uint32_t begin = static_cast<uint32_t>(operand.address + index * kFractal + outer % kTile * row);
    const uint32_t end = static_cast<uint32_t>(operand.address + (index + 1) * kFractal);
    const uint32_t columns = std::min(s.k_unit, s.k - k * s.k_unit) * size_of(operand.type);
    for (uint32_t at = begin; at < end; at += row)
      if (at + columns > memory.bytes.size() ||
          memory.shadow.first_unwritten(at, at + columns) != at + columns)
        return outer;
  }
  return blocks * kTile;
}

// What C starts from: zero, the bias row, or what is there.
void start_c(Core& core, const MmadOp& op, const Shape& s) {
  uint8_t* c = core.local(Memory::L0C).bytes.data() + op.dst.address;
  const bool from_table = op.init_from_table && !op.init_zero;
  if (!op.init_zero && !from_table) {
    // C may come from another place in L0C.
    const Operand& source = op.has_bias ? op.bias : op.dst;
    for_rows_of_c(s, [&](uint64_t at, uint64_t bytes) {
      core.read(source, source.address + at, bytes, op.has_bias ? "bias" : "dst");
    });
    if (source.address != op.dst.address)
      for_rows_of_c(s, [&](uint64_t at, uint64_t bytes) {
        std::memcpy(c + at, core.local(Memory::L0C).bytes.data() + source.address + at, bytes);
      });
  }
  for_rows_of_c(s,
                [&](uint64_t at, uint64_t bytes) { core.write(op.dst, op.dst.address + at, bytes, "dst"); });
  if (op.init_zero) {
    std::memset(c, 0, uint64_t{s.m_blocks} * s.n_blocks * 1024);
  } else if (from_table) {
    bool complete;
    const uint8_t* bias = core.read_edges(op.bias, op.bias.address, uint64_t{s.n} * 4, "bias", &complete);
    for (uint32_t j = 0; j < s.n_blocks; ++j)
      for (uint32_t i = 0; i < s.m_blocks * kTile; ++i)
        std::memcpy(c + (uint64_t{j} * s.m_blocks * kTile + i) * 64, bias + j * 64,
                    std::min(kTile, s.n - j * kTile) * 4);
    if (complete) return;
    // Columns without a bias have no result either.
    LocalShadow& shadow = core.local(Memory::L0C).shadow;
    for (uint32_t n = 0; n < s.n; ++n) {
      if (core.local(Memory::BT).shadow.written(static_cast<uint32_t>(op.bias.address) + n * 4)) continue;
      for (uint32_t i = 0; i < s.m; ++i) {
        const uint32_t at =
            static_cast<uint32_t>(op.dst.address) + (n / kTile * s.m_blocks * kTile + i) * 64 + n % kTile * 4;
        shadow.mark_unwritten(at, at + 4);
      }
    }
  }
}

bool legal_types(const MmadOp& op) {
  if (op.a.type != op.b.type) return false;
  if (op.a.type == DType::S8) return op.dst.type == DType::S32;
  return op.dst.type == DType::F32 &&
         (op.a.type == DType::F16 || op.a.type == DType::BF16 || op.a.type == DType::F32);
}

void run_mmad(Core& core, const MmadOp& op) {
  for (uint32_t extent : {op.m, op.n, op.k})
    if (extent > 4095)
      core.fail("limit", format("m, n, k are %u, %u, %u; each is at most 4095", op.m, op.n, op.k));
  if (op.a.memory != Memory::L0A || op.b.memory != Memory::L0B || op.dst.memory != Memory::L0C)
    core.fail("unsupported", "Mmad takes A from A2 (L0A), B from B2 (L0B) and writes CO1 (L0C)");
  if (!legal_types(op)) core.fail("unsupported", "no Mmad for these types on this chip");
  core.aligned(op.dst, 1024, "dst");
  core.aligned(op.a, kFractal, "src0");
  core.aligned(op.b, kFractal, "src1");
  if (!op.m || !op.n || !op.k) return;
  const auto blocks = [](uint32_t extent, uint32_t unit) { return (extent + unit - 1) / unit; };
  Shape s{op.m, op.n, op.k, blocks(op.m, kTile), blocks(op.n, kTile), 0, kBlock / size_of(op.a.type)};
  s.k_blocks = blocks(op.k, s.k_unit);
  if (op.k_align && op.a.type == DType::F32) s.k_blocks = (s.k_blocks + 1) / 2 * 2;  // k in steps of 16
  if (op.unit_flag) core.take_unit_flag(op.dst.address);
  read_operand(core, op.a, s, true, "src0");
  read_operand(core, op.b, s, false, "src1");
  s.m = filled_up(core, op.a, s, true);
  s.n = filled_up(core, op.b, s, false);
  // Small accumulations into one tile overtake each other unless a PipeBarrier<PIPE_M> stands between them.
  core.small_mmad = s.m_blocks * s.n_blocks < 10 && !op.unit_flag;
  start_c(core, op, s);
  core.small_mmad = false;
  if (op.a.type == DType::S8)
    multiply_int8(core, op, s);
  else
    multiply_float(core, op, s);
  Instruction instruction;
  instruction.work = Work::Mmad;
  instruction.pipe = Pipe::M;
  instruction.src_type = op.a.type;
  instruction.m = op.m;
  instruction.n = op.n;
  instruction.k = op.k;
  core.occupy(instruction);
  if (op.unit_flag == 3) core.give_unit_flag(op.dst.address);
}

}  // namespace

void load2d(const LoadOp& given, const Call& call) {
  Core& core = current();
  LoadOp op = given;
  if (!apply(core.visit(call), op)) return;
  const Pipe pipe = op.src.memory == Memory::GM ? Pipe::MTE2 : Pipe::MTE1;
  core.pipe = pipe;
  core.need(CoreKind::Cube);
  const bool from_l1 = op.src.memory == Memory::L1 && is_l0(op.dst.memory);
  const bool from_gm = op.src.memory == Memory::GM && (is_l0(op.dst.memory) || op.dst.memory == Memory::L1);
  if (!from_l1 && !(from_gm && !op.square))
    core.fail("unsupported",
              format("this chip has no load from %s to %s", name_of(op.src.memory), name_of(op.dst.memory)));
  core.issue(pipe, call, [&core, op] { run_load2d(core, op); });
}

void fill(const FillOp& given, const Call& call) {
  Core& core = current();
  FillOp op = given;
  if (!apply(core.visit(call), op)) return;
  const Pipe pipe = op.dst.memory == Memory::L1 ? Pipe::MTE2 : Pipe::MTE1;
  core.pipe = pipe;
  core.need(CoreKind::Cube);
  if (!is_l0(op.dst.memory) && op.dst.memory != Memory::L1)
    core.fail("unsupported", format("InitConstValue does not fill %s", name_of(op.dst.memory)), "dst");
  core.issue(pipe, call, [&core, op] { run_fill(core, op); });
}

void mmad(const MmadOp& given, const Call& call) {
  Core& core = current();
  MmadOp op = given;
  if (!apply(core.visit(call), op)) return;
  core.pipe = Pipe::M;
  core.need(CoreKind::Cube);
  core.issue(Pipe::M, call, [&core, op] { run_mmad(core, op); });
}

}  // namespace ascend_sim
