"""Running the functions of device_side.py in processes that see the virtual NPU."""

import subprocess
import sys
from pathlib import Path

import pytest

from qwen_vl_npu_ops import sim, virtual_npu

HERE = Path(__file__).parent
CSRC = HERE.parent.parent / "csrc"


@pytest.fixture(scope="session")
def sample_library():
    """tests/virtual_npu/sample_add.cpp, linked to the sample's kernel."""
    kernels = sim.compile(CSRC / "sim" / "samples" / "add" / "launch.cpp", flags=["-fvisibility=default"])
    return virtual_npu.compile_extension(
        "sample_add", [HERE / "sample_add.cpp"], include_dirs=[CSRC], libraries=[kernels.path]
    )


@pytest.fixture
def on_virtual_npu(sample_library):
    """Run a function of device_side.py and return its output; it must end well within `timeout` seconds."""

    def run(function, *arguments, chip="910B1", faults=(), timeout=120, **variables):
        environment = virtual_npu.environment(chip, faults=faults) | {"SAMPLE_LIBRARY": str(sample_library)}
        command = [sys.executable, str(HERE / "device_side.py"), function, *arguments]
        done = subprocess.run(
            command, env=environment | variables, capture_output=True, text=True, timeout=timeout, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run
