"""VisionPlan against transformers' own metadata, and its promises: cached, immutable, few copies, clear errors."""

import dataclasses

import hypothesis
import hypothesis.strategies as st
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from towers import SMALL, refuses
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLConfig, Qwen2_5_VLVisionConfig
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLVisionRotaryEmbedding
from transformers.vision_utils import (
    get_vision_cu_seqlens,
    get_vision_position_ids,
    get_vision_window_index,
)

from qwen_vl_npu_ops import plan as plan_module
from qwen_vl_npu_ops.config import PRESETS, VisionConfig
from qwen_vl_npu_ops.plan import VisionPlan

CONFIG = VisionConfig.of("7b")


@st.composite
def grids_and_configs(draw):
    merge = draw(st.sampled_from([1, 2, 3]))
    config = VisionConfig(
        hidden_size=160,
        num_heads=2,
        spatial_merge_size=merge,
        # also sizes that a window does not divide into whole merge units
        window_size=draw(st.integers(14 * merge, 14 * merge * 5)),
    )
    side = st.integers(1, 24).map(lambda n: n * merge)
    return draw(st.lists(st.tuples(st.integers(1, 3), side, side), min_size=1, max_size=5)), config


@hypothesis.given(grids_and_configs())
@hypothesis.settings(max_examples=60, deadline=None, derandomize=True)
def test_agrees_with_transformers(case):
    grids, config = case
    plan = VisionPlan.build(grids, config)
    grid_thw = torch.tensor(grids)
    merge, unit = config.spatial_merge_size, config.spatial_merge_unit
    window_index, cu_window = get_vision_window_index(grid_thw, merge, config.window_size, config.patch_size)
    assert torch.equal(plan.window_index, window_index)
    assert torch.equal(plan.reverse_index, torch.argsort(window_index))
    assert torch.equal(plan.cu_seqlens_window, cu_window)
    assert torch.equal(plan.cu_seqlens_full, get_vision_cu_seqlens(grid_thw))
    assert torch.equal(plan.seqlens_window, plan.cu_seqlens_window.diff())
    assert torch.equal(plan.seqlens_full, plan.cu_seqlens_full.diff())
    assert plan.seqlens_window.dtype == plan.seqlens_full.dtype == torch.int32
    assert plan.cu_seqlens_window.dtype == plan.cu_seqlens_full.dtype == plan.row_index.dtype == torch.int32
    assert plan.max_seqlen_window == cu_window.diff().max()
    assert plan.max_seqlen_full == max(h * w for _, h, w in grids)

    tokens = torch.arange(plan.num_tokens)
    assert torch.equal(plan.row_index.long(), tokens.view(-1, unit)[window_index].flatten())

    positions = get_vision_position_ids(grid_thw, merge)
    rotary = Qwen2_5_VLVisionRotaryEmbedding(Qwen2_5_VLVisionConfig(hidden_size=160, num_heads=2))
    for got, table in zip((plan.cos, plan.sin), rotary(torch.empty(0), positions), strict=True):
        expected = table.view(-1, unit, 80)[window_index].flatten(0, 1)[:, :40]
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-7)


def test_a_plan_worked_out_by_hand():
    # One image of 2 x 5 merge units with windows of 4 x 4 patches = 2 x 2 units: two full windows and a column.
    config = VisionConfig(hidden_size=160, num_heads=2, window_size=56)
    plan = VisionPlan.build([(1, 4, 10)], config)
    assert plan.window_index.tolist() == [0, 1, 5, 6, 2, 3, 7, 8, 4, 9]
    assert plan.cu_seqlens_window.tolist() == [0, 16, 32, 40]
    assert plan.cu_seqlens_full.tolist() == [0, 40]
    assert (plan.max_seqlen_window, plan.max_seqlen_full) == (16, 40)
    assert plan.row_index[16:24].tolist() == [8, 9, 10, 11, 12, 13, 14, 15]
    # the last patch of all is the bottom right one: row 3, column 9; the first angle of each axis turns by 1 a step
    torch.testing.assert_close(plan.cos[-1, [0, 20]], torch.tensor([3.0, 9.0]).cos())


def test_full_and_window_segments_are_two_things():
    plan = VisionPlan.build([(2, 16, 16)], CONFIG)
    assert plan.cu_seqlens_full.tolist() == [0, 256, 512]
    assert plan.cu_seqlens_window.tolist() == list(range(0, 513, 64))


