import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import Qwen2VLImageProcessor

from qwen_vl_npu_ops.commands import encode, tower
from qwen_vl_npu_ops.commands.inputs import open_processor, read_video
from qwen_vl_npu_ops.config import VisionConfig
from qwen_vl_npu_ops.nn import AscendQwen2_5_VisionTransformer


def metadata(path):
    with safe_open(path, "pt") as file:
        return file.metadata()


def encode_directly(model, photo):
    batch = Qwen2VLImageProcessor()(images=[Image.open(photo)], return_tensors="pt")
    return model(batch["pixel_values"], batch["image_grid_thw"]), batch["image_grid_thw"]


def test_a_photo_gives_what_the_tower_gives(run, photo, weights, tmp_path):
    out = tmp_path / "out.safetensors"
    result = run("encode", photo, "--weights", weights, "--dtype", "fp32", "--out", out)
    assert result.exit_code == 0, result.output
    model = AscendQwen2_5_VisionTransformer.from_pretrained(weights, dtype=torch.float32)
    expected, grid = encode_directly(model, photo)
    written = load_file(out)
    assert set(written) == {"image_0.embeddings", "image_0.grid_thw"}
    assert torch.equal(written["image_0.embeddings"], expected)
    assert written["image_0.grid_thw"].tolist() == grid[0].tolist()
    assert metadata(out)["image_0.file"] == str(photo)
    assert metadata(out)["weights"] == str(weights)
    assert json.loads(metadata(out)["vision_config"])["hidden_size"] == 160


def test_a_batch_of_photos_and_a_video_gives_what_transformers_gives(
    run, photo, square_photo, clip, weights, theirs, tmp_path
):
    out = tmp_path / "out.safetensors"
    args = (photo, square_photo, "--video", clip, "--max-frames", "6", "--weights", weights)
    result = run("encode", *args, "--dtype", "fp32", "--out", out)
    assert result.exit_code == 0, result.output
    written = load_file(out)
    processor = Qwen2VLImageProcessor()
    images = processor(images=[Image.open(photo), Image.open(square_photo)], return_tensors="pt")
    video = read_video(clip, "video_0", processor, 6)
    assert video.grid[0] == 3
    grids = torch.cat((images["image_grid_thw"], torch.tensor([video.grid])))
    with torch.no_grad():
        pixels = torch.cat((images["pixel_values"], video.pixels))
        expected = theirs(pixels, grids).pooler_output
    keys = ["image_0", "image_1", "video_0"]
    got = torch.cat([written[f"{key}.embeddings"] for key in keys])
    assert torch.equal(torch.stack([written[f"{key}.grid_thw"] for key in keys]), grids)
    assert (got - expected).norm() / expected.norm() <= 2e-6


def test_random_weights_are_seeded_and_said_to_be_random(run, photo, sizes_file, tmp_path):
    files = []
    for name, options in (("a", ()), ("b", ("--random-seed", "0")), ("c", ("--random-seed", "1"))):
        files.append(tmp_path / f"{name}.safetensors")
        result = run("encode", photo, "--config", sizes_file, "--out", files[-1], *options)
        assert result.exit_code == 0, result.output
        assert "random, seed" in result.stdout
        assert "mean nothing" in result.stdout
    a, b, c = (load_file(file)["image_0.embeddings"] for file in files)
    assert a.dtype == torch.bfloat16
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert metadata(files[2])["weights"] == "random, seed 1"


def test_drawn_weights_are_those_of_transformers_initialisation():
    config = VisionConfig(depth=2, hidden_size=320, num_heads=4, out_hidden_size=256, fullatt_block_indexes=(1,))
    wide, narrow = (tower.empty_tower(config, dtype) for dtype in (torch.float32, torch.bfloat16))
    ticks = []
    tower.draw_weights(wide, 3, lambda: ticks.append(1))
    tower.draw_weights(narrow, 3)
    assert len(ticks) == len(list(wide.parameters()))
    for (name, ours), rounded in zip(wide.named_parameters(), narrow.parameters(), strict=True):
        assert torch.equal(ours.to(torch.bfloat16), rounded)
        if "bias" in name:
            assert not ours.any()
        elif "norm" in name or "ln_q" in name:
            assert (ours == 1).all()
        else:
            assert abs(ours.std() - 0.02) < 0.001
            assert abs(ours.mean()) < 0.001


