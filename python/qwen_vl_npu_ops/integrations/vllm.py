"""Qwen2.5-VL's tower inside vLLM and vLLM-Ascend: vLLM's modules with our operators in their forwards.

Each class here is a subclass of vLLM's that changes what a forward does and nothing else: linear layers (tensor
parallelism, quantisation, LoRA), parameter names, weight loading, data parallelism and encoder graphs stay vLLM's.
An instance that vLLM has built takes our class, with all it holds. Nothing is registered under a name of vLLM's
`CustomOp`s, which vLLM-Ascend registers its own for.

Importing this module imports vLLM; `integrations.vllm_plugin` is the entry point.
"""

# ruff: noqa: N801 (class names are the seed's and vLLM's)
from __future__ import annotations

import functools
import importlib
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from vllm.model_executor.models import qwen2_5_vl as theirs
from vllm.model_executor.models.utils import AutoWeightsLoader, StageMissingLayer, cast_overflow_tensors
from vllm.v1.attention.backends.registry import AttentionBackendEnum

from .. import ops
from ..config import VisionConfig
from ..plan import VisionPlan
from . import vllm_plugin
from .vllm_plugin import log


class FusedVisionAttention:
    """The forward of vLLM's vision attention on `rotary_window_attention`: rotary, softmax and padding in one kernel.

    A mix-in for vLLM's attention classes; linear layers are theirs.
    """

    def forward(
        self,
        x: Tensor,
        cu_seqlens: Tensor,
        rotary_pos_emb_cos: Tensor | None,
        rotary_pos_emb_sin: Tensor | None,
        max_seqlen: Any = None,
        sequence_lengths: Any = None,
    ) -> Tensor:
        """`x [T, C]` or `[T, 1, C]` -> the same shape.

        Args:
            cu_seqlens: int32 [segments + 1], cumulative, on x's device; repeated end points are fine.
            rotary_pos_emb_cos, rotary_pos_emb_sin: [T, D/2], or None for no rotary.
            max_seqlen, sequence_lengths: what vLLM's own back ends need; any value gives the same result.
        """
        if x.dim() != 2 and (x.dim() != 3 or x.shape[1] != 1):
            raise ValueError(f"x: expected shape [T, C] or [T, 1, C], one sequence of all images, got {list(x.shape)}")
        heads, head_dim = self.num_attention_heads_per_partition, self.hidden_size_per_attention_head  # type: ignore[attr-defined]
        qkv = self._packed_qkv(self.qkv(x)[0])  # type: ignore[attr-defined]
        if rotary_pos_emb_cos is None or rotary_pos_emb_sin is None:
            q, k, v = qkv.unflatten(-1, (3, heads, head_dim)).unbind(1)
            context = ops.window_attention(q, k, v, cu_seqlens).flatten(1)
        else:
            context = ops.rotary_window_attention(
                qkv, rotary_pos_emb_cos, rotary_pos_emb_sin, cu_seqlens, heads, head_dim
            )
        output: Tensor = self.proj(context.view(*x.shape[:-1], -1))[0]  # type: ignore[attr-defined]
        return output

    def _packed_qkv(self, qkv: Tensor) -> Tensor:
        """`[..., 3*H*D]` as the layer gives it -> `[T, 3*H*D]`, this rank's q heads, then k, then v."""
        # Qwen2-VL's layer is cut along q, k and v together, so that a rank does not get its own heads of each.
        if self.tp_size > 1 and hasattr(self, "split_qkv"):  # type: ignore[attr-defined]
            return torch.cat([part.flatten(1) for part in self.split_qkv(qkv)], dim=-1)
        return qkv.flatten(0, -2)


class AscendQwen2_5_VisionAttention(FusedVisionAttention, theirs.Qwen2_5_VisionAttention):  # type: ignore[misc]
    """vLLM's Qwen2_5_VisionAttention with our forward."""


