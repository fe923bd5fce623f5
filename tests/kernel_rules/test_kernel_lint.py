"""Every rule of tools/kernel_lint.py fires on the code it forbids, and on nothing that good kernels write."""

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

_spec = importlib.util.spec_from_file_location("kernel_lint", ROOT / "tools" / "kernel_lint.py")
kernel_lint = importlib.util.module_from_spec(_spec)
sys.modules["kernel_lint"] = kernel_lint
_spec.loader.exec_module(kernel_lint)

HEADER = '#pragma once\n#include "kernel_operator.h"\n'
TILING = "struct Tiling {\n  uint32_t n;\n};\n"


def rules(tmp_path, source, name="kernel.h"):
    path = tmp_path / name
    path.write_text(source)
    return [finding.rule for finding in kernel_lint.lint(path)]


def in_function(body):
    return HEADER + "__aicore__ inline void f(GM_ADDR x, uint32_t n) {\n" + body + "\n}\n"


def launch_cpp(entry="GM_ADDR x, Tiling tiling", body="KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);", before=TILING):
    return (
        f"{HEADER}{before}"
        f'extern "C" __global__ __aicore__ void op({entry}) {{\n  {body}\n}}\n'
        'extern "C" void launch_op(uint32_t blocks, void* stream, uint8_t* x, Tiling tiling) {\n'
        "  op<<<blocks, nullptr, stream>>>(x, tiling);\n}\n"
    )


BROKEN = {
    "aicore": [
        HEADER + "inline void f(GM_ADDR x) {}\n",
        HEADER + "class K {\n public:\n  __aicore__ inline K() {}\n  inline void Run() {}\n};\n",
        HEADER + "template <typename T>\ninline T twice(T x) {\n  return x + x;\n}\n",
        in_function("auto g = [](int i) { return i; };"),
    ],
    "gm-pointer": [
        in_function("half* p = (half*)x;"),
        in_function("AscendC::GlobalTensor<float> g;\ng.SetGlobalBuffer((float*)x, n);"),
        in_function("g.SetGlobalBuffer(reinterpret_cast<half*>(x), n);"),
        HEADER + "__aicore__ inline void f(uint8_t* x) {}\n",
        HEADER + "template <typename T>\n__aicore__ inline void f(T* x) {}\n",
    ],
    "core-branch": [
        in_function("if (ASCEND_IS_AIC) {\n}"),
        in_function("if constexpr (g_coreType == AscendC::AIC) {\n}"),
        in_function("if ASCEND_IS_AIC {\n} else {\n}"),
        in_function("bool cube = ASCEND_IS_AIC;"),
        in_function("int y = n > 1 && ASCEND_IS_AIV;"),
    ],
    "std": [
        in_function("int y = std::min(1, 2);"),
        '#pragma once\n#include <algorithm>\n#include "kernel_operator.h"\n',
        HEADER + "using namespace std;\n",
    ],
    "double": [
        in_function("double y = 1;"),
        in_function("float y = 0.5;"),
        in_function("float y = 1e-3 * n;"),
    ],
    "virtual": [HEADER + "class K {\n  virtual void Run();\n};\n"],
    "recursion": [
        in_function("f(x, n - 1);"),
        HEADER + "class K {\n  __aicore__ inline void A() { B(); }\n  __aicore__ inline void B() { this->A(); }\n};\n",
        HEADER + "class K {\n  __aicore__ inline void A() { other.A(); }\n  K other;\n};\n",
    ],
    "static": [in_function("static int calls = 0;"), in_function("static constexpr int N = 1;")],
    "new": [in_function("auto p = new int[4];"), in_function("free(x);")],
    "exception": [in_function("throw 1;")],
    "global": [HEADER + "uint32_t counter = 0;\n", HEADER + "namespace k {\nint state;\n}\n"],
    "conditional": ["#ifdef ASCENDC_CPU_DEBUG\n#endif\n" + HEADER],
    "cann-8.1": [in_function("AscendC::LocalMemAllocator<AscendC::Hardware::UB> ub;")],
    "syntax": [in_function("if x {\n}")],
}

