"""Counts of operations and bytes against formulas worked out by hand, bounds, and batches."""

import pytest

from qwen_vl_npu_ops.bench import cases, work
from qwen_vl_npu_ops.bench.record import Peaks, Work
from qwen_vl_npu_ops.config import VisionConfig


def test_linear():
    # 3 rows of 5 into 7: 105 multiply-adds; 15 + 35 + 21 numbers of 2 bytes.
    assert work.linear(3, 5, 7, 2) == Work(210.0, 142)


def test_rotary():
    # 10 tokens, 2 heads of 4: 40 pairs in q and k together, 6 operations each; 240 numbers in, as many out; a cosine
    # and a sine for both pairs of each token.
    assert work.rotary_qkv(10, 2, 4, 2) == Work(40 * 2 * 6 / 2 * 2, 2 * 240 * 2 + 10 * 2 * 2 * 4)


def test_attention():
    # Segments of 3 and 5: 9 + 25 scores for each of 2 heads of 4, one multiply-add for each number of q and one of v.
    expected = Work(2 * 34 * 4 * 2 * 2, 4 * (8 * 2 * 4) * 4, 68)
    assert work.window_attention([3, 5], 2, 4, 4) == expected


def test_rotary_attention_reads_angles_and_keeps_what_lies_between():
    fused, plain = work.rotary_window_attention([3, 5], 2, 4, 4), work.window_attention([3, 5], 2, 4, 4)
    assert fused.flops == plain.flops + work.rotary_qkv(8, 2, 4, 4).flops
    assert fused.bytes == plain.bytes + 8 * 2 * 2 * 4
    assert fused.exps == plain.exps


def test_patch_embed_reads_wider_pixels():
    # 4 x 6 pixels of 4 bytes, a weight of 5 x 6 and 4 x 5 results of 2 bytes.
    assert work.patch_embed(4, 6, 5, 2, 4) == Work(2 * 4 * 6 * 5, 4 * 24 + 2 * 30 + 2 * 20)


def test_norms_and_activation():
    # 3 rows of 5 and a weight of 5, of 2 bytes; 3 rows of 8 into 4.
    assert work.rms_norm(3, 5, 2) == Work(4 * 15, 2 * (15 + 15 + 5))
    assert work.add_rms_norm(3, 5, 2) == Work(5 * 15, 2 * (4 * 15 + 5))
    assert work.silu_and_mul(3, 4, 2) == Work(3 * 12, 2 * (24 + 12), 12)


def test_tower_by_hand():
    # 8 patches of 2 x 2 x 2 x 1 values into 2 layers of width 4 (one head), MLP of 6, 2 merge units of 16 into 10.
    sizes = {"hidden_size": 4, "intermediate_size": 6, "num_heads": 1, "out_hidden_size": 10}
    config = VisionConfig(**sizes, depth=2, fullatt_block_indexes=(1,), patch_size=2, in_channels=1)
    assert work.tower_gemms(8, config) == [
        *(((8, 8, 4), 1), ((8, 4, 12), 2), ((8, 4, 4), 2), ((8, 4, 12), 2), ((8, 6, 4), 2)),
        *(((2, 16, 16), 1), ((2, 16, 10), 1)),
    ]
    products = 8 * 8 * 4 + 2 * 8 * (4 * 12 + 4 * 4 + 4 * 12 + 6 * 4) + 2 * 16 * 16 + 2 * 16 * 10
    assert work.gemms(8, config, 2).flops == 2 * products
    # Windows of 4 and 4 in one layer, all 8 in the other: 32 + 64 pairs of tokens, 2 x 4 multiply-adds each.
    rotary = 2 * 6 * 8 * 4
    assert work.tower(8, [4, 4], [8], config, 2).flops == 2 * products + rotary + 96 * 4 * 4
    assert work.tower(8, [4, 4], [8], config, 2).exps == 96


PEAKS = Peaks(fma_fp32=100.0, dot_bf16=400.0, dot_int8=None, exp_fp32=10.0, copy=50.0)


@pytest.mark.parametrize(
    ("amount", "dtype", "seconds"),
    [
        (Work(1000.0, 100.0), "fp32", 10.0),
        (Work(1000.0, 100.0), "bf16", 2.5),
        (Work(1000.0, 100.0), "fp16", 10.0),
        (Work(1000.0, 100.0, 20.0), "fp32", 12.0),
        (Work(100.0, 1000.0), "fp32", 20.0),
    ],
)
def test_bounds(amount, dtype, seconds):
    assert PEAKS.bound(amount, dtype) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("name", "tokens"),
    [("256", 256), ("1296", 1296), ("mixed", 2012), ("video", 2400), ("4900", 4900), ("1080p", 10764), ("4", 4)],
)
def test_batches(name, tokens):
    (batch,) = cases.parse(name)
    assert (batch.name, batch.tokens) == (name, tokens)
    for _, h, w in batch.grids:
        assert h % 2 == w % 2 == 0


def test_batches_of_numbers_are_nearly_square():
    assert cases.square(1296) == (1, 36, 36)
    assert cases.square(2400) == (1, 48, 50)
    assert cases.square(10764) == (1, 78, 138)
    assert [batch.name for batch in cases.parse("256, mixed")] == ["256", "mixed"]
    assert cases.of_grids([(1, 4, 4), (2, 4, 4)]).tokens == 48


@pytest.mark.parametrize("text", ["", "12x", "-4", "256,", "giant"])
def test_what_is_no_batch(text):
    with pytest.raises(ValueError, match="tokens: expected numbers or mixed, video, 1080p"):
        cases.parse(text)


@pytest.mark.parametrize("text", ["0", "6", "1297"])
def test_what_is_no_image(text):
    with pytest.raises(ValueError, match=f"tokens: expected a multiple of 4, got {text}"):
        cases.parse(text)
