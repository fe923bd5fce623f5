"""Which of torch_npu's fused operators are used, on which chip.

``QWEN_VL_NPU_OPS_FUSED`` overrides the table: ``auto`` (default), ``none``, or names out of it, separated by commas.
Each is called once on a small tensor before it is relied on; one that fails there is left alone, and the log says so.
"""

from __future__ import annotations

import fnmatch
import functools
import logging
import os
from collections.abc import Callable

import torch
from torch import Tensor

VARIABLE = "QWEN_VL_NPU_OPS_FUSED"

# Chip, as CANN names it, to what is used there. Any other chip has none of them.
TABLE = {
    "910B*": ("rms_norm", "add_rms_norm", "swiglu", "rotary_mul", "flash_attention"),
    "910_93*": ("rms_norm", "add_rms_norm", "swiglu", "rotary_mul", "flash_attention"),
}

_log = logging.getLogger("qwen_vl_npu_ops")


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x / sqrt(mean(x^2) + eps) * weight over the last dimension."""
    return torch.ops.npu.npu_rms_norm(x, weight, eps)[0]


def add_rms_norm(x: Tensor, residual: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """`rms_norm` of x + residual, and that sum."""
    out, _, total = torch.ops.npu.npu_add_rms_norm(x, residual, weight, eps)
    return out, total


def swiglu(gate_up: Tensor) -> Tensor:
    """silu(gate) * up for `gate_up [..., 2*I]`."""
    return torch.ops.npu.npu_swiglu(gate_up, -1)


def rotary_mul(x: Tensor, cos: Tensor, sin: Tensor, interleaved: bool) -> Tensor:
    """x rotated: `x [1, T, H, D]`, `cos`, `sin` `[1, T, 1, D]`, all of one dtype."""
    return torch.ops.npu.npu_rotary_mul(x, cos, sin, "interleave" if interleaved else "half")


def flash_attention(q: Tensor, k: Tensor, v: Tensor, lengths: Tensor, scale: float, out: Tensor) -> None:
    """Attention over packed sequences of positive `lengths`, an int32 tensor on the CPU, into out; 16-bit dtypes."""
    torch.ops.atb._npu_flash_attention_unpad(q, k, v, lengths, scale, q.shape[1], k.shape[1], out)


def _probe_flash_attention(x: Tensor) -> None:
    flash_attention(x, x, x, torch.tensor([2], dtype=torch.int32), 1.0, torch.empty_like(x))


_PROBES: dict[str, Callable[[torch.device], object]] = {
    "rms_norm": lambda device: rms_norm(_small(device, 2, 64), _small(device, 64), 1e-6),
    "add_rms_norm": lambda device: add_rms_norm(*(_small(device, 2, 64),) * 2, _small(device, 64), 1e-6),
    "swiglu": lambda device: swiglu(_small(device, 2, 128)),
    "rotary_mul": lambda device: rotary_mul(*(_small(device, 1, 2, 1, 64, dtype=torch.float32),) * 3, False),
    "flash_attention": lambda device: _probe_flash_attention(_small(device, 2, 1, 64)),
}


def _small(device: torch.device, *shape: int, dtype: torch.dtype = torch.float16) -> Tensor:
    return torch.empty(shape, dtype=dtype, device=device)


def requested(chip: str) -> tuple[str, ...]:
    """The names that the table, or QWEN_VL_NPU_OPS_FUSED in its place, gives for a chip; ValueError for a bad value."""
    value = os.environ.get(VARIABLE, "auto")
    if value == "auto":
        return next((names for pattern, names in TABLE.items() if fnmatch.fnmatchcase(chip, pattern)), ())
    names = tuple(name.strip() for name in value.split(",")) if value != "none" else ()
    unknown = [name for name in names if name not in _PROBES]
    if unknown:
        raise ValueError(f"{VARIABLE}: expected auto, none or names out of {', '.join(_PROBES)}, got {value!r}")
    return names


@functools.cache
def _works(name: str, device: torch.device) -> bool:
    from .npu import chip_name

    if name not in requested(chip_name()):
        return False
    try:
        _PROBES[name](device)
    except Exception as error:  # whatever it is, torch's own operators remain
        _log.warning("torch_npu's %s does not work here and is not used: %s", name, error)
        return False
    return True


@torch.compiler.assume_constant_result
def fused(name: str, device: torch.device) -> bool:
    """Whether to use torch_npu's fused operator `name` for tensors on `device`."""
    return device.type == "npu" and _works(name, device)