def test_one_pass_per_batch_is_the_concatenation_of_its_images():
    grids = [(1, 10, 14), (3, 6, 18), (1, 2, 2)]
    together = VisionPlan.build(grids, CONFIG)
    alone = [VisionPlan.build([grid], CONFIG) for grid in grids]
    assert torch.equal(together.cos, torch.cat([plan.cos for plan in alone]))
    offsets = [0, 140, 140 + 324]
    rows = [plan.row_index + offset for plan, offset in zip(alone, offsets, strict=True)]
    assert torch.equal(together.row_index, torch.cat(rows))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_tables_are_worked_out_in_fp32_and_rounded_once(dtype):
    plan = VisionPlan.build([(1, 8, 8)], CONFIG, dtype=dtype)
    assert torch.equal(plan.cos, VisionPlan.build([(1, 8, 8)], CONFIG).cos.to(dtype))


def test_cached_by_grids_config_device_and_dtype():
    plan = VisionPlan.build([(1, 8, 12)], CONFIG)
    assert VisionPlan.build(torch.tensor([[1, 8, 12]]), "7b", "cpu", torch.float32) is plan
    others = [
        VisionPlan.build([(1, 12, 8)], CONFIG),
        VisionPlan.build([(1, 8, 12)], VisionConfig(window_size=56)),
        VisionPlan.build([(1, 8, 12)], CONFIG, device="meta"),
        VisionPlan.build([(1, 8, 12)], CONFIG, dtype=torch.bfloat16),
    ]
    assert len({id(other) for other in [plan, *others]}) == 5
    assert others[2].cos.device.type == "meta"
    assert others[2].seqlens_window.tolist() == plan.seqlens_window.tolist()


def test_the_cache_is_bounded():
    plan = VisionPlan.build([(1, 2, 2)], CONFIG)
    for i in range(plan_module.CACHED_PLANS):
        VisionPlan.build([(1, 2, 4 + 2 * i)], CONFIG)
    assert VisionPlan.build([(1, 2, 2)], CONFIG) is not plan


def test_immutable():
    plan = VisionPlan.build([(1, 8, 8)], CONFIG)
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan.num_tokens = 1


TENSORS = [field.name for field in dataclasses.fields(VisionPlan) if field.type == "Tensor"]


@pytest.mark.parametrize("name", TENSORS)
@pytest.mark.parametrize("inference", [False, True])
def test_a_cached_plan_that_was_written_into_is_built_anew(name, inference):
    def build():
        return VisionPlan.build([(1, 4, 6), (2, 2, 4)], CONFIG)

    good = getattr(build(), name).clone()
    with torch.inference_mode(inference):
        plan = build()
        getattr(plan, name)[:1].fill_(77)  # through a view
    assert not torch.equal(getattr(plan, name), good)
    again = build()
    assert again is not plan
    assert torch.equal(getattr(again, name), good)
    assert build() is again


def test_a_plan_first_built_in_inference_mode_serves_outside_of_it():
    with torch.inference_mode():
        plan = VisionPlan.build([(1, 6, 14)], CONFIG)
    assert not any(value.is_inference() for value in vars(plan).values() if isinstance(value, torch.Tensor))


def test_the_default_device_has_no_say():
    expected = VisionPlan.build([(2, 6, 14)], CONFIG)
    plan_module._build.cache_clear()
    with torch.device("meta"):
        plan = VisionPlan.build([(2, 6, 14)], CONFIG)
    assert all(torch.equal(getattr(plan, name), getattr(expected, name)) for name in TENSORS)


class Recorded(TorchDispatchMode):
    """The operators that torch runs, each with the devices of its inputs."""

    def __init__(self):
        super().__init__()
        self.names, self.devices = [], set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(func.name())
        self.devices |= {leaf.device.type for leaf in tree_leaves(args) if isinstance(leaf, torch.Tensor)}
        return func(*args, **(kwargs or {}))


def test_no_python_loop_over_tokens_or_windows():
    def operators(grids):
        plan_module._build.cache_clear()
        with Recorded() as recorded:
            VisionPlan.build(grids, CONFIG)
        return recorded.names

    assert operators([(1, 4, 4), (2, 4, 2)]) == operators([(2, 120, 80), (1, 36, 36), (7, 2, 2)])


