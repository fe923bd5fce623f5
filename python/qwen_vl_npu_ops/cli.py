"""The command line: `qwen-vl-npu-ops encode` and `qwen-vl-npu-ops doctor`.

Exit codes: 0; 1 for what went wrong while running, or a check that failed; 2 for a wrong command line.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console

from . import __version__
from .commands import CommandError, doctor, tower
from .config import PRESETS, VisionConfig

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}

# Markup and pretty exceptions off: an error is one line, not a frame of many.
app = typer.Typer(
    help="Fused operators for Qwen2.5-VL's vision tower: see the tower run, check the operators' numbers.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _one_of(choices: Iterable[str]) -> Callable[[str | None], str | None]:
    def check(value: str | None) -> str | None:
        if value is not None and value not in choices:
            raise typer.BadParameter(f"expected one of {', '.join(choices)}, got {value!r}")
        return value

    return check


def _in_a_folder(path: Path | None) -> Path | None:
    if path is not None and not path.parent.is_dir():
        raise typer.BadParameter(f"the folder {path.parent} does not exist")
    return path


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"qwen-vl-npu-ops {__version__}")
        raise typer.Exit


@contextlib.contextmanager
def _exit_on_failure() -> Iterator[None]:
    """One line for what the user can do something about; anything else is a bug and keeps its traceback."""
    try:
        yield
    except CommandError as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from None


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command("encode")
def encode_command(
    images: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="IMAGE",
            exists=True,
            dir_okay=False,
            help="Pictures in any format Pillow reads, 8 or 16 bits per channel; EXIF turns them upright.",
        ),
    ] = None,
    video: Annotated[
        list[Path] | None,
        typer.Option(exists=True, dir_okay=False, help="A video, turned upright as it says; may be given again."),
    ] = None,
    max_frames: Annotated[
        int, typer.Option(min=1, help="Frames to take of each video, evenly spaced; two make one step.")
    ] = 8,
    weights: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, help="A folder with safetensors weights and config.json."),
    ] = None,
    random_seed: Annotated[
        int | None,
        typer.Option(
            min=0, max=2**64 - 1, help="Seed of random weights, used where --weights is not given. [default: 0]"
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            metavar="|".join(PRESETS),
            callback=_one_of(PRESETS),
            help="Sizes of the tower. [default: config.json's with --weights, else 7b]",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="A config.json with the sizes, for any other tower."),
    ] = None,
    dtype: Annotated[
        str,
        typer.Option(metavar="|".join(DTYPES), callback=_one_of(DTYPES), help="What the tower computes in."),
    ] = "bf16",
    out: Annotated[
        Path | None,
        typer.Option(dir_okay=False, callback=_in_a_folder, help="Write the embeddings to this safetensors file."),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False,
            callback=_in_a_folder,
            help="Draw each image beside a PCA of its embeddings (.png, .pdf).",
        ),
    ] = None,
) -> None:
    """Encode images and videos with the vision tower, all in one batch, and print a summary.

    The file of --out has KEY.embeddings [tokens, width] and KEY.grid_thw [3] for each input, KEY being
    image_0, image_1, ..., video_0, ... in the order given; its metadata says which file each was and what
    the tower was.
    """
    if not images and not video:
        raise typer.BadParameter("expected at least one IMAGE or --video FILE, got none")
    if weights is not None and random_seed is not None:
        raise typer.BadParameter("expected one of --weights and --random-seed, got both")
    if preset is not None and config is not None:
        raise typer.BadParameter("expected one of --preset and --config, got both")
    with _exit_on_failure():
        from .commands import encode

        if plot is not None:
            _check_picture(plot)
        request = encode.Request(
            images=images or [],
            videos=video or [],
            max_frames=max_frames,
            weights=weights,
            random_seed=random_seed or 0,
            config=_sizes(preset, config, weights),
            dtype=DTYPES[dtype],
            out=out,
            plot=plot,
        )
        encode.run(request, output=Console(), log=Console(stderr=True))


@app.command("doctor")
def doctor_command(
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as a JSON object.")] = False,
) -> None:
    """Show what runs on this machine, and compare every operator with an fp64 reference.

    An operator's error may be twice that of torch's own composition at the same dtype. The exit code is 1
    where a check fails.
    """
    with _exit_on_failure():
        report = doctor.diagnose()
    if as_json:
        typer.echo(report.as_json())
    else:
        doctor.print_report(report, Console())
    if not report.passed:
        raise typer.Exit(1)


def _sizes(preset: str | None, config: Path | None, weights: Path | None) -> VisionConfig:
    if preset is not None:
        return VisionConfig.of(preset)
    if config is not None:
        return tower.read_config(config)
    return VisionConfig.of("7b") if weights is None else tower.folder_config(weights)


def _check_picture(path: Path) -> None:
    from .commands.plot import supported_suffixes

    if path.suffix not in supported_suffixes():
        raise typer.BadParameter(
            f"expected a suffix out of {', '.join(supported_suffixes())}, got {path.suffix!r}",
            param_hint="'--plot'",
        )
