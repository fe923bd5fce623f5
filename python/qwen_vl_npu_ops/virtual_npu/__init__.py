"""A virtual NPU: the real torch_npu on a runtime of our own, whose device is memory of the host and the simulator.

``python -m qwen_vl_npu_ops.virtual_npu script.py`` runs a script with it, and :func:`environment` is what a subprocess
needs. torch_npu stays in a folder of its own: the ordinary environment never sees it. See ``docs/virtual-npu.md``.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..sim.native import kernels_library
from .building import VirtualNpuError, compile_extension, runtime, site, sources, stand_ins

__all__ = [
    "CHIPS",
    "VirtualNpuError",
    "activate",
    "compile_extension",
    "counters",
    "environment",
    "held",
    "host_operators",
    "is_active",
    "npu_operators",
    "reset_counters",
    "sources",
    "synchronisations",
]

# What aclrtGetSocName may say after "Ascend"; the simulator knows the 910Bs, so only there do kernels run.
CHIPS = ("910B1", "910B2", "910B3", "910B4", "310P3")
_PACKAGE = Path(__file__).resolve().parent.parent
_ACTIVE = "QWEN_VL_NPU_OPS_VIRTUAL_NPU"


def environment(chip: str = "910B1", *, faults: Sequence[str] = ()) -> dict[str, str]:
    """The environment of a process that is to see the virtual NPU: this one's, with what that takes.

    ``chip``: one of :data:`CHIPS`. ``faults``: ``"hang:<kernel>"`` (never ends), ``"skip:<kernel>"`` (does nothing),
    ``"error:<kernel>"`` (fails as an access out of bounds does), or a fault at a call site,
    ``"<kind>@<file>:<line>[,api=..][,nth=..][,core=..][,amount=..][,operand=..]"`` (see :class:`sim.Fault`).
    Builds what is not there yet, which takes a minute the first time. Raises ValueError for an unknown chip,
    :class:`VirtualNpuError` where something is missing.
    """
    if chip not in CHIPS:
        raise ValueError(f"chip: expected one of {', '.join(CHIPS)}, got {chip!r}")
    host_operators()  # built now, not while a process that has a time limit waits
    npu_operators()
    libraries = [str(runtime()), str(stand_ins()), *filter(None, [os.environ.get("LD_LIBRARY_PATH")])]
    paths = [str(site()), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        _ACTIVE: "1",
        "QWEN_VL_NPU_OPS_VIRTUAL_CHIP": chip,
        "QWEN_VL_NPU_OPS_VIRTUAL_FAULTS": ";".join(faults),
        "LD_LIBRARY_PATH": ":".join(libraries),
        "PYTHONPATH": ":".join(paths),
        "ASCEND_HOME_PATH": str(stand_ins()),
        "ASCEND_OPP_PATH": str(stand_ins() / "opp"),
    }


def is_active() -> bool:
    """Whether this process runs on the virtual NPU."""
    return os.environ.get(_ACTIVE) == "1"


def activate() -> None:
    """Import torch_npu, give the device the aten operators of the tower (see ``host_ops.cpp``) and load the kernels.

    Which of kernels and composition is live is QWEN_VL_NPU_OPS_KERNELS' business, as on any NPU. Raises RuntimeError
    outside an :func:`environment`.
    """
    if not is_active():
        raise RuntimeError("activate: this process was not started in virtual_npu.environment()")
    import faulthandler

    import torch
    import torch_npu  # noqa: F401

    faulthandler.enable()  # where CANN would be needed there is an abort; this says who called
    torch.ops.load_library(str(host_operators()))
    torch.ops.load_library(str(npu_operators()))


def _library() -> Any:
    if not is_active():
        raise RuntimeError("this process was not started in virtual_npu.environment()")
    return ctypes.CDLL("libascendcl.so")


def counters() -> dict[str, int]:
    """How often each function of the runtime was called since :func:`reset_counters`.

    Beside them ``launch``, ``launch:<kernel>``, ``copy:host_to_device``, ``copy:device_to_host``,
    ``copy:device_to_device``, and ``implicit synchronisation``: asynchronous copies that had to wait.
    Calls that torch_npu's task queue still holds are not in it.
    """
    library = _library()
    buffer = ctypes.create_string_buffer(library.virtual_npu_counters(None, 0) + 4096)
    library.virtual_npu_counters(buffer, len(buffer))
    pairs = (line.rsplit(" ", 1) for line in buffer.value.decode().splitlines())
    return {name: int(number) for name, number in pairs}


def reset_counters() -> None:
    """Count from zero again."""
    _library().virtual_npu_reset_counters()


def synchronisations(counts: dict[str, int]) -> int:
    """How many of the calls in ``counts`` made the host wait for the device."""
    return sum(
        number
        for name, number in counts.items()
        if name.startswith("aclrtSynchronize") or name in ("aclrtMemcpy", "aclrtMemset", "implicit synchronisation")
    )


@contextmanager
def held(stream: Any) -> Iterator[None]:
    """Hold a ``torch.npu.Stream``: inside, it takes work and does none, as a device that is busy would."""
    library = _library()
    handle = ctypes.c_void_p(stream.npu_stream)
    if library.virtual_npu_hold(handle, 1):
        raise ValueError("stream: not a stream of the virtual NPU")
    try:
        yield
    finally:
        library.virtual_npu_hold(handle, 0)


def host_operators() -> Path:
    """The extension that runs aten operators of the device on the host, compiled on first use."""
    return compile_extension("host_ops", [sources() / "virtual_npu" / "torch" / "host_ops.cpp"])


def npu_operators() -> Path:
    """The operators' NPU side (``csrc/npu``, ``npu.cpp``) linked to the simulator's kernels, compiled on first use."""
    root = sources()
    units = [root / "npu" / "launch.cpp", root / "npu" / "table.cpp", *sorted(root.glob("ops/*/npu.cpp"))]
    libraries = [kernels_library().resolve(), (_PACKAGE / "lib" / "libqwen_vl_npu_ops.so").resolve()]
    return compile_extension("qwen_vl_npu_ops_npu", units, include_dirs=[root], libraries=libraries)
