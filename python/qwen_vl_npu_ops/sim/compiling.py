"""Compiling AscendC source for the simulator: the launch syntax rewritten, the result cached by content."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from .._cache import cache_dir
from .bounds import Work
from .devices import Device
from .native import CompileError, include_dir, native, runtime_library

_LAUNCH = re.compile(r"([A-Za-z_][\w:]*)\s*((?:<[^<>;{}()]*>)?)\s*<<<(.*?)>>>\s*\(", re.DOTALL)
_QUALIFIED = re.compile(
    r"((?:(?:__vector__|__cube__|__mix__\s*\(\s*\d\s*,\s*\d\s*\)|__global__|__aicore__|extern\s+\"C\"|inline)\s+)+)void\s+(\w+)\s*\("
)
_LAUNCHER = re.compile(r"extern\s+\"C\"\s+void\s+(launch_\w+)\s*\(")
# Each library finds its own kernels' task types: those of qualifiers, and KERNEL_TASK_TYPE_DEFAULT's section.
_FOOTER = """
#line 1 "{name}.registration"
extern "C" {{
extern ::ascend_sim::TaskNote __start_ascend_sim_task_types[] __attribute__((weak, visibility("hidden")));
extern ::ascend_sim::TaskNote __stop_ascend_sim_task_types[] __attribute__((weak, visibility("hidden")));
}}
static int sim_task_type(const char *kernel) {{
  static const ::ascend_sim::TaskNote qualified[] = {{{notes}}};
  for (int i = 0; i < {count}; ++i)
    if (std::strcmp(qualified[i].kernel, kernel) == 0) return qualified[i].type;
  return ::ascend_sim::find_task_type(kernel, __start_ascend_sim_task_types, __stop_ascend_sim_task_types);
}}"""
_REGISTRATION = (
    "static const ::ascend_sim::Registration<&{function}> "
    'sim_entry_{name}("{name}", {launcher}, sim_task_type("{name}"));'
)
_MIX_TYPES = {"1,2": 5, "1,1": 4, "1,0": 3, "0,1": 2}


def _blanked(text: str, strings: bool) -> str:
    """The text with comments, and with `strings` literals too, made blank; newlines kept."""

    def blank(match: re.Match[str]) -> str:
        return match[0] if match[0][0] in "\"'" and not strings else re.sub(r"[^\n]", " ", match[0])

    literals = r"\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])+'"
    return re.sub(r"//[^\n]*|/\*.*?\*/|" + literals, blank, text, flags=re.DOTALL)


def _matching(text: str, opening: int) -> int:
    depth = 0
    for at in range(opening, len(text)):
        depth += (text[at] == "(") - (text[at] == ")")
        if depth == 0:
            return at
    raise CompileError("a kernel launch has no closing parenthesis")


def _namespaces(plain: str, position: int) -> str:
    """The named namespaces around a position, as a prefix: "a::b::"."""
    stack: list[str] = []
    for match in re.finditer(r"namespace\s+([\w:]*)\s*\{|([{}])", plain[:position]):
        if match[2] == "}":
            del stack[-1:]
        else:
            stack.append(f"{match[1]}::" if match[1] else "")
    return "".join(stack)


def rewrite(text: str, name: str) -> str:
    """Turn ``kernel<<<blocks, l2, stream>>>(args)`` into a call of the simulator, and register what can be called.

    Nothing else changes, and lines keep their numbers.
    """
    plain = _blanked(text, strings=True)
    pieces, at = [], 0
    for match in _LAUNCH.finditer(plain):
        close = _matching(plain, match.end() - 1)
        blocks = match[3].split(",")[0]
        newlines = "\n" * plain.count("\n", match.end(2), match.end())
        blocks = blocks.replace("\n", " ")
        arguments = text[match.end() : close]
        call = f"{match[1]}{match[2]}({arguments})"
        short = match[1].rsplit("::", 1)[-1]
        pieces += [
            text[at : match.start()],
            f'::ascend_sim::launch("{short}", sim_task_type("{short}"), ({blocks}), [=]() mutable {{ {call}; }})',
            newlines,
        ]
        at = close + 1
    body = "".join(pieces) + text[at:]
    notes, kernels = [], []
    plain = _blanked(text, strings=False)
    plain = re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", lambda m: re.sub(r"[^\n]", " ", m[0]), plain, flags=re.MULTILINE)
    for match in _QUALIFIED.finditer(plain):
        qualifiers = re.sub(r"\s+", "", match[1])
        if "__global__" not in qualifiers:
            continue
        is_template = re.search(r"template\s*<[^;{}]*>\s*$", plain[: match.start()]) is not None
        if not is_template:
            kernels.append((match[2], _namespaces(plain, match.start()) + match[2]))
        mix = re.search(r"__mix__\((\d,\d)\)", qualifiers)
        if mix or "__vector__" in qualifiers or "__cube__" in qualifiers:
            kind = _MIX_TYPES[mix[1]] if mix else 1 if "__cube__" in qualifiers else 0
            notes.append(f'{{"{match[2]}", {kind}}}')
    footer = [_FOOTER.format(name=name, notes=", ".join([*notes, "{nullptr, 0}"]), count=len(notes))]
    for short, function in dict.fromkeys(kernels):
        footer.append(_REGISTRATION.format(name=short, function=function, launcher="false"))
    for launcher in dict.fromkeys(_LAUNCHER.findall(plain)):
        footer.append(_REGISTRATION.format(name=launcher, function=launcher, launcher="true"))
    header = (
        f'#include "sim/launch.h"\n[[maybe_unused]] static int sim_task_type(const char *kernel);\n#line 1 "{name}"\n'
    )
    return header + body + "\n".join(footer) + "\n"


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
