"""The sample kernels with their inputs: what tests run them on, and what must come out."""

import ctypes
from dataclasses import dataclass, field

import numpy as np
from harness import sample, struct

from qwen_vl_npu_ops import sim

AddTiling = struct("AddTiling", totalLength="u32", tileLength="u32")
MatmulTiling = struct("MatmulTiling", **dict.fromkeys(["m", "n", "k", "baseM", "baseN", "baseK"], "u32"))
BlockSumTiling = struct("BlockSumTiling", rows="u32", length="u32")
AxpyTiling = struct("AxpyTiling", length="u32", tile="u32", a="f32")


class MatmulLeakyReluTiling(ctypes.Structure):
    _fields_ = (("matmul", MatmulTiling), ("slope", ctypes.c_float))


@dataclass
class Scenario:
    """One launch of one sample kernel. `arrays` go to the kernel in order; `expected` maps an index to its result."""

    name: str
    blocks: int
    arrays: list
    tiling: ctypes.Structure
    expected: dict = field(default_factory=dict)

    def run(self, chip="910B1", **options):
        """(results by index, chip); raises what the simulator raises. The inputs stay as they are."""
        arrays = [a.copy() for a in self.arrays]
        with sim.device(chip, **options) as device:
            self.launch(arrays)
        return {i: arrays[i] for i in self.expected}, device

    def launch(self, arrays):
        """Runs the kernel on `arrays`, on the current device."""
        sample(self.name).launch(f"launch_sample_{self.name}", self.blocks, *arrays, self.tiling)

    def check(self, results):
        for index, wanted in self.expected.items():
            np.testing.assert_array_equal(results[index], wanted)


def add(blocks=2, total=700, tile=64, seed=0):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(2, total)).astype(np.float16)
    return Scenario("add", blocks, [x, y, np.zeros_like(x)], AddTiling(total, tile), {2: x + y})


def axpy(blocks=2, length=768, tile=64, seed=0):
    rng = np.random.default_rng(seed)
    x, y = rng.integers(-99, 99, (2, length)).astype(np.float32)  # small integers: fused or not is the same
    return Scenario("axpy", blocks, [x, y], AxpyTiling(length, tile, 3.0), {1: 3 * x + y})


def matmul(blocks=2, shape=(64, 48, 80), base=(32, 32, 32), seed=0):
    m, n, k = shape
    rng = np.random.default_rng(seed)
    a, b = rng.integers(-4, 5, (m, k)).astype(np.float16), rng.integers(-4, 5, (k, n)).astype(np.float16)
    product = (a.astype(np.float32) @ b.astype(np.float32)).astype(np.float16)
    return Scenario("matmul", blocks, [a, b, np.zeros_like(product)], MatmulTiling(m, n, k, *base), {2: product})


def matmul_leaky_relu(blocks=2, shape=(128, 96, 80), base=(32, 32, 32), seed=0):
    m, n, k = shape
    rng = np.random.default_rng(seed)
    a, b = rng.integers(-4, 5, (m, k)).astype(np.float16), rng.integers(-4, 5, (k, n)).astype(np.float16)
    product = a.astype(np.float32) @ b.astype(np.float32)
    out = np.where(product >= 0, product, np.float32(0.25) * product).astype(np.float16)
    workspace = np.zeros(blocks * 2 * base[0] * base[1], np.float32)
    tiling = MatmulLeakyReluTiling(MatmulTiling(m, n, k, *base), 0.25)
    return Scenario("matmul_leaky_relu", blocks, [a, b, np.zeros_like(out), workspace], tiling, {2: out})


def block_sum(blocks=4, rows=3, repeats=6, seed=0):
    x = np.random.default_rng(seed).integers(-99, 99, (rows, 64 * blocks * repeats)).astype(np.float32)
    workspace, totals = np.zeros(blocks * 16, np.float32), np.zeros(rows, np.float32)
    return Scenario("block_sum", blocks, [x, totals, workspace], BlockSumTiling(*x.shape), {1: x.sum(axis=1)})


SMALL = [add(), axpy(), matmul(), matmul_leaky_relu(), block_sum()]
