"""compat against torch_npu's documented conventions, and bad calls."""

import pytest
import torch

from compare import assert_within_budget
from ops.samples import DTYPES, Attention, randn, seeded
from qwen_vl_npu_ops import compat, ops, reference


def rotary_inputs(dtype, tables=(1, 9, 1, 16)):
    generator = seeded()
    x = randn(2, 9, 3, 16, dtype=dtype, generator=generator)
    angles = torch.rand(*tables, generator=generator) * 6
    return x, angles.cos().to(dtype), angles.sin().to(dtype)


def complex_rotation(x, cos, sin, mode):
    """The rotation pair by pair as a complex product, which shares no code with the implementation."""
    x, cos, sin = x.double(), cos.double().expand_as(x), sin.double().expand_as(x)
    if mode == "half":
        a, b = x.chunk(2, -1)
        (ca, cb), (sa, sb) = cos.chunk(2, -1), sin.chunk(2, -1)
        return torch.cat((a * ca - b * sa, b * cb + a * sb), -1)
    pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())
    real = pairs.real * cos[..., 0::2] - pairs.imag * sin[..., 0::2]
    imag = pairs.imag * cos[..., 1::2] + pairs.real * sin[..., 1::2]
    return torch.stack((real, imag), -1).flatten(-2)


@pytest.mark.parametrize("mode", ["half", "interleave"])
@pytest.mark.parametrize("tables", [(1, 9, 1, 16), (2, 9, 3, 16), (2, 9, 1, 16), (1, 1, 1, 16)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_rotary_mul_reads_the_tables_in_full_width(dtype, tables, mode):
    x, cos, sin = rotary_inputs(dtype, tables)
    expected = complex_rotation(x, cos, sin, mode)
    got = compat.npu_rotary_mul(x, cos, sin, mode)
    assert got.dtype == dtype
    peer = complex_rotation(x, cos, sin, mode).to(dtype)
    assert_within_budget(got, expected, peer)


def test_rotary_mul_with_a_matrix_for_the_pairing():
    x, cos, sin = rotary_inputs(torch.float32)
    rotate = torch.zeros(16, 16)
    for i in range(0, 16, 2):
        rotate[i + 1, i], rotate[i, i + 1] = -1, 1
    got = compat.npu_rotary_mul(x, cos, sin, "interleave", rotate)
    torch.testing.assert_close(got, compat.npu_rotary_mul(x, cos, sin, "interleave"))


def test_rotary_mul_agrees_with_rotary_qkv():
    qkv = randn(9, 3 * 2 * 16, dtype=torch.float32, generator=seeded())
    half = torch.rand(9, 8, generator=seeded(1))
    cos, sin = (torch.cat((t, t), -1)[None, :, None] for t in (half.cos(), half.sin()))
    q, _, _ = ops.rotary_qkv(qkv, cos, sin, 2, 16)
    got = compat.npu_rotary_mul(qkv[None, :, :32].unflatten(2, (2, 16)), cos, sin)
    torch.testing.assert_close(got[0], q)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kv_heads", [4, 2])
def test_flash_attention_takes_lengths(dtype, kv_heads):
    arguments = Attention(lengths=(30, 0, 9), tail=2, kv_heads=kv_heads).make(dtype)
    q, k, v = (arguments[n] for n in "qkv")
    out = torch.full_like(q, torch.nan)
    lengths = torch.tensor([30, 0, 9], dtype=torch.int32)
    returned = compat._npu_flash_attention_unpad(q, k, v, lengths, 0.1, 4, kv_heads, out)
    assert returned is out
    exact = reference.window_attention(q.double(), k.double(), v.double(), arguments["cu_seqlens"], scale=0.1)
    peer = reference.window_attention(q, k, v, arguments["cu_seqlens"], scale=0.1)
    assert_within_budget(out, exact, peer)


BAD_ROTARY = {
    "input": [
        None,
        torch.zeros(2, 9, 16),
        torch.zeros(2, 9, 3, 15),
        torch.zeros(2, 9, 3, 0),
        torch.zeros(2, 9, 3, 16).int(),
    ],
    "r1": [3, torch.zeros(9, 16), torch.zeros(1, 8, 1, 16), torch.zeros(1, 9, 1, 8), torch.zeros(1, 9, 1, 16).half()],
    "r2": [3, torch.zeros(9, 16), torch.zeros(1, 8, 1, 16), torch.zeros(1, 9, 1, 8), torch.zeros(1, 9, 1, 16).half()],
    "rotary_mode": ["quarter", None, 1],
    "rotate": [3, torch.zeros(16), torch.zeros(15, 16)],
}


@pytest.mark.parametrize(("argument", "value"), [(a, v) for a, values in BAD_ROTARY.items() for v in values])
def test_rotary_mul_refuses(argument, value):
    arguments = dict(zip(("input", "r1", "r2"), rotary_inputs(torch.float32), strict=True))
    with pytest.raises((ValueError, TypeError), match=rf"npu_rotary_mul: {argument}: expected .*, got "):
        compat.npu_rotary_mul(**{**arguments, argument: value})


HEADS = torch.zeros(11, 4, 8)
BAD_ATTENTION = {
    "query": [None, HEADS[:, :3], HEADS[0]],
    "key": [None, HEADS[:, :3], HEADS[:5], HEADS[..., :4]],
    "value": [None, HEADS[:, :3], HEADS[:5]],
    "seq_len": [
        None,
        [5, 6],
        torch.tensor([5.0, 6.0]),
        torch.tensor([[5, 6]]),
        torch.tensor([5, -1]),
        torch.tensor([5, 7]),
        torch.tensor([2**62] * 4),
    ],
    "scale_value": [None, "1", torch.tensor(1.0)],
    "num_heads": [None, 0, -4, 4.0, 3],
    "num_kv_heads": [None, 0, 3, 8],
    "out": [None, HEADS[:5].clone(), HEADS.half()],
}


@pytest.mark.parametrize(("argument", "value"), [(a, v) for a, values in BAD_ATTENTION.items() for v in values])
def test_flash_attention_refuses(argument, value):
    out = torch.full_like(HEADS, 7)
    arguments = {
        "query": HEADS.clone(),
        "key": HEADS.clone(),
        "value": HEADS.clone(),
        "seq_len": torch.tensor([5, 6]),
        "scale_value": 0.1,
        "num_heads": 4,
        "num_kv_heads": 4,
        "out": out,
    }
    with pytest.raises((ValueError, TypeError), match=r": expected .*, got "):
        compat._npu_flash_attention_unpad(**{**arguments, argument: value})
    assert bool((out == 7).all())
