"""`qwen-vl-npu-ops sim`: one kernel on the simulated chip, its estimated time, and what bounds it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from .. import sim
from ..sim import operators
from ..sim.native import native
from . import CommandError, failing_as
from .options import DTYPES
from .sim_operators import OPERATORS, compare, run, segments
from .sim_samples import SAMPLES, launch

COLUMNS = 20  # of a share's bar
# Names of the buffers among a chip's fields.
CAPACITY = {"bt": "bias_table", "fb": "fixpipe_buffer"}
MEMORIES = ("hbm", "l2", "ub", "l1", "l0a", "l0b", "l0c", "bt", "fb")


@dataclasses.dataclass(frozen=True)
class Request:
    """A command line that makes sense: what to run where, and how to know that it went right."""

    name: str
    chip: str
    l2: str
    shape: dict[str, Any]  # for people and machines to read
    launch: Callable[[], Any]
    fault: Callable[[Any], str | None]  # None where the result is right
    yardstick: str


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a launch did."""

    request: Request
    record: sim.Record
    checked: bool
    device: sim.Device

    def as_json(self) -> str:
        """As a JSON object; times are estimates."""
        record, request = self.record, self.request
        derived = {name: getattr(record, name) for name in ("bound_us", "bound_by", "ratio", "busiest")}
        return json.dumps(
            {
                "name": request.name,
                "chip": request.chip,
                "l2": request.l2,
                "shape": request.shape,
                "result": f"matches {request.yardstick}" if self.checked else "not checked",
                **dataclasses.asdict(record),
                **derived,
                "capacity_bytes": capacities(request.chip),
                "balance": balance(record),
            },
            indent=2,
            allow_nan=False,
        )


def kernels() -> dict[str, str]:
    """What `sim` runs: the operators that have a kernel, and the samples; with a line on each."""
    rows = {
        name: row.about
        for name, row in OPERATORS.items()
        if any(operators.has_kernel(name, dtype) for dtype in DTYPES.values())
    }
    return rows | {name: row.about for name, row in SAMPLES.items()}


def plan(name: str, chip: str, l2: str, options: dict[str, Any]) -> Request:
    """Check options and make inputs; `options` has those that were given. Raises ValueError naming the wrong one."""
    taken = OPERATORS[name].options if name in OPERATORS else {"size": None}
    for option in options:
        if option not in taken:
            mine = ", ".join(f"--{key.replace('_', '-')}" for key in taken)
            raise ValueError(f"--{option.replace('_', '-')}: {name} does not take it, only {mine}")
    make = _plan_operator if name in OPERATORS else _plan_sample
    return make(name, chip, l2, taken | options)


def _plan_operator(name: str, chip: str, l2: str, sizes: dict[str, Any]) -> Request:
    row, dtype = OPERATORS[name], DTYPES[sizes["dtype"]]
    if not operators.has_kernel(name, dtype):
        raise ValueError(f"--dtype: {name} has no kernel for {sizes['dtype']}")
    if sizes.get("head_dim", 2) % 2:
        raise ValueError(f"head_dim: expected an even number, got {sizes['head_dim']}")
    cut = segments(sizes["tokens"], sizes.get("windows"), sizes["grid"])
    tensors = row.tensors(cut, **{**sizes, "dtype": dtype})
    values = {**sizes, "num_heads": sizes.get("heads")}
    keywords = {key: values[key] for key in row.keywords}
    getattr(torch.ops.qwen_vl_npu_ops, name)(  # the checks of shapes, without the work
        *(), **{key: value.to("meta") for key, value in tensors.items()}, **keywords
    )
    shape = {key: value for key, value in sizes.items() if value not in (None, False)} | {"tokens": cut.tokens}
    if "windows" in sizes:
        lengths = cut.lengths
        shape["windows"] = f"{len(lengths)} of {min(lengths)} to {max(lengths)} tokens" if lengths else "none"
    return Request(
        name,
        chip,
        l2,
        shape,
        lambda: run(name, tensors, keywords),
        lambda got: compare(name, got, tensors, keywords),
        "the fp64 reference, within twice the error of torch's own composition",
    )


def _plan_sample(name: str, chip: str, l2: str, sizes: dict[str, Any]) -> Request:
    row = SAMPLES[name]
    numbers = list(row.sizes.values()) if sizes["size"] is None else _sizes(sizes["size"], list(row.sizes))
    shape = dict(zip(row.sizes, numbers, strict=True))
    sample = row.make(chip, **shape)

    def fault(_: Any) -> str | None:
        wrong = int((sample.result != sample.expected).sum())
        return f"{wrong} of {sample.expected.numel()} elements are wrong" if wrong else None

    return Request(name, chip, l2, shape, lambda: launch(name, sample), fault, "torch's result, bit for bit")


def _sizes(text: str, names: list[str]) -> list[int]:
    parts = text.split(",")
    if len(parts) != len(names) or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise ValueError(f"--size: expected {','.join(names)}, whole numbers from 1, got {text!r}")
    return [int(part) for part in parts]


