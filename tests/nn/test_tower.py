"""The whole tower against transformers' with the same weights, on photos and a video."""

import copy

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from towers import (
    SEVEN_B,
    SMALL,
    at_dtype,
    batch,
    clip,
    fp64_tower,
    interleaved_state,
    our_tower,
    photo,
    random_pixels,
    refuses,
    relative_rms,
    run_transformers,
    transformers_tower,
)

from qwen_vl_npu_ops.nn import AscendQwen2_5_VisionTransformer
from qwen_vl_npu_ops.plan import VisionPlan


@pytest.fixture(scope="module")
def theirs():
    return transformers_tower(SMALL)


@pytest.fixture(scope="module")
def ours(theirs):
    return our_tower(theirs.state_dict(), theirs.config)


def distance_in_angle(got, exact):
    """1 - cosine of the two results as vectors, by the angle's sine, which does not cancel."""
    got = got.double().flatten()
    along = exact.flatten() / exact.norm()
    cosine = (got @ along / got.norm()).item()
    sine = ((got - (got @ along) * along).norm() / got.norm()).item()
    assert cosine > 0
    return sine**2 / (1 + cosine)


INPUTS = {
    "one photo": lambda: photo("astronaut", 333, 251),
    "a narrow photo": lambda: photo("rocket", 61, 487),
    "smallest image": lambda: (random_pixels([(1, 2, 2)]), [(1, 2, 2)]),
    "several photos": lambda: batch(photo("coffee", 173, 221), photo("rocket", 300, 97), photo("chelsea", 99, 133)),
    "a video": lambda: clip(6, 171, 131),
    "photos and videos": lambda: batch(
        clip(4, 99, 200), photo("coffee", 120, 201), clip(2, 60, 60), photo("astronaut", 333, 251)
    ),
}


@pytest.mark.parametrize("name", INPUTS)
def test_agrees_with_transformers(ours, theirs, name):
    pixels, grids = INPUTS[name]()
    expected = run_transformers(theirs, pixels, grids)
    got = ours(pixels, grids)
    assert got.shape == expected.shape
    assert got.dtype == torch.float32
    assert relative_rms(got, expected) <= 2e-6


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_rms_error_and_cosine_are_no_worse_than_transformers(theirs, dtype, name):
    pixels, grids = INPUTS[name]()
    peer = at_dtype(theirs, dtype)
    exact = fp64_tower(peer.state_dict(), peer.config, pixels.to(dtype), grids)
    got = our_tower(peer.state_dict(), peer.config, dtype)(pixels, grids)
    assert got.dtype == dtype
    expected = run_transformers(peer, pixels, grids)
    # One row of output is too little for its rms error to be told from another's to two percent.
    slack = 1.02 if got.shape[0] > 1 else 1.2
    assert relative_rms(got, exact) <= slack * relative_rms(expected, exact)
    # The angle's square, hence the slack's too.
    assert distance_in_angle(got, exact) <= slack**2 * distance_in_angle(expected, exact)


@pytest.fixture(scope="module")
def seven_b():
    """The 7B tower, all widths and layers, on two small photos of odd sizes."""
    pixels, grids = batch(photo("astronaut", 131, 171), photo("coffee", 97, 83))
    return transformers_tower(SEVEN_B), pixels, grids


def test_7b_agrees_with_transformers(seven_b):
    theirs, pixels, grids = seven_b
    expected = run_transformers(theirs, pixels, grids)
    tower = our_tower(theirs.state_dict(), "7b")
    assert tower.config.depth == 32
    assert relative_rms(tower(pixels, grids), expected) <= 2e-6


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_7b_as_accurate_as_transformers_in_16_bits(seven_b, dtype):
    theirs, pixels, grids = seven_b
    peer = at_dtype(theirs, dtype)
    state = peer.state_dict()
    exact = fp64_tower(state, "7b", pixels.to(dtype), grids)
    got = our_tower(state, "7b", dtype)(pixels, grids)
    peer_error = relative_rms(run_transformers(peer, pixels, grids), exact)
    assert relative_rms(got, exact) <= 1.02 * peer_error


@pytest.mark.parametrize("preset", ["3b", "32b", "72b"])
def test_other_presets_run(preset):
    # Two layers of each, full widths: the presets differ in widths alone.
    config = {**vars(VisionPlan.build([(1, 2, 2)], preset).config), "depth": 2, "fullatt_block_indexes": [1]}
    theirs = transformers_tower({name: config[name] for name in {*SMALL, "hidden_size"}})
    pixels, grids = photo("rocket", 61, 87)
    tower = our_tower(theirs.state_dict(), config)
    assert relative_rms(tower(pixels, grids), run_transformers(theirs, pixels, grids)) <= 2e-6


def test_a_whole_1080p_image_matches_in_one_full_and_one_window_layer():
    sizes = {**SMALL, "depth": 2, "fullatt_block_indexes": [1]}
    theirs = transformers_tower(sizes)
    grids = [(1, 78, 138)]  # 10,764 patches
    pixels = random_pixels(grids)
    got = our_tower(theirs.state_dict(), theirs.config)(pixels, grids)
    assert relative_rms(got, run_transformers(theirs, pixels, grids)) <= 2e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("interleaved", [False, True])
