// The seam between the AscendC headers and the machine: each API builds one plain descriptor and hands it
// over together with the place it was called from. Everything the hardware does happens on the other side, in
// csrc/sim/machine.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ascend_sim {

enum class Pipe : uint8_t { S, V, M, MTE1, MTE2, MTE3, FIX, Count };
enum class Memory : uint8_t { GM, UB, L1, L0A, L0B, L0C, BT, FB, Count };  // the order of AscendC::Hardware
enum class DType : uint8_t { F32, F16, BF16, S8, U8, S16, U16, S32, U32, S64, U64, S4, None };
enum class CoreKind : uint8_t { Cube, Vector };

constexpr int kPipes = static_cast<int>(Pipe::Count);
constexpr uint32_t kBlock = 32;    // bytes of a UB block
constexpr uint32_t kRepeat = 256;  // bytes a vector instruction handles in one repeat

constexpr uint32_t size_of(DType type) {
  switch (type) {
    case DType::F32:
    case DType::S32:
    case DType::U32:
      return 4;
    case DType::F16:
    case DType::BF16:
    case DType::S16:
    case DType::U16:
      return 2;
    case DType::S64:
    case DType::U64:
      return 8;
    default:
      return 1;
  }
}

// Where in the kernel source an API was called. As the last, defaulted parameter of every API it is filled in
// by the compiler at the caller, which keeps calls source compatible with CANN's headers.
struct Site {
  const char* file = nullptr;
  int line = 0;
  static constexpr Site here(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    return {file, line};
  }
};

struct Call {
  const char* api;
  Site site;
};

// A tensor as an instruction sees it: an address, and the bytes [begin, end) of the buffer it was cut from.
struct Operand {
  Memory memory = Memory::GM;
  DType type = DType::None;
  uint64_t address = 0;
  uint64_t begin = 0;
  uint64_t end = 0;
  bool bypass_l2 = false;  // GM: CACHE_MODE_DISABLE
};

// ---- vector ----

enum class VecCode : uint8_t {
  // unary
  Abs,
  Exp,
  Ln,
  Sqrt,
  Rsqrt,
  Reciprocal,
  Relu,
  Not,
  // binary
  Add,
  Sub,
  Mul,
  Div,
  Max,
  Min,
  And,
  Or,
  AddRelu,
  SubRelu,
  MulAddDst,
  FusedMulAdd,
  FusedMulAddRelu,
  // vector with scalar
  Adds,
  Muls,
  Maxs,
  Mins,
  LeakyRelu,
  ShiftLeft,
  ShiftRight,
  ShiftRightRound,  // to nearest, halves up

  Axpy,
  // moves
  Duplicate,
  Copy,
  Cast,
  // comparison
  Compare,
  CompareScalar,
  CompareToMask,
  SelectMask,
  SelectScalar,
  SelectTensor,
  // reductions
  BlockReduceSum,
  BlockReduceMax,
  BlockReduceMin,
  PairReduceSum,
  WholeReduceSum,
  WholeReduceMax,
  WholeReduceMin,
  ReduceSum,
  ReduceMax,
  ReduceMin,  // over all repeats; src1 is the work tensor
  // rearrangement
  Brcb,
  Gather,
  Gatherb,
  GatherMask,
  Transpose,
  CreateVecIndex,
  GetCmpMask,
  SetCmpMask,
};

// TransDataTo5HD: 16 addresses of rows in, 16 out.
struct TransposeRowsOp {
  DType type;
  uint64_t dst[16], src[16];
  bool dst_high = false, src_high = false;  // which half of a block, for 8-bit types
  uint32_t repeat = 1;
  uint32_t dst_stride = 0, src_stride = 0;
};

enum class MaskKind : uint8_t {
  Register,  // what SetVectorMask left (isSetMask = false)
  Lanes,     // the first `lanes` elements of each repeat
  Bits,      // a bit per element of a repeat
  Elements,  // counter mode: `lanes` elements in all
};

struct Mask {
  MaskKind kind = MaskKind::Elements;
  uint64_t lanes = 0;
  uint64_t bits[2] = {0, 0};
};