class OnDevice(torch.Tensor):
    """A tensor that claims to live on a device and counts its copies to the host."""

    copies = 0

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func.__name__ in {"tolist", "item", "cpu", "to", "numpy", "__index__", "__int__", "__bool__", "__iter__"}:
            cls.copies += 1
        return super().__torch_function__(func, types, args, kwargs or {})


def test_a_grid_on_a_device_costs_one_copy():
    OnDevice.copies = 0
    VisionPlan.build(torch.tensor([[1, 8, 8], [2, 6, 4]]).as_subclass(OnDevice), CONFIG)
    assert OnDevice.copies == 1


def test_a_grid_on_the_host_costs_no_copy():
    # Every tensor of the plan is made on the host and then moved: nothing on the device is ever read.
    plan_module._build.cache_clear()
    with Recorded() as recorded:
        plan = VisionPlan.build([(1, 8, 8)], CONFIG, device="meta")
    assert plan.cos.device.type == "meta"
    assert recorded.devices == {"cpu"}


@pytest.mark.parametrize(
    ("grids", "error", "parts"),
    [
        ([], ValueError, ["grid_thw", "at least one image"]),
        ([(1, 8, 8), (1, 7, 8)], ValueError, ["image 1", "divisible by 2", r"\(1, 7, 8\)"]),
        ([(1, 8, 8), (1, 8, 0)], ValueError, ["image 1", "positive", r"\(1, 8, 0\)"]),
        ([(-1, 8, 8)], ValueError, ["image 0", "positive", r"\(-1, 8, 8\)"]),
        ([(0, 8, 8)], ValueError, ["image 0", "positive"]),
        ([(1, 8)], ValueError, ["image 0", r"\(t, h, w\)", "2 numbers"]),
        ([(1, 8, 8.0)], TypeError, ["image 0", "three ints"]),
        ([(1, 8, True)], TypeError, ["image 0", "three ints"]),
        ([8, 8], TypeError, ["image 0", "three ints"]),
        ("1x8x8", TypeError, ["grid_thw", "str"]),
        (None, TypeError, ["grid_thw", "NoneType"]),
        ({"t": 1}, TypeError, ["grid_thw", "dict"]),
        (torch.ones(2, 3), TypeError, ["grid_thw", "integer tensor", "float32"]),
        (torch.ones(2, 3, dtype=torch.bool), TypeError, ["grid_thw", "bool"]),
        (torch.ones(3, dtype=torch.int64), ValueError, ["grid_thw", r"\[any, 3\]", r"\[3\]"]),
        (torch.ones(2, 4, dtype=torch.int64), ValueError, ["grid_thw", r"\[any, 3\]", r"\[2, 4\]"]),
        (torch.ones(0, 3, dtype=torch.int64), ValueError, ["grid_thw", "at least one image"]),
        ([(1 << 20, 1 << 10, 1 << 10)], ValueError, ["grid_thw", r"2\^31", str(1 << 40)]),
    ],
)
def test_a_bad_grid_is_named(grids, error, parts):
    with refuses(error, *parts):
        VisionPlan.build(grids, CONFIG)


@pytest.mark.parametrize(
    ("arguments", "error", "parts"),
    [
        ({"dtype": torch.int32}, TypeError, ["dtype", "int32"]),
        ({"dtype": "float32"}, TypeError, ["dtype", "float32"]),
        ({"device": 1.5}, TypeError, ["device", "float"]),
        ({"device": "abacus"}, RuntimeError, ["abacus"]),
        ({"config": "13b"}, ValueError, ["vision_config", "13b", "72b"]),
        ({"config": 7}, TypeError, ["vision_config", "int"]),
    ],
)
def test_other_bad_arguments_are_named(arguments, error, parts):
    with refuses(error, *parts):
        VisionPlan.build(**{"grid_thw": [(1, 8, 8)], "config": CONFIG} | arguments)


@pytest.mark.parametrize(
    ("name", "intermediate", "out"),
    [("3b", 3420, 2048), ("7b", 3420, 3584), ("32b", 3456, 5120), ("72b", 3456, 8192)],
)
def test_presets(name, intermediate, out):
    config = VisionConfig.of(name)
    assert (config.intermediate_size, config.out_hidden_size) == (intermediate, out)
    assert (config.hidden_size, config.depth, config.num_heads, config.head_dim) == (1280, 32, 16, 80)
    assert (config.window_size, config.patch_size, config.spatial_merge_size) == (112, 14, 2)
    assert (config.temporal_patch_size, config.tokens_per_second) == (2, 2)
    assert config.fullatt_block_indexes == (7, 15, 23, 31)
    assert set(PRESETS) == {"3b", "7b", "32b", "72b"}


