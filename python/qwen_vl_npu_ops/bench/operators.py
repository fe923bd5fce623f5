"""`bench ops`: each operator at the 7B tower's sizes, beside what else computes the same on the device."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .. import _composition, ops, reference
from .._calls import as_tuple, in_fp64
from ..config import VisionConfig
from ..plan import VisionPlan
from . import peers, work
from .cases import Batch
from .record import Work

#: Those with kernels, and those with CPU code alone.
KERNELS = ("rotary_qkv", "window_attention", "rotary_window_attention", "patch_embed")
CPU_ONLY = ("linear", "rms_norm", "add_rms_norm", "silu_and_mul")
OPERATORS = KERNELS + CPU_ONLY
SIZES = VisionConfig.of("7b")

Results = tuple[Tensor, ...]


@dataclasses.dataclass(frozen=True)
class Case:
    """One call of an operator, on the host's memory."""

    op: str
    variant: str  # "windows" or "full", a linear layer's name, or nothing
    batch: Batch
    dtype: torch.dtype
    tensors: dict[str, Tensor]
    options: dict[str, Any]
    work: Work

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.op}, {self.variant}" if self.variant else self.op

    def run(self) -> Results:
        """Our operator."""
        return as_tuple(getattr(ops, self.op)(**self.tensors, **self.options))

    def composition(self) -> Results:
        """Torch's own, as `reference` has it: the tensors' dtype decides in what it computes."""
        return as_tuple(getattr(reference, self.op)(**self.tensors, **self.options))

    def to(self, device: str) -> Case:
        """The same call, on copies."""
        return dataclasses.replace(self, tensors={name: value.to(device) for name, value in self.tensors.items()})

    def double(self) -> Case:
        """The same call in fp64, which is what errors are measured against; `composition` can run it."""
        return dataclasses.replace(self, tensors=in_fp64(self.tensors))


def cases(batch: Batch, dtype: torch.dtype, windows: int | None, wanted: Sequence[str]) -> list[Case]:
    """The wanted operators on a batch; attention in windows and, once more, over whole frames.

    Args:
        windows: lengths of windows in tokens; None means those of the tower's plan.
    """
    plan = VisionPlan.build(batch.grids, SIZES)
    ends = plan.cu_seqlens_window
    if windows is not None:
        ends = torch.tensor([*range(0, plan.num_tokens, windows), plan.num_tokens], dtype=torch.int32)
    found = []
    for op in wanted:
        if op == "linear":
            found += _linears(batch, dtype)
        elif op in CPU_ONLY:
            found.append(_elementwise(op, batch, dtype))
        elif "attention" in op:
            found.append(_case(op, "windows", batch, dtype, plan, ends))
            found.append(_case(op, "full", batch, dtype, plan, plan.cu_seqlens_full))
        else:
            found.append(_case(op, "", batch, dtype, plan, plan.cu_seqlens_full))
    return found


def _linears(batch: Batch, dtype: torch.dtype) -> list[Case]:
    """A layer's four."""
    hidden, wide, found = SIZES.hidden_size, SIZES.intermediate_size, []
    shapes = {
        "qkv": (hidden, 3 * hidden),
        "proj": (hidden, hidden),
        "gate_up": (hidden, 2 * wide),
        "down": (wide, hidden),
    }
    for name, (inputs, outputs) in shapes.items():
        tensors = {
            "x": _normal(batch.tokens, inputs).to(dtype),
            "weight": (0.02 * _normal(outputs, inputs)).to(dtype),
            "bias": _normal(outputs).to(dtype),
        }
        least = work.linear(batch.tokens, inputs, outputs, dtype.itemsize)
        found.append(Case("linear", name, batch, dtype, tensors, {}, least))
    return found


