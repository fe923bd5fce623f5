"""What the tests of plan, modules and weights share: transformers' tower, an fp64 one, photos, rms errors."""

import functools

import numpy as np
import pytest
import skimage.data
import torch
import torch.nn.functional as F
from PIL import Image
from transformers import Qwen2VLImageProcessor
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLVisionConfig
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VisionTransformerPretrainedModel

from qwen_vl_npu_ops import reference
from qwen_vl_npu_ops.nn import AscendQwen2_5_VisionTransformer
from qwen_vl_npu_ops.plan import VisionPlan

# The real head size, 80, and both kinds of layers; the rest as small as it gets.
SMALL = {
    "depth": 4,
    "hidden_size": 160,
    "num_heads": 2,
    "intermediate_size": 220,
    "out_hidden_size": 96,
    "fullatt_block_indexes": [1, 3],
}
SEVEN_B = {"hidden_size": 1280}  # transformers' own default is not the 7B model's


@torch.no_grad()
def transformers_tower(sizes=SMALL, *, seed=0, dtype=torch.float32):
    """transformers' tower with random weights, the norms' and biases' too (they start as ones and zeros)."""
    torch.manual_seed(seed)
    tower = Qwen2_5_VisionTransformerPretrainedModel._from_config(Qwen2_5_VLVisionConfig(**sizes)).eval()
    for parameter in tower.parameters():
        if parameter.dim() == 1:
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return tower.requires_grad_(False).to(dtype)


def at_dtype(tower, dtype):
    """A copy of transformers' tower at another dtype, whose rotary angles stay fp32 as in `from_pretrained`."""
    copy = Qwen2_5_VisionTransformerPretrainedModel._from_config(tower.config, dtype=dtype).eval()
    copy.load_state_dict(tower.state_dict())
    assert copy.rotary_pos_emb.inv_freq.dtype == torch.float32
    return copy.requires_grad_(False)


def our_tower(state, config, dtype=torch.float32, **kwargs):
    """Our tower with these weights."""
    with torch.device("meta"):  # initial weights would only cost time
        tower = AscendQwen2_5_VisionTransformer(config, **kwargs)
    tower = tower.to(dtype).to_empty(device="cpu")
    tower.load_weights(state.items(), strict=True)
    return tower


def run_transformers(tower, pixels, grids):
    return tower(pixels.to(tower.dtype), torch.tensor(grids)).pooler_output


def fp64_tower(state, config, pixels, grids, *, interleaved=False):
    """The tower in fp64, out of transformers' weights and names, written apart from `nn`."""
    plan = VisionPlan.build(grids, config)
    heads, head_dim = plan.config.num_heads, plan.config.head_dim

    def weight(name):
        return state[name].double()

    def linear(x, name):
        return F.linear(x, weight(f"{name}.weight"), weight(f"{name}.bias"))

    def norm(x, name):
        return F.rms_norm(x, x.shape[-1:], weight(f"{name}.weight"), 1e-6)

    x = reference.patch_embed(pixels.double(), weight("patch_embed.proj.weight"), row_index=plan.row_index)
    for layer in range(plan.config.depth):
        block = f"blocks.{layer}"
        full = layer in plan.config.fullatt_block_indexes
        qkv = linear(norm(x, f"{block}.norm1"), f"{block}.attn.qkv")
        ends = plan.cu_seqlens_full if full else plan.cu_seqlens_window
        context = reference.rotary_window_attention(
            qkv, plan.cos, plan.sin, ends, heads, head_dim, interleaved=interleaved
        )
        x = x + linear(context, f"{block}.attn.proj")
        y = norm(x, f"{block}.norm2")
        gated = F.silu(linear(y, f"{block}.mlp.gate_proj")) * linear(y, f"{block}.mlp.up_proj")
        x = x + linear(gated, f"{block}.mlp.down_proj")
    x = norm(x, "merger.ln_q").view(-1, plan.config.hidden_size * plan.config.spatial_merge_unit)
    return linear(F.gelu(linear(x, "merger.mlp.0")), "merger.mlp.2")[plan.reverse_index]


def interleaved_state(state, heads, head_dim):
    """Half-rotary weights with q's and k's channels in the order (0, D/2, 1, D/2 + 1, ...): the same attention scores,
    hence the same tower, under interleaved rotary.
    """
    order = torch.arange(head_dim).view(2, -1).T.flatten()

    def reorder(tensor):
        q_k_v = tensor.unflatten(0, (3, heads, head_dim)).clone()
        q_k_v[:2] = q_k_v[:2][:, :, order]
        return q_k_v.flatten(0, 2)

    return {name: reorder(tensor) if ".attn.qkv." in name else tensor for name, tensor in state.items()}


def rms(x):
    return x.double().square().mean().sqrt().item()


def relative_rms(got, expected):
    return rms(got.double() - expected.double()) / rms(expected)


def random_pixels(grids, seed=0):
    rows = sum(t * h * w for t, h, w in grids)
    return torch.randn(rows, 3 * 2 * 14 * 14, generator=torch.Generator().manual_seed(seed))


@functools.cache
def photo(name, width, height):
    """One of scikit-image's photos, stretched to an odd size: (pixels, [(1, h, w)])."""
    image = Image.fromarray(getattr(skimage.data, name)()).resize((width, height))
    return preprocess(np.asarray(image))


def preprocess(image):
    batch = Qwen2VLImageProcessor()(images=image, return_tensors="pt")
    return batch["pixel_values"], [tuple(row) for row in batch["image_grid_thw"].tolist()]


@functools.cache
def clip(frames, width, height):
    """A video: a window that pans over a photo.

    The processor repeats an image over a patch's two frames; here each of the two comes from a picture of its own.
    """
    picture = skimage.data.coffee()
    slots = []
    for i in range(frames):
        pixels, grids = preprocess(np.ascontiguousarray(picture[4 * i : 4 * i + height, 7 * i : 7 * i + width]))
        slots.append(pixels.view(-1, 3, 2, 14, 14)[:, :, i % 2])
    pairs = [torch.stack(pair, dim=2).flatten(1) for pair in zip(slots[::2], slots[1::2], strict=True)]
    (_, h, w) = grids[0]
    return torch.cat(pairs), [(frames // 2, h, w)]


def batch(*items):
    """Several photos and clips as one batch."""
    pixels, grids = zip(*items, strict=True)
    return torch.cat(pixels), [grid for one in grids for grid in one]


def refuses(error, *parts):
    """pytest.raises, with every part somewhere in the message."""
    return pytest.raises(error, match="(?s)" + "".join(f"(?=.*{part})" for part in parts))
