"""Every argument of every operator, wrong in every way: an error that names it, and nothing written."""

import inspect
import re

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from ops.samples import Attention, Rotary, cu_seqlens, randn, seeded
from qwen_vl_npu_ops import ops

TOKENS = 9
FLOAT = torch.float32


def rotary_qkv() -> dict:
    return Rotary(lengths=(TOKENS,), heads=2, head_dim=8).make(FLOAT)


def rotary_qkv_out() -> dict:
    arguments = rotary_qkv()
    del arguments["out_head_dim"]
    return {**arguments, **{name: torch.full((TOKENS, 2, 8), 7.0) for name in "qkv"}}


def window_attention() -> dict:
    return Attention(lengths=(4, 5), heads=4, kv_heads=2, head_dim=8).make(FLOAT)


def window_attention_out() -> dict:
    return {**window_attention(), "out": torch.full((TOKENS, 4, 8), 7.0)}


def rotary_window_attention() -> dict:
    return Rotary(lengths=(4, 5), heads=2, head_dim=8).make_attention(FLOAT)


def rotary_window_attention_out() -> dict:
    arguments = rotary_window_attention()
    del arguments["out_head_dim"]
    return {**arguments, "out": torch.full((TOKENS, 16), 7.0)}


def patch_embed() -> dict:
    return {
        "pixels": randn(TOKENS, 12, dtype=FLOAT, generator=seeded()),
        "weight": randn(8, 12, dtype=FLOAT, generator=seeded()),
        "bias": torch.zeros(8),
        "row_index": torch.arange(TOKENS),
    }


def patch_embed_out() -> dict:
    return {**patch_embed(), "out": torch.full((TOKENS, 8), 7.0)}


def linear() -> dict:
    return {
        "x": randn(TOKENS, 12, dtype=FLOAT, generator=seeded()),
        "weight": randn(8, 12, dtype=FLOAT, generator=seeded()),
        "bias": torch.zeros(8),
    }


def rms_norm() -> dict:
    return {"x": randn(TOKENS, 12, dtype=FLOAT, generator=seeded()), "weight": torch.ones(12), "eps": 1e-6}


def add_rms_norm() -> dict:
    return {**rms_norm(), "residual": randn(TOKENS, 12, dtype=FLOAT, generator=seeded(1))}


def silu_and_mul() -> dict:
    return {"gate_up": randn(TOKENS, 12, dtype=FLOAT, generator=seeded())}


GOOD = {
    f.__name__: f
    for f in (
        rotary_qkv,
        rotary_qkv_out,
        window_attention,
        window_attention_out,
        rotary_window_attention,
        rotary_window_attention_out,
        patch_embed,
        patch_embed_out,
        linear,
        rms_norm,
        add_rms_norm,
        silu_and_mul,
    )
}
OUTPUTS = {"rotary_qkv_out": ("q", "k", "v")}


def spread(tensor):
    """The same numbers with a gap between the elements of the last dimension."""
    return torch.stack((tensor, tensor), dim=-1)[..., 0]


NOT_A_TENSOR = {
    "None": lambda _: None,
    "list": lambda t: t.tolist(),
    "int": lambda _: 3,
    "numpy": lambda t: t.numpy(),
    "sparse": lambda t: t.to_sparse(),
}
BAD_FLOAT = {
    **NOT_A_TENSOR,
    "float64": lambda t: t.double(),
    "int32": lambda t: t.int(),
    "bool": lambda t: t.bool(),
    "complex": lambda t: t.to(torch.complex64),
    "other 16 bit": lambda t: t.to(torch.float8_e5m2),
    "0-D": lambda t: t.flatten()[0],
    "1-D": lambda t: t.flatten(),
    "one more dimension": lambda t: t[None, None, None],
    "gaps in the last dimension": spread,
    "meta": lambda t: t.to("meta"),
    "needs a gradient": lambda t: t.clone().requires_grad_(),
}
BAD_INDEX = {
    **NOT_A_TENSOR,
    "float": lambda t: t.float(),
    "int16": lambda t: t.short(),
    "uint8": lambda t: t.to(torch.uint8),
    "bool": lambda t: t.bool(),
    "0-D": lambda t: t[0],
    "2-D": lambda t: t[None],
    "meta": lambda t: t.to("meta"),
}
BAD_CU_SEQLENS = {
    **BAD_INDEX,
    "empty": lambda t: t[:0],
    "no leading zero": lambda t: t[1:],
    "decreasing": lambda _: torch.tensor([0, 5, 4, 9]),
    "negative": lambda _: torch.tensor([0, -1]),
    "past the tokens": lambda _: torch.tensor([0, TOKENS + 1]),
    "huge": lambda _: torch.tensor([0, 2**63 - 1]),
    "most negative": lambda _: torch.tensor([0, -(2**63)]),
}
BAD_INT = {
    "None": None,
    "past 64 bits": 2**70,
    "float": 2.0,
    "string": "2",
    "bool": True,
    "tensor": torch.tensor([2, 2]),
}
BAD_HEADS = {**BAD_INT, "zero": 0, "negative": -1, "not a divisor": 5, "huge": 2**62, "most negative": -(2**63)}
BAD_HEAD_DIM = {**BAD_INT, "zero": 0, "odd": 7, "negative": -8, "above the stored": 10, "above 256": 258, "huge": 2**62}
BAD_OUT_HEAD_DIM = {n: v for n, v in BAD_HEAD_DIM.items() if n not in ("None", "above the stored")} | {"small": 6}
BAD_SCALE = {
    "string": "1",
    "past float64": 10**400,
    "nan": float("nan"),
    "inf": float("inf"),
    "past float32": 1e39,
    "bool": True,
    "list": [1.0],
}
BAD_EPS = {n: v for n, v in BAD_SCALE.items() if n != "past float32"} | {"None": None, "negative": -1e-6}
BAD_HINT = {"float": 2.0, "past 64 bits": 2**70, "string": "2", "list": [2]}
BAD_BOOL = {"None": None, "int": 1, "string": "no"}