def execute(request: Request, *, check: bool, trace: bool, races: bool = True) -> Outcome:
    """Run it. Raises CommandError for a kernel that does not compile, breaks a rule or gives a wrong result."""
    with failing_as(request.name, sim.SimulatorError, sim.CompileError, ValueError):
        with sim.device(request.chip, l2=request.l2, trace=trace, races=races) as device:
            results = request.launch()
        wrong = request.fault(results) if check else None
    if wrong:
        raise CommandError(f"{request.name}: the result is wrong: {wrong}")
    return Outcome(request, device.report()[-1], check, device)


def capacities(chip: str) -> dict[str, int]:
    """Bytes of L2 and of each buffer of one core."""
    fields = native().chip(chip)
    return {name: fields[CAPACITY.get(name, name)] for name in MEMORIES[1:]}


def balance(record: sim.Record) -> float:
    """Cycles of the last core to end over the mean of its kind, the worse of cube and vector cores."""
    kinds = [[c for name, c in record.cores.items() if name.startswith(kind)] for kind in ("aic", "aiv")]
    return max(max(cycles) * len(cycles) / sum(cycles) for cycles in kinds if sum(cycles))


# ---- for people ----


def print_list(console: Console) -> None:
    """The names that `sim` takes."""
    table = Table("name", "what it computes", "sizes", title="what sim runs", title_justify="left")
    for name, about in kernels().items():
        sizes = SAMPLES[name].sizes if name in SAMPLES else OPERATORS[name].options
        shown = ", ".join(f"{key} {value}" for key, value in sizes.items() if value not in (None, False))
        table.add_row(name, about, shown)
    console.print(table)


def print_outcome(outcome: Outcome, console: Console) -> None:
    """Times, pipes and memories."""
    request, record = outcome.request, outcome.record
    shape = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in request.shape.items())
    console.print(
        f"[bold]{request.name}[/] on {request.chip}, L2 {request.l2}: {shape}", highlight=False, soft_wrap=True
    )
    lines = [
        ("estimated time", f"{record.time_us:.2f} us = {record.cycles:.0f} cycles"),
        ("launch, apart", f"{record.launch_us:.1f} us"),
        ("bound", f"{record.bound_us:.2f} us, by {named(record.bound_by or '')}"),
        ("time / bound", f"{record.ratio:.2f}"),
        ("busiest pipe", f"{record.busiest}, {_busiest_share(record):.0%} of the time"),
        ("cores", f"{len(record.cores)}; the last ends at {balance(record):.2f} of the mean"),
        ("result", f"matches {request.yardstick}" if outcome.checked else "not checked"),
    ]
    for name, text in lines:
        console.print(f"{name:15} {text}", highlight=False, soft_wrap=True)
    console.print(_pipe_table(record))
    console.print(_memory_table(record, capacities(request.chip)))


def _busiest_share(record: sim.Record) -> float:
    kind, pipe = record.busiest.split()
    return record.busy_by_core[kind][pipe]


def named(resource: str) -> str:
    """A pipe as it is called, a memory in capitals."""
    return resource if " " in resource else resource.upper()


def _pipe_table(record: sim.Record) -> Table:
    table = Table(title="pipes", title_justify="left")
    table.add_column("pipe")
    table.add_column("busy", justify="right")
    table.add_column("", no_wrap=True, min_width=COLUMNS)
    table.add_column("busy us", justify="right")
    table.add_column("bound us", justify="right")
    bounds = record.bounds_us or {}
    for kind, shares in record.busy_by_core.items():
        for pipe, share in shares.items():
            if not share:
                continue
            name = f"{kind} {pipe}"
            bound = f"{bounds[name]:.2f}" if name in bounds else ""
            bar, style = "█" * round(share * COLUMNS), "bold" if name == record.busiest else ""
            table.add_row(name, f"{share:.1%}", bar, f"{share * record.time_us:.2f}", bound, style=style)
        table.add_section()
    return table


def _memory_table(record: sim.Record, capacity: dict[str, int]) -> Table:
    table = Table(title="memories", title_justify="left")
    table.add_column("memory")
    for column in ("moved", "peak", "of its size", "bound us"):
        table.add_column(column, justify="right")
    bounds = record.bounds_us or {}
    for name in MEMORIES:
        moved, peak = record.bytes.get(name, 0), record.peak_bytes.get(name)
        if not moved and not peak:
            continue
        used = "" if peak is None else _bytes(peak)
        room = "" if peak is None else f"{peak / capacity[name]:.0%}"
        table.add_row(named(name), _bytes(moved), used, room, f"{bounds[name]:.2f}" if name in bounds else "")
    return table


def _bytes(count: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"


def write(outcome: Outcome, trace: Path | None, plot: Path | None) -> None:
    """The files that were asked for."""
    if trace is not None:
        with failing_as(trace, OSError):
            outcome.device.trace(trace)
    if plot is not None:
        from .sim_plot import draw  # needs matplotlib

        draw(outcome, plot)
