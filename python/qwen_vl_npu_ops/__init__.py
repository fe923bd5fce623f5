"""Fused operators and modules for the Qwen2.5-VL vision tower on Ascend NPUs.

The operators are in :mod:`qwen_vl_npu_ops.ops`, the modules in :mod:`qwen_vl_npu_ops.nn`; importing the package
registers ``torch.ops.qwen_vl_npu_ops``.
"""

from . import _library as _library
from . import npu as npu
from .ops import patch_embed, rotary_qkv, rotary_window_attention, window_attention

__version__ = _library.PACKAGE_VERSION

__all__ = ["__version__", "patch_embed", "rotary_qkv", "rotary_window_attention", "window_attention"]
