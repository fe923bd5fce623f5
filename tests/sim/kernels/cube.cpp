#include "kernel_operator.h"

// Test kernels of the cube core. L1 images come in from GM and go back as a whole; fractals that were loaded
// into L0 are made visible by multiplying them with the identity.

struct Nd2NzCase {
  uint32_t imageBytes;   // of L1
  uint32_t sourceBytes;  // of GM
  uint32_t dst;          // byte offset into the L1 image
  uint32_t operation;    // 0: ND2NZ, 1: DataCopy with blocks, 2: DataCopy with a count
  uint32_t ndNum;
  uint32_t nValue;
  uint32_t dValue;
  uint32_t srcNdMatrixStride;
  uint32_t srcDValue;
  uint32_t dstNzC0Stride;
  uint32_t dstNzNStride;
  uint32_t dstNzMatrixStride;
};

template <typename T>
__aicore__ inline void RunNd2Nz(GM_ADDR image, GM_ADDR source, const Nd2NzCase& c) {
  AscendC::TPipe pipe;
  AscendC::TBuf<AscendC::TPosition::A1> buffer;
  pipe.InitBuffer(buffer, c.imageBytes);
  AscendC::GlobalTensor<T> imageGm, sourceGm;
  imageGm.SetGlobalBuffer((__gm__ T*)image, c.imageBytes / sizeof(T));
  sourceGm.SetGlobalBuffer((__gm__ T*)source, c.sourceBytes / sizeof(T));
  AscendC::LocalTensor<T> l1 = buffer.Get<T>();
  AscendC::DataCopy(l1, imageGm, c.imageBytes / sizeof(T));
  AscendC::PipeBarrier<PIPE_ALL>();
  if (c.operation == 0) {
    AscendC::Nd2NzParams params;
    params.ndNum = c.ndNum;
    params.nValue = c.nValue;
    params.dValue = c.dValue;
    params.srcNdMatrixStride = c.srcNdMatrixStride;
    params.srcDValue = c.srcDValue;
    params.dstNzC0Stride = c.dstNzC0Stride;
    params.dstNzNStride = c.dstNzNStride;
    params.dstNzMatrixStride = c.dstNzMatrixStride;
    AscendC::DataCopy(l1[c.dst / sizeof(T)], sourceGm, params);
  } else if (c.operation == 1) {
    AscendC::DataCopyParams params(c.ndNum, c.nValue, c.srcDValue, c.dstNzC0Stride);
    AscendC::DataCopy(l1[c.dst / sizeof(T)], sourceGm, params);
  } else {
    AscendC::DataCopy(l1[c.dst / sizeof(T)], sourceGm, c.dValue);
  }
  AscendC::PipeBarrier<PIPE_ALL>();
  AscendC::DataCopy(imageGm, l1, c.imageBytes / sizeof(T));
}

extern "C" __global__ __aicore__ void nd2nz_half(GM_ADDR image, GM_ADDR source, Nd2NzCase c) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIC_ONLY);
  RunNd2Nz<half>(image, source, c);
}

extern "C" __global__ __aicore__ void nd2nz_float(GM_ADDR image, GM_ADDR source, Nd2NzCase c) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIC_ONLY);
  RunNd2Nz<float>(image, source, c);
}

struct LoadCase {
  uint32_t imageBytes;  // of L1
  uint32_t src;         // byte offset into the L1 image
  uint32_t toB;         // 0: L0A, 1: L0B
  uint32_t operation;   // 0: LoadData, 1: LoadDataWithTranspose
  uint32_t startIndex;
  uint32_t repeatTimes;
  uint32_t srcStride;
  uint32_t dstGap;
  uint32_t ifTranspose;
};

