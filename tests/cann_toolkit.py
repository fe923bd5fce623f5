"""Where a machine has CANN's headers, and how to compile against them."""

import os
from pathlib import Path

# CANN 8 keeps AscendC in <arch>/ascendc/include, CANN 9 (asc-devkit) in asc/.
CANN_8 = ["", "basic_api", "basic_api/impl", "basic_api/interface", "highlevel_api", "highlevel_api/lib"]
CANN_8 += ["highlevel_api/impl"]
CANN_9 = ["", "include", "include/basic_api", "include/utils", "include/adv_api", "include/simt_api"]
CANN_9 += ["impl/basic_api", "impl/utils", "impl/adv_api"]


def toolkits():
    """The toolkits that QWEN_VL_NPU_OPS_CANN_INCLUDE (several, separated by os.pathsep) or ASCEND_HOME_PATH name."""
    named = os.environ.get("QWEN_VL_NPU_OPS_CANN_INCLUDE") or os.environ.get("ASCEND_HOME_PATH") or ""
    return [Path(p) for p in named.split(os.pathsep) if p]


def include_flags(toolkit):
    """Include folders of an installed toolkit; ValueError when it holds no AscendC headers."""
    arches = [toolkit / "x86_64-linux", toolkit / "aarch64-linux", toolkit / "compiler", toolkit]
    old = [a / "ascendc/include" for a in arches if (a / "ascendc/include/basic_api/kernel_operator.h").is_file()]
    if (toolkit / "asc/include/kernel_operator.h").is_file():
        folders = [toolkit / "asc" / d for d in CANN_9]
    elif old:
        folders = [old[0] / d for d in CANN_8]
    else:
        raise ValueError(f"no AscendC headers found in {toolkit}: expected ascendc/include or asc/include")
    folders = [toolkit / "tools/tikicpulib/lib/include", *[a / "include" for a in arches], *folders]
    return [f"-I{d}" for d in folders if d.is_dir()]


def stub_extractor(toolkit):
    """The folder of CANN's extract_host_stub.py, or None where this toolkit (headers only, say) has none."""
    folders = [f"{part}/tikcpp/ascendc_kernel_cmake" for part in ("tools", "compiler", "x86_64-linux", "aarch64-linux")]
    folders.append("asc/impl/../cmake/asc")  # a checkout of asc-devkit
    candidates = [toolkit / folder / util for folder in folders for util in ("util", "legacy_modules/util")]
    return next((folder for folder in candidates if (folder / "extract_host_stub.py").is_file()), None)
