"""A tower on the simulated chip: our kernels' estimates, and the rest of it where the roofline knows it."""

from __future__ import annotations

import torch

from ..config import VisionConfig
from ..sim import bounds
from ..sim import operators as on_chip
from . import operators, work
from .cases import Batch
from .compare import DTYPE_NAMES, OURS, ROOFLINE, estimated, line, on_sim
from .record import Line, Work

NOTE = (
    "GEMMs have no kernel here, as torch_npu's run on a device: they count at their bound; norms, activations and "
    "residual sums are left out"
)


def estimate(batch: Batch, dtype: torch.dtype, config: VisionConfig, chip: str, l2: str) -> list[Line]:
    """A line for all of it, its roofline, each kernel, times the layers that run it, and the GEMMs at their bound.

    Raises ValueError for a dtype that attention has no kernel for.
    """
    if not on_chip.has_kernel("rotary_window_attention", dtype):
        raise ValueError(f"--dtype: expected one that attention has a kernel for, got {DTYPE_NAMES[dtype]}")
    full = len(config.fullatt_block_indexes)
    layers = {"windows": config.depth - full, "full": full, "": 1}
    rows: dict[str, tuple[float, Work, float]] = {}  # seconds, what it is for, its bound
    for case in operators.cases(batch, dtype, None, ("patch_embed", "rotary_window_attention")):
        found, _ = on_sim(case, chip, l2, check=False)
        assert found.timing is not None
        assert found.bound is not None
        times = layers[case.variant]
        name = f"{times} x attention, {case.variant}" if case.variant else case.op
        rows[name] = (times * found.timing.median, case.work * times, times * found.bound)
    rows["GEMMs, their bound"] = _gemms(batch.tokens, dtype, config, chip, l2)
    seconds, least, bound = _sum(list(rows.values()))
    rows = {OURS: (seconds, least, bound), ROOFLINE: (bound, least, bound), **rows}
    ours = estimated(seconds)
    labels = {"case": "tower", "dtype": DTYPE_NAMES[dtype], "tokens": batch.tokens}
    return [
        line(name, estimated(seconds), least, bound, ours, **labels) for name, (seconds, least, bound) in rows.items()
    ]


def _gemms(tokens: int, dtype: torch.dtype, config: VisionConfig, chip: str, l2: str) -> tuple[float, Work, float]:
    _, *after_patch_embed = work.tower_gemms(tokens, config)
    seconds, least = 0.0, Work(0.0, 0.0)
    for (rows, inputs, outputs), times in after_patch_embed:
        # A 16-bit dtype is as fast as the other.
        seconds += times * 1e-6 * bounds.matmul(m=rows, n=outputs, k=inputs).bound(chip, l2).us
        least += work.linear(rows, inputs, outputs, dtype.itemsize) * times
    return seconds, least, seconds


def _sum(rows: list[tuple[float, Work, float]]) -> tuple[float, Work, float]:
    seconds, least, bounds_of_all = zip(*rows, strict=True)
    return sum(seconds), sum(least, Work(0.0, 0.0)), sum(bounds_of_all)
