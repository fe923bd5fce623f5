"""A picture of images beside their embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from . import failing_as, optional_packages
from .inputs import Input

with optional_packages("encode"):
    from matplotlib.figure import Figure
    from PIL import Image

# Steps of a video that are drawn.
MAX_STEPS = 4
COLUMNS = 2  # of pairs
IMAGE_WIDTH, TITLE_HEIGHT = 3.5, 0.3  # inches
MAX_SHAPE = 2.0  # height over width of the tallest image that gets the whole width


def pca_colours(embeddings: Tensor) -> Tensor:
    """First three principal components as red, green and blue: `[n, C] -> [n, 3]`, fp32 in 0..1.

    Each component is scaled so that its 1st and 99th percentile are 0 and 1; its largest loading is positive.
    """
    rows = embeddings.float()
    rows = rows - rows.mean(0)
    _, _, loadings = torch.linalg.svd(rows, full_matrices=False)
    loadings = loadings[:3]
    largest = loadings.gather(1, loadings.abs().argmax(1, keepdim=True))
    components = rows @ (loadings * largest.sign()).T
    low, high = (components.quantile(q, dim=0) for q in (0.01, 0.99))
    colours = ((components - low) / (high - low).clamp(min=1e-12)).clamp(0.0, 1.0)
    return torch.nn.functional.pad(colours, (0, 3 - colours.shape[1]))


def draw(inputs: Sequence[Input], embeddings: Sequence[Tensor], merge_size: int, path: Path) -> None:
    """Draw each image, and evenly spaced steps of each video, beside the colours of its embeddings.

    Args:
        embeddings: `[t*h*w / merge_size^2, C]` for each input.
        path: where to write; its suffix says which format.
    """
    pairs = [pair for item, rows in zip(inputs, embeddings, strict=True) for pair in _pairs(item, rows, merge_size)]
    columns = min(len(pairs), COLUMNS)
    shapes = [min(image.height / image.width, MAX_SHAPE) for _, image, _ in pairs]
    heights = [IMAGE_WIDTH * max(shapes[i : i + columns]) + TITLE_HEIGHT for i in range(0, len(pairs), columns)]
    figure = Figure(figsize=(2 * IMAGE_WIDTH * columns, sum(heights)), layout="constrained")
    axes = figure.subplots(len(heights), 2 * columns, squeeze=False, height_ratios=heights).flat
    for axis in axes:
        axis.set_axis_off()
    for i, (title, image, colours) in enumerate(pairs):
        axes[2 * i].imshow(image)
        axes[2 * i].set_title(title, fontsize=9, parse_math=False)
        # Pixels of both have the same extent, so that they line up.
        axes[2 * i + 1].imshow(colours.numpy(), extent=(0, image.width, image.height, 0), interpolation="nearest")
        axes[2 * i + 1].set_title(f"PCA of {colours.shape[0]}x{colours.shape[1]} embeddings", fontsize=9)
    with failing_as(path, OSError, ValueError):
        figure.savefig(path, dpi=120)


def _pairs(item: Input, embeddings: Tensor, merge_size: int) -> list[tuple[str, Image.Image, Tensor]]:
    """Title, image and colours [h/merge_size, w/merge_size, 3] of the steps that are drawn."""
    t, h, w = item.grid
    colours = pca_colours(embeddings).view(t, h // merge_size, w // merge_size, 3)
    count = min(t, MAX_STEPS)
    steps = [i * t // count for i in range(count)]
    return [
        (item.path.name if t == 1 else f"{item.path.name}, step {step}", item.frames[step], colours[step])
        for step in steps
    ]