struct Stride {
  uint32_t block = 1;   // 32-byte units between the blocks of a repeat
  uint32_t repeat = 8;  // between repeats; the unit depends on the instruction
};

struct VectorOp {
  VecCode code;
  Operand dst, src0, src1, mask_tensor;
  Stride dst_stride, src0_stride, src1_stride;
  Mask mask;
  int64_t repeat = 1;
  uint64_t scalar = 0;  // its bits, in the type the instruction takes it in
  uint8_t mode = 0;     // round mode, comparison, select mode, reduce order, gather pattern
  uint8_t flags = 0;    // per instruction: round enable of ShiftRight, reduceMode of GatherMask ...
  int sources = 1;
};

// ---- movement ----

enum class CopyKind : uint8_t { Plain, Pad, Nd2Nz, BiasTable, FixpipeBuffer };

struct CopyOp {
  CopyKind kind = CopyKind::Plain;
  Operand dst, src;
  // Plain, Pad: `count` bursts of `length` bytes, gaps in bytes between them.
  uint64_t count = 1, length = 0, src_gap = 0, dst_gap = 0;
  // Pad: elements before and after each burst, and the value.
  bool pad = false;
  uint32_t left = 0, right = 0;
  uint64_t pad_value = 0;
  // Nd2Nz: matrices of n rows by d elements; strides in elements of the type unless said otherwise.
  uint64_t matrices = 1, n = 0, d = 0, src_matrix_stride = 0, src_d = 0;
  uint64_t dst_c0_stride = 0, dst_n_stride = 0, dst_matrix_stride = 0;  // dst_c0, dst_n in 32-byte units
};

// ---- cube ----

struct LoadOp {
  Operand dst, src;
  uint32_t start = 0, repeat = 0, src_stride = 0, dst_gap = 0;
  uint32_t dst_fractal_gap = 0, src_fractal_gap = 0;
  bool transpose = false;
  bool square = false;    // LoadDataWithTranspose: units are squares of fractals
  bool decrease = false;  // addrMode 1: source addresses run down
};

struct Load3DOp {
  Operand dst, src;
  uint8_t pad[4] = {0, 0, 0, 0};
  uint32_t h = 0, w = 0, channels = 0, k_extent = 0, m_extent = 0, k_start = 0, m_start = 0;
  uint32_t stride_w = 1, stride_h = 1, filter_w = 1, filter_h = 1, dilation_w = 1, dilation_h = 1;
  bool transpose = false;
  uint64_t pad_value = 0;
};

struct FillOp {
  Operand dst;
  uint32_t repeat = 0, blocks = 0, gap = 0;
  uint64_t value = 0;
};

struct MmadOp {
  Operand dst, a, b, bias;
  bool has_bias = false;
  uint32_t m = 0, n = 0, k = 0;
  uint8_t unit_flag = 0;
  bool init_from_table = false;  // cmatrixSource
  bool init_zero = true;         // cmatrixInitVal
  bool k_align = false;          // kDirectionAlign
};

enum class Quant : uint8_t {
  None,
  F32ToF16,
  F32ToBF16,
  S32ToF16,
  S32ToF16Vector,
  ToS8,
  ToS8Vector,
  S32ToS8,
  S32ToS8Vector,
  Unknown
};

struct FixpipeOp {
  Operand dst, src, workspace;
  bool has_workspace = false;
  uint32_t n = 0, m = 0, src_stride = 0, dst_stride = 0;
  uint32_t matrices = 1, src_matrix_stride = 0, dst_matrix_stride = 0;
  Quant quant = Quant::None;
  uint64_t scale = 0;
  bool relu = false, to_nd = true, channel_split = false;
  bool from_registers = false;  // matrices and scale are what the registers hold
  uint8_t unit_flag = 0;
};

void vector(const VectorOp& op, const Call& call);
void transpose_rows(const TransposeRowsOp& op, const Call& call);
void copy(const CopyOp& op, const Call& call);
void load2d(const LoadOp& op, const Call& call);
void load3d(const Load3DOp& op, const Call& call);
void fill(const FillOp& op, const Call& call);
void mmad(const MmadOp& op, const Call& call);
void fixpipe(const FixpipeOp& op, const Call& call);

