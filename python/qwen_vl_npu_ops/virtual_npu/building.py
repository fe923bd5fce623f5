"""What the virtual NPU is made of: the torch_npu wheel, our libascendcl.so, stand-ins for the rest of CANN, extensions.

Everything is built once for each content and kept in a folder of its own; nothing is put where Python looks by itself.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path

from ..sim.native import include_dir, runtime_library

_PACKAGE = Path(__file__).resolve().parent.parent
_ROOT = _PACKAGE.parent.parent


class VirtualNpuError(RuntimeError):
    """The virtual NPU cannot be set up; the text says what is missing."""


def sources() -> Path:
    """The C++ sources: the source tree's ``csrc`` when this is one, else the installed copy."""
    tree = _ROOT / "csrc"
    return tree if (tree / "virtual_npu").is_dir() else _PACKAGE / "_virtual_npu"


@cache
def folder() -> Path:
    """Where what is built is kept: ``build/virtual-npu`` of the source tree, else the user's cache."""
    root = os.environ.get("QWEN_VL_NPU_OPS_CACHE")
    if root:
        kept = Path(root) / "virtual-npu"
    elif (_ROOT / "csrc" / "virtual_npu").is_dir():
        kept = _ROOT / "build" / "virtual-npu"
    else:
        home = os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")
        kept = Path(home) / "qwen_vl_npu_ops" / "virtual-npu"
    kept.mkdir(parents=True, exist_ok=True)
    return kept


@cache
def torch_folder() -> Path:
    """The installed torch, found without importing it."""
    import importlib.util

    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        raise VirtualNpuError("torch is not installed")
    return Path(spec.origin).parent


def _torch_version() -> str:
    import importlib.metadata

    return importlib.metadata.version("torch").split("+")[0]


