"""Bounds are the arithmetic of the published figures, and no kernel beats them."""

import pytest
import scenarios
import torch

from qwen_vl_npu_ops import sim
from qwen_vl_npu_ops.sim import bounds

BF16 = torch.bfloat16
WINDOWS = {"lengths": [64] * 64, "heads": 16, "dtype": BF16}
ROTARY = {"tokens": 4096, "heads": 16, "head_dim": 80, "dtype": BF16}
EMBED = {"tokens": 4096, "in_features": 1176, "hidden": 1280, "dtype": BF16}


@pytest.mark.parametrize(
    ("head_dim", "mmad", "l0a", "l0b", "l1", "l0c"),
    [(80, 160, 18432, 20480, 38912, 26624), (128, 256, 24576, 32768, 57344, 32768)],
)
def test_one_window_of_one_head(head_dim, mmad, l0a, l0b, l1, l0c):
    work = bounds.window_attention(lengths=[64], heads=1, head_dim=head_dim, dtype=BF16)
    assert (work.mmad, work.l0a, work.l0b, work.l1, work.l0c) == (mmad, l0a, l0b, l1, l0c)
    cycles = {name: us * 24 * 1850 for name, us in work.bound("910B1").terms.items()}
    assert cycles["M"] == pytest.approx(mmad)
    assert cycles["MTE1"] == pytest.approx(l0a / 256 + l0b / 128)
    assert cycles["MTE2"] == pytest.approx(l1 / 128)
    assert cycles["FIX"] == pytest.approx(l0c / 68.7)


@pytest.mark.parametrize(
    ("work", "chip", "name", "us"),
    [
        (bounds.window_attention(head_dim=80, **WINDOWS), "910B1", "M", 3.7),
        (bounds.window_attention(head_dim=80, **WINDOWS), "910B1", "MTE2", 7.01),
        (bounds.window_attention(head_dim=80, **WINDOWS), "910B1", "FIX", 8.94),
        (bounds.window_attention(head_dim=80, **WINDOWS), "910B1", "hbm", 23.3),
        (bounds.window_attention(head_dim=80, **WINDOWS), "910B4", "hbm", 46.6),
        (bounds.rotary_window_attention(head_dim=80, **WINDOWS), "910B1", "hbm", 24.0),
        (bounds.rotary_qkv(**ROTARY), "910B1", "hbm", 35.7),
        (bounds.rotary_qkv(**ROTARY, out_head_dim=128), "910B1", "hbm", 46.2),
        (bounds.patch_embed(**EMBED), "910B1", "M", 34.1),
        (bounds.patch_embed(**EMBED), "910B3", "M", 42.1),
        (bounds.patch_embed(**EMBED), "910B1", "hbm", 12.9),
        (bounds.matmul(m=8192, n=8192, k=8192), "910B1", "M", 3022.9),
    ],
)
def test_whole_operators(work, chip, name, us):
    assert work.bound(chip).terms[name] == pytest.approx(us, rel=0.01)


def test_full_attention_is_bound_by_its_scores_in_l2():
    work = bounds.window_attention(lengths=[4096], heads=16, head_dim=80, dtype=BF16)
    assert work.handoff == pytest.approx(3.22e9, rel=0.001)  # fp32 S and 16-bit P, written and read
    bound = work.bound("910B1")
    assert bound.by == "l2"
    assert bound.us == pytest.approx(585.7 + bound.terms["hbm"] * 1800 / 5500, rel=0.001)
    assert bound.terms["FIX"] == pytest.approx(355.5, rel=0.001)


def test_what_binds():
    windows = bounds.window_attention(head_dim=80, **WINDOWS)
    assert windows.bound("910B1").by == "hbm"
    assert windows.bound("910B1", "warm").by == "l2"
    assert windows.bound("910B1", "warm").terms["hbm"] == 0
    assert bounds.patch_embed(**EMBED).bound("910B1").by == "M"
    narrow, wide = (bounds.patch_embed(**{**EMBED, "in_features": 1184, "dtype": t}) for t in (BF16, torch.float32))
    assert wide.mmad == 4 * narrow.mmad


def test_segments_are_what_counts():
    def scores(lengths):
        return bounds.window_attention(lengths=lengths, heads=3, head_dim=72, dtype=BF16).handoff

    assert scores([64, 0, 16]) == scores([64]) + scores([16])
    assert scores([128]) == 2 * scores([64, 64])


def test_pixels_of_another_dtype_pass_through_the_vector_cores():
    cast = bounds.patch_embed(**EMBED, pixel_dtype=torch.float32, bias=True, index_bytes=4)
    plain = bounds.patch_embed(**EMBED)
    assert plain.handoff == plain.vector == 0
    assert cast.handoff == 2 * 4096 * 1176 * 2
    assert cast.arguments == plain.arguments + 2 * 4096 * 1176 + 2 * 1280 + 4 * 4096


def test_a_record_names_bound_and_busiest_pipe():
    scenario = scenarios.matmul()
    with sim.device("910B2", l2="warm") as chip:
        for work in (bounds.matmul(m=64, n=48, k=80), None):
            scenarios.sample("matmul").launch("sample_matmul", 2, *scenario.arrays, scenario.tiling, work=work)
    bound, unbound = chip.report()
    assert bound.bounds_us == bounds.matmul(m=64, n=48, k=80).bound("910B2", "warm").terms
    assert bound.bound_us == max(bound.bounds_us.values()) == bound.bounds_us[bound.bound_by]
    assert bound.ratio == bound.time_us / bound.bound_us > 1
    kind, pipe = bound.busiest.split()
    assert bound.busy_by_core[kind][pipe] == max(bound.busy.values())
    assert unbound.bound_us is unbound.bound_by is unbound.ratio is None
