"""The cycle model beside published measurements of an Ascend 910B1: the tables of docs/cycle-model.md.

python benchmarks/cycle_model.py                              print them
python benchmarks/cycle_model.py --write docs/cycle-model.md  replace them in the page

The kernels are those of benchmarks/cycle_model. The figures are deterministic.
"""

from __future__ import annotations

import argparse
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from pathlib import Path

import numpy as np

from qwen_vl_npu_ops import sim

FOLDER = Path(__file__).parent / "cycle_model"
BEGIN, END = "<!-- tables: begin -->", "<!-- tables: end -->"
MHZ = 1850
SIDE = 8192  # of the guides' Add and MatMul
COPY = 12288  # and of their data_copy


@dataclass(frozen=True)
class Case:
    """A published figure, and how to get the model's."""

    name: str
    published: float
    run: Callable[[], float]
    source: bool = False  # a constant of the model comes from this figure
    cheap: bool = True  # a second or two
    within: float = 25  # percent

    def error(self, model: float) -> float:
        """Percent by which the model exceeds the hardware."""
        return 100 * (model / self.published - 1)


@dataclass(frozen=True)
class Table:
    title: str
    text: str
    unit: str
    cases: tuple[Case, ...]


@cache
def _library(name: str) -> sim.Library:
    return sim.compile(FOLDER / f"{name}.cpp")


def _launch(
    name: str,
    entry: str,
    blocks: int,
    arrays: Iterable[np.ndarray],
    tiling: Iterable[int],
    launches: int = 1,
    l2: str = "cold",
) -> sim.Record:
    """The last of `launches` runs. The kernels overwrite what they loaded, so races are off."""
    words = list(tiling)
    arrays = list(arrays)
    with sim.device("910B1", l2=l2, races=False) as chip:
        for _ in range(launches):
            _library(name).launch(entry, blocks, *arrays, struct.pack(f"<{len(words)}I", *words))
        return chip.report()[-1]


# ---- Add ----


def _add(
    cores: int,
    tile: int,
    *,
    part: int = 1,
    scalar: bool = False,
    bypass: bool = False,
    slots: int = 1,
    x: tuple[int, int] = (0, 0),
    y: tuple[int, int] = (0, 0),
    z: tuple[int, int] = (0, 0),
) -> float:
    length = SIDE * SIDE // cores // part // 128 * 128
    arrays = [np.zeros(cores * length, np.float16) for _ in range(3)]
    tiling = [length, tile, scalar, slots, bypass, *x, *y, *z]
    # A profiler runs a kernel over and over: L2 holds what the launch before left there.
    record = _launch("add", "cycle_add", cores, arrays, tiling, launches=2 if part == 1 else 1, l2="kept")
    return record.time_us * part + record.launch_us


def _single(cores: int, tile: int, **options: int) -> float:
    return _add(cores, tile, y=(32768, 0), z=(65536, 0), **options)


def _double(tile: int, first: int, second: int, **options: int) -> float:
    """Two slots: x, y, z at multiples of `first`; or both x, both y, both z, `second` bytes apart."""
    if second:
        return _add(
            48,
            tile,
            slots=2,
            x=(0, 2 * first),
            y=(second, 2 * first + second),
            z=(4 * first, 4 * first + second),
            **options,
        )
    return _add(48, tile, slots=2, x=(0, 3 * first), y=(first, 4 * first), z=(2 * first, 5 * first), **options)


ADD = Table(
    "Add of halves, 8192 x 8192",
    "`00_vector_compute/add_high_performance`, Task Duration beside `time_us + launch_us`. Steps 0 and 1 run "
    "1/1024 and 1/8 of the elements, times 1024 and 8; the others run whole, and the second of two launches "
    "counts, as a profiler repeats a kernel and L2 is not cold then. Steps 4 and 5 take tiles of 16128 elements"
    " for 16384, as 256 bytes of UB are the runtime's.",
    "us",
    (
        Case("0: one core, scalar", 1239689.1, lambda: _single(1, 4096, part=1024, scalar=True), source=True),
        Case("1: one core, vector", 6909.6, lambda: _single(1, 4096, part=8), source=True),
        Case("2: 48 cores, 8 KiB copies", 306.58, lambda: _single(48, 4096), source=True, cheap=False),
        Case("3: 32 KiB copies", 268.5, lambda: _single(48, 16384), source=True, cheap=False),
        Case("4: double buffer", 264.02, lambda: _double(16128, 32256, 0), source=True, cheap=False),
        Case("5: L2 bypass", 187.68, lambda: _double(16128, 32256, 0, bypass=True), cheap=False),
        Case("6: no bank conflicts", 184.52, lambda: _double(16256, 32768, 32512, bypass=True), cheap=False),
    ),
)


