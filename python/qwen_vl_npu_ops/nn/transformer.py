"""The whole vision tower."""

# ruff: noqa: N801 (class names are the seed's)
from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import _checks
from .. import weights as weight_loading
from ..config import VisionConfig
from ..plan import VisionPlan, axial_rows, check_grids, longest_side, window_order
from .attention import AscendQwen2_5_VisionBlock, check_pad_head_dim
from .layers import (
    ACT_AND_MUL,
    AscendQwen2_5_VisionPatchEmbed,
    AscendQwen2_5_VisionPatchMerger,
    AscendQwen2_5_VisionRotaryEmbedding,
    RMSNorm,
    layer_name,
)


class AscendQwen2_5_VisionTransformer(nn.Module):
    """Qwen2.5-VL's vision tower: patches of images and videos in, rows for the language model out.

    Inference only.

    Parameters have vLLM's names, and the dtype and device that are torch's defaults while it is built.

    Args:
        vision_config: "3b", "7b", "32b", "72b", transformers' `Qwen2_5_VLVisionConfig`, or its dict.
        norm_eps: of every RMSNorm.
        quant_config: None, or an object with vLLM's `get_quant_method(layer, prefix)`: the layers it answers
            for keep their parameters and arithmetic in what it returns (see `layers.linear`); padding works
            on them as in the seed.
        prefix: the tower's own name in the model; the layers' names that `quant_config` sees start with it,
            and `load_weights` takes names with or without it.
        interleaved: rotary pairs are (2i, 2i+1) instead of (i, i + D/2).
        pad_head_dim: pad every head of qkv and proj to this size, as the seed does with 128; None runs the
            real size.
    """

    block_class = AscendQwen2_5_VisionBlock

    def __init__(
        self,
        vision_config: Any,
        norm_eps: float = 1e-6,
        quant_config: Any = None,
        prefix: str = "",
        interleaved: bool = False,
        pad_head_dim: int | None = None,
    ) -> None:
        super().__init__()
        self.config = config = VisionConfig.of(vision_config)
        self.prefix = _checks.a_string("prefix", prefix)
        self.interleaved = _checks.a_bool("interleaved", interleaved)
        self.head_dim = config.head_dim
        self.padded_head_dim = check_pad_head_dim(pad_head_dim, config.head_dim)
        self.hidden_size = config.hidden_size
        self.num_heads = config.num_heads
        self.out_hidden_size = config.out_hidden_size
        self.spatial_merge_size = config.spatial_merge_size
        self.spatial_merge_unit = config.spatial_merge_unit
        self.fullatt_block_indexes = config.fullatt_block_indexes
        if config.hidden_act not in ACT_AND_MUL:
            raise ValueError(
                f"vision_config.hidden_act: expected one of {sorted(ACT_AND_MUL)}, got {config.hidden_act!r}"
            )

        norm_layer = partial(RMSNorm, eps=_checks.positive_number("norm_eps", norm_eps))
        self.rotary_pos_emb = AscendQwen2_5_VisionRotaryEmbedding(config.head_dim // 2, config.rope_theta)
        self.patch_embed = AscendQwen2_5_VisionPatchEmbed(
            config.patch_size, config.temporal_patch_size, config.in_channels, config.hidden_size
        )
        self.blocks = nn.ModuleList(
            self.block_class(
                config.hidden_size,
                config.num_heads,
                config.intermediate_size,
                ACT_AND_MUL[config.hidden_act],
                norm_layer,
                quant_config,
                layer_name(prefix, f"blocks.{layer}"),
                interleaved=interleaved,
                pad_head_dim=pad_head_dim,
            )
            for layer in range(config.depth)
        )
        self.merger = AscendQwen2_5_VisionPatchMerger(
            config.out_hidden_size,
            config.hidden_size,
            norm_layer,
            config.spatial_merge_size,
            quant_config,
            layer_name(prefix, "merger"),
        )

    @property
    def dtype(self) -> torch.dtype:
        """dtype of the patch embedding's weight, hence of the tower."""
        return self.patch_embed.proj.weight.dtype

    @property
    def device(self) -> torch.device:
        """Where the patch embedding's weight is, hence the tower."""
        return self.patch_embed.proj.weight.device

    def forward(
        self,
        x: Tensor,
        grid_thw: Sequence[Sequence[int]] | Tensor | None = None,
        *,
        plan: VisionPlan | None = None,
    ) -> Tensor:
        """Encode a batch.

        Args:
            x: pixels `[T, C*temporal_patch_size*patch_size^2]` as transformers' Qwen2VLImageProcessor lays
                them out, all images one after the other; in the tower's dtype, or fp32.
            grid_thw: (t, h, w) of each image in patches; see `VisionPlan.build`.
            plan: the same, built before. One of the two.

        Returns:
            `[T / merge_size^2, out_hidden_size]`, all images one after the other.

        Raises:
            ValueError, TypeError: neither or both of grid_thw and plan; a plan for another config or device;
                a number of rows in x that disagrees with the grids.
        """
        plan = self._plan_for(x, grid_thw, plan)
        hidden = self.patch_embed(x, plan.row_index)
        hidden = self._run_blocks(hidden, plan)
        return self.merger(hidden).index_select(0, plan.reverse_index)

    def _plan_for(self, x: Tensor, grid_thw: Any, plan: VisionPlan | None) -> VisionPlan:
        _checks.shape("x", x, (None, self.config.patch_dim))
        if (grid_thw is None) == (plan is None):
            raise ValueError(f"grid_thw, plan: expected one of the two, got {'neither' if plan is None else 'both'}")
        if plan is None:
            plan = VisionPlan.build(grid_thw, self.config, self.device)
        elif not isinstance(plan, VisionPlan):
            raise TypeError(f"plan: expected a VisionPlan, got {type(plan).__name__}")
        elif plan.config != self.config:
            raise ValueError(f"plan: expected one built for {self.config}, got one for {plan.config}")
        for name, device in (("x", x.device), ("plan", plan.cos.device)):
            if device != self.device:
                raise ValueError(f"{name}: expected device {self.device}, where the tower is, got {device}")
        plan.check_pixels(x)
        return plan

    def _run_blocks(self, hidden: Tensor, plan: VisionPlan) -> Tensor:
        for layer, block in enumerate(self.blocks):
            if layer in self.fullatt_block_indexes:
                segments = (plan.cu_seqlens_full, plan.max_seqlen_full)
            else:
                segments = (plan.cu_seqlens_window, plan.max_seqlen_window)
            hidden = block(hidden, segments[0], plan.cos, plan.sin, segments[1])
        return hidden

    def rot_pos_emb(self, grid_thw: Sequence[Sequence[int]] | Tensor) -> Tensor:
        """Rotary angles fp32 `[T, D/2]` on the CPU, rows first and columns after, in the images' own order.

        vLLM's `rotary_pos_emb_thw` does this for one image.
        """
        grids = check_grids(grid_thw, self.spatial_merge_size)
        side = longest_side(grids)
        return axial_rows(self.rotary_pos_emb(side), grids, self.config, window_side=side)

    def cal_cos_sin(self, rotary_pos_emb: Tensor) -> tuple[Tensor, Tensor]:
        """cos and sin `[1, T, 1, Dp]` of angles `[T, D/2]`.

        Each value stands at both members of its pair; padding is where the weights have theirs.
        """
        _checks.shape("rotary_pos_emb", rotary_pos_emb, (None, self.head_dim // 2))
        cos, sin = (self._full_width(table)[None, :, None] for table in (rotary_pos_emb.cos(), rotary_pos_emb.sin()))
        return cos, sin

    def _full_width(self, table: Tensor) -> Tensor:
        pair = torch.stack((table, table), dim=-1 if self.interleaved else -2).flatten(-2)
        return self._pad_heads(pair, -1)

    def get_window_index(self, grid_thw: Sequence[Sequence[int]] | Tensor) -> tuple[Tensor, list[int]]:
        """Window order of merge units, int64 `[T/merge_size^2]` on the CPU, and cumulative ends in patches.

        vLLM's `get_window_index_thw` does this for one image. There are no empty windows.
        """
        grids = check_grids(grid_thw, self.spatial_merge_size)
        order = window_order(grids, self.config)
        ends = (order.window_lengths * self.spatial_merge_unit).cumsum(0)
        return order.window_index, [0, *ends.tolist()]

    def _pad_heads(self, data: Tensor, dim: int) -> Tensor:
        """Zeros from D to Dp in each head of dimension `dim`: each half apart, or interleaved at the tail."""
        parts = 1 if self.interleaved else 2
        size, padded = self.head_dim // parts, self.padded_head_dim // parts
        dim %= data.dim()
        unpadded_dims = [0, 0] * (data.dim() - 1 - dim)
        return F.pad(data.unflatten(dim, (-1, size)), [*unpadded_dims, 0, padded - size]).flatten(dim, dim + 1)

    def pad_qkv_weight(self, data: Tensor) -> Tensor:
        """`[n*D, C] -> [n*Dp, C]`, n = 3*H for the fused weight, H for one of q, k, v."""
        return self._pad_heads(self._check_heads(data, 2, dim=0), 0)

    def pad_qkv_bias(self, bias: Tensor) -> Tensor:
        """`[n*D] -> [n*Dp]`."""
        return self._pad_heads(self._check_heads(bias, 1, dim=0), 0)

    def pad_proj_weight(self, data: Tensor) -> Tensor:
        """`[C, H*D] -> [C, H*Dp]`."""
        return self._pad_heads(self._check_heads(data, 2, dim=1), 1)

    def pad_qkv_weight_scale_offset(self, data: Tensor) -> Tensor:
        """W8A8's per-channel `weight_scale`, `weight_offset`: `[n*D, 1] -> [n*Dp, 1]`."""
        return self._pad_heads(self._check_heads(data, 2, dim=0), 0)

    def pad_qkv_deq_scale_quant_bias(self, data: Tensor) -> Tensor:
        """W8A8's per-channel `deq_scale`, `quant_bias`: `[n*D] -> [n*Dp]`."""
        return self._pad_heads(self._check_heads(data, 1, dim=0), 0)

    def _check_heads(self, data: Any, dims: int, dim: int) -> Tensor:
        tensor = _checks.a_tensor("data", data)
        if tensor.dim() != dims or tensor.shape[dim] % self.head_dim:
            raise ValueError(
                f"data: expected {dims} dimensions, size {dim} a multiple of the head size {self.head_dim}, "
                f"got shape {list(tensor.shape)}"
            )
        return tensor

    def load_weights(self, weights: Iterable[tuple[str, Tensor]], strict: bool = False) -> set[str]:
        """Copy weights into the tower as they come; `weights.load` lists names, errors and the result."""
        return weight_loading.load(self, weights, strict)

    @classmethod
    def from_pretrained(
        cls,
        directory: str | os.PathLike[str],
        *,
        vision_config: Any = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str = "cpu",
        **kwargs: Any,
    ) -> AscendQwen2_5_VisionTransformer:
        """A tower with the visual weights of a safetensors checkpoint, sharded or not.

        Args:
            directory: a local folder; a whole model's (everything that is not visual is left alone) or the
                tower's own.
            vision_config: None reads the folder's config.json.
            dtype: of the parameters; None keeps the checkpoint's.
            device: where the parameters go, not "meta".
            kwargs: the constructor's other arguments.

        Raises:
            FileNotFoundError: the folder, config.json or a shard is not there; it is named.
            ValueError: a damaged or truncated file; a pickle; names, dtypes or shapes that do not fit, or two
                tensors for one place, which are checked against the files' headers before any tensor is read.
        """
        device = torch.device(device)
        if device.type == "meta":
            raise ValueError("device: expected one with memory for the weights, got 'meta'")
        checkpoint = weight_loading.Checkpoint.open(directory)
        if vision_config is None:
            vision_config = weight_loading.read_config(directory)
        dtype = checkpoint.dtype() if dtype is None else dtype
        with _default_dtype(dtype), torch.device("meta"):
            tower = cls(vision_config, **kwargs)
        checkpoint.check(tower)
        tower.to_empty(device=device)
        tower.load_weights(checkpoint.tensors(), strict=True)
        return tower


@contextlib.contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Built so, and not by `.to(dtype)`: a quantised layer's own dtypes stay as they are."""
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise TypeError(f"dtype: expected a floating torch.dtype, got {dtype!r}")
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
