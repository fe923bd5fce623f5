"""Makes the environment of the integrations' tests: python environment.py FOLDER.

A virtual environment on top of the one that runs this (torch and the package come from there), and folders to put on
PYTHONPATH, one for each package that comes in several versions or must not be seen by the others.
"""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

HERE = Path(__file__).parent

# Folder -> packages in it, installed without their dependencies.
FOLDERS = {
    "vllm-0.31": ["vllm==0.31.0"],
    "vllm-0.23": ["vllm==0.23.0"],
    "ascend-0.23": ["vllm-ascend==0.23.0"],
    "transformers-4.57": ["transformers==4.57.6", "huggingface-hub==0.36.0"],
}

# torchvision's wheels belong to CUDA's torch. Beside torch for CPUs their library does not load, and the import fails
# for want of these two schemas; nothing here calls them.
TORCHVISION = """import torch
_library = torch.library.Library("torchvision", "DEF")
for _name in ("nms", "qnms"):
    _library.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
"""


def main(root: Path) -> None:
    base = sysconfig.get_path("purelib")
    venv = root / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(venv)], check=True)
    python = venv / "bin" / "python"
    packages = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    (packages / "base.pth").write_text(f"import site; site.addsitedir({base!r})\n")
    pip = (python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps")
    run(*pip, "-r", HERE / "requirements.txt")
    if subprocess.run([python, "-c", "import torchvision"], stderr=subprocess.DEVNULL).returncode != 0:
        init = packages / "torchvision" / "__init__.py"
        init.write_text(TORCHVISION + init.read_text())
        run(python, "-c", "import torchvision")
    for folder, names in FOLDERS.items():
        for name in names:
            run(*pip, "--upgrade", "--target", root / folder, *options(name), name, **environment(name, venv))


def options(package: str) -> list[str]:
    """vLLM's wheels are CUDA's; its source installs without a compiler."""
    return ["--no-build-isolation", "--no-binary", "vllm"] if package.startswith("vllm==") else []


def environment(package: str, venv: Path) -> dict[str, str]:
    if not package.startswith("vllm=="):
        return {}
    tools = f"{venv / 'bin'}:{sysconfig.get_path('scripts')}:{os.environ['PATH']}"  # cmake and ninja
    return {"VLLM_VERSION_OVERRIDE": package.split("==")[1], "VLLM_TARGET_DEVICE": "empty", "PATH": tools}


def run(*command: object, **environment: str) -> str:
    return subprocess.run(
        [str(word) for word in command],
        check=True,
        text=True,
        stdout=subprocess.PIPE,
        env={**os.environ, **environment},
    ).stdout


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