def _elementwise(op: str, batch: Batch, dtype: torch.dtype) -> Case:
    """A norm of the hidden rows, or the MLP's activation."""
    tokens, hidden, wide = batch.tokens, SIZES.hidden_size, SIZES.intermediate_size
    if op == "silu_and_mul":
        tensors = {"gate_up": _normal(tokens, 2 * wide).to(dtype)}
        return Case(op, "", batch, dtype, tensors, {}, work.silu_and_mul(tokens, wide, dtype.itemsize))
    tensors = {"x": _normal(tokens, hidden).to(dtype), "weight": (1 + 0.1 * _normal(hidden)).to(dtype)}
    if op == "rms_norm":
        return Case(op, "", batch, dtype, tensors, {}, work.rms_norm(tokens, hidden, dtype.itemsize))
    tensors["residual"] = _normal(tokens, hidden).flip(0).to(dtype)
    return Case(op, "", batch, dtype, tensors, {}, work.add_rms_norm(tokens, hidden, dtype.itemsize))


def _case(op: str, variant: str, batch: Batch, dtype: torch.dtype, plan: VisionPlan, ends: Tensor) -> Case:
    tokens, heads, dim, size = plan.num_tokens, SIZES.num_heads, SIZES.head_dim, dtype.itemsize
    lengths = ends.diff().tolist()
    qkv = _normal(tokens, 3 * heads * dim).to(dtype)
    rotary = {"qkv": qkv, "cos": plan.cos, "sin": plan.sin}
    sizes = {"num_heads": heads, "head_dim": dim}
    if op == "rotary_qkv":
        return Case(op, variant, batch, dtype, rotary, sizes, work.rotary_qkv(tokens, heads, dim, size))
    if op == "rotary_window_attention":
        least = work.rotary_window_attention(lengths, heads, dim, size)
        return Case(op, variant, batch, dtype, {**rotary, "cu_seqlens": ends}, sizes, least)
    if op == "window_attention":
        q, k, v = qkv.view(tokens, 3, heads, dim).unbind(1)
        tensors = {"q": q, "k": k, "v": v, "cu_seqlens": ends}
        return Case(op, variant, batch, dtype, tensors, {}, work.window_attention(lengths, heads, dim, size))
    pixels = _normal(tokens, SIZES.patch_dim)
    weight = (0.02 * _normal(SIZES.hidden_size, SIZES.patch_dim)).to(dtype)
    tensors = {"pixels": pixels, "weight": weight, "row_index": plan.row_index}
    least = work.patch_embed(tokens, SIZES.patch_dim, SIZES.hidden_size, size, pixels.element_size())
    return Case(op, variant, batch, dtype, tensors, {}, least)


def _normal(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


# ---- peers ----


def cpu_peers(case: Case, *, compiled: bool) -> dict[str, Callable[[], Any]]:
    """What computes the same, or moves the same bytes, on the CPU; what is not installed is left out."""
    t = case.tensors
    found: dict[str, Callable[[], Any]] = {"torch composition": case.composition}
    if case.op == "window_attention":
        found["batched bmm + softmax"] = peers.batched_attention(t["q"], t["k"], t["v"], t["cu_seqlens"])
    if case.op == "rotary_qkv":
        target = torch.empty_like(t["qkv"])
        found["copy of qkv"] = lambda: target.copy_(t["qkv"])
    if case.op == "linear":
        found |= peers.packed_linear(t["weight"], t["bias"], t["x"])
    if peers.have_transformers():
        found |= peers.transformers_operator(case.op, t, SIZES)
    if compiled and "attention" not in case.op:  # a loop over windows would be compiled window by window
        found["torch.compile"] = torch.compile(case.composition)
    return found


def npu_peers(case: Case) -> dict[str, Callable[[], Any]]:
    """torch_npu's and ATen's operators, as they run where no kernel does; tensors on the NPU."""
    composition = getattr(_composition, case.op)
    outs = [torch.empty_like(result) for result in case.run()]
    names = ("q", "k", "v") if case.op == "rotary_qkv" else ("out",)
    scale = SIZES.head_dim**-0.5
    known = {"scale": scale, "interleaved": False, "bias": None, "row_index": None, **case.tensors, **case.options}
    known |= dict(zip(names, outs, strict=True))
    arguments = [known[name] for name in inspect.signature(composition).parameters]

    def run() -> Results:
        composition(*arguments)
        return tuple(outs)

    return {"torch_npu composition": run}
