"""Doctor's verdict on the virtual NPU, kernels that hang or answer wrongly among them, and what follows from it."""

import json
import os
import subprocess
import sys

import pytest

from qwen_vl_npu_ops import npu, virtual_npu

# One operator, so that this takes seconds; what it says of one holds for each.
EXAMINE = """
import json
import torch
from qwen_vl_npu_ops import npu, ops, virtual_npu
from qwen_vl_npu_ops.commands import npu_check

npu.OPERATORS = ("rotary_qkv",)
if {before}:
    npu.save_record(npu.platform())
found = npu_check.examine({time_limit})
virtual_npu.reset_counters()
qkv, table = torch.randn(9, 3 * 2 * 80), torch.rand(9, 40)
results = [x.cpu() for x in ops.rotary_qkv(qkv.npu(), table.npu(), table.npu(), 2, 80)]
for got, expected in zip(results, ops.rotary_qkv(qkv, table, table, 2, 80)):
    torch.testing.assert_close(got, expected)
print(json.dumps({{
    "live": found.live,
    "reason": found.reason,
    "virtual": found.virtual,
    "failed": [row.detail for row in found.checks if not row.passed],
    "checks": len(found.checks),
    "graphs": found.graphs,
    "record": npu.has_record(npu.platform()),
    "launches": virtual_npu.counters().get("launch", 0),
}}))
"""


@pytest.fixture
def examine(tmp_path):
    def run(chip="910B1", faults=(), time_limit=120, before=False):
        # Built things stay where they are; only verdicts go elsewhere.
        environment = virtual_npu.environment(chip, faults=faults) | {"XDG_CACHE_HOME": str(tmp_path)}
        environment.pop("QWEN_VL_NPU_OPS_KERNELS", None)
        script = EXAMINE.format(time_limit=time_limit, before=before)
        command = [sys.executable, "-m", "qwen_vl_npu_ops.virtual_npu", "-c", script]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=600)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout.splitlines()[-1]), done.stderr

    return run


def test_once_it_has_passed_the_kernels_are_live(examine):
    found, _ = examine()
    assert found["failed"] == []
    assert found["checks"] == 12
    assert found["record"]
    assert found["virtual"]
    assert found["live"] == "kernels"
    assert found["launches"] == 1
    assert found["graphs"] == {"rotary_qkv": "ok"}


def test_a_kernel_that_hangs_leaves_the_composition(examine):
    found, _ = examine(faults=["hang:rotary_qkv_float"], time_limit=25, before=True)
    assert "no answer within 25 s" in found["failed"][0]
    assert not found["record"]
    assert found["live"] == "composition"
    assert found["launches"] == 0


def test_a_kernel_that_answers_wrongly_leaves_the_composition(examine):
    found, log = examine(faults=["skip:rotary_qkv_bfloat16"], before=True)
    assert len(found["failed"]) == 4  # each case in bfloat16
    assert not found["record"]
    assert found["live"] == "composition"
    assert found["launches"] == 0
    assert "run `qwen-vl-npu-ops doctor`" in log


def test_a_chip_without_kernels_leaves_the_composition(examine):
    found, _ = examine(chip="310P3")
    assert found["checks"] == 0
    assert found["live"] == "composition"
    assert "310P3, only for 910B1, 910B2, 910B3, 910B4" in found["reason"]
    assert found["launches"] == 0


def test_the_command_says_that_it_is_the_virtual_npu(tmp_path):
    command = [sys.executable, "-m", "qwen_vl_npu_ops", "doctor", "--virtual-npu", "--chip", "310P3"]
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "kernels run on the simulator, not on silicon" in done.stdout
    assert "chip: 310P3" in done.stdout
    assert "live on NPU tensors: composition" in done.stdout


def test_every_operator_passes_through_the_command(tmp_path, full):
    if not full:
        pytest.skip("minutes of simulation: with --full")
    command = [sys.executable, "-m", "qwen_vl_npu_ops", "doctor", "--virtual-npu", "--json"]
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    report = json.loads(done.stdout[done.stdout.index("{") :])
    assert done.returncode == 0, [row["detail"] for row in report["npu"]["checks"] if not row["passed"]]
    assert {row["op"] for row in report["npu"]["checks"]} == set(npu.OPERATORS)
    assert report["npu"]["live"] == "kernels"
    assert set(report["npu"]["graphs"].values()) == {"ok"}
