"""The command line: `qwen-vl-npu-ops` with its commands `encode`, `doctor`, `sim` and `bench`.

Exit codes: 0; 1 for what went wrong while running, or a check that failed; 2 for a wrong command line.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from . import __version__
from .commands import bench_options, doctor, tower
from .commands.npu_check import TIME_LIMIT
from .commands.options import DTYPES, check_picture, exit_on_failure, in_a_folder, one_of
from .config import PRESETS, VisionConfig

# Markup and pretty exceptions off: an error is one line, not a frame of many.
app = typer.Typer(
    help="Fused operators for Qwen2.5-VL's vision tower: see it run, check numbers, simulate kernels, measure.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"qwen-vl-npu-ops {__version__}")
        raise typer.Exit


app.add_typer(bench_options.app)


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
            callback=one_of(PRESETS),
            help="Sizes of the tower. [default: config.json's with --weights, else 7b]",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="A config.json with the sizes, for any other tower."),
    ] = None,
    dtype: Annotated[
        str,
        typer.Option(metavar="|".join(DTYPES), callback=one_of(DTYPES), help="What the tower computes in."),
    ] = "bf16",
    out: Annotated[
        Path | None,
        typer.Option(dir_okay=False, callback=in_a_folder, help="Write the embeddings to this safetensors file."),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False,
            callback=in_a_folder,
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
    with exit_on_failure():
        from .commands import encode

        if plot is not None:
            check_picture(plot, "encode")
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
    time_limit: Annotated[
        float, typer.Option(min=1, metavar="SECONDS", help="How long an operator may take on an NPU before it hangs.")
    ] = TIME_LIMIT,
    virtual_npu: Annotated[
        bool, typer.Option("--virtual-npu", help="Look at this package's virtual NPU, which needs no NPU.")
    ] = False,
    chip: Annotated[str, typer.Option(metavar="910B1|910B2|...", help="The chip that the virtual NPU is.")] = "910B1",
) -> None:
    """Show what runs on this machine, and compare every operator with an fp64 reference.

    An operator's error may be twice that of torch's own composition at the same dtype. The exit code is 1
    where a check fails. On an NPU each operator runs in a process of its own; where all pass, the kernels are
    live from then on (see docs/npu.md).
    """
    with exit_on_failure():
        if virtual_npu:
            arguments = ["--time-limit", str(time_limit), *(["--json"] if as_json else [])]
            raise typer.Exit(doctor.run_on_virtual_npu(chip, arguments))
        report = doctor.diagnose(time_limit)
    if as_json:
        typer.echo(report.as_json())
    else:
        doctor.print_report(report, Console())
    if not report.passed:
        raise typer.Exit(1)


@app.command("sim")
def sim_command(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="What to run; --list says what there is.")] = None,
    show_list: Annotated[bool, typer.Option("--list", help="List what can be run, with its default sizes.")] = False,
    tokens: Annotated[int | None, typer.Option(min=1, help="Rows of an operator's tensors.")] = None,
    heads: Annotated[int | None, typer.Option(min=1, help="Heads.")] = None,
    head_dim: Annotated[int | None, typer.Option(min=2, help="Head size.")] = None,
    out_head_dim: Annotated[int | None, typer.Option(min=2, help="Padded head size of the result.")] = None,
    interleaved: Annotated[
        bool | None, typer.Option("--interleaved", help="Rotate neighbours instead of halves.")
    ] = None,
    windows: Annotated[
        str | None,
        typer.Option(
            metavar="N|N,N,...|full", help="Segments: of N tokens each, of these lengths, or one. [default: 64]"
        ),
    ] = None,
    grid: Annotated[
        str | None,
        typer.Option(metavar="T,H,W", help="The tokens and windows of an image of this many patches, or a video."),
    ] = None,
    hidden: Annotated[int | None, typer.Option(min=1, help="Width of patch_embed's result.")] = None,
    dtype: Annotated[
        str | None,
        typer.Option(metavar="|".join(DTYPES), callback=one_of(DTYPES), help="An operator's dtype. [default: bf16]"),
    ] = None,
    size: Annotated[str | None, typer.Option(metavar="N,...", help="A sample's sizes, in the order of --list.")] = None,
    chip: Annotated[str, typer.Option(help="The chip: 910B1, 910B2, 910B3 or 910B4.")] = "910B1",
    l2: Annotated[
        str,
        typer.Option(
            metavar="cold|warm", callback=one_of(("cold", "warm")), help="Whether L2 holds the arguments at first."
        ),
    ] = "cold",
    races: Annotated[bool, typer.Option(help="Look for races too, which takes longer.")] = True,
    check: Annotated[bool, typer.Option(help="Compare the result with the reference.")] = True,
    trace: Annotated[
        Path | None,
        typer.Option(dir_okay=False, callback=in_a_folder, help="Write a trace for ui.perfetto.dev (.json)."),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(dir_okay=False, callback=in_a_folder, help="Draw pipe timelines and the roofline (.png, .pdf)."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as a JSON object.")] = False,
) -> None:
    """Run an operator's kernel or a sample on the simulated chip, and say how long it takes and what bounds it.

    All times are estimates of a model. The launch is not part of the time. The bound is what no kernel of the
    operation can beat on this chip.
    """
    if name is None and not show_list:
        raise typer.BadParameter("expected a NAME or --list, got neither")
    given = {
        "tokens": tokens,
        "heads": heads,
        "head_dim": head_dim,
        "out_head_dim": out_head_dim,
        "interleaved": interleaved,
        "windows": windows,
        "grid": grid,
        "hidden": hidden,
        "dtype": dtype,
        "size": size,
    }
    with exit_on_failure():
        from .commands import sim
        from .sim import chips

        if show_list:
            sim.print_list(Console())
            return
        assert name is not None
        one_of(sim.kernels())(name)
        one_of(chips())(chip)
        if plot is not None:
            check_picture(plot, "sim")
        try:
            request = sim.plan(name, chip, l2, {key: value for key, value in given.items() if value is not None})
        except (TypeError, ValueError) as error:
            raise typer.BadParameter(" ".join(str(error).split())) from None
        outcome = sim.execute(request, check=check, trace=trace is not None or plot is not None, races=races)
        sim.write(outcome, trace, plot)
        if as_json:
            typer.echo(outcome.as_json())
        else:
            sim.print_outcome(outcome, Console())


def _sizes(preset: str | None, config: Path | None, weights: Path | None) -> VisionConfig:
    if preset is not None:
        return VisionConfig.of(preset)
    if config is not None:
        return tower.read_config(config)
    return VisionConfig.of("7b") if weights is None else tower.folder_config(weights)
