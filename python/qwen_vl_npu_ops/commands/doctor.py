"""`qwen-vl-npu-ops doctor`: what runs here, and whether its numbers are right."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from .. import _cpu_linear, npu, ops
from . import CommandError, failing_as, live_isa
from .checks import Check, cases, check
from .machine import machine, versions
from .npu_check import TIME_LIMIT, NpuReport, examine, missing_npu

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
OPERATORS = (*npu.OPERATORS, "linear", "rms_norm", "add_rms_norm", "silu_and_mul")


@dataclasses.dataclass(frozen=True)
class Report:
    """What the command prints, as plain data."""

    packages: dict[str, str | None]  # None: not installed
    machine: dict[str, str | int]
    kernels: dict[str, Any]
    checks: list[Check]
    npu: NpuReport | None  # None: there is none, and missing_npu says why
    missing_npu: str | None

    @property
    def passed(self) -> bool:
        """Whether every operator is within its bound."""
        return all(row.passed for row in [*self.checks, *(self.npu.checks if self.npu else [])])

    def as_json(self) -> str:
        """The report as a JSON object, with "passed" beside the fields."""
        return json.dumps({"passed": self.passed, **dataclasses.asdict(self)}, indent=2, allow_nan=False)


def diagnose(time_limit: float = TIME_LIMIT) -> Report:
    """Look at the machine and run every check: a few seconds, on an NPU at most `time_limit` for each operator."""
    with failing_as(npu.KERNELS, ValueError):
        npu.kernels_mode()
    kernels = _kernels()
    checks = [check(case, dtype) for case in cases() for dtype in DTYPES]
    missing = missing_npu()
    return Report(versions(), machine(), kernels, checks, None if missing else examine(time_limit), missing)


def run_on_virtual_npu(chip: str, arguments: Sequence[str]) -> int:
    """Run doctor again in a process that sees the virtual NPU; returns its exit code."""
    from .. import virtual_npu

    try:
        environment = virtual_npu.environment(chip)
    except (virtual_npu.VirtualNpuError, ValueError) as error:
        raise CommandError(f"virtual NPU: {error}") from error
    script = "import sys; from qwen_vl_npu_ops.cli import app; sys.argv[0] = 'qwen-vl-npu-ops'; app()"
    command = [sys.executable, "-m", "qwen_vl_npu_ops.virtual_npu", "-c", script, "doctor", *arguments]
    return subprocess.run(command, env=environment, check=False).returncode


def print_report(report: Report, console: Console) -> None:
    """The report for people."""
    lines = [f"{name}: {version or 'not installed'}" for name, version in report.packages.items()]
    lines += [f"{name}: {value}" for name, value in report.machine.items()]
    lines += [f"{name.replace('_', ' ')}: {_in_words(value)}" for name, value in report.kernels.items()]
    console.print(*lines, sep="\n", highlight=False, soft_wrap=True)
    for op in OPERATORS:
        console.print(_check_table(op, [row for row in report.checks if row.op == op]))
    everything = [*report.checks]
    if report.npu is None:
        console.print(f"NPU: none ({report.missing_npu})", highlight=False, soft_wrap=True, markup=False)
    else:
        everything += report.npu.checks
        _print_npu(report.npu, console)
    failed = [row for row in everything if not row.passed]
    for row in failed:
        console.print(f"{row.op}, {row.case}, {row.dtype}: {row.detail}", highlight=False, soft_wrap=True, markup=False)
    total = len(everything)
    if failed:
        console.print(f"[bold red]{len(failed)} of {total} checks failed[/]: do not trust this back end here")
    else:
        console.print(f"[green]all {total} checks passed[/]")


def _print_npu(found: NpuReport, console: Console) -> None:
    if found.virtual:
        lines = ["NPU: the virtual NPU of this package: kernels run on the simulator, not on silicon"]
    else:
        lines = ["NPU:"]
    lines += [f"chip: {found.chip}", f"CANN: {found.cann}", f"driver: {found.driver}"]
    lines += [f"kernels built in: {_in_words(found.kernels_built)}", f"{npu.KERNELS}: {found.mode}"]
    lines += [f"captured in a graph: {op}: {verdict}" for op, verdict in found.graphs.items()]
    if found.record:
        lines.append(f"verdict kept in: {found.record}")
    lines.append(f"live on NPU tensors: {found.live} ({found.reason})")
    console.print(*lines, sep="\n", highlight=False, soft_wrap=True, markup=False)
    for op in OPERATORS:
        rows = [row for row in found.checks if row.op == op]
        if rows:
            console.print(_check_table(f"{op} on the NPU", rows))


def _check_table(op: str, rows: Sequence[Check]) -> Table:
    table = Table(title=op, title_justify="left")
    for column in ("case", "dtype"):
        table.add_column(column, no_wrap=True)
    for column in ("error", "bound", ""):
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        verdict = "[green]pass[/]" if row.passed else "[bold red]FAIL[/]"
        table.add_row(row.case, row.dtype, _number(row.error), _number(row.bound), verdict)
    return table


def _kernels() -> dict[str, Any]:
    return {
        "back_end": "cpu",
        "instruction_set": live_isa(),
        "available_instruction_sets": ops.available_cpu_isas(),
        "linear_layers_on_ours": _own_linear(),
        "npu_kernels_built_in": npu.kernels_built(),
    }


def _own_linear() -> list[str]:
    """The dtypes whose linear layers run on `ops.linear`, and not on torch's."""
    with failing_as(_cpu_linear.VARIABLE, ValueError):
        return [str(dtype).removeprefix("torch.") for dtype in DTYPES if _cpu_linear.preferred(dtype)]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2e}"


def _in_words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return (", ".join(value) or "none") if isinstance(value, list) else str(value)
