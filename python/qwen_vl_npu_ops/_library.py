"""Loads the native library, which registers the operators, and gives them their fakes."""

from pathlib import Path

import torch

LIBRARY = Path(__file__).parent / "lib" / "libqwen_vl_npu_ops.so"

if not LIBRARY.exists():
    raise ImportError(
        f"qwen_vl_npu_ops: {LIBRARY.name} has not been built; "
        "run `pip install --no-build-isolation .` (or `make build`) in the project's folder"
    )
torch.ops.load_library(LIBRARY)

from . import _fakes as _fakes  # noqa: E402  (the fakes attach to schemas that the library defines)
