"""`qwen-vl-npu-ops doctor`: what runs here, and whether its numbers are right."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import json
import math
import os
import platform
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from .. import accuracy, ops, reference
from . import live_isa

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
PACKAGES = ("qwen-vl-npu-ops", "torch", "torch-npu", "transformers", "safetensors", "numpy")
OPERATORS = ("rotary_qkv", "window_attention", "rotary_window_attention", "patch_embed")

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


@dataclasses.dataclass(frozen=True)
class Report:
    """What the command prints, as plain data."""

    packages: dict[str, str | None]  # None: not installed
    machine: dict[str, str | int]
    kernels: dict[str, Any]
    checks: list[Check]

    @property
    def passed(self) -> bool:
        """Whether every operator is within its bound."""
        return all(check.passed for check in self.checks)

    def as_json(self) -> str:
        """The report as a JSON object, with "passed" beside the fields."""
        return json.dumps({"passed": self.passed, **dataclasses.asdict(self)}, indent=2, allow_nan=False)


def diagnose() -> Report:
    """Look at the machine and run every check; takes a few seconds."""
    kernels = _kernels()
    return Report(_packages(), _machine(), kernels, [check(case, dtype) for case in cases() for dtype in DTYPES])


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


def check(case: Case, dtype: torch.dtype) -> Check:
    """Run one case and compare with fp64, under the bound that torch's own composition at this dtype sets."""
    name = str(dtype).removeprefix("torch.")
    with _one_thread():
        tensors = case.tensors(dtype)
        wide = {key: value.double() if value.is_floating_point() else value for key, value in tensors.items()}
        composition = getattr(reference, case.op)
        expected = _results(composition(**wide, **case.options))
        peers = _results(composition(**tensors, **case.options))
    try:
        got = _results(getattr(ops, case.op)(**tensors, **case.options))
        with _one_thread():
            comparisons = [accuracy.compare(*results) for results in zip(got, expected, peers, strict=True)]
    except Exception as error:  # whatever an operator does wrong is a finding, not the end of the report
        return Check(case.op, case.name, name, False, None, None, f"{type(error).__name__}: {error}")
    worst = max(comparisons, key=lambda comparison: comparison.worst_ratio)
    off = abs(worst.got - worst.expected)
    return Check(case.op, case.name, name, worst.passed, off if math.isfinite(off) else None, worst.bound, str(worst))


def print_report(report: Report, console: Console) -> None:
    """The report for people."""
    lines = [f"{name}: {version or 'not installed'}" for name, version in report.packages.items()]
    lines += [f"{name}: {value}" for name, value in report.machine.items()]
    lines += [f"{name.replace('_', ' ')}: {_in_words(value)}" for name, value in report.kernels.items()]
    console.print(*lines, sep="\n", highlight=False, soft_wrap=True)
    for op in OPERATORS:
        console.print(_check_table(op, [row for row in report.checks if row.op == op]))
    failed = [row for row in report.checks if not row.passed]
    for row in failed:
        console.print(f"{row.op}, {row.case}, {row.dtype}: {row.detail}", highlight=False, soft_wrap=True, markup=False)
    total = len(report.checks)
    if failed:
        console.print(f"[bold red]{len(failed)} of {total} checks failed[/]: do not trust this back end here")
    else:
        console.print(f"[green]all {total} checks passed[/]")


def _check_table(op: str, rows: Sequence[Check]) -> Table:
    table = Table(title=op, title_justify="left")
    for column in ("case", "dtype"):
        table.add_column(column, no_wrap=True)
    for column in ("error", "bound", ""):
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        verdict = "[green]pass[/]" if row.passed else "[bold red]FAIL[/]"
        table.add_row(row.case, row.dtype, _number(row.error), _number(row.bound), verdict)
    return table


def _packages() -> dict[str, str | None]:
    """Versions out of the packages' metadata, as torch_npu cannot be imported where CANN is missing."""
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    return versions


def _machine() -> dict[str, str | int]:
    return {"cpu": _cpu_model(), "cores": os.cpu_count() or 1, "threads": torch.get_num_threads()}


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return f"{line.partition(':')[2].strip()} ({platform.machine()})"
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine()


def _kernels() -> dict[str, Any]:
    return {
        "back_end": "cpu",
        "instruction_set": live_isa(),
        "available_instruction_sets": ops.available_cpu_isas(),
        "npu_operators_built_in": all(
            torch._C._dispatch_has_kernel_for_dispatch_key(f"qwen_vl_npu_ops::{op}", "PrivateUse1") for op in OPERATORS
        ),
    }


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


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """For torch's own part: the tensors are so small that its threads would mostly wait for one another."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _results(value: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return value if isinstance(value, tuple) else (value,)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2e}"


def _in_words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(value) if isinstance(value, list) else str(value)