# ---- MatMul ----

_SMALL, _LARGE = (64, 64, 64), (128, 256, 64)


@cache
def _matmul(
    tiles: tuple[int, int],
    base: tuple[int, int, int],
    k: int,
    *,
    cores: tuple[int, int] = (1, 1),
    step: int = 1,
    slots: int = 1,
    unit_flag: bool = False,
) -> tuple[sim.Record, int, int]:
    """A core takes `tiles` of c; the record, and how many Mmads and tiles the busiest core did."""
    base_m, base_n, base_k = base
    single_m, single_n = tiles[0] * base_m, tiles[1] * base_n
    m, n = cores[0] * single_m, cores[1] * single_n
    arrays = [np.zeros(shape, np.float16) for shape in ((m, k), (n, k), (m, n))]
    tiling = [m, n, k, single_m, single_n, base_m, base_n, base_k, step, step, slots, unit_flag]
    record = _launch("matmul", "cycle_matmul", cores[0] * cores[1], arrays, tiling, l2="warm")
    return record, tiles[0] * tiles[1] * k // base_k, tiles[0] * tiles[1]


def _simple(base: tuple[int, int, int], **options: tuple[int, int]) -> tuple[sim.Record, int, int]:
    return _matmul((2, 2), base, 2048, **options)


def _pipelined(unit_flag: bool = True) -> tuple[sim.Record, int, int]:
    """The basic API's kernel, two tiles of its full depth on each of 4 x 6 cores."""
    return _matmul((2, 1), _LARGE, SIDE, cores=(4, 6), step=4, slots=2, unit_flag=unit_flag)


def _whole(part: tuple[sim.Record, int, int], mmads: int) -> float:
    record, done, _ = part
    return record.time_us * mmads / done + record.launch_us


def _per_mmad(part: tuple[sim.Record, int, int], pipe: str) -> float:
    record, done, _ = part
    return record.busy[pipe] * record.cycles / done


def _mmads(base: tuple[int, int, int], m: int = SIDE, n: int = SIDE) -> int:
    return m // base[0] * (n // base[1]) * (SIDE // base[2])


_SHARE = _mmads(_LARGE, 2048, 1536)  # of the busiest of 4 x 6 cores

MATMUL = Table(
    "MatMul of halves, 8192 x 8192 x 8192",
    "Task Duration beside `time_us + launch_us`. The first two are "
    "`01_matrix_compute/matmul_basic_api_high_performance`; the rest are reconstructions: "
    "`matmul_high_performance` uses the high-level API, and its steps were written here by the tiling its guide"
    " describes. All run a few tiles and are scaled by the Mmads of the busiest core (2048 x 1536 of c where 24"
    " cores share it); operands are in L2, as HBM's 384 MB are hidden behind 12.9 GB from L2. `stepKa` is 4 for"
    " the guides' 8, as 256 bytes of L1 are the runtime's; the two orders that the guides call L2 splitting are"
    " alike in the part that runs, so these rows share one figure.",
    "us",
    (
        Case("basic API, scenario 1", 4121.16, lambda: _whole(_pipelined(), _SHARE), cheap=False),
        Case("basic API, scenario 2", 4081.64, lambda: _whole(_pipelined(), _SHARE), cheap=False),
        Case("step 0, reconstruction", 759363.98, lambda: _whole(_simple(_SMALL), _mmads(_SMALL))),
        Case("step 1, reconstruction", 249467.08, lambda: _whole(_simple(_LARGE), _mmads(_LARGE))),
        Case("step 3, reconstruction", 12283.84, lambda: _whole(_simple(_LARGE, cores=(4, 6)), _SHARE), cheap=False),
        Case("step 8, reconstruction", 4012.44, lambda: _whole(_pipelined(), _SHARE), cheap=False),
    ),
)

