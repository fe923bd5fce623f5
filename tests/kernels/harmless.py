"""The faults in the operators' kernels that nothing notices, place by place, each with the reason why it does no harm.

A row is for one class of fault at one line, found by its text so that it moves with the code; `test_kernel_faults.py`
checks that the line is the only one, and `pytest --full` that the row is still needed.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sim.faults import LATER, ROOT, Plant, api, source

BEFORE = 3  # lines in which to find what a line comes after


@dataclass(frozen=True)
class Harmless:
    """Faults of a family at the line of an operator's kernel that contains `line`, shortly after one with `after`."""

    family: str
    op: str
    line: str
    why: str
    after: str = ""
    first_only: bool = False  # only in a core's first execution
    operand: str | None = None

    def places(self) -> list[tuple[Path, int]]:
        """The files and lines that this describes; it should be one."""
        return [where for where, before, here in lines_of(self.op) if self.line in here and self.after in before]

    def covers(self, planted: Plant) -> bool:
        fault = planted.fault
        return (
            self.family == planted.family
            and (fault.nth == 0 or not self.first_only)
            and self.operand in (None, fault.operand)
            and (source(fault.site).resolve(), fault.site.line) in self.places()
        )


@cache
def lines_of(op: str) -> list[tuple[tuple[Path, int], str, str]]:
    """Every line of an operator's device code: its place, the lines before it, and itself."""
    files = sorted((ROOT / "csrc/ops" / op).glob("*.h"))
    return [
        ((file, number + 1), "\n".join(lines[max(number - BEFORE, 0) : number]), lines[number])
        for file in files
        for lines in [file.read_text().splitlines()]
        for number in range(len(lines))
    ]


def reason(planted: Plant) -> Harmless | str | None:
    """Why it is right that nothing notices a fault: a row of `HARMLESS`, or what is so everywhere; None if neither."""
    if planted.family == "sync moved" and api(planted.site) in ("SetFlag", "CrossCoreSetFlag"):
        return LATER
    return next((row for row in HARMLESS if row.covers(planted)), None)


ONLY_WAITS = "only waits come after it on its pipe"
FREE = "nothing has used this slot before"
BEFORE_ITS_USE = "it moves behind another event of its pipe, and stays before the use that it guards"
ANOTHER_BARRIER = "another barrier stands before the next use"
OTHER_BYTES = "the instruction that it moves behind touches other bytes"
NO_RESCALE = "the first block of keys has nothing to rescale"
ONES = "all numbers there are ones, and there are more of them than rows"
NO_HAZARD = "it only holds the vector cores back: no bytes of the workspace are used again"
IN_ORDER = "the simulated pipe writes in order; CANN wants the barrier between copies out to the same addresses"
SPARE = "one buffer fewer: the queue's other one carries the rest"
UNREAD = "the copy only brings weights into L2, nobody reads what arrives in UB"
UNUSED = "these small cases leave the end of the buffer unused"
HIDDEN = "a gap of the simulator: the instruction that writes these bytes reads them too, which hides the earlier read"


def moved(op: str, line: str, why: str, after: str = "", first_only: bool = False) -> Harmless:
    return Harmless("sync moved", op, line, why, after, first_only)


def dropped(op: str, line: str, why: str, after: str = "", first_only: bool = False) -> Harmless:
    return Harmless("sync dropped", op, line, why, after, first_only)


ROTARY_QKV = [
    moved("rotary_qkv", "WaitFlag<AscendC::HardEvent::MTE3_MTE2>(slot);", FREE, first_only=True),
    moved("rotary_qkv", "WaitFlag<AscendC::HardEvent::V_MTE2>(slot);", FREE, first_only=True),
    moved("rotary_qkv", "WaitFlag<AscendC::HardEvent::MTE3_V>(slot_);", "a pass begins in scratch, not in the slot"),
    moved("rotary_qkv", "WaitFlag<AscendC::HardEvent::MTE3_V>(slot);", ONLY_WAITS),
]

BARRIER = "AscendC::PipeBarrier<PIPE_V>();"

