"""Weights: which tensor goes where in the tower, loading as a stream, reading safetensors checkpoints."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from . import _checks

if TYPE_CHECKING:
    from .nn import AscendQwen2_5_VisionTransformer

# Where a model keeps its tower: released checkpoints, transformers' own modules since 4.52, Qwen2.5-Omni.
VISUAL_PREFIXES = ("visual.", "model.visual.", "thinker.visual.")

# (pattern in a checkpoint, the tower's fused layer, which of its parts), in everybody's spelling.
_SPLIT_NAMES = [
    (re.compile(rf"\.attn\.{letter}(_proj)?\."), ".attn.qkv.", part) for part, letter in enumerate("qkv")
] + [(re.compile(rf"\.mlp\.{word}_proj\."), ".mlp.gate_up_proj.", part) for part, word in enumerate(("gate", "up"))]
_PART_NAMES = {".attn.qkv.": ("q", "k", "v"), ".mlp.gate_up_proj.": ("gate", "up")}

# Parameters that hold heads: how to pad one, and the dimension the heads are in. The last are W8A8's.
_PADDING = {
    "attn.qkv.weight": ("pad_qkv_weight", 0),
    "attn.qkv.bias": ("pad_qkv_bias", 0),
    "attn.qkv.weight_scale": ("pad_qkv_weight_scale_offset", 0),
    "attn.qkv.weight_offset": ("pad_qkv_weight_scale_offset", 0),
    "attn.qkv.deq_scale": ("pad_qkv_deq_scale_quant_bias", 0),
    "attn.qkv.quant_bias": ("pad_qkv_deq_scale_quant_bias", 0),
    "attn.proj.weight": ("pad_proj_weight", 1),
}

# safetensors' dtype names; fp8 and the like are for quantised towers that do not exist here.
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I8": torch.int8,
}


@dataclasses.dataclass(frozen=True)
class Slot:
    """Where one checkpoint tensor belongs: a parameter, or one part of a fused one.

    `shape` is what the checkpoint should hold, which padding then turns into what the tower does.
    """

    parameter_name: str
    parameter: Tensor
    part: int | None
    parts: int
    shape: tuple[int, ...]
    pad: Callable[[Tensor], Tensor] | None

    def problem(self, shape: Iterable[int], dtype: torch.dtype) -> str | None:
        """What is wrong with a tensor for this place, or None."""
        if tuple(shape) != self.shape:
            return f"expected shape {list(self.shape)}, got {list(shape)}"
        own = self.parameter.dtype
        if dtype != own and not (dtype.is_floating_point and own.is_floating_point):
            wanted = "a floating dtype" if own.is_floating_point else str(own)
            return f"expected {wanted}, got {dtype}"
        return None

    def meta_problem(self, tensor: Tensor) -> str | None:
        """What is wrong if the tensor or its place is on the meta device, where nothing is stored."""
        if self.parameter.is_meta:
            return "expected a parameter with memory, got one on the meta device; call the tower's to_empty first"
        return "expected a tensor with data, got one on the meta device" if tensor.is_meta else None

    # Under inference mode, as parameters built there take writes nowhere else.
    @torch.inference_mode()
    def fill(self, tensor: Tensor) -> None:
        """Copy a tensor that has no problem."""
        padded = tensor if self.pad is None else self.pad(tensor)
        target = self.parameter if self.part is None else self.parameter.chunk(self.parts)[self.part]
        target.copy_(padded)

    def covers(self) -> set[tuple[str, int]]:
        """The (parameter, part) pairs that this tensor fills."""
        parts = range(self.parts) if self.part is None else [self.part]
        return {(self.parameter_name, part) for part in parts}


class Slots:
    """Finds the place of checkpoint names in one tower."""

    def __init__(self, tower: AscendQwen2_5_VisionTransformer) -> None:
        self._tower = tower
        self._parameters = dict(tower.named_parameters())

    def find(self, name: str) -> Slot | None:
        """The place of a tensor of this name, or None if the tower has none."""
        name, part = self._own_name(name)
        parameter = self._parameters.get(name)
        if parameter is None:
            return None
        parts = _parts(name)
        shape, pad = self._checkpoint_form(name, parameter)
        if part is not None:
            if shape[0] % parts:  # such as W8A8's input_scale, one for the whole fused layer
                return None
            shape = (shape[0] // parts, *shape[1:])
        return Slot(name, parameter, part, parts, shape, pad)

    def missing(self, covered: Collection[tuple[str, int]]) -> list[str]:
        """Parameters, or parts of them, that are not in `covered`."""
        absent = []
        for name in self._parameters:
            names = _part_names(name)
            absent_parts = [i for i in range(len(names)) if (name, i) not in covered]
            if len(absent_parts) == len(names):
                absent.append(name)
            elif absent_parts:
                absent.append(f"{name} ({', '.join(names[i] for i in absent_parts)})")
        return absent

    def _own_name(self, name: str) -> tuple[str, int | None]:
        prefixes = (f"{self._tower.prefix}.", *VISUAL_PREFIXES) if self._tower.prefix else VISUAL_PREFIXES
        for prefix in prefixes:
            if name.startswith(prefix):
                name = name.removeprefix(prefix)
                break
        name = name.replace(".attn.qkv_proj.", ".attn.qkv.")
        for pattern, fused, part in _SPLIT_NAMES:
            if pattern.search(name):
                return pattern.sub(fused, name), part
        return name, None

    def _checkpoint_form(
        self, name: str, parameter: Tensor
    ) -> tuple[tuple[int, ...], Callable[[Tensor], Tensor] | None]:
        shape = list(parameter.shape)
        method_name, dim = _PADDING.get(name.split(".", 2)[-1], (None, 0))
        tower = self._tower
        if method_name is None or tower.padded_head_dim == tower.head_dim:
            return tuple(shape), None
        shape[dim] = shape[dim] // tower.padded_head_dim * tower.head_dim
        return tuple(shape), getattr(tower, method_name)


def _part_names(parameter_name: str) -> tuple[str, ...]:
    return next((names for fused, names in _PART_NAMES.items() if fused in parameter_name), ("whole",))


def _parts(parameter_name: str) -> int:
    return len(_part_names(parameter_name))


def load(
    tower: AscendQwen2_5_VisionTransformer, weights: Iterable[tuple[str, Tensor]], strict: bool = False
) -> set[str]:
    """Copy weights into `tower` one by one, converting floating dtypes; nothing is collected first.

    Names are Hugging Face's or vLLM's: fused `attn.qkv` and `mlp.gate_up_proj`, or `attn.q`/`attn.q_proj`, ... and
    `mlp.gate_proj`, `mlp.up_proj`, under one of `VISUAL_PREFIXES`, the tower's own prefix, or none. A tower with
    `pad_head_dim` takes unpadded weights and pads them (its own state_dict goes back by `load_state_dict`). Can be
    called again, with all weights or some; of two tensors for one place the last one stays.

    Args:
        strict: also demand that every parameter came, all parts of it.

    Returns:
        The names, in the tower, of the parameters that were loaded.

    Raises:
        ValueError: a name that the tower does not have, a wrong shape or dtype, a tensor or a parameter on the meta
            device: that parameter is untouched, those that came before are loaded. With `strict`, what is
            missing, after everything else was loaded.
        TypeError: `weights` is not iterable, an item is not a (str, dense tensor) pair.
    """
    if not isinstance(weights, Iterable):
        raise TypeError(f"weights: expected an iterable of (name, tensor) pairs, got {type(weights).__name__}")
    slots = Slots(tower)
    covered: set[tuple[str, int]] = set()
    for item in weights:
        name, tensor = _check_item(item)
        slot = slots.find(name)
        if slot is None:
            raise ValueError(f"weights: unexpected name {name!r}: the tower has no such parameter")
        problem = slot.problem(tensor.shape, tensor.dtype) or slot.meta_problem(tensor)
        if problem is not None:
            raise ValueError(f"weights: {name}: {problem}")
        slot.fill(tensor)
        covered |= slot.covers()
    if strict and (missing := slots.missing(covered)):
        raise ValueError(f"weights: missing {_listed(missing)}")
    return {name for name, _ in covered}


def _check_item(item: Any) -> tuple[str, Tensor]:
    if not isinstance(item, tuple | list) or len(item) != 2:
        raise TypeError(f"weights: expected (name, tensor) pairs, got {type(item).__name__}")
    name, tensor = item
    if not isinstance(name, str) or not isinstance(tensor, Tensor):
        raise TypeError(f"weights: expected (str, Tensor), got ({type(name).__name__}, {type(tensor).__name__})")
    return name, _checks.dense_tensor(f"weights: {name}", tensor)


@dataclasses.dataclass(frozen=True)
class Header:
    """What a safetensors file says of one tensor."""

    path: Path
    shape: tuple[int, ...]
    dtype: str


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """The visual tensors of a safetensors checkpoint, known from the files' headers only.

    Of a whole model those are the names under `VISUAL_PREFIXES`; if no name is, the folder is the
    tower's own. Shards that hold no visual tensor need not be there.
    """

    directory: Path
    headers: dict[str, Header]

    @classmethod
    def open(cls, directory: str | os.PathLike[str]) -> Checkpoint:
        """Read the headers; raises as `AscendQwen2_5_VisionTransformer.from_pretrained` says."""
        folder = _folder(directory)
        index = folder / "model.safetensors.index.json"
        headers = _indexed_headers(folder, index) if index.exists() else _listed_headers(folder)
        if not headers:
            raise ValueError(f"{folder}: holds no tensor")
        return cls(folder, headers)

    def dtype(self) -> torch.dtype:
        """The one floating dtype of the tensors."""
        names = sorted({header.dtype for header in self.headers.values()})
        floating = [name for name in names if name in _DTYPES and _DTYPES[name].is_floating_point]
        if len(floating) != 1:
            raise ValueError(f"dtype: {self.directory} holds {names}; say which dtype the tower should have")
        return _DTYPES[floating[0]]

    def check(self, tower: AscendQwen2_5_VisionTransformer) -> None:
        """Raise a ValueError that lists every name, dtype and shape that does not fit the tower, or not once."""
        slots = Slots(tower)
        problems: list[str] = []
        covered: dict[tuple[str, int], str] = {}  # by which tensor
        for name, header in self.headers.items():
            slot = slots.find(name)
            if slot is None:
                problem: str | None = "unexpected name"
            elif header.dtype not in _DTYPES:
                problem = f"expected one of the dtypes {sorted(_DTYPES)}, got {header.dtype}"
            else:
                problem = slot.problem(header.shape, _DTYPES[header.dtype])
                others = {covered.setdefault(place, name) for place in slot.covers()} - {name}
                if others:
                    problem = f"for the same {slot.parameter_name} as {_listed(sorted(others))}"
            if problem is not None:
                problems.append(f"{name} in {header.path.name}: {problem}")
        problems += [f"missing {name}" for name in slots.missing(covered.keys())]
        if problems:
            raise ValueError(f"{self.directory} does not fit the tower: {_listed(problems)}")

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """The tensors one by one, file by file."""
        for path in dict.fromkeys(header.path for header in self.headers.values()):
            with _opened(path) as file:
                for name, header in self.headers.items():
                    if header.path == path:
                        yield name, file.get_tensor(name)


def read_config(directory: str | os.PathLike[str]) -> dict[str, Any]:
    """A folder's config.json."""
    path = _folder(directory) / "config.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; pass vision_config instead")
    return read_json(path)


