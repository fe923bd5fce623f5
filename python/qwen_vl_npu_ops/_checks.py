"""Argument checks of the Python side: an error names the argument, what was expected, what came."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import torch


def positive_int(name: str, value: Any, *, of: int | None = None) -> int:
    """`value` as an int >= 1, and, with `of`, a divisor of it."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name}: expected an int, got {type(value).__name__}")
    if value < 1:
        raise ValueError(f"{name}: expected a positive int, got {value}")
    if of is not None and of % value:
        raise ValueError(f"{name}: expected a divisor of {of}, got {value}")
    return value


def positive_number(name: str, value: Any) -> float:
    """`value` as a float > 0 and finite."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name}: expected a number, got {type(value).__name__}")
    if not 0 < value <= sys.float_info.max:  # nor NaN, nor an int that no float holds
        raise ValueError(f"{name}: expected a positive, finite number, got {value}")
    return float(value)


def a_tensor(name: str, value: Any) -> torch.Tensor:
    """`value`, if it is a tensor."""
    if not isinstance(value, torch.Tensor):
        raise TypeError(f"{name}: expected a torch.Tensor, got {type(value).__name__}")
    return value


def shape(name: str, value: Any, expected: Sequence[int | None]) -> torch.Tensor:
    """`value`, if it is a tensor of this shape; None stands for any size."""
    tensor = a_tensor(name, value)
    matches = tensor.dim() == len(expected) and all(
        want is None or want == size for want, size in zip(expected, tensor.shape, strict=True)
    )
    if not matches:
        wanted = ", ".join("any" if size is None else str(size) for size in expected)
        raise ValueError(f"{name}: expected shape [{wanted}], got {list(tensor.shape)}")
    return tensor


def last_dim(name: str, value: Any, expected: int) -> torch.Tensor:
    """`value`, if it is a tensor of one dimension or more whose last one has this size."""
    tensor = a_tensor(name, value)
    if tensor.dim() == 0 or tensor.shape[-1] != expected:
        raise ValueError(f"{name}: expected shape [..., {expected}], got {list(tensor.shape)}")
    return tensor


def a_bool(name: str, value: Any) -> bool:
    """`value`, if it is a bool."""
    if not isinstance(value, bool):
        raise TypeError(f"{name}: expected a bool, got {type(value).__name__}")
    return value


def a_string(name: str, value: Any) -> str:
    """`value`, if it is a string."""
    if not isinstance(value, str):
        raise TypeError(f"{name}: expected a str, got {type(value).__name__}")
    return value


def dense_tensor(name: str, value: Any) -> torch.Tensor:
    """`value`, if it is a tensor with strides: not sparse, nested or packed for some library."""
    tensor = a_tensor(name, value)
    if tensor.layout is not torch.strided:
        raise TypeError(f"{name}: expected a dense strided tensor, got layout {tensor.layout}")
    if not torch.compiler.is_compiling() and (tensor.is_neg() or tensor.is_conj()):  # not traceable
        raise ValueError(f"{name}: expected a tensor of its own numbers, got a lazily negated view; call resolve_neg()")
    return tensor


def on_cpu(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """`tensor`, if it is on the CPU, or on no device at all."""
    if tensor.device.type not in ("cpu", "meta"):
        raise ValueError(f"{name}: expected a tensor on the cpu, got one on {tensor.device}")
    return tensor


def an_int(name: str, value: Any) -> int | torch.SymInt:
    """`value`, if it is an int of 64 bits (of Python's or a symbolic one)."""
    if isinstance(value, bool) or not isinstance(value, (int, torch.SymInt)):
        raise TypeError(f"{name}: expected an int, got {type(value).__name__}")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError(f"{name}: expected an int of 64 bits, got {value}")
    return value


def a_number(name: str, value: Any) -> float:
    """`value`, if it is a float, or an int that one can hold."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name}: expected a float, got {type(value).__name__}")
    if isinstance(value, int) and not -(2**1023) <= value <= 2**1023:
        raise ValueError(f"{name}: expected a float of 64 bits, got an int of {value.bit_length()} bits")
    return value
