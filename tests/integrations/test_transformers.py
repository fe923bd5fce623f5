"""A whole, tiny Qwen2.5-VL of transformers with and without our operators."""

import pytest
import torch
from towers import batch, clip, fp64_tower, photo, refuses, relative_rms
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from compare import assert_within_budget
from qwen_vl_npu_ops import nn
from qwen_vl_npu_ops.integrations.transformers import ATTENTION, AcceleratedVisionTower, accelerate, register_attention
from qwen_vl_npu_ops.integrations.transformers import undo as undo_acceleration

IMAGE, VIDEO, START, END = 301, 302, 303, 304
CONFIG = {
    "vision_config": {
        "depth": 4,
        "hidden_size": 160,
        "num_heads": 2,
        "intermediate_size": 220,
        "out_hidden_size": 96,
        "fullatt_block_indexes": [1, 3],
    },
    "text_config": {
        "vocab_size": 320,
        "hidden_size": 96,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "rope_scaling": {"rope_type": "default", "type": "mrope", "mrope_section": [4, 4, 4]},
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    },
    "image_token_id": IMAGE,
    "video_token_id": VIDEO,
    "vision_start_token_id": START,
    "vision_end_token_id": END,
}


def build(dtype=torch.float32, **options):
    torch.manual_seed(0)
    model = Qwen2_5_VLForConditionalGeneration._from_config(Qwen2_5_VLConfig(**CONFIG), **options).eval()
    with torch.inference_mode():
        for parameter in model.parameters():  # the norms' and biases start as ones and zeros
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return model.to(dtype)


@pytest.fixture
def model():
    with torch.inference_mode(False):
        return build()


def tower(model):
    return model.model.visual


def prompt(images, videos=()):
    """Token ids and pixels of a text with these images and videos."""
    ids, inputs = [5, 6], {}
    for token, name, grid_name, items in (
        (IMAGE, "pixel_values", "image_grid_thw", images),
        (VIDEO, "pixel_values_videos", "video_grid_thw", videos),
    ):
        if not items:
            continue
        pixels, grids = batch(*items)
        inputs.update({name: pixels, grid_name: torch.tensor(grids)})
        for t, h, w in grids:
            ids += [START, *[token] * (t * h * w // 4), END, 7, 8]
    ids = torch.tensor([ids])
    # 5.x tells text, images and videos apart by their own ids.
    kinds = torch.zeros_like(ids) + (ids == IMAGE) + 2 * (ids == VIDEO)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), **inputs}, kinds


def run(model, inputs, kinds, **options):
    with torch.inference_mode():
        try:
            return model(**inputs, mm_token_type_ids=kinds, **options).logits
        except TypeError:
            return model(**inputs, **options).logits


PHOTOS = [photo("astronaut", 131, 171), photo("coffee", 97, 83)]


@pytest.mark.parametrize("videos", [(), (clip(4, 99, 130),)], ids=["photos", "photos and a video"])
def test_logits_stay_the_same(model, videos):
    inputs, kinds = prompt(PHOTOS, videos)
    expected = run(model, inputs, kinds)
    assert accelerate(model) is model
    assert isinstance(tower(model), AcceleratedVisionTower)
    assert relative_rms(run(model, inputs, kinds), expected) <= 2e-6


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_as_accurate_in_16_bits(dtype):
    with torch.inference_mode(False):
        plain, fast = build(dtype), accelerate(build(dtype))
    pixels, grids = batch(*PHOTOS)
    exact = fp64_tower(tower(plain).state_dict(), tower(plain).config, pixels.to(dtype), grids)
    expected, got = (rows(tower(m)(pixels.to(dtype), torch.tensor(grids))) for m in (plain, fast))
    assert got.dtype == dtype
    assert_within_budget(got, exact, expected)


def rows(output):
    return getattr(output, "pooler_output", output)


def test_generates_the_same_tokens(model):
    inputs, kinds = prompt(PHOTOS)
    try:
        model._validate_model_kwargs({"mm_token_type_ids": kinds})
        inputs["mm_token_type_ids"] = kinds
    except ValueError:
        pass  # 4.57 knows no such argument
    options = {"max_new_tokens": 24, "min_new_tokens": 24, "do_sample": False}
    expected = model.generate(**inputs, **options)
    got = accelerate(model).generate(**inputs, **options)
    assert got.shape == (1, inputs["input_ids"].shape[1] + 24)
    assert torch.equal(got, expected)


