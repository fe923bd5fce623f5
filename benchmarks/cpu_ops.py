"""The CPU operators beside the torch composition that each replaces: medians of interleaved rounds, and their ratio.

python benchmarks/cpu_ops.py --tokens 1296 --threads 2 --dtype bfloat16

Shapes are the 7B tower's: 16 heads of 80, windows of 64 tokens, patches of 1176 numbers, width 1280. Interleaving lets
both sides meet the same contention; times are of this machine, ratios are what to look at.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from qwen_vl_npu_ops import ops

HEADS, HEAD_DIM, WINDOW, PATCH, WIDTH = 16, 80, 64, 1176, 1280
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """As transformers does: in fp32, with full-width tables, and rounded back."""
    wide = x.float()
    low, high = wide.chunk(2, -1)
    return (wide * cos + torch.cat((-high, low), -1) * sin).to(x.dtype)


def split_and_rotate(qkv: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    q, k, v = qkv.view(-1, 3, HEADS, HEAD_DIM).permute(1, 0, 2, 3).unbind(0)
    return rotate(q, cos, sin), rotate(k, cos, sin), v


def attend(q: Tensor, k: Tensor, v: Tensor, lengths: list[int]) -> Tensor:
    """As transformers does: one call of scaled_dot_product_attention for each segment."""
    segments = zip(*(x.transpose(0, 1).unsqueeze(0).split(lengths, 2) for x in (q, k, v)), strict=True)
    return torch.cat([F.scaled_dot_product_attention(*s).transpose(1, 2) for s in segments], 1)


def cases(tokens: int, dtype: torch.dtype) -> dict[str, tuple[Callable, Callable]]:
    """Name -> (ours, torch's)."""
    qkv = torch.randn(tokens, 3 * HEADS * HEAD_DIM).to(dtype)
    q, k, v = qkv.view(tokens, 3, HEADS, HEAD_DIM).unbind(1)
    angles = 6 * torch.rand(tokens, HEAD_DIM // 2)
    cos, sin = angles.cos(), angles.sin()
    wide = [table.repeat(1, 2).unsqueeze(1) for table in (cos, sin)]
    pixels, weight = torch.randn(tokens, PATCH), torch.randn(WIDTH, PATCH).to(dtype)
    index = torch.randperm(tokens)

    found: dict[str, tuple[Callable, Callable]] = {
        "rotary_qkv": (
            lambda: ops.rotary_qkv(qkv, cos, sin, HEADS, HEAD_DIM),
            lambda: split_and_rotate(qkv, *wide),
        ),
        "patch_embed": (
            lambda: ops.patch_embed(pixels, weight, row_index=index),
            lambda: F.linear(pixels.to(dtype), weight)[index],
        ),
    }
    for name, ends in (("windows", [*range(0, tokens, WINDOW), tokens]), ("full", [0, tokens])):
        cu_seqlens = torch.tensor(ends)
        lengths = [end - start for start, end in itertools.pairwise(ends)]
        found[f"window_attention, {name}"] = (
            lambda c=cu_seqlens: ops.window_attention(q, k, v, c),
            lambda n=lengths: attend(q, k, v, n),
        )
        found[f"rotary_window_attention, {name}"] = (
            lambda c=cu_seqlens: ops.rotary_window_attention(qkv, cos, sin, c, HEADS, HEAD_DIM),
            lambda n=lengths: attend(*split_and_rotate(qkv, *wide), n),
        )
    return found


def medians(functions: tuple[Callable, ...], rounds: int) -> list[float]:
    """Milliseconds of each, after one warm-up."""
    times: list[list[float]] = [[] for _ in functions]
    for i in range(rounds + 1):
        for function, mine in zip(functions, times, strict=True):
            start = time.perf_counter()
            function()
            if i > 0:
                mine.append(1e3 * (time.perf_counter() - start))
    return [statistics.median(mine) for mine in times]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=1296)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--dtype", choices=DTYPES, nargs="+", default=list(DTYPES))
    arguments = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(arguments.threads)
    print(f"{ops.cpu_isa()}, {arguments.threads} threads, {arguments.tokens} tokens, torch {torch.__version__}")
    print(f"{'dtype':9} {'operator':34} {'ours ms':>9} {'torch ms':>9} {'ratio':>6}")
    for name in arguments.dtype:
        for case, functions in cases(arguments.tokens, DTYPES[name]).items():
            ours, torchs = medians(functions, arguments.rounds)
            print(f"{name:9} {case:34} {ours:9.2f} {torchs:9.2f} {torchs / ours:6.2f}", flush=True)


if __name__ == "__main__":
    main()
