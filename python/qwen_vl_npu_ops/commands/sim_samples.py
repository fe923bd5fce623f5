"""The bundled sample kernels as `qwen-vl-npu-ops sim` runs them: sizes, inputs, tilings, what must come out."""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .. import sim
from ..sim import bounds
from ..sim.native import native, samples_dir

FRACTAL = 16
MATMUL_TILE = (128, 128, 64)  # of m, n and k: two slots of both operands fill L0A and L0B


@dataclass(frozen=True)
class Sample:
    """One launch of a sample: its arguments in order, and what the one it writes must hold."""

    blocks: int
    arguments: Sequence[Tensor]
    tiling: bytes
    work: bounds.Work
    result: Tensor
    expected: Tensor


@dataclass(frozen=True)
class Row:
    """A line of the table: how to make a sample of these sizes for a chip."""

    about: str
    sizes: dict[str, int]  # by name, with their defaults
    make: Callable[..., Sample] = field(repr=False)


def launch(name: str, sample: Sample) -> None:
    """Run a sample on the current device; its source is compiled the first time."""
    library = _library(name)
    library.launch(f"launch_sample_{name}", sample.blocks, *sample.arguments, sample.tiling, work=sample.work)


@functools.cache
def _library(name: str) -> sim.Library:
    return sim.compile(samples_dir() / name / "launch.cpp")


def _integers(generator: torch.Generator, low: int, high: int, *shape: int) -> Tensor:
    """Small whole numbers: their sums are exact in any order."""
    return torch.randint(low, high + 1, shape, generator=generator).float()


def _seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _require(condition: bool, size: str, expected: str, got: int) -> None:
    if not condition:
        raise ValueError(f"{size}: expected {expected}, got {got}")


def _divisor(number: int, most: int) -> int:
    return next(d for d in range(min(number, most), 0, -1) if number % d == 0)


def _add(chip: str, length: int) -> Sample:
    tile = 8192
    x, y = torch.randn(2, length, generator=_seeded()).half()
    z = torch.zeros_like(x)
    blocks = min(native().chip(chip)["vector_cores"], -(-length // tile))
    return Sample(blocks, (x, y, z), struct.pack("<2I", length, tile), bounds.add(length=length), z, x + y)


def _axpy(chip: str, length: int) -> Sample:
    unit, most = 8, 1024  # a tile is whole blocks of 32 B; both tiles of 8192 floats fit UB
    _require(length % unit == 0, "length", "a multiple of 8", length)
    generator = _seeded()
    x, y = _integers(generator, -99, 99, length), _integers(generator, -99, 99, length)
    blocks = _divisor(length // unit, native().chip(chip)["vector_cores"])
    tile = unit * _divisor(length // unit // blocks, most)
    expected = 3 * x + y
    return Sample(blocks, (x, y), struct.pack("<2If", length, tile, 3.0), bounds.axpy(length=length), y, expected)


def _block_sum(chip: str, rows: int, length: int) -> Sample:
    _require(rows <= 8, "rows", "at most 8", rows)
    _require(length % 64 == 0, "length", "a multiple of 64", length)
    blocks = _divisor(length // 64, native().chip(chip)["vector_cores"])
    most = native().chip(chip)["ub"] // 4 // 64 * 64 - 128  # UB holds a core's share, a repeat of sums and the totals
    _require(length // blocks <= most, "length", f"at most {most * blocks} on {blocks} cores", length)
    x, totals, workspace = _integers(_seeded(), -99, 99, rows, length), torch.zeros(rows), torch.zeros(blocks * 16)
    work = bounds.block_sum(rows=rows, length=length)
    return Sample(blocks, (x, totals, workspace), struct.pack("<2I", rows, length), work, totals, x.sum(1))


def _factors(m: int, n: int, k: int, unit_m: int) -> tuple[Tensor, Tensor]:
    for name, size, unit in (("m", m, unit_m), ("n", n, FRACTAL), ("k", k, FRACTAL)):
        _require(size % unit == 0, name, f"a multiple of {unit}", size)
    generator = _seeded()
    return _integers(generator, -4, 4, m, k), _integers(generator, -4, 4, k, n)


def _tiles(chip: str, m: int, n: int, k: int) -> tuple[int, tuple[int, int, int]]:
    """Blocks, and the base sizes."""
    base = (min(m, MATMUL_TILE[0]), min(n, MATMUL_TILE[1]), min(k, MATMUL_TILE[2]))
    tiles = -(-m // base[0]) * -(-n // base[1])
    return min(native().chip(chip)["cube_cores"], tiles), base


def _matmul(chip: str, m: int, n: int, k: int) -> Sample:
    a, b = _factors(m, n, k, FRACTAL)
    blocks, base = _tiles(chip, m, n, k)
    c = torch.zeros(m, n, dtype=torch.half)
    tiling = struct.pack("<6I", m, n, k, *base)
    work = bounds.matmul(m=m, n=n, k=k)
    return Sample(blocks, (a.half(), b.half(), c), tiling, work, c, (a @ b).half())


def _matmul_leaky_relu(chip: str, m: int, n: int, k: int) -> Sample:
    a, b = _factors(m, n, k, 2 * FRACTAL)
    blocks, base = _tiles(chip, m, n, k)
    slope, c = 0.25, torch.zeros(m, n, dtype=torch.half)
    workspace = torch.zeros(blocks * 2 * base[0] * base[1])
    tiling = struct.pack("<6If", m, n, k, *base, slope)
    expected = torch.nn.functional.leaky_relu(a @ b, slope).half()
    work = bounds.matmul_leaky_relu(m=m, n=n, k=k)
    return Sample(blocks, (a.half(), b.half(), c, workspace), tiling, work, c, expected)


_CUBE = {"m": 1024, "n": 1024, "k": 1024}

SAMPLES = {
    "add": Row("z = x + y, fp16, by queues (vector cores)", {"length": 1 << 22}, _add),
    "axpy": Row("y = a x + y, fp32, by events (vector cores)", {"length": 1 << 20}, _axpy),
    "block_sum": Row("sums of rows, fp32, SyncAll (vector cores)", {"rows": 4, "length": 48 * 4096}, _block_sum),
    "matmul": Row("a b, fp16 (cube cores)", _CUBE, _matmul),
    "matmul_leaky_relu": Row("leaky_relu(a b), fp16 (cube and vector cores)", _CUBE, _matmul_leaky_relu),
}
