"""Loading weights: names of every origin, streaming, repeated, in parts, padded; checkpoints sound and damaged."""

import json
import re
import shutil
import weakref
from pathlib import Path

import pytest
import safetensors.torch
import torch
from towers import SMALL, our_tower, random_pixels, refuses, relative_rms, run_transformers, transformers_tower
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from qwen_vl_npu_ops import weights
from qwen_vl_npu_ops.nn import AscendQwen2_5_VisionTransformer

GRIDS = [(1, 6, 10), (2, 4, 4)]
PIXELS = random_pixels(GRIDS)


@pytest.fixture(scope="module")
def theirs():
    return transformers_tower(SMALL)


@pytest.fixture(scope="module")
def state(theirs):
    return theirs.state_dict()


@pytest.fixture
def tower(theirs):
    """Zeros, so that whatever is loaded shows."""
    tower = AscendQwen2_5_VisionTransformer(theirs.config)
    for parameter in tower.parameters():
        parameter.zero_()
    return tower


def names(tower):
    return {name for name, _ in tower.named_parameters()}


def split_qkv(state):
    for name, tensor in state.items():
        if ".attn.qkv." in name:
            for letter, part in zip("qkv", tensor.chunk(3), strict=True):
                yield name.replace(".qkv.", f".{letter}."), part
        else:
            yield name, tensor


def fused(state):
    """vLLM's names."""
    for name, tensor in state.items():
        if ".gate_proj." in name:
            up = state[name.replace(".gate_proj.", ".up_proj.")]
            yield name.replace(".gate_proj.", ".gate_up_proj."), torch.cat((tensor, up))
        elif ".up_proj." not in name:
            yield name, tensor


def renamed(state, old, new):
    return ((name.replace(old, new), tensor) for name, tensor in state.items())


