"""Every way to ask `encode` for what it cannot do: one line that names what was wrong, and the right exit code."""

import json
import shutil

import av
import numpy as np
import pytest
from PIL import Image

USAGE, FAILURE = 2, 1


@pytest.fixture
def folder(tmp_path, photo, weights, monkeypatch):
    """A working directory with good and bad files."""
    shutil.copy(photo, tmp_path / "photo.png")
    (tmp_path / "text.png").write_text("not an image")
    (tmp_path / "cut.png").write_bytes(photo.read_bytes()[:20000])
    Image.fromarray(np.zeros((2, 500), np.uint8)).save(tmp_path / "thin.png")
    (tmp_path / "no.json").write_text("{")
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "wrong.json").write_text(json.dumps({"hidden_size": 0}))
    (tmp_path / "grey.json").write_text(json.dumps({"hidden_size": 160, "num_heads": 2, "in_channels": 1}))
    (tmp_path / "deep.json").write_text("[" * 10**5)
    (tmp_path / "text.json").write_text(json.dumps({"text": 1}))
    (tmp_path / "relu.json").write_text(json.dumps({"hidden_size": 160, "num_heads": 2, "hidden_act": "relu"}))
    (tmp_path / "rope.json").write_text(json.dumps({"hidden_size": 160, "num_heads": 2, "rope_parameters": 3}))
    (tmp_path / "heads.json").write_text(json.dumps({"hidden_size": 640, "num_heads": 2}))
    (tmp_path / "empty").mkdir()
    (tmp_path / "no_weights").mkdir()
    shutil.copy(weights / "config.json", tmp_path / "no_weights")
    damaged = shutil.copytree(weights, tmp_path / "damaged")
    shard = sorted(damaged.glob("*.safetensors"))[0]
    shard.write_bytes(shard.read_bytes()[:-1000])
    bad_processor = shutil.copytree(weights, tmp_path / "bad_processor")
    (bad_processor / "preprocessor_config.json").write_text("{")
    shutil.copytree(weights, tmp_path / "weights")
    _write_sound(tmp_path / "sound.wav")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _write_sound(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))


@pytest.mark.parametrize(
    ("args", "code", "named"),
    [
        ("", USAGE, "at least one IMAGE"),
        ("missing.png", USAGE, "missing.png"),
        ("empty", USAGE, "empty"),
        ("photo.png --preset 9b", USAGE, "3b, 7b, 32b, 72b, got '9b'"),
        ("photo.png --dtype int8", USAGE, "bf16, fp16, fp32, got 'int8'"),
        ("photo.png --weights missing", USAGE, "missing"),
        ("photo.png --weights weights --random-seed 1", USAGE, "got both"),
        ("photo.png --preset 7b --config wrong.json", USAGE, "got both"),
        ("photo.png --config missing.json", USAGE, "missing.json"),
        ("photo.png --random-seed one", USAGE, "--random-seed"),
        ("photo.png --random-seed 99999999999999999999", USAGE, "18446744073709551615"),
        ("photo.png --random-seed -1", USAGE, "--random-seed"),
        ("--video missing.mp4", USAGE, "missing.mp4"),
        ("--video photo.png --max-frames 0", USAGE, "max-frames"),
        ("photo.png --out missing/out.safetensors", USAGE, "missing"),
        ("photo.png --out empty", USAGE, "empty"),
        ("photo.png --plot missing/picture.png", USAGE, "missing"),
        ("photo.png --plot picture.xyz", USAGE, ".xyz"),
        ("photo.png --colour red", USAGE, "--colour"),
        ("text.png", FAILURE, "text.png"),
        ("photo.png cut.png", FAILURE, "cut.png"),
        ("thin.png", FAILURE, "thin.png: absolute aspect ratio"),
        ("--video text.png", FAILURE, "text.png"),
        ("--video sound.wav", FAILURE, "sound.wav: no video"),
        ("photo.png --config no.json", FAILURE, "no.json"),
        ("photo.png --config list.json", FAILURE, "list.json: expected a JSON object"),
        ("photo.png --config wrong.json", FAILURE, "wrong.json: vision_config.hidden_size"),
        ("photo.png --config deep.json", FAILURE, "deep.json: not valid JSON"),
        ("photo.png --config text.json", FAILURE, "text.json: vision_config: expected at least one of the sizes"),
        ("photo.png --config relu.json", FAILURE, "vision_config.hidden_act"),
        ("photo.png --config rope.json", FAILURE, "rope.json: vision_config.rope_parameters: expected a mapping"),
        (
            "photo.png --config heads.json",
            FAILURE,
            "vision_config: num_heads: expected an even head size of at most 256",
        ),
        ("photo.png --config grey.json", FAILURE, "the tower takes 1"),
        ("photo.png --weights empty", FAILURE, "config.json"),
        ("photo.png --weights no_weights", FAILURE, "no safetensors file"),
        ("photo.png --weights damaged", FAILURE, "damaged or truncated"),
        ("photo.png --weights bad_processor", FAILURE, "preprocessor_config.json"),
        ("photo.png --weights weights --preset 7b", FAILURE, "does not fit the tower"),
    ],
)
def test_error(run, folder, args, code, named):
    result = run("encode", *args.split())
    assert result.exit_code == code, result.output
    assert isinstance(result.exception, SystemExit)  # not an error that would print its traceback
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1
    assert result.stderr.splitlines()[-1] == errors[0]
    assert named in errors[0]


def test_a_tower_that_cannot_run_is_refused_before_weights_are_drawn(run, folder, monkeypatch):
    def never(*args):
        raise AssertionError("weights were drawn")

    monkeypatch.setattr("qwen_vl_npu_ops.commands.tower.draw_weights", never)
    assert "num_heads" in run("encode", "photo.png", "--config", "heads.json").stderr


def test_the_file_cannot_be_written(run, folder, sizes_file, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("qwen_vl_npu_ops.commands.encode.save_file", full)
    result = run("encode", "photo.png", "--config", sizes_file, "--out", "out.safetensors")
    assert result.exit_code == FAILURE
    assert "out.safetensors: No space left on device" in result.stderr


def test_a_missing_package_is_named_with_the_extra_that_has_it(run, folder, monkeypatch):
    import sys

    monkeypatch.delitem(sys.modules, "qwen_vl_npu_ops.commands.inputs", raising=False)
    monkeypatch.delitem(sys.modules, "qwen_vl_npu_ops.commands.encode", raising=False)
    monkeypatch.delattr("qwen_vl_npu_ops.commands.encode", raising=False)
    monkeypatch.setitem(sys.modules, "av", None)  # importing it fails
    result = run("encode", "photo.png")
    assert result.exit_code == FAILURE
    assert "av is not installed: run pip install 'qwen-vl-npu-ops[encode]'" in result.stderr
