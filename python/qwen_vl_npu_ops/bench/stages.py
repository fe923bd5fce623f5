"""What a tower's forward spends its time on, by the calls of torch functions in it and the modules they are in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.overrides import TorchFunctionMode

from ..config import VisionConfig
from .timing import Clock
from .towers import Parts

#: In the order in which they are drawn.
STAGES = (
    "patch embedding",
    "linear layers",
    "attention, windows",
    "attention, full",
    "rotary",
    "norms",
    "activation",
    "merger",
    "rest",
)

# Functions by their names. Attention is what starts with one of its functions and ends with the next linear layer.
_STAGE_OF = {
    "linear": "linear layers",
    "rms_norm": "norms",
    "add_rms_norm": "norms",
    "silu": "activation",
    "silu_and_mul": "activation",
}
_ATTENTION = ("rotary_window_attention", "window_attention", "scaled_dot_product_attention", "matmul")
# Modules that are stages as they are, whatever they call: the tower's own, and norms that are made of many functions.
_MODULES = {"patch_embed": "patch embedding", "merger": "merger"}

Stages = dict[str, float]
_Place = tuple[str, str]  # "ends", "windows" or "full", and the stage


class Recorder(TorchFunctionMode):
    """Seconds of each stage of forwards of one tower inside `with recorder`; what belongs to none is the rest.

    Args:
        tower: ours or transformers', whose modules have the same names.
        full: indexes of the layers that attend over whole frames.
        composed: its norms and its rotary call many functions, as transformers' do. Ours are parts of an operator, and
            a hook on a norm would be in the way of its being fused.
    """

    def __init__(self, tower: nn.Module, full: Sequence[int], clock: Clock, *, composed: bool) -> None:
        super().__init__()
        self._tower, self._full, self._clock, self._composed = tower, full, clock, composed
        self._kind, self._module, self._inside = "ends", "", False
        self._before_attention = self._attention = "rotary" if composed else "rest"
        self.seconds: dict[_Place, float] = {}

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """Run a function and count its time."""
        if self._inside:
            return func(*args, **(kwargs or {}))
        start = self._clock.now()
        result = func(*args, **(kwargs or {}))
        self._add(self._stage(getattr(func, "__name__", "")), self._clock.now() - start)
        return result

    def _stage(self, function: str) -> str:
        if self._module == "attn":
            if function in _ATTENTION:
                self._attention = f"attention, {self._kind}"
            if function != "linear":
                return self._attention
        self._attention = self._before_attention
        return _STAGE_OF.get(function, "rest")

    def _add(self, stage: str, seconds: float) -> None:
        place = self._kind, stage
        self.seconds[place] = self.seconds.get(place, 0.0) + seconds

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Watch the tower's modules and all functions inside."""
        hooks = list(self._hooks())
        try:
            with self:
                yield
        finally:
            for hook in hooks:
                hook.remove()

    def _hooks(self) -> Iterator[Any]:
        whole: dict[nn.Module, str] = {getattr(self._tower, name): stage for name, stage in _MODULES.items()}
        blocks: Any = self._tower.blocks
        for layer, block in enumerate(blocks):
            yield from self._watch(block, "_kind", "full" if layer in self._full else "windows", "ends")
            yield from self._watch(block.attn, "_module", "attn", "")
            if self._composed:
                whole |= {block.norm1: "norms", block.norm2: "norms"}
        for module, stage in whole.items():
            yield from self._time(module, stage)

    def _watch(self, module: nn.Module, attribute: str, inside: str, outside: str) -> Iterator[Any]:
        yield module.register_forward_pre_hook(lambda *_: setattr(self, attribute, inside))
        yield module.register_forward_hook(lambda *_: setattr(self, attribute, outside))

    def _time(self, module: nn.Module, stage: str) -> Iterator[Any]:
        started = 0.0

        def enter(*_: object) -> None:
            nonlocal started
            self._inside, started = True, self._clock.now()

        def leave(*_: object) -> None:
            self._inside = False
            self._add(stage, self._clock.now() - started)

        yield module.register_forward_pre_hook(enter)
        yield module.register_forward_hook(leave)


def at_full_depth(seconds: Mapping[_Place, float], parts: Parts, config: VisionConfig, whole: VisionConfig) -> Stages:
    """Seconds of each stage of one forward, with as many layers of each kind as `whole` has.

    Args:
        parts: that forward's; what they have beyond the stages is rest.
    """
    found = dict.fromkeys(STAGES, 0.0)
    for (kind, stage), value in seconds.items():
        found[stage] += Parts(**{kind: value}).at_full_depth(config, whole)
    found["rest"] += parts.at_full_depth(config, whole) - sum(found.values())
    return found
