"""compat.nn: the seed's calling conventions give what nn gives."""

import inspect

import pytest
import torch
from towers import SMALL, our_tower, photo, refuses, relative_rms, run_transformers, transformers_tower

from qwen_vl_npu_ops import nn
from qwen_vl_npu_ops.compat import _npu_flash_attention_unpad, npu_rotary_mul
from qwen_vl_npu_ops.compat import nn as compat
from qwen_vl_npu_ops.plan import VisionPlan

GRIDS = [(1, 6, 10), (2, 4, 20)]


@pytest.fixture(scope="module")
def theirs():
    return transformers_tower(SMALL)


def seeds_tower(theirs):
    """Positional arguments, as the seed's model class passes them or could."""
    tower = compat.AscendQwen2_5_VisionTransformer(theirs.config, 1e-6, None, "visual", False)
    tower.load_weights((f"visual.{name}", tensor) for name, tensor in theirs.state_dict().items())
    return tower


def test_the_seeds_forward_step_by_step(theirs):
    """The seed's own sequence of calls: lengths on the CPU, `[s, b, c]`, tables from cal_cos_sin."""
    tower = seeds_tower(theirs)
    grid_thw = torch.tensor(GRIDS)
    pixels = torch.randn(int(grid_thw.prod(-1).sum()), 1176)

    cu_seqlens = torch.repeat_interleave(grid_thw[:, 1] * grid_thw[:, 2], grid_thw[:, 0]).cpu().to(torch.int32)
    x = tower.patch_embed(pixels)
    rotary_pos_emb = tower.rot_pos_emb(grid_thw)
    window_index, cu_window_seqlens = tower.get_window_index(grid_thw)
    cu_window_seqlens = torch.diff(torch.unique_consecutive(torch.tensor(cu_window_seqlens))).to(torch.int32)
    unit = tower.spatial_merge_unit
    x = x.reshape(-1, unit, x.shape[-1])[window_index].reshape(len(x), -1)
    rotary_pos_emb = rotary_pos_emb.reshape(-1, unit, rotary_pos_emb.shape[-1])[window_index].reshape(len(x), -1)
    cos, sin = tower.cal_cos_sin(rotary_pos_emb)
    assert cos.shape == (1, len(x), 1, 128)
    x = x.unsqueeze(1)
    for layer, block in enumerate(tower.blocks):
        lengths = cu_seqlens if layer in tower.fullatt_block_indexes else cu_window_seqlens
        x = block(x, cu_seqlens=lengths, cos=cos, sin=sin)
    x = tower.merger(x)[torch.argsort(window_index)]

    assert relative_rms(x, run_transformers(theirs, pixels, GRIDS)) <= 2e-6
    assert relative_rms(tower(pixels, grid_thw), x) <= 1e-6


def test_the_seeds_forward_with_torch_npus_operators(theirs):
    """The seed's attention, call by call, on compat's stand-ins for torch_npu's operators."""
    attention = seeds_tower(theirs).blocks[0].attn
    plan = VisionPlan.build(GRIDS, SMALL)
    half = (torch.nn.functional.pad(table, (0, 24)) for table in (plan.cos, plan.sin))
    cos, sin = (torch.cat((table, table), dim=-1)[None, :, None] for table in half)
    lengths = plan.cu_seqlens_window.diff()
    x = torch.randn(plan.num_tokens, 1, 160)

    q, k, v = (part.transpose(0, 1).contiguous() for part in attention.split_qkv(attention.qkv(x)))
    q, k = npu_rotary_mul(q, cos, sin), npu_rotary_mul(k, cos, sin)
    q, k, v = (part.flatten(0, 1) for part in (q, k, v))
    context = torch.empty_like(q)
    _npu_flash_attention_unpad(
        query=q, key=k, value=v, seq_len=lengths, scale_value=80**-0.5, num_heads=2, num_kv_heads=2, out=context
    )
    by_hand = attention.proj(context.flatten(1))

    assert relative_rms(attention(x, lengths, cos, sin)[:, 0], by_hand) <= 1e-6


def test_the_tower_on_a_photo(theirs):
    pixels, grids = photo("chelsea", 133, 99)
    tower = seeds_tower(theirs)
    assert relative_rms(tower(pixels, torch.tensor(grids)), run_transformers(theirs, pixels, grids)) <= 2e-6


def test_the_tower_takes_the_lengths_from_the_plan(theirs, monkeypatch):
    tower = seeds_tower(theirs)
    pixels, grids = photo("chelsea", 133, 99)
    plan = VisionPlan.build(grids, tower.config)
    expected = tower(pixels, plan=plan)

    def never(*args):
        raise AssertionError("the window order was worked out again")

    monkeypatch.setattr("qwen_vl_npu_ops.nn.transformer.window_order", never)
    given = []
    for block in tower.blocks:
        block.register_forward_pre_hook(lambda block, args: given.append(args[1]))
    assert torch.equal(tower(pixels, plan=plan), expected)
    window, full = plan.seqlens_window, plan.seqlens_full
    assert all(got is wanted for got, wanted in zip(given, [window, full, window, full], strict=True))


