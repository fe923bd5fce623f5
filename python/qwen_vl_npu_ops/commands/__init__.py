"""What the command line does, one module for each part; `qwen_vl_npu_ops.cli` has the options."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from .. import ops


class CommandError(Exception):
    """A failure that the user can understand from its one line."""


@contextlib.contextmanager
def failing_as(subject: object, *errors: type[Exception]) -> Iterator[None]:
    """Turn these errors into a CommandError that starts with the subject, a file usually."""
    try:
        yield
    except errors as error:
        message = " ".join((getattr(error, "strerror", None) or str(error)).split())
        subject = str(subject)
        raise CommandError(message if message.startswith(subject) else f"{subject}: {message}") from error


@contextlib.contextmanager
def optional_packages(extra: str) -> Iterator[None]:
    """Say which extra to install where an import inside fails."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise CommandError(f"{error.name} is not installed: run pip install 'qwen-vl-npu-ops[{extra}]'") from error


def picture_suffixes(extra: str) -> list[str]:
    """Suffixes of the files that a picture can be written to."""
    with optional_packages(extra):
        from matplotlib.figure import Figure
    return sorted(f".{name}" for name in Figure().canvas.get_supported_filetypes())


def live_isa() -> str:
    """The instruction set that the CPU kernels run on; a CommandError where the environment forces an unknown one."""
    with failing_as("QWEN_VL_NPU_OPS_ISA", ValueError):
        return ops.cpu_isa()