// out holds one 16 x 16 float matrix per repeat: the fractal that the repeat wrote.
extern "C" __global__ __aicore__ void load_half(GM_ADDR image, GM_ADDR identity, GM_ADDR out, LoadCase c) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIC_ONLY);
  AscendC::TPipe pipe;
  AscendC::TBuf<AscendC::TPosition::A1> imageBuffer, identityBuffer;
  AscendC::TBuf<AscendC::TPosition::A2> aBuffer;
  AscendC::TBuf<AscendC::TPosition::B2> bBuffer;
  AscendC::TBuf<AscendC::TPosition::CO1> cBuffer;
  pipe.InitBuffer(imageBuffer, c.imageBytes);
  pipe.InitBuffer(identityBuffer, 512);
  pipe.InitBuffer(aBuffer, 65536);
  pipe.InitBuffer(bBuffer, 65536);
  pipe.InitBuffer(cBuffer, 1024);
  AscendC::GlobalTensor<half> imageGm, identityGm;
  AscendC::GlobalTensor<float> outGm;
  imageGm.SetGlobalBuffer((__gm__ half*)image, c.imageBytes / sizeof(half));
  identityGm.SetGlobalBuffer((__gm__ half*)identity, 256);
  outGm.SetGlobalBuffer((__gm__ float*)out, c.repeatTimes * 256);
  AscendC::LocalTensor<half> l1 = imageBuffer.Get<half>(), unit = identityBuffer.Get<half>();
  AscendC::LocalTensor<half> a = aBuffer.Get<half>(), b = bBuffer.Get<half>();
  AscendC::LocalTensor<half> loaded = c.toB == 1 ? b : a, other = c.toB == 1 ? a : b;
  AscendC::LocalTensor<float> product = cBuffer.Get<float>();
  AscendC::DataCopy(l1, imageGm, c.imageBytes / sizeof(half));
  AscendC::DataCopy(unit, identityGm, 256);
  AscendC::PipeBarrier<PIPE_ALL>();
  AscendC::LoadData(other, unit, AscendC::LoadData2DParams(0, 1, 0, 0, 0, false, 0));
  if (c.operation == 0) {
    AscendC::LoadData2DParams params(c.startIndex, c.repeatTimes, c.srcStride, 0, c.dstGap,
                                     c.ifTranspose == 1, 0);
    AscendC::LoadData(loaded, l1[c.src / sizeof(half)], params);
  } else {
    AscendC::LoadData2dTransposeParams params(c.startIndex, c.repeatTimes, c.srcStride, c.dstGap, 0);
    AscendC::LoadDataWithTranspose(loaded, l1[c.src / sizeof(half)], params);
  }
  AscendC::FixpipeParamsV220 fixpipe(16, 16, 16, 16, false);
  for (uint32_t i = 0; i < c.repeatTimes; ++i) {
    const uint32_t fractal = i * (c.dstGap + 1) * 256;
    AscendC::PipeBarrier<PIPE_ALL>();
    if (c.toB == 1) {
      AscendC::Mmad(product, a, b[fractal], AscendC::MmadParams(16, 16, 16, 0, false, true));
    } else {
      AscendC::Mmad(product, a[fractal], b, AscendC::MmadParams(16, 16, 16, 0, false, true));
    }
    AscendC::PipeBarrier<PIPE_ALL>();
    AscendC::Fixpipe(outGm[i * 256], product, fixpipe);
  }
}

struct MatmulCase {
  uint32_t m;
  uint32_t n;
  uint32_t k;
  uint32_t aBytes;  // of the L0A image, at most 64 KiB
  uint32_t bBytes;  // of the L0B image
  uint32_t cBytes;  // of L0C
  uint32_t outBytes;
  uint32_t out;    // byte offset into the output
  uint32_t times;  // Mmads into the same L0C tile: 1, or 2 to accumulate
  uint32_t bias;   // 1: Mmad with bias
  uint32_t nz;     // 1: Fixpipe to NZ
  uint32_t nSize;
  uint32_t mSize;
  uint32_t srcStride;
  uint32_t dstStride;
  uint32_t relu;
  uint32_t ndNum;
  uint32_t srcNdStride;
  uint32_t dstNdStride;
};

template <typename T>
__aicore__ inline void LoadAll(const AscendC::LocalTensor<T>& l0, const AscendC::LocalTensor<T>& l1,
                               uint32_t bytes) {
  AscendC::LoadData(l0, l1, AscendC::LoadData2DParams(0, bytes / 512, 1, 0, 0, false, 0));
}