QKV = {**BAD_FLOAT, "a column short": lambda t: t[:, :-1], "no columns": lambda t: t[:, :0], "heads of 258": None}
QKV["heads of 258"] = lambda t: torch.zeros(TOKENS, 3 * 2 * 258)
TABLE = {
    **BAD_FLOAT,
    "a row short": lambda t: t[:-1],
    "a row more": lambda t: torch.cat((t, t[:1])),
    "no rows": lambda t: t[:0],
    "width 3": lambda t: t[:, :3],
    "width 6": lambda t: torch.cat((t, t[:, :2]), 1),
    "4-D, batch of two": lambda t: t[None, :, None].repeat(2, 1, 1, 1),
    "4-D, two heads": lambda t: t[None, :, None].repeat(1, 1, 2, 1),
}
TABLE.pop("one more dimension")
HEADS = {
    **BAD_FLOAT,
    "odd head size": lambda t: t[..., :7].contiguous(),
    "head size of none": lambda t: t[..., :0],
    "heads of 258": lambda t: torch.zeros(*t.shape[:2], 258),
    "no heads": lambda t: t[:, :0],
}
KEYS = {**HEADS, "a token short": lambda t: t[:-1], "three heads": lambda t: torch.zeros(TOKENS, 3, 8)}
OUT = {
    **{n: f for n, f in BAD_FLOAT.items() if n != "one more dimension"},
    "float16": lambda t: t.half(),
    "a token short": lambda t: t[:-1],
    "a token more": lambda t: torch.cat((t, t[:1])),
    "expanded rows": lambda t: t[:1].expand_as(t),
    "negated view": lambda t: torch.complex(t, t).conj().imag,
    "overlapping rows": lambda t: t.new_zeros(1000).as_strided(t.shape, (1, *t.stride()[1:])),
}

