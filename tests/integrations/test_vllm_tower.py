"""Our tower in vLLM against vLLM's own, with the same weights."""

import pytest
import serving
import torch
from towers import batch, clip, fp64_tower, photo, refuses, relative_rms
from vllm.model_executor.models import qwen2_5_vl as theirs

from compare import assert_within_budget
from qwen_vl_npu_ops.integrations import vllm as ours
from qwen_vl_npu_ops.plan import VisionPlan

INPUTS = {
    "a photo": lambda: photo("astronaut", 171, 131),
    "photos": lambda: batch(photo("coffee", 173, 221), photo("rocket", 131, 60), photo("chelsea", 99, 133)),
    "a video": lambda: clip(6, 171, 131),
    "photos and a video": lambda: batch(photo("coffee", 120, 201), clip(4, 99, 130)),
}


@pytest.fixture(scope="session", autouse=True)
def _world():
    serving.join_world(address=serving.free_address())


def towers(dtype, split_qkv=False):
    weights = serving.checkpoint(split_qkv)
    pair = []
    for tower_class in (theirs.Qwen2_5_VisionTransformer, ours.AscendQwen2_5_VisionTransformer):
        tower = serving.build(lambda tower_class=tower_class: tower_class(serving.vision_config()), dtype)
        loaded = tower.load_weights(iter(weights.items()))
        assert loaded == {name for name, _ in tower.named_parameters()}
        pair.append(tower)
    return pair


@pytest.fixture(scope="module")
def fp32():
    return towers(torch.float32)


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_equals_vllms_tower(fp32, dtype, name):
    pixels, grids = INPUTS[name]()
    peer, tower = fp32 if dtype == torch.float32 else towers(dtype)
    pixels = pixels.to(dtype)
    state = {key: value.to(dtype) for key, value in serving.checkpoint().items()}
    exact = fp64_tower(state, serving.vision_config(), pixels, grids)
    expected = peer(pixels, [list(grid) for grid in grids])
    got = tower(pixels, [list(grid) for grid in grids])
    assert got.dtype == dtype
    assert_within_budget(got, exact, expected, name=name)
    assert relative_rms(got, exact) <= 1.1 * relative_rms(expected, exact)


def test_separate_q_k_v_load_alike(fp32):
    _, tower = towers(torch.float32, split_qkv=True)
    pixels, grids = INPUTS["photos"]()
    assert torch.equal(tower(pixels, grids), fp32[1](pixels, grids))


def test_weights_load_again(fp32):
    """Reinforcement learning pushes new weights into a live tower."""
    _, tower = towers(torch.float32)
    pixels, grids = INPUTS["a photo"]()
    tower.load_weights(iter(serving.checkpoint(seed=1).items()))
    assert relative_rms(tower(pixels, grids), fp32[1](pixels, grids)) > 0.1
    tower.load_weights(iter(serving.checkpoint().items()))
    assert torch.equal(tower(pixels, grids), fp32[1](pixels, grids))


def test_keeps_vllms_names_and_layers(fp32):
    peer, tower = fp32
    assert [(name, p.shape) for name, p in tower.named_parameters()] == [
        (name, p.shape) for name, p in peer.named_parameters()
    ]
    for name, module in peer.named_modules():
        if hasattr(module, "quant_method"):
            assert type(tower.get_submodule(name)) is type(module), name
    assert isinstance(tower, theirs.Qwen2_5_VisionTransformer)
    assert isinstance(tower.blocks[0].attn, theirs.Qwen2_5_VisionAttention)
    assert not set(vars(ours)) & set(custom_ops())


def custom_ops():
    from vllm.model_executor.custom_op import op_registry, op_registry_oot

    return {**op_registry, **op_registry_oot}


def test_batches_in_turn_do_not_mix(fp32):
    inputs = [INPUTS[name]() for name in INPUTS]
    alone = [fp32[1](*one) for one in inputs]
    for i in (1, 0, 2, 1, 3, 0, 2):
        assert torch.equal(fp32[1](*inputs[i]), alone[i])


