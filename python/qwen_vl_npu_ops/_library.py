"""Loads the native libraries, which register the operators, and gives them their fakes."""

import importlib
import logging
from importlib.metadata import version
from pathlib import Path

import torch

PACKAGE_VERSION = version("qwen-vl-npu-ops")
LIBRARY = Path(__file__).parent / "lib" / "libqwen_vl_npu_ops.so"
# Only where the package was built with CANN; the first needs torch_npu, and loads the second.
NPU_LIBRARIES = (LIBRARY.with_name("libqwen_vl_npu_ops_npu.so"), LIBRARY.with_name("libqwen_vl_npu_ops_device.so"))

if not LIBRARY.exists():
    raise ImportError(
        f"qwen_vl_npu_ops: {LIBRARY.name} has not been built; "
        "run `pip install --no-build-isolation .` (or `make build`) in the project's folder"
    )
torch.ops.load_library(LIBRARY)


def load_npu_library(library: Path) -> None:
    """Load the NPU side; what torch_npu or CANN's runtime lack here is a warning, as the CPU needs neither."""
    try:
        importlib.import_module("torch_npu")
        torch.ops.load_library(library)
    except (ImportError, OSError) as error:
        logging.getLogger("qwen_vl_npu_ops").warning("no NPU kernels: %s cannot be loaded: %s", library.name, error)


if NPU_LIBRARIES[0].exists():
    load_npu_library(NPU_LIBRARIES[0])

from . import _composition as _composition  # noqa: E402  (these attach to schemas that the library defines)
from . import _fakes as _fakes  # noqa: E402