def test_pads_as_the_seed_does(theirs):
    tower = seeds_tower(theirs)
    assert tower.blocks[0].attn.qkv.weight.shape == (3 * 2 * 128, 160)
    assert compat.AscendQwen2_5_VisionAttention(160, 2, 160).proj.weight.shape == (160, 256)
    assert [compat.seed_padding(size) for size in (64, 72, 80, 128, 160)] == [None, 128, 128, None, None]


def test_a_batch_of_two(theirs):
    attention = seeds_tower(theirs).blocks[0].attn
    plan = VisionPlan.build([(1, 4, 10)], attention_config := {**SMALL})
    tower = our_tower(theirs.state_dict(), attention_config)
    x = torch.randn(40, 2, 160)
    cos, sin = (table[None, :, None] for table in (plan.cos, plan.sin))
    got = attention(x, torch.tensor([40, 40], dtype=torch.int32), cos, sin)
    for i in range(2):
        expected = tower.blocks[0].attn(x[:, i], plan.cu_seqlens_full, plan.cos, plan.sin)
        assert relative_rms(got[:, i], expected) <= 1e-6


@pytest.mark.parametrize("name", [name for name in compat.__all__ if name.startswith("Ascend")])
def test_every_module_has_its_counterpart(name):
    ours, compatible = getattr(nn, name), getattr(compat, name)
    assert issubclass(compatible, ours)
    positional = list(inspect.signature(compatible).parameters)
    assert positional[: len(SEED_ARGUMENTS[name])] == SEED_ARGUMENTS[name]


SEED_ARGUMENTS = {
    "AscendQwen2_5_VisionAttention": ["embed_dim", "num_heads", "projection_size", "quant_config", "prefix"],
    "AscendQwen2_5_VisionBlock": [
        "dim",
        "num_heads",
        "mlp_hidden_dim",
        "act_fn",
        "norm_layer",
        "quant_config",
        "prefix",
    ],
    "AscendQwen2_5_VisionRotaryEmbedding": ["dim", "theta"],
    "AscendQwen2_5_VisionTransformer": ["vision_config", "norm_eps", "quant_config", "prefix", "interleaved"],
    "AscendQwen2_5_VisionPatchEmbed": ["patch_size", "temporal_patch_size", "in_channels", "hidden_size"],
    "AscendQwen2_5_VisionMLP": ["in_features", "hidden_features", "bias", "act_fn", "quant_config", "prefix"],
    "AscendQwen2_5_VisionPatchMerger": [
        "d_model",
        "context_dim",
        "norm_layer",
        "spatial_merge_size",
        "quant_config",
        "prefix",
    ],
}

GOOD_CALL = {
    "x": torch.zeros(8, 1, 160),
    "cu_seqlens": torch.tensor([4, 4], dtype=torch.int32),
    "cos": torch.zeros(1, 8, 1, 128),
    "sin": torch.zeros(1, 8, 1, 128),
}


@pytest.mark.parametrize(
    ("argument", "value", "error", "parts"),
    [
        ("x", torch.zeros(8, 160), ValueError, ["x", r"\[8, 160\]"]),
        ("cu_seqlens", [4, 4], TypeError, ["cu_seqlens", "list"]),
        ("cu_seqlens", torch.tensor([4.0, 4.0]), TypeError, ["cu_seqlens", "float32"]),
        ("cu_seqlens", torch.tensor([4, 5]), ValueError, ["cu_seqlens", "at most 8", r"\[4, 5\]"]),
        ("cu_seqlens", torch.tensor([9, -1]), ValueError, ["cu_seqlens", r"\[9, -1\]"]),
        ("cu_seqlens", torch.tensor([[4, 4]]), ValueError, ["cu_seqlens", r"\[1, 2\]"]),
        ("cos", torch.zeros(1, 7, 1, 128), ValueError, ["cos", "7"]),
        ("sin", torch.zeros(1, 8, 1, 64), ValueError, ["sin", "64"]),
    ],
)
def test_a_bad_call_is_named(argument, value, error, parts):
    attention = compat.AscendQwen2_5_VisionAttention(160, 2, 160)
    with refuses(error, *parts):
        attention(**GOOD_CALL | {argument: value})


def test_a_bad_call_with_a_batch_is_named():
    attention = compat.AscendQwen2_5_VisionAttention(160, 2, 160)
    with refuses(ValueError, "cos", r"\[1, 8, 1, any\]", r"\[8, 40\]"):
        attention(**GOOD_CALL | {"x": torch.zeros(8, 2, 160), "cos": torch.zeros(8, 40)})


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [((160, 0, 160), ["num_heads", "0"]), ((160, 2, 0), ["projection_size", "0"]), ((160, 3, 160), ["num_heads", "3"])],
)
def test_a_bad_constructor_argument_is_named(arguments, parts):
    with refuses(ValueError, *parts):
        compat.AscendQwen2_5_VisionAttention(*arguments)
