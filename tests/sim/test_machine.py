"""The machine behind the header: scheduling, what orders accesses, caches, launching, and what a launch reports."""

import ctypes
import json

import numpy as np
import pytest
import torch

from qwen_vl_npu_ops import sim
from qwen_vl_npu_ops.sim.native import native

SOURCE = """
#include "kernel_operator.h"
using namespace AscendC;

struct Numbers {
  uint32_t small;
  float real;
};

// Each block adds one to its own 64 floats.
extern "C" __global__ __aicore__ void add_one(GM_ADDR x) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
  TPipe pipe;
  TBuf<TPosition::VECCALC> buffer;
  pipe.InitBuffer(buffer, 256);
  LocalTensor<float> local = buffer.Get<float>();
  GlobalTensor<float> gm;
  gm.SetGlobalBuffer((__gm__ float *)x + GetBlockIdx() * 64);
  DataCopy(local, gm, 64);
  SetFlag<HardEvent::MTE2_V>(EVENT_ID0);
  WaitFlag<HardEvent::MTE2_V>(EVENT_ID0);
  Adds(local, local, 1.0f, 64);
  SetFlag<HardEvent::V_MTE3>(EVENT_ID0);
  WaitFlag<HardEvent::V_MTE3>(EVENT_ID0);
  DataCopy(gm, local, 64);
}

extern "C" __global__ __aicore__ void meet(GM_ADDR x) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_MIX_AIV_1_0);
  SyncAll();
}

// Every block writes `bytes` bytes at `step` times its index: neighbours share a 32-byte block of GM.
extern "C" __global__ __aicore__ void write_bytes(GM_ADDR x, uint32_t step, uint32_t bytes) {
  LocalMemAllocator<Hardware::UB> allocator;
  LocalTensor<int8_t> local = allocator.Alloc<int8_t, 64>();
  Duplicate(local.ReinterpretCast<int16_t>(), int16_t(0x0101), 32);
  SetFlag<HardEvent::V_MTE3>(EVENT_ID0);
  WaitFlag<HardEvent::V_MTE3>(EVENT_ID0);
  GlobalTensor<int8_t> gm;
  gm.SetGlobalBuffer((__gm__ int8_t *)x + GetBlockIdx() * step);
  DataCopyPad(gm, local, DataCopyExtParams(1, bytes, 0, 0, 0));
}

// MTE3 is told to wait before the vector pipe is told to set.
extern "C" __global__ __aicore__ void wait_first(GM_ADDR x) {
  LocalMemAllocator<Hardware::UB> allocator;
  LocalTensor<float> local = allocator.Alloc<float, 64>();
  GlobalTensor<float> gm;
  gm.SetGlobalBuffer((__gm__ float *)x);
  WaitFlag<HardEvent::V_MTE3>(EVENT_ID0);
  DataCopy(gm, local, 64);
  Duplicate(local, 3.0f, 64);
  SetFlag<HardEvent::V_MTE3>(EVENT_ID0);
}

extern "C" __global__ __aicore__ void dependent(GM_ADDR x) {
  LocalMemAllocator<Hardware::UB> allocator;
  LocalTensor<float> local = allocator.Alloc<float, 64>();
  Duplicate(local, 3.0f, 64);
  Adds(local, local, 1.0f, 64);
}

// The mask register: set by hand, in both modes.
extern "C" __global__ __aicore__ void masks(GM_ADDR x) {
  LocalMemAllocator<Hardware::UB> allocator;
  LocalTensor<float> local = allocator.Alloc<float, 256>();
  Duplicate(local, 0.0f, 256);
  PipeBarrier<PIPE_V>();
  SetVectorMask<float>(0, 0b101);
  Adds<float, false>(local, local, 1.0f, MASK_PLACEHOLDER, 2, UnaryRepeatParams(1, 1, 8, 8));
  PipeBarrier<PIPE_V>();
  SetMaskCount();
  SetVectorMask<float, MaskMode::COUNTER>(0, 130);
  Adds<float, false>(local, local, 2.0f, MASK_PLACEHOLDER, 1, UnaryRepeatParams(1, 1, 8, 8));
  SetMaskNorm();
  ResetMask();
  SetFlag<HardEvent::V_MTE3>(EVENT_ID0);
  WaitFlag<HardEvent::V_MTE3>(EVENT_ID0);
  GlobalTensor<float> gm;
  gm.SetGlobalBuffer((__gm__ float *)x);
  DataCopy(gm, local, 256);
}

// A scalar store reaches memory when the cache is cleaned.
extern "C" __global__ __aicore__ void store(GM_ADDR x, uint32_t clean) {
  LocalMemAllocator<Hardware::UB> allocator;
  LocalTensor<float> local = allocator.Alloc<float, 8>();
  GlobalTensor<float> gm;
  gm.SetGlobalBuffer((__gm__ float *)x);
  gm.SetValue(2, 7.0f);
  if (clean) DataCacheCleanAndInvalid<float, CacheLine::SINGLE_CACHE_LINE, DcciDst::CACHELINE_OUT>(gm);
  SetFlag<HardEvent::S_MTE2>(EVENT_ID0);
  WaitFlag<HardEvent::S_MTE2>(EVENT_ID0);
  DataCopy(local, gm, 8);
}

// What a vector core writes is handed to the cube core and back before it is read again: `by` is the pipe vouched for.
template <pipe_t by>
__aicore__ inline void RoundTrip(GM_ADDR x) {
  LocalMemAllocator<Hardware::UB> allocator;
  GlobalTensor<float> gm;
  gm.SetGlobalBuffer((__gm__ float *)x + GetSubBlockIdx() * 64);
  if ASCEND_IS_AIV {
    LocalTensor<float> out = allocator.Alloc<float, 64>(), in = allocator.Alloc<float, 64>();
    Duplicate(out, 2.0f, 64);
    SetFlag<HardEvent::V_MTE3>(EVENT_ID0);
    WaitFlag<HardEvent::V_MTE3>(EVENT_ID0);
    DataCopy(gm, out, 64);
    CrossCoreSetFlag<2, by>(1);
    CrossCoreWaitFlag(2);
    DataCopy(in, gm, 64);
  } else {
    CrossCoreWaitFlag(1);
    CrossCoreSetFlag<2, PIPE_MTE2>(2);
  }
}
extern "C" __global__ __aicore__ void round_trip(GM_ADDR x) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_MIX_AIC_1_2);
  RoundTrip<PIPE_MTE3>(x);
}
extern "C" __global__ __aicore__ void round_trip_of_the_wrong_pipe(GM_ADDR x) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_MIX_AIC_1_2);
  RoundTrip<PIPE_V>(x);
}

// Every core adds one to the same 64 floats.
extern "C" __global__ __aicore__ void accumulate(GM_ADDR x, uint32_t atomic) {
  LocalMemAllocator<Hardware::UB> allocator;
  LocalTensor<float> local = allocator.Alloc<float, 64>();
  Duplicate(local, 1.0f, 64);
  SetFlag<HardEvent::V_MTE3>(EVENT_ID0);
  WaitFlag<HardEvent::V_MTE3>(EVENT_ID0);
  GlobalTensor<float> gm;
  gm.SetGlobalBuffer((__gm__ float *)x);
  if (atomic) SetAtomicAdd<float>();
  DataCopy(gm, local, 64);
  SetAtomicNone();
}

// Reads its share of x, a tile of 16 KiB at a time.
extern "C" __global__ __aicore__ void stream(GM_ADDR x, uint32_t tiles) {
  LocalMemAllocator<Hardware::UB> allocator;
  LocalTensor<float> local = allocator.Alloc<float, 4096>();
  GlobalTensor<float> gm;
  gm.SetGlobalBuffer((__gm__ float *)x);
  for (uint32_t i = 0; i < tiles; ++i) {
    PipeBarrier<PIPE_MTE2>();
    DataCopy(local, gm[(GetBlockIdx() * tiles + i) * 4096], 4096);
  }
}

extern "C" __global__ __aicore__ void take(GM_ADDR x, int8_t byte, float real, Numbers numbers) {}
extern "C" void launch_add_one(uint32_t blocks, void *stream, uint8_t *x) { add_one<<<blocks, nullptr, stream>>>(x); }
"""


