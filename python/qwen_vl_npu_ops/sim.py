"""AscendC on the CPU: compile kernels with the host compiler and run them on a simulated Ascend 910B.

    lib = sim.compile("launch.cpp")
    with sim.device("910B1", l2="cold") as chip:
        lib.launch("add_custom", 8, x, y, z, tiling)
        print(chip.report()[-1].time_us)

What the hardware would not do, and every race, is a :class:`SimulatorError` that names kernel, core, pipe, instruction,
operand and source line. Times are estimates of a model. See ``docs/simulator.md``.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = [
    "CompileError",
    "Device",
    "Fault",
    "Library",
    "Record",
    "SimulatorError",
    "Site",
    "chips",
    "compile",
    "device",
]

_PACKAGE = Path(__file__).resolve().parent


class SimulatorError(RuntimeError):
    """A kernel did what the hardware does not allow, or raced, or hangs.

    Attributes: ``kind`` (alignment, limit, capacity, out_of_bounds, uninitialised, race, stale_read, overlap, queue, event,
    flag, deadlock, unsupported, core_type, trap), ``kernel``, ``core``, ``block``, ``pipe``, ``instruction``, ``operand``,
    ``file``, ``line`` (None where not known), ``other`` (the other access of a race, a dict) and ``waiting`` (of a
    deadlock: a list of dicts, one for each core and pipe that waits).
    """

    def __init__(self, **fields: Any) -> None:
        super().__init__(fields["message"])
        self.kind: str = fields["kind"]
        self.kernel: str = fields["kernel"]
        self.core: str | None = fields["core"]
        self.block: int | None = fields["block"]
        self.pipe: str | None = fields["pipe"]
        self.instruction: str | None = fields["instruction"]
        self.operand: str | None = fields["operand"]
        self.file: str | None = fields["file"]
        self.line: int | None = fields["line"]
        self.other: dict[str, Any] | None = fields["other"]
        self.waiting: list[dict[str, Any]] = fields["waiting"]
        self.message: str = fields["message"]


class CompileError(RuntimeError):
    """The host compiler refused kernel source; the text is what it said."""


@dataclass(frozen=True)
class Site:
    """A place in kernel source where an API was called, and how often it executed, over all cores."""

    file: str
    line: int
    api: str
    count: int = 0


@dataclass(frozen=True)
class Fault:
    """A fault to plant at a call site when it executes.

    Kinds: ``drop``, ``delay`` (behind the next instruction of the pipe), ``event`` (id + amount), ``pipe`` (amount: a pipe's
    name), ``shift`` (operand's address + amount bytes), ``shrink`` (a buffer by amount bytes), ``repeat``, ``mask``,
    ``count``, ``stride`` (+ amount), ``skip_queue`` (a TQue call does nothing). ``site`` is a :class:`Site` or
    ``"file.cpp:123"``; ``nth`` counts executions on each core from 0, None means all; ``core`` is like ``"aiv0"``.
    """

    kind: str
    site: Site | str
    nth: int | None = None
    core: str | None = None
    amount: int | str | None = None
    operand: str | None = None


@dataclass(frozen=True)
class Record:
    """One launch: cycles and microseconds are estimates; ``busy`` is each pipe's share of the time, averaged over its cores.

    ``bytes`` counts what instructions read and wrote in each memory (``hbm`` and ``l2``: where GM traffic was served).
    ``bound_us`` and ``bound_by`` are set for the operators that have a closed formula.
    """

    kernel: str
    cycles: float
    time_us: float
    launch_us: float
    busy: dict[str, float]
    bytes: dict[str, int]
    peak_bytes: dict[str, int]
    cores: dict[str, float]
    instructions: int
    repeats: int
    bound_us: float | None = None
    bound_by: str | None = None


# ---- the runtime: where the native module, the library and the headers are ----


def _native() -> Any:
    """Import ``_sim``; QWEN_VL_NPU_OPS_SIM may name a build directory that has it."""
    name = "qwen_vl_npu_ops._sim"
    if name in sys.modules:
        return sys.modules[name]
    folder = Path(os.environ.get("QWEN_VL_NPU_OPS_SIM", _PACKAGE))
    found = sorted(folder.glob("_sim.*.so")) or sorted(folder.glob("_sim.so"))
    if not found:
        raise ImportError(f"the simulator is not built: no _sim module in {folder}")
    spec = importlib.util.spec_from_file_location(name, found[0])
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    module.set_error_type(SimulatorError)
    return module


def _runtime_library() -> Path:
    folder = os.environ.get("QWEN_VL_NPU_OPS_SIM")
    return (Path(folder) if folder else _PACKAGE / "_sim_runtime" / "lib") / "libascend_sim.so"


def include_dir() -> Path:
    """Where ``kernel_operator.h`` is: the source tree's when this is one, else the installed copy."""
    source = _PACKAGE.parent.parent / "csrc" / "sim" / "include"
    return source if (source / "kernel_operator.h").exists() else _PACKAGE / "_sim_runtime" / "include"


def chips() -> list[str]:
    """The chips that :func:`device` knows."""
    return list(_native().chips())


def _cache_dir() -> Path:
    root = os.environ.get("QWEN_VL_NPU_OPS_CACHE")
    if root:
        return Path(root) / "sim"
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "qwen_vl_npu_ops" / "sim"


# ---- compiling ----

_LAUNCH = re.compile(r"([A-Za-z_][\w:]*)\s*((?:<[^<>;{}()]*>)?)\s*<<<(.*?)>>>\s*\(", re.DOTALL)
_QUALIFIED = re.compile(r"((?:(?:__vector__|__cube__|__mix__\s*\(\s*\d\s*,\s*\d\s*\)|__global__|__aicore__|extern\s+\"C\"|inline)\s+)+)void\s+(\w+)\s*\(")
_LAUNCHER = re.compile(r"extern\s+\"C\"\s+void\s+(launch_\w+)\s*\(")
_MIX_TYPES = {"1,2": 5, "1,1": 4, "1,0": 3, "0,1": 2}


def _without_comments(text: str) -> str:
    """The text with comments blanked, newlines kept."""

    def blank(match: re.Match[str]) -> str:
        return match[0] if match[0][0] in "\"'" else re.sub(r"[^\n]", " ", match[0])

    return re.sub(r"//[^\n]*|/\*.*?\*/|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])+'", blank, text, flags=re.DOTALL)


def _matching(text: str, opening: int) -> int:
    depth = 0
    for at in range(opening, len(text)):
        depth += (text[at] == "(") - (text[at] == ")")
        if depth == 0:
            return at
    raise CompileError("a kernel launch has no closing parenthesis")


def rewrite(text: str, name: str) -> str:
    """Turn ``kernel<<<blocks, l2, stream>>>(args)`` into a call of the simulator, and register what can be called.

    Nothing else changes, and lines keep their numbers.
    """
    plain = _without_comments(text)
    pieces, at = [], 0
    for match in _LAUNCH.finditer(plain):
        close = _matching(plain, match.end() - 1)
        blocks = match[3].split(",")[0]
        newlines = "\n" * plain.count("\n", match.start(), match.end())
        arguments = text[match.end() : close]
        call = f"{match[1]}{match[2]}({arguments})"
        short = match[1].rsplit("::", 1)[-1]
        pieces += [text[at : match.start()], f'::ascend_sim::launch("{short}", sim_task_type("{short}"), ({blocks}), [=]() mutable {{ {call}; }})', newlines]
        at = close + 1
    body = "".join(pieces) + text[at:]
    notes, kernels = [], []
    for match in _QUALIFIED.finditer(plain):
        qualifiers = re.sub(r"\s+", "", match[1])
        if "__global__" not in qualifiers:
            continue
        is_template = re.search(r"template\s*<[^;{}]*>\s*$", plain[: match.start()]) is not None
        if not is_template:
            kernels.append(match[2])
        mix = re.search(r"__mix__\((\d,\d)\)", qualifiers)
        if mix or "__vector__" in qualifiers or "__cube__" in qualifiers:
            kind = _MIX_TYPES[mix[1]] if mix else 1 if "__cube__" in qualifiers else 0
            notes.append(f'{{"{match[2]}", {kind}}}')
    footer = [
        f"\n#line 1 \"{name}.registration\"",
        'extern "C" ::ascend_sim::TaskNote __start_ascend_sim_task_types[] __attribute__((weak, visibility("hidden")));',
        'extern "C" ::ascend_sim::TaskNote __stop_ascend_sim_task_types[] __attribute__((weak, visibility("hidden")));',
        "[[maybe_unused]] static int sim_task_type(const char *kernel) {",
        f"  static const ::ascend_sim::TaskNote qualified[] = {{{', '.join([*notes, '{nullptr, 0}'])}}};",
        f"  for (int i = 0; i < {len(notes)}; ++i) if (std::strcmp(qualified[i].kernel, kernel) == 0) return qualified[i].type;",
        "  return ::ascend_sim::find_task_type(kernel, __start_ascend_sim_task_types, __stop_ascend_sim_task_types);",
        "}",
    ]
    for kernel in dict.fromkeys(kernels):
        footer.append(f'static const ::ascend_sim::Registration<&{kernel}> sim_entry_{kernel}("{kernel}", false, sim_task_type("{kernel}"));')
    for launcher in dict.fromkeys(_LAUNCHER.findall(plain)):
        footer.append(f'static const ::ascend_sim::Registration<&{launcher}> sim_entry_{launcher}("{launcher}", true, 0);')
    header = f'#include "sim/launch.h"\n[[maybe_unused]] static int sim_task_type(const char *kernel);\n#line 1 "{name}"\n'
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
    library = _runtime_library()
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

    ``source``: a file, or C++ text (a str that holds a newline or a brace). Compiled once for each content: the result is kept
    in the user's cache. Raises :class:`CompileError` with the compiler's words, ``FileNotFoundError`` for a missing file.
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
    library = _runtime_library()
    cache = _cache_dir()
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

    _loaded: dict[Path, Library] = {}

    def __init__(self, path: Path, entries: Sequence[Any]) -> None:
        self.path = path
        self._entries = {entry.name: entry for entry in entries}

    @classmethod
    def _load(cls, path: Path) -> Library:
        # A library registers its entries when it is loaded, which happens once per process.
        if path not in cls._loaded:
            cls._loaded[path] = cls(path, _native().load_library(str(path)))
        return cls._loaded[path]

    @property
    def kernels(self) -> tuple[str, ...]:
        return tuple(self._entries)

    def launch(self, kernel: str, blocks: int, *arguments: Any) -> None:
        """Run ``kernel`` (or a ``launch_...`` function) with ``blocks`` blocks on the current device.

        Pointers take CPU tensors or arrays, or None; numbers take Python numbers; structs by value take bytes or a
        ``ctypes.Structure`` of their size. Raises ValueError or TypeError for arguments that do not fit,
        :class:`SimulatorError` for what the kernel does wrong.
        """
        if kernel not in self._entries:
            raise ValueError(f"kernel: expected one of {', '.join(self.kernels) or 'none'}, got {kernel!r}")
        current = Device._current()
        current._launch(self._entries[kernel], blocks, arguments)


# ---- devices ----


@dataclass
class _Mapped:
    """A host buffer and its place in simulated global memory."""

    host: int
    size: int
    address: int
    keep: Any = field(repr=False)


def _view(value: Any) -> tuple[int, int, int, int]:
    """(storage pointer, storage bytes, offset, bytes spanned) of a tensor or array."""
    if hasattr(value, "untyped_storage"):
        if value.device.type != "cpu":
            raise ValueError(f"tensor arguments: expected a CPU tensor, got one on {value.device}")
        storage = value.untyped_storage()
        spanned = 0 if value.numel() == 0 else (sum((n - 1) * s for n, s in zip(value.shape, value.stride())) + 1) * value.element_size()
        return storage.data_ptr(), storage.nbytes(), value.data_ptr() - storage.data_ptr(), spanned
    interface = getattr(value, "__array_interface__", None)
    if interface is None:
        raise TypeError(f"pointer arguments: expected a CPU tensor, an array or None, got {type(value).__name__}")
    pointer = interface["data"][0]
    spanned = 0 if value.size == 0 else sum((n - 1) * s for n, s in zip(value.shape, value.strides)) + value.itemsize
    return pointer, spanned, 0, spanned


class Device:
    """A simulated chip, current inside ``with``. Made by :func:`device`."""

    _stack: list[Device] = []

    def __init__(self, chip: str, l2: str, faults: Sequence[Fault], auto_sync: bool, races: bool, trace: bool) -> None:
        self._machine = _native().Machine(chip, l2 == "warm", auto_sync, races, trace)
        self._tracing = trace
        self._mapped: dict[tuple[int, int], _Mapped] = {}
        for fault in faults:
            self._plant(fault)

    @classmethod
    def _current(cls) -> Device:
        if not cls._stack:
            raise RuntimeError("no simulated device: launch inside `with sim.device(...)`")
        return cls._stack[-1]

    def _plant(self, fault: Fault) -> None:
        site = fault.site
        if isinstance(site, str):
            file, _, line = site.rpartition(":")
            if not file or not line.isdigit():
                raise ValueError(f"site: expected a Site or 'file:line', got {site!r}")
            site = Site(file, int(line), "")
        pipe = fault.amount if fault.kind == "pipe" else ""
        amount = {"event": 1, "shrink": 32}.get(fault.kind, 0) if fault.amount is None else fault.amount
        if fault.kind != "pipe" and not isinstance(amount, int):
            raise TypeError(f"amount: expected an int for fault kind {fault.kind}, got {amount!r}")
        if fault.kind == "pipe" and not isinstance(pipe, str):
            raise TypeError(f"amount: expected a pipe's name for fault kind pipe, got {pipe!r}")
        number = 0 if fault.kind == "pipe" else amount
        nth = -1 if fault.nth is None else fault.nth
        self._machine.add_fault(fault.kind, site.file, site.line, site.api, nth, fault.core or "", number, fault.operand or "", pipe)

    def _map(self, value: Any, name: str) -> int:
        pointer, size, offset, spanned = _view(value)
        key = (pointer, size)
        if key not in self._mapped:
            self._mapped[key] = _Mapped(pointer, size, self._machine.map(size), value)
        mapped = self._mapped[key]
        mapped.keep = value
        self._used[key] = mapped
        self._machine.allow(mapped.address + offset, spanned, name)
        self._spans.append((mapped.address + offset, pointer + offset, spanned))
        return mapped.address + offset

    def _pack(self, kind: str, size: int, value: Any, name: str) -> bytes:
        if kind == "p":
            return struct.pack("<Q", 0 if value is None else self._map(value, name))
        if kind == "f":
            return struct.pack("<f" if size == 4 else "<d", value)
        if kind in "iu":
            bits, signed = 8 * size, kind == "i"
            low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
            if not low <= int(value) <= high:
                raise ValueError(f"{name}: expected {low} to {high}, got {value}")
            return int(value).to_bytes(size, "little", signed=signed)
        data = bytes(value) if isinstance(value, (bytes, bytearray, ctypes.Structure)) else None
        if data is None:
            raise TypeError(f"{name}: expected bytes or a ctypes.Structure, got {type(value).__name__}")
        if len(data) != size:
            raise ValueError(f"{name}: expected a struct of {size} bytes, got {len(data)}")
        return data

    def _launch(self, entry: Any, blocks: int, arguments: Sequence[Any]) -> None:
        parameters = entry.parameters
        values = [blocks, None, *arguments] if entry.launcher else list(arguments)
        if len(values) != len(parameters):
            raise TypeError(f"{entry.name}: expected {len(parameters) - (2 if entry.launcher else 0)} arguments, got {len(arguments)}")
        if blocks < 1:
            raise ValueError(f"blocks: expected at least 1, got {blocks}")
        if self._machine.mapped() > 1 << 34:  # host buffers come and go; start over with fresh addresses
            self._machine.unmap_all()
            self._mapped.clear()
        self._machine.forbid_all()
        self._used: dict[tuple[int, int], _Mapped] = {}
        self._spans: list[tuple[int, int, int]] = []
        first = 2 if entry.launcher else 0
        packed = [self._pack(kind, size, value, f"argument {i - first}") for i, ((kind, size), value) in enumerate(zip(parameters, values))]
        for address, host, size in self._spans:
            self._machine.copy(address, host, size)
        self._machine.call(entry, blocks, packed)
        for address, host, size in self._spans:
            if size and self._machine.written(address):
                self._machine.copy(host, address, size)

    def report(self) -> list[Record]:
        """One record per launch so far."""
        return [Record(**fields) for fields in self._machine.reports()]

    def sites(self) -> list[Site]:
        """The call sites that executed, in the order of their first execution."""
        return [Site(*fields) for fields in self._machine.sites()]

    def fired(self) -> list[bool]:
        """For each planted fault whether it took effect."""
        return list(self._machine.fired())

    def trace(self, path: str | Path) -> None:
        """Write the last launch as a Chrome/Perfetto trace (JSON). Needs ``device(..., trace=True)``."""
        if not self._tracing:
            raise ValueError("trace: make the device with trace=True")
        self._write_trace(Path(path))

    def _write_trace(self, path: Path) -> None:
        cores: dict[str, int] = {}
        pipes = ["S", "V", "M", "MTE1", "MTE2", "MTE3", "FIX"]
        reports = self._machine.reports()
        scale = reports[-1]["time_us"] / reports[-1]["cycles"] if reports and reports[-1]["cycles"] else 1.0
        events: list[dict[str, Any]] = []
        for core, pipe, start, end, api, file, line, size in self._machine.trace():
            if core not in cores:
                cores[core] = len(cores)
                events.append({"ph": "M", "name": "process_name", "pid": cores[core], "args": {"name": core}})
                events += [{"ph": "M", "name": "thread_name", "pid": cores[core], "tid": i, "args": {"name": p}} for i, p in enumerate(pipes)]
            where = {"site": f"{file}:{line}", "cycles": end - start, "bytes": size}
            events.append({"ph": "X", "name": api, "pid": cores[core], "tid": pipes.index(pipe), "ts": start * scale, "dur": (end - start) * scale, "args": where})
        path.write_text(json.dumps({"traceEvents": events, "displayTimeUnit": "ns"}))


@contextmanager
def device(
    chip: str = "910B1",
    *,
    l2: str = "cold",
    faults: Sequence[Fault] = (),
    auto_sync: bool = False,
    races: bool = True,
    trace: bool = False,
) -> Iterator[Device]:
    """A simulated ``chip``, current inside ``with``.

    ``l2``: "cold" (empty at first) or "warm" (arguments resident). ``auto_sync``: behave as if the compiler had put
    PIPE_V barriers between dependent vector instructions. ``races=False`` switches the race detector off.
    Raises ValueError for an unknown chip or ``l2``.
    """
    if chip not in chips():
        raise ValueError(f"chip: expected one of {', '.join(chips())}, got {chip!r}")
    if l2 not in ("cold", "warm"):
        raise ValueError(f"l2: expected 'cold' or 'warm', got {l2!r}")
    made = Device(chip, l2, faults, auto_sync, races, trace)
    Device._stack.append(made)
    try:
        yield made
    finally:
        Device._stack.remove(made)


def _main(arguments: Sequence[str]) -> int:
    if len(arguments) != 3 or arguments[0] != "rewrite":
        print("usage: python -m qwen_vl_npu_ops.sim rewrite in.cpp out.cpp", file=sys.stderr)
        return 2
    source = Path(arguments[1])
    Path(arguments[2]).write_text(rewrite(source.read_text(), str(source)))
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