def test_padded_equals_native(theirs, dtype, interleaved):
    state = theirs.state_dict()
    if interleaved:
        state = interleaved_state(state, heads=2, head_dim=80)
    pixels, grids = INPUTS["photos and videos"]()
    native = our_tower(state, theirs.config, dtype, interleaved=interleaved)
    padded = our_tower(state, theirs.config, dtype, interleaved=interleaved, pad_head_dim=128)
    assert padded.blocks[0].attn.qkv.weight.shape == (3 * 2 * 128, 160)
    assert padded.blocks[0].attn.proj.weight.shape == (160, 2 * 128)
    # The same sums with zeros in between: only a GEMM's order of summation can differ.
    bound = 1e-6 if dtype == torch.float32 else 4e-3
    assert relative_rms(padded(pixels, grids), native(pixels, grids)) <= bound


@pytest.mark.parametrize("pad_head_dim", [None, 96, 128])
def test_interleaved_rotary_agrees_with_transformers(theirs, pad_head_dim):
    state = interleaved_state(theirs.state_dict(), heads=2, head_dim=80)
    pixels, grids = INPUTS["several photos"]()
    tower = our_tower(state, theirs.config, interleaved=True, pad_head_dim=pad_head_dim)
    expected = run_transformers(theirs, pixels, grids)
    assert relative_rms(tower(pixels, grids), expected) <= 2e-6
    exact = fp64_tower(state, theirs.config, pixels, grids, interleaved=True)
    assert relative_rms(expected, exact) <= 2e-6


def test_interleaved_is_another_model(ours, theirs):
    pixels, grids = INPUTS["one photo"]()
    tower = our_tower(theirs.state_dict(), theirs.config, interleaved=True)
    assert relative_rms(tower(pixels, grids), ours(pixels, grids)) > 1e-3


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_same_bits_on_repeated_runs(theirs, dtype):
    pixels, grids = INPUTS["photos and videos"]()
    tower = our_tower(theirs.state_dict(), theirs.config, dtype)
    first = tower(pixels, grids)
    assert all(torch.equal(tower(pixels, grids), first) for _ in range(3))
    assert torch.equal(copy.deepcopy(tower)(pixels, grids), first)


