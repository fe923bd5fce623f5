"""Estimates of the attention kernels on the simulated chip, beside published times of other kernels.

python benchmarks/kernel_estimates.py [--longest 8192]

Prints Markdown; times are estimates of the cycle model, in microseconds. Simulating takes about a second for every five
million scores.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch

from qwen_vl_npu_ops import ops, sim

TOKENS, HEADS, DIM = 4096, 16, 80
LAUNCH_US = 10_900 / 1800  # what the peers' end-to-end times include, at 1800 MHz
# One head of 128, fp16, 910B2: measured by their authors on hardware.
TORCH_NPU = {1024: 58.5, 2048: 70.8, 4096: 118, 8192: 353, 16384: 1118, 32768: 3646}
PTO_ISA = {1024: 21.0, 2048: 32.5, 4096: 88.9, 8192: 293, 16384: 909, 32768: 3263}


def run(call: Callable[[], object], chip: str, l2: str) -> sim.Record:
    with sim.device(chip, l2=l2, races=False) as device:
        call()
    return device.report()[0]


def attention(tokens: int, heads: int, dim: int, window: int, dtype: torch.dtype) -> Callable[[], object]:
    q, k, v = (torch.randn(tokens, heads, dim).to(dtype) for _ in range(3))
    ends = torch.arange(0, tokens + 1, window, dtype=torch.int32)
    return lambda: ops.window_attention(q, k, v, ends)


def rotary_attention() -> Callable[[], object]:
    qkv = torch.randn(TOKENS, 3 * HEADS * DIM).bfloat16()
    cos, sin = torch.rand(TOKENS, DIM // 2), torch.rand(TOKENS, DIM // 2)
    ends = torch.arange(0, TOKENS + 1, 64, dtype=torch.int32)
    return lambda: ops.rotary_window_attention(qkv, cos, sin, ends, HEADS, DIM)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--longest", type=int, default=8192, help="the largest S of the second table")
    longest = parser.parse_args().longest
    print("| 910B1, bfloat16, T = 4096, D = 80 | L2 | time | bound | by | HBM, MB |\n|---|---|---|---|---|---|")
    windows = attention(TOKENS, HEADS, DIM, 64, torch.bfloat16)
    calls = {"window_attention, 16 heads, windows of 64": windows, "rotary_window_attention": rotary_attention()}
    calls["window_attention, 3 heads, one segment"] = attention(TOKENS, 3, DIM, TOKENS, torch.bfloat16)
    for name, call in calls.items():
        for l2 in ("cold", "warm"):
            r = run(call, "910B1", l2)
            print(f"| {name} | {l2} | {r.time_us:.1f} | {r.bound_us:.1f} | {r.bound_by} | {r.bytes['hbm'] / 1e6:.1f} |")
    print("\n| one head of 128, 910B2, half | estimate with launch | pto-isa | torch_npu |\n|---|---|---|---|")
    for tokens in (s for s in PTO_ISA if s <= longest):
        r = run(attention(tokens, 1, 128, tokens, torch.float16), "910B2", "cold")
        print(f"| S = {tokens} | {r.time_us + LAUNCH_US:.1f} | {PTO_ISA[tokens]} | {TORCH_NPU[tokens]} |")


if __name__ == "__main__":
    main()
