"""The tower's small parts: linear layers, RMSNorm, MLP, rotary frequencies, patch embedding, patch merger."""

# ruff: noqa: N801 (class names are the seed's)
from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import _checks, ops
from ..plan import inverse_frequencies
from . import functional
from .functional import silu_and_mul as silu_and_mul

NormLayer = Callable[[int], nn.Module]
Activation = Callable[[Tensor], Tensor]


class QuantLinear(nn.Module):
    """A linear layer whose parameters and arithmetic belong to a quantisation method, as vLLM's `LinearBase`.

    `method` follows vLLM's `LinearMethodBase`: `create_weights(layer, input_size_per_partition,
    output_partition_sizes, input_size, output_size, params_dtype)` registers the parameters, `apply(layer, x,
    bias)` computes. The layer never repacks them behind the method's back.
    """

    def __init__(self, method: Any, in_features: int, out_features: int, bias: bool) -> None:
        super().__init__()
        self.quant_method = method
        dtype = torch.get_default_dtype()
        self.bias = nn.Parameter(torch.zeros(out_features, dtype=dtype), requires_grad=False) if bias else None
        method.create_weights(self, in_features, [out_features], in_features, out_features, dtype)

    def forward(self, x: Tensor) -> Tensor:
        """`x [..., in_features]` -> `[..., out_features]`."""
        return self.quant_method.apply(self, x, self.bias)


class Linear(nn.Linear):
    """An `nn.Linear` that computes with `ops.linear` on CPUs where torch has no product as fast for its dtype.

    What looks for the exact type `nn.Linear`, as `torch.ao.quantization.quantize_dynamic` does, finds none in a tower:
    `use_torch_linear(tower)` makes them so.
    """

    def forward(self, input: Tensor) -> Tensor:
        """`input [..., in_features]` -> `[..., out_features]`."""
        return functional.linear(input, self.weight, self.bias)


def use_our_linear(module: nn.Module) -> nn.Module:
    """Make a `Linear` of every plain `nn.Linear` in `module`, in place: parameters, names and hooks stay."""
    return _change_class(module, nn.Linear, Linear)


def use_torch_linear(module: nn.Module) -> nn.Module:
    """Make a plain `nn.Linear` of every `Linear` in `module`, in place: parameters, names and hooks stay."""
    return _change_class(module, Linear, nn.Linear)


def _change_class(module: nn.Module, before: type[nn.Module], after: type[nn.Module]) -> nn.Module:
    if not isinstance(module, nn.Module):
        raise TypeError(f"module: expected a torch.nn.Module, got {type(module).__name__}")
    for part in module.modules():
        if type(part) is before:
            part.__class__ = after
    return module


def linear(in_features: int, out_features: int, bias: bool, quant_config: Any, prefix: str) -> nn.Module:
    """A `Linear`, or what `quant_config` makes of the layer named `prefix`.

    Args:
        quant_config: None, or an object with vLLM's `QuantizationConfig.get_quant_method(layer, prefix)`,
            which returns the layer's quantisation method, or None to leave the layer as it is.
    """
    plain = partial(Linear, in_features, out_features, bias=bias)
    if quant_config is None:
        return plain()
    if not hasattr(quant_config, "get_quant_method"):
        raise TypeError(f"quant_config: expected None or one with get_quant_method, got {type(quant_config).__name__}")
    layer = plain(device="meta")  # only there to be looked at
    method = quant_config.get_quant_method(layer, prefix)
    return plain() if method is None else QuantLinear(method, in_features, out_features, bias)


def layer_name(prefix: str, name: str) -> str:
    """A layer's full name in the model, as `quant_config` sees it."""
    return f"{prefix}.{name}" if _checks.a_string("prefix", prefix) else name


class RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps) * weight over the last dimension.

    Computed in fp32 and rounded once (Zhang and Sennrich 2019); transformers rounds before the weight as well.
    """

    def __init__(self, hidden_size: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.hidden_size = _checks.positive_int("hidden_size", hidden_size)
        self.eps = _checks.positive_number("eps", eps)
        self.weight = nn.Parameter(torch.ones(hidden_size), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """`x [..., hidden_size]` -> the same shape and dtype."""
        _checks.last_dim("x", x, self.hidden_size)
        return functional.rms_norm(x, self.weight, self.eps)


def act_and_mul(activation: Activation, gate_up: Tensor) -> Tensor:
    """activation(gate) * up, for `gate_up [..., 2*I]` -> `[..., I]`."""
    gate, up = gate_up.chunk(2, dim=-1)
    return activation(gate) * up


ACT_AND_MUL: dict[str, Activation] = {
    "silu": silu_and_mul,
    "gelu": partial(act_and_mul, F.gelu),
    "gelu_pytorch_tanh": partial(act_and_mul, partial(F.gelu, approximate="tanh")),
}


# Rows of an MLP in memory at a time: a multiple of what `ops.linear` takes at a time, and enough to read the weights
# once for many.
MLP_ROWS = 1024


class AscendQwen2_5_VisionMLP(nn.Module):
    """SwiGLU: down(silu(gate(x)) * up(x)), gate and up in one GEMM.

    Args:
        in_features, hidden_features: C and I.
        bias: whether the three layers have one (Qwen2.5-VL's do).
        act_fn: maps gate_up `[..., 2*I]` to `[..., I]`, as vLLM's `get_act_and_mul_fn` returns.
        quant_config, prefix: see `linear`.
    """

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        bias: bool = False,
        act_fn: Activation = silu_and_mul,
        quant_config: Any = None,
        prefix: str = "",
    ) -> None:
        super().__init__()
        self.in_features = _checks.positive_int("in_features", in_features)
        self.hidden_features = _checks.positive_int("hidden_features", hidden_features)
        _checks.a_bool("bias", bias)
        if not callable(act_fn):
            raise TypeError(f"act_fn: expected a callable, got {type(act_fn).__name__}")
        self.act_fn = act_fn
        self.gate_up_proj = linear(
            in_features, 2 * hidden_features, bias, quant_config, layer_name(prefix, "gate_up_proj")
        )
        self.down_proj = linear(hidden_features, in_features, bias, quant_config, layer_name(prefix, "down_proj"))
        self.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """`x [..., C]` -> `[..., C]`."""
        _checks.last_dim("x", x, self.in_features)
        activated = self.act_fn(self.gate_up_proj(x))
        if activated.shape[-1] != self.hidden_features:
            wanted = f"[..., {2 * self.hidden_features}] -> [..., {self.hidden_features}] (act and multiply)"
            raise ValueError(f"act_fn: expected {wanted}, got {list(activated.shape)}")
        return self.down_proj(activated)


def add_mlp(total: Tensor, x: Tensor, mlp: AscendQwen2_5_VisionMLP) -> Tensor:
    """`total + mlp(x)` for `[T, C]` each, in memory that was total's where that pays.

    On a CPU some rows at a time, so that gate and up are never in memory for all of them. The bits are the same: linear
    layers take each row for itself, which a quantised one may not.
    """
    plain = type(mlp.gate_up_proj) is type(mlp.down_proj) is Linear and mlp.act_fn is silu_and_mul
    if not plain or x.device.type != "cpu" or torch.compiler.is_compiling():
        return total + mlp(x)
    blocks = row_blocks(len(x))
    for rows, sums in zip(x.split(blocks), total.split(blocks), strict=True):
        sums += mlp(rows)
    return total


def row_blocks(rows: int) -> list[int]:
    """How many rows to take at a time: MLP_ROWS, the last time up to half as many less or more."""
    blocks = max(1, round(rows / MLP_ROWS))
    return [MLP_ROWS] * (blocks - 1) + [rows - MLP_ROWS * (blocks - 1)]


class AscendQwen2_5_VisionRotaryEmbedding(nn.Module):
    """Rotary angles along one axis: position * theta^(-2i/dim), in fp32 (RoFormer, Su et al. 2021).

    `inv_freq` is a plain attribute, on the CPU and in fp32: neither `.to(dtype)` nor a checkpoint ever
    touches it.
    """

    def __init__(self, dim: int, theta: float = 10000.0) -> None:
        super().__init__()
        self.dim = _checks.positive_int("dim", dim)
        if dim % 2:
            raise ValueError(f"dim: expected an even size, got {dim}")
        self.theta = _checks.positive_number("theta", theta)
        self.inv_freq = inverse_frequencies(dim, self.theta)

    def forward(self, seqlen: int) -> Tensor:
        """Angles fp32 `[seqlen, dim/2]` of positions 0 .. seqlen-1."""
        _checks.positive_int("seqlen", seqlen)
        return torch.outer(torch.arange(seqlen, dtype=torch.float32, device="cpu"), self.inv_freq)


class PatchProjection(nn.Module):
    """The weight of a Conv3d whose kernel is as large as its stride, `[out, in, depth, height, width]`: a matrix.

    Not an `nn.Conv3d`: torch_npu moves the weights of those into a private layout, where the device allows it.
    """

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(shape))
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)  # as Conv3d's


class AscendQwen2_5_VisionPatchEmbed(nn.Module):
    """Projects each row of pixels, one patch of `temporal_patch_size` frames, to `hidden_size`. No bias."""

    def __init__(
        self,
        patch_size: int = 14,
        temporal_patch_size: int = 2,
        in_channels: int = 3,
        hidden_size: int = 1280,
    ) -> None:
        super().__init__()
        self.patch_size = _checks.positive_int("patch_size", patch_size)
        self.temporal_patch_size = _checks.positive_int("temporal_patch_size", temporal_patch_size)
        self.in_channels = _checks.positive_int("in_channels", in_channels)
        self.hidden_size = _checks.positive_int("hidden_size", hidden_size)
        self.patch_dim = in_channels * temporal_patch_size * patch_size**2
        self.proj = PatchProjection(hidden_size, in_channels, temporal_patch_size, patch_size, patch_size)
        self.requires_grad_(False)

    def forward(self, x: Tensor, row_index: Tensor | None = None) -> Tensor:
        """`x [T, patch_dim]` -> `[T, hidden_size]`; row i comes from `x[row_index[i]]`."""
        _checks.shape("x", x, (None, self.patch_dim))
        return ops.patch_embed(x, self.proj.weight, row_index=row_index)


class AscendQwen2_5_VisionPatchMerger(nn.Module):
    """Norms, joins each `spatial_merge_size^2` neighbouring rows, maps them to one row of the language model.

    Args:
        d_model: width of the result.
        context_dim: C, the tower's width.
        norm_layer: builds the norm from C; None means RMSNorm.
    """

    def __init__(
        self,
        d_model: int,
        context_dim: int,
        norm_layer: NormLayer | None = None,
        spatial_merge_size: int = 2,
        quant_config: Any = None,
        prefix: str = "",
    ) -> None:
        super().__init__()
        _checks.positive_int("d_model", d_model)
        self.context_dim = _checks.positive_int("context_dim", context_dim)
        self.merge_unit = _checks.positive_int("spatial_merge_size", spatial_merge_size) ** 2
        self.hidden_size = context_dim * self.merge_unit
        self.ln_q = make_norm(norm_layer, context_dim)
        # Three entries, the activation in the middle, so that parameters are called mlp.0 and mlp.2 as in
        # checkpoints.
        self.mlp = nn.Sequential(
            linear(self.hidden_size, self.hidden_size, True, quant_config, layer_name(prefix, "mlp.0")),
            nn.GELU(),
            linear(self.hidden_size, d_model, True, quant_config, layer_name(prefix, "mlp.2")),
        )
        self.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """`x [T, C]` or `[T, 1, C]`, a merge unit's rows next to each other -> `[T/merge^2, d_model]`."""
        _checks.last_dim("x", x, self.context_dim)
        rows = x.numel() // self.context_dim
        if rows % self.merge_unit:
            raise ValueError(f"x: expected a number of rows divisible by {self.merge_unit}, got {rows}")
        return self.mlp(self.ln_q(x).view(-1, self.hidden_size))


def observed(*modules: nn.Module) -> bool:
    """Whether a hook sees what goes in or out of one of these, or of its parts."""
    parts = (part for module in modules for part in module.modules())
    return any(part._forward_hooks or part._forward_pre_hooks for part in parts)


def make_norm(norm_layer: NormLayer | None, hidden_size: int) -> nn.Module:
    """`norm_layer(hidden_size)`; None means RMSNorm with eps 1e-6."""
    if norm_layer is None:
        return RMSNorm(hidden_size)
    if not callable(norm_layer):
        raise TypeError(f"norm_layer: expected a callable, got {type(norm_layer).__name__}")
    return norm_layer(hidden_size)
