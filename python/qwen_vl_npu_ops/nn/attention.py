"""Attention and the transformer block."""

# ruff: noqa: N801 (class names are the seed's)
from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from .. import _checks, ops
from .._fakes import MAX_HEAD_DIM
from . import functional
from .layers import (
    Activation,
    AscendQwen2_5_VisionMLP,
    NormLayer,
    RMSNorm,
    add_mlp,
    layer_name,
    linear,
    make_norm,
    observed,
    silu_and_mul,
)


class AscendQwen2_5_VisionAttention(nn.Module):
    """Multi-head attention inside segments, rotary and softmax in one operator.

    Args:
        embed_dim: C, width of input and output.
        num_heads: H; projection_size: H*D.
        quant_config, prefix: see `layers.linear`.
        interleaved: rotary pairs are (2i, 2i+1) instead of (i, i + D/2).
        pad_head_dim: Dp, the head size that weights are padded to, as the seed does with 128; None keeps D.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        projection_size: int,
        quant_config: Any = None,
        prefix: str = "",
        *,
        interleaved: bool = False,
        pad_head_dim: int | None = None,
    ) -> None:
        super().__init__()
        self.embed_dim = _checks.positive_int("embed_dim", embed_dim)
        _checks.positive_int("projection_size", projection_size)
        self.num_heads = _checks.positive_int("num_heads", num_heads, of=projection_size)
        self.head_dim = projection_size // num_heads
        self.padded_head_dim = check_pad_head_dim(pad_head_dim, self.head_dim)
        self.interleaved = _checks.a_bool("interleaved", interleaved)
        width = num_heads * self.padded_head_dim
        self.qkv = linear(embed_dim, 3 * width, True, quant_config, layer_name(prefix, "qkv"))
        self.proj = linear(width, embed_dim, True, quant_config, layer_name(prefix, "proj"))
        self.requires_grad_(False)

    def split_qkv(self, qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`qkv [..., 3*H*Dp]` -> q, k and v as views `[..., H, Dp]`."""
        _checks.last_dim("qkv", qkv, 3 * self.num_heads * self.padded_head_dim)
        q, k, v = qkv.unflatten(-1, (3, self.num_heads, self.padded_head_dim)).unbind(-3)
        return q, k, v

    def forward(self, x: Tensor, cu_seqlens: Tensor, cos: Tensor, sin: Tensor, max_seqlen: int | None = None) -> Tensor:
        """`x [T, C]` -> `[T, C]`.

        Args:
            cu_seqlens: int32 or int64, cumulative ends of the segments with a leading 0, on x's device.
            cos, sin: any form that `ops.rotary_window_attention` takes, one row for each row of x.
            max_seqlen: longest segment, a hint.
        """
        _checks.shape("x", x, (None, self.embed_dim))
        context = ops.rotary_window_attention(
            self.qkv(x),
            cos,
            sin,
            cu_seqlens,
            self.num_heads,
            self.head_dim,
            max_seqlen=max_seqlen,
            interleaved=self.interleaved,
        )
        return self.proj(context)


class AscendQwen2_5_VisionBlock(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)).

    Args:
        dim: C; num_heads: H; mlp_hidden_dim: I.
        act_fn: see `AscendQwen2_5_VisionMLP`.
        norm_layer: builds a norm from C; None means RMSNorm.
        quant_config, prefix, interleaved, pad_head_dim: see `AscendQwen2_5_VisionAttention`.
    """

    attention_class = AscendQwen2_5_VisionAttention

    def __init__(
        self,
        dim: int,
        num_heads: int,
        mlp_hidden_dim: int,
        act_fn: Activation = silu_and_mul,
        norm_layer: NormLayer | None = None,
        quant_config: Any = None,
        prefix: str = "",
        *,
        interleaved: bool = False,
        pad_head_dim: int | None = None,
    ) -> None:
        super().__init__()
        self.dim = _checks.positive_int("dim", dim)
        self.norm1 = make_norm(norm_layer, dim)
        self.norm2 = make_norm(norm_layer, dim)
        self.attn = self.attention_class(
            dim,
            num_heads,
            dim,
            quant_config,
            layer_name(prefix, "attn"),
            interleaved=interleaved,
            pad_head_dim=pad_head_dim,
        )
        self.mlp = AscendQwen2_5_VisionMLP(dim, mlp_hidden_dim, True, act_fn, quant_config, layer_name(prefix, "mlp"))
        self.requires_grad_(False)

    def forward(self, x: Tensor, cu_seqlens: Tensor, cos: Tensor, sin: Tensor, max_seqlen: int | None = None) -> Tensor:
        """`x [T, C]` -> `[T, C]`; the other arguments as in `AscendQwen2_5_VisionAttention.forward`."""
        attended = self.attn(self.norm1(x), cu_seqlens, cos, sin, max_seqlen)
        norm, mlp = self.norm2, self.mlp
        if type(norm) is not RMSNorm or type(mlp) is not AscendQwen2_5_VisionMLP or observed(norm, mlp):
            x = x + attended
            return x + mlp(norm(x))
        normed, x = functional.add_rms_norm(attended, x, norm.weight, norm.eps)
        del attended  # its memory is free for the MLP
        return add_mlp(x, normed, mlp)


def check_pad_head_dim(pad_head_dim: int | None, head_dim: int) -> int:
    """The head size that weights have: `pad_head_dim`, or `head_dim` where it is None."""
    if head_dim % 2 or head_dim > MAX_HEAD_DIM:
        raise ValueError(f"num_heads: expected an even head size of at most {MAX_HEAD_DIM}, got {head_dim}")
    if pad_head_dim is None:
        return head_dim
    _checks.positive_int("pad_head_dim", pad_head_dim)
    if not head_dim <= pad_head_dim <= MAX_HEAD_DIM or pad_head_dim % 2:
        expected = f"None or an even size from {head_dim} to {MAX_HEAD_DIM}"
        raise ValueError(f"pad_head_dim: expected {expected}, got {pad_head_dim}")
    return pad_head_dim
