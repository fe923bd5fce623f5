"""torch_npu's operators that vLLM-Ascend's tower calls, with torch_npu's signatures and conventions, on any device.

For code written against torch_npu; :mod:`qwen_vl_npu_ops.ops` has the operators to use in new code.
"""

from ._npu_ops import _npu_flash_attention_unpad, npu_rotary_mul

__all__ = ["_npu_flash_attention_unpad", "npu_rotary_mul"]