@pytest.fixture(scope="module")
def lib():
    return sim.compile(SOURCE)


def refused(lib, kernel, blocks, *arguments, **options):
    with sim.device("910B1", **options), pytest.raises(sim.SimulatorError) as raised:
        lib.launch(kernel, blocks, *arguments)
    return raised.value


# ---- scheduling ----


def test_more_blocks_than_cores_run_in_waves(lib):
    x = np.arange(64 * 130, dtype=np.float32)
    with sim.device("910B1") as chip:
        lib.launch("add_one", 130, x)
        lib.launch("add_one", 48, np.zeros(64 * 48, np.float32))
        waves, one = chip.report()
    np.testing.assert_array_equal(x, np.arange(64 * 130, dtype=np.float32) + 1)
    assert len(waves.cores) == 130
    assert 2 * one.cycles < waves.cycles < 4 * one.cycles


def test_blocks_that_cannot_all_run_at_once_cannot_meet(lib):
    error = refused(lib, "meet", 49, np.zeros(1, np.float32))
    assert error.kind == "deadlock"
    assert len(error.waiting) == 48
    assert "free" in error.message


def test_the_same_launch_gives_the_same_times(lib):
    def run():
        with sim.device("910B2") as chip:
            lib.launch("stream", 48, np.zeros(48 * 4 * 4096, np.float32), 4)
            return chip.report()

    assert run() == run()


