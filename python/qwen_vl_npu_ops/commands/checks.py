"""The operators' calls that doctor makes, and their comparison with an fp64 reference."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from .. import accuracy, ops, reference
from .._calls import as_tuple, in_fp64

TOKENS = 220
HEADS, KEY_HEADS, HEAD_DIM, PADDED_DIM = 4, 2, 80, 128
# Whole windows, ragged ones, an empty one, and rows that no window holds.
WINDOWS = (0, 64, 128, 168, 168, 171, 172, 208)
ONE_SEGMENT = (0, TOKENS)


@dataclasses.dataclass(frozen=True)
class Case:
    """One call of an operator; `tensors` at a dtype and `options` are its arguments."""

    op: str
    name: str
    tensors: Callable[[torch.dtype], dict[str, Tensor]]
    options: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Check:
    """How far an operator's result was off where it used most of its bound; None where it gave no number."""

    op: str
    case: str
    dtype: str
    passed: bool
    error: float | None
    bound: float | None
    detail: str


def cases() -> Iterator[Case]:
    """Every operator, each form of it that computes differently."""
    for interleaved in (False, True):
        rotary = "interleaved" if interleaved else "half"
        heads = {"num_heads": HEADS, "head_dim": HEAD_DIM, "interleaved": interleaved}
        padded = {**heads, "out_head_dim": PADDED_DIM}
        yield Case("rotary_qkv", rotary, _rotary_tensors, heads)
        yield Case("rotary_qkv", f"{rotary}, padded", _rotary_tensors, padded)
        for name, ends in (("windows", WINDOWS), ("one segment", ONE_SEGMENT)):
            tensors = _with_segments(_rotary_tensors, ends)
            yield Case("rotary_window_attention", f"{rotary}, {name}", tensors, heads)
        tensors = _with_segments(_rotary_tensors, WINDOWS)
        yield Case("rotary_window_attention", f"{rotary}, windows, padded", tensors, padded)
    for name, ends in (("windows", WINDOWS), ("one segment", ONE_SEGMENT)):
        yield Case("window_attention", name, _with_segments(_attention_tensors(HEADS), ends), {})
    grouped = _with_segments(_attention_tensors(KEY_HEADS), WINDOWS)
    yield Case("window_attention", "windows, grouped heads", grouped, {"scale": 0.1})
    yield Case("patch_embed", "rows in order", _pixel_tensors, {})
    yield Case("patch_embed", "permuted, fp32 pixels, bias", _permuted_pixel_tensors, {})
    yield Case("linear", "with a bias", _linear_tensors, {})
    yield Case("rms_norm", "", _norm_tensors("x"), {})
    yield Case("add_rms_norm", "", _norm_tensors("x", "residual"), {})
    yield Case("silu_and_mul", "", lambda dtype: {"gate_up": _draw(TOKENS, 500, seed=0).to(dtype)}, {})


def check(case: Case, dtype: torch.dtype, device: str = "cpu") -> Check:
    """Run one case and compare with fp64, under the bound that torch's own composition at this dtype sets."""
    name = str(dtype).removeprefix("torch.")
    with _one_thread():
        tensors = case.tensors(dtype)
        composition = getattr(reference, case.op)
        expected = as_tuple(composition(**in_fp64(tensors), **case.options))
        peers = as_tuple(composition(**tensors, **case.options))
    try:
        moved = {key: value.to(device) for key, value in tensors.items()}
        got = [result.cpu() for result in as_tuple(getattr(ops, case.op)(**moved, **case.options))]
        with _one_thread():
            comparisons = [accuracy.compare(*results) for results in zip(got, expected, peers, strict=True)]
    except Exception as error:  # whatever an operator does wrong is a finding, not the end of the report
        return Check(case.op, case.name, name, False, None, None, f"{type(error).__name__}: {error}")
    worst = max(comparisons, key=lambda comparison: comparison.worst_ratio)
    off = abs(worst.got - worst.expected)
    return Check(case.op, case.name, name, worst.passed, off if math.isfinite(off) else None, worst.bound, str(worst))


def _draw(*shape: int, seed: int, deviation: float = 1.0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * deviation


def _rotary_tensors(dtype: torch.dtype) -> dict[str, Tensor]:
    angles = torch.outer(torch.arange(TOKENS), 10000.0 ** -(torch.arange(0, HEAD_DIM, 2) / HEAD_DIM))
    qkv = _draw(TOKENS, 3 * HEADS * HEAD_DIM, seed=0).to(dtype)
    return {"qkv": qkv, "cos": angles.cos(), "sin": angles.sin()}


def _attention_tensors(key_heads: int) -> Callable[[torch.dtype], dict[str, Tensor]]:
    def tensors(dtype: torch.dtype) -> dict[str, Tensor]:
        heads = {"q": HEADS, "k": key_heads, "v": key_heads}
        return {
            name: _draw(TOKENS, count, HEAD_DIM, seed=seed).to(dtype)
            for seed, (name, count) in enumerate(heads.items())
        }

    return tensors


def _with_segments(
    tensors: Callable[[torch.dtype], dict[str, Tensor]], ends: Sequence[int]
) -> Callable[[torch.dtype], dict[str, Tensor]]:
    return lambda dtype: {**tensors(dtype), "cu_seqlens": torch.tensor(ends, dtype=torch.int32)}


def _pixel_tensors(dtype: torch.dtype) -> dict[str, Tensor]:
    """Qwen2.5-VL's patches, 3 * 2 * 14 * 14 values, into 320 channels."""
    return {
        "pixels": _draw(TOKENS, 1176, seed=0).to(dtype),
        "weight": _draw(320, 1176, seed=1, deviation=0.02).to(dtype),
    }


def _permuted_pixel_tensors(dtype: torch.dtype) -> dict[str, Tensor]:
    order = torch.randperm(TOKENS, generator=torch.Generator().manual_seed(2)).to(torch.int32)
    bias = _draw(320, seed=3).to(dtype)
    pixels = _pixel_tensors(torch.float32)["pixels"]
    return {**_pixel_tensors(dtype), "pixels": pixels, "bias": bias, "row_index": order}


def _linear_tensors(dtype: torch.dtype) -> dict[str, Tensor]:
    return {
        "x": _draw(TOKENS, 1280, seed=0).to(dtype),
        "weight": _draw(250, 1280, seed=1, deviation=0.03).to(dtype),
        "bias": _draw(250, seed=2).to(dtype),
    }


def _norm_tensors(*rows: str) -> Callable[[torch.dtype], dict[str, Tensor]]:
    def tensors(dtype: torch.dtype) -> dict[str, Tensor]:
        drawn = {name: _draw(TOKENS, 1280, seed=seed).to(dtype) for seed, name in enumerate(rows)}
        return {**drawn, "weight": _draw(1280, seed=2).to(dtype)}

    return tensors


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """For torch's own part: the tensors are so small that its threads would mostly wait for one another."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