# operator -> argument -> {name: bad value, or function of the good one}
ROTARY_TABLE = {
    "qkv": QKV,
    "cos": TABLE,
    "sin": TABLE,
    "num_heads": BAD_HEADS,
    "head_dim": BAD_HEAD_DIM,
    "interleaved": BAD_BOOL,
}
ATTENTION_TABLE = {
    "q": {**HEADS, "a token short": lambda t: t[:-1]},
    "k": KEYS,
    "v": KEYS,
    "cu_seqlens": BAD_CU_SEQLENS,
    "scale": BAD_SCALE,
    "max_seqlen": BAD_HINT,
}
PATCH_TABLE = {
    "pixels": {**BAD_FLOAT, "a column short": lambda t: t[:, :-1], "no columns": lambda t: t[:, :0]},
    "weight": {
        **{n: f for n, f in BAD_FLOAT.items() if n not in ("gaps in the last dimension", "one more dimension")},
        "a column short": lambda t: t[:, :-1],
        "no rows": lambda t: t[:0],
        "3-D": lambda t: t[None],
    },
    "bias": {n: f for n, f in BAD_FLOAT.items() if n not in ("None", "1-D")}
    | {"short": lambda t: t[:-1], "2-D": lambda t: t[None]},
    "row_index": {n: f for n, f in BAD_INDEX.items() if n != "None"}
    | {
        "past the rows": lambda _: torch.tensor([0, TOKENS]),
        "negative": lambda _: torch.tensor([-1]),
        "most negative": lambda _: torch.tensor([-(2**63)]),
        "huge": lambda _: torch.tensor([2**63 - 1]),
    },
}
BAD_BIAS = PATCH_TABLE["bias"]
NORM_TABLE = {
    "x": {**BAD_FLOAT, "a column short": lambda t: t[:, :-1], "no columns": lambda t: t[:, :0]},
    "weight": {n: f for n, f in BAD_FLOAT.items() if n != "1-D"}
    | {"short": lambda t: t[:-1], "empty": lambda t: t[:0], "2-D": lambda t: t[None]},
    "eps": BAD_EPS,
}
BAD = {
    "rotary_qkv": {**ROTARY_TABLE, "out_head_dim": BAD_OUT_HEAD_DIM},
    "rotary_qkv_out": {**ROTARY_TABLE, "q": OUT, "k": OUT, "v": OUT},
    "window_attention": ATTENTION_TABLE,
    "window_attention_out": {**ATTENTION_TABLE, "out": OUT},
    "rotary_window_attention": {
        **ROTARY_TABLE,
        "out_head_dim": BAD_OUT_HEAD_DIM,
        "cu_seqlens": BAD_CU_SEQLENS,
        "scale": BAD_SCALE,
        "max_seqlen": BAD_HINT,
    },
    "rotary_window_attention_out": {
        **ROTARY_TABLE,
        "cu_seqlens": BAD_CU_SEQLENS,
        "scale": BAD_SCALE,
        "max_seqlen": BAD_HINT,
        "out": OUT,
    },
    "patch_embed": PATCH_TABLE,
    "patch_embed_out": {**PATCH_TABLE, "out": OUT},
    "linear": {
        "x": {**BAD_FLOAT, "a column short": lambda t: t[:, :-1], "no columns": lambda t: t[:, :0]},
        "weight": {**BAD_FLOAT, "no rows": lambda t: t[:0], "a column short": lambda t: t[:, :-1]},
        "bias": BAD_BIAS,
    },
    "rms_norm": NORM_TABLE,
    "add_rms_norm": {
        **NORM_TABLE,
        "residual": {**BAD_FLOAT, "a column short": lambda t: t[:, :-1], "a token short": lambda t: t[:-1]},
    },
    # Alone on the meta device, it disagrees with nothing.
    "silu_and_mul": {"gate_up": {n: f for n, f in BAD_FLOAT.items() if n != "meta"} | {"odd": lambda t: t[:, :-1]}},
}
CASES = [(op, argument, name) for op, table in BAD.items() for argument, values in table.items() for name in values]

# What only data or memory can tell; a fake has neither.
UNSEEN_BY_FAKES = {
    "no leading zero",
    "decreasing",
    "negative",
    "past the tokens",
    "past the rows",
    "huge",
    "most negative",
    "expanded rows",
    "overlapping rows",
    "needs a gradient",
}


def bad_call(op: str, argument: str, name: str) -> dict:
    arguments = GOOD[op]()
    value = BAD[op][argument][name]
    arguments[argument] = value(arguments[argument]) if callable(value) else value
    return arguments


def outputs_of(op: str, arguments: dict) -> list[torch.Tensor]:
    names = OUTPUTS.get(op, ("out",)) if op.endswith("_out") else ()
    return [arguments[n] for n in names if isinstance(arguments[n], torch.Tensor) and arguments[n].device.type == "cpu"]


@pytest.mark.parametrize("op", GOOD)
def test_the_good_call_is_good(op):
    getattr(ops, op)(**GOOD[op]())


@pytest.mark.parametrize("op", GOOD)
def test_every_argument_is_in_the_table(op):
    assert set(BAD[op]) == set(inspect.signature(getattr(ops, op)).parameters)


@pytest.mark.parametrize(("op", "argument", "name"), CASES)
def test_eager(op, argument, name):
    arguments = bad_call(op, argument, name)
    outputs = outputs_of(op, arguments)
    before = [t.clone() for t in outputs]
    # A shape that disagrees with another argument's may be laid at that one's door, but always in these words.
    pattern = re.compile(rf"^{op.removesuffix('_out')}(_out)?: \w+: expected .+, got .+")
    with pytest.raises((ValueError, TypeError)) as raised:
        getattr(ops, op)(**arguments)
    assert pattern.match(str(raised.value)), raised.value
    for output, kept in zip(outputs, before, strict=True):
        assert torch.equal(output.detach().to_dense(), kept.to_dense()), "written before the check"


