"""Doctor's look at the NPU. Each operator runs in a process of its own, which may hang, crash or take the device along.

``python -m qwen_vl_npu_ops.commands.npu_check JOB OPERATOR FILE`` is such a process; it writes its findings to FILE.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .. import npu, ops
from .._calls import as_tuple
from . import failing_as
from .checks import TOKENS, Check, cases, check

#: Seconds for one operator: compiling and first launches included, but no hang mistaken for them.
TIME_LIMIT = 300.0
# fp32 attention is composed of torch's operators on every device.
DTYPES = {
    op: (torch.float16, torch.bfloat16) if "attention" in op else (torch.float32, torch.float16, torch.bfloat16)
    for op in npu.OPERATORS
}


@dataclasses.dataclass(frozen=True)
class NpuReport:
    """What doctor found out about the NPU of this machine."""

    chip: str
    cann: str
    driver: str
    virtual: bool  # the virtual NPU of this package, not silicon
    kernels_built: bool
    mode: str  # QWEN_VL_NPU_OPS_KERNELS
    live: str  # kernels, or composition
    reason: str
    record: str | None  # the file that the verdict is kept in
    checks: list[Check]
    graphs: dict[str, str]  # operator: ok, or why it cannot be captured; capture is reported, not required


def missing_npu() -> str | None:
    """Why there is no NPU here; None where there is one."""
    if importlib.util.find_spec("torch_npu") is None:
        return "torch_npu is not installed"
    try:
        importlib.import_module("torch_npu")
    except (ImportError, OSError, RuntimeError) as error:
        return f"torch_npu cannot be imported: {error}"
    return None if torch.get_device_module("npu").is_available() else "torch_npu finds no NPU"


def examine(time_limit: float) -> NpuReport:
    """Check every operator's kernel, keep the verdict, and say what is live from now on."""
    where = npu.platform()
    able = npu.kernels_built() and where.chip in npu.supported_chips()
    checks = _check_all(time_limit) if able else []
    record = None
    if checks and all(row.passed for row in checks):
        record = str(npu.save_record(where)) if where.known else None
    else:
        npu.drop_record(where)
    graphs = {op: _captured(op, time_limit) for op in npu.OPERATORS} if record else {}
    with failing_as(npu.KERNELS, ValueError, RuntimeError):
        mode, live = npu.kernels_mode(), npu.status()
    return NpuReport(
        chip=where.chip,
        cann=where.cann,
        driver=npu.driver_version(),
        virtual=where.virtual,
        kernels_built=npu.kernels_built(),
        mode=mode,
        live="kernels" if live.kernels else "composition",
        reason=live.reason,
        record=record,
        checks=checks,
        graphs=graphs,
    )


def _run(job: str, op: str, time_limit: float) -> Any:
    """What the process found, or a str that says how it ended without."""
    with tempfile.TemporaryDirectory() as folder:
        result, log = Path(folder) / "result.json", Path(folder) / "log"
        command = [sys.executable, "-m", __name__, job, op, str(result)]
        environment = {**os.environ, npu.KERNELS: "on"}
        with log.open("w") as output:
            process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
            try:
                code = process.wait(time_limit)
            except subprocess.TimeoutExpired:
                _end(process)
                return f"no answer within {time_limit:g} s: the kernel hangs"
        if result.exists():
            return json.loads(result.read_text())
        last = log.read_text(errors="replace").strip().splitlines()[-1:]
        return " ".join([f"the process ended with code {code}:", *last])


def _end(process: subprocess.Popen[Any]) -> None:
    process.kill()
    with contextlib.suppress(subprocess.TimeoutExpired):  # stuck in the driver, where no signal reaches it
        process.wait(10)


def _check_all(time_limit: float) -> list[Check]:
    checks: list[Check] = []
    for op in npu.OPERATORS:
        found = _run("check", op, time_limit)
        if isinstance(found, str):
            # The device may be stuck, and what comes after it would say nothing about its own kernel.
            return [
                *checks,
                Check(op, "all", "all", False, None, None, f"{found}; the operators after it were not run"),
            ]
        checks += [Check(**row) for row in found]
    return checks


def _captured(op: str, time_limit: float) -> str:
    return str(_run("capture", op, time_limit))


def check_kernel(op: str) -> list[Check]:
    """Every case of the operator on the NPU."""
    return [check(case, dtype, "npu") for case in cases() if case.op == op for dtype in DTYPES[op]]


def capture_kernel(op: str) -> str:
    """Capture one call, change what its arguments hold, replay; "ok" where that gives the new result."""
    graphs = torch.get_device_module("npu")
    case = next(case for case in cases() if case.op == op)
    tensors = {name: value.to("npu") for name, value in case.tensors(torch.bfloat16).items()}
    run = getattr(ops, op)

    def call() -> Sequence[Tensor]:
        return as_tuple(run(**tensors, **case.options))

    call()  # whatever happens once has happened
    graphs.synchronize()
    graph = graphs.NPUGraph()
    with graphs.graph(graph):
        captured = call()
    for name, value in tensors.items():
        held = value.cpu()
        value.copy_(held.clamp(max=TOKENS // 2) if name == "cu_seqlens" else held.flip(0).contiguous())
    graph.replay()
    graphs.synchronize()
    expected = call()
    same = all(torch.equal(a.cpu(), b.cpu()) for a, b in zip(captured, expected, strict=True))
    return "ok" if same else "a replay does not see what its arguments hold now"


def main(job: str, op: str, result: str) -> None:
    """Run one job and write its findings."""
    if npu.is_virtual():
        from .. import virtual_npu

        virtual_npu.activate()
    found: Any
    if job == "check":
        found = [dataclasses.asdict(row) for row in check_kernel(op)]
    else:
        try:
            found = capture_kernel(op)
        except Exception as error:  # whatever capture does not like is the finding
            found = f"{type(error).__name__}: {error}"
    Path(result).write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
