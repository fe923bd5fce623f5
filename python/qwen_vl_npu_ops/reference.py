"""Every operator as a plain composition of torch ops, with the signatures of `ops`: the accuracy yardstick.

Each function computes as transformers and vLLM do at the input's dtype: rotary in fp32 with one rounding
back, softmax attention one segment at a time by torch's own `scaled_dot_product_attention`. With fp64 input
everything is fp64, which is the reference that errors are measured against. Nothing here is fast, and
arguments are not checked.
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor


def rotary_qkv(
    qkv: Tensor,
    cos: Tensor,
    sin: Tensor,
    num_heads: int,
    head_dim: int,
    *,
    out_head_dim: int | None = None,
    interleaved: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Split `qkv [T, 3*H*Dp]`, rotate q and k; three `[T, H, out_head_dim]` (None keeps Dp)."""
    padded = qkv.shape[-1] // (3 * num_heads)
    out_head_dim = padded if out_head_dim is None else out_head_dim
    heads = unpad_heads(qkv.view(-1, 3, num_heads, padded), head_dim, interleaved)
    q, k, v = heads.unbind(1)
    angles = (first_of_pairs(cos, head_dim, interleaved), first_of_pairs(sin, head_dim, interleaved))
    q, k = (rotate(x, *angles, interleaved) for x in (q, k))
    q, k, v = (pad_heads(x, out_head_dim, interleaved).contiguous() for x in (q, k, v))
    return q, k, v


def window_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cu_seqlens: Tensor,
    *,
    scale: float | None = None,
    max_seqlen: int | None = None,
) -> Tensor:
    """softmax(q k^T scale) v inside each segment of `cu_seqlens`; rows past the last segment are zero."""
    del max_seqlen  # a hint for speed, without meaning here
    out = q.new_zeros(*q.shape[:2], v.shape[-1])
    ends = cu_seqlens.tolist()
    for start, end in itertools.pairwise(ends):
        if start < end:
            # [s, H, D] -> [1, H, s, D], the layout that torch's attention takes
            query, key, value = (x[start:end].transpose(0, 1).unsqueeze(0) for x in (q, k, v))
            shared = q.shape[1] != k.shape[1]
            attended = F.scaled_dot_product_attention(query, key, value, scale=scale, enable_gqa=shared)
            out[start:end] = attended[0].transpose(0, 1)
    return out


def rotary_window_attention(
    qkv: Tensor,
    cos: Tensor,
    sin: Tensor,
    cu_seqlens: Tensor,
    num_heads: int,
    head_dim: int,
    *,
    out_head_dim: int | None = None,
    scale: float | None = None,
    max_seqlen: int | None = None,
    interleaved: bool = False,
) -> Tensor:
    """`rotary_qkv`, then `window_attention` at the real head size, then padding; `[T, H*out_head_dim]`."""
    padded = qkv.shape[-1] // (3 * num_heads)
    q, k, v = rotary_qkv(qkv, cos, sin, num_heads, head_dim, out_head_dim=head_dim, interleaved=interleaved)
    out = window_attention(q, k, v, cu_seqlens, scale=scale, max_seqlen=max_seqlen)
    return pad_heads(out, padded if out_head_dim is None else out_head_dim, interleaved).flatten(1)


def patch_embed(
    pixels: Tensor, weight: Tensor, bias: Tensor | None = None, *, row_index: Tensor | None = None
) -> Tensor:
    """`pixels [T, C*tp*p*p] @ weight.view(hidden, -1).T + bias`, row i from pixel row `row_index[i]`."""
    rows = pixels if row_index is None else pixels[row_index.long()]
    return F.linear(rows.to(weight.dtype), weight.flatten(1), bias)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`x [T, K] @ weight [N, K].T + bias`."""
    return F.linear(x, weight, bias)


def rms_norm(x: Tensor, weight: Tensor, eps: float = 1e-6) -> Tensor:
    """`x [T, C] / sqrt(mean(x^2) + eps) * weight [C]`."""
    return F.rms_norm(x, weight.shape, weight, eps)


def add_rms_norm(x: Tensor, residual: Tensor, weight: Tensor, eps: float = 1e-6) -> tuple[Tensor, Tensor]:
    """`rms_norm` of `x + residual`, and that sum."""
    total = x + residual
    return rms_norm(total, weight, eps), total


def silu_and_mul(gate_up: Tensor) -> Tensor:
    """silu(gate) * up for `gate_up [T, 2*I]`."""
    gate, up = gate_up.chunk(2, dim=-1)
    return F.silu(gate) * up


def rotate(x: Tensor, cos: Tensor, sin: Tensor, interleaved: bool) -> Tensor:
    """Rotate each pair of `x [T, H, D]` by its angle (`cos`, `sin`: `[T, D/2]`), in fp32 (fp64 for fp64).

    A pair is (i, i + D/2), or with `interleaved` (2i, 2i + 1).
    """
    compute = torch.promote_types(x.dtype, torch.float32)
    cos, sin = (table.to(compute).unsqueeze(1) for table in (cos, sin))
    wide = x.to(compute)
    if interleaved:
        a, b = wide[..., 0::2], wide[..., 1::2]
        rotated = torch.stack((a * cos - b * sin, b * cos + a * sin), dim=-1).flatten(-2)
    else:
        a, b = wide.chunk(2, dim=-1)
        rotated = torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)
    return rotated.to(x.dtype)


def first_of_pairs(table: Tensor, head_dim: int, interleaved: bool) -> Tensor:
    """`[T, D/2]` out of a table in any accepted form: `[T, D/2]`, `[T, D]`, `[T, Dp]` or `[1, T, 1, Dp]`."""
    if table.dim() == 4:
        table = table[0, :, 0]
    if table.shape[-1] == head_dim // 2:
        return table
    return table[:, 0:head_dim:2] if interleaved else table[:, : head_dim // 2]


def pad_heads(x: Tensor, padded: int, interleaved: bool) -> Tensor:
    """`[..., D] -> [..., padded]` with zeros: at the tail of each half, or interleaved at the head's tail."""
    if interleaved:
        return F.pad(x, (0, padded - x.shape[-1]))
    return F.pad(x.unflatten(-1, (2, -1)), (0, (padded - x.shape[-1]) // 2)).flatten(-2)


def unpad_heads(x: Tensor, head_dim: int, interleaved: bool) -> Tensor:
    """The inverse of `pad_heads`: `[..., Dp] -> [..., head_dim]`."""
    if interleaved:
        return x[..., :head_dim]
    return x.unflatten(-1, (2, -1))[..., : head_dim // 2].flatten(-2)