SPELLINGS = {
    "Hugging Face": lambda state: state.items(),
    "visual.": lambda state: (("visual." + name, tensor) for name, tensor in state.items()),
    "model.visual.": lambda state: (("model.visual." + name, tensor) for name, tensor in state.items()),
    "thinker.visual.": lambda state: (("thinker.visual." + name, tensor) for name, tensor in state.items()),
    "q, k, v apart": split_qkv,
    "q_proj, k_proj, v_proj": lambda state: (
        (
            name.replace("attn.q.", "attn.q_proj.")
            .replace("attn.k.", "attn.k_proj.")
            .replace("attn.v.", "attn.v_proj."),
            t,
        )
        for name, t in split_qkv(state)
    ),
    "qkv_proj": lambda state: renamed(state, ".attn.qkv.", ".attn.qkv_proj."),
    "vLLM": fused,
    "any order": lambda state: reversed(list(split_qkv(state))),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("pad_head_dim", [None, 128])
def test_loads_every_spelling(theirs, state, spelling, pad_head_dim):
    tower = AscendQwen2_5_VisionTransformer(theirs.config, pad_head_dim=pad_head_dim)
    loaded = tower.load_weights(SPELLINGS[spelling](state), strict=True)
    assert loaded == names(tower)
    assert relative_rms(tower(PIXELS, GRIDS), run_transformers(theirs, PIXELS, GRIDS)) <= 2e-6


def test_takes_its_own_prefix(theirs, state):
    tower = AscendQwen2_5_VisionTransformer(theirs.config, prefix="encoder.visual")
    tower.load_weights(((f"encoder.visual.{name}", tensor) for name, tensor in state.items()), strict=True)


def test_takes_its_own_state_dict(theirs, state, tower):
    full = our_tower(state, theirs.config)
    assert tower.load_weights(full.state_dict().items(), strict=True) == names(tower)
    assert torch.equal(tower(PIXELS, GRIDS), full(PIXELS, GRIDS))


@pytest.mark.parametrize("pad_head_dim", [None, 128])
def test_loads_again_over_live_weights(theirs, state, pad_head_dim):
    tower = our_tower(transformers_tower(SMALL, seed=1).state_dict(), theirs.config, pad_head_dim=pad_head_dim)
    address = tower.blocks[0].attn.qkv.weight.data_ptr()
    stale = tower(PIXELS, GRIDS)
    for _ in range(2):
        tower.load_weights(state.items(), strict=True)
        assert relative_rms(tower(PIXELS, GRIDS), run_transformers(theirs, PIXELS, GRIDS)) <= 2e-6
    assert relative_rms(stale, tower(PIXELS, GRIDS)) > 0.1
    assert tower.blocks[0].attn.qkv.weight.data_ptr() == address  # in place: a captured graph would see it


@pytest.mark.parametrize("pad_head_dim", [None, 128])
def test_loads_in_parts(theirs, state, pad_head_dim):
    tower = our_tower(transformers_tower(SMALL, seed=1).state_dict(), theirs.config, pad_head_dim=pad_head_dim)
    items = list(split_qkv(state))
    loaded = set()
    for start in range(0, len(items), 7):
        loaded |= tower.load_weights(items[start : start + 7])
    assert loaded == names(tower)
    assert relative_rms(tower(PIXELS, GRIDS), run_transformers(theirs, PIXELS, GRIDS)) <= 2e-6


def test_returns_what_was_loaded(state, tower):
    some = ["blocks.1.mlp.up_proj.bias", "merger.mlp.2.weight"]
    assert tower.load_weights((name, state[name]) for name in some) == {
        "blocks.1.mlp.gate_up_proj.bias",
        "merger.mlp.2.weight",
    }
    gate, up = tower.blocks[1].mlp.gate_up_proj.bias.chunk(2)
    assert gate.count_nonzero() == 0
    assert torch.equal(up, state["blocks.1.mlp.up_proj.bias"])


def test_streams(state, tower):
    handed_out = []

    def one_at_a_time():
        for name, tensor in state.items():
            alive = [reference for reference in handed_out if reference() is not None]
            assert len(alive) <= 1, f"before {name}: only the tensor at hand may be held"
            fresh = tensor.clone()
            handed_out.append(weakref.ref(fresh))
            yield name, fresh
            del fresh

    tower.load_weights(one_at_a_time(), strict=True)
    assert len(handed_out) == len(state)


def test_converts_floating_dtypes(theirs, state):
    tower = our_tower(state, theirs.config, torch.bfloat16)
    assert torch.equal(tower.merger.mlp[2].weight, state["merger.mlp.2.weight"].bfloat16())


QKV = "blocks.2.attn.qkv.weight"


@pytest.mark.parametrize("pad_head_dim", [None, 128])
@pytest.mark.parametrize(
    ("name", "tensor", "parts"),
    [
        (QKV, torch.ones(480, 161), [r"blocks\.2\.attn\.qkv\.weight", r"\[480, 160\]", r"\[480, 161\]"]),
        (QKV, torch.ones(768, 160), [r"\[480, 160\]", r"\[768, 160\]"]),  # never padded weights into a padded tower
        ("blocks.2.attn.k.weight", torch.ones(480, 160), [r"\[160, 160\]", r"\[480, 160\]"]),
        ("blocks.0.attn.proj.weight", torch.ones(160, 256), [r"\[160, 160\]", r"\[160, 256\]"]),
        ("visual.merger.ln_q.weight", torch.ones(1), [r"visual\.merger\.ln_q\.weight", r"\[160\]", r"\[1\]"]),
        ("patch_embed.proj.weight", torch.ones(160, 3, 14, 14), [r"\[160, 3, 2, 14, 14\]", r"\[160, 3, 14, 14\]"]),
        (QKV, torch.ones(480, 160, dtype=torch.int8), ["floating dtype", "int8"]),
        ("blocks.4.norm1.weight", torch.ones(160), ["unexpected", r"blocks\.4\.norm1\.weight"]),
        ("lm_head.weight", torch.ones(160), ["unexpected", "lm_head"]),
        ("blocks.0.attn.qkv.weight_scale", torch.ones(480, 1), ["unexpected", "weight_scale"]),
    ],
)
def test_refuses_and_leaves_the_parameter_untouched(theirs, state, pad_head_dim, name, tensor, parts):
    tower = our_tower(state, theirs.config, pad_head_dim=pad_head_dim)
    before = {key: value.clone() for key, value in tower.state_dict().items()}
    good = torch.full((160,), 3.0)
    with refuses(ValueError, *parts):
        tower.load_weights([("blocks.3.norm1.weight", good), (name, tensor), ("blocks.3.norm2.weight", good)])
    before["blocks.3.norm1.weight"] = good  # what came before is loaded, what comes after is not
    assert all(torch.equal(value, before[key]) for key, value in tower.state_dict().items())


def test_strict_names_what_is_missing(state, tower):
    incomplete = dict(split_qkv(state))
    del incomplete["blocks.1.attn.k.bias"], incomplete["blocks.2.mlp.up_proj.weight"], incomplete["merger.ln_q.weight"]
    with refuses(
        ValueError, "missing", r"blocks\.1\.attn\.qkv\.bias \(k\)", r"gate_up_proj\.weight \(up\)", r"merger\.ln_q"
    ):
        tower.load_weights(incomplete.items(), strict=True)
    assert tower.load_weights(incomplete.items()) == names(tower) - {"merger.ln_q.weight"}


@pytest.mark.parametrize("item", ["blocks.0.norm1.weight", (1, torch.ones(1)), ("merger.ln_q.weight", [1.0]), ("a",)])
def test_a_bad_item_is_named(tower, item):
    with refuses(TypeError, "weights", "expected"):
        tower.load_weights([item])


def test_weights_that_are_no_iterable_are_named(tower):
    with refuses(TypeError, "weights", "iterable", "int"):
        tower.load_weights(5)


NORM = "blocks.0.norm1.weight"


@pytest.mark.parametrize(
    ("tensor", "error", "parts"),
    [
        (torch.ones(160, device="meta"), ValueError, ["data", "meta"]),
        (torch.ones(160).to_sparse(), TypeError, ["dense", "sparse"]),
    ],
)
def test_a_tensor_without_plain_data_is_named(tower, tensor, error, parts):
    with refuses(error, "weights", NORM, *parts):
        tower.load_weights([(NORM, tensor)])
    assert tower.blocks[0].norm1.weight.count_nonzero() == 0


def test_a_tower_on_meta_is_refused(theirs, state):
    with torch.device("meta"):
        tower = AscendQwen2_5_VisionTransformer(theirs.config)
    with refuses(ValueError, "weights", "meta", "to_empty"):
        tower.load_weights(state.items(), strict=True)
    tower.to_empty(device="cpu").load_weights(state.items(), strict=True)
    assert relative_rms(tower(PIXELS, GRIDS), run_transformers(theirs, PIXELS, GRIDS)) <= 2e-6


@pytest.mark.parametrize("pad_head_dim", [None, 128])
def test_a_tower_built_in_inference_mode_takes_weights_outside_of_it(theirs, state, pad_head_dim):
    with torch.inference_mode():
        tower = AscendQwen2_5_VisionTransformer(theirs.config, pad_head_dim=pad_head_dim)
    assert tower.merger.ln_q.weight.is_inference()
    tower.load_weights(split_qkv(state), strict=True)
    assert relative_rms(tower(PIXELS, GRIDS), run_transformers(theirs, PIXELS, GRIDS)) <= 2e-6


def test_of_two_tensors_for_one_place_the_last_one_stays(tower):
    tower.load_weights([(NORM, torch.full((160,), 1.0)), (f"visual.{NORM}", torch.full((160,), 2.0))])
    assert (tower.blocks[0].norm1.weight == 2).all()


# ---- from_pretrained


@pytest.fixture(scope="module")
def saved(theirs, tmp_path_factory):
    """The tower as transformers saves it, in many shards."""
    folder = tmp_path_factory.mktemp("saved")
    theirs.save_pretrained(folder, max_shard_size="300KB")
    assert len(list(folder.glob("*.safetensors"))) > 5
    return folder


@pytest.fixture
def checkpoint(saved, tmp_path):
    """A copy to damage."""
    return Path(shutil.copytree(saved, tmp_path / "checkpoint"))


def expect_refusal(checkpoint, monkeypatch, error, *parts, **arguments):
    """The error, and that not one tensor was read for it."""

    def never(self):
        raise AssertionError("tensors were read")

    monkeypatch.setattr(weights.Checkpoint, "tensors", never)
    with refuses(error, *parts):
        AscendQwen2_5_VisionTransformer.from_pretrained(checkpoint, **arguments)


@pytest.mark.parametrize("pad_head_dim", [None, 128])
def test_reads_what_save_pretrained_wrote(saved, theirs, pad_head_dim):
    tower = AscendQwen2_5_VisionTransformer.from_pretrained(saved, pad_head_dim=pad_head_dim)
    assert tower.dtype == torch.float32
    assert not any(parameter.requires_grad or parameter.is_meta for parameter in tower.parameters())
    assert relative_rms(tower(PIXELS, GRIDS), run_transformers(theirs, PIXELS, GRIDS)) <= 2e-6


def test_keeps_the_checkpoints_dtype_or_takes_another(theirs, tmp_path):
    transformers_tower(SMALL, dtype=torch.bfloat16).save_pretrained(tmp_path)
    assert AscendQwen2_5_VisionTransformer.from_pretrained(str(tmp_path)).dtype == torch.bfloat16
    wide = AscendQwen2_5_VisionTransformer.from_pretrained(tmp_path, dtype=torch.float32)
    assert {parameter.dtype for parameter in wide.parameters()} == {torch.float32}
    assert torch.get_default_dtype() == torch.float32


@pytest.mark.parametrize("prefix", ["visual.", "model.visual.", "thinker.visual."])
def test_of_a_whole_model_only_the_tower_is_read(theirs, tmp_path, prefix):
    text = {"hidden_size": 96, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    text |= {"num_key_value_heads": 1, "vocab_size": 64, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
    text |= {"rope_parameters": {"rope_type": "default", "mrope_section": [8, 8, 8], "rope_theta": 1e6}}
    config = Qwen2_5_VLConfig(vision_config=theirs.config.to_dict(), text_config=text)
    model = Qwen2_5_VLForConditionalGeneration(config).eval()
    model.save_pretrained(tmp_path, max_shard_size="300KB")
    index = tmp_path / "model.safetensors.index.json"
    weight_map = json.loads(index.read_text())["weight_map"]
    visual = {file for name, file in weight_map.items() if "visual." in name}
    if prefix != "visual.":  # as other releases and models spell it
        for file in set(weight_map.values()):
            tensors = safetensors.torch.load_file(tmp_path / file)
            renamed = {name.replace("visual.", prefix): tensor for name, tensor in tensors.items()}
            safetensors.torch.save_file(renamed, tmp_path / file)
        weight_map = {name.replace("visual.", prefix): file for name, file in weight_map.items()}
        index.write_text(json.dumps({"weight_map": weight_map}))
    for file in set(weight_map.values()) - visual:
        (tmp_path / file).write_bytes(b"the language model's weights are none of our business")
    if prefix == "thinker.visual.":
        config = json.loads((tmp_path / "config.json").read_text())
        (tmp_path / "config.json").write_text(json.dumps({"thinker_config": config}))
    tower = AscendQwen2_5_VisionTransformer.from_pretrained(tmp_path)
    expected = run_transformers(model.model.visual, PIXELS, GRIDS)
    assert relative_rms(tower(PIXELS, GRIDS), expected) <= 2e-6


def first_shard(checkpoint):
    return sorted(checkpoint.glob("*.safetensors"))[0]


def rewrite(checkpoint, change):
    """Put other tensors into the shard that holds the first block's qkv weight."""
    index = json.loads((checkpoint / "model.safetensors.index.json").read_text())
    file = index["weight_map"]["blocks.0.attn.qkv.weight"]
    tensors = safetensors.torch.load_file(checkpoint / file)
    change(tensors)
    index["weight_map"] = {n: f for n, f in index["weight_map"].items() if f != file} | dict.fromkeys(tensors, file)
    safetensors.torch.save_file(tensors, checkpoint / file)
    (checkpoint / "model.safetensors.index.json").write_text(json.dumps(index))


def test_a_truncated_shard_is_named(checkpoint, monkeypatch):
    shard = first_shard(checkpoint)
    shard.write_bytes(shard.read_bytes()[:-100])
    expect_refusal(checkpoint, monkeypatch, ValueError, shard.name, "damaged or truncated")


@pytest.mark.parametrize("size", [0, 5, 8, 40])
def test_a_shard_cut_inside_its_header_is_named(checkpoint, monkeypatch, size):
    shard = first_shard(checkpoint)
    shard.write_bytes(shard.read_bytes()[:size])
    expect_refusal(checkpoint, monkeypatch, ValueError, shard.name, "damaged or truncated")


def test_a_damaged_header_is_named(checkpoint, monkeypatch):
    shard = first_shard(checkpoint)
    data = bytearray(shard.read_bytes())
    data[8:24] = b"\xff" * 16
    shard.write_bytes(data)
    expect_refusal(checkpoint, monkeypatch, ValueError, shard.name, "damaged or truncated")


def test_a_missing_shard_is_named(checkpoint, monkeypatch):
    shard = first_shard(checkpoint)
    shard.unlink()
    expect_refusal(checkpoint, monkeypatch, FileNotFoundError, shard.name)


def test_a_shard_that_lacks_what_the_index_promises_is_named(checkpoint, monkeypatch):
    shard = first_shard(checkpoint)
    safetensors.torch.save_file({"else": torch.ones(1)}, shard)
    expect_refusal(checkpoint, monkeypatch, ValueError, shard.name, "does not hold", "index")


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"weight_map": 3}', '{"weight_map": {}}', "[" * 10**5])
def test_a_damaged_index_is_named(checkpoint, monkeypatch, content):
    (checkpoint / "model.safetensors.index.json").write_text(content)
    expect_refusal(checkpoint, monkeypatch, ValueError, "index.json")


@pytest.mark.parametrize("file", ["../elsewhere.safetensors", "/etc/passwd", 7, ["x"], {"x": "y"}])
def test_an_index_cannot_point_outside_the_folder(checkpoint, monkeypatch, file):
    index = {"weight_map": {"merger.ln_q.weight": file}}
    (checkpoint / "model.safetensors.index.json").write_text(json.dumps(index))
    expect_refusal(checkpoint, monkeypatch, ValueError, "index.json", "ln_q", "inside the folder", re.escape(str(file)))


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (
            lambda t: t.update({"blocks.0.attn.qkv.weight": torch.ones(480, 80)}),
            [r"blocks\.0\.attn\.qkv\.weight", r"\[480, 160\]", r"\[480, 80\]", "model-000"],
        ),
        (lambda t: t.update({"blocks.0.attn.extra": torch.ones(1)}), ["unexpected", r"blocks\.0\.attn\.extra"]),
        (lambda t: t.pop("blocks.0.attn.qkv.weight"), ["missing", r"blocks\.0\.attn\.qkv\.weight"]),
        (
            lambda t: t.update({"blocks.0.attn.qkv.weight": torch.ones(480, 160, dtype=torch.int8)}),
            [r"blocks\.0\.attn\.qkv\.weight", "floating", "int8"],
        ),
        (
            lambda t: t.update({"blocks.0.attn.qkv.weight": torch.ones(480, 160).to(torch.float8_e4m3fn)}),
            [r"blocks\.0\.attn\.qkv\.weight", "F8_E4M3"],
        ),
    ],
)
def test_tensors_that_do_not_fit_are_named_before_any_is_read(checkpoint, monkeypatch, change, parts):
    rewrite(checkpoint, change)
    expect_refusal(checkpoint, monkeypatch, ValueError, *parts, dtype=torch.float32)


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("blocks.0.attn.q.weight", r"blocks\.0\.attn\.qkv\.weight"),
        ("blocks.0.attn.qkv_proj.weight", r"blocks\.0\.attn\.qkv\.weight"),
        ("blocks.0.mlp.gate_up_proj.bias", r"blocks\.0\.mlp\.gate_proj\.bias; blocks\.0\.mlp\.up_proj\.bias"),
    ],
)
def test_two_tensors_for_one_place_are_named(checkpoint, monkeypatch, name, other):
    shape = {"blocks.0.attn.q.weight": (160, 160), "blocks.0.mlp.gate_up_proj.bias": (440,)}.get(name, (480, 160))
    rewrite(checkpoint, lambda tensors: tensors.update({name: torch.ones(shape)}))
    expect_refusal(checkpoint, monkeypatch, ValueError, name, "for the same", other)


