"""The operators out of torch_npu's and ATen's: what runs on NPU tensors where no kernel does (see `npu`).

Arguments have been checked, outputs allocated, by the native side. torch_npu's attention takes lengths on the host, so
that each attention call waits for the device once, and cannot be captured in a graph; the kernels have neither limit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from . import _fused, reference

# What torch_npu.npu_rotary_mul says it takes.
MAX_ROTARY_HEADS = 999
# Head sizes that the flash attention of its transformer library takes: whole fractals.
FRACTAL = 16


def _rotate(x: Tensor, cos: Tensor, sin: Tensor, head_dim: int, interleaved: bool) -> Tensor:
    """`x [T, H, D]` rotated, in fp32 and rounded once."""
    cos, sin = (reference.first_of_pairs(table, head_dim, interleaved) for table in (cos, sin))
    if x.shape[1] > MAX_ROTARY_HEADS or not _fused.fused("rotary_mul", x.device):
        return reference.rotate(x, cos, sin, interleaved)

    def wide(table: Tensor) -> Tensor:
        table = table.float()
        full = table.repeat_interleave(2, dim=-1) if interleaved else torch.cat((table, table), dim=-1)
        return full[None, :, None]

    return _fused.rotary_mul(x.float().unsqueeze(0), wide(cos), wide(sin), interleaved)[0].to(x.dtype)


def _rotated(
    qkv: Tensor, cos: Tensor, sin: Tensor, num_heads: int, head_dim: int, interleaved: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """q, k and v `[T, H, head_dim]`, q and k rotated."""
    padded = qkv.shape[-1] // (3 * num_heads)
    heads = reference.unpad_heads(qkv.unflatten(-1, (3, num_heads, padded)), head_dim, interleaved)
    q, k, v = heads.unbind(1)
    return _rotate(q, cos, sin, head_dim, interleaved), _rotate(k, cos, sin, head_dim, interleaved), v


def rotary_qkv(
    qkv: Tensor,
    cos: Tensor,
    sin: Tensor,
    num_heads: int,
    head_dim: int,
    interleaved: bool,
    q: Tensor,
    k: Tensor,
    v: Tensor,
) -> None:
    """`ops.rotary_qkv_out`."""
    results = _rotated(qkv, cos, sin, num_heads, head_dim, interleaved)
    for out, result in zip((q, k, v), results, strict=True):
        out.copy_(reference.pad_heads(result, out.shape[-1], interleaved))


def window_attention(q: Tensor, k: Tensor, v: Tensor, cu_seqlens: Tensor, scale: float, out: Tensor) -> None:
    """`ops.window_attention_out`."""
    flash = q.dtype != torch.float32 and _fused.fused("flash_attention", q.device)
    attend = _flash if flash else reference.window_attention
    out.copy_(attend(q, k, v, cu_seqlens, scale=scale))


def _flash(q: Tensor, k: Tensor, v: Tensor, cu_seqlens: Tensor, *, scale: float) -> Tensor:
    lengths = cu_seqlens.cpu().diff().to(torch.int32)
    lengths = lengths[lengths > 0]
    tokens = int(lengths.sum())
    value_size = v.shape[-1]
    size = -(-max(q.shape[-1], v.shape[-1]) // FRACTAL) * FRACTAL
    out = q.new_zeros(*q.shape[:2], size)
    q, k, v = (F.pad(x[:tokens], (0, size - x.shape[-1])).contiguous() for x in (q, k, v))
    if tokens:
        _fused.flash_attention(q, k, v, lengths, scale, out[:tokens])
    return out[..., :value_size]


def rotary_window_attention(
    qkv: Tensor,
    cos: Tensor,
    sin: Tensor,
    cu_seqlens: Tensor,
    num_heads: int,
    head_dim: int,
    scale: float,
    interleaved: bool,
    out: Tensor,
) -> None:
    """`ops.rotary_window_attention_out`."""
    q, k, v = _rotated(qkv, cos, sin, num_heads, head_dim, interleaved)
    context = torch.empty_like(v, memory_format=torch.contiguous_format)
    window_attention(q, k, v, cu_seqlens, scale, context)
    out.copy_(reference.pad_heads(context, out.shape[-1] // num_heads, interleaved).flatten(1))


def patch_embed(pixels: Tensor, weight: Tensor, bias: Tensor | None, row_index: Tensor | None, out: Tensor) -> None:
    """`ops.patch_embed_out`."""
    out.copy_(reference.patch_embed(pixels, weight, bias, row_index=row_index))


_implementation = torch.library.Library("qwen_vl_npu_ops_npu", "IMPL")
_COMPOSITIONS: tuple[Callable[..., Any], ...] = (rotary_qkv, window_attention, rotary_window_attention, patch_embed)
for _operator in _COMPOSITIONS:
    _implementation.impl(_operator.__name__, _operator, "CompositeExplicitAutograd")
