"""What runs on NPU tensors: AscendC kernels, or a composition of torch_npu's and ATen's operators.

``QWEN_VL_NPU_OPS_KERNELS`` decides, once in a process, at the first call with NPU tensors:

- ``auto`` (default): the kernels where `qwen-vl-npu-ops doctor` has passed with this package on this chip and this
  CANN; until then the composition.
- ``on``: the kernels; an error where there are none.
- ``off``: the composition.

The decision holds for ``torch.ops`` called directly and inside compiled graphs: it is taken below the dispatcher
(csrc/npu/back_end.cpp asks `decide`). One line of the log (logger ``qwen_vl_npu_ops``) says what is live and why.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import logging
import os
import re
import tempfile
from pathlib import Path
from typing import Any

import torch

from ._cache import cache_dir
from ._library import LIBRARY, NPU_LIBRARIES, PACKAGE_VERSION

__all__ = ["Platform", "Status", "kernels_built", "kernels_mode", "platform", "status", "supported_chips"]

KERNELS = "QWEN_VL_NPU_OPS_KERNELS"
MODES = ("auto", "on", "off")
OPERATORS = ("rotary_qkv", "window_attention", "rotary_window_attention", "patch_embed")
UNKNOWN = "unknown"

_log = logging.getLogger("qwen_vl_npu_ops")
_private = torch.ops.qwen_vl_npu_ops_npu


def kernels_mode() -> str:
    """``auto``, ``on`` or ``off``; ValueError for anything else in QWEN_VL_NPU_OPS_KERNELS."""
    mode = os.environ.get(KERNELS, "auto")
    if mode not in MODES:
        raise ValueError(f"{KERNELS}: expected auto, on or off, got {mode!r}")
    return mode


def kernels_built() -> bool:
    """Whether this package was built with CANN and its NPU library is loaded."""
    return _private.kernels_built()


def supported_chips() -> tuple[str, ...]:
    """The chips that the kernels are made for."""
    return tuple(_private.chips())


@dataclasses.dataclass(frozen=True)
class Platform:
    """What a doctor's verdict holds for."""

    package: str
    library: str  # digest of the native libraries: another build is another verdict
    chip: str  # as "910B1"
    cann: str  # as "8.1.RC1"
    virtual: bool  # the virtual NPU, whose verdict says nothing about silicon

    @property
    def known(self) -> bool:
        """Whether a verdict can be kept for it."""
        return UNKNOWN not in (self.chip, self.cann)

    @property
    def record(self) -> Path:
        """The file that the verdict is kept in."""
        words = (self.package, self.chip, self.cann, self.library, *(["virtual"] if self.virtual else []))
        return cache_dir("npu") / ("-".join(re.sub(r"[^\w.]", "_", word) for word in words) + ".json")


@functools.cache
def platform() -> Platform:
    """The chip, CANN and package of this process; initialises torch_npu."""
    return Platform(PACKAGE_VERSION, _digest(), chip_name(), cann_version(), is_virtual())


def _npu() -> Any:
    return torch.get_device_module("npu")


def chip_name() -> str:
    """The current NPU as CANN names it, without "Ascend"."""
    with contextlib.suppress(Exception):  # no device, or a torch_npu that does not know it: either way unknown
        return str(_npu().get_device_name()).removeprefix("Ascend") or UNKNOWN
    return UNKNOWN


def cann_version() -> str:
    """CANN's version by its own account, or that in the installed toolkit's files."""
    with contextlib.suppress(Exception):  # needs CANN 8.1 or later
        version = _npu().utils.get_cann_version("CANN")
        if version:
            return str(version)
    home = os.environ.get("ASCEND_HOME_PATH") or os.environ.get("ASCEND_TOOLKIT_HOME")
    if not home:
        return UNKNOWN
    name = "ascend_toolkit_install.info"
    for file in sorted([*Path(home).glob(name), *Path(home).glob(f"*-linux/{name}")]):
        with contextlib.suppress(OSError, UnicodeDecodeError):
            found = re.search(r"^version=(\S+)", file.read_text(), re.MULTILINE)
            if found:
                return found[1]
    return UNKNOWN


def driver_version() -> str:
    """The driver's version, from the file that its installer leaves."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        found = re.search(r"^Version=(\S+)", Path("/usr/local/Ascend/driver/version.info").read_text(), re.MULTILINE)
        if found:
            return found[1]
    return UNKNOWN


def is_virtual() -> bool:
    """Whether the runtime below torch_npu is this package's stand-in (qwen_vl_npu_ops.virtual_npu)."""
    return os.environ.get("QWEN_VL_NPU_OPS_VIRTUAL_NPU") == "1"


def _digest() -> str:
    digest = hashlib.sha256()
    for library in (LIBRARY, *NPU_LIBRARIES):
        if library.exists():
            digest.update(library.read_bytes())
    return digest.hexdigest()[:16]


def _verdict(where: Platform) -> bytes:
    return json.dumps({**dataclasses.asdict(where), "passed": list(OPERATORS)}, indent=2).encode()


def save_record(where: Platform) -> Path:
    """Remember that every operator passed here. The file appears whole or not at all."""
    where.record.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("wb", dir=where.record.parent, suffix=".part", delete=False) as part:
        part.write(_verdict(where))
    os.replace(part.name, where.record)
    return where.record


def drop_record(where: Platform) -> None:
    """Forget an earlier verdict."""
    where.record.unlink(missing_ok=True)


def has_record(where: Platform) -> bool:
    """Whether every operator has passed here. A file that is not exactly what `save_record` writes says nothing."""
    try:
        return where.record.read_bytes() == _verdict(where)
    except OSError:
        return False


@dataclasses.dataclass(frozen=True)
class Status:
    """What is live on NPU tensors, and why."""

    kernels: bool
    reason: str


def status() -> Status:
    """What `decide` would decide now. RuntimeError where the kernels are forced on and there are none."""
    mode = kernels_mode()
    if mode == "off":
        return Status(False, f"{KERNELS}=off")
    where = platform()
    supported = ", ".join(supported_chips())
    lacking = None
    if not kernels_built():
        lacking = "this package was built without CANN, so it has no NPU kernels"
    elif where.chip not in supported_chips():
        lacking = f"there are no kernels for the chip {where.chip}, only for {supported}"
    if mode == "on":
        if lacking:
            raise RuntimeError(f"{KERNELS}=on: {lacking}")
        return Status(True, f"{KERNELS}=on")
    if lacking:
        return Status(False, lacking)
    here = f"on {where.chip} with CANN {where.cann}"
    if not where.known:
        return Status(False, f"no verdict can be kept {here}; {KERNELS}=on uses the kernels all the same")
    if not has_record(where):
        return Status(False, f"the kernels have not been checked {here}: run `qwen-vl-npu-ops doctor`")
    return Status(True, f"doctor has passed {here}")


def decide() -> bool:
    """Whether the kernels run; called by csrc/npu/back_end.cpp at the first call with NPU tensors."""
    now = status()
    if now.kernels:
        _log.info("NPU: AscendC kernels (%s)", now.reason)
    else:
        # Worth a warning where there is something to do about it.
        level = logging.WARNING if kernels_built() and kernels_mode() == "auto" else logging.INFO
        _log.log(level, "NPU: composition of torch_npu's operators (%s)", now.reason)
    return now.kernels


_implementation = torch.library.Library("qwen_vl_npu_ops_npu", "IMPL")
_implementation.impl("decide", decide, "CompositeExplicitAutograd")