WINDOW_ATTENTION = [
    # The cube core.
    moved("window_attention", "WaitFlag<AscendC::HardEvent::MTE1_MTE2>(EventOf(filled_));", FREE, first_only=True),
    moved("window_attention", "WaitFlag<AscendC::HardEvent::MTE2_MTE1>(", BEFORE_ITS_USE),
    moved("window_attention", "M_MTE1>(L0_FREE + static_cast<int32_t>(l0_));", FREE, "uint32_t keys) {", True),
    moved("window_attention", "FIX_M>(slot);", BEFORE_ITS_USE, "mmad.k = width_"),
    moved("window_attention", "WaitFlag<AscendC::HardEvent::FIX_M>(RESULT + static_cast", BEFORE_ITS_USE),
    moved("window_attention", "CrossCoreWaitFlag(ATTENTION_WEIGHTS_READY);", BEFORE_ITS_USE, "ValuesShort("),
    moved("window_attention", "if (isFirst) AscendC::CrossCoreWaitFlag(ATTENTION_WEIGHTS_READY);", BEFORE_ITS_USE),
    moved("window_attention", "CrossCoreWaitFlag(ATTENTION_ROTATED);", BEFORE_ITS_USE),
    moved("window_attention", "WaitFlag<AscendC::HardEvent::MTE1_MTE2>(slot);", ONLY_WAITS),
    moved("window_attention", "WaitFlag<AscendC::HardEvent::M_MTE1>(L0_FREE + slot);", ONLY_WAITS),
    moved("window_attention", "WaitFlag<AscendC::HardEvent::FIX_M>(slot);", ONLY_WAITS, "slot < 4"),
    # The vector cores.
    moved("window_attention", "WaitFlag<AscendC::HardEvent::V_MTE2>(static_cast", FREE, first_only=True),
    moved("window_attention", "WaitFlag<AscendC::HardEvent::MTE3_V>(static_cast", FREE, first_only=True),
    moved("window_attention", "CrossCoreWaitFlag(ATTENTION_SCORES_READY);", BEFORE_ITS_USE),
    moved("window_attention", "CrossCoreWaitFlag(ATTENTION_RESULT_READY);", BEFORE_ITS_USE),
    moved("window_attention", "WaitFlag<AscendC::HardEvent::V_MTE2>(slot);", ONLY_WAITS),
    moved("window_attention", "WaitFlag<AscendC::HardEvent::MTE3_V>(slot);", ONLY_WAITS, "V_MTE2>(slot);"),
    moved("window_attention", BARRIER, ANOTHER_BARRIER, "AttentionUb::NO_MAXIMA)"),
    dropped("window_attention", BARRIER, ANOTHER_BARRIER, "AttentionUb::NO_MAXIMA)"),
    moved("window_attention", BARRIER, OTHER_BYTES, "AttentionUb::SMALL), 0.0f"),
    moved("window_attention", BARRIER, ANOTHER_BARRIER, "Mul(rest, rest, sums, count)"),
    dropped("window_attention", BARRIER, ANOTHER_BARRIER, "Mul(rest, rest, sums, count)"),
    moved("window_attention", BARRIER, ANOTHER_BARRIER, "ReleaseOut();"),
    dropped("window_attention", BARRIER, ANOTHER_BARRIER, "ReleaseOut();"),
    Harmless(
        "address shifted",
        "window_attention",
        "At<float>(AttentionUb::SMALL), 0.0f",
        "a reduction writes the first block before anything reads it",
    ),
    Harmless(
        "count beyond the buffer",
        "window_attention",
        "Duplicate(x[at].ReinterpretCast<int32_t>()",
        "the instruction takes a mask of bits and has no count",
    ),
    moved("window_attention", "if (IsWide(rows)) AscendC::WaitFlag<AscendC::HardEvent::FIX_M>", BEFORE_ITS_USE),
    moved("window_attention", "if (!isLast && tiles < 10", BEFORE_ITS_USE),
    moved("window_attention", BARRIER, NO_RESCALE, "Exp(factors", True),
    dropped("window_attention", BARRIER, NO_RESCALE, "Exp(factors", True),
    moved("window_attention", BARRIER, ANOTHER_BARRIER, "- step.subs), factors, rows);"),
    dropped("window_attention", BARRIER, ANOTHER_BARRIER, "- step.subs), factors, rows);"),
    moved("window_attention", BARRIER, ANOTHER_BARRIER, "Add(summed, summed"),
    dropped("window_attention", BARRIER, ANOTHER_BARRIER, "Add(summed, summed"),
    Harmless(
        "buffer shrunk",
        "window_attention",
        "InitBuffer(buffer_, AttentionUb::ALL)",
        "the kernel takes all of UB, and its last bytes are for no one",
    ),
    Harmless("address shifted", "window_attention", "Div(rest, At", ONES, operand="src0"),
    Harmless("address shifted", "window_attention", "Div(sums, At", ONES, operand="src0"),
]

ROTATE = "rotary_window_attention"
ROTARY_WINDOW_ATTENTION = [
    moved(ROTATE, "SyncAll<false>();", "it moves behind events of the core's own buffers", "ProcessCube() {"),
    moved(ROTATE, "SyncAll<false>();", "it moves behind events of the core's own buffers", "rotary.Process("),
    moved(ROTATE, BARRIER, BEFORE_ITS_USE, "Add(results_, results_, numbers_"),
    moved(ROTATE, BARRIER, HIDDEN, "MultiplyPartners(results_"),
    dropped(ROTATE, BARRIER, HIDDEN, "MultiplyPartners(results_"),
]

