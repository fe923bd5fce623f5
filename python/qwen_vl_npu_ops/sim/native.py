"""Where the native side of the simulator is: the module, the library and the headers; and the errors it raises."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

_PACKAGE = Path(__file__).resolve().parent.parent


class SimulatorError(RuntimeError):
    """A kernel did what the hardware does not allow, or raced, or hangs.

    Attributes: ``kind`` (alignment, limit, capacity, out_of_bounds, uninitialised, race, stale_read, overlap, queue,
    event, flag, deadlock, unsupported, core_type, trap), ``kernel``, ``core``, ``block``, ``pipe``, ``instruction``,
    ``operand``, ``file``, ``line`` (None where not known), ``other`` (the other access of a race, a dict) and
    ``waiting`` (of a deadlock: a list of dicts, one for each core and pipe that waits).
    """

    def __init__(self, **fields: Any) -> None:
        super().__init__(fields["message"])
        self.kind: str = fields["kind"]
        self.kernel: str = fields["kernel"]
        self.core: str | None = fields["core"]
        self.block: int | None = fields["block"]
        self.pipe: str | None = fields["pipe"]
        self.instruction: str | None = fields["instruction"]
        self.operand: str | None = fields["operand"]
        self.file: str | None = fields["file"]
        self.line: int | None = fields["line"]
        self.other: dict[str, Any] | None = fields["other"]
        self.waiting: list[dict[str, Any]] = fields["waiting"]
        self.message: str = fields["message"]


def _module(name: str) -> Any:
    """An extension module of the package, loaded once; QWEN_VL_NPU_OPS_SIM may name a build directory that has it."""
    qualified = f"qwen_vl_npu_ops.{name}"
    if qualified in sys.modules:
        return sys.modules[qualified]
    folder = Path(os.environ.get("QWEN_VL_NPU_OPS_SIM", _PACKAGE))
    found = sorted(folder.glob(f"{name}.*.so")) or sorted(folder.glob(f"{name}.so"))
    if not found:
        raise ImportError(f"the simulator is not built: no {name} module in {folder}")
    spec = importlib.util.spec_from_file_location(qualified, found[0])
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[qualified] = module
    spec.loader.exec_module(module)
    return module


def native() -> Any:
    """The machine: devices, libraries, launches."""
    module = _module("_sim")
    module.set_error_type(SimulatorError)
    return module


def tilings() -> Any:
    """The operators' tiling functions."""
    return _module("_sim_tilings")


def _libraries() -> Path:
    folder = os.environ.get("QWEN_VL_NPU_OPS_SIM")
    return Path(folder) if folder else _PACKAGE / "_sim_runtime" / "lib"


def runtime_library() -> Path:
    """The shared library that compiled kernels link to."""
    return _libraries() / "libascend_sim.so"


def kernels_library() -> Path:
    """The operators' kernels and tilings, compiled for the simulator."""
    return _libraries() / "libqwen_vl_npu_ops_kernels.so"


def include_dir() -> Path:
    """Where ``kernel_operator.h`` is: the source tree's when this is one, else the installed copy."""
    source = _PACKAGE.parent.parent / "csrc" / "sim" / "include"
    return source if (source / "kernel_operator.h").exists() else _PACKAGE / "_sim_runtime" / "include"


def samples_dir() -> Path:
    """Where the sample kernels are: the source tree's when this is one, else the installed copy."""
    source = _PACKAGE.parent.parent / "csrc" / "sim" / "samples"
    return source if source.is_dir() else _PACKAGE / "_sim_runtime" / "samples"
