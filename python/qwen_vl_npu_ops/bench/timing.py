"""Interleaved rounds of several functions: medians with spread, and rounds dropped in which others took the cores."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from .record import Timing

#: A round is contended where our threads waited for a core this much of its time, all threads' waits added up.
CONTENDED = 0.03
#: Rounds that are tried for each one that is asked for.
TRIES = 3
#: Seconds that a sample lasts at least; a shorter function is called several times for one.
SHORTEST = 10e-3
#: And how many times at most.
MOST = 1000

_TASKS, _STAT = Path("/proc/self/task"), Path("/proc/stat")
_TICK = 0.01  # seconds in a unit of /proc/stat


class Clock(Protocol):
    """What rounds are measured with."""

    def now(self) -> float:
        """Seconds of wall-clock time."""
        ...

    def waited(self) -> float:
        """Seconds so far that threads of this process were ready to run and had no core."""
        ...


class SystemClock:
    """The machine's time; waits as Linux's scheduler counts them, and the host's steal where this is a guest.

    Elsewhere nothing is known of waits, and no round counts as contended.
    """

    def now(self) -> float:
        """Seconds of wall-clock time."""
        return time.perf_counter()

    def waited(self) -> float:
        """Run-queue delays of all threads, and stolen time of all cores."""
        nanoseconds = 0
        for task in _TASKS.glob("*/schedstat"):
            try:
                nanoseconds += int(task.read_text().split()[1])
            except (OSError, IndexError, ValueError):
                continue  # a thread that has ended, or a kernel without the counter
        return 1e-9 * nanoseconds + _stolen()


def _stolen() -> float:
    try:
        return _TICK * int(_STAT.read_text().split("\n", 1)[0].split()[8])
    except (OSError, IndexError, ValueError):
        return 0.0


class ContendedError(Exception):
    """Others took the cores in every round."""


def interleave(
    functions: Mapping[str, Callable[[], Any]],
    rounds: int,
    clock: Clock | None = None,
    *,
    once: bool = False,
    contended: float = CONTENDED,
    kept: Callable[[], object] = lambda: None,
) -> dict[str, Timing]:
    """Time functions against each other.

    Every round runs each function once, one after the other, so that all meet the same machine; each round starts with
    the next of them. A contended round is dropped whole and tried again, at most TRIES times `rounds` in all.

    Args:
        functions: at least one, by name.
        rounds: how many rounds to keep; one more goes before, to warm up.
        clock: the machine's, where None.
        once: functions last long and are warm: each runs once in a round, and none before.
        contended: the share of a round that threads may wait for a core.
        kept: called after each round that is kept.

    Returns:
        A Timing for each name; they may hold fewer rounds than were asked for.

    Raises:
        ValueError: no function, or rounds below 1. ContendedError: there was no round to keep.
    """
    if not functions:
        raise ValueError("functions: expected at least one, got none")
    if rounds < 1:
        raise ValueError(f"rounds: expected at least 1, got {rounds}")
    clock = clock or SystemClock()
    repeats = {name: 1 if once else _repeats(function, clock) for name, function in functions.items()}
    samples: dict[str, list[float]] = {name: [] for name in functions}
    names, dropped = list(functions), 0
    for turn in range(TRIES * rounds):
        at = turn % len(names)
        found = {name: sample(functions[name], repeats[name], clock) for name in names[at:] + names[:at]}
        if any(waited > contended * seconds for seconds, waited in found.values()):
            dropped += 1
        else:
            for name, (seconds, _) in found.items():
                samples[name].append(seconds / repeats[name])
            kept()
        if len(samples[names[0]]) == rounds:
            break
    if not samples[names[0]]:
        raise ContendedError(f"other processes took the cores in each of {dropped} rounds")
    return {name: summarise(values, dropped) for name, values in samples.items()}


def summarise(seconds: list[float], dropped: int = 0) -> Timing:
    """Median and quartiles, which are interpolated between samples."""
    low, middle, high = statistics.quantiles(seconds, n=4, method="inclusive") if len(seconds) > 1 else 3 * seconds
    return Timing(middle, low, high, len(seconds), dropped)


def sample(function: Callable[[], Any], repeats: int, clock: Clock) -> tuple[float, float]:
    """Seconds of all repeats, and how long our threads waited meanwhile."""
    waited = clock.waited()
    start = clock.now()
    for _ in range(repeats):
        function()
    seconds = clock.now() - start
    return seconds, clock.waited() - waited


def _repeats(function: Callable[[], Any], clock: Clock) -> int:
    """Calls that make up a sample, after a first one that warms up."""
    function()
    start = clock.now()
    function()
    seconds = clock.now() - start
    return MOST if seconds <= SHORTEST / MOST else max(1, round(SHORTEST / seconds))
