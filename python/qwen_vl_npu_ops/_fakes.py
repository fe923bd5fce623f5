"""Fakes of the operators: every check of the native side that needs no data, and the results' shapes.

They make the operators work on meta tensors and under torch.compile and torch.export. The native checks in
csrc/common/checks.cpp say the same in the same words; tests run one table of bad calls against both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NoReturn

import torch
from torch import Tensor

MAX_HEAD_DIM = 256
FLOATS = (torch.float32, torch.float16, torch.bfloat16)


def _refuse(op: str, argument: str, expected: object, got: object, error: type[Exception] = ValueError) -> NoReturn:
    raise error(f"{op}: {argument}: expected {expected}, got {got}")


def _check_float(op: str, argument: str, tensor: Tensor) -> None:
    if tensor.dtype not in FLOATS:
        _refuse(op, argument, "float32, float16 or bfloat16", tensor.dtype, TypeError)


def _check_dtype(op: str, argument: str, tensor: Tensor, allowed: Sequence[torch.dtype]) -> None:
    if tensor.dtype not in allowed:
        _refuse(op, argument, " or ".join(map(str, dict.fromkeys(allowed))), tensor.dtype, TypeError)


def _check_device(op: str, argument: str, tensor: Tensor, like: Tensor) -> None:
    if tensor.device != like.device:
        _refuse(op, argument, f"a tensor on the {like.device} like the others", tensor.device)


def _check_tensor(op: str, argument: str, tensor: Tensor, dims: int, like: Tensor) -> None:
    _check_device(op, argument, tensor, like)
    if tensor.dim() != dims:
        _refuse(op, argument, f"{dims} dimensions", f"shape {list(tensor.shape)}")
    if tensor.shape[-1] > 1 and tensor.stride(-1) != 1:
        _refuse(op, argument, "a contiguous last dimension", f"strides {list(tensor.stride())}")


def _check_head_dim(op: str, argument: str, head_dim: int) -> None:
    if not 2 <= head_dim <= MAX_HEAD_DIM or head_dim % 2:
        _refuse(op, argument, f"an even head size from 2 to {MAX_HEAD_DIM}", head_dim)


def _check_scale(op: str, scale: float | None) -> None:
    if scale is not None and not abs(scale) <= torch.finfo(torch.float32).max:
        _refuse(op, "scale", "a finite float32", scale)


def _check_table(op: str, cos: Tensor, sin: Tensor, qkv: Tensor, head_dim: int, widths: Sequence[int]) -> None:
    _check_float(op, "cos", cos)
    _check_dtype(op, "cos", cos, (torch.float32, qkv.dtype))
    _check_dtype(op, "sin", sin, (cos.dtype,))
    rows = []
    for name, table in (("cos", cos), ("sin", sin)):
        four = table.dim() == 4 and table.shape[0] == 1 and table.shape[2] == 1
        if table.dim() != 2 and not four:
            _refuse(op, name, "shape [T, width] or [1, T, 1, width]", f"shape {list(table.shape)}")
        rows.append(table[0, :, 0] if four else table)
        _check_tensor(op, name, rows[-1], 2, qkv)
    tokens, width = rows[0].shape
    if tokens != qkv.shape[0]:
        _refuse(op, "cos", f"{qkv.shape[0]} rows, one for each token", f"shape {list(cos.shape)}")
    if width != head_dim // 2 and width not in widths:
        padded = f"{widths[1]} (qkv's) or {widths[2]} (the result's)"
        expected = f"width head_dim/2 = {head_dim // 2}, head_dim = {head_dim} or a padded head size, {padded}"
        _refuse(op, "cos", expected, f"shape {list(cos.shape)}")
    if rows[1].shape != rows[0].shape:
        _refuse(op, "sin", f"cos's shape {list(cos.shape)}", f"shape {list(sin.shape)}")


def _check_rotary(
    op: str,
    qkv: Tensor,
    cos: Tensor,
    sin: Tensor,
    num_heads: int,
    head_dim: int,
    out_head_dim: int | None,
) -> int:
    """All that the two rotary operators have in common; the head size to write."""
    _check_float(op, "qkv", qkv)
    _check_tensor(op, "qkv", qkv, 2, qkv)
    _check_head_dim(op, "head_dim", head_dim)
    width = qkv.shape[1]
    if not 1 <= num_heads <= max(width, 1):
        _refuse(op, "num_heads", "at least 1 and no more than qkv has columns", num_heads)
    if width == 0 or width % (3 * num_heads):
        expected = f"[T, 3 * num_heads * padded head size] with num_heads {num_heads}"
        _refuse(op, "qkv", expected, f"shape {list(qkv.shape)}")
    padded = width // (3 * num_heads)
    if not head_dim <= padded <= MAX_HEAD_DIM or padded % 2:
        expected = f"an even head size from head_dim {head_dim} to {MAX_HEAD_DIM}"
        _refuse(op, "qkv", expected, f"shape {list(qkv.shape)}, which makes it {padded}")
    out = padded if out_head_dim is None else out_head_dim
    _check_head_dim(op, "out_head_dim", out)
    if out < head_dim:
        _refuse(op, "out_head_dim", f"at least head_dim {head_dim}", out)
    _check_table(op, cos, sin, qkv, head_dim, (head_dim, padded, out))
    return out


def _check_cu_seqlens(op: str, cu_seqlens: Tensor, like: Tensor) -> None:
    if cu_seqlens.dtype not in (torch.int32, torch.int64):
        _refuse(op, "cu_seqlens", "int32 or int64", cu_seqlens.dtype, TypeError)
    _check_device(op, "cu_seqlens", cu_seqlens, like)
    if cu_seqlens.dim() != 1 or cu_seqlens.shape[0] < 1:
        expected = "one dimension with at least the leading 0"
        _refuse(op, "cu_seqlens", expected, f"shape {list(cu_seqlens.shape)}")


def _check_attention(op: str, q: Tensor, k: Tensor, v: Tensor, cu_seqlens: Tensor, scale: float | None) -> None:
    _check_float(op, "q", q)
    _check_dtype(op, "k", k, (q.dtype,))
    _check_dtype(op, "v", v, (q.dtype,))
    for name, tensor in (("q", q), ("k", k), ("v", v)):
        _check_tensor(op, name, tensor, 3, q)
    _check_head_dim(op, "q", q.shape[2])
    _check_head_dim(op, "v", v.shape[2])
    if k.shape[0] != q.shape[0] or k.shape[2] != q.shape[2]:
        expected = f"q's tokens and head size, [{q.shape[0]}, heads, {q.shape[2]}]"
        _refuse(op, "k", expected, f"shape {list(k.shape)}")
    if v.shape[0] != k.shape[0] or v.shape[1] != k.shape[1]:
        expected = f"k's tokens and heads, [{k.shape[0]}, {k.shape[1]}, head size]"
        _refuse(op, "v", expected, f"shape {list(v.shape)}")
    if q.shape[1] < 1:
        _refuse(op, "q", "at least one head", f"shape {list(q.shape)}")
    if k.shape[1] < 1 or q.shape[1] % k.shape[1]:
        _refuse(op, "k", f"a number of heads that divides q's {q.shape[1]}", k.shape[1])
    _check_scale(op, scale)
    _check_cu_seqlens(op, cu_seqlens, q)


def _check_patch_embed(
    op: str, pixels: Tensor, weight: Tensor, bias: Tensor | None, row_index: Tensor | None
) -> tuple[int, int]:
    """The result's shape."""
    _check_float(op, "weight", weight)
    _check_float(op, "pixels", pixels)
    _check_dtype(op, "pixels", pixels, (torch.float32, weight.dtype))
    _check_tensor(op, "pixels", pixels, 2, pixels)
    _check_device(op, "weight", weight, pixels)
    if weight.dim() not in (2, 5):
        expected = "[hidden, C*tp*p*p] or Conv3d's [hidden, C, tp, p, p]"
        _refuse(op, "weight", expected, f"shape {list(weight.shape)}")
    if weight.numel() == 0:
        _refuse(op, "weight", "at least one row and one column", f"shape {list(weight.shape)}")
    hidden = weight.shape[0]
    columns = weight.numel() // hidden
    if pixels.shape[1] != columns:
        _refuse(op, "pixels", f"[T, {columns}], the columns of weight", f"shape {list(pixels.shape)}")
    if bias is not None:
        _check_dtype(op, "bias", bias, (weight.dtype,))
        _check_tensor(op, "bias", bias, 1, pixels)
        if bias.shape[0] != hidden:
            _refuse(op, "bias", f"[{hidden}]", f"shape {list(bias.shape)}")
    if row_index is None:
        return pixels.shape[0], hidden
    if row_index.dtype not in (torch.int32, torch.int64):
        _refuse(op, "row_index", "int32 or int64", row_index.dtype, TypeError)
    _check_device(op, "row_index", row_index, pixels)
    if row_index.dim() != 1:
        _refuse(op, "row_index", "one dimension", f"shape {list(row_index.shape)}")
    return row_index.shape[0], hidden


