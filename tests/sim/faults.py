"""The fault campaign: which faults are planted where in a kernel, and what a right report of each looks like.

A fault is planted by call site at run time. It is *caught* when the launch raises, with a kind that such a fault can
cause and naming a place that it concerns. What is not caught has to be harmless: every buffer that comes back equal.
"""

import random
from dataclasses import dataclass
from pathlib import Path

from qwen_vl_npu_ops import sim

ROOT = Path(__file__).parents[2]
PER_FAMILY = 6  # of each class in each kernel, when not everything runs
SYNCS = ("SetFlag", "WaitFlag", "PipeBarrier", "CrossCoreSetFlag", "CrossCoreWaitFlag", "SyncAll")
QUEUES = ("AllocTensor", "EnQue", "DeQue", "FreeTensor")
MOVES = ("DataCopy", "DataCopyPad", "LoadData", "Fixpipe")
TWO_SOURCES = ("Add", "Sub", "Mul", "Div", "Max", "MulAddDst", "Or", "Mmad")
COMPUTES = (
    *TWO_SOURCES,
    *("Adds", "Muls", "Axpy", "LeakyRelu", "Exp", "Cast", "Copy", "Gather", "Brcb", "Duplicate"),
    *("ShiftLeft", "ShiftRight"),
    *("WholeReduceSum", "BlockReduceMax", "BlockReduceSum"),
)
FAMILIES = [
    "sync dropped", "sync dropped on one core", "sync moved", "wrong event", "event out of range",
    "wrong pipe", "queue sync dropped",
    "queue misuse", "buffer shrunk", "stale read", "not executed", "address misaligned", "address shifted",
    "address far off", "count beyond the buffer", "limit exceeded",
]  # fmt: skip
SHOWN_ELSEWHERE = (
    "sync dropped on one core",
    "sync dropped", "sync moved", "wrong event", "wrong pipe", "queue sync dropped", "queue misuse", "buffer shrunk",
    "stale read",
)  # fmt: skip
ORDER = {"race", "event", "flag", "deadlock", "stale_read", "uninitialised", "queue"}
PLACE = {"alignment", "out_of_bounds", "uninitialised", "race", "overlap", "capacity", "limit"}


@dataclass(frozen=True)
class Plant:
    """One fault to plant, its class, and the kinds of error that may report it."""

    family: str
    fault: sim.Fault
    kinds: frozenset

    @property
    def site(self):
        return self.fault.site

    def reason(self, verdict):
        """Why it is right that this fault goes unreported, or None."""
        first_only = self.fault.nth == 0
        for reason in EQUIVALENT:
            kinds_match = reason.verdict == verdict and reason.family == self.family
            if kinds_match and (first_only or not reason.first_only) and reason.covers(self.site):
                return reason.why
        return None

    def __str__(self):
        f = self.fault
        extra = {
            k: v
            for k, v in (("nth", f.nth), ("core", f.core), ("operand", f.operand), ("amount", f.amount))
            if v is not None
        }
        where = f"{Path(self.site.file).parent.name}/{Path(self.site.file).name}:{self.site.line}"
        return f"{self.family}: {f.kind} {self.site.api} at {where} {extra or ''}".strip()


@dataclass(frozen=True)
class Equivalent:
    """Why a fault of a family, at some lines of a kernel, leaves a program that is right or at least legal."""

    why: str
    verdict: str
    family: str
    kernel: str  # the sample, "" for all
    lines: tuple  # texts that the site's line contains; "" is every line
    apis: tuple = ()
    first_only: bool = False  # only when planted in a core's first execution
    last_line: bool = False  # only at the last line of the file with this text

    def covers(self, site):
        if self.kernel not in ("", Path(site.file).parent.name) or (self.apis and api(site) not in self.apis):
            return False
        lines = source(site).read_text().splitlines()
        here = [text for text in self.lines if text in lines[site.line - 1]]
        return any(not self.last_line or not any(text in line for line in lines[site.line :]) for text in here)


