"""Bounds are the arithmetic of the published figures, and no kernel beats them."""

import pytest
import scenarios
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen_vl_npu_ops import sim
from qwen_vl_npu_ops.commands import sim as command
from qwen_vl_npu_ops.sim import bounds
from qwen_vl_npu_ops.sim.native import native

BF16 = torch.bfloat16
SQUARES = {"lengths": [64] * 64, "heads": 16, "dtype": BF16}
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
    assert cycles["aic M"] == pytest.approx(mmad)
    assert cycles["aic MTE1"] == pytest.approx(l0a / 256 + l0b / 128)
    assert cycles["aic MTE2"] == pytest.approx(l1 / 128)
    assert cycles["aic FIX"] == pytest.approx(l0c / 68.7)


@pytest.mark.parametrize(
    ("work", "chip", "name", "us"),
    [
        (bounds.window_attention(head_dim=80, **SQUARES), "910B1", "aic M", 3.7),
        (bounds.window_attention(head_dim=80, **SQUARES), "910B1", "aic MTE2", 7.01),
        (bounds.window_attention(head_dim=80, **SQUARES), "910B1", "aic FIX", 8.94),
        (bounds.window_attention(head_dim=80, **SQUARES), "910B1", "hbm", 23.3),
        (bounds.window_attention(head_dim=80, **SQUARES), "910B4", "hbm", 46.6),
        (bounds.rotary_window_attention(head_dim=80, **SQUARES), "910B1", "hbm", 24.0),
        (bounds.rotary_qkv(**ROTARY), "910B1", "hbm", 35.7),
        (bounds.rotary_qkv(**ROTARY, out_head_dim=128), "910B1", "hbm", 46.2),
        (bounds.patch_embed(**EMBED), "910B1", "aic M", 34.1),
        (bounds.patch_embed(**EMBED), "910B3", "aic M", 42.1),
        (bounds.patch_embed(**EMBED), "910B1", "hbm", 12.9),
        (bounds.matmul(m=8192, n=8192, k=8192), "910B1", "aic M", 3022.9),
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
    assert bound.terms["aic FIX"] == pytest.approx(355.5, rel=0.001)


def test_what_binds():
    windows = bounds.window_attention(head_dim=80, **SQUARES)
    assert windows.bound("910B1").by == "hbm"
    assert windows.bound("910B1", "warm").by == "l2"
    assert windows.bound("910B1", "warm").terms["hbm"] == 0
    assert bounds.patch_embed(**EMBED).bound("910B1").by == "aic M"
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


# ---- no kernel beats its bound ----

SIZES = {
    "add": st.integers(1, 70000).map(str),
    "axpy": st.integers(1, 3000).map(lambda n: str(8 * n)),
    "block_sum": st.tuples(st.integers(1, 8), st.integers(1, 600)).map(lambda n: f"{n[0]},{64 * n[1]}"),
    "matmul": st.tuples(*[st.integers(1, 24)] * 3).map(lambda n: ",".join(str(16 * i) for i in n)),
    "matmul_leaky_relu": st.tuples(*[st.integers(1, 12)] * 3).map(lambda n: ",".join(str(32 * i) for i in n)),
}
TOKENS = st.integers(1, 300)
HEADS = {"heads": st.integers(1, 4), "head_dim": st.sampled_from([64, 72, 80, 128])}
WINDOWS = st.one_of(st.just("full"), st.integers(1, 80).map(str))
NARROW, ANY = st.sampled_from(["bf16", "fp16"]), st.sampled_from(["bf16", "fp16", "fp32"])
SHAPES = {
    "rotary_qkv": {"tokens": TOKENS, "dtype": ANY, **HEADS},
    "window_attention": {"tokens": TOKENS, "dtype": NARROW, "windows": WINDOWS, **HEADS},
    "rotary_window_attention": {"tokens": TOKENS, "dtype": NARROW, "windows": WINDOWS, **HEADS},
    "patch_embed": {"tokens": TOKENS, "dtype": NARROW, "hidden": st.integers(1, 20).map(lambda n: 16 * n)},
}
CHIPS, STATES = st.sampled_from(sim.chips()), st.sampled_from(["cold", "warm"])


def check_bound(name, chip, l2, options):
    """The time is no less than the bound, and each pipe of all cores together no less busy than it must be."""
    request = command.plan(name, chip, l2, options)
    record = command.execute(request, check=False, trace=False, races=False).record
    assert record.time_us >= record.bound_us
    fields = native().chip(chip)
    for kind, cores in (("aic", fields["cube_cores"]), ("aiv", fields["vector_cores"])):
        launched = sum(core.startswith(kind) for core in record.cores)
        for pipe, share in record.busy_by_core.get(kind, {}).items():
            busy_us = share * record.time_us * min(launched, cores) / cores
            assert busy_us >= record.bounds_us.get(f"{kind} {pipe}", 0) * (1 - 1e-9), (kind, pipe)


@pytest.mark.parametrize("name", SIZES)
def test_no_sample_beats_its_bound(name, full):
    @settings(max_examples=200 if full else 25)
    @given(size=SIZES[name], chip=CHIPS, l2=STATES)
    def check(size, chip, l2):
        check_bound(name, chip, l2, {"size": size})

    check()


@pytest.mark.parametrize("name", [name for name in command.kernels() if name in SHAPES])
def test_no_operator_beats_its_bound(name, full):
    @settings(max_examples=200 if full else 25)
    @given(options=st.fixed_dictionaries(SHAPES[name]), chip=CHIPS, l2=STATES)
    def check(options, chip, l2):
        check_bound(name, chip, l2, options)

    check()
