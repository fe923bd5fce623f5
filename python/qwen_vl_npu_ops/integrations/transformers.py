"""Our operators inside a Qwen2.5-VL model of transformers (4.57 and 5.x)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl as theirs

from .. import _checks, ops
from ..config import VisionConfig
from ..nn import use_our_linear, use_torch_linear
from ..plan import VisionPlan

#: The name of our attention in transformers' attention interface.
ATTENTION = "qwen_vl_npu_ops"

_Tower = theirs.Qwen2_5_VisionTransformerPretrainedModel


class AcceleratedVisionTower(_Tower):  # type: ignore[no-untyped-call]
    """transformers' tower with our forward; the modules and parameters, and so the checkpoints, are transformers'."""

    def forward(self, hidden_states: Tensor, grid_thw: Tensor, **kwargs: Any) -> Any:
        """Encode a batch, without gradients.

        Args:
            hidden_states: pixels `[T, C*temporal_patch_size*patch_size^2]`, as the processor makes them.
            grid_thw: (t, h, w) of each image in patches, `[images, 3]`; on the host it costs no copy.

        Returns:
            what transformers' tower does: rows `[T / merge_size^2, out_hidden_size]`, since 5.0 as `pooler_output`
            beside the last layer's `last_hidden_state`.

        Raises:
            ValueError: the tower is in training mode, or the pixels need a gradient; hidden states or attention
                weights of every layer are asked for; grids that are bad or disagree with the pixels.
        """
        _checks.a_tensor("hidden_states", hidden_states)
        if self.training:
            raise ValueError("model: expected eval mode, got training mode; undo the acceleration to train the tower")
        if hidden_states.requires_grad and torch.is_grad_enabled():
            raise ValueError("hidden_states: expected pixels that need no gradient, got requires_grad=True")
        for name in ("output_attentions", "output_hidden_states"):
            if kwargs.get(name):
                raise ValueError(f"{name}: expected False, got {kwargs[name]}; undo the acceleration for it")
        with torch.no_grad():
            return self._encode(hidden_states, grid_thw)

    def _encode(self, pixels: Tensor, grid_thw: Tensor) -> Any:
        config = VisionConfig.of(self.config)
        weight: Tensor = self.patch_embed.proj.weight
        plan = VisionPlan.build(grid_thw, config, weight.device)
        plan.check_pixels(pixels)
        if pixels.dtype != torch.float32:  # any other is cast inside
            pixels = pixels.to(weight.dtype)
        hidden = ops.patch_embed(pixels, weight, row_index=plan.row_index)
        blocks: Any = self.blocks
        for layer, block in enumerate(blocks):
            if layer in config.fullatt_block_indexes:
                segments, longest = plan.cu_seqlens_full, plan.max_seqlen_full
            else:
                segments, longest = plan.cu_seqlens_window, plan.max_seqlen_window
            context = ops.rotary_window_attention(
                block.attn.qkv(block.norm1(hidden)),
                plan.cos,
                plan.sin,
                segments,
                config.num_heads,
                config.head_dim,
                max_seqlen=longest,
            )
            hidden = hidden + block.attn.proj(context)
            hidden = hidden + block.mlp(block.norm2(hidden))
        rows = self.merger(hidden).index_select(0, plan.reverse_index)
        return _output(hidden, rows)


def _output(hidden: Tensor, rows: Tensor) -> Any:
    """transformers 5's container; 4.57 returns the rows as they are."""
    container = getattr(theirs, "BaseModelOutputWithPooling", None)
    return rows if container is None else container(last_hidden_state=hidden, pooler_output=rows)


def accelerate(model: nn.Module) -> nn.Module:
    """Run the vision tower of a loaded Qwen2.5-VL model on our operators, in place; returns `model`.

    The tower keeps its modules and parameters (no weight is copied), its place in the model, its hooks and its
    state_dict; only its forward changes, and that of its plain linear layers, for products that torch is slow at on
    some CPUs (`nn.Linear`). It serves inference: in training mode, and for pixels that need a gradient, it
    raises a ValueError. Already accelerated towers stay as they are. `undo` restores transformers' forward.

    Args:
        model: a `Qwen2_5_VLForConditionalGeneration`, `Qwen2_5_VLModel`, or the tower itself.

    Raises:
        TypeError: `model` is not a module, or holds no Qwen2.5-VL vision tower.
        ValueError: a layer activation or sizes that our tower does not have; a tower whose forward somebody else has
            replaced (accelerate's hooks for models on several devices): nothing is changed.
    """
    towers = _towers(model)
    for tower in towers:
        VisionConfig.of(tower.config)
        if "forward" in vars(tower):
            raise ValueError("model: expected transformers' own forward of the tower, got one that was replaced")
    for tower in towers:
        tower.__class__ = AcceleratedVisionTower
        use_our_linear(tower)
    return model


def undo(model: nn.Module) -> nn.Module:
    """Give the tower of an accelerated model its own forward back; returns `model`. Raises as `accelerate`."""
    for tower in _towers(model):
        tower.__class__ = _Tower
        use_torch_linear(tower)
    return model


def _towers(model: Any) -> list[Any]:
    if not isinstance(model, nn.Module):
        raise TypeError(f"model: expected a torch.nn.Module, got {type(model).__name__}")
    towers = [module for module in model.modules() if type(module) in (_Tower, AcceleratedVisionTower)]
    if not towers:
        raise TypeError(f"model: expected one with a Qwen2.5-VL vision tower, got {type(model).__name__}")
    return towers


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None = None,
    scaling: float | None = None,
    dropout: float = 0.0,
    is_causal: bool | None = None,
    cu_seq_lens_q: Tensor | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """`window_attention` as an implementation of transformers' attention interface, for vision towers.

    Select it with `attn_implementation={"vision_config": ATTENTION}`.

    Args:
        query: `[B, H, S, D]`; key, value: `[B, Hkv, S, D]`, Hkv a divisor of H.
        scaling: D^-0.5 where None.
        cu_seq_lens_q: segments of the flattened `B*S` tokens, int32; None means one for each of the batch.

    Returns:
        `[B, S, H, D]`, and None for the attention weights.

    Raises:
        ValueError: a mask, causal attention or dropout is asked for; query and key differ in length.
    """
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    for name, given in (("attention_mask", attention_mask is not None), ("is_causal", causal), ("dropout", dropout)):
        if given:
            raise ValueError(f"{name}: expected none, as vision towers have none; use {ATTENTION!r} for the tower only")
    batch, _, length, _ = query.shape
    if key.shape[2] != length:
        raise ValueError(f"key: expected the query's length {length}, got {key.shape[2]}")
    if cu_seq_lens_q is None:
        cu_seq_lens_q = torch.arange(batch + 1, dtype=torch.int32, device=query.device) * length
    q, k, v = (tensor.transpose(1, 2).flatten(0, 1) for tensor in (query, key, value))
    context = ops.window_attention(q, k, v, cu_seq_lens_q, scale=scaling)
    return context.unflatten(0, (batch, length)), None


def register_attention() -> str:
    """Register `attention` with transformers; returns its name there, `ATTENTION`."""
    AttentionInterface.register(ATTENTION, attention)
    return ATTENTION
