"""The operators, one typed function each; ``torch.ops.qwen_vl_npu_ops`` holds the same ones untyped.

Shapes: T tokens of all images, H heads, D real head size (even, 2 to 256), Dp the head size as stored (D, or D
padded). dtypes: float32, float16, bfloat16; sums are in float32. Inputs may be strided views whose last dimension
is contiguous. Each ``<op>_out`` writes into the caller's memory, which must not overlap an input.

Padding: half rotary pads each half of a head apart (40 -> 64, 40 -> 64), interleaved rotary pads at the tail.

cos, sin: ``[T, D/2]``, ``[T, D]``, ``[T, Dp]`` (qkv's Dp or the result's) or ``[1, T, 1, Dp]``, float32 or the
operator's dtype; the first angle of each rotated pair is read.

cu_seqlens: int32 or int64 ``[segments + 1]``, starts at 0, never decreases, ends at or before T. Zero-length segments
are fine; rows past the last value come out as zeros.

Errors: a bad argument is a ``ValueError`` or ``TypeError`` that reads ``op: argument: expected ..., got ...``,
raised before anything is written. The operators are for inference: an input that needs a gradient, with grad mode on,
is a ``ValueError``.

``linear``, ``rms_norm``, ``add_rms_norm`` and ``silu_and_mul`` are for CPUs alone and have no out variant; on an NPU
torch_npu's own operators do that.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from . import _checks

__all__ = [
    "add_rms_norm",
    "available_cpu_isas",
    "cpu_isa",
    "linear",
    "patch_embed",
    "patch_embed_out",
    "rms_norm",
    "rotary_qkv",
    "rotary_qkv_out",
    "rotary_window_attention",
    "rotary_window_attention_out",
    "silu_and_mul",
    "window_attention",
    "window_attention_out",
]

_ops = torch.ops.qwen_vl_npu_ops


_OPTIONAL = ("out_head_dim", "scale", "max_seqlen")
_Check = Callable[[str, object], object]
_CHECKS: dict[str, _Check] = {"interleaved": _checks.a_bool, "scale": _checks.a_number, "eps": _checks.a_number}


def _check_python_types(op: str, tensors: dict[str, object], **options: object) -> None:
    """Refuse by name the Python types that the dispatcher would refuse less clearly."""
    for name, value in tensors.items():
        _checks.dense_tensor(f"{op}: {name}", value)
    for name, value in options.items():
        if value is None and name in _OPTIONAL:
            continue
        check: _Check = _CHECKS.get(name, _checks.an_int)
        check(f"{op}: {name}", value)


def _given(**tensors: object) -> dict[str, object]:
    return {name: value for name, value in tensors.items() if value is not None}


def cpu_isa() -> str:
    """The instruction set that the CPU kernels run on here; QWEN_VL_NPU_OPS_ISA forces one before the first call."""
    return _ops.cpu_isa()


def available_cpu_isas() -> list[str]:
    """The instruction sets that are built in and that this machine has, best first."""
    return _ops.available_cpu_isas()


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
    """Split packed qkv, rotate q and k, write all three in TND layout, in one pass.

    Args:
        qkv: ``[T, 3*H*Dp]``: the q heads, then k, then v. Dp is read off the width.
        cos, sin: the rotary tables, see the module's docstring.
        num_heads: H, the heads of this tensor-parallel shard.
        head_dim: D, the real head size.
        out_head_dim: the head size to write, at least D; None keeps Dp. Padding is written as zero.
        interleaved: rotate adjacent pairs (2i, 2i+1) instead of (i, i + D/2).

    Returns:
        q, k, v: contiguous ``[T, H, out_head_dim]`` of qkv's dtype.

    With (a, b) a pair and t its angle: a' = a cos t - b sin t, b' = b cos t + a sin t, in float32 and rounded once
    (RoFormer, arXiv 2104.09864, eq. 34).
    """
    _check_python_types(
        "rotary_qkv",
        {"qkv": qkv, "cos": cos, "sin": sin},
        num_heads=num_heads,
        head_dim=head_dim,
        out_head_dim=out_head_dim,
        interleaved=interleaved,
    )
    return _ops.rotary_qkv(qkv, cos, sin, num_heads, head_dim, out_head_dim=out_head_dim, interleaved=interleaved)


def rotary_qkv_out(
    qkv: Tensor,
    cos: Tensor,
    sin: Tensor,
    num_heads: int,
    head_dim: int,
    *,
    interleaved: bool = False,
    q: Tensor,
    k: Tensor,
    v: Tensor,
) -> None:
    """:func:`rotary_qkv` into q, k and v, ``[T, H, out_head_dim]`` with a contiguous last dimension each."""
    _check_python_types(
        "rotary_qkv",
        {"qkv": qkv, "cos": cos, "sin": sin, "q": q, "k": k, "v": v},
        num_heads=num_heads,
        head_dim=head_dim,
        interleaved=interleaved,
    )
    _ops.rotary_qkv_out(qkv, cos, sin, num_heads, head_dim, interleaved=interleaved, q=q, k=k, v=v)


def window_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cu_seqlens: Tensor,
    *,
    scale: float | None = None,
    max_seqlen: int | None = None,
) -> Tensor:
    """softmax(q k^T * scale) v inside each segment of cu_seqlens, with no mask and no S x S matrix.

    Args:
        q: ``[T, H, D]``.
        k: ``[T, Hkv, D]``; Hkv divides H, and query head h reads key head h // (H / Hkv).
        v: ``[T, Hkv, Dv]``.
        cu_seqlens: cumulative segment ends, see the module's docstring.
        scale: D^-0.5 where None; with padded q pass the real head size's.
        max_seqlen: the longest segment, a hint for speed: any value gives the right result.

    Returns:
        contiguous ``[T, H, Dv]`` of q's dtype.

    Softmax is computed online over blocks of keys (FlashAttention-2, arXiv 2307.08691, algorithm 1).
    """
    _check_python_types(
        "window_attention",
        {"q": q, "k": k, "v": v, "cu_seqlens": cu_seqlens},
        scale=scale,
        max_seqlen=max_seqlen,
    )
    return _ops.window_attention(q, k, v, cu_seqlens, scale=scale, max_seqlen=max_seqlen)


def window_attention_out(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cu_seqlens: Tensor,
    *,
    scale: float | None = None,
    max_seqlen: int | None = None,
    out: Tensor,
) -> None:
    """:func:`window_attention` into out, ``[T, H, Dv]`` with a contiguous last dimension."""
    _check_python_types(
        "window_attention",
        {"q": q, "k": k, "v": v, "cu_seqlens": cu_seqlens, "out": out},
        scale=scale,
        max_seqlen=max_seqlen,
    )
    _ops.window_attention_out(q, k, v, cu_seqlens, scale=scale, max_seqlen=max_seqlen, out=out)


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
    """:func:`rotary_qkv` and :func:`window_attention` in one kernel: rotated q and k never reach memory.

    Args:
        qkv: ``[T, 3*H*Dp]``: the q heads, then k, then v. Dp is read off the width.
        cos, sin: the rotary tables, see the module's docstring.
        cu_seqlens: cumulative segment ends, see the module's docstring.
        num_heads: H, the heads of this tensor-parallel shard.
        head_dim: D, the real head size.
        out_head_dim: the head size to write, at least D; None keeps Dp. Padding is written as zero.
        scale: head_dim^-0.5 where None, the real head size's.
        max_seqlen: the longest segment, a hint for speed: any value gives the right result.
        interleaved: rotate adjacent pairs (2i, 2i+1) instead of (i, i + D/2).

    Returns:
        contiguous ``[T, H * out_head_dim]`` of qkv's dtype, which is what ``proj`` takes.
    """
    _check_python_types(
        "rotary_window_attention",
        {"qkv": qkv, "cos": cos, "sin": sin, "cu_seqlens": cu_seqlens},
        num_heads=num_heads,
        head_dim=head_dim,
        out_head_dim=out_head_dim,
        scale=scale,
        max_seqlen=max_seqlen,
        interleaved=interleaved,
    )
    return _ops.rotary_window_attention(
        qkv,
        cos,
        sin,
        cu_seqlens,
        num_heads,
        head_dim,
        out_head_dim=out_head_dim,
        scale=scale,
        max_seqlen=max_seqlen,
        interleaved=interleaved,
    )


def rotary_window_attention_out(
    qkv: Tensor,
    cos: Tensor,
    sin: Tensor,
    cu_seqlens: Tensor,
    num_heads: int,
    head_dim: int,
    *,
    scale: float | None = None,
    max_seqlen: int | None = None,
    interleaved: bool = False,
    out: Tensor,
) -> None:
    """:func:`rotary_window_attention` into out, ``[T, H * out_head_dim]`` with a contiguous last dimension."""
    _check_python_types(
        "rotary_window_attention",
        {"qkv": qkv, "cos": cos, "sin": sin, "cu_seqlens": cu_seqlens, "out": out},
        num_heads=num_heads,
        head_dim=head_dim,
        scale=scale,
        max_seqlen=max_seqlen,
        interleaved=interleaved,
    )
    _ops.rotary_window_attention_out(
        qkv,
        cos,
        sin,
        cu_seqlens,
        num_heads,
        head_dim,
        scale=scale,
        max_seqlen=max_seqlen,
        interleaved=interleaved,
        out=out,
    )


def patch_embed(
    pixels: Tensor, weight: Tensor, bias: Tensor | None = None, *, row_index: Tensor | None = None
) -> Tensor:
    """``pixels @ weight.T + bias``, rows taken in the order of row_index.

    Args:
        pixels: ``[T, C*tp*p*p]`` flattened patches, float32 or weight's dtype (cast inside).
        weight: ``[hidden, C*tp*p*p]``, or Conv3d's ``[hidden, C, tp, p, p]``.
        bias: ``[hidden]``, or None.
        row_index: int32 or int64 ``[R]`` in [0, T): row i of the result is pixel row row_index[i], so that the window
            order costs no pass of its own. None takes the rows as they are (R = T).

    Returns:
        contiguous ``[R, hidden]`` of weight's dtype.

    Qwen2.5-VL's Conv3d has stride equal to its kernel, so it is this product.
    """
    _check_python_types("patch_embed", {"pixels": pixels, "weight": weight, **_given(bias=bias, row_index=row_index)})
    return _ops.patch_embed(pixels, weight, bias, row_index=row_index)


def patch_embed_out(
    pixels: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    row_index: Tensor | None = None,
    out: Tensor,
) -> None:
    """:func:`patch_embed` into out, ``[R, hidden]`` with a contiguous last dimension."""
    _check_python_types(
        "patch_embed",
        {"pixels": pixels, "weight": weight, "out": out, **_given(bias=bias, row_index=row_index)},
    )
    _ops.patch_embed_out(pixels, weight, bias, row_index=row_index, out=out)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x @ weight.T + bias`` on a CPU, where torch has none as fast for the dtype.

    Args:
        x: ``[T, K]``.
        weight: ``[N, K]``, of x's dtype, as `torch.nn.Linear` stores it.
        bias: ``[N]``, or None.

    Returns:
        contiguous ``[T, N]`` of x's dtype: sums in float32, rounded once. A row's bits depend on no other row.

    The weight is read as it is: no packed copy is kept. Memory beside the result: 512 rows of x in float32.
    """
    _check_python_types("linear", {"x": x, "weight": weight, **_given(bias=bias)})
    _checks.on_cpu("linear: x", x)
    return _ops.linear(x, weight, bias)


