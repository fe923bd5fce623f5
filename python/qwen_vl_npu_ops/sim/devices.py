"""Simulated devices: launching on host tensors, reports, traces, planted faults."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from . import trace as traces
from .bounds import Bound, Work
from .native import native


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

    Kinds: ``drop``, ``delay`` (behind the next instruction of the pipe), ``event`` (id + amount), ``pipe`` (amount: a
    pipe's name), ``shift`` (operand's address + amount bytes), ``shrink`` (a buffer by amount bytes), ``repeat``,
    ``mask``, ``count``, ``stride`` (+ amount), ``skip_queue`` (a TQue call does nothing). ``site`` is a :class:`Site`
    or ``"file.cpp:123"``; ``nth`` counts executions on each core from 0, None means all; ``core`` is like ``"aiv0"``.
    """

    kind: str
    site: Site | str
    nth: int | None = None
    core: str | None = None
    amount: int | str | None = None
    operand: str | None = None


@dataclass(frozen=True)
class Record:
    """One launch; cycles and microseconds are estimates.

    ``busy`` is each pipe's share of the time, averaged over the cores that have it, ``busy_by_core`` over cube ("aic")
    and vector ("aiv") cores apart. ``bytes`` counts what instructions
    read and wrote in each memory (``hbm`` and ``l2``: where GM traffic was served). ``bounds_us`` has the least time of
    each pipe and memory where the operation has a closed formula (:mod:`~qwen_vl_npu_ops.sim.bounds`).
    """

    kernel: str
    cycles: float
    time_us: float
    launch_us: float
    busy: dict[str, float]
    busy_by_core: dict[str, dict[str, float]]
    bytes: dict[str, int]
    peak_bytes: dict[str, int]
    cores: dict[str, float]
    instructions: int
    repeats: int
    bounds_us: dict[str, float] | None = None

    @property
    def bound_us(self) -> float | None:
        """The largest of the bounds, which no kernel can beat; None without a formula."""
        return Bound(self.bounds_us).us if self.bounds_us else None

    @property
    def bound_by(self) -> str | None:
        """The pipe or memory whose bound that is."""
        return Bound(self.bounds_us).by if self.bounds_us else None

    @property
    def ratio(self) -> float | None:
        """The time as a multiple of the bound."""
        return self.time_us / self.bound_us if self.bound_us else None

    @property
    def busiest(self) -> str:
        """The pipe with the largest share of the time, as "aic MTE2": what bound this kernel, if anything did."""
        shares = {f"{kind} {pipe}": share for kind, busy in self.busy_by_core.items() for pipe, share in busy.items()}
        return max(shares, key=lambda pipe: shares[pipe])


def chips() -> list[str]:
    """The chips that :func:`device` knows."""
    return list(native().chips())


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
        spanned = (
            0
            if value.numel() == 0
            else (sum((n - 1) * s for n, s in zip(value.shape, value.stride(), strict=True)) + 1) * value.element_size()
        )
        return storage.data_ptr(), storage.nbytes(), value.data_ptr() - storage.data_ptr(), spanned
    interface = getattr(value, "__array_interface__", None)
    if interface is None:
        raise TypeError(f"pointer arguments: expected a CPU tensor, an array or None, got {type(value).__name__}")
    pointer = interface["data"][0]
    spanned = (
        0
        if value.size == 0
        else sum((n - 1) * s for n, s in zip(value.shape, value.strides, strict=True)) + value.itemsize
    )
    return pointer, spanned, 0, spanned


