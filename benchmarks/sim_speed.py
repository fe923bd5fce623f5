"""How fast the simulator executes vector instructions: repeats per second of one host core, races checked.

python benchmarks/sim_speed.py
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from qwen_vl_npu_ops import sim

# A chain of dependent instructions on one vector core, `loops` times over 64 repeats each.
KERNEL = """
#include "kernel_operator.h"
using namespace AscendC;

template <typename T>
__aicore__ inline void Chain(GM_ADDR x, GM_ADDR y, uint32_t loops) {
  constexpr uint32_t kCount = 64 * 256 / sizeof(T);
  TPipe pipe;
  TBuf<TPosition::VECCALC> a, b, c;
  pipe.InitBuffer(a, kCount * sizeof(T));
  pipe.InitBuffer(b, kCount * sizeof(T));
  pipe.InitBuffer(c, kCount * sizeof(T));
  LocalTensor<T> x0 = a.Get<T>(), x1 = b.Get<T>(), x2 = c.Get<T>();
  GlobalTensor<T> in, out;
  in.SetGlobalBuffer((__gm__ T *)x);
  out.SetGlobalBuffer((__gm__ T *)y);
  DataCopy(x0, in, kCount);
  SetFlag<HardEvent::MTE2_V>(EVENT_ID0);
  WaitFlag<HardEvent::MTE2_V>(EVENT_ID0);
  Duplicate(x1, T(0.5f), kCount);
  for (uint32_t i = 0; i < loops; ++i) {
    PipeBarrier<PIPE_V>();
    Add(x2, x0, x1, kCount);
    PipeBarrier<PIPE_V>();
    Muls(x2, x2, T(0.25f), kCount);
    PipeBarrier<PIPE_V>();
    Max(x1, x2, x1, 256 / sizeof(T), 64, BinaryRepeatParams(1, 1, 1, 8, 8, 8));
    PipeBarrier<PIPE_V>();
    Sub(x2, x2, x1, kCount);
  }
  SetFlag<HardEvent::V_MTE3>(EVENT_ID0);
  WaitFlag<HardEvent::V_MTE3>(EVENT_ID0);
  DataCopy(out, x2, kCount);
}

// One repeat per instruction, so that what each costs beside its lanes shows.
__aicore__ inline void Single(GM_ADDR x, GM_ADDR y, uint32_t loops) {
  TPipe pipe;
  TBuf<TPosition::VECCALC> a;
  pipe.InitBuffer(a, 2 * 16384);
  LocalTensor<float> x0 = a.Get<float>();
  Duplicate(x0, 1.0f, 8192);
  for (uint32_t i = 0; i < loops; ++i) {
    PipeBarrier<PIPE_V>();
    for (uint32_t at = 0; at < 4096; at += 64) Adds(x0[at], x0[4096 + at], 1.0f, 64);
  }
}

extern "C" __global__ __aicore__ void chain_float(GM_ADDR x, GM_ADDR y, uint32_t loops) { Chain<float>(x, y, loops); }
extern "C" __global__ __aicore__ void chain_half(GM_ADDR x, GM_ADDR y, uint32_t loops) { Chain<half>(x, y, loops); }
extern "C" __global__ __aicore__ void single_float(GM_ADDR x, GM_ADDR y, uint32_t loops) { Single(x, y, loops); }
"""


def measure(kernel: str, loops: int, races: bool) -> float:
    """Repeats per second of `kernel`."""
    lib = sim.compile(KERNEL)
    x = np.ones(8192, np.float32)
    y = np.zeros(8192, np.float32)
    with sim.device("910B1", races=races) as chip:
        started = time.perf_counter()
        lib.launch(kernel, 1, x, y, loops)
        elapsed = time.perf_counter() - started
        return chip.report()[-1].repeats / elapsed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loops", type=int, default=4000)
    loops = parser.parse_args().loops
    print(f"{'kernel':<16}{'races checked':>20}{'not checked':>20}   (million repeats per second)")
    for kernel in ("chain_float", "chain_half", "single_float"):
        checked, unchecked = (measure(kernel, loops, races) / 1e6 for races in (True, False))
        print(f"{kernel:<16}{checked:>20.1f}{unchecked:>20.1f}")


if __name__ == "__main__":
    main()
