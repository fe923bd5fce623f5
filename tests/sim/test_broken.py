"""One mistake at a time: the right kind of error, on the right line; and no error one step inside each limit."""

import numpy as np
import pytest
from harness import KERNELS, kernels

from qwen_vl_npu_ops import sim

# name of the line: (number, kind, blocks, has a legal neighbour)
VECTOR = {
    "ub_capacity": (0, "capacity", 1, True),
    "buffer_count": (1, "capacity", 1, True),
    "queue_count": (2, "capacity", 1, True),
    "queue_depth": (10, "queue", 1, False),
    "enqueued_twice": (11, "queue", 1, False),
    "empty_queue": (12, "queue", 1, False),
    "foreign_tensor": (13, "queue", 1, False),
    "freed_twice": (14, "queue", 1, False),
    "event_id": (20, "event", 1, True),
    "set_twice": (21, "event", 1, False),
    "never_waited": (22, "event", 1, False),
    "never_set": (23, "deadlock", 1, False),
    "cross_core_id": (24, "flag", 1, False),
    "cross_core_never_set": (25, "deadlock", 2, False),
    "uninitialised_vector": (30, "uninitialised", 1, False),
    "uninitialised_copy": (31, "uninitialised", 1, False),
    "uninitialised_scalar": (32, "uninitialised", 1, False),
    "gm_read": (33, "out_of_bounds", 1, True),
    "gm_write": (34, "out_of_bounds", 1, True),
    "gm_scalar_read": (35, "out_of_bounds", 1, True),
    "gm_scalar_write": (36, "out_of_bounds", 1, True),
    "past_the_tensor": (37, "out_of_bounds", 1, True),
    "no_barrier": (38, "race", 1, False),
    "partial_overlap": (39, "overlap", 1, False),
    "cross_core_race": (40, "race", 2, False),
    "stale_scalar_read": (41, "stale_read", 2, False),
    "sync_all_deadlock": (42, "deadlock", 2, False),
    "write_write_race": (43, "race", 2, False),
}
CUBE = {
    "cube_capacity": (0, "capacity", 1, True),
    "cube_capacity l0a": (1, "capacity", 1, True),
    "cube_capacity l0b": (2, "capacity", 1, True),
    "cube_capacity l0c": (3, "capacity", 1, True),
    "cube_capacity bias table": (4, "capacity", 1, True),
    "tpipe_event": (5, "event", 1, True),
    "uninitialised_l1": (6, "uninitialised", 1, False),
    "uninitialised_l0": (7, "uninitialised", 1, False),
    "uninitialised_l0c": (8, "uninitialised", 1, False),
    "vector_on_cube": (9, "core_type", 1, False),
}
MIXED = {
    "both_wait": (20, "deadlock", 1, False),
    "never_waited": (21, "flag", 1, False),
    "flag_counter": (22, "flag", 1, True),
    "one_of_two": (23, "deadlock", 1, True),
    "cube_on_vector": (24, "core_type", 1, False),
}
CASES = [("broken", "vector_mistake", n) for n in VECTOR] + [("broken_mixed", "cube_mistake", n) for n in CUBE]
CASES += [("broken_mixed", "mixed_mistake", n) for n in MIXED]


def run(file, kernel, number, blocks, past):
    memory = [] if kernel == "mixed_mistake" else [np.zeros(1024, np.float32)]
    with sim.device("910B1"):
        kernels(file).launch(kernel, blocks, *memory, number, past)


@pytest.mark.parametrize(("file", "kernel", "name"), CASES, ids=[n for _, _, n in CASES])
def test_mistake(file, kernel, name):
    number, kind, blocks, has_legal_neighbour = {"vector": VECTOR, "cube": CUBE, "mixed": MIXED}[kernel[:-8]][name]
    lines = (KERNELS / f"{file}.cpp").read_text().splitlines()
    marker = f"// {name.split()[0]}"
    line = next(i for i, text in enumerate(lines, 1) if text.endswith(marker))
    if has_legal_neighbour:
        run(file, kernel, number, blocks, 0)
    with pytest.raises(sim.SimulatorError) as raised:
        run(file, kernel, number, blocks, 1)
    error = raised.value
    assert error.kind == kind
    assert error.kernel == kernel
    parties = [*([error.other] if error.other else []), *error.waiting]
    named = [(error.file, error.line), *((party["file"], party["line"]) for party in parties)]
    assert any(str(f).endswith(f"{file}.cpp") and at == line for f, at in named), f"{line} not in {named}: {error}"
    for text in (kernel, str(line), kind):
        assert text in str(error)


def test_a_deadlock_says_what_every_core_waits_for():
    with pytest.raises(sim.SimulatorError) as raised:
        run("broken_mixed", "mixed_mistake", 20, 1, 1)
    waits = {w["core"]: w["waits_for"] for w in raised.value.waiting}
    assert set(waits) == {"aic0", "aiv0", "aiv1"}
    assert "4" in waits["aic0"]
    assert "5" in waits["aiv0"]


def test_a_race_names_both_parties():
    with pytest.raises(sim.SimulatorError) as raised:
        run("broken", "vector_mistake", 40, 2, 1)
    parties = [raised.value.core, raised.value.other["core"]]
    assert sorted(parties) == ["aiv0", "aiv1"]
    assert {raised.value.pipe, raised.value.other["pipe"]} == {"MTE2", "MTE3"}


def test_auto_sync_adds_vector_barriers():
    with sim.device("910B1", auto_sync=True):
        kernels("broken").launch("vector_mistake", 1, np.zeros(1024, np.float32), 38, 1)


def test_races_can_be_switched_off_alone():
    with sim.device("910B1", races=False):
        kernels("broken").launch("vector_mistake", 1, np.zeros(1024, np.float32), 38, 1)
        with pytest.raises(sim.SimulatorError) as raised:
            kernels("broken").launch("vector_mistake", 1, np.zeros(1024, np.float32), 33, 1)
    assert raised.value.kind == "out_of_bounds"