// ---- scalar access; `bytes` of the element, value in the low bytes ----

uint64_t scalar_read(const Operand& src, uint32_t bytes, const Call& call);
void scalar_write(const Operand& dst, uint32_t bytes, uint64_t value, const Call& call);
void scalar_barrier(const Call& call);
void clean_cache(const Operand& line, bool entire, const Call& call);

// ---- synchronisation ----

void set_flag(Pipe from, Pipe to, int64_t event, const Call& call);
void wait_flag(Pipe from, Pipe to, int64_t event, const Call& call);
void pipe_barrier(Pipe pipe, const Call& call);
void barrier_all(const Call& call);
void cross_core_set(int mode, Pipe pipe, uint32_t flag, const Call& call);
void cross_core_wait(uint32_t flag, const Call& call);
void sync_all(bool vector_only, const Call& call);

// ---- buffers and queues ----

constexpr int kNoEvent = -1;

struct Queue {
  Memory memory = Memory::UB;
  Pipe producer = Pipe::MTE2, consumer = Pipe::V;
  int depth = 0;
  int position = 0;          // its TPosition
  int first = 0, count = 0;  // its buffers, as indices into the core's list
  int cursor = 0;            // where the search for a free buffer starts
  int head = 0, used = 0;    // ring of enqueued buffers
  int ring[16] = {};
  int occupied = 0;
  bool initialised = false;
};

struct Piece {
  uint64_t address = 0;
  uint64_t length = 0;
  int handle = -1;
};

void pipe_init(const Call& call);
void pipe_destroy(const Call& call) noexcept(false);
void pipe_reset(const Call& call);
int pipe_alloc_event(Pipe from, Pipe to, const Call& call);
int pipe_fetch_event(Pipe from, Pipe to, const Call& call);
void pipe_release_event(Pipe from, Pipe to, int event, const Call& call);
void queue_init(Queue& queue, uint32_t buffers, uint64_t bytes, const Call& call);
Piece buffer_init(Memory memory, uint64_t bytes, const Call& call);
Piece queue_alloc(Queue& queue, const Call& call);
void queue_free(Queue& queue, int handle, const Call& call);
void queue_push(Queue& queue, int handle, Pipe from, Pipe to, const Call& call);
Piece queue_pop(Queue& queue, Pipe from, Pipe to, const Call& call);
bool queue_has_idle(const Queue& queue);
void queue_release_events(Queue& queue, const Call& call);
// Checks that [head, head + bytes) exists; the bytes the tensor gets.
uint64_t static_alloc(Memory memory, uint64_t head, uint64_t bytes, const Call& call);
uint64_t memory_size(Memory memory);
void*& current_tpipe();

// ---- registers ----

void set_vector_mask(uint64_t high, uint64_t low, const Call& call);
void set_mask_counter(bool counter, const Call& call);
void set_pad_value(uint64_t value);
void set_atomic(uint8_t operation, DType type, const Call& call);  // 0 none, 1 add, 2 max, 3 min
void set_fixpipe_matrices(uint32_t count, uint32_t src_stride, uint32_t dst_stride);
void set_fixpipe_scale(uint64_t scale);
void set_deq_scale(uint64_t scale);
void set_fixpipe_buffer(const Operand& quant);
void set_hf32(bool on);
void set_load3d(uint32_t h, uint32_t w, const uint8_t pad[4]);
void set_load3d_padding(uint64_t value);
uint64_t reduce_value();
uint64_t reduce_index();
uint64_t gather_remain();

// ---- who am I ----

bool is_cube();
int64_t block_index();
int64_t block_count();
int64_t sub_block_index();
int64_t sub_block_count();
int64_t task_ratio();
int64_t cycle();
[[noreturn]] void unsupported(const char* what, const Call& call);
[[noreturn]] void trap(const char* what, const Call& call);
void dump(const Operand& tensor, uint32_t label, uint32_t elements, const Call& call);
void print(const char* format, ...) __attribute__((format(printf, 1, 2)));

}  // namespace ascend_sim
