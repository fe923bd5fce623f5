"""Pictures of a report: operators under the roofline, and what a tower's time is made of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..commands import failing_as, optional_packages
from .compare import ROOFLINE
from .record import Line, Peaks, Report, Stage

with optional_packages("bench"):
    from matplotlib.figure import Figure

INK, GRID = "#222222", "#dddddd"
COLOURS = ("#4477aa", "#cc3311", "#ee9933", "#228833", "#aa3377", "#66ccee", "#bbbbbb", "#222222")
STAGE_COLOURS = ("#aa3377", "#4477aa", "#228833", "#88bb55", "#ee9933", "#66ccee", "#ccbb44", "#cc3311", "#bbbbbb")


def draw(report: Report, path: Path) -> None:
    """Draw a report; the path's suffix says in which format."""
    if report.benchmark == "ops" and report.peaks is not None:
        figure = _rooflines(report, report.peaks)
    elif report.device == "cpu":
        figure = _towers(report)
    else:
        figure = _shares(report)
    with failing_as(path, OSError, ValueError):
        figure.savefig(path, dpi=110)


def _rooflines(report: Report, peaks: Peaks) -> Figure:
    """For each dtype what every implementation reaches, against what the machine does at most."""
    dtypes = list(dict.fromkeys(line.dtype for line in report.lines))
    figure = Figure(figsize=(7 * len(dtypes), 6), layout="constrained")
    for axis, dtype in zip(figure.subplots(1, len(dtypes), squeeze=False)[0], dtypes, strict=True):
        _roofline(axis, [line for line in report.lines if line.dtype == dtype and line.timing], peaks, dtype)
    return figure


def _roofline(axis: Any, lines: list[Line], peaks: Peaks, dtype: str) -> None:
    copy = 1e-9 * peaks.copy
    most = 1e-9 * peaks.arithmetic(dtype)
    points = [(line, line.gflops, line.gflops / line.gbps) for line in lines if line.gflops and line.gbps]
    edges = [most / copy, *(intensity for _, _, intensity in points)]
    low, high = min(edges) / 3, max(edges) * 3
    axis.plot([low, most / copy, high], [low * copy, most, most], color=INK, linewidth=1.5, zorder=2)
    names = list(dict.fromkeys(line.implementation for line, _, _ in points))
    for line, reached, intensity in points:
        colour = COLOURS[names.index(line.implementation) % len(COLOURS)]
        marker = "o" if line.ours else "x"
        axis.plot([intensity], [reached], marker, color=colour, markersize=8 if line.ours else 6, zorder=3)
        if line.ours:
            axis.annotate(line.case, (intensity, reached), xytext=(8, -3), textcoords="offset points", fontsize=7)
    for name in names:  # for the legend
        axis.plot([], [], "o", color=COLOURS[names.index(name) % len(COLOURS)], label=name)
    axis.set(xscale="log", yscale="log", xlim=(low, high))
    axis.set_xlabel("operations per byte of arguments and results", fontsize=9)
    axis.set_ylabel("GFLOP/s", fontsize=9)
    title = f"{dtype}: measured peaks {most:.0f} GFLOP/s, copy {copy:.1f} GB/s"
    axis.set_title(title, loc="left", fontsize=10, color=INK)
    _legend(axis, fontsize=8, loc="lower right")
    _clean(axis)


def _towers(report: Report) -> Figure:
    """For each dtype the stages of every implementation against the GEMMs alone, and time over tokens."""
    dtypes = list(dict.fromkeys(line.dtype for line in report.lines))
    bars = max(_count(report.stages, dtype) for dtype in dtypes)
    figure = Figure(figsize=(13, len(dtypes) * (2.2 + 0.28 * bars)), layout="constrained")
    axes = figure.subplots(len(dtypes), 2, squeeze=False, width_ratios=(3, 2))
    for (left, right), dtype in zip(axes, dtypes, strict=True):
        _stages(left, report, dtype)
        _scaling(right, [line for line in report.lines if line.dtype == dtype and line.at_full_depth], dtype)
    return figure


def _count(stages: Sequence[Stage], dtype: str) -> int:
    return len({_bar(stage) for stage in stages if stage.dtype == dtype})


