import ast
import importlib.util
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import Qwen2VLImageProcessor

from qwen_vl_npu_ops.commands import CommandError
from qwen_vl_npu_ops.commands.inputs import VIDEO_FRAME_PIXELS, decode_frames, patchify_frames, read_image, read_video


def video_processor_source():
    """The class Qwen2VLVideoProcessor as a syntax tree: its module cannot be imported without torchvision."""
    origin = importlib.util.find_spec("transformers.models.qwen2_vl.video_processing_qwen2_vl").origin
    tree = ast.parse(Path(origin).read_text())
    return next(node for node in tree.body if getattr(node, "name", "") == "Qwen2VLVideoProcessor")


def transformers_patchify():
    method = next(node for node in video_processor_source().body if getattr(node, "name", "") == "patchify")
    names = {"torch": torch}
    exec(compile(ast.Module([method], []), "video_processing_qwen2_vl.py", "exec"), names)
    return names["patchify"]


@pytest.mark.parametrize("count", [1, 2, 5, 8])
def test_frames_are_laid_out_as_transformers_video_processor_does(clip, count):
    frames = decode_frames(clip, count)
    processor = Qwen2VLImageProcessor()
    pixels, (t, h, w) = patchify_frames(frames, processor)
    mean, deviation = (torch.tensor(values)[:, None, None] for values in (processor.image_mean, processor.image_std))
    resized = [np.asarray(frame.resize((14 * w, 14 * h), Image.Resampling.BICUBIC)) for frame in frames]
    video = torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2) / 255
    expected, *grid = transformers_patchify()(None, ((video - mean) / deviation)[None], 14, 2, 2)
    assert [t, h, w] == grid == [-(-count // 2), h, w]
    torch.testing.assert_close(pixels, expected[0], rtol=0, atol=2e-6)


def test_frame_sizes_are_those_of_transformers_video_processor():
    size = next(
        node.value
        for node in video_processor_source().body
        if isinstance(node, ast.Assign) and node.targets[0].id == "size"
    )
    assert eval(compile(ast.Expression(size), "size", "eval")) == VIDEO_FRAME_PIXELS


@pytest.mark.parametrize("count", [1, 2, 3, 7, 119, 120, 500])
def test_frames_are_sampled_evenly(clip, count):
    frames = decode_frames(clip, count)
    everything = decode_frames(clip, 120)
    total = len(everything)
    assert total == 120
    count = min(count, total)
    expected = torch.arange(0, total, total / count).int().tolist()  # transformers' sample_frames
    assert len(frames) == len(expected)
    for index, frame in zip(expected, frames, strict=True):
        assert frame.tobytes() == everything[index].tobytes()


TURNS = {  # the matrix of a video's track, and what it does to a picture
    "clockwise": ((0, 1, 0, -1, 0, 0, 0, 0), Image.Transpose.ROTATE_270),
    "counterclockwise": ((0, -1, 0, 1, 0, 0, 0, 0), Image.Transpose.ROTATE_90),
    "upside down": ((-1, 0, 0, 0, -1, 0, 0, 0), Image.Transpose.ROTATE_180),
}


@pytest.mark.parametrize("turn", TURNS)
def test_a_video_held_sideways_is_upright(clip, tmp_path, turn):
    matrix, transpose = TURNS[turn]
    data = bytearray(clip.read_bytes())
    start = data.index(b"tkhd") + 44  # version, flags, times, track, duration, layer, volume come before
    data[start : start + 32] = struct.pack(">8i", *(65536 * value for value in matrix))
    turned = tmp_path / "turned.mp4"
    turned.write_bytes(data)
    frames = decode_frames(turned, 2)
    expected = [frame.transpose(transpose) for frame in decode_frames(clip, 2)]
    assert [frame.size for frame in frames] == [frame.size for frame in expected]
    assert [frame.tobytes() for frame in frames] == [frame.tobytes() for frame in expected]


GREY = np.random.default_rng(0).integers(0, 256, (56, 84), dtype=np.uint8)


@pytest.mark.parametrize("dtype", ["<u2", ">u2"])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_greys_are_scaled(tmp_path, dtype, suffix):
    path = tmp_path / f"deep.{suffix}"
    off = np.random.default_rng(1).integers(-100, 100, GREY.shape)  # less than half a level of 257
    Image.fromarray((GREY.astype(np.int64) * 257 + off).clip(0, 65535).astype(dtype)).save(path)
    with Image.open(path) as file:
        assert file.mode.startswith("I;16")
    image = read_image(path, "image_0", Qwen2VLImageProcessor()).frames[0]
    assert image.mode == "RGB"
    assert np.array_equal(np.asarray(image), np.stack([GREY] * 3, axis=-1))


@pytest.mark.parametrize(("mode", "dtype"), [("I", np.int32), ("F", np.float32)])
def test_greys_of_no_known_range_are_refused(tmp_path, mode, dtype):
    path = tmp_path / "range.tif"
    Image.fromarray(GREY.astype(dtype)).save(path)
    with pytest.raises(CommandError, match=rf"range\.tif: expected 8 or 16 bits .* mode '{mode}'"):
        read_image(path, "image_0", Qwen2VLImageProcessor())


def test_a_step_keeps_its_first_frame_for_the_picture(clip):
    video = read_video(clip, "video_0", Qwen2VLImageProcessor(), 5)
    frames = decode_frames(clip, 5)
    assert video.grid[0] == len(video.frames) == 3
    assert [frame.tobytes() for frame in video.frames] == [frame.tobytes() for frame in frames[::2]]
