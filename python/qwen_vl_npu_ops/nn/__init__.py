"""The seed's modules, on this package's operators.

Segments are given as cumulative cu_seqlens; `compat.nn` takes lengths.
"""

from .attention import AscendQwen2_5_VisionAttention, AscendQwen2_5_VisionBlock
from .layers import (
    AscendQwen2_5_VisionMLP,
    AscendQwen2_5_VisionPatchEmbed,
    AscendQwen2_5_VisionPatchMerger,
    AscendQwen2_5_VisionRotaryEmbedding,
    Linear,
    RMSNorm,
    silu_and_mul,
    use_our_linear,
    use_torch_linear,
)
from .transformer import AscendQwen2_5_VisionTransformer

__all__ = [
    "AscendQwen2_5_VisionAttention",
    "AscendQwen2_5_VisionBlock",
    "AscendQwen2_5_VisionMLP",
    "AscendQwen2_5_VisionPatchEmbed",
    "AscendQwen2_5_VisionPatchMerger",
    "AscendQwen2_5_VisionRotaryEmbedding",
    "AscendQwen2_5_VisionTransformer",
    "Linear",
    "RMSNorm",
    "silu_and_mul",
    "use_our_linear",
    "use_torch_linear",
]
