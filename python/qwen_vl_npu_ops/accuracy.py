"""The error budget: per element, at most twice torch's own error against an fp64 reference at the same dtype."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

#: How many times torch's own error a result may be off.
BUDGET = 2.0


@dataclass(frozen=True)
class Comparison:
    """A result beside its bound, at the element that uses most of it."""

    passed: bool
    worst_ratio: float  # error / bound; inf where NaN or infinity are misplaced
    position: tuple[int, ...]
    got: float
    expected: float
    bound: float  # on |got - expected|
    failures: int
    count: int

    def __str__(self) -> str:
        """One line: the worst element, what was expected and how much of the bound it uses."""
        if self.count == 0:
            return "empty"
        verdict = "ok" if self.passed else f"{self.failures} of {self.count} elements out of bound"
        return (
            f"{verdict}; worst at {list(self.position)}: got {self.got:.9g}, expected {self.expected:.9g}, "
            f"bound +-{self.bound:.3g}, error/bound {self.worst_ratio:.3g}"
        )


def half_ulp(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Half the distance between neighbouring numbers of `dtype` at each fp64 value: the error of one rounding."""
    info = torch.finfo(dtype)
    _, exponent = torch.frexp(values.abs().clamp(min=info.tiny))
    return torch.ldexp(torch.full_like(values, info.eps / 2), exponent - 1)


# torch's errors differ from token to token by luck and by the size of the scores; up to this many times the rms error
# over the tensor is taken as the spread of one distribution, beyond it as a property of that token.
SPREAD = 8.0


def bounds(reference: Tensor, peer: Tensor, budget: float = BUDGET) -> Tensor:
    """The largest error that each element may have, given torch's own result `peer`.

    torch's own error at an element is its worst within that token (all dimensions but the first), or within the tensor
    as far as that is no more than SPREAD times the rms: a token that torch happens to hit exactly asks for no miracle.
    It is no less than one rounding at the token's largest number: half an ulp; a whole one in float32, where the terms
    are rounded like their sum.
    """
    tokens = reference.nan_to_num(0.0, 0.0, 0.0).flatten(1)
    error = (peer.double() - reference).nan_to_num(0.0, 0.0, 0.0).flatten(1).abs()
    in_token = error.amax(dim=1, keepdim=True)
    anywhere = torch.minimum(error.max(), SPREAD * error.square().mean().sqrt())
    rounding = half_ulp(tokens.abs().amax(dim=1, keepdim=True), peer.dtype)
    if peer.dtype == torch.float32:
        rounding *= 2
    bound = budget * torch.maximum(torch.maximum(in_token, anywhere), rounding)
    return bound.expand_as(tokens).reshape(reference.shape)


def compare(got: Tensor, reference: Tensor, peer: Tensor, budget: float = BUDGET) -> Comparison:
    """Compare `got` with `reference` (fp64) under the bounds that `peer`, torch's composition at got's dtype, sets.

    NaN and infinity must stand where the reference, rounded to got's dtype, has them.
    """
    for name, tensor in (("reference", reference), ("peer", peer)):
        if tensor.shape != got.shape:
            raise ValueError(f"{name}: expected got's shape {list(got.shape)}, got {list(tensor.shape)}")
    if reference.dtype != torch.float64 or peer.dtype != got.dtype:
        raise TypeError(f"expected a float64 reference and a peer of {got.dtype}, got {reference.dtype}, {peer.dtype}")
    if got.numel() == 0:
        return Comparison(True, 0.0, (), 0.0, 0.0, 0.0, 0, 0)
    rounded = reference.to(got.dtype)
    bound = bounds(reference, peer, budget)
    ratio = (got.double() - reference).abs() / bound
    special = ~rounded.isfinite() | ~got.isfinite()
    same = (rounded == got) | (rounded.isnan() & got.isnan())
    ratio = torch.where(special, torch.where(same, 0.0, torch.inf), ratio)
    worst = int(ratio.argmax())
    position = tuple(int(i) for i in torch.unravel_index(torch.tensor(worst), got.shape))
    failures = int((ratio > 1).sum())
    return Comparison(
        passed=failures == 0,
        worst_ratio=float(ratio.flatten()[worst]),
        position=position,
        got=float(got[position]),
        expected=float(reference[position]),
        bound=float(bound[position]),
        failures=failures,
        count=got.numel(),
    )
