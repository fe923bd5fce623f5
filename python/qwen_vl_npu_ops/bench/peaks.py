"""What this machine's cores and memory do at most, measured: what benchmarks are shares of."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch

from .record import Peaks
from .timing import CONTENDED, Clock, SystemClock, sample

# Each for a tenth of a second, several times; the best counts, as nothing makes a core faster than it is.
SECONDS = 0.1
GOOD, TRIES = 5, 20  # tries that nobody disturbed, and tries in all
COPIED = 256 << 20  # bytes, far more than caches hold


def measure(clock: Clock | None = None) -> Peaks:
    """On as many threads as torch has, with the instruction set that the operators run on."""
    clock = clock or SystemClock()
    fma, exp = _loop("fma_fp32", clock), _loop("exp_fp32", clock)
    assert fma is not None  # every instruction set multiplies, adds and has our exponential
    assert exp is not None
    bf16, int8, copy = _loop("dot_bf16", clock), _loop("dot_int8", clock), _copy(clock)
    disturbed = any(rate is not None and rate.disturbed for rate in (fma, exp, bf16, int8, copy))
    return Peaks(
        fma_fp32=fma.most,
        dot_bf16=None if bf16 is None else bf16.most,
        dot_int8=None if int8 is None else int8.most,
        exp_fp32=exp.most,
        copy=copy.most,
        disturbed=disturbed,
    )


class _Rate(NamedTuple):
    most: float  # a second
    disturbed: bool


def _loop(name: str, clock: Clock) -> _Rate | None:
    """One of the loops in csrc/cpu/peaks.cpp; None where there is no such instruction."""

    def run(iterations: int) -> int:
        return torch.ops.qwen_vl_npu_ops._peak_loop(name, iterations)

    if run(1) == 0:
        return None
    iterations = 1024
    while (seconds := min(sample(partial(run, iterations), 1, clock)[0] for _ in range(3))) < SECONDS / 4:
        iterations *= 2
    iterations = max(1, round(iterations * SECONDS / seconds))
    return _best(partial(run, iterations), run(iterations), clock)


def _copy(clock: Clock) -> _Rate:
    """torch's copy of what no cache holds, in bytes read and written."""
    source = torch.zeros(COPIED, dtype=torch.uint8)
    target = torch.empty_like(source)
    target.copy_(source)
    return _best(lambda: target.copy_(source), 2 * COPIED, clock)


def _best(function: Callable[[], object], amount: float, clock: Clock) -> _Rate:
    """Of the tries in which no thread waited for a core; of all, where there is none."""
    tries: list[float] = []
    good: list[float] = []
    while len(good) < GOOD and len(tries) < TRIES:
        seconds, waited = sample(function, 1, clock)
        tries.append(seconds)
        if waited <= CONTENDED * seconds:
            good.append(seconds)
    return _Rate(amount / min(good or tries), not good)