@cache
def site() -> Path:
    """The folder that torch_npu is unpacked in, never one that Python looks in by itself.

    ``QWEN_VL_NPU_OPS_TORCH_NPU`` may name one; else the wheel of torch's version is fetched with pip, once.
    Raises :class:`VirtualNpuError` with pip's words where it cannot be had.
    """
    named = os.environ.get("QWEN_VL_NPU_OPS_TORCH_NPU")
    if named:
        if not (Path(named) / "torch_npu").is_dir():
            raise VirtualNpuError(f"QWEN_VL_NPU_OPS_TORCH_NPU: expected a folder that holds torch_npu, got {named}")
        return Path(named)
    wheel = f"torch_npu=={_torch_version()}"
    target = folder() / f"site-{_torch_version()}-{sys.implementation.cache_tag}"
    if not (target / "torch_npu").is_dir():
        with tempfile.TemporaryDirectory(dir=folder()) as scratch:
            unpacked = Path(scratch) / "site"
            command = [*(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"), "--no-deps"]
            done = subprocess.run(
                [*command, "--target", str(unpacked), wheel], capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise VirtualNpuError(
                    f"the virtual NPU needs the wheel {wheel} (about 43 MB), which pip could not get; "
                    f"`pip install --no-deps --target FOLDER {wheel}` elsewhere and set "
                    f"QWEN_VL_NPU_OPS_TORCH_NPU=FOLDER. pip says: {done.stderr.strip()}"
                )
            _publish(unpacked, target)
    return target


def _publish(built: Path, target: Path) -> None:
    """Put it in place; where another process was faster, keep that one's."""
    try:
        os.replace(built, target)
    except OSError:
        if not target.exists():
            raise


def _run(command: Sequence[str]) -> str:
    done = subprocess.run(list(command), capture_output=True, text=True, check=False)
    if done.returncode:
        raise VirtualNpuError(f"{' '.join(command[:3])} ... failed:\n{done.stderr}")
    return done.stdout


def _compiler() -> str:
    for name in (os.environ.get("CXX"), "g++", "clang++", "c++"):
        if name and shutil.which(name):
            return name
    raise VirtualNpuError("no C++ compiler: set CXX, or install g++")


def _digest(command: Iterable[str], files: Iterable[Path]) -> str:
    digest = hashlib.sha256("\0".join(command).encode())
    for path in sorted(set(files)):
        digest.update(str(path).encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _once(name: str, key: str, build: Callable[[Path], None]) -> Path:
    """The folder ``name-key``, filled by ``build`` if it is not there yet."""
    target = folder() / f"{name}-{key}"
    if not target.is_dir():
        with tempfile.TemporaryDirectory(dir=folder()) as scratch:
            made = Path(scratch) / name
            made.mkdir()
            build(made)
            _publish(made, target)
    return target


def acl_include() -> Path:
    """The wheel's acl headers."""
    return site() / "torch_npu" / "include" / "third_party" / "acl" / "inc"


@cache
def runtime() -> Path:
    """The folder with our ``libascendcl.so``."""
    source = sources() / "virtual_npu"
    units = sorted(source.glob("*.cpp"))
    library = runtime_library().resolve()
    command = [
        *(_compiler(), "-std=c++17", "-O2", "-fPIC", "-shared", "-pthread", "-Wall", "-Wextra"),
        "-Wno-attributes",
    ]
    command += [f"-I{include_dir()}", "-isystem", str(acl_include())]

    def build(made: Path) -> None:
        link = [str(library), f"-Wl,-rpath,{library.parent}", "-Wl,-soname,libascendcl.so"]
        _run([*command, *map(str, units), "-o", str(made / "libascendcl.so"), *link])

    headers = [*source.glob("*.h"), *(include_dir() / "sim").glob("*.h")]
    return _once("runtime", _digest([*command, str(library), _torch_version()], [*units, *headers]), build)


def _symbols(library: Path, *options: str) -> set[str]:
    """Names in the dynamic symbol table, but for those that carry a version: the system's."""
    lines = _run(["nm", "-D", *options, str(library)]).splitlines()
    names = {line.split()[-1] for line in lines if " w " not in line}
    return {name for name in names if "@" not in name}


def _needed(library: Path) -> set[str]:
    lines = _run(["readelf", "-d", str(library)]).splitlines()
    return {line.split("[")[1].rstrip("]") for line in lines if "(NEEDED)" in line}


@cache
def stand_ins() -> Path:
    """The folder with libraries in place of those of CANN that torch_npu links to beside libascendcl.so.

    All are one library, which defines every function that the wheel's libraries miss; called, it says its name and
    aborts.
    """
    wheel = site() / "torch_npu"
    torch_libraries = sorted((torch_folder() / "lib").glob("*.so"))
    users = [*sorted((wheel / "lib").glob("*.so")), *sorted(wheel.glob("_C*.so"))]

    def build(made: Path) -> None:
        known = {path.name for path in [*torch_libraries, *users]} | {"libascendcl.so"}
        names = {name for user in users for name in _needed(user) if name.endswith(".so")} - known
        missing = set().union(*(_symbols(user, "--undefined-only") for user in users))
        for library in [*users, *torch_libraries, runtime() / "libascendcl.so"]:
            missing -= _symbols(library, "--defined-only")
        system = ctypes.CDLL(None)
        missing = {name for name in missing if not name.startswith(("Py", "_Py")) and not hasattr(system, name)}
        text = "#include <cstdio>\n#include <cstdlib>\n"
        for i, name in enumerate(sorted(missing)):
            body = (
                "return 0;"
                if name in _QUIET
                else (f'std::fputs("the virtual NPU has no {name}\\n", stderr); std::abort();')
            )
            text += f'extern "C" long stand_in_{i}() __asm__("{name}");\nlong stand_in_{i}() {{ {body} }}\n'
        (made / "stand_ins.cpp").write_text(text)
        library = made / "libstand_ins.so"
        # What torch_npu looks up in one of them by name may be in ours.
        link = ["-Wl,--no-as-needed", f"-L{runtime()}", "-lascendcl", f"-Wl,-rpath,{runtime()}"]
        _run([_compiler(), "-O1", "-w", "-fPIC", "-shared", str(made / "stand_ins.cpp"), "-o", str(library), *link])
        for name in names:
            (made / name).symlink_to(library.name)
        for part in ("runtime", "compiler", "opp"):  # torch_npu looks whether a CANN has them
            (made / part).mkdir()

    key = [_torch_version(), str(site()), *sorted(_QUIET), str(runtime()), Path(__file__).read_text()]
    return _once("stand-ins", _digest(key, []), build)


# Called when torch_npu is imported or leaves, and done with when they do nothing.
_QUIET = frozenset(
    {
        "MsprofRegisterCallback",
        "aclAppLog",
    }
)


def compile_extension(
    name: str,
    units: Sequence[Path],
    *,
    include_dirs: Sequence[Path] = (),
    defines: Sequence[str] = (),
    libraries: Sequence[Path] = (),
) -> Path:
    """Compile C++ that includes torch_npu's headers into a shared library, once for each content.

    ``units``: the sources, compiled two at a time. ``include_dirs``: folders of our own headers, which count into the
    content. ``libraries``: shared libraries to link to beside torch's, torch_npu's and libascendcl.so.
    Raises :class:`VirtualNpuError` with the compiler's words.
    """
    wheel, torch = site() / "torch_npu", torch_folder()
    system = [wheel / "include", acl_include(), torch / "include", torch / "include/torch/csrc/api/include"]
    system.append(Path(sysconfig.get_path("include")))
    flags = ["-std=c++20", "-O1", "-fPIC", "-Wall", "-Wextra", "-Wno-unused-parameter", "-pthread"]
    flags += [f"-I{path}" for path in include_dirs] + [f"-D{define}" for define in defines]
    for path in system:
        flags += ["-isystem", str(path)]
    folders = {"torch": torch / "lib", "wheel": wheel / "lib", "runtime": runtime()}
    link = [f"-L{path}" for path in folders.values()]
    link += [*("-ltorch_npu", "-lascendcl", "-ltorch", "-ltorch_cpu", "-lc10"), *map(str, libraries)]
    link += [f"-Wl,-rpath,{path.parent}" for path in libraries]

    def build(made: Path) -> None:
        objects = [made / f"{i}.o" for i in range(len(units))]
        pending = list(zip(units, objects, strict=True))
        while pending:
            pair, pending = pending[:2], pending[2:]
            running = [
                subprocess.Popen(
                    [_compiler(), *flags, "-c", str(unit), "-o", str(made_object)], stderr=subprocess.PIPE, text=True
                )
                for unit, made_object in pair
            ]
            said = [process.communicate()[1] for process in running]
            if any(process.returncode for process in running):
                raise VirtualNpuError("\n".join(said))
        _run([_compiler(), "-shared", *map(str, objects), "-o", str(made / f"lib{name}.so"), *link])
        for path in objects:
            path.unlink()

    headers = [header for path in include_dirs for header in path.rglob("*.h") if "sim" not in header.parts]
    key = _digest([_torch_version(), *flags, *link], [*units, *headers])
    return _once(name, key, build) / f"lib{name}.so"