template <typename In, typename Acc, typename Out, QuantMode_t mode>
__aicore__ inline void RunMatmul(GM_ADDR aImage, GM_ADDR bImage, GM_ADDR bias, GM_ADDR out,
                                 const MatmulCase& c) {
  AscendC::TPipe pipe;
  AscendC::TBuf<AscendC::TPosition::A1> a1Buffer, b1Buffer;
  AscendC::TBuf<AscendC::TPosition::C1> bias1Buffer;
  AscendC::TBuf<AscendC::TPosition::C2> bias2Buffer;
  AscendC::TBuf<AscendC::TPosition::A2> a2Buffer;
  AscendC::TBuf<AscendC::TPosition::B2> b2Buffer;
  AscendC::TBuf<AscendC::TPosition::CO1> cBuffer;
  pipe.InitBuffer(a1Buffer, c.aBytes);
  pipe.InitBuffer(b1Buffer, c.bBytes);
  pipe.InitBuffer(bias1Buffer, 1024);
  pipe.InitBuffer(bias2Buffer, 1024);
  pipe.InitBuffer(a2Buffer, c.aBytes);
  pipe.InitBuffer(b2Buffer, c.bBytes);
  pipe.InitBuffer(cBuffer, c.cBytes);
  AscendC::GlobalTensor<In> aGm, bGm;
  AscendC::GlobalTensor<Acc> biasGm;
  AscendC::GlobalTensor<Out> outGm;
  aGm.SetGlobalBuffer((__gm__ In*)aImage, c.aBytes / sizeof(In));
  bGm.SetGlobalBuffer((__gm__ In*)bImage, c.bBytes / sizeof(In));
  biasGm.SetGlobalBuffer((__gm__ Acc*)bias, 256);
  outGm.SetGlobalBuffer((__gm__ Out*)out, c.outBytes / sizeof(Out));
  AscendC::DataCopy(a1Buffer.Get<In>(), aGm, c.aBytes / sizeof(In));
  AscendC::DataCopy(b1Buffer.Get<In>(), bGm, c.bBytes / sizeof(In));
  AscendC::DataCopy(bias1Buffer.Get<Acc>(), biasGm, 256);
  AscendC::PipeBarrier<PIPE_ALL>();
  LoadAll<In>(a2Buffer.Get<In>(), a1Buffer.Get<In>(), c.aBytes);
  LoadAll<In>(b2Buffer.Get<In>(), b1Buffer.Get<In>(), c.bBytes);
  AscendC::DataCopy(bias2Buffer.Get<Acc>(), bias1Buffer.Get<Acc>(), AscendC::DataCopyParams(1, 16, 0, 0));
  AscendC::PipeBarrier<PIPE_ALL>();
  AscendC::LocalTensor<Acc> product = cBuffer.Get<Acc>();
  for (uint32_t i = 0; i < c.times; ++i) {
    // cmatrixInitVal would win over the bias.
    AscendC::MmadParams params(c.m, c.n, c.k, 0, false, i == 0 && c.bias == 0);
    if (c.bias == 1 && i == 0) {
      AscendC::Mmad(product, a2Buffer.Get<In>(), b2Buffer.Get<In>(), bias2Buffer.Get<Acc>(), params);
    } else {
      AscendC::Mmad(product, a2Buffer.Get<In>(), b2Buffer.Get<In>(), params);
    }
    AscendC::PipeBarrier<PIPE_M>();
  }
  AscendC::PipeBarrier<PIPE_ALL>();
  AscendC::FixpipeParamsV220 fixpipe;
  fixpipe.nSize = c.nSize;
  fixpipe.mSize = c.mSize;
  fixpipe.srcStride = c.srcStride;
  fixpipe.dstStride = c.dstStride;
  fixpipe.reluEn = c.relu == 1;
  fixpipe.quantPre = mode;
  fixpipe.ndNum = c.ndNum;
  fixpipe.srcNdStride = c.srcNdStride;
  fixpipe.dstNdStride = c.dstNdStride;
  if (c.nz == 1) {
    AscendC::Fixpipe<Out, Acc, AscendC::CFG_NZ>(outGm[c.out / sizeof(Out)], product, fixpipe);
  } else {
    AscendC::Fixpipe<Out, Acc, AscendC::CFG_ROW_MAJOR>(outGm[c.out / sizeof(Out)], product, fixpipe);
  }
}

extern "C" __global__ __aicore__ void matmul_half_float(GM_ADDR a, GM_ADDR b, GM_ADDR bias, GM_ADDR out,
                                                        MatmulCase c) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIC_ONLY);
  RunMatmul<half, float, float, QuantMode_t::NoQuant>(a, b, bias, out, c);
}

extern "C" __global__ __aicore__ void matmul_half_half(GM_ADDR a, GM_ADDR b, GM_ADDR bias, GM_ADDR out,
                                                       MatmulCase c) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIC_ONLY);
  RunMatmul<half, float, half, QuantMode_t::F322F16>(a, b, bias, out, c);
}

extern "C" __global__ __aicore__ void matmul_half_bfloat16(GM_ADDR a, GM_ADDR b, GM_ADDR bias, GM_ADDR out,
                                                           MatmulCase c) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIC_ONLY);
  RunMatmul<half, float, bfloat16_t, QuantMode_t::F322BF16>(a, b, bias, out, c);
}

extern "C" __global__ __aicore__ void matmul_bfloat16_float(GM_ADDR a, GM_ADDR b, GM_ADDR bias, GM_ADDR out,
                                                            MatmulCase c) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIC_ONLY);
  RunMatmul<bfloat16_t, float, float, QuantMode_t::NoQuant>(a, b, bias, out, c);
}

extern "C" __global__ __aicore__ void matmul_bfloat16_bfloat16(GM_ADDR a, GM_ADDR b, GM_ADDR bias,
                                                               GM_ADDR out, MatmulCase c) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIC_ONLY);
  RunMatmul<bfloat16_t, float, bfloat16_t, QuantMode_t::F322BF16>(a, b, bias, out, c);
}

extern "C" __global__ __aicore__ void matmul_float_float(GM_ADDR a, GM_ADDR b, GM_ADDR bias, GM_ADDR out,
                                                         MatmulCase c) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIC_ONLY);
  RunMatmul<float, float, float, QuantMode_t::NoQuant>(a, b, bias, out, c);
}

extern "C" __global__ __aicore__ void matmul_int8_int32(GM_ADDR a, GM_ADDR b, GM_ADDR bias, GM_ADDR out,
                                                        MatmulCase c) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIC_ONLY);
  RunMatmul<int8_t, int32_t, int32_t, QuantMode_t::NoQuant>(a, b, bias, out, c);
}