BROKEN_LAUNCH = {
    "entry": [
        launch_cpp().replace('extern "C" __global__', "__global__"),
        launch_cpp(body=""),
        launch_cpp(entry="__gm__ uint8_t *x, Tiling tiling"),
        launch_cpp(entry="GM_ADDR x, const Tiling& tiling"),
        launch_cpp(body="KERNEL_TASK_TYPE(1, KERNEL_TYPE_AIV_ONLY);"),
        launch_cpp(before="#define HAVE_WORKSPACE\n" + TILING),
        launch_cpp().replace("launch_op(uint32_t blocks, void* stream", "launch_op(void* stream, uint32_t blocks"),
        launch_cpp().split('extern "C" void launch_op')[0],
        launch_cpp()
        + 'extern "C" __global__ __aicore__ void other(GM_ADDR x) {\n'
        + "  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIC_ONLY);\n}\n",
    ],
    "struct": [
        launch_cpp(entry="GM_ADDR x, k::Tiling tiling", before="namespace k {\n" + TILING + "}\n"),
        launch_cpp(before="struct Tiling : Base {\n  uint32_t n;\n};\n"),
        launch_cpp(before="typedef struct {\n  uint32_t n;\n} Tiling;\n"),
        launch_cpp(before="struct Tiling {\n  uint32_t n{1};\n};\n"),
        launch_cpp(before="struct Tiling {\n  GM_ADDR n;\n};\n"),
        launch_cpp(before="struct Tiling {\n  __aicore__ uint32_t n() { return 1; }\n};\n"),
        launch_cpp(before="struct Tiling {\n  Shape shape;\n};\n"),
        launch_cpp(before="constexpr uint32_t N = 4;\nstruct Tiling {\n  uint32_t n[N];\n};\n"),
    ],
}

GOOD = [
    in_function("AscendC::GlobalTensor<half> g;\ng.SetGlobalBuffer((__gm__ half*)x, n);"),
    in_function("if ASCEND_IS_AIC {\n  n = 1;\n}\nif ASCEND_IS_AIV {\n  n = 2;\n}"),
    in_function("half y = (half)0.5;\nfloat z = 1.5f, w = 1e-6f;\nint h = 0x1e;\nhalf v = static_cast<half>(0.5);"),
    in_function("const uint64_t mask[2] = {1, 0};\nAscendC::Std::tuple<int> t;"),
    HEADER + "template <typename T>\n__aicore__ inline void f(__gm__ T* x, AscendC::TPipe* pipe) {}\n",
    HEADER + "constexpr uint32_t N = 4;\nclass K {\n public:\n  __aicore__ inline K() {}\n"
    "  __aicore__ inline void Run() { tile_.Run(); }\n private:\n"
    "  static constexpr int M = 2;\n  Tile tile_;\n};\n",
    HEADER + "__aicore__ inline void f(int a) {}\n__aicore__ inline void f(int a, int b) { f(a); }\n",
    "#ifndef KERNEL_H\n#define KERNEL_H\n#include <cstdint>\n#endif\n",
]


def cases(table):
    return [pytest.param(rule, source, id=f"{rule}-{i}") for rule in table for i, source in enumerate(table[rule])]


@pytest.mark.parametrize(("rule", "source"), cases(BROKEN))
def test_rule_fires(tmp_path, rule, source):
    assert set(rules(tmp_path, source)) == {rule}


@pytest.mark.parametrize(("rule", "source"), cases(BROKEN_LAUNCH))
def test_launch_rule_fires(tmp_path, rule, source):
    assert set(rules(tmp_path, source, "launch.cpp")) == {rule}


@pytest.mark.parametrize("source", GOOD)
def test_good_code_is_left_alone(tmp_path, source):
    assert rules(tmp_path, source) == []


def test_good_launch_is_left_alone(tmp_path):
    assert rules(tmp_path, launch_cpp(), "launch.cpp") == []


def test_nested_struct_in_an_included_file(tmp_path):
    (tmp_path / "tiling.h").write_text("struct Shape {\n  uint32_t n[4];\n};\nstruct Tiling {\n  Shape shape;\n};\n")
    assert rules(tmp_path, launch_cpp(before='#include "tiling.h"\n'), "launch.cpp") == []


def test_a_finding_names_file_line_and_rule(tmp_path):
    path = tmp_path / "kernel.h"
    path.write_text(in_function("int y = 1;\ndouble z = y;"))
    (finding,) = kernel_lint.lint(path)
    assert str(finding) == f"{path}:5: double: the device has no double"


def test_command_line(tmp_path, capsys):
    (tmp_path / "kernel.h").write_text(in_function("double z = 1;"))
    assert kernel_lint.main([str(tmp_path)]) == 1
    assert "kernel.h:4: double" in capsys.readouterr().out


def test_every_kernel_of_the_project_keeps_the_rules(capsys):
    assert list(kernel_lint.kernel_files([ROOT / "csrc"]))
    assert kernel_lint.main([str(ROOT / "csrc")]) == 0, capsys.readouterr().out
