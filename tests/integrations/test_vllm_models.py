"""Models as vLLM builds them: what the plugin registers, what it leaves alone, and the models' own entry points."""

import importlib
import json
import logging
import os
import subprocess
import sys

import pytest
import serving
import torch
from towers import batch, clip, photo, relative_rms
from vllm.model_executor.models import qwen2_5_vl as theirs
from vllm.model_executor.models.registry import ModelRegistry

from qwen_vl_npu_ops.integrations import vllm as ours
from qwen_vl_npu_ops.integrations import vllm_plugin

OMNI_AUDIO = {
    "encoder_layers": 1,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "d_model": 32,
    "num_mel_bins": 16,
    "output_dim": 96,
    "max_source_positions": 40,
    "n_window": 10,
}


@pytest.fixture(scope="module", autouse=True)
def _plugin():
    if not torch.distributed.is_initialized():
        serving.join_world(address=serving.free_address())
    vllm_plugin.register()


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """vLLM's own and the one that its registry chooses now."""
    folder = tmp_path_factory.mktemp("model")
    peer = serving.model(folder, model_class=theirs.Qwen2_5_VLForConditionalGeneration)
    return peer, serving.model(folder, split_qkv=True)


def test_the_registry_builds_ours(models):
    peer, model = models
    assert type(peer.visual) is theirs.Qwen2_5_VisionTransformer
    assert type(model) is ours.AscendQwen2_5_VLForConditionalGeneration
    assert type(model.visual) is ours.AscendQwen2_5_VisionTransformer
    assert all(type(block.attn) is ours.AscendQwen2_5_VisionAttention for block in model.visual.blocks)
    assert [name for name, _ in model.named_parameters()] == [name for name, _ in peer.named_parameters()]


def as_vllm_sends_them(model, pixels):
    """0.31 sends bytes, and normalises on the device."""
    dtype = getattr(getattr(model.visual, "input_norm", None), "input_dtype", None)
    return pixels if dtype is None else ((pixels.clamp(-2, 2) + 2) * 63).round().to(dtype)