LATER = "a flag that is set later only makes its waiter wait longer"
BESIDE = "it moves behind another synchronisation, or an access to other bytes"
NOTHING_AFTER = "nothing comes after it on its pipe"
SYNC_ALL = "SyncAll has ordered the same accesses before"
EVENT_BESIDE = "the event of the queue beside it, set after both accesses, orders this one too"
FIRST_USE = "the first use of a buffer has nothing to wait for"
SPARE = "one buffer fewer: the queue's other one carries the rest"
LEGAL = "a legal program that computes something else"
ANY_ELEMENT = "this operand may start at any element: a legal program that computes something else"
# The campaign has checked that results are equal (harmless) or that they are not (other program).
EQUIVALENT = [
    Equivalent(LATER, "harmless", "sync moved", "", ("",), ("SetFlag", "CrossCoreSetFlag")),
    Equivalent(BESIDE, "harmless", "sync moved", "axpy", ("V_MTE2>", "MTE3_MTE2>"), ("WaitFlag",)),
    Equivalent(BESIDE, "harmless", "sync moved", "matmul", ("FIX_M>", "MTE2_MTE1>"), ("WaitFlag",)),
    Equivalent(BESIDE, "harmless", "sync moved", "matmul", ("PipeBarrier<PIPE_M>",)),
    Equivalent(BESIDE, "harmless", "sync moved", "block_sum", ("MTE2_V>", "SyncAll()")),
    Equivalent(SYNC_ALL, "harmless", "sync moved", "block_sum", ("S_MTE3>",)),
    Equivalent(FIRST_USE, "harmless", "sync moved", "matmul", ("(slot_)", "+ slot_)"), ("WaitFlag",), first_only=True),
    Equivalent(NOTHING_AFTER, "harmless", "sync moved", "matmul", ("MTE2>(slot)", "+ slot)"), ("WaitFlag",)),
    Equivalent(NOTHING_AFTER, "harmless", "sync moved", "matmul_leaky_relu", ("WaitFlag(FREE)",), last_line=True),
    Equivalent(EVENT_BESIDE, "harmless", "queue sync dropped", "add", ("xQueue_.EnQue", "yQueue_.EnQue")),
    Equivalent(EVENT_BESIDE, "harmless", "queue sync dropped", "add", ("xQueue_.FreeTensor", "yQueue_.FreeTensor")),
    Equivalent(FIRST_USE, "harmless", "queue sync dropped", "", ("",), ("AllocTensor",), first_only=True),
    Equivalent(SPARE, "harmless", "queue misuse", "", ("",), ("FreeTensor",), first_only=True),
    Equivalent(LEGAL, "other program", "not executed", "add", ("zGm_[start], z",)),
    Equivalent(LEGAL, "other program", "not executed", "axpy", ("Axpy(y, x", "DataCopy(yGm[i]")),
    Equivalent(LEGAL, "other program", "not executed", "matmul", ("Fixpipe(cGm",)),
    Equivalent(
        LEGAL, "other program", "not executed", "matmul_leaky_relu", ("Fixpipe(work", "Relu(in", "DataCopyPad(")
    ),
    Equivalent(
        LEGAL, "other program", "not executed", "block_sum", ("Add(sum", "ReduceSum(sum", "partialGm_[", "totalsGm_")
    ),
    Equivalent(LEGAL, "other program", "address shifted", "block_sum", ("WholeReduceSum(sum", "partialGm_[")),
    Equivalent(ANY_ELEMENT, "other program", "address misaligned", "block_sum", ("WholeReduceSum(sum", "partialGm_[")),
]


def source(site):
    """The file of a site. What a build compiled is named as the compiler saw it, from a folder of the build's."""
    path = Path(site.file)
    return path if path.is_absolute() else ROOT / site.file[site.file.index("csrc/") :]


def source_line(site, offset=0):
    return source(site).read_text().splitlines()[site.line - 1 + offset]


def api(site):
    """The header function of a site, without template arguments."""
    return site.api.split("<")[0]


def plant(family, kinds, kind, site, **options):
    return Plant(family, sim.Fault(kind, site, **options), frozenset(kinds))


def plants(sites):
    """Every fault of every class that applies to these call sites."""
    for site in sites:
        name = api(site)
        if name in SYNCS:
            yield from synchronisation(site, name)
        elif name in QUEUES:
            yield from queue_operation(site)
        elif name == "InitBuffer":
            yield plant("buffer shrunk", PLACE | {"queue"}, "shrink", site, amount=32)
        elif name == "DataCacheCleanAndInvalid":
            yield plant("stale read", {"stale_read"}, "drop", site)
        elif name in MOVES + COMPUTES:
            yield from instruction(site, name)


def chosen(sites, name, full, sample=PER_FAMILY):
    """The faults to plant, by class: all of them, or `sample` that are the same in every run of kernel `name`."""
    families = {family: [] for family in FAMILIES}
    for planted in plants(sites):
        families[planted.family].append(planted)
    picks = []
    for family, all_of_it in families.items():
        picker = random.Random(f"{name} {family}")
        picks += all_of_it if full or len(all_of_it) <= sample else picker.sample(all_of_it, sample)
    return picks