def test_a_wait_may_be_issued_before_its_set(lib):
    x = np.zeros(64, np.float32)
    with sim.device("910B1"):
        lib.launch("wait_first", 1, x)
    np.testing.assert_array_equal(x, 3)


def test_cores_share_the_bandwidth_of_hbm(lib):
    tiles, blocks = 16, 48
    x = np.zeros(blocks * tiles * 4096, np.float32)
    with sim.device("910B1", l2="kept") as cold:
        lib.launch("stream", 1, x, tiles)
        lib.launch("stream", blocks, x, tiles)
        alone, together = cold.report()
    with sim.device("910B1", l2="warm") as chip:
        lib.launch("stream", blocks, x, tiles)
        warm = chip.report()[-1]
    gbps = together.bytes["hbm"] / together.time_us / 1e3
    assert together.bytes["hbm"] == x.nbytes - alone.bytes["hbm"]  # the first share is in L2 already
    assert gbps <= native().chip("910B1")["hbm_achieved_gbps"]
    assert together.cycles > 1.5 * alone.cycles
    assert warm.bytes["hbm"] == 0
    assert warm.cycles < together.cycles


# ---- what orders accesses ----


@pytest.mark.parametrize(("step", "raced"), [(20, False), (19, True)])
def test_cores_may_share_a_block_of_gm_but_not_a_byte(lib, step, raced):
    x = np.zeros(128, np.int8)
    if raced:
        error = refused(lib, "write_bytes", 4, x, step, 20)
        assert error.kind == "race"
        assert error.other["instruction"] == "DataCopyPad"
        assert error.other["core"] != error.core
    else:
        with sim.device("910B1"):
            lib.launch("write_bytes", 4, x, step, 20)
        np.testing.assert_array_equal(x[:80], 1)
        np.testing.assert_array_equal(x[80:], 0)


def test_order_passes_through_other_cores(lib):
    x = np.zeros(128, np.float32)
    with sim.device("910B1"):
        lib.launch("round_trip", 1, x)
    error = refused(lib, "round_trip_of_the_wrong_pipe", 1, x)
    assert (error.kind, error.pipe, error.other["pipe"]) == ("race", "MTE2", "MTE3")


def test_automatic_barriers_of_the_compiler(lib):
    x = np.zeros(1, np.float32)
    error = refused(lib, "dependent", 1, x)
    assert (error.kind, error.instruction, error.other["instruction"]) == ("race", "Adds", "Duplicate")
    with sim.device("910B1", auto_sync=True):
        lib.launch("dependent", 1, x)
    with sim.device("910B1", races=False):
        lib.launch("dependent", 1, x)


def test_atomic_additions_need_no_order(lib):
    x = np.zeros(64, np.float32)
    with sim.device("910B1"):
        lib.launch("accumulate", 40, x, 1)
    np.testing.assert_array_equal(x, 40)
    assert refused(lib, "accumulate", 40, x, 0).kind == "race"


def test_scalar_stores_stay_in_the_cache_until_it_is_cleaned(lib):
    x = np.zeros(8, np.float32)
    error = refused(lib, "store", 1, x, 0)
    assert (error.kind, error.pipe) == ("stale_read", "MTE2")
    with sim.device("910B1"):
        lib.launch("store", 1, x, 1)
    assert x[2] == 7


def test_the_mask_register(lib):
    x = np.zeros(256, np.float32)
    with sim.device("910B1"):
        lib.launch("masks", 1, x)
    expected = np.zeros(256, np.float32)
    expected[[0, 2, 64, 66]] += 1
    expected[:130] += 2
    np.testing.assert_array_equal(x, expected)


# ---- launching ----


def test_a_tensor_is_the_bytes_it_spans(lib):
    storage = torch.zeros(4, 64)
    with sim.device("910B1"):
        lib.launch("add_one", 2, storage[1:3])
    assert storage.sum(1).tolist() == [0, 64, 64, 0]
    error = refused(lib, "add_one", 3, storage[1:3])
    assert (error.kind, error.operand, error.core) == ("out_of_bounds", "src", "aiv2")


def test_arguments_sharing_a_storage_share_memory(lib):
    x = torch.zeros(64)
    with sim.device("910B1"):
        lib.launch("launch_add_one", 1, x)
        lib.launch("add_one", 1, x.view(8, 8))
    assert x.tolist() == [2.0] * 64