def _check_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    op = "linear"
    _check_float(op, "x", x)
    _check_dtype(op, "weight", weight, (x.dtype,))
    _check_tensor(op, "x", x, 2, x)
    _check_tensor(op, "weight", weight, 2, x)
    if weight.numel() == 0:
        _refuse(op, "weight", "at least one row and one column", f"shape {list(weight.shape)}")
    if x.shape[1] != weight.shape[1]:
        _refuse(op, "x", f"[T, {weight.shape[1]}], the columns of weight", f"shape {list(x.shape)}")
    if bias is None:
        return
    _check_dtype(op, "bias", bias, (x.dtype,))
    _check_tensor(op, "bias", bias, 1, x)
    if bias.shape[0] != weight.shape[0]:
        _refuse(op, "bias", f"[{weight.shape[0]}]", f"shape {list(bias.shape)}")


def _check_rms_norm(op: str, x: Tensor, weight: Tensor, eps: float) -> None:
    _check_float(op, "x", x)
    _check_dtype(op, "weight", weight, (x.dtype,))
    _check_tensor(op, "x", x, 2, x)
    _check_tensor(op, "weight", weight, 1, x)
    if weight.shape[0] < 1:
        _refuse(op, "weight", "at least one column", f"shape {list(weight.shape)}")
    if x.shape[1] != weight.shape[0]:
        _refuse(op, "x", f"[T, {weight.shape[0]}], the columns of weight", f"shape {list(x.shape)}")
    if not 0 <= eps < math.inf:
        _refuse(op, "eps", "a finite number of at least 0", eps)


