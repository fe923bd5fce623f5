"""`qwen-vl-npu-ops bench`: runs of the harness in `qwen_vl_npu_ops.bench`, for people and for machines."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from .. import npu, ops, sim
from ..bench import cases, compare, operators, peaks, peers
from ..bench.cases import Batch
from ..bench.record import Line, Peaks, Report, Timing
from ..bench.timing import CONTENDED
from . import CommandError, failing_as, live_isa
from .machine import machine, versions
from .npu_check import missing_npu
from .options import DTYPES

SIM_NOTE = "times are estimates of the simulator's model, without the launch; the bound is what no kernel can beat"
VIRTUAL_NOTE = "this NPU is virtual, its kernels run on the host: times mean nothing"
NOTES = [
    "spread: between the quartiles. x ours: time over ours, above 1 ours is faster. error: rms, relative, against fp64",
    "of peak: what the measured peaks allow over the time; above 100% where caches hold what the copy had in memory",
]


def run_peaks(threads: int | None) -> Report:
    """The machine's peaks, alone."""
    with _threads(threads):
        return _report("peaks", "cpu", {}, peaks.measure(), [], [])


@dataclasses.dataclass(frozen=True)
class Request:
    """Options that all benchmarks share, as they were written."""

    device: str
    dtypes: str
    tokens: str
    images: Sequence[Path]
    videos: Sequence[Path]
    max_frames: int
    threads: int | None
    rounds: int
    compiled: bool
    check: bool

    def batches(self) -> list[Batch]:
        """Of the files, all in one; where there are none, of `tokens`."""
        if not self.images and not self.videos:
            return cases.parse(self.tokens)
        from .inputs import open_processor, read_image, read_video

        processor = open_processor(operators.SIZES, None)
        inputs = [read_image(path, path.name, processor) for path in self.images]
        inputs += [read_video(path, path.name, processor, self.max_frames) for path in self.videos]
        return [cases.of_grids([item.grid for item in inputs])]

    def kinds(self) -> dict[str, torch.dtype]:
        """Names and dtypes."""
        names = [name.strip() for name in self.dtypes.split(",")]
        for name in names:
            if name not in DTYPES:
                raise ValueError(f"--dtype: expected {', '.join(DTYPES)}, with commas between them, got {name!r}")
        return {name: DTYPES[name] for name in names}


@dataclasses.dataclass(frozen=True)
class OpsRequest(Request):
    """Options of `bench ops`."""

    operators: Sequence[str]
    windows: int | None
    chip: str
    l2: str


def run_ops(request: OpsRequest) -> Report:
    """Every operator that is asked for, on every batch, at every dtype. Raises ValueError naming a wrong option."""
    for name in request.operators:
        if name not in operators.OPERATORS:
            raise ValueError(f"OPERATOR: expected one of {', '.join(operators.OPERATORS)}, got {name!r}")
    if request.device == "sim" and request.chip not in sim.chips():
        raise ValueError(f"--chip: expected one of {', '.join(sim.chips())}, got {request.chip!r}")
    batches, kinds = request.batches(), request.kinds()
    notes = _notes(request)
    with _threads(request.threads), torch.inference_mode(), failing_as("simulated chip", sim.SimulatorError):
        live_isa()
        measured = peaks.measure() if request.device == "cpu" else None
        lines: list[Line] = []
        for batch in batches:
            for dtype in kinds.values():
                for case in operators.cases(batch, dtype, request.windows, request.operators or operators.OPERATORS):
                    lines += _compare(case, request, measured)
        settings = {
            **_settings(request, batches),
            "windows": request.windows,
            "chip": request.chip,
            "l2": request.l2,
        }
        return _report("ops", request.device, settings, measured, lines, notes)


def _compare(case: operators.Case, request: OpsRequest, measured: Peaks | None) -> list[Line]:
    if request.device == "sim":
        return compare.on_sim(case, request.chip, request.l2, check=request.check)
    if measured is None:
        return compare.on_npu(case, request.rounds, check=request.check)
    return compare.on_cpu(case, measured, request.rounds, check=request.check, compiled=request.compiled)


def _settings(request: Request, batches: Sequence[Batch]) -> dict[str, Any]:
    return {
        "dtypes": list(request.kinds()),
        "grids": {batch.name: [list(grid) for grid in batch.grids] for batch in batches},
        "rounds": request.rounds,
        "compile": request.compiled,
        "check": request.check,
    }


