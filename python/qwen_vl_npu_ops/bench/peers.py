"""What others compute in place of the operators: torch's batched attention, and transformers' own code."""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import VisionConfig

#: Attention implementations of transformers that run on a CPU.
IMPLEMENTATIONS = ("sdpa", "eager")
#: Bytes that eager attention may take for its scores.
LARGEST_SCORES = 4 << 30


def have_transformers() -> bool:
    """Whether transformers is installed."""
    return importlib.util.find_spec("transformers") is not None


def batched_attention(q: Tensor, k: Tensor, v: Tensor, cu_seqlens: Tensor) -> Callable[[], Tensor]:
    """bmm, softmax, bmm over all segments of a length at once; which rows those are is worked out before."""
    ends, scale = cu_seqlens.tolist(), q.shape[-1] ** -0.5
    rows: dict[int, list[Tensor]] = {}
    for start, end in itertools.pairwise(ends):
        rows.setdefault(end - start, []).append(torch.arange(start, end))
    groups = [torch.stack(indices) for length, indices in rows.items() if length]

    def run() -> Tensor:
        out = torch.empty(v.shape, dtype=v.dtype)
        for index in groups:
            query, key, value = (x[index].transpose(1, 2) for x in (q, k, v))  # [segments, H, s, D]
            weights = torch.softmax(query @ key.transpose(-1, -2) * scale, dim=-1)
            out[index] = (weights @ value).transpose(1, 2)
        return out

    return run


def packed_linear(weight: Tensor, bias: Tensor | None, x: Tensor) -> dict[str, Callable[[], Tensor]]:
    """oneDNN's product with a weight that was packed before; nothing where it has none for the dtype."""
    try:
        multiply = pack(weight, bias)
    except RuntimeError:
        return {}
    return {"oneDNN, packed": lambda: multiply(x)}


def pack(weight: Tensor, bias: Tensor | None) -> Callable[[Tensor], Tensor]:
    """`x @ weight.T + bias` by oneDNN on a packed weight; RuntimeError where there is no such product for the dtype."""
    packed = torch.ops.mkldnn._reorder_linear_weight(weight)
    return lambda x: torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], "")


# ---- transformers, whose own modules and functions run ----


def transformers_operator(op: str, tensors: dict[str, Tensor], sizes: VisionConfig) -> dict[str, Callable[[], Any]]:
    """transformers' way to one of the operators of a tower; none where it is torch's own.

    The attention module runs with its linear layers taken out.
    """
    from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl as theirs

    if op in ("window_attention", "linear"):
        return {}
    if op in ("rms_norm", "add_rms_norm"):
        return {"transformers": _norm(op, tensors, vision_config(sizes))}
    if op == "silu_and_mul":
        gate, up = (part.contiguous() for part in tensors["gate_up"].chunk(2, dim=-1))
        return {"transformers": lambda: F.silu(gate) * up}
    config = vision_config(sizes)
    if op == "patch_embed":
        embed = theirs.Qwen2_5_VisionPatchEmbed(embed_dim=config.hidden_size)
        embed.proj.weight = nn.Parameter(tensors["weight"].view_as(embed.proj.weight), requires_grad=False)
        pixels, index = tensors["pixels"], tensors["row_index"].long()
        return {"transformers": lambda: embed(pixels)[index]}
    cos, sin = (torch.cat((tensors[name],) * 2, dim=-1) for name in ("cos", "sin"))
    if op == "rotary_qkv":
        return {"transformers": _rotary(tensors["qkv"], cos, sin, config.num_heads)}
    qkv, ends = tensors["qkv"], tensors["cu_seqlens"]
    found: dict[str, Callable[[], Any]] = {}
    for name in IMPLEMENTATIONS:
        if name == "eager" and eager_bytes(ends, config.num_heads) > LARGEST_SCORES:
            continue
        attention = _attention(config, name)
        found[f"transformers {name}"] = partial(attention, qkv, cu_seqlens=ends, position_embeddings=(cos, sin))
    return found


def _rotary(qkv: Tensor, cos: Tensor, sin: Tensor, heads: int) -> Callable[[], tuple[Tensor, Tensor, Tensor]]:
    from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl as theirs

    def rotary() -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = qkv.view(len(qkv), 3, heads, -1).permute(1, 0, 2, 3).unbind(0)
        return (*theirs.apply_rotary_pos_emb_vision(q, k, cos, sin), v)

    return rotary


def _norm(op: str, tensors: dict[str, Tensor], config: Any) -> Callable[[], Any]:
    from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl as theirs

    with torch.device("meta"):
        block: Any = theirs.Qwen2_5_VLVisionBlock(config)
    norm: Any = type(block.norm1)(tensors["weight"].shape[0], eps=1e-6)
    norm.weight = nn.Parameter(tensors["weight"], requires_grad=False)
    if op == "rms_norm":
        return partial(norm, tensors["x"])

    def add_and_norm() -> tuple[Tensor, Tensor]:
        total = tensors["x"] + tensors["residual"]
        return norm(total), total

    return add_and_norm


def eager_bytes(cu_seqlens: Tensor, heads: int) -> int:
    """What the largest segment's scores take, in fp32."""
    return 4 * heads * int(cu_seqlens.diff().max()) ** 2


def _attention(config: Any, implementation: str) -> nn.Module:
    from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl as theirs

    own: Any = type(config)(**config.to_dict())
    own._attn_implementation = implementation
    attention: Any = theirs.Qwen2_5_VLVisionAttention(own).eval()
    attention.qkv, attention.proj = nn.Identity(), nn.Identity()
    return attention


def vision_config(config: VisionConfig) -> Any:
    """transformers' configuration with the same sizes."""
    from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLVisionConfig

    names = ("depth", "hidden_size", "intermediate_size", "num_heads", "out_hidden_size", "window_size", "hidden_act")
    sizes = {name: getattr(config, name) for name in names}
    return Qwen2_5_VLVisionConfig(**sizes, fullatt_block_indexes=list(config.fullatt_block_indexes))
