"""`qwen-vl-npu-ops encode`: photographs and videos through the tower, all in one batch."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from .. import __version__
from ..config import VisionConfig
from ..nn import AscendQwen2_5_VisionTransformer
from ..plan import VisionPlan
from . import CommandError, failing_as, live_isa, tower
from .inputs import Input, open_processor, read_image, read_video


@dataclasses.dataclass(frozen=True)
class Request:
    """What the user asked for."""

    images: Sequence[Path]
    videos: Sequence[Path]
    max_frames: int
    weights: Path | None  # None draws random ones
    random_seed: int
    config: VisionConfig
    dtype: torch.dtype
    out: Path | None
    plot: Path | None

    @property
    def weights_origin(self) -> str:
        """Where the weights come from, in words."""
        return str(self.weights) if self.weights else f"random, seed {self.random_seed}"


class Stages:
    """Wall-clock seconds and number of runs of each stage, in the order in which they first ended."""

    def __init__(self) -> None:
        """Nothing measured yet."""
        self.seconds: dict[str, float] = defaultdict(float)
        self.runs: dict[str, int] = defaultdict(int)

    def add(self, stage: str, start: float) -> None:
        """One more run, from `start` on time.perf_counter until now."""
        self.seconds[stage] += time.perf_counter() - start
        self.runs[stage] += 1

    @contextlib.contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """One more run, of what happens inside."""
        start = time.perf_counter()
        yield
        self.add(stage, start)

    @contextlib.contextmanager
    def measure_modules(self, modules: dict[nn.Module, str], tick: Callable[[], object]) -> Iterator[None]:
        """While inside, each forward of these modules is a run of the stage it maps to; tick after each."""
        starts: dict[nn.Module, float] = {}

        def before(module: nn.Module, args: object) -> None:
            starts[module] = time.perf_counter()

        def after(module: nn.Module, args: object, result: object) -> None:
            self.add(modules[module], starts[module])
            tick()

        hooks = [module.register_forward_pre_hook(before) for module in modules]
        hooks += [module.register_forward_hook(after) for module in modules]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


def run(request: Request, output: Console, log: Console) -> None:
    """Read, encode, write, and print a summary.

    Args:
        output: gets the summary; log: the progress bars.

    Raises:
        CommandError: a file that cannot be read or written, weights that do not fit, infinite or NaN results.
    """
    stages = Stages()
    isa = live_isa()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=log, transient=True, disable=not log.is_terminal) as progress:
        processor = open_processor(request.config, request.weights)
        with stages.measure("read and preprocess"):
            inputs = read_inputs(request, processor)
        with stages.measure("load weights" if request.weights else "draw random weights"):
            model = open_tower(request, progress)
        embeddings = encode(model, inputs, stages, progress)

    output.print(*_headlines(request, isa), sep="\n", highlight=False, soft_wrap=True, markup=False)
    output.print(_input_table(inputs, embeddings))
    output.print(_stage_table(stages))
    if request.out is not None:
        save(request, inputs, embeddings, request.out)
        output.print(f"embeddings: {request.out}", highlight=False, soft_wrap=True, markup=False)
    wrong = sum(int((~rows.isfinite()).sum()) for rows in embeddings)
    if wrong:
        raise CommandError(f"{wrong} of the embeddings' values are infinite or NaN")
    if request.plot is not None:
        from .plot import draw

        draw(inputs, embeddings, request.config.spatial_merge_size, request.plot)
        output.print(f"picture: {request.plot}", highlight=False, soft_wrap=True, markup=False)


def read_inputs(request: Request, processor: Any) -> list[Input]:
    """Images first, then videos."""
    inputs = [read_image(path, f"image_{i}", processor) for i, path in enumerate(request.images)]
    inputs += [read_video(path, f"video_{i}", processor, request.max_frames) for i, path in enumerate(request.videos)]
    return inputs


def open_tower(request: Request, progress: Progress) -> AscendQwen2_5_VisionTransformer:
    """The tower with its weights."""
    task = progress.add_task("weights", total=None)
    if request.weights:
        model = tower.load_tower(request.weights, request.config, request.dtype)
    else:
        model = tower.empty_tower(request.config, request.dtype)
        progress.update(task, total=sum(1 for _ in model.parameters()))
        tower.draw_weights(model, request.random_seed, lambda: progress.advance(task))
    progress.remove_task(task)
    return model


@torch.inference_mode()
def encode(
    model: AscendQwen2_5_VisionTransformer, inputs: Sequence[Input], stages: Stages, progress: Progress
) -> list[Tensor]:
    """Embeddings `[t*h*w / merge_size^2, out_hidden_size]` of each input, all of them in one batch."""
    with stages.measure("plan"):
        plan = VisionPlan.build([item.grid for item in inputs], model.config)
    layers: dict[nn.Module, str] = {model.patch_embed: "patch embedding", model.merger: "merger"}
    for layer, block in enumerate(model.blocks):
        layers[block] = "full blocks" if layer in model.fullatt_block_indexes else "window blocks"
    task = progress.add_task("encoding, layers", total=len(layers))
    with (
        stages.measure("encode, in all"),
        stages.measure_modules(layers, lambda: progress.advance(task)),
    ):
        rows = model(torch.cat([item.pixels for item in inputs]), plan=plan)
    lengths = [t * h * w // model.spatial_merge_unit for t, h, w in plan.grid_thw]
    return list(rows.split(lengths))


def save(request: Request, inputs: Sequence[Input], embeddings: Sequence[Tensor], path: Path) -> None:
    """Write a safetensors file.

    For each input it has `<key>.embeddings`, `[tokens, out_hidden_size]`, and `<key>.grid_thw`, int64 `[3]`,
    with the keys image_0, image_1, ..., video_0, ...; its metadata has `<key>.file` and what the tower was.
    """
    tensors: dict[str, Tensor] = {}
    metadata = {
        "producer": f"qwen-vl-npu-ops {__version__}",
        "weights": request.weights_origin,
        "vision_config": json.dumps(dataclasses.asdict(request.config)),
    }
    for item, rows in zip(inputs, embeddings, strict=True):
        tensors[f"{item.key}.embeddings"] = rows.clone()  # safetensors refuses tensors that share memory
        tensors[f"{item.key}.grid_thw"] = torch.tensor(item.grid)
        metadata[f"{item.key}.file"] = str(item.path)
    with failing_as(path, OSError, SafetensorError):
        save_file(tensors, path, metadata=metadata)


def _headlines(request: Request, isa: str) -> list[str]:
    config = request.config
    lines = [
        f"tower: {config.depth} layers, hidden {config.hidden_size}, output {config.out_hidden_size}, "
        f"{str(request.dtype).removeprefix('torch.')}",
        f"weights: {request.weights_origin}",
        f"back end: cpu, {isa}, {torch.get_num_threads()} threads",
    ]
    if request.weights is None:
        lines[1] += " (untrained: the embeddings mean nothing to a language model)"
    return lines


def _input_table(inputs: Sequence[Input], embeddings: Sequence[Tensor]) -> Table:
    table = Table(title="Inputs", title_justify="left")
    for column in ("key", "file"):
        table.add_column(column)
    for column in ("size", "t x h x w", "patches", "embeddings", "norm"):
        table.add_column(column, justify="right")
    for item, rows in zip(inputs, embeddings, strict=True):
        t, h, w = item.grid
        size = f"{item.frames[0].width}x{item.frames[0].height}"
        shape = "x".join(map(str, rows.shape))
        table.add_row(
            item.key,
            Text(item.path.name),
            size,
            f"{t}x{h}x{w}",
            f"{t * h * w}",
            shape,
            f"{rows.float().norm():.4g}",
        )
    return table


def _stage_table(stages: Stages) -> Table:
    table = Table(title="Time", title_justify="left")
    table.add_column("stage")
    for column in ("runs", "seconds", "ms per run"):
        table.add_column(column, justify="right")
    for stage, seconds in stages.seconds.items():
        runs = stages.runs[stage]
        table.add_row(stage, str(runs), f"{seconds:.3f}", f"{1000 * seconds / runs:.1f}")
    return table
