"""What a batch of images asks of the tower, worked out once: window order, cu_seqlens, rotary tables."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from . import _checks
from .config import VisionConfig

Grid = tuple[int, int, int]

# Plans kept for grids seen before, at about 340 bytes per token: at most 120 MB for 32 whole 1080p images.
CACHED_PLANS = 32


@dataclasses.dataclass(frozen=True, eq=False)
class VisionPlan:
    """Everything the tower needs to know of a batch's grids. Immutable: forwards share it.

    That goes for the tensors too. A cached plan with a tensor that torch operators wrote into is not handed out
    again; writes past torch, through `.data` or numpy, are not noticed.

    T = patches of all images, U = T / merge_size^2 merge units (rows of the output). "Window order" is the
    order in which the tower runs its rows: image by image, frame by frame, window by window, so that each
    window is one segment.

    Attributes:
        config: the sizes it was built for.
        grid_thw: (t, h, w) of each image, in patches; an image has t = 1, a video one t for every
            `temporal_patch_size` frames.
        num_tokens: T.
        row_index: int32 [T]; row i in window order is pixel row `row_index[i]`. For `ops.patch_embed`.
        window_index: int64 [U]; the same for merge units. transformers and vLLM call it so.
        reverse_index: int64 [U]; its inverse, which puts the merger's rows back into the images' order.
        cu_seqlens_full: int32 [frames + 1]; segments of full-attention layers, one per frame.
        cu_seqlens_window: int32 [windows + 1]; segments of window layers; there are no empty ones.
        seqlens_full, seqlens_window: int32 [frames], [windows], always on the CPU; the same segments' lengths,
            which is what torch_npu's attention and `compat.nn` take.
        max_seqlen_full, max_seqlen_window: longest segment of each.
        cos, sin: [T, D/2], the rotary angle of each pair, rows first and columns after, in window order.
    """

    config: VisionConfig
    grid_thw: tuple[Grid, ...]
    num_tokens: int
    row_index: Tensor
    window_index: Tensor
    reverse_index: Tensor
    cu_seqlens_full: Tensor
    cu_seqlens_window: Tensor
    seqlens_full: Tensor
    seqlens_window: Tensor
    max_seqlen_full: int
    max_seqlen_window: int
    cos: Tensor
    sin: Tensor

    @classmethod
    def build(
        cls,
        grid_thw: Sequence[Sequence[int]] | Tensor,
        config: Any,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> VisionPlan:
        """The plan of these grids, from a bounded cache if it was built before.

        Args:
            grid_thw: one (t, h, w) per image or video, in patches; a sequence, or an integer tensor
                `[images, 3]`. A tensor on a device costs one copy to the host, anything on the host none.
            config: whatever `VisionConfig.of` takes.
            device: where the plan's tensors live.
            dtype: of cos and sin. The tower uses fp32 whatever its own dtype, as transformers does.

        Raises:
            TypeError: `grid_thw` is not integers, `dtype` not a floating dtype.
            ValueError: no image, a wrong shape, or an image whose size is not positive or not divisible by
                the merge size.
        """
        config = VisionConfig.of(config)
        grids = check_grids(grid_thw, config.spatial_merge_size)
        if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
            raise TypeError(f"dtype: expected a floating torch.dtype, got {dtype!r}")
        device = _known_device(device)
        plan, versions = _build(grids, config, device, dtype)
        if _versions(plan) != versions:
            _build.cache_clear()  # lru_cache cannot forget one entry
            plan, _ = _build(grids, config, device, dtype)
        return plan

    def check_pixels(self, x: Tensor) -> None:
        """Raise a ValueError if `x` does not hold one row for each patch of the grids."""
        if x.shape[0] != self.num_tokens:
            images = ", ".join(f"image {i}: {t}x{h}x{w}={t * h * w}" for i, (t, h, w) in enumerate(self.grid_thw))
            raise ValueError(f"x: expected {self.num_tokens} rows of pixels for grid_thw ({images}), got {x.shape[0]}")


def check_grids(grid_thw: Any, merge_size: int) -> tuple[Grid, ...]:
    """`grid_thw` as tuples of ints; raises as `VisionPlan.build` says."""
    if isinstance(grid_thw, Tensor):
        if grid_thw.is_floating_point() or grid_thw.is_complex() or grid_thw.dtype == torch.bool:
            raise TypeError(f"grid_thw: expected an integer tensor, got {grid_thw.dtype}")
        _checks.shape("grid_thw", grid_thw, (None, 3))
        rows = grid_thw.tolist()  # the one copy to the host
    elif isinstance(grid_thw, Iterable) and not isinstance(grid_thw, str | bytes | Mapping):
        rows = list(grid_thw)  # numpy arrays too
    else:
        raise TypeError(f"grid_thw: expected a sequence of (t, h, w) or a tensor, got {type(grid_thw).__name__}")
    if not rows:
        raise ValueError("grid_thw: expected at least one image, got none")
    grids = tuple(_check_grid(i, row, merge_size) for i, row in enumerate(rows))
    total = sum(t * h * w for t, h, w in grids)
    if total > torch.iinfo(torch.int32).max:
        raise ValueError(f"grid_thw: expected fewer than 2^31 patches in all, got {total}")
    return grids


def _check_grid(image: int, row: Any, merge_size: int) -> Grid:
    try:
        sizes = [_integer(size) for size in row]
    except TypeError:
        raise TypeError(f"grid_thw: image {image}: expected three ints (t, h, w), got {row!r}") from None
    if len(sizes) != 3:
        raise ValueError(f"grid_thw: image {image}: expected (t, h, w), got {len(sizes)} numbers: {sizes}")
    t, h, w = sizes
    if min(sizes) < 1:
        raise ValueError(f"grid_thw: image {image}: expected positive t, h, w, got {(t, h, w)}")
    if h % merge_size or w % merge_size:
        raise ValueError(f"grid_thw: image {image}: expected h and w divisible by {merge_size}, got {(t, h, w)}")
    return t, h, w


def _integer(size: Any) -> int:
    if isinstance(size, bool) or not hasattr(size, "__index__"):
        raise TypeError
    return size.__index__()


def _known_device(device: Any) -> torch.device:
    """With its index spelled out, so that "npu" and "npu:0" share a plan."""
    if not isinstance(device, str | torch.device | int):
        raise TypeError(f"device: expected a torch.device or a str, got {type(device).__name__}")
    device = torch.device(device)
    if device.index is None and device.type not in ("cpu", "meta"):
        device = torch.device(device.type, torch.get_device_module(device.type).current_device())
    return device


def _versions(plan: VisionPlan) -> list[int]:
    """How often torch has written into each of the plan's tensors."""
    return [value._version for value in vars(plan).values() if isinstance(value, Tensor)]


