"""Every kernel compiles against CANN's own headers, in their CPU-debug mode, by plain g++.

Runs where `ASCEND_HOME_PATH` names an installed toolkit, or `QWEN_VL_NPU_OPS_CANN_INCLUDE` one or more
folders laid out like one (separated by os.pathsep; headers are all that is needed); else it is skipped and
says so.
"""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from cann_toolkit import include_flags, toolkits

ROOT = Path(__file__).parents[2]
# The simulator's test kernels too: they show that its header has the signatures of CANN's.
KERNELS = sorted(p.parent / "launch.cpp" for p in (ROOT / "csrc").rglob("kernel.h"))
KERNELS += sorted((ROOT / "tests/sim/kernels").glob("*.cpp"))
KERNELS += sorted((ROOT / "benchmarks").rglob("*.cpp"))
DEFINES = [
    "-D__CCE_AICORE__=220",
    "-D__DAV_C220__",
    "-D__NPU_ARCH__=2201",
    "-D__CCE_KT_TEST__=1",
    "-DASCENDC_CPU_DEBUG=1",
    "-DASCENDC_DEBUG=1",
]


def type_check(toolkit, source, folder, tmp_path):
    # Only CANN's compiler knows <<<...>>>; in CPU-debug mode a kernel is an ordinary function.
    plain = tmp_path / "launch.cpp"
    plain.write_text(f'#line 1 "{source.name}"\n' + re.sub(r"<<<[^;]*?>>>", "", source.read_text()))
    command = ["g++", "-std=c++17", "-fsyntax-only", "-w", *DEFINES, f"-I{folder}", *include_flags(toolkit)]
    return subprocess.run([*command, str(plain)], capture_output=True, text=True, check=False)


@pytest.fixture(params=toolkits() or [None], ids=lambda p: p.name if p else "no-cann")
def toolkit(request):
    if request.param is None:
        pytest.skip("no CANN headers: set ASCEND_HOME_PATH or QWEN_VL_NPU_OPS_CANN_INCLUDE to type-check kernels")
    if shutil.which("g++") is None:
        pytest.skip("no g++")
    return request.param


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda p: str(p.relative_to(ROOT)))
def test_kernel_compiles_against_cann(toolkit, kernel, tmp_path):
    result = type_check(toolkit, kernel, kernel.parent, tmp_path)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("AscendC::Add(y, x, x);", "Add"),
        ("AscendC::SubtractRows(y, x, 64);", "SubtractRows"),
        ("AscendC::Nd2NzParams p; p.rowStride = 1;", "rowStride"),
    ],
)
def test_what_cann_does_not_declare_does_not_compile(toolkit, wrong, message, tmp_path):
    source = tmp_path / "kernel.cpp"
    source.write_text(
        '#include "kernel_operator.h"\n'
        'extern "C" __global__ __aicore__ void f(GM_ADDR a) {\n'
        f"  AscendC::LocalTensor<float> x, y;\n  {wrong}\n}}\n"
    )
    result = type_check(toolkit, source, tmp_path, tmp_path)
    assert result.returncode != 0
    assert message in result.stderr


def test_a_folder_without_headers_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no AscendC headers"):
        include_flags(tmp_path)