class AscendQwen2_5_VisionTransformer(theirs.Qwen2_5_VisionTransformer):  # type: ignore[misc]
    """vLLM's tower on our plan, patch embedding and attention; arguments as vLLM's."""

    def __init__(self, vision_config: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(vision_config, *args, **kwargs)
        self._use_our_operators(vision_config)

    @classmethod
    def adopt(cls, tower: nn.Module, vision_config: Any) -> AscendQwen2_5_VisionTransformer:
        """Turn a tower that vLLM has built into this class, in place; returns it."""
        if not isinstance(tower, theirs.Qwen2_5_VisionTransformer):
            raise TypeError(f"tower: expected vLLM's Qwen2_5_VisionTransformer, got {type(tower).__name__}")
        tower.__class__ = cls
        tower._use_our_operators(vision_config)
        return tower

    def _use_our_operators(self, vision_config: Any) -> None:
        self.vision_config = VisionConfig.of(vision_config)
        use_our_attention(self)

    def prepare_encoder_metadata(
        self,
        grid_thw: Sequence[Sequence[int]] | Tensor,
        *,
        max_batch_size: int | None = None,
        max_frames_per_batch: int | None = None,
        max_window_seqs_per_batch: int | None = None,
        max_seqlen_override: int | None = None,
        max_seqlen_window_override: int | None = None,
        device: torch.device | None = None,
    ) -> dict[str, Any]:
        """vLLM's metadata of a batch, out of our plan: no copy from the device, and cached by grids.

        The arguments but the first ask for the padding of vLLM's encoder graphs: `cu_seqlens` and `cu_window_seqlens`
        with their end point repeated, and fixed longest segments. Raises as `VisionPlan.build` on bad grids.
        """
        plan = VisionPlan.build(grid_thw, self.vision_config, self.device if device is None else device)
        metadata: dict[str, Any] = {
            "rotary_pos_emb_cos": plan.cos,
            "rotary_pos_emb_sin": plan.sin,
            "window_index": plan.window_index,
            "reverse_indices": plan.reverse_index,
            "cu_seqlens": plan.cu_seqlens_full,
            "cu_window_seqlens": plan.cu_seqlens_window,
        }
        frames = max_batch_size if max_frames_per_batch is None else max_frames_per_batch
        if frames is not None or max_window_seqs_per_batch is not None:
            # A graph keeps these tensors and writes into them; the plan's are everybody's.
            metadata = {name: tensor.clone() for name, tensor in metadata.items()}
            metadata["cu_seqlens"] = _padded(plan.cu_seqlens_full, frames)
            metadata["cu_window_seqlens"] = _padded(plan.cu_seqlens_window, max_window_seqs_per_batch)
        longest = (
            plan.max_seqlen_full if max_seqlen_override is None else max_seqlen_override,
            plan.max_seqlen_window if max_seqlen_window_override is None else max_seqlen_window_override,
        )
        for kind, value in zip(("full", "window"), longest, strict=True):
            metadata[f"max_seqlen_{kind}"] = torch.tensor(value, dtype=torch.int32, device="cpu")
            metadata[f"sequence_lengths_{kind}"] = None
        return metadata

    def forward(
        self,
        x: Tensor,
        grid_thw: Sequence[Sequence[int]] | Tensor | None,
        *,
        encoder_metadata: dict[str, Any] | None = None,
    ) -> Tensor:
        """Encode a batch.

        Args:
            x: pixels `[T, C*temporal_patch_size*patch_size^2]`.
            grid_thw: (t, h, w) of each image in patches.
            encoder_metadata: the same as `prepare_encoder_metadata` returns it, where vLLM has it already.

        Returns:
            `[T / merge_size^2, out_hidden_size]`, all images one after the other.

        Raises:
            ValueError: neither grid_thw nor encoder_metadata; grids that are bad or disagree with x's rows.
        """
        if encoder_metadata is None:
            if grid_thw is None:
                raise ValueError("grid_thw, encoder_metadata: expected one of the two, got neither")
            VisionPlan.build(grid_thw, self.vision_config, self.device).check_pixels(x)
            encoder_metadata = self.prepare_encoder_metadata(grid_thw)
        cos, sin = encoder_metadata["rotary_pos_emb_cos"], encoder_metadata["rotary_pos_emb_sin"]
        full = (encoder_metadata["cu_seqlens"], encoder_metadata["max_seqlen_full"])
        window = (encoder_metadata["cu_window_seqlens"], encoder_metadata["max_seqlen_window"])

        weight = self.patch_embed.proj.weight
        pixels = ADAPTERS[vllm_plugin.version()](self, x)
        hidden = ops.patch_embed(pixels, weight, row_index=self._row_index(encoder_metadata["window_index"]))
        for layer, block in enumerate(self.blocks):
            cu_seqlens, max_seqlen = full if layer in self.fullatt_block_indexes else window
            hidden = block(
                hidden,
                cu_seqlens=cu_seqlens,
                rotary_pos_emb_cos=cos,
                rotary_pos_emb_sin=sin,
                max_seqlen=max_seqlen,
                sequence_lengths=None,
            )
        if hidden.dtype == torch.float16:
            hidden = cast_overflow_tensors(hidden)
        return self.merger(hidden).index_select(0, encoder_metadata["reverse_indices"])

    def _row_index(self, window_index: Tensor) -> Tensor:
        """The pixel row of each row in window order; from a graph's own buffer, so that a replay has its own."""
        unit = self.spatial_merge_unit
        inside = torch.arange(unit, device=window_index.device)
        return (window_index[:, None] * unit + inside).flatten()


class AscendQwen2_5_VLForConditionalGeneration(theirs.Qwen2_5_VLForConditionalGeneration):  # type: ignore[misc]
    """vLLM's Qwen2.5-VL with our tower.

    `visual` is None where the limits of images and videos are 0 and no embeddings are taken in their place.
    `_process_image_input` and `_process_video_input` are vLLM's: pixels through the tower (or the data-parallel one),
    precomputed embeddings as they are, split per item.
    """

    visual: AscendQwen2_5_VisionTransformer | None

    def __init__(self, *, vllm_config: Any, prefix: str = "") -> None:
        super().__init__(vllm_config=vllm_config, prefix=prefix)
        use_our_tower(self)
        multimodal = vllm_config.model_config.multimodal_config
        if isinstance(self.visual, StageMissingLayer) and not getattr(multimodal, "enable_mm_embeds", False):
            self.visual = None

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> set[str]:
        """vLLM's, leaving the tower's weights alone where there is no tower."""
        if self.visual is not None:
            loaded: set[str] = super().load_weights(weights)
            return loaded
        loader = AutoWeightsLoader(self, ignore_unexpected_prefixes=["visual."])
        return set(loader.load_weights(weights, mapper=self.hf_to_vllm_mapper))


def use_our_tower(model: Any) -> None:
    """Give the tower that vLLM has built for `model` our operators, and say so in the log."""
    tower = model.visual
    if isinstance(tower, StageMissingLayer):
        return
    if isinstance(tower, theirs.Qwen2_5_VisionTransformer):
        AscendQwen2_5_VisionTransformer.adopt(tower, model.config.vision_config)
        replaced = "patch embedding, plan and attention"
    else:
        use_our_attention(tower)
        replaced = "attention"
    log.info("%s: %s of %d blocks; on %s", type(model).__name__, replaced, len(tower.blocks), live_kernels(tower))


def use_our_attention(tower: Any) -> None:
    """Give the attention in each of a tower's blocks our forward."""
    # FlashInfer's cu_seqlens are offsets of its own; any other back end passes them as they are.
    tower.attn_backend = AttentionBackendEnum.TORCH_SDPA
    for block in tower.blocks:
        if not isinstance(block.attn, FusedVisionAttention):
            attention: Any = type(block.attn)
            block.attn.__class__ = _fused(attention)


def live_kernels(tower: nn.Module) -> str:
    """What runs the operators where the tower is."""
    device = next(tower.parameters()).device
    if device.type != "npu":
        return f"{device.type} ({ops.cpu_isa()})"
    from .. import npu

    status = npu.status()
    return f"npu, {'AscendC kernels' if status.kernels else 'composition of torch_npu operators'} ({status.reason})"


@functools.cache
def _fused(attention: Any) -> Any:
    if attention is theirs.Qwen2_5_VisionAttention:
        return AscendQwen2_5_VisionAttention
    return type(f"Fused{attention.__name__}", (FusedVisionAttention, attention), {"__module__": __name__})


def _padded(cu_seqlens: Tensor, segments: int | None) -> Tensor:
    """A copy with the end point repeated until there are `segments`."""
    missing = 0 if segments is None else max(0, segments + 1 - cu_seqlens.numel())
    return torch.cat((cu_seqlens, cu_seqlens[-1:].expand(missing)))


def _pixels_0_23(tower: Any, x: Tensor) -> Tensor:
    return x.to(tower.device, tower.dtype)


def _pixels_0_31(tower: Any, x: Tensor) -> Tensor:
    """vLLM normalises on the device, where `x` may be bytes."""
    pixels: Tensor = tower.input_norm(x.to(tower.device), tower.dtype)
    return pixels


# What differs between the releases of vLLM: how pixels reach the tower.
ADAPTERS = {"0.23": _pixels_0_23, "0.31": _pixels_0_31}

# Models that get no class of their own here, by the module of vLLM's that has them.
_OTHERS = {
    "Qwen2_5OmniThinkerForConditionalGeneration": "qwen2_5_omni_thinker",
    "Qwen2VLForConditionalGeneration": "qwen2_vl",
    "Qwen3VLForConditionalGeneration": "qwen3_vl",
    "Qwen3VLMoeForConditionalGeneration": "qwen3_vl_moe",
    "Qwen3OmniMoeThinkerForConditionalGeneration": "qwen3_omni_moe_thinker",
}


@functools.cache
def __getattr__(name: str) -> Any:
    """`Ascend<model of vLLM's>`, a subclass made when it is asked for: its module is vLLM's to import."""
    base = name.removeprefix("Ascend")
    if base == name or base not in _OTHERS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    model = getattr(importlib.import_module(f"vllm.model_executor.models.{_OTHERS[base]}"), base)

    def __init__(self: Any, *, vllm_config: Any, prefix: str = "") -> None:  # noqa: N807
        model.__init__(self, vllm_config=vllm_config, prefix=prefix)
        use_our_tower(self)

    return type(name, (model,), {"__init__": __init__, "__module__": __name__, "__doc__": f"vLLM's {base}, our tower."})