def _check_out(op: str, argument: str, out: Tensor, shape: Sequence[int], like: Tensor) -> None:
    _check_dtype(op, argument, out, (like.dtype,))
    _check_tensor(op, argument, out, len(shape), like)
    if tuple(out.shape) != tuple(shape):
        _refuse(op, argument, f"shape {list(shape)}", f"shape {list(out.shape)}")


@torch.library.register_fake("qwen_vl_npu_ops::rotary_qkv")
def _rotary_qkv(
    qkv: Tensor,
    cos: Tensor,
    sin: Tensor,
    num_heads: int,
    head_dim: int,
    *,
    out_head_dim: int | None = None,
    interleaved: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    out = _check_rotary("rotary_qkv", qkv, cos, sin, num_heads, head_dim, out_head_dim)
    shape = (qkv.shape[0], num_heads, out)
    return qkv.new_empty(shape), qkv.new_empty(shape), qkv.new_empty(shape)


@torch.library.register_fake("qwen_vl_npu_ops::rotary_qkv_out")
def _rotary_qkv_out(
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
    _check_tensor("rotary_qkv", "q", q, 3, qkv)
    out = _check_rotary("rotary_qkv", qkv, cos, sin, num_heads, head_dim, q.shape[2])
    for name, tensor in (("q", q), ("k", k), ("v", v)):
        _check_out("rotary_qkv", name, tensor, (qkv.shape[0], num_heads, out), qkv)


@torch.library.register_fake("qwen_vl_npu_ops::window_attention")
def _window_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cu_seqlens: Tensor,
    *,
    scale: float | None = None,
    max_seqlen: int | None = None,
) -> Tensor:
    _check_attention("window_attention", q, k, v, cu_seqlens, scale)
    return q.new_empty(q.shape[0], q.shape[1], v.shape[2])


@torch.library.register_fake("qwen_vl_npu_ops::window_attention_out")
def _window_attention_out(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cu_seqlens: Tensor,
    *,
    scale: float | None = None,
    max_seqlen: int | None = None,
    out: Tensor,
) -> None:
    _check_attention("window_attention", q, k, v, cu_seqlens, scale)
    _check_out("window_attention", "out", out, (q.shape[0], q.shape[1], v.shape[2]), q)


@torch.library.register_fake("qwen_vl_npu_ops::rotary_window_attention")
def _rotary_window_attention(
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
    op = "rotary_window_attention"
    out = _check_rotary(op, qkv, cos, sin, num_heads, head_dim, out_head_dim)
    _check_scale(op, scale)
    _check_cu_seqlens(op, cu_seqlens, qkv)
    return qkv.new_empty(qkv.shape[0], num_heads * out)


@torch.library.register_fake("qwen_vl_npu_ops::rotary_window_attention_out")
def _rotary_window_attention_out(
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
    op = "rotary_window_attention"
    _check_tensor(op, "out", out, 2, qkv)
    if num_heads < 1 or out.shape[1] % num_heads:
        expected = f"[T, num_heads * padded head size] with num_heads {num_heads}"
        _refuse(op, "out", expected, f"shape {list(out.shape)}")
    out_dim = _check_rotary(op, qkv, cos, sin, num_heads, head_dim, out.shape[1] // num_heads)
    _check_scale(op, scale)
    _check_cu_seqlens(op, cu_seqlens, qkv)
    _check_out(op, "out", out, (qkv.shape[0], num_heads * out_dim), qkv)


@torch.library.register_fake("qwen_vl_npu_ops::patch_embed")
def _patch_embed(
    pixels: Tensor, weight: Tensor, bias: Tensor | None = None, *, row_index: Tensor | None = None
) -> Tensor:
    return weight.new_empty(_check_patch_embed("patch_embed", pixels, weight, bias, row_index))


@torch.library.register_fake("qwen_vl_npu_ops::patch_embed_out")
def _patch_embed_out(
    pixels: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    row_index: Tensor | None = None,
    out: Tensor,
) -> None:
    shape = _check_patch_embed("patch_embed", pixels, weight, bias, row_index)
    _check_out("patch_embed", "out", out, shape, weight)


@torch.library.register_fake("qwen_vl_npu_ops::linear")
def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    _check_linear(x, weight, bias)
    return x.new_empty(x.shape[0], weight.shape[0])


@torch.library.register_fake("qwen_vl_npu_ops::rms_norm")
def _rms_norm(x: Tensor, weight: Tensor, eps: float = 1e-6) -> Tensor:
    _check_rms_norm("rms_norm", x, weight, eps)
    return x.new_empty(x.shape)


@torch.library.register_fake("qwen_vl_npu_ops::add_rms_norm")
def _add_rms_norm(x: Tensor, residual: Tensor, weight: Tensor, eps: float = 1e-6) -> tuple[Tensor, Tensor]:
    op = "add_rms_norm"
    _check_rms_norm(op, x, weight, eps)
    _check_dtype(op, "residual", residual, (x.dtype,))
    _check_tensor(op, "residual", residual, 2, x)
    if residual.shape != x.shape:
        _refuse(op, "residual", f"x's shape {list(x.shape)}", f"shape {list(residual.shape)}")
    return x.new_empty(x.shape), x.new_empty(x.shape)


@torch.library.register_fake("qwen_vl_npu_ops::silu_and_mul")
def _silu_and_mul(gate_up: Tensor) -> Tensor:
    op = "silu_and_mul"
    _check_float(op, "gate_up", gate_up)
    _check_tensor(op, "gate_up", gate_up, 2, gate_up)
    if gate_up.shape[1] % 2:
        _refuse(op, "gate_up", "[T, 2 * I]", f"shape {list(gate_up.shape)}")
    return gate_up.new_empty(gate_up.shape[0], gate_up.shape[1] // 2)