# Microseconds of a pipe in the guides, per Mmad of a core: 8192^3 in 64^3 on one core, in 128 x 256 x 64 on one or 24.
_ONE, _TWO, _EACH = _mmads(_SMALL), _mmads(_LARGE), _mmads(_LARGE) / 24
_TILE = 44.749 * MHZ / (SIDE // 128 * (SIDE // 256) / 24)

TILES = Table(
    "Cube pipes, per Mmad of a tile",
    "The same guides' time of each pipe, over the Mmads of a core (Fixpipe: over the tiles of c), beside "
    "`busy`. It includes the flags that the pipe executes.",
    "cycles",
    (
        Case("M, 64 x 64 x 64, alone (step 0)", 141699.459 * MHZ / _ONE, lambda: _per_mmad(_simple(_SMALL), "M"), True),
        Case(
            "M, 128 x 256 x 64, alone (step 1)", 81477.188 * MHZ / _TWO, lambda: _per_mmad(_simple(_LARGE), "M"), True
        ),
        Case(
            "M, 128 x 256 x 64, in a row (step 8)",
            3076.396 * MHZ / _EACH,
            lambda: _per_mmad(_pipelined(), "M"),
            True,
            False,
        ),
        Case("MTE1, 64 x 64 x 64 (step 0)", 162104.184 * MHZ / _ONE, lambda: _per_mmad(_simple(_SMALL), "MTE1"), True),
        Case("MTE1, 128 x 256 x 64 (step 1)", 52003.703 * MHZ / _TWO, lambda: _per_mmad(_simple(_LARGE), "MTE1"), True),
        Case(
            "MTE1, five loads (basic API)",
            2538.348 * MHZ / _EACH,
            lambda: _per_mmad(_pipelined(), "MTE1"),
            False,
            False,
        ),
        Case("MTE2, 64 x 64 x 64 (step 0)", 582515.828 * MHZ / _ONE, lambda: _per_mmad(_simple(_SMALL), "MTE2"), True),
        Case(
            "MTE2, 128 x 256 x 64 (step 1)", 195613.432 * MHZ / _TWO, lambda: _per_mmad(_simple(_LARGE), "MTE2"), True
        ),
        Case(
            "MTE2, in large copies (basic API)",
            3552.248 * MHZ / _EACH,
            lambda: _per_mmad(_pipelined(), "MTE2"),
            False,
            False,
        ),
        Case("FIX, 128 x 256 to half (step 4)", _TILE, lambda: _per_tile(_pipelined(unit_flag=False)), True, False),
    ),
)


def _per_tile(part: tuple[sim.Record, int, int]) -> float:
    record, _, tiles = part
    return record.busy["FIX"] * record.cycles / tiles


# ---- bank conflicts ----


def _bank(src0: int, src1: int, dst: int, block: int = 1, repeat: int = 8) -> float:
    count = 100

    def busy(adds: int) -> float:
        record = _launch(
            "bank_conflict", "cycle_bank", 1, [np.zeros(64, np.float32)], [adds, src0, src1, dst, block, repeat]
        )
        return record.busy["V"] * record.cycles

    return (busy(count) - busy(0)) / count


def _system(count: int) -> float:
    """Cycles of one of a thousand instructions, from the system counter's 50 MHz."""
    return count * MHZ / 50 / 1000


BANKS = Table(
    "UB bank conflicts: an Add of 64 fp32 repeats",
    "`04_memory_access/bank_conflict_ub`, whose counter runs at 50 MHz (a tick is 37 cycles), beside the vector"
    " pipe's.",
    "cycles",
    (
        Case("1: none", _system(2390), lambda: _bank(0, 0x10100, 0x20000), True),
        Case("2: two reads, one bank", _system(4167), lambda: _bank(0, 0x4000, 0x10000), True),
        Case("3: two reads, one bank group", _system(4167), lambda: _bank(0, 0x10000, 0x14100)),
        Case("4: read and write line up", _system(2389), lambda: _bank(0, 0x10100, 0x4000)),
        Case("5: read and write, one bank", _system(3751), lambda: _bank(0, 0x10100, 0x4020), True),
        Case("6: in place", _system(2390), lambda: _bank(0, 0x10100, 0x10100)),
        Case("7: one block a repeat, 32 B apart", _system(3584), lambda: _bank(0, 0x10100, 0x10100, 0, 1)),
        Case("8: one block a repeat, 256 B apart", _system(2389), lambda: _bank(0, 0x10100, 0x10100, 0, 8)),
    ),
)


# ---- data copy ----


def _copy(
    name: str,
    tile: tuple[int, int],
    *,
    n: int = COPY,
    part: int = 1,
    parts: int = 1,
    rounds: int = 1,
    whole: bool = False,
) -> float:
    cores = 48 if name == "ub" else 24
    rows = COPY // cores // part
    tiling = [rows, n, *tile, parts, rounds]
    record = _launch(f"data_copy_{name}", f"cycle_copy_{name}", cores, [np.zeros(cores * rows * n, np.float16)], tiling)
    return record.time_us * part * (1 if whole else record.busy["MTE2"])


COPIES = Table(
    "Reading 12288 x 12288 halves",
    "`04_memory_access/data_copy`: time of MTE2 (of the core where a part is read four times), cold. All but "
    "those read the first 1/16 or 1/4 of each core's rows, times 16 or 4.",
    "us",
    (
        Case("UB 1: 128 B at a time", 548.161, lambda: _copy("ub", (1, 64), part=16), True),
        Case("UB 2: 64 rows of 128 B", 220.772, lambda: _copy("ub", (64, 64), part=4), True),
        Case("UB 3: 64 rows of 2 KiB", 202.657, lambda: _copy("ub", (64, 1024), part=4), True),
        Case("UB 4: as 3, n = 12287", 259.047, lambda: _copy("ub", (64, 1024), part=4, n=COPY - 1), True),
        Case(
            "UB 5: all of it, four times", 816.05, lambda: _copy("ub", (64, 1024), rounds=4, whole=True), False, False
        ),
        Case(
            "UB 6: each quarter four times",
            354.56,
            lambda: _copy("ub", (64, 1024), parts=4, rounds=4, whole=True),
            True,
            False,
        ),
        Case("L1 1: ND2NZ, 64 rows of 128 B", 283.508, lambda: _copy("l1", (64, 64), part=4)),
        Case("L1 2: ND2NZ, 64 rows of 512 B", 214.519, lambda: _copy("l1", (64, 256), part=4)),
        Case("L1 3: as 2, n = 12287", 422.515, lambda: _copy("l1", (64, 256), part=4, n=COPY - 1), True),
        Case(
            "L1 4: all of it, four times", 872.19, lambda: _copy("l1", (64, 1024), rounds=4, whole=True), False, False
        ),
        Case(
            "L1 5: each quarter four times",
            397.8,
            lambda: _copy("l1", (64, 1024), parts=4, rounds=4, whole=True),
            False,
            False,
        ),
    ),
)

TABLES = (ADD, MATMUL, TILES, BANKS, COPIES)


# ---- the page ----


def row(case: Case, model: float) -> str:
    """A case's line of its table."""
    digits = 1 if case.published < 1e4 else 0
    source = "source" if case.source else "prediction"
    return f"| {case.name} | {case.published:.{digits}f} | {model:.{digits}f} | {case.error(model):+.1f} % | {source} |"


def out_of_order(table: Table, models: dict[str, float]) -> list[str]:
    """Pairs that hardware tells apart by more than 5 %, and the model the other way round."""
    return [
        f"{first.name} / {second.name}"
        for first, second in combinations(table.cases, 2)
        if abs(first.published / second.published - 1) > 0.05
        and (first.published < second.published) != (models[first.name] < models[second.name])
    ]


def render(tables: Iterable[Table]) -> str:
    """The tables, as Markdown."""
    lines: list[str] = []
    worst: list[tuple[float, str]] = []
    disorder: list[str] = []
    for table in tables:
        models = {case.name: case.run() for case in table.cases}
        worst += [(case.error(models[case.name]), f"{table.title}, {case.name}") for case in table.cases]
        disorder += out_of_order(table, models)
        lines += [f"### {table.title}", "", table.text, ""]
        lines += [f"| {table.unit} | published | model | error | the figure is a |", "|---|---:|---:|---:|---|"]
        lines += [row(case, models[case.name]) for case in table.cases]
        lines += [""]
    error, name = max(worst, key=lambda item: abs(item[0]))
    lines += [
        f"Of {len(worst)} figures, {sum(abs(e) <= 10 for e, _ in worst)} are within 10 % and "
        f"{sum(abs(e) <= 25 for e, _ in worst)} within 25 %; the worst is {error:+.1f} % ({name})."
    ]
    lines += [
        "Within a table, order is kept wherever hardware differs by more than 5 %"
        f"{', but for ' + '; '.join(disorder) if disorder else ''}."
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, metavar="PAGE", help="replace the tables between the page's markers")
    page = parser.parse_args().write
    text = render(TABLES)
    if page is None:
        print(text)
        return
    before, rest = page.read_text().split(BEGIN)
    page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{rest.split(END)[1]}")


if __name__ == "__main__":
    main()
