"""One harness for the operators' kernels: the simulated chip beside the fp64 reference, torch and the CPU back end."""

import torch

from compare import assert_within_budget, over_seeds
from qwen_vl_npu_ops import accuracy, ops, reference, sim

CHIPS = ("910B1", "910B2", "910B3", "910B4")


def as_tuple(results) -> tuple:
    return results if isinstance(results, tuple) else (results,)


def on_chip(op: str, arguments: dict, chip: str = "910B1", **options) -> tuple:
    """The results of an operator on a simulated chip, which launched its kernel."""
    with sim.device(chip, **options) as device:
        results = as_tuple(getattr(ops, op)(**arguments))
    launched = [record.kernel.startswith(op) for record in device.report()]
    assert all(launched)
    assert launched or all(r.numel() == 0 for r in results), "no kernel ran"
    return results


def check(op: str, make, dtype: torch.dtype, elements: int, budget: float = accuracy.BUDGET, **options) -> None:
    """The kernel of `op` on `make(dtype, seed)`, its arguments, is within the error budget, and the CPU agrees.

    `elements` is how many numbers a result has: small cases are run for several seeds.
    """

    def run(seed: int) -> tuple:
        arguments = make(dtype, seed)
        wide = {n: a.double() if is_float(a) else a for n, a in arguments.items()}
        got = on_chip(op, arguments, **options)
        expected = as_tuple(getattr(reference, op)(**wide))
        peer = as_tuple(getattr(reference, op)(**arguments))
        cpu = as_tuple(getattr(ops, op)(**arguments))
        assert all(
            g.is_contiguous() and g.dtype == c.dtype and g.shape == c.shape for g, c in zip(got, cpu, strict=True)
        )
        return (*got, *expected, *peer, *cpu)

    results = over_seeds(run, elements)
    count = len(results) // 4
    for i in range(count):
        got, expected, peer, cpu = results[i::count]
        assert_within_budget(got, expected, peer, name=f"result {i}", budget=budget)
        if not got.numel():
            continue
        difference = (got.double() - cpu.double()).nan_to_num(0.0, 0.0, 0.0).abs()
        assert bool((difference <= accuracy.bounds(expected, peer, 2 * budget)).all()), "CPU and chip disagree"


def is_float(value) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point()


def check_deterministic(op: str, arguments: dict, blocks=(1, 2, 7, None)) -> None:
    """The same bits for every number of blocks, chip and run."""
    wanted = on_chip(op, arguments)
    for max_blocks in blocks:
        same_bits(on_chip(op, arguments, max_blocks=max_blocks), wanted)
    same_bits(on_chip(op, arguments, chip="910B4"), wanted)


def same_bits(got: tuple, wanted: tuple) -> None:
    for g, w in zip(got, wanted, strict=True):
        assert torch.equal(g.contiguous().view(torch.uint8), w.contiguous().view(torch.uint8))