# Where another argument is named, it is because the two disagree and either could be the wrong one.
MAY_NAME = {
    "qkv": {"cos", "sin", "out", "num_heads", "head_dim", "q", "cu_seqlens"},
    "cos": {"sin"},
    "num_heads": {"qkv", "out"},
    "head_dim": {"qkv", "cos", "out_head_dim"},
    "q": {"k", "v", "cu_seqlens", "out", "qkv", "out_head_dim"},
    "k": {"v", "q"},
    "v": {"k", "q", "out"},
    "x": {"weight", "bias", "residual"},
    "pixels": {"weight", "row_index", "bias"},
    "weight": {"pixels", "bias", "out", "x"},
    "out": {"out_head_dim", "qkv", "num_heads"},
    "row_index": {"out"},
    "cu_seqlens": set(),
}


@pytest.mark.parametrize(("op", "argument", "name"), CASES)
def test_the_message_names_the_argument(op, argument, name):
    with pytest.raises((ValueError, TypeError)) as raised:
        getattr(ops, op)(**bad_call(op, argument, name))
    named = str(raised.value).split(": ")[1]
    assert named == argument or named in MAY_NAME.get(argument, set()), raised.value


@pytest.mark.parametrize(("op", "argument", "name"), [case for case in CASES if case[2] not in UNSEEN_BY_FAKES])
def test_fake(op, argument, name):
    """Under torch.compile the same calls fail with the same words."""
    arguments = bad_call(op, argument, name)
    with pytest.raises((ValueError, TypeError)) as eager:
        getattr(ops, op)(**arguments)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        fakes = {
            n: mode.from_tensor(a) if isinstance(a, torch.Tensor) and a.layout is torch.strided else a
            for n, a in arguments.items()
        }
        with pytest.raises((ValueError, TypeError)) as fake:
            getattr(ops, op)(**fakes)
    assert str(fake.value).split(": expected")[0] == str(eager.value).split(": expected")[0]


def overlapping_calls() -> dict:
    qkv = torch.zeros(TOKENS, 48)
    heads = torch.zeros(TOKENS, 4, 8)
    square = torch.zeros(8, 8)
    rotary = {"cos": torch.zeros(TOKENS, 4), "sin": torch.zeros(TOKENS, 4), "num_heads": 2, "head_dim": 8}
    ends = cu_seqlens((TOKENS,))
    free = [torch.zeros(TOKENS, 2, 8) for _ in "qkv"]
    return {
        "q in qkv": (
            ops.rotary_qkv_out,
            {"qkv": qkv, **rotary, "q": qkv[:, :16].unflatten(1, (2, 8)), "k": free[0], "v": free[1]},
        ),
        "q is k": (ops.rotary_qkv_out, {"qkv": qkv, **rotary, "q": free[0], "k": free[0], "v": free[1]}),
        "out is q": (ops.window_attention_out, {"q": heads, "k": heads, "v": heads, "cu_seqlens": ends, "out": heads}),
        "out in qkv": (
            ops.rotary_window_attention_out,
            {"qkv": qkv, **rotary, "cu_seqlens": ends, "out": qkv[:, 16:32]},
        ),
        "out is pixels": (ops.patch_embed_out, {"pixels": square, "weight": torch.zeros(8, 8), "out": square}),
        "out is weight": (ops.patch_embed_out, {"pixels": torch.zeros(8, 8), "weight": square, "out": square}),
    }


@pytest.mark.parametrize("name", overlapping_calls())
def test_out_must_not_overlap_an_input(name):
    op, arguments = overlapping_calls()[name]
    with pytest.raises(ValueError, match="overlaps"):
        op(**arguments)


def test_forward_mode_gradients_are_refused():
    arguments = window_attention()
    with torch.autograd.forward_ad.dual_level():
        arguments["k"] = torch.autograd.forward_ad.make_dual(arguments["k"], torch.ones_like(arguments["k"]))
        with pytest.raises(ValueError, match="k: expected a tensor that needs no gradient"):
            ops.window_attention(**arguments)


def test_autograd_notices_that_a_saved_tensor_was_overwritten():
    arguments = window_attention_out()
    weight = torch.ones_like(arguments["out"], requires_grad=True)
    loss = (weight * arguments["out"]).sum()
    ops.window_attention_out(**arguments)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_out_may_be_an_inference_tensor():
    with torch.inference_mode():
        arguments = {op: GOOD[op]() for op in GOOD if op.endswith("_out")}
    for op, values in arguments.items():
        with torch.inference_mode():
            getattr(ops, op)(**values)


@pytest.mark.parametrize("op", [op for op in GOOD if not op.endswith("_out")])
def test_gradients_are_refused_only_with_grad_mode_on(op):
    arguments = GOOD[op]()
    first = next(iter(arguments))
    arguments[first].requires_grad_()
    with pytest.raises(ValueError, match=f"{first}: expected a tensor that needs no gradient"):
        getattr(ops, op)(**arguments)
    with torch.no_grad():
        result = getattr(ops, op)(**arguments)
    assert not any(t.requires_grad for t in (result if isinstance(result, tuple) else (result,)))
