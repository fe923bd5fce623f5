"""Pictures of a simulated launch: what the pipes of a few cores do, and how far the kernel is from its roofline."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import sim
from ..sim import trace
from ..sim.native import native
from . import failing_as, optional_packages
from .sim import Outcome, named

with optional_packages("sim"):
    from matplotlib.figure import Figure

COLOURS = {
    "S": "#9aa0a6",
    "MTE2": "#4477aa",
    "MTE1": "#66ccee",
    "M": "#cc3311",
    "FIX": "#aa3377",
    "V": "#ee9933",
    "MTE3": "#228833",
    "l2": "#777777",
    "hbm": "#333333",
}
INK, GRID = "#222222", "#dddddd"
PIXELS = 1200  # of a timeline; what is narrower melts into its neighbours
VECTORS = 2  # of a block
FLOP_PER_STEP, FLOP_PER_REPEAT = 2 * 16**3, 64  # of the cube, and of a vector core, in a cycle


def draw(outcome: Outcome, path: Path) -> None:
    """Draw one launch; the path's suffix says in which format."""
    record, request = outcome.record, outcome.request
    slices = outcome.device.slices()
    rows = _rows(slices, _some_cores(record))
    figure = Figure(figsize=(12, 4.4 + 0.2 * len(rows)), layout="constrained")
    top, bottom = figure.subfigures(2, 1, squeeze=False, height_ratios=(0.9 + 0.2 * len(rows), 3.5))[:, 0]
    cores = ", ".join(dict.fromkeys(core for core, _ in rows))
    figure.suptitle(
        f"{request.name} on {request.chip}, L2 {request.l2}: estimated {record.time_us:.1f} us",
        x=0.01,
        ha="left",
        fontsize=13,
        weight="bold",
        color=INK,
    )
    _draw_timelines(top.subplots(), record, rows, cores, len(record.cores))
    left, right = bottom.subplots(1, 2, width_ratios=(1, 1.15))
    _draw_roofline(left, record, request.chip, request.l2)
    _draw_bounds(right, record)
    with failing_as(path, OSError, ValueError):
        figure.savefig(path, dpi=110)


def _some_cores(record: sim.Record) -> list[str]:
    """The cube core of the first block with its vector cores; where there is none, the first vector cores."""
    cubes = [core for core in record.cores if core.startswith("aic")][:1]
    vectors = [core for core in record.cores if core.startswith("aiv")][:VECTORS]
    return cubes + vectors if cubes and vectors else [*record.cores][:VECTORS]


def _rows(slices: Sequence[trace.Slice], cores: Sequence[str]) -> dict[tuple[str, str], list[trace.Slice]]:
    """The slices of each core and pipe that did anything, in the order they are drawn."""
    rows: dict[tuple[str, str], list[trace.Slice]] = {}
    for core in cores:
        for pipe in trace.PIPES:
            rows[core, pipe] = []
    for piece in slices:
        if (piece.core, piece.pipe) in rows:
            rows[piece.core, piece.pipe].append(piece)
    return {key: row for key, row in rows.items() if row}


def _spans(row: Sequence[trace.Slice], us: float, narrowest: float) -> list[tuple[float, float]]:
    """(start, width) in us, neighbours joined where the gap could not be seen."""
    spans: list[tuple[float, float]] = []
    for piece in sorted(row, key=lambda piece: piece.start):
        start, end = piece.start * us, piece.end * us
        if spans and start - sum(spans[-1]) < narrowest:
            spans[-1] = (spans[-1][0], max(end, sum(spans[-1])) - spans[-1][0])
        else:
            spans.append((start, end - start))
    return spans


def _draw_timelines(
    axis: Any, record: sim.Record, rows: dict[tuple[str, str], list[trace.Slice]], cores: str, total: int
) -> None:
    us = record.time_us / record.cycles
    position, labels, previous = 0.0, [], None
    for (core, pipe), row in rows.items():
        position += 1.0 if core == previous or previous is None else 1.5
        previous = core
        axis.axhspan(position - 0.4, position + 0.4, color="#f4f4f4", linewidth=0, zorder=0)
        spans = _spans(row, us, record.time_us / PIXELS)
        axis.broken_barh(spans, (position - 0.4, 0.8), facecolors=COLOURS[pipe], linewidth=0, zorder=2)
        labels.append((position, f"{core}  {pipe}"))
    axis.set_yticks([at for at, _ in labels], [text for _, text in labels], fontsize=8, family="monospace")
    axis.set_ylim(position + 0.7, 0.3)
    axis.set_xlim(0, record.time_us)
    _clean(axis)
    axis.set_xlabel("us (estimated)", fontsize=9)
    axis.set_title(f"pipes of {cores} ({total} cores in all)", loc="left", fontsize=10, color=INK)


