"""Finding CANN and building against it, with folders laid out like CANN's and a stand-in for its ascendc.cmake."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from qwen_vl_npu_ops import virtual_npu
from qwen_vl_npu_ops._library import LIBRARY
from qwen_vl_npu_ops.sim import native

ROOT = Path(__file__).parents[2]
FAKE = Path(__file__).parent / "fake_cann"
ARCH = f"{os.uname().machine}-linux"
LAYOUTS = {"8": "tools", "9": "compiler", "arch": ARCH}

# cmake/cann.cmake alone, without compiling what the project has for the CPU.
PROBE = f"""
cmake_minimum_required(VERSION 3.25)
project(probe LANGUAGES NONE)
set(CMAKE_SYSTEM_PROCESSOR {os.uname().machine})
set(Python_EXECUTABLE {sys.executable})
include({ROOT}/cmake/cann.cmake)
qvno_find_cann()
message(STATUS "found=${{QVNO_NPU_FOUND}} soc=${{SOC_VERSION}}")
message(STATUS "rules=${{ASCENDC_CMAKE_DIR}} torch_npu=${{TORCH_NPU_PATH}}")
"""


@pytest.fixture
def torch_npu(monkeypatch):
    """A Python in the build that finds torch_npu's wheel, as one with it installed does."""
    monkeypatch.setenv("PYTHONPATH", str(virtual_npu.site()))
    return virtual_npu.site() / "torch_npu"


def cann_tree(folder, layout="8"):
    """A folder with what a complete toolkit has, as far as it is looked for."""
    part = folder / LAYOUTS[layout]
    rules = part / "tikcpp/ascendc_kernel_cmake"
    compiler = part / "ccec_compiler/bin"
    for made in (rules, compiler, folder / "lib64"):
        made.mkdir(parents=True)
    shutil.copy(FAKE / "ascendc.cmake", rules)
    (compiler / "bisheng").touch()
    # Enough of the runtime to link to: the library that is loaded is the virtual NPU's.
    command = ["g++", "-shared", "-xc++", "-", "-Wl,-soname,libascendcl.so", "-o", str(folder / "lib64/libascendcl.so")]
    runtime = 'extern "C" const char* aclrtGetSocName() { return ""; }'
    subprocess.run(command, input=runtime, text=True, check=True)
    return folder


def probe(tmp_path, *options, **variables):
    source = tmp_path / "probe"
    source.mkdir(exist_ok=True)
    (source / "CMakeLists.txt").write_text(PROBE)
    shutil.rmtree(tmp_path / "probed", ignore_errors=True)
    unset = ("ASCEND_HOME_PATH", "ASCEND_TOOLKIT_HOME", "SOC_VERSION")
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    command = ["cmake", "-G", "Ninja", "-S", str(source), "-B", str(tmp_path / "probed"), *options]
    return subprocess.run(command, env=environment | variables, capture_output=True, text=True, check=False)


def words(text):
    """CMake breaks lines as it likes."""
    return " ".join(text.split())


def test_without_cann_there_is_nothing_to_build(tmp_path):
    done = probe(tmp_path)
    assert done.returncode == 0
    assert "found=OFF" in done.stdout


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("variable", ["ASCEND_HOME_PATH", "ASCEND_TOOLKIT_HOME"])
def test_a_complete_cann_is_found(tmp_path, torch_npu, layout, variable):
    home = cann_tree(tmp_path / "cann", layout)
    done = probe(tmp_path, **{variable: str(home)}, SOC_VERSION="Ascend910B3")
    assert done.returncode == 0, done.stderr
    rules = home / LAYOUTS[layout] / "tikcpp/ascendc_kernel_cmake"
    assert "found=ON soc=Ascend910B3\n" in done.stdout
    assert f"rules={rules} torch_npu={torch_npu}\n" in done.stdout


def test_it_can_be_left_out(tmp_path):
    done = probe(tmp_path, "-DQVNO_NPU=OFF", ASCEND_HOME_PATH="/nowhere")
    assert done.returncode == 0
    assert "found=OFF" in done.stdout


def test_it_can_be_insisted_on(tmp_path):
    done = probe(tmp_path, "-DQVNO_NPU=ON")
    assert done.returncode != 0
    assert "neither ASCEND_HOME_PATH nor ASCEND_TOOLKIT_HOME is set" in words(done.stderr)


@pytest.mark.parametrize(
    ("removed", "said"),
    [
        ("tools/tikcpp/ascendc_kernel_cmake/ascendc.cmake", "ascendc_kernel_cmake/ascendc.cmake"),
        ("tools/ccec_compiler/bin/bisheng", "the kernel compiler"),
        ("lib64/libascendcl.so", "the runtime"),
    ],
)
def test_a_half_installed_cann_is_one_clear_error(tmp_path, torch_npu, removed, said):
    home = cann_tree(tmp_path / "cann")
    (home / removed).unlink()
    done = probe(tmp_path, ASCEND_HOME_PATH=str(home), SOC_VERSION="ascend910b1")
    assert done.returncode != 0
    assert done.stderr.count("CMake Error") == 1
    assert said in done.stderr
    assert "torch_npu, which" not in done.stderr
    assert "QWEN_VL_NPU_OPS_NPU=off" in done.stderr


def test_everything_that_is_missing_is_in_one_error(tmp_path):
    done = probe(tmp_path, ASCEND_HOME_PATH=str(tmp_path / "empty"))
    assert done.stderr.count("CMake Error") == 1
    for said in ("ascendc.cmake", "the kernel compiler", "the runtime", "torch_npu, which", "set SOC_VERSION"):
        assert said in words(done.stderr)