def executions(site):
    """All of them, and the first, a middle and the last of one core."""
    yield {}
    if site.count > 1:
        yield {"nth": 0}


def synchronisation(site, name):
    for which in executions(site):
        yield plant("sync dropped", ORDER, "drop", site, **which)
        yield plant("sync moved", ORDER, "delay", site, **which)
    if name in ("SetFlag", "WaitFlag"):
        yield plant("wrong event", ORDER, "event", site, amount=1)
        yield plant("event out of range", {"event", "limit"}, "event", site, amount=8)
    if name.startswith("CrossCore"):
        yield plant("wrong event", ORDER, "event", site, amount=1)
        yield plant("event out of range", {"flag", "limit"}, "event", site, amount=16)
    if name.startswith("CrossCore") or name == "SyncAll":
        for core in ("aic0", "aiv0", "aiv1"):
            yield plant("sync dropped on one core", ORDER, "drop", site, core=core)
    if name == "CrossCoreSetFlag":
        yield plant("wrong pipe", ORDER, "pipe", site, amount="S")


def queue_operation(site):
    for which in executions(site):
        yield plant("queue sync dropped", ORDER, "drop", site, **which)
        yield plant("queue misuse", ORDER | {"queue"}, "skip_queue", site, **which)


def instruction(site, name):
    yield plant("not executed", ORDER, "drop", site)
    operands = ["dst"] if name == "Duplicate" else ["dst", "src0", *(["src1"] if name in TWO_SOURCES else [])]
    for operand in operands:
        for family, amount in (("address misaligned", 4), ("address shifted", 32), ("address far off", 1 << 20)):
            yield plant(family, PLACE, "shift", site, operand=operand, amount=amount)
    if name in ("Add", "Axpy", "LeakyRelu", "Cast", "Duplicate"):
        yield plant("count beyond the buffer", PLACE, "count", site, amount=100000)
    limits = {"Mmad": [("m", 4096), ("n", 4096), ("k", 4096)], "Fixpipe": [("n", 4096)]}
    for operand, amount in limits.get(name, []):
        yield plant("limit exceeded", {"limit"}, "count", site, operand=operand, amount=amount)
    if name == "WholeReduceSum":
        yield plant("limit exceeded", {"limit"}, "mask", site, amount=1)
        yield plant("limit exceeded", {"limit"}, "repeat", site, amount=255)


def pipes_of(site):
    """The pipes that a synchronisation orders: of SetFlag<MTE2_V>, MTE2 and V; none known: every pipe."""
    argument = site.api.partition("<")[2].rstrip(">")
    names = {"FIX" if p == "FIXP" else p for p in argument.replace("PIPE_", "").split("_")}
    return names & {"S", "V", "M", "MTE1", "MTE2", "MTE3", "FIX"}


def places(error):
    """Every (file name, line) that an error names."""
    found = [(error.file, error.line)]
    for party in [error.other or {}, *(getattr(error, "waiting", None) or [])]:
        found.append((party.get("file"), party.get("line")))
    return {(Path(file).resolve(), line) for file, line in found if file}


def parties(error):
    return {p for p in (error.pipe, (error.other or {}).get("pipe")) if p}


def is_right(planted, error):
    """Whether the report is of this fault: a kind it can cause, and its place.

    That is the site itself, but for faults that show elsewhere by nature: a missing synchronisation where the two
    accesses meet that it ordered, which are on its pipes; an unpaired event at the other half of the pair; missing or
    misplaced bytes where they are used. Those places are in the source of the same kernel.
    """
    site = planted.site
    named = places(error)
    if error.kind not in planted.kinds or not named:
        return False
    if (Path(site.file).resolve(), site.line) in named:
        return True
    if not {file.parents[1] for file, _ in named} <= {Path(site.file).resolve().parents[1]}:
        return False
    if api(site) in SYNCS and pipes_of(site):
        if error.kind in ("event", "deadlock", "flag"):
            return bool(pipes_of(site) & (pipes_named(error.message) | parties(error)))
        return bool(parties(error) & pipes_of(site))
    if planted.family in ("not executed", "address shifted", "address far off"):
        return error.kind in ("uninitialised", "race", "deadlock", "event", "flag")
    return planted.family in SHOWN_ELSEWHERE and error.kind != "limit"


def pipes_named(message):
    words = message.replace("<", " ").replace(">", " ").replace("_", " ").replace("PIPE", "").split()
    return {"FIX" if w == "FIXP" else w for w in words} & {"S", "V", "M", "MTE1", "MTE2", "MTE3", "FIX"}
