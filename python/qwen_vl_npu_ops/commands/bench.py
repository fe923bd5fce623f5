"""`qwen-vl-npu-ops bench`: runs of the harness in `qwen_vl_npu_ops.bench`, for people and for machines."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from .. import npu, ops, sim
from ..bench import cases, compare, compare_towers, estimate_towers, operators, peaks, peers, towers
from ..bench.cases import Batch
from ..bench.record import Line, Peaks, Report, Stage
from ..bench.timing import CONTENDED
from ..config import VisionConfig
from . import CommandError, failing_as, live_isa
from .machine import machine, versions
from .npu_check import missing_npu
from .options import DTYPES

# Of the environment, what speed can depend on.
VARIABLES = ("GLIBC_TUNABLES", "LD_PRELOAD", "OMP_NUM_THREADS", "QWEN_VL_NPU_OPS_ISA", "QWEN_VL_NPU_OPS_LINEAR")

SIM_NOTE = "times are estimates of the simulator's model, without the launch; the bound is what no kernel can beat"
VIRTUAL_NOTE = "this NPU is virtual, its kernels run on the host: times mean nothing"
GEMM_NOTE = "GEMMs alone: the tower's, with its own weights, each by the fastest way here; x GEMMs: time over theirs"
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
        pixels = torch.cat([item.pixels for item in inputs])
        return [cases.of_grids([item.grid for item in inputs], pixels)]

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
    known = operators.OPERATORS if request.device == "cpu" else operators.KERNELS
    for name in request.operators:
        if name not in known:
            raise ValueError(f"OPERATOR: expected one of {', '.join(known)} on {request.device}, got {name!r}")
    if request.device == "sim":
        _check_chip(request.chip)
    batches, kinds = request.batches(), request.kinds()
    notes = _notes(request)
    with _threads(request.threads), torch.inference_mode(), failing_as("simulated chip", sim.SimulatorError):
        live_isa()
        measured = peaks.measure() if request.device == "cpu" else None
        lines: list[Line] = []
        for batch in batches:
            for dtype in kinds.values():
                for case in operators.cases(batch, dtype, request.windows, request.operators or known):
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


@dataclasses.dataclass(frozen=True)
class TowerRequest(Request):
    """Options of `bench tower`."""

    layers: int | None
    peers: Sequence[str]
    contended: float
    stages: bool
    memory: bool
    chip: str
    l2: str


def run_tower(request: TowerRequest) -> Report:
    """The tower on every batch, at every dtype. Raises ValueError naming a wrong option."""
    whole = operators.SIZES
    config = whole if request.layers is None else towers.shallow(whole, request.layers)
    for name in request.peers:
        if name not in (*peers.IMPLEMENTATIONS, "none"):
            raise ValueError(f"--peer: expected one of {', '.join(peers.IMPLEMENTATIONS)}, none, got {name!r}")
    if request.device == "sim":
        _check_chip(request.chip)
    batches, kinds = request.batches(), request.kinds()
    settings = {**_settings(request, batches), "layers": config.depth, "full_layers": config.fullatt_block_indexes}
    settings["contended"] = request.contended
    notes = [*_notes(request), *([GEMM_NOTE] if request.device == "cpu" else []), *_depth_notes(config, whole)]
    with _threads(request.threads), torch.inference_mode(), failing_as("simulated chip", sim.SimulatorError):
        live_isa()
        if request.device == "sim":
            chip = request.chip, request.l2
            lines = [
                line
                for dtype in kinds.values()
                for batch in batches
                for line in estimate_towers.estimate(batch, dtype, config, *chip)
            ]
            notes += [estimate_towers.NOTE]
            return _report("tower", "sim", {**settings, "chip": chip[0], "l2": chip[1]}, None, lines, notes)
        measured = peaks.measure() if request.device == "cpu" else None
        found = compare_towers.Found([], [], [])
        for dtype in kinds.values():
            comparison = compare_towers.Comparison(towers.build(config, dtype), whole, _tower_options(request))
            for batch in batches:
                found += comparison.run(batch, measured)
        notes += found.notes
        return _report("tower", request.device, settings, measured, found.lines, notes, found.stages)


def _tower_options(request: TowerRequest) -> compare_towers.Options:
    installed = peers.have_transformers()
    wanted = request.peers or peers.IMPLEMENTATIONS
    return compare_towers.Options(
        device=request.device,
        implementations=[name for name in wanted if name != "none" and installed],
        compiled=request.compiled and installed,
        rounds=request.rounds,
        contended=request.contended,
        check=request.check,
        stages=request.stages,
        memory=request.memory,
    )


def _depth_notes(config: VisionConfig, whole: VisionConfig) -> list[str]:
    if config == whole:
        return []
    run, all_full = len(config.fullatt_block_indexes), len(whole.fullatt_block_indexes)
    return [
        f"{config.depth} of {whole.depth} layers run, {run} of them over whole frames; x ours, x GEMMs and stages are "
        f"worked out for all {whole.depth}, {all_full} of them over whole frames, from what a layer of each kind took"
    ]


def _check_chip(chip: str) -> None:
    if chip not in sim.chips():
        raise ValueError(f"--chip: expected one of {', '.join(sim.chips())}, got {chip!r}")


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
    benchmark: str,
    device: str,
    settings: dict[str, Any],
    measured: Peaks | None,
    lines: list[Line],
    notes: list[str],
    stages: Sequence[Stage] = (),
) -> Report:
    environment = {name: os.environ[name] for name in VARIABLES if name in os.environ}
    here = {
        **machine(),
        "environment": environment,
        "instruction_set": live_isa(),
        "instruction_sets": ops.available_cpu_isas(),
    }
    kept = [line.timing for line in lines if line.timing is not None]
    dropped = sum(line.timing.dropped for line in lines if line.ours and line.timing is not None)
    if device != "sim" and kept:
        share = settings.get("contended", CONTENDED)
        notes = [*notes, f"{dropped} contended rounds dropped (threads waited {share:.0%} of a round or more)"]
    if measured is not None and measured.disturbed:
        notes = [*notes, "the peaks are too low: others took the cores while they were measured"]
    return Report(benchmark, device, settings, here, versions(), measured, lines, notes, list(stages))


def draw(report: Report, path: Path) -> None:
    """The report's pictures, in one file."""
    from ..bench import pictures  # needs matplotlib

    pictures.draw(report, path)
