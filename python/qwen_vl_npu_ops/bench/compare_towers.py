"""One tower at one dtype, ours and its peers, turned into lines and stages of a report."""

from __future__ import annotations

import copy
import dataclasses
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..config import VisionConfig
from ..nn import AscendQwen2_5_VisionTransformer
from ..plan import VisionPlan
from . import memory, peers, stages, towers, work
from .cases import Batch
from .compare import DTYPE_NAMES, OURS, line, noted, reason, rms_and_cosine
from .record import Line, Peaks, Stage, Timing, Work
from .timing import CONTENDED, TRIES, Clock, ContendedError, SystemClock, interleave, sample, summarise
from .towers import Compiled, Gemms, Runner, Timed

GEMMS = "GEMMs alone"
COMPILED = "transformers compiled"
# A peer is timed by its first call where that takes SLOW seconds and TOO_SLOW times ours.
SLOW, TOO_SLOW = 10.0, 2.5


@dataclasses.dataclass(frozen=True)
class Options:
    """What to compare, and what to find out beside the time."""

    device: str
    implementations: Sequence[str]  # of transformers' attention
    compiled: bool
    rounds: int
    contended: float  # share of a round that threads may wait
    check: bool
    stages: bool
    memory: bool


@dataclasses.dataclass
class Found:
    """What there is to say of one batch."""

    lines: list[Line]
    stages: list[Stage]
    notes: list[str]

    def __add__(self, other: Found) -> Found:
        """Both."""
        return Found(self.lines + other.lines, self.stages + other.stages, self.notes + other.notes)


class Comparison:
    """Our tower beside transformers' on the same weights, and beside the GEMMs with weights that both need.

    Args:
        ours: on the CPU; where it is shallow, times are scaled to the depth of `whole`.
    """

    def __init__(
        self, ours: AscendQwen2_5_VisionTransformer, whole: VisionConfig, options: Options, clock: Clock | None = None
    ) -> None:
        self._ours, self._whole, self._options, self._clock = ours, whole, options, clock or SystemClock()
        self._on_cpu = options.device == "cpu"
        moved = ours if self._on_cpu else copy.deepcopy(ours).to(options.device)
        self._runners = {OURS: self._runner(moved, moved)}
        self._theirs = {f"transformers {name}": name for name in options.implementations}
        for name, implementation in self._theirs.items():
            theirs = towers.transformers_tower(moved, implementation)
            self._runners[name] = self._runner(theirs, theirs)
        if options.compiled:
            compiled = torch.compile(towers.transformers_tower(moved, "sdpa"))
            self._runners[COMPILED] = self._runner(compiled, None, Compiled)

    def _runner(self, tower: Any, watched: nn.Module | None, kind: type[Runner] = Runner) -> Runner:
        def call(pixels: Tensor, grids: Tensor) -> Tensor:
            rows = towers.call(tower, pixels, grids)
            if not self._on_cpu:
                torch.get_device_module(self._options.device).synchronize()
            return rows

        # Elsewhere than on the CPU a layer's end on the host says nothing.
        return kind(call, watched if self._on_cpu else None, self._ours.fullatt_block_indexes, self._clock)

    def run(self, batch: Batch, peaks: Peaks | None) -> Found:
        """Time everything on a batch, then look at results and stages."""
        config, options = self._ours.config, self._options
        pixels = towers.random_pixels(batch.tokens, config) if batch.pixels is None else batch.pixels
        plan = VisionPlan.build(batch.grids, config)
        found = Found([], [], [])
        runners = self._fitting(plan, batch, found)
        for runner in runners.values():
            runner.take(pixels.to(options.device), torch.tensor(batch.grids))
        timed: dict[str, Timed] = {**runners}
        if self._on_cpu:
            timed[GEMMS] = gemms = Gemms(self._ours, batch.tokens, self._clock)
            found.notes.append(f"{self._title(batch)}, GEMMs alone: {_counts(gemms.ways.values())}")
        timings, notes = measure(timed, options.rounds, self._clock, options.contended)
        found.lines += [
            Line(implementation=name, ours=name == OURS, timing=None, note=note, **self._labels(batch))
            if name not in timings
            else noted(self._line(name, timings, timed, batch, plan, peaks), note)
            for name, note in notes.items()
        ]
        if options.check:
            expected = towers.exact(self._ours, pixels, plan)
            found.lines = [_with_error(row, runners, expected) for row in found.lines]
        if options.memory and self._on_cpu:
            found.lines = [self._with_memory(row, batch) for row in found.lines]
        if options.stages:
            usable = [name for name in runners if name in timings and not notes[name] and runners[name].tower]
            found.stages = [stage for name in usable for stage in self._stages(name, runners[name], batch)]
        return found

    def _fitting(self, plan: VisionPlan, batch: Batch, found: Found) -> dict[str, Runner]:
        """Without eager attention where its scores take too much memory."""
        size = peers.eager_bytes(plan.cu_seqlens_full, self._ours.config.num_heads)
        if size <= peers.LARGEST_SCORES:
            return self._runners
        note = f"left out, its scores alone would take {size / 2**30:.1f} GiB"
        name = "transformers eager"
        if name in self._runners:
            found.lines.append(Line(implementation=name, ours=False, timing=None, note=note, **self._labels(batch)))
        return {key: runner for key, runner in self._runners.items() if key != name}

    # ---- lines ----

    def _labels(self, batch: Batch) -> dict[str, Any]:
        case = "tower" if batch.name == str(batch.tokens) else f"tower, {batch.name}"
        return {"case": case, "dtype": DTYPE_NAMES[self._ours.dtype], "tokens": batch.tokens}

    def _line(
        self,
        name: str,
        timings: Mapping[str, Timing],
        timed: Mapping[str, Timed],
        batch: Batch,
        plan: VisionPlan,
        peaks: Peaks | None,
    ) -> Line:
        least = self._work(name, plan)
        bound = None if peaks is None else peaks.bound(least, DTYPE_NAMES[self._ours.dtype])
        found = line(name, timings[name], least, bound, timings[OURS], **self._labels(batch))
        deep = {key: self._at_full_depth(timed[key], timings[key]) for key in (name, OURS, GEMMS) if key in timings}
        seconds, ours, gemms = (deep.get(key) for key in (name, OURS, GEMMS))
        if seconds is None or ours is None:
            return noted(found, f"x ours is of the {self._ours.config.depth} layers that run")
        over = None if gemms is None else seconds / gemms
        return dataclasses.replace(found, at_full_depth=seconds, times_ours=seconds / ours, over_gemms=over)

    def _work(self, name: str, plan: VisionPlan) -> Work:
        config, size = self._ours.config, self._ours.dtype.itemsize
        if name == GEMMS:
            return work.gemms(plan.num_tokens, config, size)
        lengths = plan.seqlens_window.tolist(), plan.seqlens_full.tolist()
        return work.tower(plan.num_tokens, *lengths, config, size)

    def _at_full_depth(self, timed: Timed, timing: Timing) -> float | None:
        """Median over the rounds; None where layers are not told apart and not all of them are there."""
        config = self._ours.config
        if config == self._whole:
            return timing.median
        if isinstance(timed, Runner) and timed.tower is None:
            return None
        return statistics.median(parts.at_full_depth(config, self._whole) for parts in timed.parts)

    def _title(self, batch: Batch) -> str:
        return "{case}, {dtype}, {tokens} tokens".format(**self._labels(batch))

    def _with_memory(self, row: Line, batch: Batch) -> Line:
        if row.timing is None or row.implementation not in (OURS, *self._theirs):
            return row
        implementation, threads = self._theirs.get(row.implementation), torch.get_num_threads()
        size = memory.transient(implementation, batch.grids, self._ours.config, row.dtype, threads)
        return (
            noted(row, "its memory could not be measured") if size is None else dataclasses.replace(row, transient=size)
        )

    # ---- stages ----

    def _stages(self, name: str, runner: Runner, batch: Batch) -> list[Stage]:
        """Of one more forward, which nobody disturbed if that can be had."""
        assert runner.tower is not None
        full = self._ours.fullatt_block_indexes
        for _ in range(TRIES):
            recorder = stages.Recorder(runner.tower, full, self._clock, composed=name != OURS)
            with recorder.recording():
                seconds, waited = sample(runner, 1, self._clock)
            if waited <= self._options.contended * seconds:
                break
        found = stages.at_full_depth(recorder.seconds, runner.last, self._ours.config, self._whole)
        labels = {**self._labels(batch), "implementation": name}
        return [Stage(**labels, stage=stage, seconds=value) for stage, value in found.items()]


