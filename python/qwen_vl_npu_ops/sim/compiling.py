"""Compiling AscendC source for the simulator, the result cached by content."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from .._cache import cache_dir
from .bounds import Work
from .devices import Device
from .native import include_dir, native, runtime_library
from .rewriting import CompileError, rewrite


def _compiler() -> str:
    for name in (os.environ.get("CXX"), "g++", "clang++", "c++"):
        if name and shutil.which(name):
            return name
    raise CompileError("no C++ compiler: set CXX, or install g++")


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CompileError(done.stderr)
    return done.stdout


def _digest(command: list[str], text: str, dependencies: Sequence[Path]) -> str:
    digest = hashlib.sha256("\0".join([*command, text]).encode())
    for path in sorted(dependencies):
        digest.update(path.read_bytes())
    library = runtime_library()
    digest.update(str(library.resolve()).encode())
    return digest.hexdigest()[:24]


def compile(
    source: str | Path,
    *,
    include_dirs: Sequence[str | Path] = (),
    defines: Sequence[str] = (),
    flags: Sequence[str] = (),
) -> Library:
    """Compile AscendC source for the simulator and load it.

    ``source``: a file, or C++ text (a str that holds a newline or a brace). Compiled once for each content: the result
    is kept in the user's cache. Raises :class:`CompileError` with the compiler's words, ``FileNotFoundError`` for a
    missing file.
    """
    is_text = isinstance(source, str) and ("\n" in source or "{" in source)
    if is_text:
        text, name, folder = str(source), "kernel.cpp", None
    else:
        path = Path(source).resolve()
        text, name, folder = path.read_text(), str(path), path.parent
    rewritten = rewrite(text, name)
    includes = [include_dir(), *([folder] if folder else []), *(Path(d).resolve() for d in include_dirs)]
    command = [_compiler(), "-std=c++17", "-O2", "-g1", "-fPIC", "-shared", "-Wno-attributes", "-fvisibility=hidden"]
    command += [f"-I{d}" for d in includes] + [f"-D{d}" for d in defines] + list(flags)
    library = runtime_library()
    cache = cache_dir("sim")
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        unit = Path(scratch) / "unit.cpp"
        unit.write_text(rewritten)
        # Every header counts: ask the compiler which ones there are.
        listed = _run([*command, "-MM", "-MG", str(unit)]).replace("\\\n", " ").split()[1:]
        dependencies = [Path(p) for p in listed if Path(p) != unit and Path(p).exists()]
        target = cache / f"{_digest(command, rewritten, dependencies)}.so"
        if not target.exists():
            built = Path(scratch) / "unit.so"
            _run([*command, str(unit), "-o", str(built), f"-Wl,-rpath,{library.parent}", str(library)])
            os.replace(built, target)
    return Library._load(target)


class Library:
    """Compiled kernels. ``kernels`` names what :meth:`launch` takes."""

    _loaded: ClassVar[dict[Path, Library]] = {}

    def __init__(self, path: Path, entries: Sequence[Any]) -> None:
        self.path = path
        self._entries = {entry.name: entry for entry in entries}

    @classmethod
    def _load(cls, path: Path) -> Library:
        # A library registers its entries when it is loaded, which happens once per process.
        if path not in cls._loaded:
            cls._loaded[path] = cls(path, native().load_library(str(path)))
        return cls._loaded[path]

    @property
    def kernels(self) -> tuple[str, ...]:
        """The names of the kernels and launch functions in the library."""
        return tuple(self._entries)

    def launch(self, kernel: str, blocks: int, *arguments: Any, work: Work | None = None) -> None:
        """Run ``kernel`` (or a ``launch_...`` function) with ``blocks`` blocks on the current device.

        Pointers take CPU tensors or arrays, or None; numbers take Python numbers; structs by value take bytes or a
        ``ctypes.Structure`` of their size. ``work``, of :mod:`~qwen_vl_npu_ops.sim.bounds`, is what the record's bound
        comes from. Raises ValueError or TypeError for arguments that do not fit,
        :class:`SimulatorError` for what the kernel does wrong.
        """
        if kernel not in self._entries:
            raise ValueError(f"kernel: expected one of {', '.join(self.kernels) or 'none'}, got {kernel!r}")
        Device.current().launch(self._entries[kernel], blocks, arguments, work)
