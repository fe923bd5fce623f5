// LoadData 3D: the image-to-column load of convolutions, [C1, H, W, C0] in L1 to rows of patches in L0A.
#include <cstring>

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
  Transfer transfer(core, op.dst, op.src);
  const uint32_t m_blocks = (op.m_extent + kTile - 1) / kTile, k_blocks = op.k_extent / g.c0;
  const bool to_l0b = op.dst.memory == Memory::L0B;  // always transposes: k along the rows of fractals
  std::vector<uint8_t> fractal(512);
  for (uint32_t mb = 0; mb < m_blocks; ++mb)
    for (uint32_t kb = 0; kb < k_blocks; ++kb) {
      for (uint32_t row = 0; row < kTile; ++row) {
        // One block of a patch: filter position and channel group come from k, the output position from m.
        const uint32_t k = op.k_start / g.c0 + kb, m = op.m_start + mb * kTile + row;
        const uint32_t filter = op.filter_w * op.filter_h;
        const uint32_t channel = k / filter, fh = k % filter / op.filter_w, fw = k % op.filter_w;
        uint8_t* target = fractal.data() + row * kBlock;
        const int64_t y =
            int64_t{m / std::max(g.out_w, 1u)} * op.stride_h + int64_t{fh} * op.dilation_h - op.pad[2];
        const int64_t x =
            int64_t{m % std::max(g.out_w, 1u)} * op.stride_w + int64_t{fw} * op.dilation_w - op.pad[0];
        const bool inside =
            y >= 0 && y < int64_t{op.h} && x >= 0 && x < int64_t{op.w} && m < g.out_w * g.out_h;
        if (inside) {
          const uint64_t at =
              (uint64_t{channel} * op.h * op.w + static_cast<uint64_t>(y) * op.w + static_cast<uint64_t>(x)) *
              kBlock;
          std::memcpy(target, transfer.read(op.src.address + at, kBlock), kBlock);
        } else {
          for (uint32_t e = 0; e < kBlock; e += size) std::memcpy(target + e, &op.pad_value, size);
        }
      }
      uint8_t* dst = transfer.write(op.dst.address + (uint64_t{mb} * k_blocks + kb) * 512, 512);
      if (!to_l0b) {
        std::memcpy(dst, fractal.data(), 512);
        continue;
      }
      const uint16_t* in = reinterpret_cast<const uint16_t*>(fractal.data());
      uint16_t* out = reinterpret_cast<uint16_t*>(dst);
      for (uint32_t r = 0; r < kTile; ++r)
        for (uint32_t c = 0; c < kTile; ++c) out[c * kTile + r] = in[r * kTile + c];
    }
  transfer.charge(m_blocks * k_blocks, 512);
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
  if (op.dst.memory == Memory::L0B && size_of(op.dst.type) != 2)
    core.fail("unsupported", "a 3D load into L0B transposes, which is for 16-bit types");
  if (op.dst.memory == Memory::L0A && op.transpose)
    core.fail("unsupported", "enTranspose of a 3D load into L0A");
  core.issue(Pipe::MTE1, call, [&core, op] { run(core, op); });
}

}  // namespace ascend_sim
