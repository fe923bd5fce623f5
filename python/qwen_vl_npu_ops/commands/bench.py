"""`qwen-vl-npu-ops bench`: runs of the harness in `qwen_vl_npu_ops.bench`, for people and for machines."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from .. import npu, ops, sim
from ..bench import cases, compare, compare_towers, estimate_towers, operators, peaks, peers, towers
from ..bench.cases import Batch
from ..bench.record import Line, Peaks, Report, Stage
from ..config import VisionConfig
from . import CommandError, failing_as, live_isa
from .machine import machine, versions
from .npu_check import missing_npu
from .options import DTYPES

if TYPE_CHECKING:
    from .bench_options import Common, OpsOptions, TowerOptions

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


def run_ops(options: OpsOptions) -> Report:
    """Every operator that is asked for, on every batch, at every dtype. Raises ValueError naming a wrong option."""
    known = operators.OPERATORS if options.device == "cpu" else operators.KERNELS
    wanted = options.operators or known
    for name in wanted:
        if name not in known:
            raise ValueError(f"OPERATOR: expected one of {', '.join(known)} on {options.device}, got {name!r}")
    if options.device == "sim":
        _check_chip(options.chip)
    batches, kinds = _batches(options), _kinds(options)
    notes = _notes(options)
    with _threads(options.threads), torch.inference_mode(), failing_as("simulated chip", sim.SimulatorError):
        live_isa()
        measured = peaks.measure() if options.device == "cpu" else None
        lines: list[Line] = []
        for batch in batches:
            for dtype in kinds.values():
                for case in operators.cases(batch, dtype, options.windows, wanted):
                    lines += _compare(case, options, measured)
        settings = {
            **_settings(options, batches),
            "windows": options.windows,
            "chip": options.chip,
            "l2": options.l2,
        }
        return _report("ops", options.device, settings, measured, lines, notes)


def _compare(case: operators.Case, options: OpsOptions, measured: Peaks | None) -> list[Line]:
    if options.device == "sim":
        return compare.on_sim(case, options.chip, options.l2, check=options.check)
    if measured is None:
        return compare.on_npu(case, options.rounds, check=options.check, contended=options.contended)
    return compare.on_cpu(
        case,
        measured,
        options.rounds,
        check=options.check,
        compiled=options.compile_peers,
        contended=options.contended,
    )


def run_tower(options: TowerOptions) -> Report:
    """The tower on every batch, at every dtype. Raises ValueError naming a wrong option."""
    whole = operators.SIZES
    config = whole if options.layers is None else towers.shallow(whole, options.layers)
    for name in options.peer or ():
        if name not in (*peers.IMPLEMENTATIONS, "none"):
            raise ValueError(f"--peer: expected one of {', '.join(peers.IMPLEMENTATIONS)}, none, got {name!r}")
    if options.device == "sim":
        _check_chip(options.chip)
    batches, kinds = _batches(options), _kinds(options)
    settings = {**_settings(options, batches), "layers": config.depth, "full_layers": config.fullatt_block_indexes}
    notes = [*_notes(options), *([GEMM_NOTE] if options.device == "cpu" else []), *_depth_notes(config, whole)]
    with _threads(options.threads), torch.inference_mode(), failing_as("simulated chip", sim.SimulatorError):
        live_isa()
        if options.device == "sim":
            chip = options.chip, options.l2
            lines = [
                line
                for dtype in kinds.values()
                for batch in batches
                for line in estimate_towers.estimate(batch, dtype, config, *chip)
            ]
            notes += [estimate_towers.NOTE]
            return _report("tower", "sim", {**settings, "chip": chip[0], "l2": chip[1]}, None, lines, notes)
        measured = peaks.measure() if options.device == "cpu" else None
        found = compare_towers.Found([], [], [])
        for dtype in kinds.values():
            comparison = compare_towers.Comparison(towers.build(config, dtype), whole, _tower_options(options))
            for batch in batches:
                found += comparison.run(batch, measured)
        notes += found.notes
        return _report("tower", options.device, settings, measured, found.lines, notes, found.stages)


def _tower_options(options: TowerOptions) -> compare_towers.Options:
    installed = peers.have_transformers()
    wanted = options.peer or peers.IMPLEMENTATIONS
    return compare_towers.Options(
        device=options.device,
        implementations=[name for name in wanted if name != "none" and installed],
        compiled=options.compile_peers and installed,
        rounds=options.rounds,
        contended=options.contended,
        check=options.check,
        stages=options.stages,
        memory=options.memory,
    )


def _depth_notes(config: VisionConfig, whole: VisionConfig) -> list[str]:
    if config == whole:
        return []
    run, all_full = len(config.fullatt_block_indexes), len(whole.fullatt_block_indexes)
    return [
        f"{config.depth} of {whole.depth} layers run, {run} of them over whole frames; x ours, x GEMMs and stages are "
        f"worked out for all {whole.depth}, {all_full} of them over whole frames, from what a layer of each kind took"
    ]


def _batches(options: Common) -> list[Batch]:
    """Of the files, all in one; where there are none, of `--tokens`."""
    images, videos = options.image or (), options.video or ()
    if not images and not videos:
        return cases.parse(options.tokens)
    from .inputs import open_processor, read_image, read_video

    processor = open_processor(operators.SIZES, None)
    inputs = [read_image(path, path.name, processor) for path in images]
    inputs += [read_video(path, path.name, processor, options.max_frames) for path in videos]
    pixels = torch.cat([item.pixels for item in inputs])
    return [cases.of_grids([item.grid for item in inputs], pixels)]


def _kinds(options: Common) -> dict[str, torch.dtype]:
    """Names and dtypes."""
    names = [name.strip() for name in options.dtype.split(",")]
    for name in names:
        if name not in DTYPES:
            raise ValueError(f"--dtype: expected {', '.join(DTYPES)}, with commas between them, got {name!r}")
    return {name: DTYPES[name] for name in names}


def _check_chip(chip: str) -> None:
    if chip not in sim.chips():
        raise ValueError(f"--chip: expected one of {', '.join(sim.chips())}, got {chip!r}")


def _settings(options: Common, batches: Sequence[Batch]) -> dict[str, Any]:
    return {
        "dtypes": list(_kinds(options)),
        "grids": {batch.name: [list(grid) for grid in batch.grids] for batch in batches},
        "rounds": options.rounds,
        "contended": options.contended,
        "compile": options.compile_peers,
        "check": options.check,
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


def _notes(options: Common) -> list[str]:
    device = options.device
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
    if device == "cpu" and not options.compile_peers:
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
        share = settings["contended"]
        notes = [*notes, f"{dropped} contended rounds dropped (threads waited more than {share:.0%} of a round)"]
    if measured is not None and measured.disturbed:
        notes = [*notes, "the peaks are too low: others took the cores while they were measured"]
    return Report(benchmark, device, settings, here, versions(), measured, lines, notes, list(stages))


def draw(report: Report, path: Path) -> None:
    """The report's pictures, in one file."""
    from ..bench import pictures  # needs matplotlib

    pictures.draw(report, path)
