"""Where the package keeps what it has compiled or found out: QWEN_VL_NPU_OPS_CACHE, or the user's cache folder."""

from __future__ import annotations

import os
from pathlib import Path


def cache_dir(name: str) -> Path:
    """The folder for `name`; it need not exist yet."""
    root = os.environ.get("QWEN_VL_NPU_OPS_CACHE")
    if root:
        return Path(root) / name
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "qwen_vl_npu_ops" / name