def rms_norm(x: Tensor, weight: Tensor, eps: float = 1e-6) -> Tensor:
    """``x / sqrt(mean(x^2) + eps) * weight`` over each row, on a CPU.

    Args:
        x: ``[T, C]``.
        weight: ``[C]``, of x's dtype.
        eps: finite, at least 0.

    Returns:
        contiguous ``[T, C]`` of x's dtype: in float32, rounded once. A row's bits depend on no other row.

    Zhang and Sennrich, arXiv 1910.07467, eq. 4, with eps as `torch.nn.RMSNorm` has it.
    """
    _check_python_types("rms_norm", {"x": x, "weight": weight}, eps=eps)
    _checks.on_cpu("rms_norm: x", x)
    return _ops.rms_norm(x, weight, eps)


def add_rms_norm(x: Tensor, residual: Tensor, weight: Tensor, eps: float = 1e-6) -> tuple[Tensor, Tensor]:
    """``x + residual`` and its :func:`rms_norm` in one pass, on a CPU.

    Args:
        x: ``[T, C]``.
        residual: ``[T, C]``, of x's dtype.
        weight: ``[C]``, of x's dtype.
        eps: finite, at least 0.

    Returns:
        out, sum: contiguous ``[T, C]`` of x's dtype. The bits are those of ``sum = x + residual`` and
        ``out = rms_norm(sum, weight, eps)``.
    """
    _check_python_types("add_rms_norm", {"x": x, "residual": residual, "weight": weight}, eps=eps)
    _checks.on_cpu("add_rms_norm: x", x)
    return _ops.add_rms_norm(x, residual, weight, eps)


def silu_and_mul(gate_up: Tensor) -> Tensor:
    """``silu(gate) * up``, silu(g) = g / (1 + exp(-g)), on a CPU.

    Args:
        gate_up: ``[T, 2*I]``: gate's I columns, then up's.

    Returns:
        contiguous ``[T, I]`` of gate_up's dtype: in float32, rounded once.

    SwiGLU's activation (Shazeer, arXiv 2002.05202, eq. 6).
    """
    _check_python_types("silu_and_mul", {"gate_up": gate_up})
    _checks.on_cpu("silu_and_mul: gate_up", gate_up)
    return _ops.silu_and_mul(gate_up)
