"""One case on the CPU, an NPU or the simulated chip, turned into lines of a report."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch

from .. import accuracy, sim
from .._calls import as_tuple
from ..commands.options import DTYPES
from ..sim import operators as on_chip
from .operators import Case, Results, cpu_peers, npu_peers
from .record import Line, Peaks, Timing, Work
from .timing import CONTENDED, Clock, ContendedError, SystemClock, interleave, sample, summarise

DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}
OURS = "ours"
ROOFLINE = "roofline"
# A peer is timed by one call where that takes SLOW seconds and TOO_SLOW times ours.
SLOW, TOO_SLOW = 0.5, 20.0

Functions = dict[str, Callable[[], Any]]


def on_cpu(
    case: Case,
    peaks: Peaks,
    rounds: int,
    *,
    check: bool,
    compiled: bool,
    contended: float = CONTENDED,
    clock: Clock | None = None,
) -> list[Line]:
    """Our operator and its peers, interleaved."""
    functions: Functions = {OURS: case.run, **cpu_peers(case, compiled=compiled)}
    bound = peaks.bound(case.work, DTYPE_NAMES[case.dtype])
    return _timed(case, functions, rounds, bound, check, contended, clock)


def on_npu(case: Case, rounds: int, *, check: bool, contended: float, clock: Clock | None = None) -> list[Line]:
    """Our operator, as it is live there, beside torch_npu's composition."""
    moved = case.to("npu")
    device = torch.get_device_module("npu")

    def synchronised(function: Callable[[], Any]) -> Callable[[], Any]:
        def run() -> Any:
            result = function()
            device.synchronize()
            return result

        return run

    functions = {OURS: moved.run, **npu_peers(moved)}
    waiting = {name: synchronised(function) for name, function in functions.items()}
    return _timed(case, waiting, rounds, None, check, contended, clock)


def _timed(
    case: Case,
    functions: Functions,
    rounds: int,
    bound: float | None,
    check: bool,
    contended: float,
    clock: Clock | None,
) -> list[Line]:
    clock = clock or SystemClock()
    found = sort(functions, clock)
    try:
        timings = interleave(found.usable, rounds, clock, contended=contended) | found.slow
    except ContendedError as error:
        return [_failed(case, name, str(error)) for name in functions]
    lines = [
        noted(line, "one call, too slow for rounds") if line.implementation in found.slow else line
        for line in _lines(case, timings, bound)
    ]
    if check:
        lines = _with_errors(case, lines, functions)
    return lines + [_failed(case, name, note) for name, note in found.failures.items()]


def on_sim(case: Case, chip: str, l2: str, *, check: bool) -> list[Line]:
    """The kernel's estimated time beside what the roofline allows; where there is no kernel a line says so."""
    if not on_chip.has_kernel(case.op, case.dtype):
        return [_failed(case, OURS, f"no kernel for {DTYPE_NAMES[case.dtype]}")]
    with sim.device(chip, l2=l2, races=False) as device:
        got = case.run()
    record = device.report()[-1]
    assert record.bound_us is not None  # of every operator here
    bound = 1e-6 * record.bound_us
    ours, roofline = _lines(case, {OURS: estimated(1e-6 * record.time_us), ROOFLINE: estimated(bound)}, bound)
    found = [ours, noted(roofline, f"bound by {record.bound_by}")]
    return _with_errors(case, found, {OURS: lambda: got}) if check else found


@dataclasses.dataclass(frozen=True)
class Sorted:
    """What can be timed in rounds, and what else there is to say of the rest."""

    usable: Functions
    slow: dict[str, Timing]  # of one call
    failures: dict[str, str]  # why


def sort(functions: Functions, clock: Clock) -> Sorted:
    """Call each once or twice. What is ours has to run; a peer may fail, or be so slow that one call is enough."""
    functions[OURS]()
    ours = sample(functions[OURS], 1, clock)[0]
    found = Sorted({OURS: functions[OURS]}, {}, {})
    for name, function in functions.items():
        if name == OURS:
            continue
        try:
            seconds = sample(function, 1, clock)[0]
            if seconds > SLOW:
                seconds = min(seconds, sample(function, 1, clock)[0])  # the first call may have set things up
        except Exception as error:  # whatever a peer fails with, the others go on
            found.failures[name] = reason(error)
        else:
            if seconds > max(SLOW, TOO_SLOW * ours):
                found.slow[name] = summarise([seconds])
            else:
                found.usable[name] = function
    return found


def estimated(seconds: float) -> Timing:
    """A time that was worked out, without spread."""
    return Timing(seconds, seconds, seconds, 1, 0)


def noted(row: Line, note: str) -> Line:
    """`row` with one more remark, if there is one."""
    return dataclasses.replace(row, note="; ".join(filter(None, (row.note, note))))


def reason(error: Exception) -> str:
    """Why something failed, in one line."""
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"


def rms_and_cosine(got: Results, expected: Results) -> tuple[float, float]:
    """Relative rms error over all elements, and the cosine of the two, in fp64."""
    a = torch.cat([x.double().flatten() for x in got])
    b = torch.cat([x.flatten() for x in expected])
    return float((a - b).norm() / b.norm()), float(torch.nn.functional.cosine_similarity(a, b, dim=0))


def line(name: str, timing: Timing, work: Work, bound: float | None, ours: Timing, **labels: Any) -> Line:
    """Rates and ratios of one implementation's time."""
    return Line(
        implementation=name,
        ours=name == OURS,
        timing=timing,
        gflops=1e-9 * work.flops / timing.median,
        gbps=1e-9 * work.bytes / timing.median,
        of_peak=None if bound is None else bound / timing.median,
        bound=bound,
        times_ours=timing.median / ours.median,
        **labels,
    )


def _labels(case: Case) -> dict[str, Any]:
    return {"case": case.name, "dtype": DTYPE_NAMES[case.dtype], "tokens": case.batch.tokens}


def _lines(case: Case, timings: Mapping[str, Timing], bound: float | None) -> list[Line]:
    return [line(name, t, case.work, bound, timings[OURS], **_labels(case)) for name, t in timings.items()]


def _failed(case: Case, name: str, note: str) -> Line:
    return Line(implementation=name, ours=name == OURS, timing=None, note=note, **_labels(case))


def _with_errors(case: Case, found: list[Line], functions: Mapping[str, Callable[[], Any]]) -> list[Line]:
    """Add what each result is off; ours also by the rule that tests hold it to."""
    expected = case.double().composition()
    peers = case.composition()
    return [
        _with_error(row, functions[row.implementation](), expected, peers) if row.implementation in functions else row
        for row in found
    ]


def _with_error(row: Line, value: Any, expected: Results, peers: Results) -> Line:
    got = tuple(x.cpu() for x in as_tuple(value))
    if [x.shape for x in got] != [x.shape for x in expected]:
        return row  # a copy of the bytes
    rms, cosine = rms_and_cosine(got, expected)
    row = dataclasses.replace(row, rms_error=rms, cosine=cosine)
    if not row.ours:
        return row
    found = [accuracy.compare(*three) for three in zip(got, expected, peers, strict=True)]
    worst = max(comparison.worst_ratio for comparison in found)
    over = sum(comparison.failures for comparison in found)
    note = f"{over} of {sum(x.count for x in found)} elements are off by more than twice torch's error" if over else ""
    return noted(dataclasses.replace(row, worst=worst if math.isfinite(worst) else None), note)
