"""How much memory a forward takes for a while, beyond the model and its input: measured in a process of its own."""

from __future__ import annotations

import ctypes
import dataclasses
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from ..commands.options import DTYPES
from ..config import VisionConfig
from ..plan import Grid
from . import towers

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
# Runs first, so that what is set up once for good is not counted.
SMALL: tuple[Grid, ...] = ((1, 4, 4),)


def transient(
    implementation: str | None, grids: Sequence[Grid], config: VisionConfig, dtype: str, threads: int
) -> int | None:
    """Bytes at the most, results included; None where the system does not tell.

    A layer leaves nothing behind, so that a tower with one of each kind shows it.

    Args:
        implementation: of transformers' attention; None is our tower.
    """
    if not _CLEAR.exists():
        return None
    sizes = dataclasses.asdict(towers.shallow(config, 2))
    request = {"implementation": implementation, "grids": grids, "sizes": sizes, "dtype": dtype, "threads": threads}
    command = [sys.executable, "-m", __name__, json.dumps(request)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return int(done.stdout) if done.returncode == 0 else None


def _measure(implementation: str | None, grids: list[Grid], sizes: dict[str, object], dtype: str, threads: int) -> int:
    torch.set_num_threads(threads)
    config = VisionConfig.of(sizes)
    with torch.inference_mode():
        ours = towers.build(config, DTYPES[dtype])
        tower = ours if implementation is None else towers.transformers_tower(ours, implementation)
        for batch in (SMALL, grids):
            pixels = towers.random_pixels(sum(t * h * w for t, h, w in batch), config)
            before = _start()
            towers.call(tower, pixels, torch.tensor(batch))
            peak = _kib("VmHWM")
    return 1024 * (peak - before)


def _start() -> int:
    """Give back what was freed, set the high-water mark to what is there now, and return that."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's
    if trim is not None:
        trim(0)
    _CLEAR.write_text("5")
    return _kib("VmHWM")


def _kib(field: str) -> int:
    found = re.search(rf"{field}:\s*(\d+) kB", _STATUS.read_text())
    assert found is not None
    return int(found.group(1))


if __name__ == "__main__":
    print(_measure(**json.loads(sys.argv[1])))
