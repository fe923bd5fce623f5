"""The seed's modules with the seed's calling conventions, for code written against them.

Where they differ from `qwen_vl_npu_ops.nn`: hidden states are `[s, b, c]`, `cu_seqlens` holds the LENGTHS of
the segments (on the CPU, no leading zero), and head sizes between 64 and 128 are padded to 128.
"""

# ruff: noqa: N801 (class names are the seed's)
from __future__ import annotations

from typing import Any

from torch import Tensor

from .. import _checks, nn
from ..config import VisionConfig
from ..nn import (
    AscendQwen2_5_VisionMLP,
    AscendQwen2_5_VisionPatchEmbed,
    AscendQwen2_5_VisionPatchMerger,
    AscendQwen2_5_VisionRotaryEmbedding,
)
from ..plan import VisionPlan
from ._npu_ops import _cumulative

__all__ = [
    "AscendQwen2_5_VisionAttention",
    "AscendQwen2_5_VisionBlock",
    "AscendQwen2_5_VisionMLP",
    "AscendQwen2_5_VisionPatchEmbed",
    "AscendQwen2_5_VisionPatchMerger",
    "AscendQwen2_5_VisionRotaryEmbedding",
    "AscendQwen2_5_VisionTransformer",
]

MIN_PAD_SIZE, MAX_PAD_SIZE = 64, 128


def seed_padding(head_dim: int) -> int | None:
    """The size to which the seed pads heads of this size, or None where it does not."""
    return MAX_PAD_SIZE if MIN_PAD_SIZE < head_dim < MAX_PAD_SIZE else None


class AscendQwen2_5_VisionAttention(nn.AscendQwen2_5_VisionAttention):
    """`nn.AscendQwen2_5_VisionAttention`, padded as the seed pads; `forward` takes lengths."""

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
        if pad_head_dim is None:
            _checks.positive_int("projection_size", projection_size)
            pad_head_dim = seed_padding(projection_size // _checks.positive_int("num_heads", num_heads))
        super().__init__(
            embed_dim,
            num_heads,
            projection_size,
            quant_config,
            prefix,
            interleaved=interleaved,
            pad_head_dim=pad_head_dim,
        )

    def forward(self, x: Tensor, cu_seqlens: Tensor, cos: Tensor, sin: Tensor, max_seqlen: int | None = None) -> Tensor:
        """`x [s, b, c]` -> `[s, b, c]`.

        Args:
            cu_seqlens: int32 or int64 LENGTHS of the segments, on the CPU; they cover the b*s rows, a batch's
                after the other's.
            cos, sin: `[1, s, 1, Dp]` as `cal_cos_sin` returns; with b = 1 whatever the operator takes.
            max_seqlen: longest segment, a hint.
        """
        _checks.shape("x", x, (None, None, self.embed_dim))
        s, b, _ = x.shape
        if b != 1:
            cos, sin = (
                _checks.shape(name, table, (1, s, 1, None)).repeat(1, b, 1, 1)
                for name, table in (("cos", cos), ("sin", sin))
            )
        ends = _cumulative("cu_seqlens", _checks.a_tensor("cu_seqlens", cu_seqlens), s * b)
        ends = ends.to(x.device, non_blocking=True)
        rows = super().forward(x.transpose(0, 1).flatten(0, 1), ends, cos, sin, max_seqlen)
        return rows.view(b, s, -1).transpose(0, 1)


class AscendQwen2_5_VisionBlock(nn.AscendQwen2_5_VisionBlock):
    """`nn.AscendQwen2_5_VisionBlock` around this module's attention: `[s, b, c]`, lengths, seed's padding."""

    attention_class = AscendQwen2_5_VisionAttention


class AscendQwen2_5_VisionTransformer(nn.AscendQwen2_5_VisionTransformer):
    """`nn.AscendQwen2_5_VisionTransformer` of this module's blocks, padded as the seed pads."""

    block_class = AscendQwen2_5_VisionBlock

    def __init__(
        self,
        vision_config: Any,
        norm_eps: float = 1e-6,
        quant_config: Any = None,
        prefix: str = "",
        interleaved: bool = False,
    ) -> None:
        config = VisionConfig.of(vision_config)
        padding = seed_padding(config.head_dim)
        super().__init__(config, norm_eps, quant_config, prefix, interleaved, pad_head_dim=padding)

    def _run_blocks(self, hidden: Tensor, plan: VisionPlan) -> Tensor:
        hidden = hidden.unsqueeze(1)
        for layer, block in enumerate(self.blocks):
            lengths = plan.seqlens_full if layer in self.fullatt_block_indexes else plan.seqlens_window
            hidden = block(hidden, lengths, plan.cos, plan.sin)
        return hidden
