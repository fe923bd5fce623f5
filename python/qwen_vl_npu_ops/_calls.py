"""What `doctor`, `sim` and `bench` do alike with an operator's call before they compare its results."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor


def as_tuple(value: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """An operator's results, however many it has."""
    return value if isinstance(value, tuple) else (value,)


def in_fp64(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors by argument, the floating-point ones in fp64: what `reference` computes exact results from."""
    return {name: value.double() if value.is_floating_point() else value for name, value in tensors.items()}
