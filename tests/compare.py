"""The comparator of every numerical test; see qwen_vl_npu_ops.accuracy for the rule."""

from torch import Tensor

from qwen_vl_npu_ops import accuracy


def assert_within_budget(
    got: Tensor, reference: Tensor, peer: Tensor, *, name: str = "", budget: float = accuracy.BUDGET
) -> None:
    """`got` is within `budget` times torch's own error (`peer`'s) of `reference`, which is fp64."""
    comparison = accuracy.compare(got, reference, peer, budget)
    assert comparison.passed, f"{name}: {comparison}"
