"""Checks of command lines that several commands share."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import torch
import typer

from . import CommandError, picture_suffixes

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


def one_of(choices: Iterable[str]) -> Callable[[str | None], str | None]:
    """A callback that refuses anything else."""

    def check(value: str | None) -> str | None:
        if value is not None and value not in choices:
            raise typer.BadParameter(f"expected one of {', '.join(choices)}, got {value!r}")
        return value

    return check


def in_a_folder(path: Path | None) -> Path | None:
    """A callback that refuses a file whose folder is not there."""
    if path is not None and not path.parent.is_dir():
        raise typer.BadParameter(f"the folder {path.parent} does not exist")
    return path


def check_picture(path: Path, extra: str) -> None:
    """Refuse a suffix that no picture can have."""
    suffixes = picture_suffixes(extra)
    if path.suffix not in suffixes:
        expected = f"expected a suffix out of {', '.join(suffixes)}, got {path.suffix!r}"
        raise typer.BadParameter(expected, param_hint="'--plot'")


@contextlib.contextmanager
def exit_on_failure() -> Iterator[None]:
    """One line for what the user can do something about; anything else is a bug and keeps its traceback."""
    try:
        yield
    except CommandError as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from None