# Text of the line, and of one before it.
FIRST_ALLOCATIONS = [
    ("in = inQueue_.template AllocTensor<T>();", "while (column < end)"),
    ("out = outQueue_.template AllocTensor<float>();", ""),
    ("in = inQueue_.template AllocTensor<T>();", "void PlaceBias("),
    ("out = outQueue_.template AllocTensor<T>();", "DeQue<T>();"),
]
FIRST_FREED = [
    ("inQueue_.FreeTensor(in);", "if constexpr (!IS_FLOAT)"),
    ("outQueue_.FreeTensor(out);", "wideBiasGm_"),
    ("inQueue_.FreeTensor(in);  // nobody", ""),
    ("inQueue_.FreeTensor(in);", "DataCopy(out, in, AscendC::AlignUp(columns"),
    ("outQueue_.FreeTensor(out);", "Burst(columns * sizeof(T)));\n      }"),
    ("inQueue_.FreeTensor(in);", "rows, params);"),
    ("outQueue_.FreeTensor(out);", "DataCopy(dst, out"),
]

PATCH_EMBED = [
    moved("patch_embed", "WaitFlag<AscendC::HardEvent::MTE1_MTE2>(slot);", ONLY_WAITS, "slot < SLOTS"),
    moved("patch_embed", "WaitFlag<AscendC::HardEvent::M_MTE1>(WEIGHT_FREE + slot);", ONLY_WAITS),
    moved("patch_embed", "WaitFlag<AscendC::HardEvent::FIX_M>(slot);", ONLY_WAITS),
    moved("patch_embed", "WaitFlag<AscendC::HardEvent::M_MTE1>(ROWS_FREE + slot);", ONLY_WAITS),
    moved("patch_embed", "WaitFlag<AscendC::HardEvent::M_MTE2>(TABLE_FREE);", ONLY_WAITS, "ROWS_FREE + slot"),
    moved("patch_embed", "WaitFlag<AscendC::HardEvent::MTE1_MTE2>(GROUP_FREE);", ONLY_WAITS, "ROWS_FREE + slot"),
    moved("patch_embed", "WaitFlag<AscendC::HardEvent::M_MTE2>(TABLE_FREE);", BEFORE_ITS_USE, "if (hasTable_) {"),
    moved("patch_embed", "WaitFlag<AscendC::HardEvent::MTE1_MTE2>(GROUP_FREE);", FREE, "tiling_.resident", True),
    moved(
        "patch_embed", "WaitFlag<AscendC::HardEvent::MTE1_MTE2>(slot);", BEFORE_ITS_USE, "bias1_.Get<float>(), biasGm_"
    ),
    moved("patch_embed", "WaitFlag<AscendC::HardEvent::FIX_M>(tile.half);", BEFORE_ITS_USE),
    moved("patch_embed", "WaitFlag<AscendC::HardEvent::M_MTE1>(ROWS_FREE + rowSlot_);", FREE, first_only=True),
    moved("patch_embed", "WaitFlag<AscendC::HardEvent::M_MTE1>(WEIGHT_FREE + h);", FREE, first_only=True),
    moved("patch_embed", "PipeBarrier<PIPE_M>();", BEFORE_ITS_USE),
    moved("patch_embed", "PipeBarrier<PIPE_FIX>();", IN_ORDER),
    dropped("patch_embed", "PipeBarrier<PIPE_FIX>();", IN_ORDER),
    moved("patch_embed", "CrossCoreWaitFlag(PATCH_EMBED_NEXT);", NO_HAZARD),
    *(Harmless("queue sync dropped", "patch_embed", line, FREE, after, True) for line, after in FIRST_ALLOCATIONS),
    *(Harmless("queue misuse", "patch_embed", line, SPARE, after, True) for line, after in FIRST_FREED),
    Harmless("not executed", "patch_embed", "weightGm_[at]", UNREAD),
    Harmless("buffer shrunk", "patch_embed", "InitBuffer(biasTable_", UNUSED),
    Harmless("buffer shrunk", "patch_embed", "InitBuffer(rows2_", UNUSED),
    Harmless("buffer shrunk", "patch_embed", "InitBuffer(weight2_", UNUSED),
    Harmless("buffer shrunk", "patch_embed", "InitBuffer(result_", UNUSED),
]

HARMLESS = [*ROTARY_QKV, *WINDOW_ATTENTION, *ROTARY_WINDOW_ATTENTION, *PATCH_EMBED]
