"""Which instruction set's kernels run, and that each one that this machine has passes the operators' own tests."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from qwen_vl_npu_ops import ops

TESTS = Path(__file__).parents[1]
OPS = (
    "rotary_qkv",
    "window_attention",
    "rotary_window_attention",
    "patch_embed",
    "linear",
    "rms_norm",
    "silu_and_mul",
)
NUMERICAL = [TESTS / "ops" / f"test_{op}.py" for op in OPS]

# ops calls the first of these; each needs a process of its own, because the choice is made once.
SHOW = "from qwen_vl_npu_ops import ops; print(ops.cpu_isa())"


def run(command: list, isa: str | None) -> subprocess.CompletedProcess:
    environment = {name: value for name, value in os.environ.items() if name != "QWEN_VL_NPU_OPS_ISA"}
    if isa is not None:
        environment["QWEN_VL_NPU_OPS_ISA"] = isa
    return subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, cwd=TESTS)


def test_the_best_is_the_default():
    for nothing in (None, ""):
        assert run(["-c", SHOW], nothing).stdout.strip() == ops.available_cpu_isas()[0]


@pytest.mark.parametrize("isa", ops.available_cpu_isas())
def test_the_variable_forces_one(isa):
    assert run(["-c", SHOW], isa).stdout.strip() == isa


@pytest.mark.parametrize("isa", ["avx1024", "AVX2", " "])
def test_an_unknown_name_is_an_error(isa):
    code = (
        "import torch; from qwen_vl_npu_ops import ops\n"
        "x = torch.ones(2, 1, 4)\n"
        "try: ops.window_attention(x, x, x, torch.tensor([0, 2]))\n"
        "except ValueError as error: print(error)"
    )
    done = run(["-c", code], isa)
    for part in ("QWEN_VL_NPU_OPS_ISA", repr(isa), ", ".join(ops.available_cpu_isas())):
        assert part in done.stdout, done.stdout + done.stderr


# The best one is what every other test runs.
@pytest.mark.parametrize("isa", ops.available_cpu_isas()[1:])
def test_the_operators_tests_pass(isa):
    done = run(["-m", "pytest", "-q", *NUMERICAL, "-k", "matches_reference or infinity"], isa)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