@contextlib.contextmanager
def _threads(threads: int | None) -> Iterator[None]:
    """So many threads inside; more than cores would wait for one another."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if threads is not None and threads > cores:
        raise ValueError(f"--threads: expected at most {cores}, the cores of this process, got {threads}")
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _notes(request: Request) -> list[str]:
    device = request.device
    if device == "sim":
        return [SIM_NOTE]
    notes = [*NOTES]
    if device == "npu":
        if (missing := missing_npu()) is not None:
            raise CommandError(f"--device npu: {missing}")
        live = npu.status()
        notes.append(f"ours: {'kernels' if live.kernels else 'composition'} ({live.reason})")
        if npu.is_virtual():
            notes.append(VIRTUAL_NOTE)
    elif not peers.have_transformers():
        notes.append("transformers is not installed: its peers are left out (pip install 'qwen-vl-npu-ops[bench]')")
    if device == "cpu" and not request.compiled:
        notes.append("torch.compile left out (--compile)")
    return notes


def _report(
    benchmark: str, device: str, settings: dict[str, Any], measured: Peaks | None, lines: list[Line], notes: list[str]
) -> Report:
    here = {**machine(), "instruction_set": live_isa(), "instruction_sets": ops.available_cpu_isas()}
    kept = [line.timing for line in lines if line.timing is not None]
    dropped = sum(line.timing.dropped for line in lines if line.ours and line.timing is not None)
    if device != "sim" and kept:
        notes = [*notes, f"{dropped} contended rounds dropped (threads waited {CONTENDED:.0%} of a round or more)"]
    if measured is not None and measured.disturbed:
        notes = [*notes, "the peaks are too low: others took the cores while they were measured"]
    return Report(benchmark, device, settings, here, versions(), measured, lines, notes)


def draw(report: Report, path: Path) -> None:
    """The report's pictures, in one file."""
    from ..bench import pictures  # needs matplotlib

    pictures.draw(report, path)


# ---- for people ----


def print_report(report: Report, console: Console) -> None:
    """Machine, peaks, a table for each dtype and batch, notes."""
    versions_shown = ", ".join(f"{name} {version}" for name, version in report.versions.items() if version)
    here = report.machine
    console.print(
        f"{here['cpu']}, {here['threads']} of {here['cores']} cores, {here['instruction_set']}",
        versions_shown,
        sep="\n",
        highlight=False,
        soft_wrap=True,
        markup=False,
    )
    if report.peaks is not None:
        console.print(_peak_table(report.peaks))
    for title, rows in itertools.groupby(report.lines, lambda line: f"{line.case}, {line.dtype}, {line.tokens} tokens"):
        console.print(_line_table(title, list(rows), report.device == "sim"))
    remarks = [f"{line.case}, {line.dtype}, {line.implementation}: {line.note}" for line in report.lines if line.note]
    for note in [*remarks, *report.notes]:
        console.print(note, highlight=False, soft_wrap=True, markup=False)


def _peak_table(measured: Peaks) -> Table:
    table = Table(title="measured peaks", title_justify="left")
    table.add_column("what")
    table.add_column("most", justify="right")
    rows = [
        ("fp32 multiply-add", measured.fma_fp32, "GFLOP/s"),
        ("bf16 dot product", measured.dot_bf16, "GFLOP/s"),
        ("int8 dot product", measured.dot_int8, "GOP/s"),
        ("exponential, fp32", measured.exp_fp32, "G/s"),
        ("copy, read and written", measured.copy, "GB/s"),
    ]
    for name, rate, unit in rows:
        table.add_row(name, "none" if rate is None else f"{1e-9 * rate:.1f} {unit}")
    return table


def _line_table(title: str, lines: Sequence[Line], estimated: bool) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))  # fits 80 columns
    table.add_column("", no_wrap=True)
    unit = "us" if estimated else "ms"
    for column in (unit, "spread", "GFLOP/s", "GB/s", "of bound" if estimated else "of peak", "x ours", "error"):
        table.add_column(column, justify="right", no_wrap=True)
    for line in lines:
        cells = [] if line.timing is None else _cells(line, line.timing, 1e6 if estimated else 1e3)
        table.add_row(line.implementation, *(cells or ["-"]), style="bold" if line.ours else "")
    return table


def _cells(line: Line, timing: Timing, unit: float) -> list[str]:
    return [
        f"{unit * timing.median:.4g}",
        f"{(timing.high - timing.low) / timing.median:.0%}" if timing.rounds > 1 else "",
        _number(line.gflops, ".4g"),
        _number(line.gbps, ".3g"),
        _number(line.of_peak, ".0%"),
        "" if line.ours else _number(line.times_ours, ".2f"),
        _number(line.rms_error, ".1e"),
    ]


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
