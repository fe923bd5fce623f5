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


class CompileError(RuntimeError):
    """The host compiler refused kernel source; the text is what it said."""


def native() -> Any:
    """The extension module; QWEN_VL_NPU_OPS_SIM may name a build directory that has it."""
    name = "qwen_vl_npu_ops._sim"
    if name in sys.modules:
        return sys.modules[name]
    folder = Path(os.environ.get("QWEN_VL_NPU_OPS_SIM", _PACKAGE))
    found = sorted(folder.glob("_sim.*.so")) or sorted(folder.glob("_sim.so"))
    if not found:
        raise ImportError(f"the simulator is not built: no _sim module in {folder}")
    spec = importlib.util.spec_from_file_location(name, found[0])
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    module.set_error_type(SimulatorError)
    return module


def runtime_library() -> Path:
    """The shared library that compiled kernels link to."""
    folder = os.environ.get("QWEN_VL_NPU_OPS_SIM")
    return (Path(folder) if folder else _PACKAGE / "_sim_runtime" / "lib") / "libascend_sim.so"


def include_dir() -> Path:
    """Where ``kernel_operator.h`` is: the source tree's when this is one, else the installed copy."""
    source = _PACKAGE.parent.parent / "csrc" / "sim" / "include"
    return source if (source / "kernel_operator.h").exists() else _PACKAGE / "_sim_runtime" / "include"