def test_a_tower_there_twice_is_named(tmp_path, monkeypatch, theirs, state):
    tensors = {prefix + name: tensor for prefix in ("visual.", "model.visual.") for name, tensor in state.items()}
    copies = {name: tensor.clone() for name, tensor in tensors.items()}  # as safetensors refuses shared memory
    safetensors.torch.save_file(copies, tmp_path / "both.safetensors")
    both = r"visual\.\S+ in both\.safetensors: for the same \S+ as \S*visual\."
    expect_refusal(tmp_path, monkeypatch, ValueError, both, r"model\.visual\.", vision_config=theirs.config)


def test_a_file_without_tensors_is_named(tmp_path, monkeypatch):
    safetensors.torch.save_file({}, tmp_path / "empty.safetensors")
    expect_refusal(tmp_path, monkeypatch, ValueError, tmp_path.name, "no tensor")


def test_meta_has_no_memory_for_weights(saved, monkeypatch):
    expect_refusal(saved, monkeypatch, ValueError, "device", "memory", "meta", device="meta")


def test_every_misfit_is_listed(checkpoint, monkeypatch):
    config = {**SMALL, "out_hidden_size": 64, "depth": 3, "fullatt_block_indexes": [1]}
    parts = [r"merger\.mlp\.2\.weight", r"merger\.mlp\.2\.bias", r"blocks\.3\.", r"and \d+ more"]
    expect_refusal(checkpoint, monkeypatch, ValueError, *parts[2:], vision_config=config)
    config = {**SMALL, "out_hidden_size": 64}
    expect_refusal(checkpoint, monkeypatch, ValueError, *parts[:2], vision_config=config)


