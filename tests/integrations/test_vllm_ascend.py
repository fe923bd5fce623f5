"""vLLM-Ascend 0.23 and its torch_npu beside our plugin, in processes that see the virtual NPU."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from qwen_vl_npu_ops import virtual_npu

WORKER = Path(__file__).parent / "ascend_worker.py"


@pytest.mark.parametrize("first", ["ours", "ascend"])
def test_our_tower_is_built_and_its_operators_run(first, tmp_path):
    """Whoever registers first; ascend_worker.py says what is checked."""
    environment = virtual_npu.environment("910B1")
    environment["PYTHONPATH"] = os.pathsep.join([*environment["PYTHONPATH"].split(os.pathsep), *sys.path])
    done = subprocess.run(
        [sys.executable, str(WORKER), first, str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    ran = done.stdout.splitlines()
    assert ran.count("qwen_vl_npu_ops::rotary_window_attention") == 4
    assert "npu::npu_rms_norm" in ran
