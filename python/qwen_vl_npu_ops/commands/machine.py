"""What a report says of the machine and of the packages on it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path

import torch

PACKAGES = ("qwen-vl-npu-ops", "torch", "torch-npu", "transformers", "safetensors", "numpy")


def versions() -> dict[str, str | None]:
    """Out of the packages' metadata, as torch_npu cannot be imported where CANN is missing; None: not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def machine() -> dict[str, str | int]:
    """Its processor, cores, and the threads that torch uses of them."""
    return {"cpu": _cpu_model(), "cores": os.cpu_count() or 1, "threads": torch.get_num_threads()}


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return f"{line.partition(':')[2].strip()} ({platform.machine()})"
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine()
