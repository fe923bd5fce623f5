"""Builds the C++ libraries with CMake; everything else is declared in pyproject.toml."""

import os
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent.resolve()


class CMakeBuild(build_ext):
    """Configure and build once, in a tree that is kept, and install into the package's folder."""

    def run(self) -> None:
        import torch

        sanitize = os.environ.get("QWEN_VL_NPU_OPS_SANITIZE", "0") == "1"
        tree = ROOT / "build" / ("cmake-asan" if sanitize else "cmake")
        npu = os.environ.get("QWEN_VL_NPU_OPS_NPU", "auto")
        if npu not in ("auto", "on", "off"):
            raise SystemExit(f"QWEN_VL_NPU_OPS_NPU: expected auto, on or off, got {npu!r}")
        in_place = self.inplace or getattr(self, "editable_mode", False)
        prefix = ROOT / "python" if in_place else Path(self.build_lib).resolve()
        configure = [
            *("cmake", "-S", str(ROOT), "-B", str(tree), "-G", "Ninja"),
            f"-DCMAKE_PREFIX_PATH={torch.utils.cmake_prefix_path}",
            f"-DPython_EXECUTABLE={sys.executable}",
            f"-DQVNO_SANITIZE={'ON' if sanitize else 'OFF'}",
            f"-DQVNO_NPU={npu.upper()}",
        ]
        subprocess.run(configure, check=True)
        subprocess.run(["cmake", "--build", str(tree), "--parallel", str(os.cpu_count())], check=True)
        subprocess.run(["cmake", "--install", str(tree), "--prefix", str(prefix)], check=True)


# The extension has no sources of its own: it makes the wheel platform-specific and runs CMakeBuild.
setup(ext_modules=[Extension("qwen_vl_npu_ops._native", sources=[])], cmdclass={"build_ext": CMakeBuild})