def test_the_summary_has_inputs_stages_and_back_end(run, photo, clip, sizes_file):
    result = run("encode", photo, "--video", clip, "--max-frames", "2", "--config", sizes_file, "--dtype", "fp16")
    assert result.exit_code == 0, result.output
    for text in ("4 layers, hidden 160, output 96, float16", "back end: cpu", "chelsea.png", "451x300"):
        assert text in result.stdout
    for text in ("1x22x32", "704", "176x96", "video_0", "patch embedding", "merger"):
        assert text in result.stdout
    rows = {line.split("│")[1].strip(): line for line in result.stdout.splitlines() if line.count("│") == 5}
    assert rows["window blocks"].split("│")[2].strip() == "2"
    assert rows["full blocks"].split("│")[2].strip() == "2"


def test_stages_add_up(photo, sizes_file):
    stages = encode.Stages()
    config = tower.read_config(sizes_file)
    model = tower.empty_tower(config, torch.float32)
    tower.draw_weights(model, 0)
    inputs = [encode.read_image(photo, "image_0", open_processor(config, None))]
    with encode.Progress(disable=True) as progress:
        encode.encode(model, inputs, stages, progress)
    layers = ("patch embedding", "window blocks", "full blocks", "merger")
    assert [stages.runs[stage] for stage in layers] == [1, 2, 2, 1]
    assert 0 < sum(stages.seconds[stage] for stage in layers) <= stages.seconds["encode, in all"]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("suffix", [".png", ".pdf"])
def test_a_picture_is_drawn(run, photo, square_photo, clip, sizes_file, tmp_path, suffix):
    path = tmp_path / f"picture{suffix}"
    args = (photo, square_photo, "--video", clip, "--max-frames", "4", "--config", sizes_file)
    result = run("encode", *args, "--plot", path)
    assert result.exit_code == 0, result.output
    if suffix == ".png":
        with Image.open(path) as picture:
            colours = len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0))
        assert colours > 1000  # photographs, not an empty page
    else:
        assert path.read_bytes().startswith(b"%PDF")


def test_names_that_look_like_markup(run, photo, sizes_file, tmp_path):
    strange = shutil.copy(photo, tmp_path / "[b]$x$.png")
    picture, out = tmp_path / "[i]$.png", tmp_path / "[i].safetensors"
    result = run("encode", strange, "--config", sizes_file, "--plot", picture, "--out", out)
    assert result.exit_code == 0, result.output
    assert "[b]$x$.png" in result.stdout
    assert f"picture: {picture}" in result.stdout
    assert picture.exists()
    assert load_file(out)


def test_the_checkpoints_own_image_limits_are_used(run, photo, weights, tmp_path):
    folder = shutil.copytree(weights, tmp_path / "weights")
    Qwen2VLImageProcessor(min_pixels=28 * 28, max_pixels=112 * 112).save_pretrained(folder)
    out = tmp_path / "out.safetensors"
    assert run("encode", photo, "--weights", folder, "--out", out).exit_code == 0
    t, h, w = load_file(out)["image_0.grid_thw"].tolist()
    assert t == 1
    assert h * w * 14 * 14 <= 112 * 112


def test_values_that_are_not_finite_fail(run, photo, weights, tmp_path):
    folder = shutil.copytree(weights, tmp_path / "weights")
    file = sorted(folder.glob("*.safetensors"))[-1]
    tensors = load_file(file)
    save_file({name: torch.full_like(value, torch.nan) for name, value in tensors.items()}, file)
    picture = tmp_path / "picture.png"
    result = run("encode", photo, "--weights", folder, "--plot", picture)
    assert result.exit_code == 1
    assert "infinite or NaN" in result.stderr
    assert not picture.exists()


def test_as_a_process_with_an_upright_grey_image_of_odd_size(sizes_file, tmp_path):
    photo, out = tmp_path / "grey.jpg", tmp_path / "out.safetensors"
    values = np.random.default_rng(0).integers(0, 255, (117, 203), np.uint8)
    turned = Image.Exif()
    turned[0x0112] = 6  # a quarter turn
    Image.fromarray(values).save(photo, exif=turned)
    command = [sys.executable, "-m", "qwen_vl_npu_ops", "encode", str(photo), "--config", str(sizes_file)]
    done = subprocess.run([*command, "--out", str(out)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "117x203" in done.stdout
    assert done.stderr == ""
    assert load_file(out)["image_0.embeddings"].shape[1] == 96
