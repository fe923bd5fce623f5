"""Where `ops.linear` takes the place of torch's own linear on the CPU.

``QWEN_VL_NPU_OPS_LINEAR``: ``auto`` (default) uses it for the 16-bit dtypes that torch has no fast GEMM for here, as
bfloat16 and float16 on x86 without AVX-512, and for float32 where AVX2 is the best that the machine has; ``on`` for
every dtype; ``off`` for none. It is read once in a process.
"""

from __future__ import annotations

import functools
import os

import torch
from torch import Tensor

from . import _cpu

VARIABLE = "QWEN_VL_NPU_OPS_LINEAR"
MODES = ("auto", "on", "off")

# With fewer rows torch's matrix-vector products win, which read the weight once and convert nothing.
MIN_ROWS = 4


def mode() -> str:
    """``auto``, ``on`` or ``off``; ValueError for anything else in QWEN_VL_NPU_OPS_LINEAR."""
    value = os.environ.get(VARIABLE, "auto")
    if value not in MODES:
        raise ValueError(f"{VARIABLE}: expected auto, on or off, got {value!r}")
    return value


@functools.cache
def _choose(dtype: torch.dtype) -> bool:
    chosen = mode()
    if chosen == "auto":
        return torch.ops.qwen_vl_npu_ops._linear_is_faster(dtype)
    return chosen == "on" and dtype in (torch.float32, torch.float16, torch.bfloat16)


@torch.compiler.assume_constant_result
def preferred(dtype: torch.dtype) -> bool:
    """Whether `ops.linear` is what this machine uses for a dtype."""
    return _choose(dtype)


def takes(x: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    """Whether `ops.linear` computes this product."""
    return (
        x.device.type == "cpu"
        and preferred(x.dtype)
        and _cpu.takes(x, weight, *(() if bias is None else (bias,)))
        and weight.numel() > 0
        and x.numel() >= MIN_ROWS * weight.shape[1]
        and x.shape[-1] == weight.shape[1]
    )