def test_nothing_is_read_from_the_device():
    """On the meta device whatever looks at a tensor's contents raises."""
    _, tower = towers(torch.float32)
    pixels, grids = INPUTS["photos and a video"]()
    metadata = tower.prepare_encoder_metadata(grids)
    metadata = {n: v.to("meta") if v is not None and v.dim() else v for n, v in metadata.items()}
    del tower.rotary_pos_emb  # vLLM's towers share one, and ours does not use it
    rows = tower.to("meta")(pixels.to("meta"), None, encoder_metadata=metadata)
    assert rows.shape == (len(pixels) // 4, tower.out_hidden_size)


# vLLM's encoder graphs: fixed buffers, cu_seqlens with the end point repeated, rows behind the last one.
def captured(tower, pixels, grids, *, rows):
    capture_grids = [[1, 2, rows // 2]]
    sizes = {"max_batch_size": 6, "max_frames_per_batch": 9, "max_window_seqs_per_batch": 40}
    buffers = tower.prepare_encoder_metadata(
        capture_grids, **sizes, max_seqlen_override=rows, max_seqlen_window_override=64, device=torch.device("cpu")
    )
    replay = tower.prepare_encoder_metadata(grids, max_frames_per_batch=9)
    for name, buffer in buffers.items():
        source = replay[name]
        if source is None:
            assert buffer is None
        elif name in ("cu_seqlens", "cu_window_seqlens"):
            theirs._pad_cumulative_seqlens_buffer(buffer, source)
        elif not name.startswith("max_seqlen"):  # baked into the graph
            buffer.zero_()
            buffer[: source.shape[0]].copy_(source)
    padded = torch.zeros(rows, pixels.shape[1])
    padded[: pixels.shape[0]] = pixels
    return tower(padded, None, encoder_metadata=buffers)


@pytest.mark.parametrize("name", INPUTS)
def test_graph_metadata_gives_the_same_rows(fp32, name):
    pixels, grids = INPUTS[name]()
    expected = fp32[1](pixels, grids)
    got = captured(fp32[1], pixels, grids, rows=len(pixels) + 48)
    assert torch.equal(got[: len(expected)], expected)
    assert torch.isfinite(got).all()


def test_a_graphs_buffers_are_its_own(fp32):
    """Replays write into the metadata that capture got; plans are shared by everybody."""
    pixels, grids = INPUTS["photos"]()
    expected = fp32[1](pixels, grids)
    plan = VisionPlan.build(grids, serving.vision_config())
    for tensor in fp32[1].prepare_encoder_metadata(grids, max_batch_size=3).values():
        if tensor is not None and tensor.dim():
            tensor.zero_()
    assert VisionPlan.build(grids, serving.vision_config()) is plan
    assert torch.equal(fp32[1](pixels, grids), expected)


def test_metadata_agrees_with_vllms(fp32):
    peer, tower = fp32
    _, grids = INPUTS["photos and a video"]()
    theirs_, ours_ = (
        t.prepare_encoder_metadata([list(grid) for grid in grids], max_frames_per_batch=9, max_window_seqs_per_batch=40)
        for t in (peer, tower)
    )
    assert ours_.keys() == theirs_.keys()
    for name, value in theirs_.items():
        if value is None:
            assert ours_[name] is None
        elif name.startswith("rotary"):
            torch.testing.assert_close(ours_[name], value.float(), rtol=0, atol=1e-6)
        elif not name.startswith("max_seqlen"):  # SDPA asks for none: vLLM leaves 0
            assert torch.equal(ours_[name].long(), value.long()), name


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ({"grid_thw": [[1, 3, 4]]}, ["image 0", "divisible by 2"]),
        ({"grid_thw": [[1, 4, 6]]}, ["x", "24 rows", "got 16"]),
        ({"grid_thw": None}, ["grid_thw, encoder_metadata", "neither"]),
    ],
)
def test_a_bad_call_is_named(fp32, arguments, parts):
    with refuses(ValueError, *parts):
        fp32[1](torch.zeros(16, 1176), **arguments)


def test_attention_takes_one_sequence(fp32):
    with refuses(ValueError, "x", r"\[T, 1, C\]", r"\[8, 2, 320\]"):
        fp32[1].blocks[0].attn(torch.zeros(8, 2, 320), torch.tensor([0, 8]), None, None)


def test_only_vllms_tower_can_be_adopted():
    with refuses(TypeError, "tower", "Qwen2_5_VisionTransformer", "Linear"):
        ours.AscendQwen2_5_VisionTransformer.adopt(torch.nn.Linear(1, 1), serving.vision_config())
