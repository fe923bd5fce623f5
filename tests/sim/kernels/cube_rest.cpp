#include "kernel_operator.h"

// Fixpipe with quantisation and into L1, and filling L1 with a constant.
struct TileCase {
  uint32_t rows;
  uint32_t columns;
  uint32_t relu;
  uint64_t scale;  // FixpipeParamsV220::deqScalar
};

// One product of k = 32 (int8) or 16 (half) in L0C; a and b are fractals as they lie in L0.
template <typename In, typename Acc>
class Tile {
 public:
  __aicore__ inline Tile() {}

  __aicore__ inline AscendC::LocalTensor<Acc> Multiply(GM_ADDR a, GM_ADDR b, uint32_t rows,
                                                       uint32_t columns) {
    const uint32_t aBytes = rows * 32, bBytes = columns * 32;
    pipe.InitBuffer(a1_, aBytes);
    pipe.InitBuffer(b1_, bBytes);
    pipe.InitBuffer(a2_, aBytes);
    pipe.InitBuffer(b2_, bBytes);
    pipe.InitBuffer(c_, rows * columns * sizeof(Acc));
    AscendC::GlobalTensor<In> aGm, bGm;
    aGm.SetGlobalBuffer((__gm__ In*)a, aBytes / sizeof(In));
    bGm.SetGlobalBuffer((__gm__ In*)b, bBytes / sizeof(In));
    AscendC::DataCopy(a1_.Get<In>(), aGm, aBytes / sizeof(In));
    AscendC::DataCopy(b1_.Get<In>(), bGm, bBytes / sizeof(In));
    AscendC::PipeBarrier<PIPE_ALL>();
    AscendC::LoadData(a2_.Get<In>(), a1_.Get<In>(),
                      AscendC::LoadData2DParams(0, aBytes / 512, 1, 0, 0, false, 0));
    AscendC::LoadData(b2_.Get<In>(), b1_.Get<In>(),
                      AscendC::LoadData2DParams(0, bBytes / 512, 1, 0, 0, false, 0));
    AscendC::PipeBarrier<PIPE_ALL>();
    AscendC::Mmad(c_.Get<Acc>(), a2_.Get<In>(), b2_.Get<In>(),
                  AscendC::MmadParams(rows, columns, 32 / sizeof(In), 0, false, true));
    AscendC::PipeBarrier<PIPE_ALL>();
    return c_.Get<Acc>();
  }

  AscendC::TPipe pipe;

 private:
  AscendC::TBuf<AscendC::TPosition::A1> a1_, b1_;
  AscendC::TBuf<AscendC::TPosition::A2> a2_;
  AscendC::TBuf<AscendC::TPosition::B2> b2_;
  AscendC::TBuf<AscendC::TPosition::CO1> c_;
};

__aicore__ inline AscendC::FixpipeParamsV220 Move(const TileCase& c, uint32_t stride, QuantMode_t mode) {
  AscendC::FixpipeParamsV220 params;
  params.nSize = c.columns;
  params.mSize = c.rows;
  params.srcStride = c.rows;
  params.dstStride = stride;
  params.reluEn = c.relu == 1;
  params.quantPre = mode;
  params.deqScalar = c.scale;
  return params;
}

extern "C" __global__ __aicore__ void quantise_int32_half(GM_ADDR a, GM_ADDR b, GM_ADDR out, TileCase c) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIC_ONLY);
  Tile<int8_t, int32_t> tile;
  AscendC::GlobalTensor<half> outGm;
  outGm.SetGlobalBuffer((__gm__ half*)out, c.rows * c.columns);
  AscendC::Fixpipe(outGm, tile.Multiply(a, b, c.rows, c.columns), Move(c, c.columns, QuantMode_t::DEQF16));
}

extern "C" __global__ __aicore__ void quantise_int32_int8(GM_ADDR a, GM_ADDR b, GM_ADDR out, TileCase c) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIC_ONLY);
  Tile<int8_t, int32_t> tile;
  AscendC::GlobalTensor<int8_t> outGm;
  outGm.SetGlobalBuffer((__gm__ int8_t*)out, c.rows * c.columns);
  AscendC::Fixpipe(outGm, tile.Multiply(a, b, c.rows, c.columns), Move(c, c.columns, QuantMode_t::REQ8));
}

// L0C to L1 in NZ, then L1 as it is to GM.
extern "C" __global__ __aicore__ void fixpipe_to_l1(GM_ADDR a, GM_ADDR b, GM_ADDR out, TileCase c) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIC_ONLY);
  Tile<half, float> tile;
  AscendC::TBuf<AscendC::TPosition::A1> buffer;
  AscendC::LocalTensor<float> product = tile.Multiply(a, b, c.rows, c.columns);
  tile.pipe.InitBuffer(buffer, c.rows * c.columns * sizeof(half));
  AscendC::LocalTensor<half> l1 = buffer.Get<half>();
  AscendC::Fixpipe<half, float, AscendC::CFG_NZ>(l1, product, Move(c, c.rows, QuantMode_t::F322F16));
  AscendC::PipeBarrier<PIPE_ALL>();
  AscendC::GlobalTensor<half> outGm;
  outGm.SetGlobalBuffer((__gm__ half*)out, c.rows * c.columns);
  AscendC::DataCopy(outGm, l1, c.rows * c.columns);
}