class Numbers(ctypes.Structure):
    _fields_ = (("small", ctypes.c_uint32), ("real", ctypes.c_float))


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((None, 128, 0.0, Numbers()), ValueError, "-128 to 127"),
        ((None, 1, 0.0, b"1234"), ValueError, "8 bytes"),
        ((None, 1, 0.0, 5), TypeError, "ctypes.Structure"),
        ((3, 1, 0.0, Numbers()), TypeError, "tensor"),
        ((None, 1, 0.0), TypeError, "4 arguments"),
    ],
)
def test_arguments_that_do_not_fit(lib, arguments, error, words):
    with sim.device("910B1"):
        lib.launch("take", 1, None, 127, 1.5, Numbers(1, 2.0))
        with pytest.raises(error, match=words):
            lib.launch("take", 1, *arguments)


def test_what_cannot_be_launched(lib):
    with pytest.raises(RuntimeError, match="device"):
        lib.launch("add_one", 1, np.zeros(64, np.float32))
    with sim.device("910B1"), pytest.raises(ValueError, match="add_one"):
        lib.launch("no_such_kernel", 1)
    with sim.device("910B1"), pytest.raises(ValueError, match="blocks"):
        lib.launch("add_one", 0, np.zeros(64, np.float32))
    for options in ({"chip": "910B9"}, {"l2": "hot"}):
        with pytest.raises(ValueError, match="expected"), sim.device(**options):
            pass


def test_a_device_goes_on_after_an_error(lib):
    x = np.zeros(64, np.float32)
    with sim.device("910B1"):
        with pytest.raises(sim.SimulatorError):
            lib.launch("dependent", 1, x)
        lib.launch("add_one", 1, x)
    np.testing.assert_array_equal(x, 1)


def test_compile_errors_name_the_line():
    with pytest.raises(sim.CompileError, match=r"kernel.cpp:3:.*NoSuchApi"):
        sim.compile('#include "kernel_operator.h"\n\nvoid f() { AscendC::NoSuchApi(); }\n')


def test_rewriting_launches_changes_nothing_else():
    before = '// a<<<1, 2, 3>>>(x)\nconst char *s = "b<<<1>>>(y)";\nvoid g() {\n'
    body = sim.rewrite(before + "  k<int,\n    2><<<n + 1,\n nullptr, s>>>(f(x), y);\n}\n", "kernel.cpp")
    lines = body.split('#line 1 "kernel.cpp"\n')[1].splitlines()
    assert "\n".join(lines[:3]) + "\n" == before
    assert "k<int," in lines[3]
    assert "2>(f(x), y);" in lines[4]
    assert "(n + 1)" in lines[3]
    assert lines[6] == "}"


def test_kernels_may_live_in_namespaces():
    source = """
#include "kernel_operator.h"
namespace outer { namespace inner {
struct Unused { int x; };
__global__ __vector__ void hidden(GM_ADDR x) {
  AscendC::GlobalTensor<float> g;
  g.SetGlobalBuffer((__gm__ float *)x);
  g.SetValue(0, 5.0f);
}
} }
extern "C" void launch_hidden(uint32_t blocks, void *stream, uint8_t *x) {
  outer::inner::hidden<<<blocks, 0, stream>>>(x);
}
"""
    lib = sim.compile(source)
    assert lib.kernels == ("hidden", "launch_hidden")
    for kernel in lib.kernels:
        x = np.zeros(1, np.float32)
        with sim.device("910B1"):
            lib.launch(kernel, 1, x)
        assert x[0] == 5


# ---- reports ----


def test_the_trace_adds_up_to_the_report(lib, tmp_path):
    with sim.device("910B1", trace=True) as chip:
        lib.launch("add_one", 3, np.zeros(192, np.float32))
        chip.trace(tmp_path / "trace.json")
        record = chip.report()[-1]
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    pipes = {(e["pid"], e["tid"]): e["args"]["name"] for e in events if e["name"] == "thread_name"}
    spans = [e for e in events if e["ph"] == "X"]
    for pipe in ("V", "MTE2", "MTE3"):
        cycles = sum(e["args"]["cycles"] for e in spans if pipes[e["pid"], e["tid"]] == pipe)
        assert cycles == pytest.approx(record.busy[pipe] * record.cycles * 3)
    assert max(e["ts"] + e["dur"] for e in spans) <= record.time_us * (1 + 1e-9)
    with sim.device("910B1") as chip, pytest.raises(ValueError, match="trace=True"):
        chip.trace(tmp_path / "none.json")
    with sim.device("910B1", trace=True) as chip, pytest.raises(ValueError, match="launched"):
        chip.trace(tmp_path / "none.json")


def test_bytes_and_peaks(lib):
    with sim.device("910B1") as chip:
        lib.launch("add_one", 2, np.zeros(128, np.float32))
        record = chip.report()[0]
    assert record.kernel == "add_one"
    assert record.bytes["gm"] == 2 * 2 * 256
    assert record.bytes["ub"] == 2 * 4 * 256
    assert record.peak_bytes["ub"] == 256
    assert record.repeats == 2
    assert record.time_us == pytest.approx(record.cycles / 1850)
