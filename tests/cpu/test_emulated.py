"""The kernels on machines that this one is not: built without torch's libraries, run under qemu's user emulation."""

import platform
import shutil
import subprocess
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
    done = subprocess.run(command, capture_output=True, text=True)
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


@pytest.mark.skipif(platform.machine() != "x86_64", reason="builds for this machine, which is no x86-64")
def test_old_x86_machines_meet_no_new_instruction(tmp_path):
    """One file holds the code of every instruction set; the older machine must never run into the newer one's."""
    check([emulator("x86_64"), "-cpu", "Nehalem", build(tmp_path)], "portable")
