"""CANN's own stub extractor on the operators' entries, preprocessed with CANN's headers as its build does.

It is a Python script of CANN's that reads entries and structs with regular expressions and writes host stubs; what it
misreads fails on silicon only. Runs where a toolkit is given (see cann_toolkit.py) that has the script.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cann_toolkit import include_flags, stub_extractor, toolkits

ROOT = Path(__file__).parents[2]
OPERATORS = sorted(path.parent for path in (ROOT / "csrc/ops").glob("*/launch.cpp"))
TOOLKITS = [toolkit for toolkit in toolkits() if stub_extractor(toolkit)]

# The compiler knows these by itself; the rest is what the preprocessing step of CANN's build defines.
DEFINES = ["-D__global__=__attribute__((cce_kernel))", "-D__gm__=__attribute__((cce_global))"]
DEFINES += ["-D__CCE_AICORE__=220", "-D__DAV_C220__", "-D__DAV_C220_VEC__", "-D__NPU_ARCH__=2201"]
DEFINES += ["-D__CHECK_FEATURE_AT_PRECOMPILE", "-DTILING_KEY_VAR=0"]
ENTRY = re.compile(r'extern "C" __global__ __aicore__ void (\w+)\(([^)]*)\)\s*\{\s*KERNEL_TASK_TYPE_DEFAULT\((\w+)\)')


@pytest.fixture(params=TOOLKITS or [None], ids=lambda p: p.name if p else "no-cann")
def toolkit(request):
    if request.param is None:
        pytest.skip("no CANN with extract_host_stub.py: set ASCEND_HOME_PATH or QWEN_VL_NPU_OPS_CANN_INCLUDE")
    return request.param


def extract(toolkit, sources, folder):
    """What the extractor makes of sources {name: file}: the folder with host_stub.cpp and headers, and its words."""
    objects, commands = [], []
    for name, source in sources.items():
        # csrc/npu/CMakeLists.txt wraps each launch.cpp so, as file names must differ.
        wrapper, preprocessed = folder / f"{name}.cpp", folder / f"{name}.cpp.o"
        wrapper.write_text(f'#include "{source}"\n')
        command = ["g++", "-E", "-std=c++17", *DEFINES, "-includestdio.h", *include_flags(toolkit)]
        subprocess.run([*command, str(wrapper), "-o", str(preprocessed)], check=True, capture_output=True)
        objects.append(str(preprocessed))
        commands.append({"directory": str(folder), "file": str(wrapper), "command": f"c++ {wrapper} -o {preprocessed}"})
    (folder / "compile_commands.json").write_text(json.dumps(commands))
    util = stub_extractor(toolkit)
    script = util / "extract_host_stub.py"
    newer = "--run-mode" in script.read_text()
    command = [sys.executable, "-B", str(script), *objects, "--dynamic-mode", "-d", str(folder), "-hd", str(folder)]
    # Object files tell it the core type where a source does not declare one; ours all do.
    command += ["--aiv-o", *objects, "--aic-o", *objects, "--generate-definition"]
    command += ["--compile-commands", str(folder / "compile_commands.json")]
    command += ["--build-mode", "c220", "--run-mode", "npu"] if newer else ["--build-mode", "aiv"]
    return subprocess.run(command, cwd=util, capture_output=True, text=True, check=False)


def test_every_entry_gets_its_stub(toolkit, tmp_path):
    done = extract(toolkit, {op.name: op / "launch.cpp" for op in OPERATORS}, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    stub = (tmp_path / "host_stub.cpp").read_text()
    for op in OPERATORS:
        entries = ENTRY.findall((op / "launch.cpp").read_text())
        assert entries
        device = (tmp_path / f"auto_gen_{op.name}.cpp").read_text()
        for name, parameters, kind in entries:
            pointers = [word.split()[-1] for word in parameters.split(",")][:-1]
            struct, variable = parameters.split(",")[-1].split()
            arguments = ", ".join(f"void* {pointer}" for pointer in pointers)
            # The launcher takes the struct by address and copies it by its size, into the arguments of a launch.
            signature = f"aclrtlaunch_{name}(uint32_t blockDim, void* stream, {arguments}, {struct}* {variable})"
            assert signature in stub
            assert re.search(rf"\b{struct} {variable};", stub)
            assert re.search(rf"^struct {struct} \{{", stub, re.MULTILINE)
            assert signature in (tmp_path / "aclrtlaunch_triple_chevrons_func.h").read_text()
            assert f"auto_gen_{name}_kernel(" in device
            # Cube and vector cores together need the address of their flags; no other kernel gets one.
            has_flags = "GM_ADDR ffts_addr" in device.split(f"auto_gen_{name}_kernel(")[1].split(")")[0]
            assert has_flags == kind.startswith("KERNEL_TYPE_MIX")


def test_the_structs_compile_as_the_host_sees_them(toolkit, tmp_path):
    """Copied out of their headers, with no constant or type of the device around them, and of the same size."""
    extract(toolkit, {op.name: op / "launch.cpp" for op in OPERATORS}, tmp_path)
    stub = (tmp_path / "host_stub.cpp").read_text()
    copied = [re.search(rf"^struct {name} \{{.*?^\}};", stub, re.MULTILINE | re.DOTALL)[0] for name in structs(stub)]
    text = "#include <cstdint>\n" + "\n".join(copied) + "\n"
    text += "".join(f"constexpr auto size_{name} = sizeof({name});\n" for name in structs(stub))
    text = "namespace stub {\n" + text.replace("#include <cstdint>\n", "") + "}\n"
    text = "#include <cstdint>\n" + text
    text += "".join(f'#include "{op}/tiling.h"\n' for op in OPERATORS)
    text += "".join(f"static_assert(sizeof({name}) == stub::size_{name});\n" for name in structs(stub))
    source = tmp_path / "structs.cpp"
    source.write_text(text)
    done = subprocess.run(
        ["g++", "-std=c++17", "-fsyntax-only", str(source)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def structs(stub):
    return [name for name in re.findall(r"^struct (\w+) \{", stub, re.MULTILINE) if name.endswith("Tiling")]


def test_a_struct_it_cannot_read_is_noticed(toolkit, tmp_path):
    """What kernel_lint refuses as `struct` is indeed what the extractor loses: no copy of it in the stub."""
    (tmp_path / "launch.cpp").write_text(
        '#include "kernel_operator.h"\nnamespace k {\nstruct Hidden\n{\n  uint32_t n;\n};\n}\n'
        'extern "C" __global__ __aicore__ void op(GM_ADDR x, k::Hidden tiling) {\n'
        "  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);\n}\n"
    )
    done = extract(toolkit, {"op": tmp_path / "launch.cpp"}, tmp_path)
    stub = tmp_path / "host_stub.cpp"
    assert done.returncode != 0 or "k::Hidden* tiling" not in stub.read_text()
