"""The operators on the simulated chip: inside ``with sim.device(...)`` their calls on CPU tensors run the kernels.

Arguments are checked as on an NPU: everything but the contents of cu_seqlens and row_index, which are the kernels'
business; QWEN_VL_NPU_OPS_CHECK=1 checks those too. Adding a kernel is a row of ``_RUN`` and the function it names;
what a call must do at least, and so its bound, is in ``_WORK``.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from .. import _fakes, reference
from . import bounds
from .compiling import Library
from .native import kernels_library, tilings

if TYPE_CHECKING:
    from .devices import Device

_DTYPES = (torch.float32, torch.float16, torch.bfloat16)  # in the order of DType in csrc/common/types.h
_Arguments = dict[str, Any]
_Run = Callable[["Device", Sequence[Tensor], _Arguments], None]


@dataclass(frozen=True)
class Tiling:
    """What an operator's tiling function decides: how many blocks, how much workspace, and the tiling itself."""

    blocks: int
    workspace_bytes: int
    data: bytes
    fields: dict[str, int]


def tiling(op: str, chip: str, **shape: Any) -> Tiling:
    """The tiling of ``op`` for a shape, named as in csrc/ops/<op>/tiling_host.h, on ``chip``.

    Raises ValueError where no tiling can serve the shape, TypeError for a shape that lacks or adds a name.
    """
    return Tiling(*getattr(tilings(), op)(chip, **shape))


@functools.cache
def library() -> Library:
    """The operators' kernels, compiled for the simulator when the package was built."""
    return Library._load(kernels_library())


def launch(device: Device, op: str, shape: _Arguments, *tensors: Tensor | None, has_workspace: bool = False) -> None:
    """Run ``launch_<op>`` with the tiling of ``shape``: pointers in their order, the workspace last."""
    chosen = tiling(op, device.chip, **shape)
    if chosen.blocks == 0:
        return
    blocks = min(chosen.blocks, device.max_blocks or chosen.blocks)
    # Exactly as large as asked for; what the kernel has not written reads as NaN.
    workspace = torch.full((chosen.workspace_bytes,), 0xFF, dtype=torch.uint8) if chosen.workspace_bytes else None
    pointers = (*tensors, workspace) if has_workspace else tensors
    library().launch(f"launch_{op}", blocks, *pointers, chosen.data)


# ---- the kernels, one function each: fill the contiguous results ----


def _table(table: Tensor) -> Tensor:
    return table[0, :, 0] if table.dim() == 4 else table


def _rotary_shape(a: _Arguments, out_dim: int) -> _Arguments:
    qkv, cos, heads, dim = a["qkv"], _table(a["cos"]), a["num_heads"], a["head_dim"]
    return {
        "tokens": qkv.shape[0],
        "heads": heads,
        "dim": dim,
        "in_dim": qkv.shape[1] // (3 * heads),
        "out_dim": out_dim,
        "qkv_stride": qkv.stride(0),
        "cos_stride": cos.stride(0),
        "sin_stride": _table(a["sin"]).stride(0),
        "table_step": 2 if a["interleaved"] and cos.shape[1] != dim // 2 else 1,
        "type": _DTYPES.index(qkv.dtype),
        "table_type": _DTYPES.index(cos.dtype),
        "interleaved": a["interleaved"],
    }


def _rotary_qkv(device: Device, results: Sequence[Tensor], a: _Arguments) -> None:
    shape, tables = _rotary_shape(a, results[0].shape[2]), (_table(a["cos"]), _table(a["sin"]))
    launch(device, "rotary_qkv", shape, a["qkv"], *tables, *results)


def _window_attention(device: Device, results: Sequence[Tensor], a: _Arguments) -> None:
    q, k, v, cu_seqlens, out = a["q"], a["k"], a["v"], a["cu_seqlens"].contiguous(), results[0]
    shape = {
        "tokens": q.shape[0],
        "heads": q.shape[1],
        "kv_heads": k.shape[1],
        "segments": cu_seqlens.shape[0] - 1,
        "dim": q.shape[2],
        "value_dim": v.shape[2],
        "type": _DTYPES.index(q.dtype),
        "wide_lengths": cu_seqlens.dtype == torch.int64,
        "scale": q.shape[2] ** -0.5 if a["scale"] is None else a["scale"],
    }
    for name, tensor in (("q", q), ("k", k), ("v", v), ("out", out)):
        shape[f"{name}_token_stride"], shape[f"{name}_head_stride"] = tensor.stride()[:2]
    launch(device, "window_attention", shape, q, k, v, cu_seqlens, out, has_workspace=True)


