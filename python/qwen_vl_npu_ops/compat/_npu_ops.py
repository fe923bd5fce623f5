from __future__ import annotations

import torch
from torch import Tensor

from .. import _checks, ops
from .._fakes import FLOATS


def npu_rotary_mul(
    input: Tensor, r1: Tensor, r2: Tensor, rotary_mode: str = "half", rotate: Tensor | None = None
) -> Tensor:
    """``input * r1 + rotate_pairs(input) * r2``, as torch_npu.npu_rotary_mul.

    Args:
        input: ``[B, S, N, D]`` (or another order of the first three), float32, float16 or bfloat16; D even.
        r1, r2: cos and sin, 4-D, last dimension D, the others equal to input's or 1; read in full width.
        rotary_mode: "half" pairs (i, i + D/2), "interleave" pairs (2i, 2i+1).
        rotate: torch_npu's optional matrix of the pairing, ``[D, D]``: where given, ``input @ rotate`` takes the place
            of the pairing that rotary_mode names.

    Returns:
        a tensor like input; arithmetic is in float32 and rounded once.
    """
    name = "npu_rotary_mul"
    _checks.dense_tensor(f"{name}: input", input)
    if input.dtype not in FLOATS:
        raise TypeError(f"{name}: input: expected float32, float16 or bfloat16, got {input.dtype}")
    if input.dim() != 4 or input.shape[-1] == 0 or input.shape[-1] % 2:
        raise ValueError(f"{name}: input: expected 4 dimensions, the last even, got shape {list(input.shape)}")
    for argument, table in (("r1", r1), ("r2", r2)):
        _check_table(f"{name}: {argument}", table, input)
    if rotary_mode not in ("half", "interleave"):
        raise ValueError(f"{name}: rotary_mode: expected 'half' or 'interleave', got {rotary_mode!r}")
    x = input.float()
    if rotate is not None:
        _checks.shape(f"{name}: rotate", rotate, (input.shape[-1], input.shape[-1]))
        turned = x @ rotate.float()
    elif rotary_mode == "half":
        first, second = x.chunk(2, dim=-1)
        turned = torch.cat((-second, first), dim=-1)
    else:
        turned = torch.stack((-x[..., 1::2], x[..., 0::2]), dim=-1).flatten(-2)
    return (x * r1.float() + turned * r2.float()).to(input.dtype)


def _check_table(name: str, table: Tensor, input: Tensor) -> None:
    _checks.dense_tensor(name, table)
    if table.dtype not in (torch.float32, input.dtype):
        raise TypeError(f"{name}: expected torch.float32 or {input.dtype}, got {table.dtype}")
    sizes = zip(table.shape[:-1], input.shape[:-1], strict=False)
    fits = table.dim() == 4 and table.shape[-1] == input.shape[-1] and all(t in (1, i) for t, i in sizes)
    if not fits:
        expected = f"a shape that broadcasts to {list(input.shape)} with last dimension {input.shape[-1]}"
        raise ValueError(f"{name}: expected {expected}, got {list(table.shape)}")


def _npu_flash_attention_unpad(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    seq_len: Tensor,
    scale_value: float,
    num_heads: int,
    num_kv_heads: int,
    out: Tensor,
) -> Tensor:
    """Attention over packed sequences of given lengths, written to out, as torch_npu._npu_flash_attention_unpad.

    Args:
        query: ``[T, num_heads, D]``.
        key, value: ``[T, num_kv_heads, D]``.
        seq_len: int32 or int64 LENGTHS of the sequences (not cumulative), on the CPU; their sum is at most T, rows past
            it come out as zeros.
        scale_value: the factor on q k^T.
        num_heads, num_kv_heads: heads of query, of key and value.
        out: ``[T, num_heads, D]``, overwritten.

    Returns:
        out.
    """
    name = "_npu_flash_attention_unpad"
    tensors = {"query": query, "key": key, "value": value, "seq_len": seq_len, "out": out}
    for argument, tensor in tensors.items():
        _checks.dense_tensor(f"{name}: {argument}", tensor)
    _checks.positive_int(f"{name}: num_heads", num_heads)
    _checks.positive_int(f"{name}: num_kv_heads", num_kv_heads, of=num_heads)
    _checks.a_number(f"{name}: scale_value", scale_value)
    _checks.shape(f"{name}: query", query, (None, num_heads, None))
    _checks.shape(f"{name}: key", key, (query.shape[0], num_kv_heads, query.shape[2]))
    _checks.shape(f"{name}: value", value, (query.shape[0], num_kv_heads, None))
    cu_seqlens = _cumulative(f"{name}: seq_len", seq_len, query.shape[0]).to(query.device)
    ops.window_attention_out(query, key, value, cu_seqlens, scale=scale_value, out=out)
    return out


def _cumulative(name: str, lengths: Tensor, tokens: int) -> Tensor:
    """cu_seqlens of these lengths."""
    if lengths.dtype not in (torch.int32, torch.int64):
        raise TypeError(f"{name}: expected int32 or int64, got {lengths.dtype}")
    if lengths.device.type != "cpu" or lengths.dim() != 1:
        got = f"shape {list(lengths.shape)} on {lengths.device}"
        raise ValueError(f"{name}: expected one dimension on the cpu, got {got}")
    if bool((lengths < 0).any()) or int(lengths.sum()) > tokens:
        expected = f"lengths of at least 0 that sum to at most {tokens}"
        raise ValueError(f"{name}: expected {expected}, got {lengths.tolist()}")
    return torch.nn.functional.pad(lengths.cumsum(0, dtype=torch.int64), (1, 0))
