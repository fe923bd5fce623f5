"""Inside `with sim.device(...)` the operators' calls on CPU tensors go to the simulated chip, checked as on an NPU."""

import re

import pytest
import torch

from kernels.on_chip import same_bits
from ops.samples import Rotary
from ops.test_bad_input import CASES, GOOD, bad_call, outputs_of, overlapping_calls
from qwen_vl_npu_ops import ops, sim

# What a kernel finds out by itself; checked here when QWEN_VL_NPU_OPS_CHECK=1 asks for it.
CONTENTS = {"no leading zero", "decreasing", "negative", "past the tokens", "past the rows", "huge", "most negative"}
BAD_CONTENTS = [case for case in CASES if case[1] in ("cu_seqlens", "row_index") and case[2] in CONTENTS]


def rotary(**changes) -> dict:
    return Rotary(lengths=(13,), **changes).make(torch.bfloat16)


def test_only_inside_the_device():
    with sim.device("910B1") as chip:
        on_chip = ops.rotary_qkv(**rotary())
    on_cpu = ops.rotary_qkv(**rotary())
    (record,) = chip.report()
    assert record.kernel == "rotary_qkv_bfloat16"
    for got, want in zip(on_chip, on_cpu, strict=True):
        torch.testing.assert_close(got, want)


def test_the_innermost_device_runs_it():
    with sim.device("910B1") as outer, sim.device("910B2") as inner:
        ops.rotary_qkv(**rotary())
    assert len(inner.report()) == 1
    assert not outer.report()
    with sim.device("910B1") as outer:
        with pytest.raises(ValueError, match="stop"), sim.device("910B2"):
            raise ValueError("stop")
        ops.rotary_qkv(**rotary())
    assert len(outer.report()) == 1


def test_torch_ops_is_the_same():
    arguments = rotary()
    with sim.device("910B1") as chip:
        function = ops.rotary_qkv(**arguments)
        positional = [arguments.pop(n) for n in ("qkv", "cos", "sin", "num_heads", "head_dim")]
        same_bits(torch.ops.qwen_vl_npu_ops.rotary_qkv(*positional, **arguments), function)
        same_bits(torch.ops.qwen_vl_npu_ops.rotary_qkv(*positional), function)
    assert len(chip.report()) == 3


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_every_grad_mode(mode):
    with mode(), sim.device("910B1") as chip:
        ops.rotary_qkv(**rotary())
    assert len(chip.report()) == 1


def test_other_devices_and_other_operators_are_left_alone():
    with sim.device("910B1") as chip:
        fake = ops.rotary_qkv(**{n: a.to("meta") if isinstance(a, torch.Tensor) else a for n, a in rotary().items()})
        total = torch.ones(3).sum()
    assert fake[0].shape == (13, 4, 80)
    assert fake[0].device.type == "meta"
    assert total == 3
    assert not chip.report()


@pytest.mark.parametrize("compiled_inside", [True, False])
def test_compiled_code_runs_on_the_chip(compiled_inside):
    arguments = rotary()
    torch.compiler.reset()
    compiled = torch.compile(lambda: tuple(r + 1 for r in ops.rotary_qkv(**arguments)), backend="aot_eager")
    on_cpu = None if compiled_inside else compiled()
    with sim.device("910B1") as chip:
        on_chip = compiled()
    assert len(chip.report()) == 1
    for got, want in zip(on_chip, on_cpu or compiled(), strict=True):
        torch.testing.assert_close(got, want)


def test_l2_is_cold_for_every_call_unless_kept():
    arguments = rotary()
    for l2 in ("cold", "kept"):
        with sim.device("910B1", l2=l2) as chip:
            ops.rotary_qkv(**arguments)
            ops.rotary_qkv(**arguments)
        first, second = (record.bytes["hbm"] for record in chip.report())
        assert first > 0
        assert second == first if l2 == "cold" else second < first
        assert chip.report()[0].bound_us > 0


def test_out_variant_writes_strided_outputs_and_nothing_else():
    arguments = rotary()
    expected = ops.rotary_qkv(**arguments)
    del arguments["out_head_dim"]
    buffers = [torch.full((13, 4, 100), 7, dtype=torch.bfloat16) for _ in "qkv"]
    packed = torch.empty(13, 3, 4, 80, dtype=torch.bfloat16)
    with sim.device("910B1"):
        ops.rotary_qkv_out(**arguments, **{n: b[:, :, :80] for n, b in zip("qkv", buffers, strict=True)})
        ops.rotary_qkv_out(**arguments, **dict(zip("qkv", packed.unbind(1), strict=True)))
    for i, (buffer, want) in enumerate(zip(buffers, expected, strict=True)):
        torch.testing.assert_close(buffer[:, :, :80], want)
        assert bool((buffer[:, :, 80:] == 7).all())
        torch.testing.assert_close(packed[:, i], want)


@pytest.mark.parametrize(("op", "argument", "name"), [case for case in CASES if case not in BAD_CONTENTS])
def test_bad_calls_are_refused_as_elsewhere(op, argument, name):
    arguments = bad_call(op, argument, name)
    outputs = outputs_of(op, arguments)
    before = [t.detach().clone() for t in outputs]
    with pytest.raises((ValueError, TypeError)) as on_cpu:
        getattr(ops, op)(**arguments)
    with sim.device("910B1") as chip, pytest.raises((ValueError, TypeError)) as on_chip:
        getattr(ops, op)(**arguments)
    assert not chip.report()
    assert re.match(rf"{op.removesuffix('_out')}(_out)?: \w+: expected .+, got .+", str(on_chip.value))
    assert type(on_chip.value) is type(on_cpu.value)
    for output, kept in zip(outputs, before, strict=True):
        assert torch.equal(output.detach().to_dense(), kept.to_dense()), "written before the check"


@pytest.mark.parametrize(("op", "argument", "name"), BAD_CONTENTS)
def test_contents_are_checked_on_request(op, argument, name, monkeypatch):
    monkeypatch.setenv("QWEN_VL_NPU_OPS_CHECK", "1")
    with pytest.raises(ValueError, match=f"{argument}: expected") as on_cpu:
        getattr(ops, op)(**bad_call(op, argument, name))
    with sim.device("910B1"), pytest.raises(ValueError, match="expected") as on_chip:
        getattr(ops, op)(**bad_call(op, argument, name))
    # The wrong number of rows shows first in the result's shape.
    assert op == "patch_embed_out" or str(on_chip.value) == str(on_cpu.value)


@pytest.mark.parametrize("name", overlapping_calls())
def test_out_must_not_overlap_an_input(name):
    op, arguments = overlapping_calls()[name]
    with sim.device("910B1"), pytest.raises(ValueError, match="overlaps"):
        op(**arguments)


@pytest.mark.parametrize("op", [op for op in GOOD if "attention" in op])
def test_float32_attention_is_the_composition(op):
    arguments = GOOD[op]()
    with sim.device("910B1") as chip:
        got = getattr(ops, op)(**arguments)
    assert not chip.report()
    if op.endswith("_out"):
        got = arguments.pop("out")
    torch.testing.assert_close(got, getattr(ops, op.removesuffix("_out"))(**arguments))


def test_fewer_blocks_than_one_are_refused():
    with pytest.raises(ValueError, match="max_blocks: expected at least 1, got 0"), sim.device("910B1", max_blocks=0):
        pass