def test_an_image_does_not_see_its_neighbours_in_the_batch(ours):
    first, second = photo("coffee", 173, 221), photo("rocket", 300, 97)
    together = ours(*batch(first, second))
    split = [h * w // 4 for _, h, w in (*first[1], *second[1])]
    for got, alone in zip(together.split(split), (ours(*first), ours(*second)), strict=True):
        assert relative_rms(got, alone) <= 1e-6


def test_batches_in_turn_do_not_mix_their_plans(ours, theirs):
    # A cache of segment lengths shared by two requests once broke accuracy.
    inputs = [INPUTS[name]() for name in ("one photo", "a video", "several photos")]
    expected = [run_transformers(theirs, *one) for one in inputs]
    for i in (0, 1, 0, 2, 1, 2, 0):
        assert relative_rms(ours(*inputs[i]), expected[i]) <= 2e-6


def test_every_form_of_grids_and_a_plan_give_the_same_bits(ours):
    pixels, grids = INPUTS["photos and videos"]()
    expected = ours(pixels, grids)
    plan = VisionPlan.build(grids, ours.config)
    assert torch.equal(ours(pixels, torch.tensor(grids)), expected)
    assert torch.equal(ours(pixels, grid_thw=[list(grid) for grid in grids]), expected)
    assert torch.equal(ours(pixels, plan=plan), expected)


def test_fp32_pixels_in_a_16_bit_tower(theirs):
    pixels, grids = INPUTS["one photo"]()
    tower = our_tower(theirs.state_dict(), theirs.config, torch.bfloat16)
    assert torch.equal(tower(pixels, grids), tower(pixels.bfloat16(), grids))


def test_inference_only(theirs):
    with torch.enable_grad():
        tower = our_tower(theirs.state_dict(), theirs.config)
        assert not any(parameter.requires_grad for parameter in tower.parameters())
        pixels, grids = INPUTS["one photo"]()
        assert not tower(pixels, grids).requires_grad
        with refuses(ValueError, "pixels", "grad"):
            tower(pixels.clone().requires_grad_(), grids)


class NoSync(TorchDispatchMode):
    """Fails on whatever would make the host wait for a device."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.name()
        assert name not in {"aten::_local_scalar_dense", "aten::nonzero", "aten::unique_consecutive"}, name
        if name in {"aten::_to_copy", "aten::copy_"}:
            assert "device" not in (kwargs or {}) or kwargs["device"] is None, f"{name} to a device"
        return func(*args, **(kwargs or {}))


def test_no_device_sync_with_a_plan(ours):
    pixels, grids = INPUTS["photos and videos"]()
    plan = VisionPlan.build(grids, ours.config)
    with NoSync():
        ours(pixels, plan=plan)


@pytest.fixture
def few_layers():
    torch.manual_seed(0)
    return AscendQwen2_5_VisionTransformer({**SMALL, "depth": 2, "fullatt_block_indexes": [1]})


@pytest.mark.parametrize("part", ["block", "tower"])
def test_compiles_as_one_graph(few_layers, part):
    grids = [(1, 6, 10), (2, 4, 4)]
    plan = VisionPlan.build(grids, few_layers.config)
    torch._dynamo.reset()
    if part == "block":
        hidden = torch.randn(plan.num_tokens, few_layers.hidden_size)
        call = (hidden, plan.cu_seqlens_window, plan.cos, plan.sin, plan.max_seqlen_window)
        module, kwargs = few_layers.blocks[0], {}
    else:
        call, kwargs = (random_pixels(grids),), {"plan": plan}
        module = few_layers
    compiled = torch.compile(module, fullgraph=True)
    assert relative_rms(compiled(*call, **kwargs), module(*call, **kwargs)) <= 1e-6


@pytest.mark.parametrize(
    ("arguments", "error", "parts"),
    [
        ({}, ValueError, ["grid_thw, plan", "neither"]),
        ({"grid_thw": [(1, 4, 4)], "plan": "same"}, ValueError, ["grid_thw, plan", "both"]),
        ({"grid_thw": [(1, 4, 4), (1, 2, 2)]}, ValueError, ["x", "20 rows", "image 1: 1x2x2=4", "got 16"]),
        ({"grid_thw": [(1, 3, 4)]}, ValueError, ["grid_thw", "image 0", "divisible by 2"]),
        ({"plan": "other config"}, ValueError, ["plan", "window_size=56"]),
        ({"plan": "other device"}, ValueError, ["plan", "cpu", "meta"]),
        ({"plan": 5}, TypeError, ["plan", "VisionPlan", "int"]),
        ({"x": torch.zeros(16, 1175), "grid_thw": [(1, 4, 4)]}, ValueError, ["x", "1176", "1175"]),
        ({"x": torch.zeros(16, 1, 1176), "grid_thw": [(1, 4, 4)]}, ValueError, ["x", r"\[16, 1, 1176\]"]),
        ({"x": torch.zeros(16, 1176, device="meta"), "grid_thw": [(1, 4, 4)]}, ValueError, ["x", "cpu", "meta"]),
        ({"x": [[0.0]], "grid_thw": [(1, 4, 4)]}, TypeError, ["x", "Tensor", "list"]),
        ({"x": torch.zeros(16, 1176, dtype=torch.int64), "grid_thw": [(1, 4, 4)]}, TypeError, ["pixels", "Long"]),
    ],
)
def test_a_bad_call_is_named(few_layers, arguments, error, parts):
    plans = {
        "same": lambda: VisionPlan.build([(1, 4, 4)], few_layers.config),
        "other config": lambda: VisionPlan.build([(1, 4, 4)], {**SMALL, "window_size": 56}),
        "other device": lambda: VisionPlan.build([(1, 4, 4)], few_layers.config, device="meta"),
    }
    arguments = {"x": torch.zeros(16, 1176), **arguments}
    if arguments.get("plan") in plans:
        arguments["plan"] = plans[arguments["plan"]]()
    with refuses(error, *parts):
        few_layers(**arguments)


@pytest.mark.parametrize(
    ("arguments", "error", "parts"),
    [
        ({"vision_config": "13b"}, ValueError, ["vision_config", "13b"]),
        ({"vision_config": {**SMALL, "hidden_act": "relu6"}}, ValueError, ["hidden_act", "relu6", "silu"]),
        ({"norm_eps": 0.0}, ValueError, ["norm_eps", "positive"]),
        ({"norm_eps": float("inf")}, ValueError, ["norm_eps", "finite", "inf"]),
        ({"norm_eps": "1e-6"}, TypeError, ["norm_eps", "str"]),
        ({"quant_config": "w8a8"}, TypeError, ["quant_config", "get_quant_method", "str"]),
        ({"prefix": None}, TypeError, ["prefix", "str", "NoneType"]),
        ({"interleaved": 1}, TypeError, ["interleaved", "bool", "int"]),
        ({"pad_head_dim": 64}, ValueError, ["pad_head_dim", "80", "64"]),
        ({"pad_head_dim": 512}, ValueError, ["pad_head_dim", "256", "512"]),
        ({"vision_config": {**SMALL, "hidden_size": 640}}, ValueError, ["num_heads", "256", "320"]),
        ({"pad_head_dim": 127}, ValueError, ["pad_head_dim", "even", "127"]),
        ({"pad_head_dim": 128.0}, TypeError, ["pad_head_dim", "int", "float"]),
    ],
)
def test_a_bad_constructor_argument_is_named(arguments, error, parts):
    with refuses(error, *parts):
        AscendQwen2_5_VisionTransformer(**{"vision_config": SMALL} | arguments)
