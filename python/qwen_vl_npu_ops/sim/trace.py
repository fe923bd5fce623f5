"""Launches as traces in Chrome's trace-event format (JSON), which Perfetto opens.

Every core is a process and every pipe of it a thread; an instruction is a complete event ("X"), and an arrow ("s" to
"f") goes from each SetFlag, or queue operation, to the wait that it released. Times are estimates, in microseconds; an
instruction's cycles are among its arguments.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from .devices import Record

PIPES = ("S", "MTE2", "MTE1", "M", "FIX", "V", "MTE3")  # in the order that data passes them


class Slice(NamedTuple):
    """An instruction on its pipe, from ``start`` to ``end`` in cycles."""

    core: str
    pipe: str
    start: float
    end: float
    api: str
    file: str
    line: int
    bytes: int


def write(path: Path, record: Record, slices: Sequence[Slice], flows: Sequence[tuple[int, int]]) -> None:
    """Write one launch, an event a line; ``flows`` are pairs of indices into ``slices``, the set and the wait."""
    with path.open("w") as file:
        file.write('{"displayTimeUnit": "ns", "otherData": ')
        json.dump({"kernel": record.kernel, "cycles": record.cycles, "times": "estimates of a model"}, file)
        file.write(', "traceEvents": [')
        for i, event in enumerate(_events(record, slices, flows)):
            file.write(",\n" if i else "\n")
            json.dump(event, file)
        file.write("\n]}\n")


def _events(record: Record, slices: Sequence[Slice], flows: Sequence[tuple[int, int]]) -> Iterator[dict[str, Any]]:
    us = record.time_us / record.cycles if record.cycles else 1.0  # of a cycle
    pids = {core: pid for pid, core in enumerate(record.cores, start=1)}
    used = {(piece.core, piece.pipe) for piece in slices}
    for core, pid in pids.items():
        yield {"ph": "M", "name": "process_name", "pid": pid, "tid": 0, "args": {"name": core}}
        yield {"ph": "M", "name": "process_sort_index", "pid": pid, "tid": 0, "args": {"sort_index": pid}}
        for tid, pipe in enumerate(PIPES, start=1):
            if (core, pipe) in used:
                yield {"ph": "M", "name": "thread_name", "pid": pid, "tid": tid, "args": {"name": pipe}}
                yield {"ph": "M", "name": "thread_sort_index", "pid": pid, "tid": tid, "args": {"sort_index": tid}}

    def track(piece: Slice, cycle: float) -> dict[str, Any]:
        return {"pid": pids[piece.core], "tid": PIPES.index(piece.pipe) + 1, "ts": cycle * us}

    for piece in slices:
        cycles = piece.end - piece.start
        where = {"site": f"{piece.file}:{piece.line}", "cycles": cycles, "bytes": piece.bytes}
        yield {
            "ph": "X",
            "cat": piece.pipe,
            "name": piece.api,
            **track(piece, piece.start),
            "dur": cycles * us,
            "args": where,
        }
    for number, (begin, end) in enumerate(flows):
        for phase, piece in (("s", slices[begin]), ("f", slices[end])):
            middle = (piece.start + piece.end) / 2  # inside the slice that the arrow is bound to
            enclosing = {"bp": "e"} if phase == "f" else {}
            yield {"ph": phase, "cat": "sync", "name": "flag", "id": number, **track(piece, middle), **enclosing}