def measure(
    timed: Mapping[str, Timed], rounds: int, clock: Clock, contended: float = CONTENDED
) -> tuple[dict[str, Timing], dict[str, str]]:
    """Call each once, which warms up, then in rounds what is not too slow for them.

    Returns:
        Timings of what has some; for each a note, mostly an empty one. What is ours has to run; a peer may fail.
    """
    first: dict[str, float] = {}
    waited: dict[str, float] = {}
    notes = dict.fromkeys(timed, "")
    for name, function in timed.items():
        try:
            function.prepare()
            first[name], waited[name] = sample(function, 1, clock)
        except Exception as error:  # whatever a peer fails with, the others go on
            if name == OURS:
                raise
            notes[name] = reason(error)
    timings: dict[str, Timing] = {}
    for name, seconds in first.items():
        if seconds > max(SLOW, TOO_SLOW * first[OURS]):
            timed[name].keep()
            timings[name] = summarise([seconds])
            notes[name] = f"one call, too slow for rounds; threads waited {waited[name] / seconds:.0%} of it"
    usable = {name: timed[name] for name in first if name not in timings}
    try:
        timings |= interleave(
            usable, rounds, clock, once=True, contended=contended, kept=lambda: _keep(usable.values())
        )
    except ContendedError as error:
        return {}, dict.fromkeys(timed, str(error))
    return timings, notes


def _keep(functions: Iterable[Timed]) -> None:
    for function in functions:
        function.keep()


def _counts(ways: Iterable[str]) -> str:
    return ", ".join(f"{count} shapes by {way}" for way, count in Counter(ways).items())


def _with_error(row: Line, runners: Mapping[str, Runner], expected: Tensor) -> Line:
    if row.timing is None or row.implementation not in runners:
        return row
    rms, cosine = rms_and_cosine((runners[row.implementation].rows.cpu(),), (expected,))
    return dataclasses.replace(row, rms_error=rms, cosine=cosine)
