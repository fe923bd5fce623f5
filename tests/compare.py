"""The comparator of every numerical test; see qwen_vl_npu_ops.accuracy for the rule."""

import torch
from torch import Tensor

from qwen_vl_npu_ops import accuracy

# torch's error is judged on at least this many elements, so that a few lucky ones do not set the bound.
ENOUGH_ELEMENTS = 400

# For shapes that hypothesis picks: it hunts for the draws in which torch is luckiest.
FUZZ_BUDGET = 1.5 * accuracy.BUDGET


def assert_within_budget(
    got: Tensor, reference: Tensor, peer: Tensor, *, name: str = "", budget: float = accuracy.BUDGET
) -> None:
    """`got` is within `budget` times torch's own error (`peer`'s) of `reference`, which is fp64."""
    comparison = accuracy.compare(got, reference, peer, budget)
    assert comparison.passed, f"{name}: {comparison}"


def over_seeds(run, elements: int):
    """`run(seed)`, a tuple of results, for as many seeds as a small case needs, joined along the tokens."""
    seeds = range(-(-ENOUGH_ELEMENTS // max(elements, 1)) if elements else 1)
    return tuple(torch.cat(results) for results in zip(*map(run, seeds), strict=True))
