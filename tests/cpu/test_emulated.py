"""The kernels on machines that this one is not: built without torch's libraries, run under qemu's user emulation, or on
Bochs' processor where qemu's lacks instructions.
"""

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch.utils.cpp_extension

HERE = Path(__file__).parent


def build(folder: Path, *options: str) -> Path:
    includes = ";".join(torch.utils.cpp_extension.include_paths())
    configure = ["cmake", "-G", "Ninja", "-S", HERE, "-B", folder, f"-DTORCH_INCLUDE_DIRS={includes}", *options]
    for command in (configure, ["cmake", "--build", folder, "--parallel", "2"]):
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder / "kernel_check"


def emulator(machine: str) -> str:
    found = shutil.which(f"qemu-{machine}-static") or shutil.which(f"qemu-{machine}")
    if found is None:
        pytest.skip(f"qemu-{machine} is not installed (Debian: qemu-user-static)")
    return found


def check(command: list, isa: str) -> None:
    """Runs the check, which must choose `isa` by itself."""
    environment = {name: value for name, value in os.environ.items() if name != "QWEN_VL_NPU_OPS_ISA"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("ok")]
    assert lines
    assert all(line.split()[1] == isa for line in lines)


@pytest.fixture(scope="module")
def aarch64(tmp_path_factory) -> Path:
    compiler = shutil.which("aarch64-linux-gnu-g++")
    if compiler is None:
        pytest.skip("aarch64-linux-gnu-g++ is not installed (Debian: g++-aarch64-linux-gnu)")
    target = ("-DCMAKE_SYSTEM_NAME=Linux", "-DCMAKE_SYSTEM_PROCESSOR=aarch64", f"-DCMAKE_CXX_COMPILER={compiler}")
    return build(tmp_path_factory.mktemp("aarch64"), *target)


def test_aarch64_builds(aarch64):
    assert aarch64.read_bytes()[:4] == b"\x7fELF"


def test_aarch64_runs(aarch64):
    check([emulator("aarch64"), aarch64], "neon")


@pytest.fixture(scope="module")
def x86_64(tmp_path_factory) -> Path:
    if platform.machine() != "x86_64":
        pytest.skip("builds for this machine, which is no x86-64")
    return build(tmp_path_factory.mktemp("x86_64"))


def test_old_x86_machines_meet_no_new_instruction(x86_64):
    """One file holds the code of every instruction set; the older machine must never run into the newer one's."""
    check([emulator("x86_64"), "-cpu", "Nehalem", x86_64], "portable")


@pytest.mark.parametrize(("isa", "libraries"), [("avx512", []), ("avx512_bf16", ["libsapphire_rapids.so"])])
def test_avx512_machines(isa, libraries, request):
    if importlib.util.find_spec("bochscpu") is None:
        pytest.skip("Bochs' processor is not installed (pip install bochscpu-python==0.3.1)")
    program = request.getfixturevalue("x86_64")
    check([sys.executable, HERE / "bochs.py", program, *(program.parent / name for name in libraries)], isa)