def _bar(row: Line | Stage) -> str:
    return f"{row.case.removeprefix('tower, ')} {row.tokens}: {row.implementation}".removeprefix("tower ")


def _stages(axis: Any, report: Report, dtype: str) -> None:
    """Stacked bars in units of what the GEMMs take."""
    floors = {
        (line.case, line.tokens): line.at_full_depth / line.over_gemms
        for line in report.lines
        if line.dtype == dtype and line.at_full_depth and line.over_gemms
    }
    rows = [stage for stage in report.stages if stage.dtype == dtype and (stage.case, stage.tokens) in floors]
    names, ends = list(dict.fromkeys(row.stage for row in rows)), dict.fromkeys((_bar(row) for row in rows), 0.0)
    places = {bar: at for at, bar in enumerate(ends)}
    for row in rows:
        bar, width = _bar(row), max(0.0, row.seconds / floors[row.case, row.tokens])
        axis.barh(places[bar], width, left=ends[bar], color=STAGE_COLOURS[names.index(row.stage)], zorder=2)
        ends[bar] += width
    for name, colour in zip(names, STAGE_COLOURS, strict=False):  # for the legend
        axis.barh([0], [0], color=colour, label=name)
    axis.axvline(1.0, color=INK, linewidth=1.5, zorder=3)
    axis.set_yticks(range(len(places)), list(places), fontsize=8)
    axis.invert_yaxis()
    axis.set_xlabel("time over that of the tower's GEMMs alone", fontsize=9)
    axis.set_title(f"{dtype}: stages of the whole tower", loc="left", fontsize=10, color=INK)
    _legend(axis, fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    _clean(axis)


def _scaling(axis: Any, lines: Sequence[Line], dtype: str) -> None:
    """What a token takes, over the number of tokens."""
    names = list(dict.fromkeys(line.implementation for line in lines))
    for name, colour in zip(names, COLOURS, strict=False):
        points = sorted(
            (line.tokens, 1e3 * (line.at_full_depth or 0.0) / line.tokens)
            for line in lines
            if line.implementation == name
        )
        axis.plot(*zip(*points, strict=True), "o-", color=colour, label=name, zorder=3)
    axis.set(xscale="log", ylim=(0, None))
    sizes = sorted({line.tokens for line in lines})
    axis.set_xticks(sizes, [str(size) for size in sizes])
    axis.minorticks_off()
    axis.set_xlabel("tokens", fontsize=9)
    axis.set_ylabel("ms a token, whole tower", fontsize=9)
    axis.set_title(f"{dtype}: scaling", loc="left", fontsize=10, color=INK)
    _legend(axis, fontsize=8)
    _clean(axis)


def _shares(report: Report) -> Figure:
    """Without peaks of our own measuring: times, and under them the bounds where they are known."""
    lines = [line for line in report.lines if line.timing and line.implementation != ROOFLINE]
    figure = Figure(figsize=(9, 1.2 + 0.35 * len(lines)), layout="constrained")
    axis = figure.subplots()
    for at, line in enumerate(lines):
        assert line.timing is not None
        axis.barh(at, 1e6 * line.timing.median, color=COLOURS[0], alpha=0.35, zorder=2)
        axis.barh(at, 1e6 * (line.bound or 0.0), height=0.4, color=COLOURS[0], zorder=3)
    labels = [f"{line.case}, {line.dtype}, {line.tokens}: {line.implementation}" for line in lines]
    axis.set_yticks(range(len(lines)), labels, fontsize=8)
    axis.invert_yaxis()
    axis.set_xlabel("us: pale the time, solid the least it takes", fontsize=9)
    kind = "estimates of the simulator" if report.device == "sim" else report.device
    axis.set_title(kind, loc="left", fontsize=10, color=INK)
    _clean(axis)
    return figure


def _legend(axis: Any, **options: Any) -> None:
    """Nothing where no round could be kept, and so nothing is drawn."""
    if axis.get_legend_handles_labels()[0]:
        axis.legend(frameon=False, **options)


def _clean(axis: Any) -> None:
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    axis.tick_params(colors=INK, labelsize=8)
    axis.grid(color=GRID, linewidth=0.6, zorder=1)