def _folder(directory: str | os.PathLike[str]) -> Path:
    if not isinstance(directory, str | os.PathLike):
        raise TypeError(f"directory: expected a path, got {type(directory).__name__}")
    folder = Path(directory)
    if not folder.is_dir():
        raise FileNotFoundError(f"directory: expected a local folder with safetensors files, got {folder}")
    return folder


def _indexed_headers(folder: Path, index: Path) -> dict[str, Header]:
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ValueError(f"{index}: expected a 'weight_map' of tensor names to files, got {weight_map!r}")
    files: dict[str, list[str]] = {}
    for name in _visual_names(weight_map):
        file = weight_map[name]
        if not isinstance(file, str) or Path(file).name != file:
            raise ValueError(f"{index}: {name}: expected a file name inside the folder, got {file!r}")
        files.setdefault(file, []).append(name)
    headers: dict[str, Header] = {}
    for file, names in files.items():
        found = _file_headers(folder / file)
        absent = [name for name in names if name not in found]
        if absent:
            raise ValueError(f"{folder / file}: does not hold {_listed(absent)}, which {index.name} says it does")
        headers.update((name, found[name]) for name in names)
    return headers


def _listed_headers(folder: Path) -> dict[str, Header]:
    paths = sorted(folder.glob("*.safetensors"))
    if not paths:
        pickles = sorted(path.name for suffix in ("bin", "pt", "pth", "ckpt") for path in folder.glob(f"*.{suffix}"))
        if pickles:
            raise ValueError(f"{folder}: pickle files are refused, convert them to safetensors: {_listed(pickles)}")
        raise FileNotFoundError(f"{folder}: holds no safetensors file")
    headers: dict[str, Header] = {}
    for path in paths:
        for name, header in _file_headers(path).items():
            if name in headers:
                raise ValueError(f"{path}: {name} is also in {headers[name].path.name}")
            headers[name] = header
    return {name: headers[name] for name in _visual_names(headers)}


def _visual_names(names: Iterable[str]) -> list[str]:
    names = list(names)
    return [name for name in names if name.startswith(VISUAL_PREFIXES)] or names


def _file_headers(path: Path) -> dict[str, Header]:
    with _opened(path) as file:
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        return {name: Header(path, tuple(s.get_shape()), s.get_dtype()) for name, s in slices.items()}


def _opened(path: Path) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        return safe_open(path, framework="pt")
    except SafetensorError as error:
        raise ValueError(f"{path}: damaged or truncated safetensors file: {error}") from error


def read_json(path: Path) -> dict[str, Any]:
    """A file's JSON object; a ValueError that names the file for anything else."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path}: expected a JSON object, got {type(value).__name__}")
    return value


def _listed(items: list[str], most: int = 12) -> str:
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return "; ".join(items[:most]) + more
