"""The calls that every test of the operators draws from: named cases, and inputs made for them."""

from dataclasses import dataclass

import torch
from torch import Tensor

DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def randn(*shape: int, dtype: torch.dtype, generator: torch.Generator) -> Tensor:
    return torch.randn(*shape, generator=generator).to(dtype)


def cu_seqlens(lengths: tuple[int, ...], dtype: torch.dtype = torch.int32) -> Tensor:
    return torch.tensor([0, *lengths]).cumsum(0).to(dtype)


def angle_tables(tokens: int, head_dim: int, dtype: torch.dtype, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """cos and sin `[T, D/2]` of angles as large as a 4k-patch image row has them."""
    angles = torch.rand(tokens, head_dim // 2, generator=generator) * 200 - 100
    return angles.cos().to(dtype), angles.sin().to(dtype)


def widen(table: Tensor, head_dim: int, width: int, interleaved: bool) -> Tensor:
    """`[T, D/2]` as the full-width table `[T, width]` that vLLM-Ascend passes, padding zero."""
    if interleaved:
        wide = table.repeat_interleave(2, dim=-1)
        return torch.nn.functional.pad(wide, (0, width - head_dim))
    half = torch.nn.functional.pad(table, (0, (width - head_dim) // 2))
    return torch.cat((half, half), dim=-1)


@dataclass(frozen=True)
class Rotary:
    """One call of a rotary operator; `lengths` are the segments, `tail` tokens follow the last one."""

    lengths: tuple[int, ...] = (64, 64)
    heads: int = 4
    head_dim: int = 80
    padded_dim: int | None = None
    out_head_dim: int | None = None
    interleaved: bool = False
    table: str = "half"  # half: [T, D/2]; full: [T, D]; padded: [T, Dp]; ascend: [1, T, 1, Dp]
    table_dtype: torch.dtype | None = torch.float32  # None is the operator's
    row_gap: int = 0  # columns between the rows of a strided qkv
    tail: int = 0
    scale: float | None = None

    @property
    def tokens(self) -> int:
        return sum(self.lengths) + self.tail

    def make(self, dtype: torch.dtype, seed: int = 0) -> dict:
        """The keyword arguments of rotary_qkv."""
        generator = seeded(seed)
        padded = self.padded_dim or self.head_dim
        width = 3 * self.heads * padded
        qkv = randn(self.tokens, width + self.row_gap, dtype=dtype, generator=generator)[:, :width]
        tables = angle_tables(self.tokens, self.head_dim, self.table_dtype or dtype, generator)
        if self.table != "half":
            to = self.head_dim if self.table == "full" else padded
            tables = tuple(widen(t, self.head_dim, to, self.interleaved) for t in tables)
        if self.table == "ascend":
            tables = tuple(t[None, :, None] for t in tables)
        return {
            "qkv": qkv,
            "cos": tables[0],
            "sin": tables[1],
            "num_heads": self.heads,
            "head_dim": self.head_dim,
            "out_head_dim": self.out_head_dim,
            "interleaved": self.interleaved,
        }

    def make_attention(self, dtype: torch.dtype, seed: int = 0) -> dict:
        """The keyword arguments of rotary_window_attention."""
        return {**self.make(dtype, seed), "cu_seqlens": cu_seqlens(self.lengths), "scale": self.scale}


ROTARY = {
    "windows of 64": Rotary(),
    "one token": Rotary(lengths=(1,), heads=1),
    "no tokens": Rotary(lengths=()),
    "windows of one": Rotary(lengths=(1, 1, 1, 1, 1)),
    "empty windows": Rotary(lengths=(0, 5, 0, 0, 7, 0)),
    "only empty windows": Rotary(lengths=(0, 0), tail=3),
    "ragged with a tail": Rotary(lengths=(64, 16, 49, 3), tail=11),
    "one long segment": Rotary(lengths=(700,), heads=2),
    "head 64": Rotary(head_dim=64),
    "head 72": Rotary(lengths=(33, 64), head_dim=72),
    "head 128": Rotary(head_dim=128, heads=2),
    "head 256": Rotary(lengths=(17,), head_dim=256, heads=1),
    "head 2": Rotary(lengths=(9,), head_dim=2),
    "head 6": Rotary(lengths=(9,), head_dim=6, heads=3),
    "head 34": Rotary(lengths=(20, 30), head_dim=34, heads=3),
    "padded in": Rotary(padded_dim=128),
    "padded out": Rotary(out_head_dim=128),
    "padded in, native out": Rotary(padded_dim=128, out_head_dim=80),
    "padded by two": Rotary(lengths=(9,), padded_dim=82, out_head_dim=84),
    "interleaved": Rotary(interleaved=True),
    "interleaved, padded": Rotary(interleaved=True, padded_dim=128, table="ascend"),
    "interleaved, padded out": Rotary(interleaved=True, out_head_dim=96, table="full"),
    "interleaved, head 6": Rotary(lengths=(5, 4), interleaved=True, head_dim=6, heads=3, table="full"),
    "full table": Rotary(table="full"),
    "vLLM-Ascend's table": Rotary(padded_dim=128, table="ascend"),
    "16-bit table": Rotary(table_dtype=None),
    "strided": Rotary(lengths=(40, 7), row_gap=24),
    "own scale": Rotary(scale=0.3),
    "zero scale": Rotary(lengths=(30,), scale=0.0),
    "negative scale": Rotary(lengths=(30,), scale=-0.2),
}


@dataclass(frozen=True)
class Attention:
    """One call of window_attention."""

    lengths: tuple[int, ...] = (64, 64)
    heads: int = 4
    kv_heads: int | None = None
    head_dim: int = 80
    value_dim: int | None = None
    tail: int = 0
    scale: float | None = None
    layout: str = "dense"  # dense; packed: views of one qkv; heads first: [H, T, D] transposed
    index_dtype: torch.dtype = torch.int32

    @property
    def tokens(self) -> int:
        return sum(self.lengths) + self.tail

    def make(self, dtype: torch.dtype, seed: int = 0) -> dict:
        generator = seeded(seed)
        kv_heads = self.kv_heads or self.heads
        value_dim = self.value_dim or self.head_dim
        shapes = ((self.heads, self.head_dim), (kv_heads, self.head_dim), (kv_heads, value_dim))
        if self.layout == "packed":
            sizes = [h * d for h, d in shapes]
            packed = randn(self.tokens, sum(sizes), dtype=dtype, generator=generator)
            parts = [part.unflatten(1, shape) for part, shape in zip(packed.split(sizes, 1), shapes, strict=True)]
        elif self.layout == "heads first":
            parts = [randn(h, self.tokens, d, dtype=dtype, generator=generator).transpose(0, 1) for h, d in shapes]
        else:
            parts = [randn(self.tokens, h, d, dtype=dtype, generator=generator) for h, d in shapes]
        return {
            **dict(zip("qkv", parts, strict=True)),
            "cu_seqlens": cu_seqlens(self.lengths, self.index_dtype),
            "scale": self.scale,
        }


ATTENTION = {
    "windows of 64": Attention(),
    "one token": Attention(lengths=(1,), heads=1),
    "no tokens": Attention(lengths=()),
    "windows of one": Attention(lengths=(1,) * 7),
    "empty windows": Attention(lengths=(0, 5, 0, 0, 7, 0)),
    "ragged with a tail": Attention(lengths=(64, 16, 49, 3), tail=11),
    "repeated end points": Attention(lengths=(30, 0, 0, 0), tail=2),
    "long segments": Attention(lengths=(1300, 5, 517), heads=2),
    "grouped heads": Attention(lengths=(50, 14), heads=6, kv_heads=2),
    "one key head": Attention(lengths=(50, 14), heads=4, kv_heads=1),
    "long, grouped heads": Attention(lengths=(900,), heads=4, kv_heads=2, head_dim=64),
    "wide values": Attention(lengths=(40,), head_dim=64, value_dim=96),
    "narrow values": Attention(lengths=(40,), head_dim=96, value_dim=2),
    "head 2": Attention(lengths=(40,), head_dim=2),
    "head 18": Attention(lengths=(40, 3), head_dim=18, heads=3),
    "head 128": Attention(head_dim=128),
    "head 256": Attention(lengths=(70,), head_dim=256, heads=1),
    "packed views": Attention(lengths=(64, 20), layout="packed"),
    "heads first": Attention(lengths=(64, 20), layout="heads first"),
    "int64 lengths": Attention(index_dtype=torch.int64),
    "own scale": Attention(scale=0.01),
    "sharp": Attention(scale=4.0),
}
