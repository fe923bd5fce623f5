"""Which calls our CPU operators take from torch's own."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def takes(*tensors: Tensor) -> bool:
    """Whether our operators compute with these: plain CPU tensors of one dtype, no gradients, no autocast."""
    first = tensors[0]
    return (
        first.device.type == "cpu"
        and first.dtype in (torch.float32, torch.float16, torch.bfloat16)
        and all(
            type(t) in (Tensor, nn.Parameter)
            and t.dtype == first.dtype
            and t.device == first.device
            and t.stride(-1) == 1
            for t in tensors
        )
        and not torch.is_autocast_enabled("cpu")
        and not (torch.is_grad_enabled() and any(t.requires_grad for t in tensors))
    )