def _draw_roofline(axis: Any, record: sim.Record, chip: str, l2: str) -> None:
    """Work against traffic, both the least that the operation takes, so that the point can only lie below the roof."""
    bounds, fields = record.bounds_us or {}, native().chip(chip)
    on_cubes = bounds["aic M"] > 0  # what the vector cores do then is the lesser part
    pipe, per_cycle = ("M", FLOP_PER_STEP) if on_cubes else ("V", FLOP_PER_REPEAT)
    peak = fields["cube_cores" if on_cubes else "vector_cores"] * fields["mhz"] * per_cycle / 1e6
    unit = "TFLOP/s of 16 bits" if on_cubes else "T vector lanes/s"
    memory = "hbm" if l2 == "cold" else "l2"
    rate = fields[f"{memory}_gbps"] / 1e3  # TB/s
    work = bounds["aic M" if on_cubes else "aiv V"] * peak  # in millions
    traffic = bounds[memory] * rate  # in MB
    intensity, reached = work / traffic, work / record.time_us
    ridge = peak / rate
    low, high = min(intensity, ridge) / 8, max(intensity, ridge) * 8
    axis.plot([low, ridge, high], [low * rate, peak, peak], color=COLOURS[pipe], linewidth=2, zorder=2)
    axis.fill_between([low, ridge, high], [low * rate, peak, peak], color=COLOURS[pipe], alpha=0.07, linewidth=0)
    roof = min(peak, intensity * rate)
    axis.plot([intensity] * 2, [reached, roof], color=INK, linewidth=1, linestyle=":", zorder=3)
    axis.plot([intensity], [reached], "o", color=INK, markersize=8, zorder=4)
    axis.annotate(
        f"{reached / roof:.0%} of the roof",
        (intensity, reached),
        xytext=(9, -4),
        textcoords="offset points",
        fontsize=9,
        color=INK,
    )
    axis.set(xscale="log", yscale="log", xlim=(low, high), ylim=(min(reached, low * rate) / 3, peak * 4))
    name = "cube" if on_cubes else "vector"
    axis.text(high, peak * 1.15, f"{name} peak {peak:.4g} ", ha="right", va="bottom", fontsize=8, color=COLOURS[pipe])
    axis.text(low, peak * 1.15, f" {memory.upper()} {rate:.1f} TB/s", va="bottom", fontsize=8, color=COLOURS[pipe])
    _clean(axis)
    axis.set_xlabel(f"operations per byte of {memory.upper()}", fontsize=9)
    axis.set_ylabel(unit, fontsize=9)
    axis.set_title("roofline", loc="left", fontsize=10, color=INK)


def _draw_bounds(axis: Any, record: sim.Record) -> None:
    """For each pipe the time it was busy and the least that it must be; for the memories the latter."""
    bounds = record.bounds_us or {}
    bars = [
        (f"{kind} {pipe}", pipe, busy[pipe] * record.time_us)
        for kind, busy in record.busy_by_core.items()
        for pipe in trace.PIPES
        if busy.get(pipe)
    ]
    bars += [(name, name, 0.0) for name in ("l2", "hbm") if bounds.get(name)]
    for at, (label, name, busy) in enumerate(bars):
        bound = bounds.get(label, 0.0)
        axis.barh(at, busy, height=0.76, color=COLOURS[name], alpha=0.3, linewidth=0, zorder=2)
        axis.barh(at, bound, height=0.38, color=COLOURS[name], linewidth=0, zorder=3)
        text = f" {bound:.1f}" if bound else ""
        axis.text(max(busy, bound), at, text, va="center", fontsize=8, color=INK)
    axis.axvline(record.time_us, color=INK, linewidth=1.2, zorder=4)
    axis.set_yticks(range(len(bars)), [named(label) for label, _, _ in bars], fontsize=8, family="monospace")
    axis.set_ylim(len(bars) - 0.5, -0.6)
    axis.set_xlim(0, record.time_us * 1.02)
    _clean(axis)
    axis.set_xlabel("us (estimated): pale busy, solid and number the least it takes", fontsize=9)
    title = f"{record.ratio:.2f} times the bound, set by {named(record.bound_by or '')}"
    axis.set_title(title, loc="left", fontsize=10, color=INK)


def _clean(axis: Any) -> None:
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)
    axis.spines["bottom"].set_color(GRID)
    axis.tick_params(length=0, colors=INK, labelsize=8)
    axis.grid(axis="x", color=GRID, linewidth=0.6, zorder=1)
