"""What operators and the tower must do at least: operations and bytes, closed formulas of shapes.

A multiply-add is two operations. Bytes are those of arguments and results, each once.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..config import VisionConfig
from .record import Work

TABLE = 4  # bytes of an angle, fp32


def linear(rows: int, inputs: int, outputs: int, size: int) -> Work:
    """`x [rows, inputs] @ w [outputs, inputs]^T`: 2 rows inputs outputs; `size` is bytes of an element."""
    return Work(2.0 * rows * inputs * outputs, size * (rows * inputs + inputs * outputs + rows * outputs))


def rotary_qkv(tokens: int, heads: int, head_dim: int, size: int) -> Work:
    """Each of the T H D / 2 pairs of q, and of k, takes four products and two sums; qkv in, q, k and v out."""
    elements = tokens * heads * head_dim
    return Work(6.0 * elements, 6 * elements * size + tokens * head_dim * TABLE)


def window_attention(lengths: Sequence[int], heads: int, head_dim: int, size: int) -> Work:
    """Two products for each pair of tokens of a segment, 4 H D s^2, and H s^2 exponentials; q, k, v in, out."""
    tokens, pairs = sum(lengths), heads * sum(length * length for length in lengths)
    return Work(4.0 * pairs * head_dim, 4 * tokens * heads * head_dim * size, pairs)


def rotary_window_attention(lengths: Sequence[int], heads: int, head_dim: int, size: int) -> Work:
    """Both; what lies between them does not count: qkv and the angles in, out."""
    tokens, attention = sum(lengths), window_attention(lengths, heads, head_dim, size)
    rotary = rotary_qkv(tokens, heads, head_dim, size)
    return Work(rotary.flops + attention.flops, attention.bytes + tokens * head_dim * TABLE, attention.exps)


def patch_embed(tokens: int, inputs: int, hidden: int, size: int, pixel_size: int) -> Work:
    """A product, whose rows of pixels may have another dtype."""
    product = linear(tokens, inputs, hidden, size)
    return Work(product.flops, product.bytes + tokens * inputs * (pixel_size - size))


def rms_norm(tokens: int, hidden: int, size: int) -> Work:
    """A square, a sum and two products for each number of x [tokens, hidden]; x and the weight in, the result out."""
    return Work(4.0 * tokens * hidden, (2 * tokens + 1) * hidden * size)


def add_rms_norm(tokens: int, hidden: int, size: int) -> Work:
    """One more sum; two inputs, two results."""
    return Work(5.0 * tokens * hidden, (4 * tokens + 1) * hidden * size)


def silu_and_mul(tokens: int, wide: int, size: int) -> Work:
    """A sum, a quotient, a product and an exponential for each of tokens x wide results, from twice as many numbers."""
    return Work(3.0 * tokens * wide, 3 * tokens * wide * size, tokens * wide)


Gemm = tuple[int, int, int]  # rows, inputs, outputs


def tower_gemms(tokens: int, config: VisionConfig) -> list[tuple[Gemm, int]]:
    """The tower's GEMMs with weights, and how often each is run: patch embedding, layers, merger."""
    hidden, wide, depth = config.hidden_size, config.intermediate_size, config.depth
    units, merged = tokens // config.spatial_merge_unit, hidden * config.spatial_merge_unit
    return [
        ((tokens, config.patch_dim, hidden), 1),
        ((tokens, hidden, 3 * hidden), depth),
        ((tokens, hidden, hidden), depth),
        ((tokens, hidden, 2 * wide), depth),
        ((tokens, wide, hidden), depth),
        ((units, merged, merged), 1),
        ((units, merged, config.out_hidden_size), 1),
    ]


def gemms(tokens: int, config: VisionConfig, size: int) -> Work:
    """The tower's GEMMs with weights alone."""
    return sum((linear(*gemm, size) * times for gemm, times in tower_gemms(tokens, config)), Work(0.0, 0.0))


def tower(tokens: int, window: Sequence[int], full: Sequence[int], config: VisionConfig, size: int) -> Work:
    """Gemms with weights, rotary and attention of all layers; norms and activations are not counted.

    Args:
        window, full: lengths of the segments of window and of full layers.
    """
    layers = len(config.fullatt_block_indexes)
    in_windows = rotary_window_attention(window, config.num_heads, config.head_dim, size)
    in_full = rotary_window_attention(full, config.num_heads, config.head_dim, size)
    return gemms(tokens, config, size) + in_windows * (config.depth - layers) + in_full * layers
