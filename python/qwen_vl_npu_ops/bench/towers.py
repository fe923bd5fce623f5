"""Towers to compare: ours, transformers' with the same weights, the GEMMs with weights alone, and the exact one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import ops, reference
from ..commands import tower as weights
from ..config import VisionConfig
from ..nn import AscendQwen2_5_VisionTransformer
from ..plan import VisionPlan
from . import peers
from .timing import Clock, sample

SEED = 0


def shallow(config: VisionConfig, layers: int) -> VisionConfig:
    """The tower with fewer layers, windows and whole frames mixed as nearly as before as it goes, at least one of each.

    Raises ValueError for fewer than two layers and for more than the tower has.
    """
    if not 2 <= layers <= config.depth:
        raise ValueError(f"--layers: expected 2 to {config.depth}, got {layers}")
    full = max(1, round(layers * len(config.fullatt_block_indexes) / config.depth))
    indexes = tuple((i + 1) * layers // full - 1 for i in range(full))
    return dataclasses.replace(config, depth=layers, fullatt_block_indexes=indexes)


def build(config: VisionConfig, dtype: torch.dtype) -> AscendQwen2_5_VisionTransformer:
    """Our tower with random weights."""
    tower = weights.empty_tower(config, dtype)
    weights.draw_weights(tower, SEED)
    return tower


def random_pixels(tokens: int, config: VisionConfig) -> Tensor:
    """Rows of pixels as a processor makes them: fp32, of mean 0 and deviation 1."""
    return torch.randn(tokens, config.patch_dim, generator=torch.Generator().manual_seed(SEED))


@torch.no_grad()
def transformers_tower(ours: AscendQwen2_5_VisionTransformer, implementation: str) -> nn.Module:
    """transformers' tower on the memory of our parameters."""
    from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl as theirs

    make: Any = theirs.Qwen2_5_VisionTransformerPretrainedModel
    config = peers.vision_config(ours.config)
    config._attn_implementation = implementation
    with torch.device("meta"):
        tower = make(config)
    # The rotary frequencies are no parameters: those of a tower that was really built.
    least = dataclasses.replace(ours.config, depth=1, fullatt_block_indexes=(0,))
    tower.rotary_pos_emb = make(peers.vision_config(least)).rotary_pos_emb
    tower.rotary_pos_emb.to(ours.device)
    tower.load_state_dict(dict(_their_names(ours)), strict=True, assign=True)
    return tower.eval().requires_grad_(False)


def _their_names(ours: AscendQwen2_5_VisionTransformer) -> Iterable[tuple[str, Tensor]]:
    for name, parameter in ours.named_parameters():
        if ".gate_up_proj." in name:
            for part, value in zip(("gate_proj", "up_proj"), parameter.chunk(2), strict=True):
                yield name.replace("gate_up_proj", part), value
        else:
            yield name, parameter


def call(tower: nn.Module, pixels: Tensor, grids: Tensor) -> Tensor:
    """Rows out of our tower or transformers', whose 5.x has them in a container."""
    result = tower(pixels, grids)
    return getattr(result, "pooler_output", result)


def exact(tower: AscendQwen2_5_VisionTransformer, pixels: Tensor, plan: VisionPlan) -> Tensor:
    """The tower in fp64 by `reference`, apart from `nn`; one layer's weights at a time are widened."""
    config = tower.config

    def linear(x: Tensor, layer: Any) -> Tensor:
        return F.linear(x, layer.weight.double(), layer.bias.double())

    def norm(x: Tensor, layer: Any) -> Tensor:
        return F.rms_norm(x, x.shape[-1:], layer.weight.double(), layer.eps)

    x = reference.patch_embed(pixels.double(), tower.patch_embed.proj.weight.double(), row_index=plan.row_index)
    blocks: Any = tower.blocks
    for layer, block in enumerate(blocks):
        ends = plan.cu_seqlens_full if layer in config.fullatt_block_indexes else plan.cu_seqlens_window
        qkv = linear(norm(x, block.norm1), block.attn.qkv)
        x = x + linear(
            reference.rotary_window_attention(qkv, plan.cos, plan.sin, ends, config.num_heads, config.head_dim),
            block.attn.proj,
        )
        gate, up = linear(norm(x, block.norm2), block.mlp.gate_up_proj).chunk(2, dim=-1)
        x = x + linear(F.silu(gate) * up, block.mlp.down_proj)
    merger: Any = tower.merger
    x = norm(x, merger.ln_q).view(-1, config.hidden_size * config.spatial_merge_unit)
    return linear(F.gelu(linear(x, merger.mlp[0])), merger.mlp[2])[plan.reverse_index]


# ---- running them ----


@dataclasses.dataclass
class Parts:
    """Seconds of one forward: all layers of each kind, and what is before and after them."""

    ends: float = 0.0
    windows: float = 0.0
    full: float = 0.0

    def add(self, full: bool, seconds: float) -> None:
        """One more layer of a kind."""
        if full:
            self.full += seconds
        else:
            self.windows += seconds

    def at_full_depth(self, config: VisionConfig, whole: VisionConfig) -> float:
        """Seconds with as many layers of each kind as `whole` has, out of those with `config`."""
        full, all_full = len(config.fullatt_block_indexes), len(whole.fullatt_block_indexes)
        windows = self.windows * (whole.depth - all_full) / (config.depth - full)
        return self.ends + windows + self.full * all_full / full