def test_images_and_videos_split_per_item(models):
    pixels, grids = batch(photo("coffee", 120, 201), photo("rocket", 61, 87))
    clip_pixels, clip_grids = clip(4, 99, 130)
    rows = []
    for model in models:
        images = model._process_image_input(
            {
                "type": "pixel_values",
                "pixel_values": as_vllm_sends_them(model, pixels),
                "image_grid_thw": torch.tensor(grids),
            }
        )
        videos = model._process_video_input(
            {
                "type": "pixel_values_videos",
                "pixel_values_videos": as_vllm_sends_them(model, clip_pixels),
                "video_grid_thw": torch.tensor(clip_grids),
            }
        )
        rows.append([*images, *videos])
    assert [len(item) for item in rows[1]] == [t * h * w // 4 for t, h, w in (*grids, *clip_grids)]
    for got, expected in zip(rows[1], rows[0], strict=True):
        assert relative_rms(got, expected) <= 2e-6


def test_precomputed_embeddings_pass_through(models):
    rows = torch.randn(4 + 6, 96)
    grids = torch.tensor([[1, 4, 4], [1, 4, 6]])
    for kind, process in (("image", models[1]._process_image_input), ("video", models[1]._process_video_input)):
        got = process({"type": f"{kind}_embeds", f"{kind}_embeds": rows, f"{kind}_grid_thw": grids})
        assert [len(item) for item in got] == [4, 6]
        assert torch.equal(torch.cat(got), rows)


def test_no_tower_without_images_and_videos(tmp_path):
    model = serving.model(tmp_path, limit_mm_per_prompt={"image": 0, "video": 0})
    assert type(model) is ours.AscendQwen2_5_VLForConditionalGeneration
    assert model.visual is None
    assert not [name for name, _ in model.named_parameters() if name.startswith("visual")]


def test_one_limit_keeps_the_tower(tmp_path):
    model = serving.model(tmp_path, limit_mm_per_prompt={"image": 0, "video": 1})
    assert type(model.visual) is ours.AscendQwen2_5_VisionTransformer


def test_a_log_line_says_what_runs(tmp_path, caplog):
    with caplog.at_level(logging.INFO, logger="vllm.qwen_vl_npu_ops"):
        vllm_plugin.log.addHandler(caplog.handler)
        serving.model(tmp_path)
        vllm_plugin.log.removeHandler(caplog.handler)
    assert "VLForConditionalGeneration: patch embedding, plan and attention of 4 blocks; on cpu" in caplog.text


def omni(vision):
    return {
        "architectures": ["Qwen2_5OmniModel"],
        "model_type": "qwen2_5_omni",
        "enable_audio_output": False,
        "thinker_config": {
            "model_type": "qwen2_5_omni_thinker",
            "architectures": ["Qwen2OmniNaViTThinkerForConditionalGeneration"],
            "vision_config": {"model_type": "qwen2_5_omni_vision_encoder", **vision},
            "audio_config": {"model_type": "qwen2_5_omni_audio_encoder", **OMNI_AUDIO},
            "text_config": {"model_type": "qwen2_5_omni_text", **serving.TEXT},
        },
    }


@pytest.mark.parametrize("part", ["image", "video"])
def test_omnis_vision_tower(tmp_path, part):
    content = omni(serving.VISION)
    model = serving.model(tmp_path, content, prefix="thinker.visual.")
    assert type(model).__name__ == "AscendQwen2_5OmniThinkerForConditionalGeneration"
    assert type(model.visual) is ours.AscendQwen2_5_VisionTransformer
    peer = serving.build(lambda: theirs.Qwen2_5_VisionTransformer(serving.vision_config()))
    peer.load_weights(iter(serving.checkpoint().items()))
    pixels, grids = photo("coffee", 120, 201) if part == "image" else clip(4, 99, 130)
    names = {"image": "pixel_values", "video": "pixel_values_videos"}
    process = model._process_image_input if part == "image" else model._process_video_input
    got = process({"type": names[part], names[part]: pixels, f"{part}_grid_thw": torch.tensor(grids)})
    assert relative_rms(torch.cat(list(got)), peer(pixels, grids)) <= 2e-6


# Opt-in: models that share vLLM's attention. Head size 72 is Qwen3-VL's.
QWEN2_VISION = {"depth": 2, "embed_dim": 160, "num_heads": 2, "hidden_size": 96, "mlp_ratio": 2}
QWEN3_VISION = {
    "depth": 3,
    "hidden_size": 144,
    "num_heads": 2,
    "intermediate_size": 160,
    "out_hidden_size": 96,
    "num_position_embeddings": 256,
    "deepstack_visual_indexes": [0],
}


@pytest.mark.parametrize(
    ("module", "tower_class", "family", "config_name", "sizes"),
    [
        ("qwen2_vl", "Qwen2VisionTransformer", "qwen2_vl", "Qwen2VLVisionConfig", QWEN2_VISION),
        ("qwen3_vl", "Qwen3_VisionTransformer", "qwen3_vl", "Qwen3VLVisionConfig", QWEN3_VISION),
        (
            "qwen3_omni_moe_thinker",
            "Qwen3Omni_VisionTransformer",
            "qwen3_omni_moe",
            "Qwen3OmniMoeVisionEncoderConfig",
            QWEN3_VISION,
        ),
    ],
)
def test_other_towers_with_our_attention(module, tower_class, family, config_name, sizes):
    import_path = f"transformers.models.{family}.configuration_{family}"
    config = getattr(importlib.import_module(import_path), config_name)(**sizes)
    config.image_size, config.apply_vit_abs_pos_embed = 16 * config.patch_size, True  # only Qwen3-Omni's tower asks
    tower_class = getattr(importlib.import_module(f"vllm.model_executor.models.{module}"), tower_class)
    torch.manual_seed(0)
    with torch.inference_mode(False):
        tower = serving.build(lambda: tower_class(config, norm_eps=1e-6))
        for parameter in tower.parameters():
            parameter.data.normal_(std=0.1)
    grids = [[1, 8, 12], [2, 4, 6]]
    pixels = torch.randn(sum(t * h * w for t, h, w in grids), 3 * 2 * config.patch_size**2)
    if family == "qwen3_omni_moe":
        grids = torch.tensor(grids)
    expected = tower(pixels, grids)
    assert not isinstance(tower.blocks[0].attn, ours.FusedVisionAttention)
    ours.use_our_attention(tower)
    assert all(isinstance(block.attn, ours.FusedVisionAttention) for block in tower.blocks)
    assert relative_rms(tower(pixels, grids), expected) <= 1e-5


def in_a_process(code, **variables):
    """Run code after the plugins were loaded as vLLM does, in a process of its own; its output and what was logged."""
    start = "from vllm.plugins import load_general_plugins\n"
    done = subprocess.run(
        [sys.executable, "-c", start + code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout + done.stderr


SHOW = """
from vllm.model_executor.models.registry import ModelRegistry
names = ["Qwen2_5_VLForConditionalGeneration", "Qwen2_5OmniModel"]
names += ["Qwen2VLForConditionalGeneration", "Qwen3VLForConditionalGeneration", "Qwen3OmniMoeForConditionalGeneration"]
load_general_plugins()
import importlib
import json
print("SHOWN" + json.dumps({n: ModelRegistry.models[n].module_name.split(".")[0] for n in names}))
"""


def shown(output):
    return json.loads(output.split("SHOWN")[1].splitlines()[0])


def test_installing_is_enough():
    output = in_a_process(SHOW)
    assert shown(output) == {
        "Qwen2_5_VLForConditionalGeneration": "qwen_vl_npu_ops",
        "Qwen2_5OmniModel": "qwen_vl_npu_ops",
        "Qwen2VLForConditionalGeneration": "vllm",
        "Qwen3VLForConditionalGeneration": "vllm",
        "Qwen3OmniMoeForConditionalGeneration": "vllm",
    }


def test_registering_again_changes_nothing(caplog):
    before = dict(ModelRegistry.models)
    vllm_plugin.register()
    assert ModelRegistry.models == before
    assert "already registered" not in caplog.text


def test_disabled():
    output = in_a_process(
        'import logging, vllm.logger; logging.basicConfig(level="INFO")' + SHOW, QWEN_VL_NPU_OPS_DISABLE="1"
    )
    assert set(shown(output).values()) == {"vllm"}
    assert "vLLM keeps its own vision towers" in output


def test_other_models_are_opt_in():
    output = in_a_process(SHOW, QWEN_VL_NPU_OPS_MODELS="qwen3_vl, qwen2_vl,qwen3_omni,qwen9_vl")
    assert set(shown(output).values()) == {"qwen_vl_npu_ops"}
    assert "qwen9_vl" in output
    assert "expected names out of qwen2_vl, qwen3_vl, qwen3_omni" in output


def test_an_unknown_vllm_keeps_its_own():
    output = in_a_process("import vllm; vllm.__version__ = '0.99.1'" + SHOW)
    assert set(shown(output).values()) == {"vllm"}
    assert "vLLM 0.99 is not one of 0.23, 0.31" in output


def test_a_failing_registration_does_not_stop_vllm():
    output = in_a_process("import vllm; del vllm.__version__" + SHOW)
    assert set(shown(output).values()) == {"vllm"}
    assert "not registered" in output


def test_the_package_does_not_import_vllm():
    code = (
        "import sys, qwen_vl_npu_ops.nn, qwen_vl_npu_ops.integrations.vllm_plugin\n"
        "print([name for name in ('vllm', 'transformers') if name in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


REGISTERED = {
    name: ours for models in (vllm_plugin.TOWERS, *vllm_plugin.SHARED.values()) for name, ours in models.items()
}


@pytest.mark.parametrize("name", sorted(set(REGISTERED.values())))
def test_what_is_registered_is_a_model(name):
    model = getattr(ours, name)
    base = next(cls for cls in model.__mro__ if cls.__name__ == name.removeprefix("Ascend"))
    assert base.__module__.startswith("vllm.")
    assert getattr(ours, name) is model
    assert model._processor_factory is base._processor_factory