struct FillCase {
  uint32_t bytes;
  uint32_t repeatTimes;
  uint32_t blockNum;
  uint32_t dstGap;
  float value;
};

extern "C" __global__ __aicore__ void fill_l1(GM_ADDR image, FillCase c) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIC_ONLY);
  AscendC::TPipe pipe;
  AscendC::TBuf<AscendC::TPosition::A1> buffer;
  pipe.InitBuffer(buffer, c.bytes);
  AscendC::GlobalTensor<half> gm;
  gm.SetGlobalBuffer((__gm__ half*)image, c.bytes / sizeof(half));
  AscendC::LocalTensor<half> l1 = buffer.Get<half>();
  AscendC::DataCopy(l1, gm, c.bytes / sizeof(half));
  AscendC::PipeBarrier<PIPE_ALL>();
  AscendC::InitConstValueParams<half> params(c.repeatTimes, c.blockNum, c.dstGap, static_cast<half>(c.value));
  AscendC::InitConstValue(l1, params);
  AscendC::PipeBarrier<PIPE_ALL>();
  AscendC::DataCopy(gm, l1, c.bytes / sizeof(half));
}

struct Load3DCase {
  uint32_t height;
  uint32_t width;
  uint32_t filter;  // both sides of it
  uint32_t stride;
  uint32_t dilation;
  uint32_t padding;  // on all four sides
  uint32_t m;        // output positions, a multiple of 16
  uint32_t k;        // filter * filter * 16
  float padValue;
};

// A feature map [height, width, 16] to L0A by LoadData3D, made visible by multiplying with the identity [k,
// k].
extern "C" __global__ __aicore__ void load3d(GM_ADDR map, GM_ADDR identity, GM_ADDR out, Load3DCase c) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIC_ONLY);
  AscendC::TPipe pipe;
  AscendC::TBuf<AscendC::TPosition::A1> a1Buffer, b1Buffer;
  AscendC::TBuf<AscendC::TPosition::A2> a2Buffer;
  AscendC::TBuf<AscendC::TPosition::B2> b2Buffer;
  AscendC::TBuf<AscendC::TPosition::CO1> cBuffer;
  const uint32_t mapSize = c.height * c.width * 16;
  pipe.InitBuffer(a1Buffer, mapSize * sizeof(half));
  pipe.InitBuffer(b1Buffer, c.k * c.k * sizeof(half));
  pipe.InitBuffer(a2Buffer, c.m * c.k * sizeof(half));
  pipe.InitBuffer(b2Buffer, c.k * c.k * sizeof(half));
  pipe.InitBuffer(cBuffer, c.m * c.k * sizeof(float));
  AscendC::GlobalTensor<half> mapGm, identityGm;
  AscendC::GlobalTensor<float> outGm;
  mapGm.SetGlobalBuffer((__gm__ half*)map, mapSize);
  identityGm.SetGlobalBuffer((__gm__ half*)identity, c.k * c.k);
  outGm.SetGlobalBuffer((__gm__ float*)out, c.m * c.k);
  AscendC::DataCopy(a1Buffer.Get<half>(), mapGm, mapSize);
  AscendC::DataCopy(b1Buffer.Get<half>(), identityGm, c.k * c.k);
  AscendC::PipeBarrier<PIPE_ALL>();
  AscendC::LoadData3DParamsV2<half> params;
  for (uint32_t i = 0; i < 4; ++i) {
    params.padList[i] = c.padding;
  }
  params.l1H = c.height;
  params.l1W = c.width;
  params.channelSize = 16;
  params.kExtension = c.k;
  params.mExtension = c.m;
  params.strideW = c.stride;
  params.strideH = c.stride;
  params.filterW = c.filter;
  params.filterH = c.filter;
  params.dilationFilterW = c.dilation;
  params.dilationFilterH = c.dilation;
  params.padValue = static_cast<half>(c.padValue);
  AscendC::LoadData(a2Buffer.Get<half>(), a1Buffer.Get<half>(), params);
  AscendC::LoadData(b2Buffer.Get<half>(), b1Buffer.Get<half>(),
                    AscendC::LoadData2DParams(0, c.k * c.k / 256, 1, 0, 0, false, 0));
  AscendC::PipeBarrier<PIPE_ALL>();
  AscendC::Mmad(cBuffer.Get<float>(), a2Buffer.Get<half>(), b2Buffer.Get<half>(),
                AscendC::MmadParams(c.m, c.k, c.k, 0, false, true));
  AscendC::PipeBarrier<PIPE_ALL>();
  AscendC::Fixpipe(outGm, cBuffer.Get<float>(), AscendC::FixpipeParamsV220(c.k, c.m, c.m, c.k, false));
}
