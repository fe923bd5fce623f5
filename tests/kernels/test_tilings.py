"""Tilings are pure functions of shape, dtype and chip: everything legal fits, the rest is refused clearly."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.samples import Rotary
from qwen_vl_npu_ops import ops, sim
from qwen_vl_npu_ops.sim import native, operators

UB = 192 * 1024 - 256 - 8 * 1024  # what CANN leaves of 192 KiB
SLOTS = ("inBytes", "tableBytes", "outBytes")


def rotary_shape(**changes) -> dict:
    width = 3 * changes.get("heads", 16) * changes.get("in_dim", 80)
    shape = {"tokens": 4096, "heads": 16, "dim": 80, "in_dim": 80, "out_dim": 80, "qkv_stride": width}
    shape |= {"cos_stride": 40, "sin_stride": 40, "table_step": 1, "type": 2, "table_type": 0, "interleaved": False}
    return shape | changes


def buffers(fields: dict) -> int:
    """The bytes of UB that rotary_qkv's buffers take."""
    return sum((fields["slots"] if n in SLOTS else 1) * v for n, v in fields.items() if n.endswith("Bytes"))


HEADS = st.integers(1, 64) | st.sampled_from((255, 256, 1000, 10**6))


@st.composite
def rotary_shapes(draw, types=(0, 1, 2), heads=HEADS) -> dict:
    dim = 2 * draw(st.integers(1, 128))
    dtype = draw(st.sampled_from(types))
    return rotary_shape(
        tokens=draw(st.sampled_from((1, 2, 47, 49, 4096, 10**6)) | st.integers(1, 30000)),
        heads=draw(heads),
        dim=dim,
        in_dim=2 * draw(st.integers(dim // 2, 128)),
        out_dim=2 * draw(st.integers(dim // 2, 128)),
        type=dtype,
        table_type=draw(st.sampled_from((0, dtype))),
        table_step=draw(st.integers(1, 2)),
        interleaved=draw(st.booleans()),
    )


@settings(max_examples=500)
@given(shape=rotary_shapes(), chip=st.sampled_from(sim.chips()))
def test_rotary_qkv_fits(shape, chip):
    tiling = operators.tiling("rotary_qkv", chip, **shape)
    cores = {"910B1": 48, "910B2": 48, "910B3": 40, "910B4": 40}[chip]
    assert tiling.blocks == min(cores, shape["tokens"])
    assert tiling.workspace_bytes == 0
    fields = tiling.fields
    assert buffers(fields) <= UB
    assert all(v % 32 == 0 for n, v in fields.items() if n.endswith("Bytes"))
    assert 1 <= fields["tileHeads"] <= shape["heads"]
    assert 1 <= fields["tileTokens"] <= -(-shape["tokens"] // tiling.blocks)
    assert fields["inPitch"] % 8 == 0
    assert fields["outPitch"] % 8 == 0
    assert fields["inPitch"] >= shape["in_dim"]
    assert fields["outPitch"] >= shape["out_dim"]
    assert fields["rowPitch"] >= 3 * fields["tileHeads"] * fields["inPitch"]


@pytest.mark.parametrize(
    "case",
    [Rotary(lengths=(300,), heads=16), Rotary(lengths=(60,), interleaved=True), Rotary(lengths=(60,), head_dim=72)],
)
def test_rotary_qkv_takes_the_ub_that_its_tiling_says(case):
    """The simulator's peak is the sum of the tiling's buffers."""
    with sim.device("910B1") as chip:
        ops.rotary_qkv(**case.make(torch.bfloat16))
    width = 3 * case.heads * case.head_dim
    shape = rotary_shape(
        tokens=case.tokens, heads=case.heads, dim=case.head_dim, in_dim=case.head_dim, out_dim=case.head_dim,
        qkv_stride=width, cos_stride=case.head_dim // 2, sin_stride=case.head_dim // 2, interleaved=case.interleaved,
    )  # fmt: skip
    fields = operators.tiling("rotary_qkv", "910B1", **shape).fields
    assert chip.report()[0].peak_bytes["ub"] == buffers(fields)


def test_nothing_to_do_is_no_block():
    assert operators.tiling("rotary_qkv", "910B1", **rotary_shape(tokens=0)).blocks == 0


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"tokens": -1}, "tokens -1"),
        ({"tokens": 2**32}, "tokens 4294967296"),
        ({"heads": 0}, "heads 0"),
        ({"dim": 0}, "dim 0"),
        ({"in_dim": 78}, "in_dim 78"),
        ({"out_dim": 258}, "out_dim 258"),
        ({"qkv_stride": 2**33}, "qkv_stride 8589934592"),
        ({"cos_stride": -40}, "cos_stride -40"),
    ],
)
def test_what_no_tiling_serves_is_refused(changes, named):
    with pytest.raises(ValueError, match=rf"rotary_qkv: no tiling for {named}: expected .* to .*"):
        operators.tiling("rotary_qkv", "910B1", **rotary_shape(**changes))


@pytest.mark.parametrize("op", [name for name in dir(native.tilings()) if not name.startswith("_")])
def test_a_shape_must_have_its_names(op):
    with pytest.raises(TypeError, match=f"{op}: expected "):
        operators.tiling(op, "910B1")
    with pytest.raises(ValueError, match="unknown chip"):
        operators.tiling(op, "310P")


L1 = 512 * 1024 - 256
FRACTAL = 512  # bytes


@settings(max_examples=200)
@given(
    rows=st.integers(1, 30000) | st.sampled_from((1, 16, 17, 10**6)),
    k=st.integers(1, 5000) | st.sampled_from((1176, 30011, 65520)),
    hidden=st.integers(1, 3000) | st.sampled_from((1280, 100000)),
    dtype=st.integers(0, 2),
    cast=st.booleans(),
    chip=st.sampled_from(sim.chips()),
)
def test_patch_embed_fits(rows, k, hidden, dtype, cast, chip):
    shape = {"pixel_rows": rows, "pixel_stride": k, "rows": rows, "k": k, "hidden": hidden, "type": dtype}
    shape |= {"pixel_type": 0 if cast else dtype, "index_bytes": 8, "has_bias": True}
    tiling = operators.tiling("patch_embed", chip, **shape)
    fields = tiling.fields
    cores = {"910B1": 24, "910B2": 24, "910B3": 20, "910B4": 20}[chip]
    assert tiling.blocks == min(cores, fields["groups"] * fields["segments"])
    assert fields["weightBytes"] + 2 * fields["rowBytes"] + fields["biasBytes"] <= L1
    assert 2 * (fields["inBytes"] + fields["outBytes"]) <= UB
    group, chunk = -(-fields["columnBlocks"] // fields["groups"]), -(-fields["kBlocks"] // fields["chunks"])
    step = -(-chunk // 2)
    assert group * 64 <= 1024  # the bias table
    assert group * step * FRACTAL <= 64 * 1024 // 2  # L0B
    assert fields["tileBlocks"] * step * FRACTAL <= 64 * 1024 // 3  # L0A
    assert fields["tileBlocks"] * group * 1024 <= 128 * 1024 // 2  # L0C
    assert tiling.workspace_bytes >= fields["rowBlocks"] * fields["kBlocks"] * FRACTAL


@pytest.mark.parametrize(("name", "value"), [("rows", -1), ("hidden", 0), ("k", 0), ("k", 65521), ("rows", 2**31)])
def test_what_no_patch_embed_tiling_serves_is_refused(name, value):
    shape = {"pixel_rows": 9, "pixel_stride": 9, "rows": 9, "k": 9, "hidden": 9, "type": 2, "pixel_type": 2}
    shape |= {"index_bytes": 0, "has_bias": False, name: value}
    with pytest.raises(ValueError, match=rf"patch_embed: no tiling for {name} {value}: expected .* to .*"):
        operators.tiling("patch_embed", "910B1", **shape)


L0 = 64 * 1024  # bytes of L0A and of L0B
MAX_STRIDE = 65535  # elements between rows that Nd2Nz reads


def attention_shape(**changes) -> dict:
    shape = {"tokens": 4096, "heads": 16, "kv_heads": 16, "segments": 64, "dim": 80, "value_dim": 80} | changes
    for name, heads, width in (("q", "heads", "dim"), ("k", "kv_heads", "dim"), ("v", "kv_heads", "value_dim"),
                               ("out", "heads", "value_dim")):  # fmt: skip
        shape.setdefault(f"{name}_token_stride", shape[heads] * shape[width])
        shape.setdefault(f"{name}_head_stride", shape[width])
    return {"type": 2, "wide_lengths": False, "scale": 0.1} | shape


CUBES = {"910B1": 24, "910B2": 24, "910B3": 20, "910B4": 20}


def assert_attention_fits(f: dict, dim: int) -> None:
    """The slots of L1, L0 and UB that the attention kernels lay out for heads of `dim` hold what goes there."""
    assert 2 * (2 * f["qkSlotBytes"] + f["vSlotBytes"] + f["pSlotBytes"]) <= L1
    width, value_width = -(-dim // 16) * 16, f["pieces"] * f["pieceWidth"]
    # Two slots each of L0A and L0B: rows of q and of weights, a block of keys and of values; L0C: two of each result.
    assert 64 * width * 2 <= L0 / 2
    assert f["tile"] * max(width, value_width, f["tile"]) * 2 <= L0 / 2
    assert 64 * f["tile"] * 4 <= 32 * 1024
    assert f["tile"] * value_width * 4 <= 64 * 1024
    # A chunk of UB holds eight rows of scores, and a vector core's half of a tile of results.
    assert f["keys"] <= 1024
    assert f["keys"] % (2 * f["tile"]) == 0
    assert f["tile"] / 2 * value_width * 4 <= 32 * 1024
    assert f["slotRows"] >= f["tile"] >= 64


@settings(max_examples=500)
@given(
    dim=st.integers(1, 256),
    value_dim=st.integers(1, 256),
    heads=st.integers(1, 128),
    tokens=st.sampled_from((1, 2, 47, 4096, 10**6)),
    chip=st.sampled_from(sim.chips()),
)
def test_window_attention_fits(dim, value_dim, heads, tokens, chip):
    shape = attention_shape(tokens=tokens, heads=heads, kv_heads=heads, dim=dim, value_dim=value_dim)
    tiling = operators.tiling("window_attention", chip, **shape)
    f = tiling.fields
    assert 1 <= tiling.blocks <= CUBES[chip]
    assert_attention_fits(f, dim)
    assert tiling.workspace_bytes == tiling.blocks * (3 * f["scoreBytes"] + 3 * f["outBytes"])
    assert f["groupBytes"] <= min(f["qkSlotBytes"], f["vSlotBytes"])
    assert f["groupWidth"] >= max(dim, value_dim)


def test_window_attention_loads_from_boundaries_of_512_bytes_where_rows_begin_there():
    def burst(**changes) -> int:
        return operators.tiling("window_attention", "910B1", **attention_shape(**changes)).fields["burst"]

    assert burst() == 256
    assert burst(q_token_stride=3 * 1280, k_token_stride=3 * 1280, v_token_stride=3 * 1280) == 256
    assert burst(kv_heads=4) == 1
    assert burst(k_token_stride=1296) == 1
    assert burst(v_head_stride=96) == 1
    assert burst(dim=72, value_dim=72) == 1
    assert burst(value_dim=64) == 1


def rotary_attention_shape(**changes) -> dict:
    shape = rotary_shape(**changes)
    shape |= {"segments": 64, "out_stride": shape["heads"] * shape["out_dim"], "wide_lengths": False, "scale": 0.1}
    return shape | changes


@st.composite
def rotary_attention_shapes(draw) -> dict:
    shape = draw(rotary_shapes(types=(1, 2), heads=st.integers(1, 100)))
    width = 3 * shape["heads"] * shape["in_dim"]
    shape["qkv_stride"] = draw(st.sampled_from((width, width + 24, 2 * width)))
    return rotary_attention_shape(**shape, wide_lengths=draw(st.booleans()))


@settings(max_examples=500)
@given(shape=rotary_attention_shapes(), chip=st.sampled_from(sim.chips()))
def test_rotary_window_attention_fits(shape, chip):
    if shape["tokens"] > 1 and shape["qkv_stride"] > MAX_STRIDE:
        with pytest.raises(
            ValueError, match=r"rotary_window_attention: no tiling for qkv_stride \d+: expected 0 to 65535"
        ):
            operators.tiling("rotary_window_attention", chip, **shape)
        return
    tiling = operators.tiling("rotary_window_attention", chip, **shape)
    f = tiling.fields
    attention, rotary = fields_of("attention", f), fields_of("rotary", f)
    assert 1 <= tiling.blocks <= CUBES[chip]
    assert_attention_fits(attention, shape["dim"])
    assert attention["pieces"] * attention["pieceWidth"] >= max(shape["dim"], shape["out_dim"])
    assert buffers(rotary) <= UB
    assert rotary["tileTokens"] >= 1
    assert 1 <= rotary["tileHeads"] <= shape["heads"]
    # What all blocks share, then q, k and a place for v of all tokens, or rings where these are rotated task by task.
    assert f["sharedBytes"] == tiling.blocks * (3 * attention["scoreBytes"] + 3 * attention["outBytes"])
    assert f["rotatedBytes"] == shape["tokens"] * shape["heads"] * shape["dim"] * 2
    assert f["ringBytes"] == 2 * 2 * attention["maxRows"] * shape["dim"] * 2
    rings = f["fused"] * tiling.blocks * f["ringBytes"]
    assert tiling.workspace_bytes == f["sharedBytes"] + max(3 * f["rotatedBytes"], rings)
    # Halves on 32 bytes: as floats, and where they are padded apart, as they come.
    halves = shape["dim"] % 16 == 0 and (shape["in_dim"] == shape["dim"] or shape["in_dim"] % 32 == 0)
    assert f["fused"] == (halves and not shape["interleaved"])


def fields_of(part: str, fields: dict) -> dict:
    return {name.removeprefix(f"{part}."): value for name, value in fields.items() if name.startswith(f"{part}.")}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"type": 0}, "float32: expected float16 or bfloat16"),
        ({"tokens": -1}, "tokens -1"),
        ({"tokens": 2**31}, "tokens 2147483648"),
        ({"heads": 0}, "heads 0: expected 1 to"),
        ({"segments": 2**31}, "segments 2147483648: expected 0 to"),
        ({"dim": 0}, "head size 0: expected 1 to 256"),
        ({"in_dim": 258}, "head size of v 258: expected 80 to 256"),
        ({"in_dim": 78}, "head size of v 78: expected 80 to 256"),
        ({"out_dim": 258}, "head size of out 258: expected 80 to 256"),
        ({"qkv_stride": 65536}, "qkv_stride 65536: expected 0 to 65535"),
        ({"out_stride": 2**31}, "token stride of out 2147483648: expected 0 to"),
        ({"cos_stride": -1}, "cos_stride -1: expected 0 to"),
        ({"sin_stride": 2**32}, "sin_stride 4294967296: expected 0 to"),
    ],
)
def test_rotary_window_attention_without_a_tiling(changes, words):
    with pytest.raises(ValueError, match=f"no tiling for {words}"):
        operators.tiling("rotary_window_attention", "910B1", **rotary_attention_shape(**changes))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"type": 0}, "float32"),
        ({"dim": 258}, "head size 258: expected 1 to 256"),
        ({"value_dim": 300}, "head size of v 300"),
        ({"kv_heads": 3}, "16 heads over 3"),
        ({"q_token_stride": 70000}, "token stride of q 70000: expected 0 to 65535"),
        ({"segments": -1}, "segments -1"),
    ],
)
def test_window_attention_without_a_tiling(changes, words):
    with pytest.raises(ValueError, match=words):
        operators.tiling("window_attention", "910B1", **attention_shape(**changes))
