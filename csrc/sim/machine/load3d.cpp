// LoadData 3D: the image-to-column load of convolutions, [C1, H, W, C0] in L1 to rows of patches in L0A.
#include <algorithm>
#include <cstring>
#include <vector>

#include "machine.h"
#include "transfer.h"

namespace ascend_sim {
namespace {

constexpr uint32_t kTile = 16;

struct Geometry {
  uint32_t c0, out_w, out_h;
};

Geometry geometry_of(Core& core, const Load3DOp& op) {
  const auto outputs = [](uint32_t size, uint32_t before, uint32_t after, uint32_t filter, uint32_t dilation,
                          uint32_t stride) {
    const int64_t span = int64_t{size} + before + after - (int64_t{dilation} * (filter - 1) + 1);
    return span < 0 ? 0u : static_cast<uint32_t>(span / stride + 1);
  };
  if (!op.stride_w || !op.stride_h || !op.filter_w || !op.filter_h || !op.dilation_w || !op.dilation_h)
    core.fail("limit", "strides, filter sizes and dilations of a 3D load are at least 1");
  Geometry g;
  g.c0 = kBlock / size_of(op.dst.type);
  g.out_w = outputs(op.w, op.pad[0], op.pad[1], op.filter_w, op.dilation_w, op.stride_w);
  g.out_h = outputs(op.h, op.pad[2], op.pad[3], op.filter_h, op.dilation_h, op.stride_h);
  return g;
}

// The patch matrix: row m is an output position, column k a channel at a filter position. It lands in L0A as
// it is, or turned over as L0A's or L0B's matrix.
struct Target {
  bool turned, to_l0b;
  uint32_t unit;           // elements of a fractal's row: 32 bytes
  uint32_t rows, columns;  // of the matrix in L0, padded to whole fractals

  uint64_t offset(uint32_t m, uint32_t k) const {
    const uint32_t row = turned && !to_l0b ? k : m, column = turned && !to_l0b ? m : k;
    if (to_l0b)  // fractals of `unit` rows by 16 columns, each stored column by column
      return (uint64_t{row / unit} * (columns / kTile) + column / kTile) * kTile * unit +
             column % kTile * unit + row % unit;
    return (uint64_t{row / kTile} * (columns / unit) + column / unit) * kTile * unit + row % kTile * unit +
           column % unit;
  }
};

uint32_t round_up(uint32_t value, uint32_t unit) {
  return (value + unit - 1) / unit * unit;
}

void run(Core& core, const Load3DOp& op) {
  const Geometry g = geometry_of(core, op);
  const uint32_t size = size_of(op.dst.type);
  if (op.k_start % g.c0 || op.k_extent % g.c0 || op.m_start % kTile)
    core.fail("alignment", format("kStartPt %u and kExtension %u are multiples of %u, mStartPt %u of 16",
                                  op.k_start, op.k_extent, g.c0, op.m_start));
  if (!op.channels || op.channels % 4)
    core.fail("limit", format("channelSize %u is not a multiple of 4", op.channels));
  core.aligned(op.dst, 512, "dst");
  core.aligned(op.src, kBlock, "src");
  Target target{op.transpose, op.dst.memory == Memory::L0B, g.c0, 0, 0};
  const uint32_t m_extent = round_up(op.m_extent, kTile);
  target.rows = target.turned && !target.to_l0b ? round_up(op.k_extent, kTile) : m_extent;
  target.columns = target.turned && !target.to_l0b ? round_up(m_extent, g.c0)
                                                   : round_up(op.k_extent, target.to_l0b ? kTile : g.c0);
  const uint64_t bytes = uint64_t{target.rows} * target.columns * size;
  std::vector<uint8_t> data(bytes), live(bytes);
  Transfer transfer(core, op.dst, op.src);
  const uint32_t filter = op.filter_w * op.filter_h;
  for (uint32_t m = 0; m < m_extent; ++m)
    for (uint32_t k = 0; k < op.k_extent; k += g.c0) {
      // One block of a patch: channel group and filter position come from k, the output position from m.
      const uint32_t group = (op.k_start + k) / g.c0, position = op.m_start + m;
      const uint32_t channel = group / filter, fh = group % filter / op.filter_w, fw = group % op.filter_w;
      const int64_t y =
          int64_t{position / std::max(g.out_w, 1u)} * op.stride_h + int64_t{fh} * op.dilation_h - op.pad[2];
      const int64_t x =
          int64_t{position % std::max(g.out_w, 1u)} * op.stride_w + int64_t{fw} * op.dilation_w - op.pad[0];
      uint8_t block[kBlock], block_live[kBlock];
      std::memset(block_live, 1, kBlock);
      if (y >= 0 && y < int64_t{op.h} && x >= 0 && x < int64_t{op.w} && position < g.out_w * g.out_h) {
        const uint64_t at =
            (uint64_t{channel} * op.h * op.w + static_cast<uint64_t>(y) * op.w + static_cast<uint64_t>(x)) *
            kBlock;
        bool complete;
        std::memcpy(block, transfer.read_edges(op.src.address + at, kBlock, block_live, false, &complete),
                    kBlock);
      } else {
        for (uint32_t e = 0; e < kBlock; e += size) std::memcpy(block + e, &op.pad_value, size);
      }
      for (uint32_t e = 0; e < g.c0; ++e) {
        const uint64_t at = target.offset(m, k + e) * size;
        std::memcpy(&data[at], block + e * size, size);
        std::memset(&live[at], block_live[e * size], size);
      }
    }
  transfer.write_edges(op.dst.address, data.data(), live.data(), bytes);
  transfer.charge();
}

}  // namespace

void load3d(const Load3DOp& given, const Call& call) {
  Core& core = current();
  Load3DOp op = given;
  if (!apply(core.visit(call), op)) return;
  core.pipe = Pipe::MTE1;
  core.need(CoreKind::Cube);
  if (op.src.memory != Memory::L1 || (op.dst.memory != Memory::L0A && op.dst.memory != Memory::L0B))
    core.fail("unsupported", format("this chip has no 3D load from %s to %s", name_of(op.src.memory),
                                    name_of(op.dst.memory)));
  core.issue(Pipe::MTE1, call, [&core, op] { run(core, op); });
}

}  // namespace ascend_sim
