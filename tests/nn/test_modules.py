"""Each module against transformers' (or the formula), the helpers that the seed names, padding, and bad arguments."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from towers import SMALL, at_dtype, refuses, relative_rms, transformers_tower
from transformers.vision_utils import get_vision_position_ids, get_vision_window_index

from qwen_vl_npu_ops import nn, reference
from qwen_vl_npu_ops.plan import VisionPlan

GRIDS = [(1, 6, 10), (2, 4, 20)]


@pytest.fixture(scope="module")
def theirs():
    return transformers_tower(SMALL)


@pytest.fixture(scope="module")
def ours(theirs):
    tower = nn.AscendQwen2_5_VisionTransformer(theirs.config)
    tower.load_weights(theirs.state_dict().items(), strict=True)
    return tower


@pytest.fixture(scope="module")
def plan(ours):
    return VisionPlan.build(GRIDS, ours.config)


@pytest.fixture
def hidden(plan):
    torch.manual_seed(1)
    return torch.randn(plan.num_tokens, 160)


def full_tables(plan):
    return tuple(torch.cat((table, table), dim=-1) for table in (plan.cos, plan.sin))


# ---- against transformers' modules


def test_rms_norm(ours, theirs, hidden):
    assert relative_rms(ours.blocks[0].norm1(hidden), theirs.blocks[0].norm1(hidden)) <= 1e-7


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_rms_norm_rounds_once(dtype):
    norm = nn.RMSNorm(160, eps=1e-5).to(dtype)
    norm.weight.copy_(torch.randn(160))
    x = torch.randn(64, 160).to(dtype)
    exact = F.rms_norm(x.double(), (160,), norm.weight.double(), 1e-5)
    # fp32 arithmetic may tip a tie of the last rounding, nothing more
    assert (norm(x) != exact.to(dtype)).float().mean() < 1e-3


def test_rms_norm_of_large_values_in_fp16():
    x = torch.full((1, 160), 60000.0, dtype=torch.float16)  # its square overflows fp16
    assert torch.equal(nn.RMSNorm(160).half()(x), torch.ones_like(x))


def test_mlp(ours, theirs, hidden):
    assert relative_rms(ours.blocks[1].mlp(hidden), theirs.blocks[1].mlp(hidden)) <= 1e-6


def test_patch_embed(ours, theirs, plan):
    pixels = torch.randn(plan.num_tokens, 1176)
    expected = theirs.patch_embed(pixels)
    assert relative_rms(ours.patch_embed(pixels), expected) <= 1e-6
    in_window_order = ours.patch_embed(pixels, plan.row_index)
    assert relative_rms(in_window_order, expected[plan.row_index.long()]) <= 1e-6


def test_patch_merger(ours, theirs, hidden):
    expected = theirs.merger(hidden)
    assert relative_rms(ours.merger(hidden), expected) <= 1e-6
    assert torch.equal(ours.merger(hidden.unsqueeze(1)), ours.merger(hidden))


@pytest.mark.parametrize("segments", ["full", "window"])
def test_attention_and_block(ours, theirs, plan, hidden, segments):
    ends = getattr(plan, f"cu_seqlens_{segments}")
    longest = getattr(plan, f"max_seqlen_{segments}")
    theirs_kwargs = {"cu_seqlens": ends, "position_embeddings": full_tables(plan)}
    for name in ("attn", None):
        block, peer = ours.blocks[0], theirs.blocks[0]
        module, peer = (getattr(block, name), getattr(peer, name)) if name else (block, peer)
        expected = peer(hidden, **theirs_kwargs)
        got = module(hidden, ends, plan.cos, plan.sin)
        assert relative_rms(got, expected) <= 1e-6
        assert torch.equal(module(hidden, ends.long(), plan.cos, plan.sin, longest), got)


def test_rotary_embedding(ours, theirs):
    rotary = nn.AscendQwen2_5_VisionRotaryEmbedding(40)
    assert torch.equal(rotary.inv_freq, theirs.rotary_pos_emb.inv_freq)
    angles = rotary(9)
    assert angles.shape == (9, 20)
    torch.testing.assert_close(angles[3, 1], 3.0 * torch.tensor(10000.0 ** (-2 / 40)))


def test_rotary_frequencies_stay_fp32_on_the_cpu(theirs):
    tower = nn.AscendQwen2_5_VisionTransformer(theirs.config).to(torch.bfloat16).to("meta")
    assert tower.rotary_pos_emb.inv_freq.dtype == torch.float32
    assert tower.rotary_pos_emb.inv_freq.device.type == "cpu"


def test_bf16_block_keeps_its_dtype(theirs, plan, hidden):
    peer = at_dtype(theirs, torch.bfloat16).blocks[0]
    tower = nn.AscendQwen2_5_VisionTransformer(theirs.config).to(torch.bfloat16)
    tower.load_weights(theirs.state_dict().items())
    x = hidden.bfloat16()
    got = tower.blocks[0](x, plan.cu_seqlens_full, plan.cos, plan.sin)
    expected = peer(x, cu_seqlens=plan.cu_seqlens_full, position_embeddings=full_tables(plan))
    assert got.dtype == torch.bfloat16
    assert relative_rms(got, expected) <= 1e-2


# ---- what the seed names


def test_split_qkv():
    attention = nn.AscendQwen2_5_VisionAttention(160, 2, 160)
    qkv = torch.arange(5 * 480.0).view(5, 480)
    q, k, v = attention.split_qkv(qkv)
    assert q.shape == k.shape == v.shape == (5, 2, 80)
    assert torch.equal(k[3, 1], qkv[3, 160 + 80 : 160 + 160])
    assert v.data_ptr() == qkv[:, 320:].data_ptr()  # views
    assert attention.split_qkv(qkv.view(5, 1, 480))[0].shape == (5, 1, 2, 80)  # the seed's [s, b, ...]


def test_rot_pos_emb(ours, plan):
    angles = ours.rot_pos_emb(torch.tensor(GRIDS))
    positions = get_vision_position_ids(torch.tensor(GRIDS), 2)
    expected = torch.cat([positions[:, [axis]] * ours.rotary_pos_emb.inv_freq for axis in (0, 1)], dim=-1)
    torch.testing.assert_close(angles, expected, rtol=0, atol=0)
    torch.testing.assert_close(angles[plan.row_index.long()].cos(), plan.cos, rtol=0, atol=1e-7)


def test_get_window_index(ours):
    window_index, ends = ours.get_window_index(GRIDS)
    expected_index, expected_ends = get_vision_window_index(torch.tensor(GRIDS), 2, 112, 14)
    assert torch.equal(window_index, expected_index)
    assert ends == expected_ends.tolist()


def test_the_metadata_is_on_the_cpu_whatever_the_default_device(ours):
    angles, (window_index, ends) = ours.rot_pos_emb(GRIDS), ours.get_window_index(GRIDS)
    with torch.device("meta"):
        assert torch.equal(ours.rot_pos_emb(GRIDS), angles)
        got_index, got_ends = ours.get_window_index(GRIDS)
    assert torch.equal(got_index, window_index)
    assert got_ends == ends


@pytest.mark.parametrize("pad_head_dim", [None, 128])
def test_cal_cos_sin_half(theirs, pad_head_dim):
    tower = nn.AscendQwen2_5_VisionTransformer(theirs.config, pad_head_dim=pad_head_dim)
    angles = tower.rot_pos_emb(GRIDS)
    width = pad_head_dim or 80
    for table, function in zip(tower.cal_cos_sin(angles), (torch.cos, torch.sin), strict=True):
        assert table.shape == (1, len(angles), 1, width)
        # the seed pads each half, then repeats it
        half = F.pad(function(angles), (0, (width - 80) // 2))
        assert torch.equal(table[0, :, 0], torch.cat((half, half), dim=-1))


@pytest.mark.parametrize("pad_head_dim", [None, 128])
def test_cal_cos_sin_interleaved(theirs, pad_head_dim):
    tower = nn.AscendQwen2_5_VisionTransformer(theirs.config, interleaved=True, pad_head_dim=pad_head_dim)
    angles = tower.rot_pos_emb(GRIDS)
    for table, function in zip(tower.cal_cos_sin(angles), (torch.cos, torch.sin), strict=True):
        flat = table[0, :, 0]
        assert torch.equal(flat[:, 0:80:2], function(angles))
        assert torch.equal(flat[:, 1:80:2], function(angles))
        assert flat[:, 80:].count_nonzero() == 0


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("pad_head_dim", [None, 128])
def test_attention_takes_the_seeds_tables_as_well(plan, interleaved, pad_head_dim):
    torch.manual_seed(0)
    tower = nn.AscendQwen2_5_VisionTransformer(SMALL, interleaved=interleaved, pad_head_dim=pad_head_dim)
    x = torch.randn(plan.num_tokens, 160)
    tables = tower.cal_cos_sin(tower.rot_pos_emb(GRIDS)[plan.row_index.long()])
    block = tower.blocks[0]
    got = block(x, plan.cu_seqlens_window, *tables)
    assert relative_rms(got, block(x, plan.cu_seqlens_window, plan.cos, plan.sin)) <= 1e-6


# ---- padding


def padded_tower(interleaved):
    with torch.device("meta"):
        return nn.AscendQwen2_5_VisionTransformer(SMALL, interleaved=interleaved, pad_head_dim=128)


PADS = {
    "pad_qkv_weight": ((480, 160), 0),
    "pad_qkv_bias": ((480,), 0),
    "pad_proj_weight": ((160, 160), 1),
    "pad_qkv_weight_scale_offset": ((480, 1), 0),
    "pad_qkv_deq_scale_quant_bias": ((480,), 0),
}


@pytest.mark.parametrize("method", PADS)
@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int8, torch.int32, torch.int64])
def test_padding_puts_zeros_where_the_rotary_wants_them(method, interleaved, dtype):
    shape, dim = PADS[method]
    data = torch.arange(1, 1 + torch.Size(shape).numel()).remainder(100).add(1).view(shape).to(dtype)
    padded = getattr(padded_tower(interleaved), method)(data)
    assert padded.dtype == dtype
    assert padded.is_contiguous()
    assert padded.shape == tuple(size // 80 * 128 if i == dim else size for i, size in enumerate(shape))
    heads = padded.movedim(dim, -1).unflatten(-1, (-1, 128))
    plain = data.movedim(dim, -1).unflatten(-1, (-1, 80))
    if interleaved:
        expected = F.pad(plain, (0, 48))
    else:  # 40 real, 24 zeros, 40 real, 24 zeros
        expected = torch.cat([F.pad(half, (0, 24)) for half in plain.split(40, dim=-1)], dim=-1)
    assert torch.equal(heads, expected)
    assert torch.equal(reference.unpad_heads(heads, 80, interleaved), plain)


def test_padding_agrees_with_the_seeds_formula():
    # Three heads of 80 at a time, each half padded by 24: written as the seed does it, in its own shapes.
    weight = torch.randn(480, 160)
    first, second = weight.reshape(-1, 3, 80, 160).split(40, dim=2)
    seed = torch.cat([F.pad(half, (0, 0, 0, 24)) for half in (first, second)], dim=2).reshape(-1, 160)
    assert torch.equal(padded_tower(False).pad_qkv_weight(weight), seed)
    weight = torch.randn(160, 160)
    seed = F.pad(weight.reshape(160, -1, 40), (0, 24)).reshape(160, -1)
    assert torch.equal(padded_tower(False).pad_proj_weight(weight), seed)


@pytest.mark.parametrize("method", PADS)
def test_padding_refuses_other_shapes(method):
    shape, dim = PADS[method]
    bad_size = [size + 1 if i == dim else size for i, size in enumerate(shape)]
    pad = getattr(padded_tower(False), method)
    with refuses(ValueError, "data", "80", str(bad_size[dim])):
        pad(torch.ones(bad_size))
    with refuses(ValueError, "data", "dimensions"):
        pad(torch.ones(*shape, 1))
    with refuses(TypeError, "data", "Tensor", "list"):
        pad([1.0])


# ---- bad arguments

MODULES = {
    "attention": partial(nn.AscendQwen2_5_VisionAttention, embed_dim=160, num_heads=2, projection_size=160),
    "block": partial(nn.AscendQwen2_5_VisionBlock, dim=160, num_heads=2, mlp_hidden_dim=64),
    "mlp": partial(nn.AscendQwen2_5_VisionMLP, in_features=160, hidden_features=64),
    "merger": partial(nn.AscendQwen2_5_VisionPatchMerger, d_model=96, context_dim=160),
    "patch_embed": partial(nn.AscendQwen2_5_VisionPatchEmbed, hidden_size=160),
    "rotary": partial(nn.AscendQwen2_5_VisionRotaryEmbedding, dim=40),
    "norm": partial(nn.RMSNorm, hidden_size=160),
}

BAD_CONSTRUCTIONS = [
    ("attention", {"embed_dim": 0}, ValueError, ["embed_dim", "positive", "0"]),
    ("attention", {"embed_dim": "160"}, TypeError, ["embed_dim", "int", "str"]),
    ("attention", {"num_heads": 3}, ValueError, ["num_heads", "divisor of 160", "3"]),
    ("attention", {"num_heads": 160}, ValueError, ["num_heads", "even head size", "1"]),
    ("attention", {"projection_size": -160}, ValueError, ["projection_size", "-160"]),
    ("attention", {"quant_config": 8}, TypeError, ["quant_config", "int"]),
    ("attention", {"prefix": 1}, TypeError, ["prefix", "int"]),
    ("attention", {"interleaved": "no"}, TypeError, ["interleaved", "str"]),
    ("attention", {"pad_head_dim": 79}, ValueError, ["pad_head_dim", "80", "79"]),
    ("attention", {"pad_head_dim": 258}, ValueError, ["pad_head_dim", "256", "258"]),
    ("attention", {"projection_size": 640}, ValueError, ["num_heads", "256", "320"]),
    ("block", {"dim": 1.5}, TypeError, ["dim", "float"]),
    ("block", {"mlp_hidden_dim": 0}, ValueError, ["hidden_features", "0"]),
    ("block", {"act_fn": "silu"}, TypeError, ["act_fn", "callable", "str"]),
    ("block", {"norm_layer": 1e-6}, TypeError, ["norm_layer", "callable", "float"]),
    ("mlp", {"in_features": None}, TypeError, ["in_features", "NoneType"]),
    ("mlp", {"bias": 1}, TypeError, ["bias", "bool", "int"]),
    ("mlp", {"hidden_features": True}, TypeError, ["hidden_features", "bool"]),
    ("merger", {"d_model": 0}, ValueError, ["d_model", "0"]),
    ("merger", {"context_dim": 0}, ValueError, ["context_dim", "0"]),
    ("merger", {"spatial_merge_size": 0}, ValueError, ["spatial_merge_size", "0"]),
    ("merger", {"norm_layer": "rms"}, TypeError, ["norm_layer", "str"]),
    ("patch_embed", {"patch_size": 0}, ValueError, ["patch_size", "0"]),
    ("patch_embed", {"temporal_patch_size": 0}, ValueError, ["temporal_patch_size", "0"]),
    ("patch_embed", {"in_channels": "3"}, TypeError, ["in_channels", "str"]),
    ("rotary", {"dim": 41}, ValueError, ["dim", "even", "41"]),
    ("rotary", {"theta": 0.0}, ValueError, ["theta", "positive", "0"]),
    ("rotary", {"theta": "1e4"}, TypeError, ["theta", "str"]),
    ("norm", {"eps": -1e-6}, ValueError, ["eps", "positive", "-1e-06"]),
    ("norm", {"hidden_size": 0}, ValueError, ["hidden_size", "0"]),
]


@pytest.mark.parametrize(("module", "arguments", "error", "parts"), BAD_CONSTRUCTIONS)
def test_a_bad_constructor_argument_is_named(module, arguments, error, parts):
    with refuses(error, *parts):
        MODULES[module](**arguments)


TOKENS = 8
GOOD_CALL = {
    "x": torch.zeros(TOKENS, 160),
    "cu_seqlens": torch.tensor([0, 4, 8], dtype=torch.int32),
    "cos": torch.zeros(TOKENS, 40),
    "sin": torch.zeros(TOKENS, 40),
}
BAD_CALLS = [
    ("x", torch.zeros(TOKENS, 161), ValueError, ["x", "160", "161"]),
    ("x", torch.zeros(TOKENS, 1, 160), ValueError, ["x", r"\[8, 1, 160\]"]),
    ("x", None, TypeError, ["x", "NoneType"]),
    ("cu_seqlens", torch.tensor([0, 4, 9], dtype=torch.int32), ValueError, ["cu_seqlens", "9"]),
    ("cu_seqlens", torch.tensor([4, 4], dtype=torch.int32), ValueError, ["cu_seqlens", "4"]),
    ("cu_seqlens", torch.tensor([0.0, 8.0]), TypeError, ["cu_seqlens"]),
    ("cu_seqlens", [0, 8], TypeError, ["cu_seqlens", "list"]),
    ("cos", torch.zeros(TOKENS - 1, 40), ValueError, ["cos", "8", "7"]),
    ("cos", torch.zeros(TOKENS, 41), ValueError, ["cos", "41"]),
    ("sin", torch.zeros(TOKENS, 80), ValueError, ["sin", "80"]),
    ("sin", 0.5, TypeError, ["sin", "float"]),
    ("max_seqlen", 4.0, TypeError, ["max_seqlen", "float"]),
]


@pytest.mark.parametrize("module", ["attention", "block"])
@pytest.mark.parametrize(("argument", "value", "error", "parts"), BAD_CALLS)
def test_a_bad_call_of_attention_and_block_is_named(module, argument, value, error, parts):
    if module == "block" and argument == "x" and isinstance(value, torch.Tensor) and value.dim() == 3:
        value = value.squeeze(0)
    with refuses(error, *parts):
        MODULES[module]()(**GOOD_CALL | {argument: value})


OTHER_BAD_CALLS = [
    ("mlp", torch.zeros(8, 161), ValueError, ["x", "160", "161"]),
    ("mlp", [0.0], TypeError, ["x", "list"]),
    ("norm", torch.zeros(8, 1), ValueError, ["x", "160", "1"]),
    ("norm", torch.tensor(1.0), ValueError, ["x", "160"]),
    ("merger", torch.zeros(7, 160), ValueError, ["x", "divisible by 4", "7"]),
    ("merger", torch.zeros(8, 161), ValueError, ["x", "160", "161"]),
    ("patch_embed", torch.zeros(8, 588), ValueError, ["x", "1176", "588"]),
    ("patch_embed", "pixels", TypeError, ["x", "str"]),
    ("rotary", 0, ValueError, ["seqlen", "0"]),
    ("rotary", 4.0, TypeError, ["seqlen", "float"]),
]


@pytest.mark.parametrize(("module", "value", "error", "parts"), OTHER_BAD_CALLS)
def test_a_bad_call_is_named(module, value, error, parts):
    with refuses(error, *parts):
        MODULES[module]()(value)


def test_an_activation_that_does_not_multiply_is_named():
    with refuses(ValueError, "act_fn", "128", "64"):
        MODULES["mlp"](act_fn=F.silu)(torch.zeros(8, 160))


def test_bad_arguments_of_the_towers_helpers_are_named(ours):
    with refuses(ValueError, "rotary_pos_emb", "40", "20"):
        ours.cal_cos_sin(torch.zeros(8, 20))
    with refuses(ValueError, "grid_thw", "image 0", "divisible by 2"):
        ours.rot_pos_emb([(1, 3, 4)])
    with refuses(TypeError, "grid_thw", "float32"):
        ours.get_window_index(torch.ones(1, 3))
    with refuses(ValueError, "qkv", "480", "479"):
        ours.blocks[0].attn.split_qkv(torch.zeros(2, 479))


@pytest.mark.parametrize("module", ["attention", "block", "mlp", "merger", "patch_embed", "norm"])
def test_inference_only(module):
    assert not any(parameter.requires_grad for parameter in MODULES[module]().parameters())


def test_attention_of_an_input_that_needs_grad_is_refused():
    with torch.enable_grad(), refuses(ValueError, "qkv", "grad"):
        MODULES["attention"]()(**GOOD_CALL | {"x": torch.zeros(TOKENS, 160, requires_grad=True)})
