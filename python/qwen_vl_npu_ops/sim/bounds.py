"""Lower bounds on the time of the operators and samples: closed formulas of shape, dtype and chip.

A formula says what any kernel of the operation must at least do, a :class:`Work`; :meth:`Work.bound` divides it by a
chip's peak rates. No start-up cost, no waiting, no imbalance between cores, and nothing of what a kernel issued:

- ``hbm``: each argument crosses HBM once, in or out, at the chip's peak rate. Nothing where L2 is warm.
- ``l2``: the arguments, and what cube and vector cores have to hand each other. A2 has no path between UB and L1 or
  L0C, so each handoff is written to GM and read back: scores S in fp32 (the cube cores' accumulator), probabilities P
  in the operator's dtype, and in the fused operator rotated q and k.
- ``aic M``: 16 x 16 x 16 multiply-adds of 16 bits a cycle on each cube core; fp32 takes four times as long.
- ``aic MTE1``: L1 to L0A at 256 and to L0B at 128 B/cycle, each operand of a product once.
- ``aic MTE2``: GM to L1 at 128 B/cycle.
- ``aic FIX``: L0C to GM at 68.7 B/cycle, counted as written.
- ``aiv V``: 256 bytes of lanes a cycle on each vector core, times the cycles a repeat of the unavoidable
  instructions takes.
- ``aiv MTE2``: GM to UB at 67 B/cycle.
- ``aiv MTE3``: UB to GM at 109 B/cycle.

The rates of one core are the peaks of its ports; what flat profiles average is lower (csrc/sim/machine/cost.cpp).

Where rooflines count what tilings add, these count less, so that no kernel can beat them. Operands that L0 or L1
cannot keep are counted once; partial sums of an online softmax (which raise FIX at 4096 tokens of 16 heads from 356 to
417 us, with 512 keys to a block), copies below full rate (MTE2 of 64-token windows from 7.0 to 11.2 us) and start-up
costs per load (MTE1 there from 5.4 to 7.6 us) not at all; and short segments share the tiles of the cube, as the scores
of s tokens are s^2 / 256 tiles however they are packed.

Arguments that all the formulas take: ``dtype`` is a ``torch.dtype``, fp32, fp16 or bf16, or its name; ``lengths`` are
the segments' lengths in tokens, what cu_seqlens holds the running sum of.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from .native import native

# Peak bytes per cycle of one core.
L1_TO_L0A, L1_TO_L0B = 256.0, 128.0
GM_TO_L1, GM_TO_UB = 128.0, 67.0
L0C_TO_GM, UB_TO_GM = 68.7, 109.0

LANES = 64  # of fp32 in a vector repeat


class _Type(NamedTuple):
    size: int
    widen: float  # cycles that a repeat of 64 elements takes to become fp32
    narrow: float  # and to be rounded back
    step: float  # what of k a 16 x 16 tile of a product advances by in a cycle


# Named as torch names them; this module does without torch, as compiling kernels does.
_TYPES = {
    "float32": _Type(4, 0, 0, 4),
    "float16": _Type(2, 1, 1, 16),
    "bfloat16": _Type(2, 2, 1.5, 16),
}
_ROTATE = 2.0  # a multiply, and a multiply-add with the pair's other half
_SOFTMAX = 5.0  # maximum, subtract, exp (2), sum


@dataclass(frozen=True)
class Bound:
    """Microseconds (estimates) that each pipe and memory needs at least, all cores together."""

    terms: dict[str, float]

    @property
    def by(self) -> str:
        """The pipe or memory that binds."""
        return max(self.terms, key=lambda name: self.terms[name])

    @property
    def us(self) -> float:
        """What no kernel can beat."""
        return self.terms[self.by]


@dataclass(frozen=True)
class Work:
    """What an operation must do at least, over all cores. Bytes, but for ``mmad`` and ``vector``, which are cycles."""

    arguments: float  # read from and written to the caller's tensors
    handoff: float = 0.0  # written to and read from workspace between cube and vector cores
    mmad: float = 0.0
    l0a: float = 0.0
    l0b: float = 0.0
    l1: float = 0.0  # from GM
    l0c: float = 0.0  # to GM
    ub_in: float = 0.0
    vector: float = 0.0
    ub_out: float = 0.0

    def bound(self, chip: str, l2: str = "cold") -> Bound:
        """On a chip of :func:`sim.chips`, with the arguments outside L2 (``"cold"``) or in it (``"warm"``)."""
        rates = native().chip(chip)
        per_cube, per_vector = 1 / (rates["cube_cores"] * rates["mhz"]), 1 / (rates["vector_cores"] * rates["mhz"])
        return Bound(
            {
                "aic M": self.mmad * per_cube,
                "aic MTE1": (self.l0a / L1_TO_L0A + self.l0b / L1_TO_L0B) * per_cube,
                "aic MTE2": self.l1 / GM_TO_L1 * per_cube,
                "aic FIX": self.l0c / L0C_TO_GM * per_cube,
                "aiv V": self.vector * per_vector,
                "aiv MTE2": self.ub_in / GM_TO_UB * per_vector,
                "aiv MTE3": self.ub_out / UB_TO_GM * per_vector,
                "l2": (self.arguments + self.handoff) / (rates["l2_gbps"] * 1e3),
                "hbm": self.arguments / (rates["hbm_gbps"] * 1e3) if l2 == "cold" else 0.0,
            }
        )


def rotary_qkv(
    *,
    tokens: int,
    heads: int,
    head_dim: int,
    dtype: Any,
    out_head_dim: int | None = None,
    table_dtype: Any = "float32",
) -> Work:
    """Bytes: 3 T H D in, 3 T H Dp out, an angle of each pair from cos and from sin. V: q and k, twice T H D."""
    size, out = _of(dtype).size, out_head_dim or head_dim
    reads = 3 * tokens * heads * head_dim * size + _table(tokens, head_dim, table_dtype)
    writes = 3 * tokens * heads * out * size
    return Work(reads + writes, ub_in=reads, vector=_rotation(2 * tokens * heads * head_dim, dtype), ub_out=writes)


def window_attention(
    *,
    lengths: Sequence[int],
    heads: int,
    head_dim: int,
    dtype: Any,
    tokens: int | None = None,
    kv_heads: int | None = None,
    value_dim: int | None = None,
) -> Work:
    """S = q k^T and out = P v in each segment; `tokens` counts rows past the last segment too, written as zeros.

    A segment of s tokens and a head (s = 64, D = Dv = 80, bf16): M is s^2/256 (D + Dv)/16 = 160 cycles; MTE1 is q and P
    into L0A, k and v into L0B, 232; MTE2 is q, k, v and P, 38.9 kB, 304; FIX is S in fp32 and out, 26.6 kB, 388; V
    is the softmax of s^2 scores.
    """
    size, value_dim, kv_heads = _of(dtype).size, value_dim or head_dim, kv_heads or heads
    rows, scores = sum(lengths), heads * sum(length * length for length in lengths)
    q, k = rows * heads * head_dim * size, rows * kv_heads * head_dim * size
    v, used = rows * kv_heads * value_dim * size, rows * heads * value_dim * size
    out = (rows if tokens is None else tokens) * heads * value_dim * size
    return Work(
        arguments=q + k + v + out + _segments(lengths),
        handoff=2 * scores * (4 + size),
        mmad=scores / 256 * (_depth(head_dim, dtype) + 16 / _of(dtype).step * math.ceil(value_dim / 16)),
        l0a=q + scores * size,
        l0b=k + v,
        l1=q + k + v + scores * size,
        l0c=scores * 4 + used,
        ub_in=scores * 4,
        vector=scores / LANES * (_SOFTMAX + _of(dtype).narrow),
        ub_out=scores * size,
    )


def rotary_window_attention(
    *,
    lengths: Sequence[int],
    heads: int,
    head_dim: int,
    dtype: Any,
    tokens: int | None = None,
    out_head_dim: int | None = None,
    table_dtype: Any = "float32",
) -> Work:
    """`window_attention` at the real head size, whose q and k the vector cores rotate and hand over."""
    attention = window_attention(lengths=lengths, heads=heads, head_dim=head_dim, dtype=dtype)
    rows, size = sum(lengths), _of(dtype).size
    rotated = 2 * rows * heads * head_dim * size
    table = _table(rows, head_dim, table_dtype)
    out = (rows if tokens is None else tokens) * heads * (out_head_dim or head_dim) * size
    return Work(
        arguments=3 * rows * heads * head_dim * size + table + out + _segments(lengths),
        handoff=attention.handoff + 2 * rotated,
        mmad=attention.mmad,
        l0a=attention.l0a,
        l0b=attention.l0b,
        l1=attention.l1,
        l0c=attention.l0c,
        ub_in=attention.ub_in + rotated + table,
        vector=attention.vector + _rotation(2 * rows * heads * head_dim, dtype),
        ub_out=attention.ub_out + rotated,
    )


def patch_embed(
    *,
    tokens: int,
    in_features: int,
    hidden: int,
    dtype: Any,
    pixel_dtype: Any | None = None,
    bias: bool = False,
    index_bytes: int = 0,
) -> Work:
    """A product [T, K] x [K, N]. Pixels of another dtype than the weight's are cast by the vector cores first.

    `index_bytes`: of an element of row_index, 0 without one.
    """
    pixel_dtype = pixel_dtype or dtype
    product = _product(tokens, hidden, in_features, dtype, _of(dtype).size)
    pixels, cast = tokens * in_features * _of(pixel_dtype).size, tokens * in_features * _of(dtype).size
    must_cast = _of(pixel_dtype) != _of(dtype)
    return Work(
        arguments=product.arguments - cast + pixels + bias * hidden * _of(dtype).size + tokens * index_bytes,
        handoff=2 * cast * must_cast,
        mmad=product.mmad,
        l0a=product.l0a,
        l0b=product.l0b,
        l1=product.l1,
        l0c=product.l0c,
        ub_in=pixels * must_cast,
        vector=tokens * in_features / LANES * _of(dtype).narrow * must_cast,
        ub_out=cast * must_cast,
    )


def add(*, length: int) -> Work:
    """The sample z = x + y, fp16: 128 lanes a repeat."""
    return Work(6 * length, ub_in=4 * length, vector=length / (2 * LANES), ub_out=2 * length)


def axpy(*, length: int) -> Work:
    """The sample y = a x + y, fp32."""
    return Work(12 * length, ub_in=8 * length, vector=length / LANES, ub_out=4 * length)


def block_sum(*, rows: int, length: int) -> Work:
    """The sample that sums each row of x [rows, length], fp32."""
    elements = rows * length
    return Work(4 * (elements + rows), ub_in=4 * elements, vector=elements / LANES, ub_out=4 * rows)


def matmul(*, m: int, n: int, k: int) -> Work:
    """The sample product [m, k] x [k, n], fp16."""
    return _product(m, n, k, "float16", 2)


def matmul_leaky_relu(*, m: int, n: int, k: int) -> Work:
    """`matmul` whose result crosses to the vector cores in fp32: LeakyRelu, then the cast to fp16."""
    product, elements = _product(m, n, k, "float16", 4), m * n
    return Work(
        arguments=2 * (m * k + k * n + elements),
        handoff=8 * elements,
        mmad=product.mmad,
        l0a=product.l0a,
        l0b=product.l0b,
        l1=product.l1,
        l0c=product.l0c,
        ub_in=4 * elements,
        vector=elements / LANES * (1 + _TYPES["float16"].narrow),
        ub_out=2 * elements,
    )


def _product(m: int, n: int, k: int, dtype: Any, out_size: int) -> Work:
    a, b, c = m * k * _of(dtype).size, k * n * _of(dtype).size, m * n * out_size
    mmad = math.ceil(m / 16) * math.ceil(n / 16) * _depth(k, dtype)
    return Work(a + b + c, mmad=mmad, l0a=a, l0b=b, l1=a + b, l0c=c)


def _of(dtype: Any) -> _Type:
    return _TYPES[str(dtype).removeprefix("torch.")]


def _depth(k: int, dtype: Any) -> float:
    """Cycles of a 16 x 16 tile over the whole of k, in fractals of 32 bytes."""
    fractal = 32 // _of(dtype).size
    return math.ceil(k / fractal) * fractal / _of(dtype).step


def _table(tokens: int, head_dim: int, dtype: Any) -> int:
    return tokens * head_dim * _of(dtype).size  # D/2 of cos and D/2 of sin


def _rotation(elements: int, dtype: Any) -> float:
    return elements / LANES * (_of(dtype).widen + _ROTATE + _of(dtype).narrow)


def _segments(lengths: Sequence[int]) -> int:
    return 4 * (len(lengths) + 1)  # cu_seqlens, int32
