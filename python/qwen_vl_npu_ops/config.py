"""The vision tower's sizes: one frozen dataclass, and the published configurations as presets."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from . import _checks

# Published sizes: config.json of Qwen/Qwen2.5-VL-{3B,7B,32B,72B}-Instruct, key "vision_config".
PRESETS: dict[str, dict[str, Any]] = {
    "3b": {"intermediate_size": 3420, "out_hidden_size": 2048},
    "7b": {"intermediate_size": 3420, "out_hidden_size": 3584},
    "32b": {"intermediate_size": 3456, "out_hidden_size": 5120},
    "72b": {"intermediate_size": 3456, "out_hidden_size": 8192},
}

# Older config.json files and transformers' attribute_map spell some fields differently.
_ALIASES = {
    "in_channels": "in_chans",
    "num_heads": "num_attention_heads",
    "depth": "num_hidden_layers",
}

# Where a whole model's configuration holds the tower's: Qwen2.5-VL, Qwen2.5-Omni.
_NESTED = ("vision_config", "thinker_config")


@dataclasses.dataclass(frozen=True)
class VisionConfig:
    """Sizes of a Qwen2.5-VL vision tower, with transformers' field names; the defaults are the 7B model's.

    Sizes `patch_size` and `window_size` are in pixels, `temporal_patch_size` in frames, `spatial_merge_size`
    in patches. `fullatt_block_indexes`, any sequence, lists the layers that attend over a whole frame; the
    others attend inside windows.

    Raises:
        TypeError, ValueError: a field of the wrong type, not positive, or that does not divide what it must; a
            layer that is not there.
    """

    depth: int = 32
    hidden_size: int = 1280
    intermediate_size: int = 3420
    num_heads: int = 16
    out_hidden_size: int = 3584
    in_channels: int = 3
    patch_size: int = 14
    temporal_patch_size: int = 2
    spatial_merge_size: int = 2
    window_size: int = 112
    fullatt_block_indexes: tuple[int, ...] = (7, 15, 23, 31)
    hidden_act: str = "silu"
    tokens_per_second: int = 2
    rope_theta: float = 10000.0

    def __post_init__(self) -> None:
        """Check every field."""
        for field in dataclasses.fields(self):
            if field.type == "int":
                _checks.positive_int(f"vision_config.{field.name}", getattr(self, field.name))
        _checks.positive_int("vision_config.num_heads", self.num_heads, of=self.hidden_size)
        if self.head_dim % 4:
            raise ValueError(
                "vision_config.num_heads: expected a head size divisible by 4 (angles of rows and columns), "
                f"got {self.head_dim} = {self.hidden_size} / {self.num_heads}"
            )
        if self.window_side < 1:
            raise ValueError(
                f"vision_config.window_size: expected at least patch_size * spatial_merge_size = "
                f"{self.patch_size * self.spatial_merge_size} pixels, got {self.window_size}"
            )
        self._check_full_layers()
        _checks.a_string("vision_config.hidden_act", self.hidden_act)
        _checks.positive_number("vision_config.rope_theta", self.rope_theta)

    def _check_full_layers(self) -> None:
        name, layers = "vision_config.fullatt_block_indexes", self.fullatt_block_indexes
        if not isinstance(layers, Sequence):
            raise TypeError(f"{name}: expected a sequence of ints, got {layers!r}")
        for layer in layers:
            if isinstance(layer, bool) or not isinstance(layer, int):
                raise TypeError(f"{name}: expected ints, got {layer!r}")
            if not 0 <= layer < self.depth:
                raise ValueError(f"{name}: expected layers from 0 to depth - 1 = {self.depth - 1}, got {layer}")
        object.__setattr__(self, "fullatt_block_indexes", tuple(layers))  # a list has no hash

    @property
    def head_dim(self) -> int:
        """Real (unpadded) head size D."""
        return self.hidden_size // self.num_heads

    @property
    def spatial_merge_unit(self) -> int:
        """Patches that the merger turns into one output row."""
        return self.spatial_merge_size**2

    @property
    def window_side(self) -> int:
        """Side of an attention window in merge units (two divisions, each rounded down)."""
        return self.window_size // self.spatial_merge_size // self.patch_size

    @property
    def patch_dim(self) -> int:
        """Values in one row of pixels: C * temporal_patch_size * patch_size^2."""
        return self.in_channels * self.temporal_patch_size * self.patch_size**2

    @classmethod
    def of(cls, source: Any) -> VisionConfig:
        """A VisionConfig from a preset's name, a dict, or an object with transformers' attributes.

        Args:
            source: "3b", "7b", "32b" or "72b"; a dict such as config.json's "vision_config"; transformers'
                `Qwen2_5_VLVisionConfig`, or the whole model's configuration; a VisionConfig is returned as it
                is. Fields that are not there are the 7B model's, but one of the sizes has to be.

        Raises:
            TypeError, ValueError: something else; a dict without any size; a field as in `VisionConfig`.
        """
        if isinstance(source, cls):
            return source
        if isinstance(source, str):
            if source.lower() not in PRESETS:
                raise ValueError(f"vision_config: expected one of the presets {sorted(PRESETS)}, got {source!r}")
            return cls(**PRESETS[source.lower()])
        fields = dict(source) if isinstance(source, Mapping) else _attributes(source)
        for part in _NESTED:
            if fields.get(part) is not None:
                return cls.of(fields[part])
        known = _known_fields(fields)
        sizes = [field.name for field in dataclasses.fields(cls) if field.type == "int"]
        if known.keys().isdisjoint(sizes):
            raise ValueError(f"vision_config: expected at least one of the sizes {sizes}, got fields {list(fields)}")
        return cls(**known)


def _attributes(source: Any) -> dict[str, Any]:
    names = [*_NESTED, "rope_parameters"]
    names += [field.name for field in dataclasses.fields(VisionConfig)]
    names += _ALIASES.values()
    found = {name: getattr(source, name) for name in names if hasattr(source, name)}
    if not {"hidden_size", *_NESTED} & found.keys():
        raise TypeError(
            "vision_config: expected a preset's name, a dict, or transformers' vision configuration, "
            f"got {type(source).__name__}"
        )
    return found


def _known_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    known: dict[str, Any] = {}
    for field in dataclasses.fields(VisionConfig):
        for name in (field.name, _ALIASES.get(field.name)):
            if name is not None and fields.get(name) is not None:
                known[field.name] = fields[name]
                break
    for name in ("patch_size", "temporal_patch_size"):
        if name in known:
            known[name] = _one_size(name, known[name])
    rope = fields.get("rope_parameters")
    if rope is not None:
        if not isinstance(rope, Mapping):
            raise TypeError(f"vision_config.rope_parameters: expected a mapping, got {type(rope).__name__}")
        if rope.get("rope_type", "axial") != "axial":
            raise ValueError(f"vision_config.rope_parameters: expected rope_type 'axial', got {rope['rope_type']!r}")
        known["rope_theta"] = rope.get("rope_theta", VisionConfig.rope_theta)
    return known


def _one_size(name: str, value: Any) -> int:
    """transformers allows a list per axis; the tower needs the same size on each."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        if len(set(value)) != 1:
            raise ValueError(f"vision_config.{name}: expected the same size on every axis, got {list(value)}")
        return value[0]
    return value