def _rotary_window_attention(device: Device, results: Sequence[Tensor], a: _Arguments) -> None:
    qkv, cos, sin, cu_seqlens, out = a["qkv"], _table(a["cos"]), _table(a["sin"]), a["cu_seqlens"], results[0]
    shape = {
        **_rotary_shape(a, out.shape[1] // a["num_heads"]),
        "segments": cu_seqlens.shape[0] - 1,
        "out_stride": out.stride(0),
        "wide_lengths": cu_seqlens.dtype == torch.int64,
        "scale": a["head_dim"] ** -0.5 if a["scale"] is None else a["scale"],
    }
    tensors = (qkv, cos, sin, cu_seqlens.contiguous(), out)
    launch(device, "rotary_window_attention", shape, *tensors, has_workspace=True)


def _patch_embed(device: Device, results: Sequence[Tensor], a: _Arguments) -> None:
    pixels, weight, bias, row_index = a["pixels"], a["weight"], a["bias"], a["row_index"]
    weight = weight.reshape(weight.shape[0], -1).contiguous()
    row_index = None if row_index is None else row_index.contiguous()
    shape = {
        "pixel_rows": pixels.shape[0],
        "pixel_stride": pixels.stride(0),
        "rows": results[0].shape[0],
        "k": pixels.shape[1],
        "hidden": weight.shape[0],
        "pixel_type": _DTYPES.index(pixels.dtype),
        "type": _DTYPES.index(weight.dtype),
        "index_bytes": 0 if row_index is None else row_index.element_size(),
        "has_bias": bias is not None,
    }
    launch(device, "patch_embed", shape, pixels, weight, bias, row_index, *results, has_workspace=True)


_RUN: dict[str, _Run] = {
    "rotary_qkv": _rotary_qkv,
    "window_attention": _window_attention,
    "rotary_window_attention": _rotary_window_attention,
    "patch_embed": _patch_embed,
}
# The cube multiplies float32 at a quarter of its rate and in lower precision; attention falls back to the composition.
_COMPOSED_IN_FLOAT32 = ("window_attention", "rotary_window_attention")


def has_kernel(op: str, dtype: torch.dtype) -> bool:
    """Whether the chip runs a kernel for an operator at a dtype."""
    return not (op in _COMPOSED_IN_FLOAT32 and dtype == torch.float32)


# ---- what each call must do at least, whatever its kernel does ----


def _lengths(cu_seqlens: Tensor, tokens: int) -> list[int]:
    return cu_seqlens.clamp(0, tokens).diff().clamp(min=0).tolist()


def _rotary_qkv_work(results: Sequence[Tensor], a: _Arguments) -> bounds.Work:
    return bounds.rotary_qkv(
        tokens=a["qkv"].shape[0],
        heads=a["num_heads"],
        head_dim=a["head_dim"],
        dtype=a["qkv"].dtype,
        out_head_dim=results[0].shape[2],
        table_dtype=a["cos"].dtype,
    )


def _window_attention_work(results: Sequence[Tensor], a: _Arguments) -> bounds.Work:
    tokens, heads, head_dim = a["q"].shape
    return bounds.window_attention(
        lengths=_lengths(a["cu_seqlens"], tokens),
        heads=heads,
        head_dim=head_dim,
        dtype=a["q"].dtype,
        tokens=tokens,
        kv_heads=a["k"].shape[1],
        value_dim=a["v"].shape[2],
    )


def _rotary_window_attention_work(results: Sequence[Tensor], a: _Arguments) -> bounds.Work:
    tokens, heads = a["qkv"].shape[0], a["num_heads"]
    return bounds.rotary_window_attention(
        lengths=_lengths(a["cu_seqlens"], tokens),
        heads=heads,
        head_dim=a["head_dim"],
        dtype=a["qkv"].dtype,
        tokens=tokens,
        out_head_dim=results[0].shape[1] // heads,
        table_dtype=a["cos"].dtype,
    )


def _patch_embed_work(results: Sequence[Tensor], a: _Arguments) -> bounds.Work:
    tokens, hidden = results[0].shape
    index = a.get("row_index")
    return bounds.patch_embed(
        tokens=tokens,
        in_features=a["pixels"].shape[1],
        hidden=hidden,
        dtype=a["weight"].dtype,
        pixel_dtype=a["pixels"].dtype,
        bias=a.get("bias") is not None,
        index_bytes=0 if index is None else index.element_size(),
    )


_WORK: dict[str, Callable[[Sequence[Tensor], _Arguments], bounds.Work]] = {
    "rotary_qkv": _rotary_qkv_work,
    "window_attention": _window_attention_work,
    "rotary_window_attention": _rotary_window_attention_work,
    "patch_embed": _patch_embed_work,
}


# ---- checks that look at data or memory ----


def _check_contents(op: str, a: _Arguments) -> None:
    """What the CPU operators check and a kernel does not."""
    checks = torch.ops.qwen_vl_npu_ops
    if "cu_seqlens" in a:
        checks._check_cu_seqlens(op, a["cu_seqlens"], (a["qkv"] if "qkv" in a else a["q"]).shape[0])
    if a.get("row_index") is not None:
        checks._check_row_index(op, a["row_index"], a["pixels"].shape[0])


def _marked(tensor: Tensor) -> Tensor:
    """The bytes of its storage that a tensor covers, as booleans."""
    size = tensor.element_size()
    marks = torch.zeros(tensor.untyped_storage().nbytes(), dtype=torch.bool)
    strides = [size * s for s in tensor.stride()]
    marks.as_strided((*tensor.shape, size), (*strides, 1), size * tensor.storage_offset()).fill_(True)
    return marks


def _check_memory(op: str, outs: dict[str, Tensor], inputs: Sequence[Tensor]) -> None:
    """Refuse results that share an element with themselves, an input or another result."""
    others = list(inputs)
    for name, out in outs.items():
        marks = _marked(out)
        if int(marks.sum()) != out.numel() * out.element_size():
            expected = "a tensor whose elements are all distinct"
            _fakes._refuse(op, name, expected, f"strides {list(out.stride())}")
        for other in others:
            shared = other.untyped_storage().data_ptr() == out.untyped_storage().data_ptr()
            if shared and bool((marks & _marked(other)).any()):
                got = f"one that overlaps an input of shape {list(other.shape)}"
                _fakes._refuse(op, name, "memory of its own", got)
        others.append(out)


# ---- dispatch ----


class OnChip(TorchDispatchMode):
    """Sends the operators' calls to a simulated device; everything else stays where it is."""

    def __init__(self, device: Device) -> None:
        TorchDispatchMode.__init__(self)
        self._device = device

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operator on the chip where its tensors are plain ones on the CPU."""
        kwargs = kwargs or {}
        tensors = [t for t in (*args, *kwargs.values()) if isinstance(t, Tensor)]
        namespace, _, name = func.name().partition("::")
        plain = all(type(t) in (Tensor, torch.nn.Parameter) for t in tensors)
        op = name.removesuffix("_out")
        if namespace != "qwen_vl_npu_ops" or op not in _RUN or not plain or not any(t.is_cpu for t in tensors):
            return func(*args, **kwargs)
        schema = func._schema.arguments
        arguments = {s.name: s.default_value for s in schema if s.has_default_value()}
        arguments |= dict(zip((s.name for s in schema), args, strict=False)) | kwargs
        written = [s.name for s in schema if s.alias_info is not None and s.alias_info.is_write]
        return _call(self._device, op, arguments, written)


def _call(device: Device, op: str, arguments: _Arguments, written: Sequence[str]) -> Any:
    """Check and run one call; ``written`` names the results that the caller brought."""
    made = getattr(_fakes, f"_{op}_out" if written else f"_{op}")(**arguments)
    outs = {name: arguments.pop(name) for name in written}
    inputs = [t for t in arguments.values() if isinstance(t, Tensor)]
    _check_memory(op, outs, inputs)
    if os.environ.get("QWEN_VL_NPU_OPS_CHECK", "0") == "1":
        _check_contents(op, arguments)
    results = list(outs.values()) or (list(made) if isinstance(made, tuple) else [made])
    # Kernels write contiguous results. What they leave out reads as NaN.
    dense = [r if r.is_contiguous() else torch.empty_like(r, memory_format=torch.contiguous_format) for r in results]
    for tensor, result in zip(dense, results, strict=True):
        if not written or tensor is not result:
            tensor.fill_(torch.nan)
    _compute(device, op, dense, arguments)
    for tensor, result in zip(dense, results, strict=True):
        if tensor is not result:
            result.copy_(tensor)
    return None if written else made


def _compute(device: Device, op: str, results: Sequence[Tensor], arguments: _Arguments) -> None:
    if op in _COMPOSED_IN_FLOAT32 and results[0].dtype == torch.float32:
        if op == "rotary_window_attention":
            arguments["out_head_dim"] = results[0].shape[1] // arguments["num_heads"]
        _check_contents(op, arguments)
        results[0].copy_(getattr(reference, op)(**arguments))
        return
    before = device.launches()
    _RUN[op](device, results, arguments)
    if device.launches() > before:  # nothing is launched for no tokens
        device.bound(_WORK[op](results, arguments))
