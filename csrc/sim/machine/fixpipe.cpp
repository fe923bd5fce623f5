// Fixpipe: from L0C (Nz, fp32 or int32) to GM or L1, converting type and layout on the way.
#include <algorithm>
#include <cstring>

#include "machine.h"
#include "round.h"
#include "transfer.h"

namespace ascend_sim {
namespace {

constexpr uint32_t kTile = 16;

float scale_of(uint64_t packed) {
  // The dequantisation factor is the upper 19 bits of an fp32, in bits 13 to 31.
  const uint32_t bits = static_cast<uint32_t>(packed) & 0xFFFFE000;
  float scale;
  std::memcpy(&scale, &bits, 4);
  return scale;
}

uint32_t to_int8(float value, uint64_t packed, bool is_signed) {
  // Bits 37 to 45: a signed 9-bit offset, added after rounding.
  const int offset = static_cast<int>(static_cast<int64_t>(packed << 18) >> 55);
  const double rounded = round_whole(value, kRint) + offset;
  const double low = is_signed ? -128 : 0, high = is_signed ? 127 : 255;
  return static_cast<uint8_t>(
      static_cast<int>(std::min(high, std::max(low, rounded != rounded ? 0 : rounded))));
}

// One element; `bits` of L0C in, bits of the destination's type out.
uint32_t convert(const FixpipeOp& op, uint32_t bits, uint64_t scale) {
  float value;
  if (op.src.type == DType::S32) {
    const int32_t whole = static_cast<int32_t>(bits);
    if (op.quant == Quant::None) return op.relu && whole < 0 ? 0 : bits;
    value = static_cast<float>(whole) * scale_of(scale);
  } else {
    std::memcpy(&value, &bits, 4);
    if (op.quant == Quant::ToS8 || op.quant == Quant::ToS8Vector) value *= scale_of(scale);
  }
  if (op.relu && value < 0) value = 0;
  switch (op.quant) {
    case Quant::None:
      std::memcpy(&bits, &value, 4);
      return bits;
    case Quant::F32ToBF16:
      return narrow_bf16(value, kRint);
    case Quant::F32ToF16:
    case Quant::S32ToF16:
    case Quant::S32ToF16Vector:
      return narrow_half(value, kRint);
    default:
      return to_int8(value, scale, op.dst.type == DType::S8);
  }
}

bool is_vector(Quant quant) {
  return quant == Quant::S32ToF16Vector || quant == Quant::ToS8Vector || quant == Quant::S32ToS8Vector;
}

bool legal(const FixpipeOp& op) {
  const bool f32 = op.src.type == DType::F32, s32 = op.src.type == DType::S32;
  const bool b8 = op.dst.type == DType::S8 || op.dst.type == DType::U8;
  switch (op.quant) {
    case Quant::None:
      return op.dst.type == op.src.type && (f32 || s32);
    case Quant::F32ToF16:
      return f32 && op.dst.type == DType::F16;
    case Quant::F32ToBF16:
      return f32 && op.dst.type == DType::BF16;
    case Quant::S32ToF16:
    case Quant::S32ToF16Vector:
      return s32 && op.dst.type == DType::F16;
    case Quant::ToS8:
    case Quant::ToS8Vector:
      return f32 && b8;
    case Quant::S32ToS8:
    case Quant::S32ToS8Vector:
      return s32 && b8;
    case Quant::Unknown:
      break;
  }
  return false;
}

void check(Core& core, const FixpipeOp& op) {
  if (op.src.memory != Memory::L0C) core.fail("unsupported", "Fixpipe reads CO1 (L0C)", "src");
  if (op.dst.memory != Memory::GM && op.dst.memory != Memory::L1)
    core.fail("unsupported", format("this chip has no path from L0C to %s", name_of(op.dst.memory)), "dst");
  if (!legal(op)) core.fail("unsupported", "quantPre does not convert between these types", "quantPre");
  if (op.dst.memory == Memory::L1 && (op.quant == Quant::None || op.to_nd || op.channel_split))
    core.fail("unsupported", "from L0C to L1 the layout is NZ and quantPre converts to a narrower type",
              "dst");
  if (op.channel_split && (op.to_nd || op.dst.type != DType::F32))
    core.fail("unsupported", "isChannelSplit is for fp32 in NZ layout only", "isChannelSplit");
  const uint32_t unit = op.to_nd ? 1 : op.channel_split ? 8 : kTile;
  if (op.n > 4095 || op.n % unit)
    core.fail("limit", format("nSize %u; it is at most 4095 and a multiple of %u here", op.n, unit), "nSize");
  if (op.m > (op.to_nd ? 8192u : 65535u)) core.fail("limit", format("mSize %u", op.m), "mSize");
  if (op.dst_stride == 0) core.fail("limit", "dstStride is 0", "dstStride");
  if (op.src_stride > 65535)
    core.fail("limit", format("srcStride %u is above 65535", op.src_stride), "srcStride");
  if (op.matrices > 1 && (op.src_matrix_stride < 1 || op.src_matrix_stride > 512))
    core.fail("limit", format("srcNdStride %u is outside 1 to 512", op.src_matrix_stride), "srcNdStride");
  if (op.matrices > 1 && (op.dst_matrix_stride < 1 || op.dst_matrix_stride > 65535))
    core.fail("limit", format("dstNdStride %u is outside 1 to 65535", op.dst_matrix_stride), "dstNdStride");
  core.aligned(op.src, 64, "src");
  if (op.dst.memory == Memory::L1) core.aligned(op.dst, kBlock, "dst");
}

// The scales, one per column, when they come from L1 by way of the fixpipe buffer.
std::vector<uint64_t> read_scales(Core& core, const FixpipeOp& op) {
  std::vector<uint64_t> scales(op.n, op.scale);
  if (!is_vector(op.quant)) return scales;
  const Operand& source = op.has_workspace ? op.workspace : core.quant_buffer;
  if (source.type == DType::None)
    core.fail("unsupported", "a vector quantPre without SetFixPipeConfig or cbufWorkspace");
  std::memcpy(scales.data(), core.read(source, source.address, uint64_t{op.n} * 8, "quant"),
              uint64_t{op.n} * 8);
  return scales;
}

void run(Core& core, const FixpipeOp& op) {
  check(core, op);
  if (!op.n || !op.m || !op.matrices) return;
  if (op.unit_flag) core.take_unit_flag(op.src.address);
  const std::vector<uint64_t> scales = read_scales(core, op);
  const uint32_t size = size_of(op.dst.type);
  Transfer transfer(core, op.dst, op.src);
  const uint32_t columns = (op.n + kTile - 1) / kTile;
  std::vector<uint8_t> row(op.to_nd ? uint64_t{op.n} * size : uint64_t{op.m} * kTile * size);
  const auto source = [&](uint32_t matrix, uint32_t column) {
    return op.src.address + uint64_t{matrix} * op.src_matrix_stride * 1024 +
           uint64_t{column} * op.src_stride * 64;
  };
  const auto put = [&](uint8_t* at, uint32_t bits, uint32_t n) {
    const uint32_t value = convert(op, bits, scales[n]);
    std::memcpy(at, &value, size);
  };
  for (uint32_t matrix = 0; matrix < op.matrices; ++matrix) {
    // Columns that only fill the last fractal up may hold nothing; in L1 they go on holding nothing.
    bool complete = true;
    for (uint32_t column = 0; column < columns; ++column) {
      const uint32_t width = std::min(kTile, op.n - column * kTile), rows = width == kTile ? 1 : op.m;
      const uint64_t bytes = width == kTile ? uint64_t{op.m} * 64 : width * 4;
      for (uint32_t i = 0; i < rows; ++i) {
        const uint64_t at = source(matrix, column) + uint64_t{i} * 64;
        if (op.dst.memory == Memory::GM) {
          transfer.read(at, bytes);
          continue;
        }
        bool all;
        std::vector<uint8_t> live(bytes);
        transfer.read_edges(at, bytes, live.data(), true, &all);
        complete = complete && all;
      }
    }
    const uint8_t* l0c = core.local(Memory::L0C).bytes.data();
    const auto value = [&](uint32_t i, uint32_t j) {
      uint32_t bits;
      std::memcpy(&bits, l0c + source(matrix, j / kTile) + uint64_t{i} * 64 + j % kTile * 4, 4);
      return bits;
    };
    if (op.to_nd) {
      for (uint32_t i = 0; i < op.m; ++i) {
        for (uint32_t j = 0; j < op.n; ++j) put(row.data() + uint64_t{j} * size, value(i, j), j);
        transfer.store(
            op.dst.address + (uint64_t{matrix} * op.dst_matrix_stride + uint64_t{i} * op.dst_stride) * size,
            row.data(), row.size(), op.dst.type);
      }
      continue;
    }
    // Columns of fractals: 16 wide, 32 for 8-bit types, 8 for a split fp32.
    const uint32_t width = op.channel_split ? 8 : size == 1 ? 32 : kTile;
    std::vector<uint8_t> panel(uint64_t{op.m} * width * size);
    for (uint32_t j = 0; j < op.n; j += width) {
      std::fill(panel.begin(), panel.end(), uint8_t{0});
      for (uint32_t i = 0; i < op.m; ++i)
        for (uint32_t c = 0; c < std::min(width, op.n - j); ++c)
          put(panel.data() + (uint64_t{i} * width + c) * size, value(i, j + c), j + c);
      transfer.store(op.dst.address + uint64_t{j / width} * op.dst_stride * kBlock, panel.data(),
                     panel.size(), op.dst.type);
      if (complete) continue;
      for (uint32_t i = 0; i < op.m; ++i)
        for (uint32_t c = 0; c < std::min(width, op.n - j); ++c) {
          const uint64_t from = source(matrix, (j + c) / kTile) + uint64_t{i} * 64 + (j + c) % kTile * 4;
          const uint64_t to = op.dst.address + uint64_t{j / width} * op.dst_stride * kBlock +
                              (uint64_t{i} * width + c) * size;
          if (!core.local(Memory::L0C).shadow.written(static_cast<uint32_t>(from)))
            core.local(Memory::L1)
                .shadow.mark_unwritten(static_cast<uint32_t>(to), static_cast<uint32_t>(to + size));
        }
    }
  }
  transfer.charge(Work::Fixpipe);
  if (op.unit_flag) core.give_unit_flag(op.src.address);
}

}  // namespace

void fixpipe(const FixpipeOp& given, const Call& call) {
  Core& core = current();
  FixpipeOp op = given;
  if (!apply(core.visit(call), op)) return;
  core.pipe = Pipe::FIX;
  core.need(CoreKind::Cube);
  if (op.from_registers) {
    if (op.to_nd) {
      op.matrices = core.nd_count;
      op.src_matrix_stride = core.nd_src_stride;
      op.dst_matrix_stride = core.nd_dst_stride;
    }
    op.scale = core.quant_scale;
  }
  core.issue(Pipe::FIX, call, [&core, op] { run(core, op); });
}

}  // namespace ascend_sim