@functools.lru_cache(maxsize=CACHED_PLANS)
def _build(
    grids: tuple[Grid, ...], config: VisionConfig, device: torch.device, dtype: torch.dtype
) -> tuple[VisionPlan, list[int]]:
    """A plan and its tensors' versions as built."""
    # Plans outlive the call: built under inference_mode they would be inference tensors for good, and have no version.
    with torch.inference_mode(False):
        order = window_order(grids, config)
        inside = torch.arange(config.spatial_merge_unit, device="cpu")
        row_index = (order.window_index[:, None] * config.spatial_merge_unit + inside).flatten()
        frame_lengths = torch.tensor([h * w for t, h, w in grids for _ in range(t)], device="cpu")
        window_lengths = order.window_lengths * config.spatial_merge_unit
        angles = _axis_angles(grids, config)
        cos, sin = (axial_rows(table, grids, config, config.window_side) for table in (angles.cos(), angles.sin()))

        def on_device(tensor: Tensor, dtype: torch.dtype) -> Tensor:
            return tensor.to(dtype).to(device, non_blocking=True)

        plan = VisionPlan(
            config=config,
            grid_thw=grids,
            num_tokens=len(row_index),
            row_index=on_device(row_index, torch.int32),
            window_index=on_device(order.window_index, torch.int64),
            reverse_index=on_device(order.reverse_index, torch.int64),
            cu_seqlens_full=on_device(_cumulative(frame_lengths), torch.int32),
            cu_seqlens_window=on_device(_cumulative(window_lengths), torch.int32),
            seqlens_full=frame_lengths.to(torch.int32),
            seqlens_window=window_lengths.to(torch.int32),
            max_seqlen_full=int(frame_lengths.max()),
            max_seqlen_window=int(window_lengths.max()),
            cos=on_device(cos, dtype),
            sin=on_device(sin, dtype),
        )
        return plan, _versions(plan)


class WindowOrder(NamedTuple):
    """Merge units in window order; int64 on the CPU."""

    window_index: Tensor  # [U] unit at each place
    reverse_index: Tensor  # [U] place of each unit
    window_lengths: Tensor  # [windows] units in each window, never 0


def window_order(grids: Sequence[Grid], config: VisionConfig) -> WindowOrder:
    """Window order of merge units."""
    order = torch.ops.qwen_vl_npu_ops._window_order(_flat(grids), config.spatial_merge_size, config.window_side)
    return WindowOrder(*order)


def axial_rows(table: Tensor, grids: Sequence[Grid], config: VisionConfig, window_side: int) -> Tensor:
    """`table` fp32 `[positions, D/4]` at each patch's row, then at its column: fp32 `[T, D/2]` on the CPU.

    In window order, for windows of `window_side` merge units; with one as large as a frame, in the images' own order.
    """
    return torch.ops.qwen_vl_npu_ops._axial_rows(table, _flat(grids), config.spatial_merge_size, window_side)


def _flat(grids: Sequence[Grid]) -> list[int]:
    return [size for grid in grids for size in grid]


def inverse_frequencies(dim: int, theta: float) -> Tensor:
    """theta^(-2i/dim), i = 0 .. dim/2 - 1 (RoFormer, 3.2.2); in fp32 on the CPU, whose rounding counts."""
    return 1.0 / (theta ** (torch.arange(0, dim, 2, dtype=torch.float32, device="cpu") / dim))


def _axis_angles(grids: Sequence[Grid], config: VisionConfig) -> Tensor:
    """Angles `[positions, D/4]` along one axis: half of a head's angles turn with the row, half with the column."""
    positions = torch.arange(longest_side(grids), dtype=torch.float32, device="cpu")
    return torch.outer(positions, inverse_frequencies(config.head_dim // 2, config.rope_theta))


def longest_side(grids: Sequence[Grid]) -> int:
    """The most patches that any image has along an axis."""
    return max(max(h, w) for _, h, w in grids)


def _cumulative(lengths: Tensor) -> Tensor:
    return torch.nn.functional.pad(lengths.cumsum(0), (1, 0))
