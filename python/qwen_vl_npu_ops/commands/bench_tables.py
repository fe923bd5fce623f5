"""Tables of a benchmark's report, for people."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from ..bench.record import Line, Peaks, Report, Stage, Timing


def print_report(report: Report, console: Console) -> None:
    """Machine, peaks, a table for each dtype and batch, notes."""
    versions_shown = ", ".join(f"{name} {version}" for name, version in report.versions.items() if version)
    here = report.machine
    console.print(
        f"{here['cpu']}, {here['threads']} of {here['cores']} cores, {here['instruction_set']}",
        versions_shown,
        *(f"{name}={value}" for name, value in here["environment"].items()),
        sep="\n",
        highlight=False,
        soft_wrap=True,
        markup=False,
    )
    if report.peaks is not None:
        console.print(_peak_table(report.peaks))
    for title, lines in itertools.groupby(report.lines, _title):
        console.print(_line_table(title, list(lines), report))
    for title, stages in itertools.groupby(report.stages, _title):
        console.print(_stage_table(title, list(stages)))
    for line in report.lines:
        if line.transient is not None:
            text = f"{_title(line)}, {line.implementation}: {line.transient / 2**20:.0f} MiB beyond model and input"
            console.print(text, highlight=False, soft_wrap=True)
    for note in [*_remarks(report.lines), *report.notes]:
        console.print(note, highlight=False, soft_wrap=True, markup=False)


def _title(row: Line | Stage) -> str:
    return f"{row.case}, {row.dtype}, {row.tokens} tokens"


def _remarks(lines: Sequence[Line]) -> list[str]:
    """What is to be said of single lines; once where it is the same of several of a table."""
    implementations: dict[tuple[str, str], list[str]] = {}
    for line in lines:
        if line.note:
            implementations.setdefault((_title(line), line.note), []).append(line.implementation)
    return [f"{title}, {', '.join(names)}: {note}" for (title, note), names in implementations.items()]


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


def _line_table(title: str, lines: Sequence[Line], report: Report) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=0)  # fits 80 columns
    table.add_column("", no_wrap=True)
    columns = _columns(report)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    for line in lines:
        cells = ["-"] if line.timing is None else [cell(line, line.timing) for cell in columns.values()]
        table.add_row(line.implementation, *cells, style="bold" if line.ours else "")
    return table


_Cell = Callable[[Line, Timing], str]


def _columns(report: Report) -> dict[str, _Cell]:
    estimated = report.device == "sim"
    unit = 1e6 if estimated else 1e3
    columns: dict[str, _Cell] = {
        "us" if estimated else "ms": lambda line, timing: _digits(unit * timing.median),
        "spread": lambda line, timing: (
            _number((timing.high - timing.low) / timing.median, ".0%") if timing.rounds > 1 else ""
        ),
        "GFLOP/s": lambda line, timing: "" if line.gflops is None else _digits(line.gflops),
        "GB/s": lambda line, timing: "" if line.gbps is None else _digits(line.gbps),
        "of bound" if estimated else "of peak": lambda line, timing: _number(line.of_peak, ".0%"),
        "x ours": lambda line, timing: "" if line.ours else _number(line.times_ours, ".2f"),
        "x GEMMs": lambda line, timing: _number(line.over_gemms, ".2f"),
        "error": lambda line, timing: _number(line.rms_error, ".1e"),
    }
    hidden = {"GB/s"} if report.benchmark == "tower" else {"x GEMMs"}
    if estimated:
        hidden |= {"spread", "x GEMMs", *(["x ours", "error"] if report.benchmark == "tower" else [])}
    return {name: cell for name, cell in columns.items() if name not in hidden}


def _digits(value: float) -> str:
    """Four digits, and no exponent for what is large."""
    return f"{value:.0f}" if value >= 1000 else f"{value:.4g}"


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _stage_table(title: str, stages: Sequence[Stage]) -> Table:
    """A row for each stage, a column for each implementation."""
    seconds = {(stage.stage, stage.implementation): stage.seconds for stage in stages}
    names = list(dict.fromkeys(stage.implementation for stage in stages))
    table = Table(title=f"{title}: stages, ms", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True)
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    for stage in dict.fromkeys(stage.stage for stage in stages):
        table.add_row(stage, *(_digits(1e3 * seconds[stage, name]) for name in names))
    return table
