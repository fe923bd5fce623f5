"""What a benchmark found, as plain data: what is printed, drawn and written as JSON."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

#: Of the JSON object; it goes up when a field changes its meaning or goes away.
SCHEMA = 1


@dataclasses.dataclass(frozen=True)
class Timing:
    """Seconds of one call: the median of some rounds, and the quartiles around it."""

    median: float
    low: float
    high: float
    rounds: int  # that it is the median of
    dropped: int  # contended ones


@dataclasses.dataclass(frozen=True)
class Work:
    """What a call must do at least: operations, and bytes of its arguments and results, each once."""

    flops: float
    bytes: float
    exps: float = 0.0

    def __add__(self, other: Work) -> Work:
        """Both, one after the other."""
        return Work(self.flops + other.flops, self.bytes + other.bytes, self.exps + other.exps)

    def __mul__(self, times: float) -> Work:
        """The same so many times."""
        return Work(times * self.flops, times * self.bytes, times * self.exps)


@dataclasses.dataclass(frozen=True)
class Peaks:
    """The most that the machine does in a second, on the threads that the benchmark has. None: no such instruction."""

    fma_fp32: float  # operations, two for each multiply-add
    dot_bf16: float | None
    dot_int8: float | None
    exp_fp32: float  # exponentials
    copy: float  # bytes read and written
    disturbed: bool = False  # others took the cores all the time while one of them was measured

    def arithmetic(self, dtype: str) -> float:
        """Operations a second, by dot products where the dtype has them."""
        return max(self.fma_fp32, self.dot_bf16 or 0.0) if dtype == "bf16" else self.fma_fp32

    def bound(self, work: Work, dtype: str) -> float:
        """Seconds that the work takes at least: of its arithmetic and its copying, what takes longer.

        Exponentials run where multiply-adds do, so that the two add up.
        """
        return max(work.flops / self.arithmetic(dtype) + work.exps / self.exp_fp32, work.bytes / self.copy)


@dataclasses.dataclass(frozen=True)
class Line:
    """One implementation in one case."""

    case: str
    dtype: str
    tokens: int
    implementation: str
    ours: bool
    timing: Timing | None  # None: it could not run, and `note` says why
    gflops: float | None = None
    gbps: float | None = None
    of_peak: float | None = None  # the bound that Peaks sets over the time
    bound: float | None = None  # that bound, in seconds
    times_ours: float | None = None  # this time over ours: above 1 ours is faster
    rms_error: float | None = None  # of all elements against fp64, relative
    cosine: float | None = None  # with fp64
    worst: float | None = None  # error over bound at the worst element, of the rule in accuracy.py; ours only
    note: str = ""
    # Of towers:
    at_full_depth: float | None = None  # seconds, each kind of layer as often as the whole tower has it
    over_gemms: float | None = None  # that, over the same of the GEMMs with weights alone
    transient: int | None = None  # bytes that a call takes at the most, beyond the model and its input


@dataclasses.dataclass(frozen=True)
class Stage:
    """What one part of a tower takes of an implementation's time at full depth."""

    case: str
    dtype: str
    tokens: int
    implementation: str
    stage: str
    seconds: float


@dataclasses.dataclass(frozen=True)
class Report:
    """A run of `qwen-vl-npu-ops bench`."""

    benchmark: str  # ops, tower or peaks
    device: str  # cpu, sim or npu
    settings: dict[str, Any]
    machine: dict[str, Any]
    versions: dict[str, str | None]
    peaks: Peaks | None
    lines: list[Line]
    notes: list[str]
    stages: list[Stage] = dataclasses.field(default_factory=list)

    def as_json(self) -> str:
        """A JSON object: the fields, and `schema`."""
        return json.dumps({"schema": SCHEMA, **dataclasses.asdict(self)}, indent=2, allow_nan=False)
