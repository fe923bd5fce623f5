"""What the modules compute with, by device: torch_npu's fused operators, our own on CPUs, or else torch's."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from .. import _cpu, _cpu_linear, _fused, ops


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`x [..., K] @ weight [N, K].T + bias`."""
    if not _cpu_linear.takes(x, weight, bias):
        return F.linear(x, weight, bias)
    return ops.linear(_rows(x), weight, bias).view(*x.shape[:-1], weight.shape[0])


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """`x [..., C] / sqrt(mean(x^2) + eps) * weight [C]`, in fp32 and rounded once."""
    if _fused.fused("rms_norm", x.device):
        return _fused.rms_norm(x, weight, eps)
    if _cpu.takes(x, weight):
        return ops.rms_norm(_rows(x), weight, eps).view(x.shape)
    return F.rms_norm(x, weight.shape, weight, eps)


def add_rms_norm(x: Tensor, residual: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """`rms_norm` of `x + residual`, and that sum."""
    if _fused.fused("add_rms_norm", x.device):
        return _fused.add_rms_norm(x, residual, weight, eps)
    if _cpu.takes(x, residual, weight) and x.shape == residual.shape:
        out, total = ops.add_rms_norm(_rows(x), _rows(residual), weight, eps)
        return out.view(x.shape), total.view(x.shape)
    total = x + residual
    return rms_norm(total, weight, eps), total


def silu_and_mul(gate_up: Tensor) -> Tensor:
    """silu(gate) * up, for `gate_up [..., 2*I]` -> `[..., I]`: SwiGLU."""
    if _fused.fused("swiglu", gate_up.device):
        return _fused.swiglu(gate_up)
    if _cpu.takes(gate_up) and gate_up.shape[-1] % 2 == 0:
        return ops.silu_and_mul(_rows(gate_up)).view(*gate_up.shape[:-1], gate_up.shape[-1] // 2)
    gate, up = gate_up.chunk(2, dim=-1)
    return F.silu(gate) * up


def _rows(x: Tensor) -> Tensor:
    """`[..., C]` as `[T, C]`."""
    return x.reshape(-1, x.shape[-1])