@pytest.mark.parametrize("soc", ["ascend310p3", "ascend910b", "ascend910_9391"])
def test_a_chip_without_kernels_is_an_error(tmp_path, torch_npu, soc):
    done = probe(tmp_path, ASCEND_HOME_PATH=str(cann_tree(tmp_path / "cann")), SOC_VERSION=soc)
    assert f"kernels for {soc}: there are some for ascend910b1 to ascend910b4" in words(done.stderr)


@pytest.mark.parametrize(("chip", "soc"), [("910B3", "ascend910b3"), ("Ascend910B4", "ascend910b4")])
def test_npu_smi_tells_the_chip(tmp_path, torch_npu, chip, soc):
    tools = tmp_path / "bin"
    tools.mkdir()
    # What the tool prints on an Atlas A2, in short.
    (tools / "npu-smi").write_text(
        f"""#!/bin/sh
case "$*" in
"info -l") echo "        NPU ID                         : 5" ;;
"info -t board -i 5 -c 0")
  echo "        Chip Type                      : Ascend"
  echo "        Chip Name                      : {chip}" ;;
*) exit 1 ;;
esac
"""
    )
    (tools / "npu-smi").chmod(0o755)
    home = cann_tree(tmp_path / "cann")
    done = probe(tmp_path, ASCEND_HOME_PATH=str(home), PATH=f"{tools}:{os.environ['PATH']}")
    assert f"found=ON soc={soc}" in done.stdout, done.stderr


def test_setup_refuses_an_unknown_choice():
    environment = {**os.environ, "QWEN_VL_NPU_OPS_NPU": "yes"}
    done = subprocess.run(
        [sys.executable, "setup.py", "build_ext", "--inplace"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "QWEN_VL_NPU_OPS_NPU: expected auto, on or off, got 'yes'" in done.stderr


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """csrc/npu, built as cmake/cann.cmake builds it, by a CANN whose kernels run on the simulator."""
    folder = tmp_path_factory.mktemp("build")
    home = cann_tree(folder / "cann")
    runtime = native.runtime_library().resolve()
    options = {
        "CMAKE_BUILD_TYPE": "Release",
        "CMAKE_PREFIX_PATH": torch.utils.cmake_prefix_path,
        "Python_EXECUTABLE": sys.executable,
        "TORCH_NPU_PATH": virtual_npu.site() / "torch_npu",
        "QVNO_LIBRARY": LIBRARY.resolve(),
        "ASCEND_HOME_PATH": home,
        "ASCENDC_CMAKE_DIR": home / "tools/tikcpp/ascendc_kernel_cmake",
        "SOC_VERSION": "ascend910b1",
        "FAKE_CANN_REWRITING": ROOT / "python/qwen_vl_npu_ops/sim/rewriting.py",
        "FAKE_CANN_INCLUDE": native.include_dir(),
        "FAKE_CANN_SIMULATOR": runtime,
    }
    tree = folder / "tree"
    definitions = [f"-D{name}={value}" for name, value in options.items()]
    configure = ["cmake", "-G", "Unix Makefiles", "-S", str(ROOT / "csrc/npu"), "-B", str(tree), *definitions]
    for command in (configure, ["cmake", "--build", str(tree), "--parallel", "2"]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    return tree


def test_every_operator_is_a_kernel_source_of_its_own_name(built):
    target, kind, sources, soc, python = (built / "ascendc_library.txt").read_text().splitlines()
    assert (target, kind, soc, python) == ("qwen_vl_npu_ops_device", "SHARED", "ascend910b1", sys.executable)
    operators = {path.parent.name for path in (ROOT / "csrc/ops").glob("*/launch.cpp")}
    assert {Path(source).stem for source in sources.split(";")} == operators


def dynamic(library):
    return subprocess.run(["readelf", "-d", str(library)], capture_output=True, text=True, check=True).stdout


def test_the_library_finds_its_kernels_beside_it_and_names_what_it_needs(built):
    section = dynamic(built / "libqwen_vl_npu_ops_npu.so")
    needed = set(re.findall(r"NEEDED.*\[(.*)\]", section))
    assert {"libqwen_vl_npu_ops.so", "libqwen_vl_npu_ops_device.so", "libtorch_npu.so", "libascendcl.so"} <= needed
    assert re.findall(r"R(?:UN)?PATH.*\[(.*)\]", section) == ["$ORIGIN"]


def test_the_library_runs_where_it_is_installed(built, tmp_path):
    """Both libraries in one folder, as the package has them; a call of each operator that has a kernel."""
    for library in (built / "libqwen_vl_npu_ops_npu.so", built / "lib/libqwen_vl_npu_ops_device.so"):
        shutil.copy(library, tmp_path)
    script = f"""
import torch, torch_npu
import qwen_vl_npu_ops as q
from qwen_vl_npu_ops._library import load_npu_library
from pathlib import Path
load_npu_library(Path({str(tmp_path / "libqwen_vl_npu_ops_npu.so")!r}))
assert q.npu.kernels_built()
qkv, table = torch.randn(9, 3 * 2 * 80), torch.rand(9, 40)
results = q.rotary_qkv(qkv.npu(), table.npu(), table.npu(), 2, 80)
for got, expected in zip(results, q.rotary_qkv(qkv, table, table, 2, 80)):
    torch.testing.assert_close(got.cpu(), expected)
"""
    environment = virtual_npu.environment() | {"QWEN_VL_NPU_OPS_KERNELS": "on"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
