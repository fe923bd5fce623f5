"""Photographs and video frames, turned into the rows of pixels that the tower takes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from ..config import VisionConfig
from . import CommandError, failing_as, optional_packages

with optional_packages("encode"):
    import av
    import numpy as np
    import transformers
    from PIL import Image, ImageOps

# Pixels that a video's frame is resized to have, least and most: transformers' Qwen2VLVideoProcessor.size.
# Images have the image processor's own.
VIDEO_FRAME_PIXELS = {"shortest_edge": 128 * 28 * 28, "longest_edge": 768 * 28 * 28}


@dataclasses.dataclass(frozen=True)
class Input:
    """One image or video, as it was read and as the tower takes it."""

    key: str  # "image_0", "video_0": its name in the written file
    path: Path
    frames: tuple[Image.Image, ...]  # one for each step of the grid
    pixels: Tensor  # fp32 [t*h*w, C*temporal_patch_size*patch_size^2]
    grid: tuple[int, int, int]  # t, h, w in patches


def open_processor(config: VisionConfig, directory: Path | None) -> Any:
    """transformers' Qwen2VLImageProcessor with the tower's patch sizes.

    Args:
        directory: where preprocessor_config.json gives the mean, the deviation and the limits of an image's
            size; without that file, or with None, they are transformers' defaults.
    """
    if config.in_channels != 3:
        raise CommandError(f"images have 3 channels, the tower takes {config.in_channels}")
    sizes = {
        "patch_size": config.patch_size,
        "temporal_patch_size": config.temporal_patch_size,
        "merge_size": config.spatial_merge_size,
    }
    logging: Any = transformers.utils.logging
    logging.set_verbosity_error()  # it warns that torchvision is missing, which nothing here needs
    processor_class: Any = transformers.Qwen2VLImageProcessor
    if directory is None or not (directory / "preprocessor_config.json").is_file():
        return processor_class(**sizes)
    with failing_as(directory / "preprocessor_config.json", OSError, ValueError, TypeError):
        return processor_class.from_pretrained(directory, **sizes)


def read_image(path: Path, key: str, processor: Any) -> Input:
    """Read a photograph, upright as its EXIF data says, in 8 bits per channel."""
    with failing_as(path, OSError, ValueError, Image.DecompressionBombError):
        with Image.open(path) as file:
            image = in_8_bits(ImageOps.exif_transpose(file)).convert("RGB")
        batch = processor(images=[image], return_tensors="pt")
    t, h, w = batch["image_grid_thw"][0].tolist()
    return Input(key, path, (image,), batch["pixel_values"], (t, h, w))


def in_8_bits(image: Image.Image) -> Image.Image:
    """Scale 16-bit grey levels to 8 bits, which Pillow's `convert` would clip at 255 instead."""
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) / 257).round().astype(np.uint8))
    if image.mode in ("I", "F"):  # nothing says which value is white
        raise ValueError(f"expected 8 or 16 bits per channel, got Pillow's mode {image.mode!r}")
    return image


def read_video(path: Path, key: str, processor: Any, max_frames: int) -> Input:
    """Read at most max_frames frames of a video, evenly spaced, upright as its display matrix says."""
    with failing_as(path, OSError, ValueError, av.FFmpegError):
        frames = decode_frames(path, max_frames)
        pixels, grid = patchify_frames(frames, processor)
    return Input(key, path, tuple(frames[:: processor.temporal_patch_size]), pixels, grid)


def decode_frames(path: Path, max_frames: int) -> list[Image.Image]:
    """Frames i * total / n, i < n = min(max_frames, total), as transformers samples; no others are kept."""
    with av.open(str(path)) as container:
        if not container.streams.video:
            raise ValueError("no video in it")
        # Counted, as headers may not say or be wrong; this decodes nothing.
        total = sum(packet.size > 0 for packet in container.demux(video=0))
    count = min(max_frames, total)
    wanted = {i * total // count for i in range(count)}
    frames = []
    with av.open(str(path)) as container:
        for index, frame in enumerate(container.decode(video=0)):
            if index in wanted:
                frames.append(frame.to_image().rotate(frame.rotation, expand=True))  # both counterclockwise
            if len(frames) == count:
                break
    if not frames:
        raise ValueError("no frame in it")
    return frames


def patchify_frames(frames: Sequence[Image.Image], processor: Any) -> tuple[Tensor, tuple[int, int, int]]:
    """Pixels and grid of a video, `temporal_patch_size` frames to a step, the last frame repeated to fill it.

    transformers' Qwen2VLVideoProcessor needs torchvision, the image processor does not: so frames go through
    the latter one by one and are laid out as the former does.

    Returns:
        fp32 ``[t*h*w, C*temporal_patch_size*patch_size^2]`` and (t, h, w).
    """
    if len({frame.size for frame in frames}) != 1:
        raise ValueError("expected frames of one size")
    depth = processor.temporal_patch_size
    frames = [*frames, *[frames[-1]] * (-len(frames) % depth)]
    batch = processor(images=frames, size=VIDEO_FRAME_PIXELS, return_tensors="pt")
    _, h, w = batch["image_grid_thw"][0].tolist()
    t = len(frames) // depth
    # An image's patch [C, depth, p*p] has its one frame `depth` times over, a video's has `depth` frames in turn.
    patches = batch["pixel_values"].view(t, depth, h * w, -1, depth, processor.patch_size**2)[..., 0, :]
    return patches.permute(0, 2, 3, 1, 4).reshape(t * h * w, -1), (t, h, w)
