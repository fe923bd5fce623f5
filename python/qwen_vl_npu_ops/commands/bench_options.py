"""Options of `qwen-vl-npu-ops bench`; `commands.bench` does the work."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from ..bench.timing import CONTENDED
from .options import DTYPES, check_picture, exit_on_failure, in_a_folder, one_of

if TYPE_CHECKING:
    from ..bench.record import Report

app = typer.Typer(
    name="bench",
    help="Measure the operators, the tower, and the machine's own peaks.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Device = Annotated[
    str,
    typer.Option(
        metavar="cpu|sim|npu", callback=one_of(("cpu", "sim", "npu")), help="Where; sim has estimates of its model."
    ),
]
Dtypes = Annotated[str, typer.Option(metavar="|".join(DTYPES), help="What to compute in; several with commas.")]
Tokens = Annotated[
    str,
    typer.Option(metavar="N|mixed|video|1080p", help="Batches by their patches, or by name; several with commas."),
]
Images = Annotated[
    list[Path] | None, typer.Option(exists=True, dir_okay=False, help="A picture of a batch of its own, with --video.")
]
Videos = Annotated[
    list[Path] | None, typer.Option(exists=True, dir_okay=False, help="A video of that batch; both may be given again.")
]
MaxFrames = Annotated[int, typer.Option(min=1, help="Frames to take of each video.")]
Threads = Annotated[int | None, typer.Option(min=1, help="Threads. [default: torch's]")]
Rounds = Annotated[int, typer.Option(min=1, help="Rounds to keep; in each, everything runs once.")]
Contended = Annotated[
    float,
    typer.Option(
        min=0.0, help="Drop a round in which threads waited more than this share of it for a core, summed up."
    ),
]
Compile = Annotated[bool, typer.Option("--compile", help="Peers of torch.compile too, which takes minutes and a g++.")]
Checked = Annotated[bool, typer.Option(help="Compute errors against fp64, which can take longer than the benchmark.")]
Chip = Annotated[str, typer.Option(help="The simulated chip: 910B1, 910B2, 910B3 or 910B4.")]
L2 = Annotated[
    str, typer.Option(metavar="cold|warm", callback=one_of(("cold", "warm")), help="Its L2 before each kernel.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the report as a JSON object.")]
Plot = Annotated[
    Path | None,
    typer.Option(dir_okay=False, callback=in_a_folder, help="Draw the report (.png, .pdf)."),
]


@app.command("peaks")
def peaks_command(threads: Threads = None, as_json: AsJson = False) -> None:
    """Measure what the cores and the memory of this machine do at most.

    Multiply-adds and exponentials with the instruction set that the operators run on, dot products of bf16 and
    int8 where the machine has them, and a copy of more than the caches hold.
    """
    _show(lambda bench: bench.run_peaks(threads), as_json, None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Common:
    """Options that `bench ops` and `bench tower` share, as they were written."""

    device: Device = "cpu"
    dtype: Dtypes = "bf16"
    tokens: Tokens = "1296"
    image: Images = None
    video: Videos = None
    max_frames: MaxFrames = 8
    threads: Threads = None
    rounds: Rounds = 7
    contended: Contended = CONTENDED
    compile_peers: Compile = False
    check: Checked = True
    chip: Chip = "910B1"
    l2: L2 = "cold"
    as_json: AsJson = False
    plot: Plot = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class OpsOptions(Common):
    """Time each operator at the 7B tower's sizes beside what else computes the same.

    On the CPU and on an NPU times are medians of interleaved rounds; rounds in which other processes took the
    cores are dropped and counted. On the simulated chip they are estimates, beside the bound of the roofline.
    """

    operators: Annotated[list[str] | None, typer.Argument(metavar="OPERATOR", help="Some of them. [default: all]")] = (
        None
    )
    windows: Annotated[
        int | None, typer.Option(min=1, help="Tokens of each window. [default: the tower's own windows]")
    ] = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class TowerOptions(Common):
    """Time the 7B tower beside transformers' on the same weights, and beside its GEMMs alone.

    Weights are random, pixels too where there are no images. On the simulated chip our kernels are estimated, one layer
    of each kind, and the GEMMs counted at their bound.
    """

    rounds: Rounds = 3
    layers: Annotated[
        int | None, typer.Option(help="Run fewer layers; ratios and stages are scaled to all. [default: all 32]")
    ] = None
    peer: Annotated[
        list[str] | None, typer.Option(metavar="sdpa|eager|none", help="transformers' attention. [default: both]")
    ] = None
    stages: Annotated[bool, typer.Option(help="Find out what each stage takes, by one more forward of each.")] = True
    memory: Annotated[
        bool, typer.Option("--memory", help="Measure what a forward takes beyond the model, in a process for each.")
    ] = False


def _add_command(name: str, options: type[Any], run: Callable[[Any, Any], Report]) -> None:
    """A command whose options are the fields of a dataclass, and whose help is its docstring."""

    def command(**given: Any) -> None:
        asked = options(**given)
        _show(lambda bench: run(bench, asked), asked.as_json, asked.plot)

    command.__doc__ = options.__doc__
    command.__signature__ = inspect.signature(options, eval_str=True)  # type: ignore[attr-defined]  # what typer reads
    app.command(name)(command)


def _show(run: Callable[[Any], Report], as_json: bool, plot: Path | None) -> None:
    """Run, draw, print; a ValueError is a wrong command line."""
    from . import bench, bench_tables  # the harness, which no other command loads

    with exit_on_failure():
        if plot is not None:
            check_picture(plot, "bench")
        try:
            report = run(bench)
        except ValueError as error:
            raise typer.BadParameter(" ".join(str(error).split())) from None
        if plot is not None:
            bench.draw(report, plot)
        if as_json:
            typer.echo(report.as_json())
        else:
            bench_tables.print_report(report, Console())


_add_command("ops", OpsOptions, lambda bench, asked: bench.run_ops(asked))
_add_command("tower", TowerOptions, lambda bench, asked: bench.run_tower(asked))