def test_shards_without_an_index(checkpoint, theirs, monkeypatch):
    (checkpoint / "model.safetensors.index.json").unlink()
    tower = AscendQwen2_5_VisionTransformer.from_pretrained(checkpoint)
    assert relative_rms(tower(PIXELS, GRIDS), run_transformers(theirs, PIXELS, GRIDS)) <= 2e-6
    shutil.copy(first_shard(checkpoint), checkpoint / "twice.safetensors")
    expect_refusal(checkpoint, monkeypatch, ValueError, r"twice\.safetensors", "also in")


def test_pickles_are_refused(tmp_path, saved, monkeypatch, state):
    shutil.copy(saved / "config.json", tmp_path)
    torch.save(state, tmp_path / "pytorch_model.bin")
    expect_refusal(tmp_path, monkeypatch, ValueError, "pickle", r"pytorch_model\.bin")


def test_what_is_not_there_is_named(tmp_path, saved, monkeypatch):
    expect_refusal(tmp_path / "nowhere", monkeypatch, FileNotFoundError, "directory", "nowhere")
    expect_refusal(first_shard(saved), monkeypatch, FileNotFoundError, "directory", "safetensors")
    expect_refusal(tmp_path, monkeypatch, FileNotFoundError, "no safetensors")
    shutil.copy(first_shard(saved), tmp_path)
    expect_refusal(tmp_path, monkeypatch, FileNotFoundError, r"config\.json", "vision_config")
    expect_refusal(7, monkeypatch, TypeError, "directory", "int")
    expect_refusal(saved, monkeypatch, TypeError, "dtype", dtype=torch.int8)


def test_mixed_dtypes_ask_for_one(checkpoint, monkeypatch):
    rewrite(checkpoint, lambda t: t.update({"blocks.0.attn.qkv.weight": torch.ones(480, 160).half()}))
    expect_refusal(checkpoint, monkeypatch, ValueError, "dtype", "F16", "F32")