class Timed:
    """What is called once in a round, and how its parts share the time in each round that is kept."""

    def __init__(self) -> None:
        self.last = Parts()
        self.parts: list[Parts] = []

    def prepare(self) -> None:
        """Do what the first call on a batch would do and no other."""

    def __call__(self) -> None:
        """Run once and set `last`."""
        raise NotImplementedError

    def keep(self) -> None:
        """Count the last call."""
        self.parts.append(self.last)


class Runner(Timed):
    """Calls a tower on one batch after the other and keeps its rows.

    Args:
        call: the tower on pixels and grids.
        tower: whose layers are watched; None where nothing may come between them, and then `parts` are all ends.
        full: indexes of the layers that attend over whole frames.
    """

    def __init__(
        self, call: Callable[[Tensor, Tensor], Tensor], tower: nn.Module | None, full: Sequence[int], clock: Clock
    ) -> None:
        super().__init__()
        self.tower, self._call, self._clock, self._start = tower, call, clock, 0.0
        self._batch: tuple[Tensor, ...] = ()
        self.rows = torch.empty(0)
        blocks: Any = () if tower is None else tower.blocks
        for layer, block in enumerate(blocks):
            block.register_forward_pre_hook(self._enter)
            block.register_forward_hook(partial(self._leave, layer in full))

    def take(self, pixels: Tensor, grids: Tensor) -> None:
        """Run on this batch from now on."""
        self._batch = pixels, grids
        self.parts = []

    def _enter(self, module: nn.Module, args: object) -> None:
        self._start = self._clock.now()

    def _leave(self, full: bool, module: nn.Module, args: object, result: object) -> None:
        self.last.add(full, self._clock.now() - self._start)

    def __call__(self) -> None:
        """One forward."""
        self.last = Parts()
        start = self._clock.now()
        self.rows = self._call(*self._batch)
        self.last.ends = self._clock.now() - start - self.last.windows - self.last.full


class Compiled(Runner):
    """A tower out of torch.compile, which compiles when it meets a batch."""

    def prepare(self) -> None:
        """Compile."""
        self()


# ---- GEMMs with weights alone ----

Way = Callable[[Tensor, Tensor | None], Callable[[Tensor], Tensor]]  # of weight and bias


WAYS: dict[str, Way] = {
    "torch": lambda weight, bias: lambda x: F.linear(x, weight, bias),
    "ours": lambda weight, bias: lambda x: ops.linear(x, weight, bias),
    "oneDNN, packed": peers.pack,
}
# A way that takes this many times the best one's time on FEW_ROWS is not tried on all of them.
FEW_ROWS, HOPELESS = 256, 1.3


class Gemms(Timed):
    """The tower's GEMMs with its own weights, one after the other as a forward has them, and nothing between.

    Each shape is computed in whichever way of WAYS is the fastest here; packing a weight is not timed.
    """

    def __init__(self, tower: AscendQwen2_5_VisionTransformer, tokens: int, clock: Clock):
        super().__init__()
        self._clock = clock
        self._inputs: dict[tuple[int, int], Tensor] = {}
        self.ways: dict[str, str] = {}  # by "rows x inputs -> outputs"
        blocks: Any = tower.blocks
        units = tokens // tower.spatial_merge_unit
        self._ends = [self._gemm(tokens, tower.patch_embed.proj.weight.flatten(1), None)]
        self._ends += [self._gemm(units, x.weight, x.bias) for x in _linears(tower.merger)]
        self._layers = [[self._gemm(tokens, x.weight, x.bias) for x in _linears(block)] for block in blocks]
        self._full = tower.fullatt_block_indexes

    def _gemm(self, rows: int, weight: Tensor, bias: Tensor | None) -> Callable[[], Tensor]:
        outputs, inputs = weight.shape
        if (rows, inputs) not in self._inputs:
            self._inputs[rows, inputs] = torch.randn(rows, inputs).to(weight.dtype)
        x, shape = self._inputs[rows, inputs], f"{rows} x {inputs} -> {outputs}"
        if shape not in self.ways:
            self.ways[shape] = fastest(x, weight, bias, self._clock)
        return partial(WAYS[self.ways[shape]](weight, bias), x)

    def __call__(self) -> None:
        """All of them once."""
        self.last = Parts(ends=self._run(self._ends))
        for layer, gemms in enumerate(self._layers):
            self.last.add(layer in self._full, self._run(gemms))

    def _run(self, gemms: Sequence[Callable[[], Tensor]]) -> float:
        start = self._clock.now()
        for gemm in gemms:
            gemm()
        return self._clock.now() - start


def fastest(x: Tensor, weight: Tensor, bias: Tensor | None, clock: Clock) -> str:
    """The name of the fastest way to a GEMM on this machine."""
    few, left = x[:FEW_ROWS], {}
    for name, way in WAYS.items():
        try:
            function = way(weight, bias)
            function(few)
        except RuntimeError:  # there is no such GEMM for the dtype here
            continue
        left[name] = function
    quick = {name: min(_seconds(function, few, clock) for _ in range(3)) for name, function in left.items()}
    near = [name for name in quick if quick[name] <= HOPELESS * min(quick.values())]
    return near[0] if len(near) == 1 else min(near, key=lambda name: _seconds(left[name], x, clock))


def _seconds(function: Callable[[Tensor], Tensor], x: Tensor, clock: Clock) -> float:
    return sample(partial(function, x), 1, clock)[0]


def _linears(module: nn.Module) -> list[nn.Linear]:
    return [part for part in module.modules() if isinstance(part, nn.Linear)]
