"""The operators as `qwen-vl-npu-ops sim` runs them: inputs from sizes or from an image's grid, and the comparison."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from .. import accuracy, ops, reference
from .._calls import as_tuple, in_fp64
from ..config import VisionConfig
from ..plan import VisionPlan

FULL = "full"


@dataclass(frozen=True)
class Segments:
    """Rows of all tensors, and how attention cuts them up."""

    tokens: int
    cu_seqlens: Tensor
    row_index: Tensor | None = None  # of a grid: pixel rows in window order

    @property
    def lengths(self) -> list[int]:
        """Of each segment, in tokens."""
        return self.cu_seqlens.diff().tolist()


@dataclass(frozen=True)
class Row:
    """A line of the table: the options an operator takes with their defaults, and its tensors."""

    about: str
    options: dict[str, Any]
    tensors: Callable[..., dict[str, Tensor]] = field(repr=False)
    keywords: tuple[str, ...] = ()  # options that are arguments of the operator too


def segments(tokens: int, windows: str | None, grid: str | None) -> Segments:
    """From `--tokens`, `--windows` and `--grid`. Raises ValueError for what they cannot mean."""
    if grid is not None:
        plan = VisionPlan.build([_numbers("grid", grid)], VisionConfig.of("7b"))
        if windows not in (None, FULL):
            raise ValueError(f"windows: expected {FULL} or nothing beside grid, got {windows}")
        cu_seqlens = plan.cu_seqlens_full if windows == FULL else plan.cu_seqlens_window
        return Segments(plan.num_tokens, cu_seqlens, plan.row_index)
    if windows == FULL:
        ends = [0, tokens]
    else:
        lengths = _numbers("windows", windows or "64")
        if len(lengths) == 1 and lengths[0] > 0:
            ends = [*range(0, tokens, lengths[0]), tokens]
        else:
            ends = [0, *itertools.accumulate(lengths)]
            if ends[-1] > tokens:
                raise ValueError(f"windows: expected at most {tokens} tokens in all, got {ends[-1]}")
    return Segments(tokens, torch.tensor(ends, dtype=torch.int32))


def _numbers(name: str, text: str) -> list[int]:
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 0:
        raise ValueError(f"{name}: expected whole numbers with commas between them, got {text!r}")
    return numbers


def run(op: str, tensors: dict[str, Tensor], options: dict[str, Any]) -> tuple[Tensor, ...]:
    """The operator's results; on the current simulated device where there is one."""
    return as_tuple(getattr(ops, op)(**tensors, **options))


def compare(op: str, got: Sequence[Tensor], tensors: dict[str, Tensor], options: dict[str, Any]) -> str | None:
    """None where every element's error against fp64 is at most twice torch's own, else what is wrong."""
    composition = getattr(reference, op)
    expected, peers = as_tuple(composition(**in_fp64(tensors), **options)), as_tuple(composition(**tensors, **options))
    comparisons = [accuracy.compare(*results) for results in zip(got, expected, peers, strict=True)]
    return next((str(comparison) for comparison in comparisons if not comparison.passed), None)


# ---- tensors: normal values from one seed ----


def _normal(*shape: int, dtype: torch.dtype) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))).to(dtype)


def _qkv(cut: Segments, dtype: torch.dtype, heads: int, head_dim: int, **_: Any) -> dict[str, Tensor]:
    angles = torch.rand(cut.tokens, head_dim // 2, generator=torch.Generator().manual_seed(1)) * 2 * torch.pi
    return {"qkv": _normal(cut.tokens, 3 * heads * head_dim, dtype=dtype), "cos": angles.cos(), "sin": angles.sin()}


def _qkv_and_segments(cut: Segments, **sizes: Any) -> dict[str, Tensor]:
    return {**_qkv(cut, **sizes), "cu_seqlens": cut.cu_seqlens}


def _q_k_v(cut: Segments, dtype: torch.dtype, heads: int, head_dim: int, **_: Any) -> dict[str, Tensor]:
    q, k, v = _normal(3, cut.tokens, heads, head_dim, dtype=dtype)
    return {"q": q, "k": k, "v": v, "cu_seqlens": cut.cu_seqlens}


def _pixels(cut: Segments, dtype: torch.dtype, hidden: int, **_: Any) -> dict[str, Tensor]:
    config = VisionConfig.of("7b")
    columns = config.in_channels * config.temporal_patch_size * config.patch_size**2
    tensors = {"pixels": _normal(cut.tokens, columns, dtype=dtype), "weight": _normal(hidden, columns, dtype=dtype)}
    return tensors if cut.row_index is None else {**tensors, "row_index": cut.row_index}


_COMMON = {"tokens": 4096, "grid": None, "dtype": "bf16"}
_ATTENTION = {**_COMMON, "heads": 16, "head_dim": 80, "windows": None}
_ROTARY = {"out_head_dim": None, "interleaved": False}

OPERATORS = {
    "rotary_qkv": Row(
        "split qkv, rotate q and k (vector cores)",
        {**_COMMON, "heads": 16, "head_dim": 80, **_ROTARY},
        _qkv,
        ("num_heads", "head_dim", *_ROTARY),
    ),
    "window_attention": Row("softmax(q k^T) v in each segment (cube and vector cores)", _ATTENTION, _q_k_v),
    "rotary_window_attention": Row(
        "both in one kernel (cube and vector cores)",
        {**_ATTENTION, **_ROTARY},
        _qkv_and_segments,
        ("num_heads", "head_dim", *_ROTARY),
    ),
    "patch_embed": Row("rows of pixels times the weight (cube cores)", {**_COMMON, "hidden": 1280}, _pixels),
}