def test_output_is_transformers(model):
    pixels, grids = batch(*PHOTOS)
    expected = tower(model)(pixels, torch.tensor(grids))
    got = tower(accelerate(model))(pixels, torch.tensor(grids))
    assert type(got) is type(expected)
    if not isinstance(got, torch.Tensor):
        assert relative_rms(got.last_hidden_state, expected.last_hidden_state) <= 2e-6


def test_shares_storage_and_can_be_undone(model):
    inputs, kinds = prompt(PHOTOS)
    expected = run(model, inputs, kinds)
    before = {name: parameter.data_ptr() for name, parameter in model.named_parameters()}
    kind = type(tower(model))
    accelerate(accelerate(model))
    assert {name: parameter.data_ptr() for name, parameter in model.named_parameters()} == before
    assert set(linear_types(tower(model))) == {nn.Linear}
    assert set(linear_types(model.model.language_model)) == {torch.nn.Linear}
    assert undo_acceleration(model) is model
    assert type(tower(model)) is kind
    assert set(linear_types(model)) == {torch.nn.Linear}
    assert torch.equal(run(model, inputs, kinds), expected)
    assert {name: parameter.data_ptr() for name, parameter in model.named_parameters()} == before


def linear_types(model):
    return [type(module) for module in model.modules() if isinstance(module, torch.nn.Linear)]


def test_new_weights_are_seen(model):
    inputs, kinds = prompt(PHOTOS)
    accelerate(model)
    with torch.inference_mode(False):
        tower(model).load_state_dict({name: -value for name, value in tower(model).state_dict().items()})
    got = run(model, inputs, kinds)
    assert relative_rms(got, run(undo_acceleration(model), inputs, kinds)) <= 2e-6


def test_inference_only(model):
    pixels, grids = PHOTOS[0]
    accelerate(model)
    with torch.inference_mode(False):
        assert not rows(tower(model)(pixels, torch.tensor(grids))).requires_grad
        with refuses(ValueError, "hidden_states", "gradient"):
            tower(model)(pixels.clone().requires_grad_(), torch.tensor(grids))
        with refuses(ValueError, "model", "training"):
            tower(model.train())(pixels, torch.tensor(grids))
    with refuses(ValueError, "output_hidden_states"):
        tower(model.eval())(pixels, torch.tensor(grids), output_hidden_states=True)


def test_bad_arguments_are_named(model):
    with refuses(TypeError, "model", "Module", "dict"):
        accelerate({})
    with refuses(TypeError, "model", "vision tower", "Linear"):
        accelerate(torch.nn.Linear(1, 1))
    with refuses(ValueError, "x", "rows"):
        tower(accelerate(model))(PHOTOS[0][0][4:], torch.tensor(PHOTOS[0][1]))
    undo_acceleration(model)
    tower(model).forward = lambda *args: None
    with refuses(ValueError, "model", "replaced"):
        accelerate(model)


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_attention_interface(implementation):
    register_attention()
    with torch.inference_mode(False):
        plain = build(attn_implementation=implementation)
        ours = build(
            attn_implementation={"vision_config": ATTENTION, "text_config": implementation, "": implementation}
        )
    assert tower(ours).config._attn_implementation == ATTENTION
    inputs, kinds = prompt(PHOTOS)
    assert relative_rms(run(ours, inputs, kinds), run(plain, inputs, kinds)) <= 2e-6


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ({"is_causal": True}, "is_causal"),
        ({"attention_mask": torch.zeros(1)}, "attention_mask"),
        ({"dropout": 0.1, "is_causal": False}, "dropout"),
    ],
)
def test_attention_refuses_what_towers_do_not_have(arguments, part):
    from qwen_vl_npu_ops.integrations.transformers import attention

    q = torch.randn(1, 2, 4, 80)
    with refuses(ValueError, part):
        attention(torch.nn.Module(), q, q, q, **{"is_causal": False, **arguments})