def test_every_form_of_a_config_means_the_same():
    theirs = Qwen2_5_VLVisionConfig(**SMALL, tokens_per_second=2)
    ours = VisionConfig.of(theirs)
    assert ours.head_dim == 80
    assert ours.fullatt_block_indexes == (1, 3)
    assert VisionConfig.of(theirs.to_dict()) == ours
    assert VisionConfig.of(ours) is ours
    assert VisionConfig.of(Qwen2_5_VLConfig(vision_config=theirs.to_dict())) == ours
    assert VisionConfig.of({"vision_config": theirs.to_dict()}) == ours
    # as config.json of the released checkpoints spells it
    assert VisionConfig.of({**SMALL, "in_chans": 1, "spatial_patch_size": 14}).in_channels == 1
    assert VisionConfig.of({**SMALL, "patch_size": [14, 14]}) == VisionConfig.of(SMALL)
    assert VisionConfig.of({**SMALL, "rope_parameters": {"rope_theta": 500.0}}).rope_theta == 500.0
    listed = VisionConfig(fullatt_block_indexes=[7, 15])
    assert listed == VisionConfig(fullatt_block_indexes=(7, 15))
    assert VisionPlan.build([(1, 2, 2)], listed).config == listed  # the cache hashes it


@pytest.mark.parametrize(
    ("fields", "error", "parts"),
    [
        ({"depth": 0}, ValueError, ["vision_config.depth", "positive", "0"]),
        ({"depth": 2.0}, TypeError, ["vision_config.depth", "int", "float"]),
        ({"num_heads": 7}, ValueError, ["vision_config.num_heads", "divisor of 1280", "7"]),
        ({"num_heads": 640}, ValueError, ["vision_config.num_heads", "divisible by 4", "2"]),
        ({"window_size": 20}, ValueError, ["vision_config.window_size", "28", "20"]),
        ({"patch_size": [14, 16]}, ValueError, ["vision_config.patch_size", "same size", r"\[14, 16\]"]),
        ({"fullatt_block_indexes": 7}, TypeError, ["vision_config.fullatt_block_indexes", "7"]),
        ({"fullatt_block_indexes": ["7"]}, TypeError, ["vision_config.fullatt_block_indexes", "7"]),
        ({"fullatt_block_indexes": [7, -1]}, ValueError, ["vision_config.fullatt_block_indexes", "31", "-1"]),
        ({"fullatt_block_indexes": [7, 99]}, ValueError, ["vision_config.fullatt_block_indexes", "31", "99"]),
        ({"depth": 7, "fullatt_block_indexes": [7]}, ValueError, ["vision_config.fullatt_block_indexes", "6", "7"]),
        ({"rope_parameters": {"rope_type": "yarn"}}, ValueError, ["rope_parameters", "axial", "yarn"]),
        ({"rope_parameters": 3}, TypeError, ["vision_config.rope_parameters", "mapping", "int"]),
        ({"rope_theta": -1.0}, ValueError, ["vision_config.rope_theta", "positive", "-1"]),
        ({"rope_theta": float("inf")}, ValueError, ["vision_config.rope_theta", "finite", "inf"]),
        ({"rope_theta": float("nan")}, ValueError, ["vision_config.rope_theta", "finite", "nan"]),
        ({"rope_theta": 10**400}, ValueError, ["vision_config.rope_theta", "finite"]),
        ({"hidden_act": 3}, TypeError, ["vision_config.hidden_act", "str", "int"]),
    ],
)
def test_a_bad_config_is_named(fields, error, parts):
    with refuses(error, *parts):
        VisionConfig.of({"hidden_size": 1280} | fields)


@pytest.mark.parametrize(
    "fields", [{}, {"hiden_size": 64}, {"text": 1}, {"vision_config": {}}, {"rope_theta": 1e4, "hidden_act": "silu"}]
)
def test_a_dict_without_any_size_is_not_the_7b_tower(fields):
    with refuses(
        ValueError, "vision_config", "hidden_size", "num_heads", "got fields", *fields.get("vision_config", fields)
    ):
        VisionConfig.of(fields)
