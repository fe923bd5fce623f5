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
NO_RESCALE = "the first block of keys has nothing to rescale"
ONES = "all numbers there are ones, and there are more of them than rows"
ONE_TASK = "a core has one task in this case, which has nothing to wait for"
ONE_BURST = "a core's bias, and its weights, are a single burst, which needs a buffer once"
OTHERS_ORDER = "other waits order the same uses in this small case"
SPARE = "one buffer fewer: the queue's other one carries the rest"
UNREAD = "the copy only brings weights into L2, nobody reads what arrives in UB"
ONE_NAN = "a row with one NaN is NaN in every column, and the rows beside it here are missing too"
UNUSED = "this small case leaves the end of the buffer unused"


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
    moved("window_attention", "CrossCoreWaitFlag(ATTENTION_WEIGHTS_READY);", BEFORE_ITS_USE, "AcquireResult(rows)"),
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
    dropped("window_attention", BARRIER, ANOTHER_BARRIER, "Mul(rest, rest, sums, count)"),
    Harmless(
        "address shifted",
        "window_attention",
        "At<float>(AttentionUb::SMALL), 0.0f",
        "a reduction writes the first block before anything reads it",
    ),
    Harmless(
        "count beyond the buffer",
        "window_attention",
        "Duplicate(x[pitch - ATTENTION_LANES]",
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
    moved(ROTATE, "Finish() { AscendC::WaitFlag<AscendC::HardEvent::V_MTE2>(TABLES)", ONLY_WAITS),
    moved(ROTATE, BARRIER, ANOTHER_BARRIER, "Muls(minusSin_"),
    dropped(ROTATE, BARRIER, ANOTHER_BARRIER, "Muls(minusSin_"),
    moved(ROTATE, BARRIER, ANOTHER_BARRIER, "vector.ReleaseOut();"),
    dropped(ROTATE, BARRIER, ANOTHER_BARRIER, "vector.ReleaseOut();"),
    moved(ROTATE, BARRIER, BEFORE_ITS_USE, "MulAddDst(to[half_]"),
]

PATCH_EMBED = [
    moved("patch_embed", "WaitFlag<AscendC::HardEvent::MTE1_MTE2>(slot);", ONLY_WAITS, "slot < SLOTS"),
    moved("patch_embed", "WaitFlag<AscendC::HardEvent::M_MTE1>(WEIGHT_FREE + slot);", ONLY_WAITS),
    moved("patch_embed", "WaitFlag<AscendC::HardEvent::FIX_M>(slot);", ONLY_WAITS),
    moved("patch_embed", "WaitFlag<AscendC::HardEvent::M_MTE1>(ROWS_FREE + slot);", ONLY_WAITS),
    moved("patch_embed", "WaitFlag<AscendC::HardEvent::M_MTE2>(TABLE_FREE);", ONLY_WAITS, "ROWS_FREE + slot"),
    moved("patch_embed", "WaitFlag<AscendC::HardEvent::MTE1_MTE2>(GROUP_FREE);", ONLY_WAITS, "ROWS_FREE + slot"),
    moved("patch_embed", "WaitFlag<AscendC::HardEvent::M_MTE2>(TABLE_FREE);", ONE_TASK, "if (hasTable_) {"),
    moved("patch_embed", "WaitFlag<AscendC::HardEvent::MTE1_MTE2>(GROUP_FREE);", ONE_TASK, "tiling_.resident"),
    moved(
        "patch_embed", "WaitFlag<AscendC::HardEvent::MTE1_MTE2>(slot);", BEFORE_ITS_USE, "bias1_.Get<float>(), biasGm_"
    ),
    moved("patch_embed", "WaitFlag<AscendC::HardEvent::FIX_M>(tile.half);", BEFORE_ITS_USE),
    moved("patch_embed", "WaitFlag<AscendC::HardEvent::M_MTE1>(ROWS_FREE + rowSlot_);", OTHERS_ORDER),
    moved("patch_embed", "WaitFlag<AscendC::HardEvent::M_MTE1>(WEIGHT_FREE + h);", OTHERS_ORDER),
    moved("patch_embed", "PipeBarrier<PIPE_M>();", BEFORE_ITS_USE),
    moved("patch_embed", BARRIER, "the strip's first Cast does not touch what was filled in", first_only=True),
    Harmless(
        "queue sync dropped",
        "patch_embed",
        "in = inQueue_.template AllocTensor<T>();",
        ONE_BURST,
        "while (column < end)",
    ),
    Harmless("queue sync dropped", "patch_embed", "out = outQueue_.template AllocTensor<float>();", ONE_BURST),
    Harmless("queue sync dropped", "patch_embed", "outQueue_.template AllocTensor<T>();", FREE, "DeQue<P>()", True),
    Harmless("queue misuse", "patch_embed", "inQueue_.FreeTensor(in);", ONE_BURST, "if constexpr (!IS_FLOAT)"),
    Harmless("queue misuse", "patch_embed", "outQueue_.FreeTensor(out);", ONE_BURST, "wideBiasGm_"),
    Harmless("queue misuse", "patch_embed", "inQueue_.FreeTensor(in);", SPARE, "STRIP, params);", True),
    Harmless("queue misuse", "patch_embed", "outQueue_.FreeTensor(out);", SPARE, "DataCopy(dst, out", first_only=True),
    Harmless(
        "queue sync dropped", "patch_embed", "in = inQueue_.template AllocTensor<T>();", ONE_BURST, "while (at < end)"
    ),
    Harmless("queue misuse", "patch_embed", "inQueue_.FreeTensor(in);  // nobody", ONE_BURST),
    Harmless("address shifted", "patch_embed", "weightGm_[at]", UNREAD),
    Harmless("not executed", "patch_embed", "weightGm_[at]", UNREAD),
    Harmless("address shifted", "patch_embed", "AscendC::Duplicate(in[i * pitch]", ONE_NAN),
    Harmless("buffer shrunk", "patch_embed", "InitBuffer(inQueue_", UNUSED),
    Harmless("buffer shrunk", "patch_embed", "InitBuffer(rows1_", UNUSED),
    Harmless("buffer shrunk", "patch_embed", "InitBuffer(biasTable_", UNUSED),
    Harmless("buffer shrunk", "patch_embed", "InitBuffer(rows2_", UNUSED),
    Harmless("buffer shrunk", "patch_embed", "InitBuffer(weight2_", UNUSED),
    Harmless("buffer shrunk", "patch_embed", "InitBuffer(result_", UNUSED),
]

HARMLESS = [*ROTARY_QKV, *WINDOW_ATTENTION, *ROTARY_WINDOW_ATTENTION, *PATCH_EMBED]
