import json
import os
import subprocess
import sys

import pytest
import torch

from qwen_vl_npu_ops import ops, reference
from qwen_vl_npu_ops.commands import doctor

DTYPES = ("float32", "float16", "bfloat16")


def uniform_average(q, k, v, cu_seqlens, **options):
    """Attention that looks at every key alike: what some drivers were seen to return."""
    return reference.window_attention(torch.zeros_like(q), k, v, cu_seqlens, **options)


def uniform_average_of_qkv(qkv, cos, sin, cu_seqlens, num_heads, head_dim, **options):
    blind = qkv.unflatten(-1, (3, -1)).clone()
    blind[:, 0] = 0
    return reference.rotary_window_attention(blind.flatten(-2), cos, sin, cu_seqlens, num_heads, head_dim, **options)


def test_everything_passes_here(run):
    result = run("doctor", "--json")
    report = json.loads(result.stdout)
    assert result.exit_code == 0, [check["detail"] for check in report["checks"] if not check["passed"]]
    assert report["passed"] is True
    assert report["packages"]["torch"] == torch.__version__
    assert report["kernels"]["instruction_set"] == ops.cpu_isa()
    assert report["kernels"]["instruction_set"] in report["kernels"]["available_instruction_sets"]
    assert {(check["op"], check["dtype"]) for check in report["checks"]} == {
        (op, dtype) for op in doctor.OPERATORS for dtype in DTYPES
    }
    for check in report["checks"]:
        assert check["passed"]
        assert 0 <= check["error"] <= check["bound"]


def test_the_table_shows_error_and_bound(run):
    result = run("doctor")
    assert result.exit_code == 0
    for text in (*doctor.OPERATORS, "half, padded", "interleaved, windows", "bfloat16", f"torch: {torch.__version__}"):
        assert text in result.stdout
    assert "all 57 checks passed" in result.stdout
    assert "FAIL" not in result.stdout


def swapped_sine(qkv, cos, sin, *args, **options):
    return reference.rotary_qkv(qkv, cos, -sin, *args, **options)


def unsorted_rows(pixels, weight, bias=None, *, row_index=None):
    return reference.patch_embed(pixels, weight, bias)


def nan_somewhere(q, *args, **options):
    out = reference.window_attention(q, *args, **options)
    out[-1, -1, -1] = torch.nan
    return out


def a_row_short(*args, **options):
    return reference.window_attention(*args, **options)[1:]


def crash(*args, **options):
    raise RuntimeError("no kernel for this")


@pytest.mark.parametrize(
    ("op", "wrong", "failures"),
    [
        ("window_attention", uniform_average, 9),
        ("rotary_window_attention", uniform_average_of_qkv, 18),
        ("rotary_qkv", swapped_sine, 12),
        ("patch_embed", unsorted_rows, 3),
        ("window_attention", nan_somewhere, 9),
        ("window_attention", a_row_short, 9),
        ("window_attention", crash, 9),
    ],
)
def test_a_wrong_operator_fails(run, monkeypatch, op, wrong, failures):
    monkeypatch.setattr(ops, op, wrong)
    result = run("doctor", "--json")
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert report["passed"] is False
    failed = [check for check in report["checks"] if not check["passed"]]
    assert len(failed) == failures
    assert {check["op"] for check in failed} == {op}
    table = run("doctor")
    assert table.exit_code == 1
    assert table.stdout.count("FAIL") == failures
    assert f"{failures} of 57 checks failed" in table.stdout


def test_an_error_just_over_the_bound_fails_and_one_within_passes(monkeypatch):
    case = next(case for case in doctor.cases() if case.op == "patch_embed")
    honest = doctor.check(case, torch.float32)
    right = reference.patch_embed

    def off_by(share):
        def patch_embed(pixels, weight):
            exact = right(pixels.double(), weight.double())
            exact[0, 0] += share * honest.bound
            return exact.float()

        return patch_embed

    monkeypatch.setattr(ops, "patch_embed", off_by(0.5))
    assert doctor.check(case, torch.float32).passed
    monkeypatch.setattr(ops, "patch_embed", off_by(4.0))
    assert not doctor.check(case, torch.float32).passed


def doctor_with(isa):
    environment = {**os.environ, "QWEN_VL_NPU_OPS_ISA": isa}
    command = [sys.executable, "-m", "qwen_vl_npu_ops", "doctor", "--json"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("isa", ops.available_cpu_isas())
def test_every_instruction_set_passes(isa):
    done = doctor_with(isa)
    report = json.loads(done.stdout)
    assert done.returncode == 0, [check["detail"] for check in report["checks"] if not check["passed"]]
    assert report["kernels"]["instruction_set"] == isa


def test_an_instruction_set_that_is_not_there_is_one_line():
    done = doctor_with("abacus")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "abacus" in done.stderr


def test_version(run):
    result = run("--version")
    assert result.exit_code == 0
    assert result.stdout.startswith("qwen-vl-npu-ops ")
