"""Towers for the command line: a checkpoint's weights, or random ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from .. import weights
from ..config import VisionConfig
from ..nn import AscendQwen2_5_VisionTransformer
from . import failing_as

# transformers' initializer_range for Qwen2.5-VL.
INITIAL_DEVIATION = 0.02


def read_config(path: Path) -> VisionConfig:
    """The sizes in a JSON file: a vision configuration, or a whole model's that has one."""
    with failing_as(path, OSError, ValueError, TypeError):
        return VisionConfig.of(weights.read_json(path))


def folder_config(directory: Path) -> VisionConfig:
    """The sizes in the config.json beside a folder's weights."""
    with failing_as(directory, OSError, ValueError, TypeError):
        return VisionConfig.of(weights.read_config(directory))


def load_tower(directory: Path, config: VisionConfig, dtype: torch.dtype) -> AscendQwen2_5_VisionTransformer:
    """A tower with the weights of a folder of safetensors files."""
    with failing_as(directory, OSError, ValueError, TypeError):
        return AscendQwen2_5_VisionTransformer.from_pretrained(directory, vision_config=config, dtype=dtype)


def empty_tower(config: VisionConfig, dtype: torch.dtype) -> AscendQwen2_5_VisionTransformer:
    """A tower on the CPU whose parameters are allocated and nothing more."""
    with failing_as("vision_config", ValueError, TypeError), torch.device("meta"):
        tower = AscendQwen2_5_VisionTransformer(config)
    return tower.to(dtype).to_empty(device="cpu")


@torch.no_grad()
def draw_weights(tower: nn.Module, seed: int, tick: Callable[[], object] = lambda: None) -> None:
    """Fill a tower as transformers initialises it: weights normal with deviation 0.02, biases 0, norms 1.

    Drawn in fp32 from one seed and rounded, one parameter at a time, so that towers of every dtype get the
    same weights and memory never holds a second tower.

    Args:
        tick: called after each parameter.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in tower.named_parameters():
        if name.endswith("bias"):
            parameter.zero_()
        elif parameter.dim() == 1:
            parameter.fill_(1.0)
        else:
            parameter.copy_(torch.empty(parameter.shape).normal_(0.0, INITIAL_DEVIATION, generator=generator))
        tick()