class Device:
    """A simulated chip, current inside ``with``. Made by :func:`device`."""

    _stack: ClassVar[list[Device]] = []

    def __init__(self, chip: str, l2: str, faults: Sequence[Fault], auto_sync: bool, races: bool, trace: bool) -> None:
        self.max_blocks: int | None = None
        self._machine = native().Machine(chip, l2, auto_sync, races, trace)
        self.chip, self.l2 = chip, l2
        self._bounds: dict[int, dict[str, float]] = {}  # by launch
        self._tracing = trace
        self._mapped: dict[tuple[int, int], _Mapped] = {}
        for fault in faults:
            self._plant(fault)

    @classmethod
    def current(cls) -> Device:
        """The innermost device."""
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
        self._machine.add_fault(
            fault.kind, site.file, site.line, site.api, nth, fault.core or "", number, fault.operand or "", pipe
        )

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

    def launch(self, entry: Any, blocks: int, arguments: Sequence[Any], work: Work | None = None) -> None:
        """Run an entry of a library; :meth:`Library.launch` is what users call."""
        parameters = entry.parameters
        values = [blocks, None, *arguments] if entry.launcher else list(arguments)
        hidden = len(values) - len(arguments)
        if len(values) != len(parameters):
            raise TypeError(f"{entry.name}: expected {len(parameters) - hidden} arguments, got {len(arguments)}")
        if blocks < 1:
            raise ValueError(f"blocks: expected at least 1, got {blocks}")
        if self._machine.mapped() > 1 << 34:  # host buffers come and go; start over with fresh addresses
            self._machine.unmap_all()
            self._mapped.clear()
        self._machine.forbid_all()
        self._used: dict[tuple[int, int], _Mapped] = {}
        self._spans: list[tuple[int, int, int]] = []
        first = 2 if entry.launcher else 0
        packed = [
            self._pack(kind, size, value, f"argument {i - first}")
            for i, ((kind, size), value) in enumerate(zip(parameters, values, strict=True))
        ]
        for address, host, size in self._spans:
            self._machine.copy(address, host, size)
        self._machine.call(entry, blocks, packed)
        if work:
            self.bound(work)
        for address, host, size in self._spans:
            if size and self._machine.written(address):
                self._machine.copy(host, address, size)

    def bound(self, work: Work) -> None:
        """Say what the last launch had to do at least."""
        self._bounds[self.launches() - 1] = work.bound(self.chip, self.l2).terms

    def launches(self) -> int:
        """How many there have been so far."""
        return len(self._machine.reports())

    def report(self) -> list[Record]:
        """One record per launch so far."""
        reports = self._machine.reports()
        return [Record(**fields, bounds_us=self._bounds.get(i)) for i, fields in enumerate(reports)]

    def sites(self) -> list[Site]:
        """The call sites that executed, in the order of their first execution."""
        return [Site(*fields) for fields in self._machine.sites()]

    def fired(self) -> list[bool]:
        """For each planted fault whether it took effect."""
        return list(self._machine.fired())

    def slices(self) -> list[traces.Slice]:
        """What each pipe of each core did in the last launch. Needs ``device(..., trace=True)``."""
        if not self._tracing:
            raise ValueError("trace: make the device with trace=True")
        return [traces.Slice(*fields) for fields in self._machine.trace()]

    def trace(self, path: str | Path) -> None:
        """Write the last launch as a Chrome/Perfetto trace (JSON). Needs ``device(..., trace=True)``."""
        slices = self.slices()
        records = self.report()
        if not records:
            raise ValueError("trace: nothing has been launched on this device")
        traces.write(Path(path), records[-1], slices, self._machine.flows())


@contextmanager
def device(
    chip: str = "910B1",
    *,
    l2: str = "cold",
    faults: Sequence[Fault] = (),
    auto_sync: bool = False,
    races: bool = True,
    trace: bool = False,
    max_blocks: int | None = None,
) -> Iterator[Device]:
    """A simulated ``chip``, current inside ``with``; the package's operators called on CPU tensors run on it.

    ``l2``, when a launch begins: "cold" (empty), "warm" (holds the arguments, as if just written) or "kept" (holds what
    the launch before left there); docs/cycle-model.md says more.
    ``auto_sync``: behave as if the compiler had put PIPE_V barriers between dependent vector instructions.
    ``races=False`` switches the race detector off. ``max_blocks``: launch the operators with no more blocks than this.
    Raises ValueError for an unknown chip or ``l2`` and for fewer blocks than one.
    """
    from .operators import OnChip  # needs torch and the operators, which building the package does without

    if chip not in chips():
        raise ValueError(f"chip: expected one of {', '.join(chips())}, got {chip!r}")
    if l2 not in ("cold", "warm", "kept"):
        raise ValueError(f"l2: expected 'cold', 'warm' or 'kept', got {l2!r}")
    if max_blocks is not None and max_blocks < 1:
        raise ValueError(f"max_blocks: expected at least 1, got {max_blocks}")
    made = Device(chip, l2, faults, auto_sync, races, trace)
    made.max_blocks = max_blocks
    Device._stack.append(made)
    try:
        with OnChip(made):
            yield made
    finally:
        Device._stack.remove(made)
