"""The campaign: every fault of every class planted in the sample kernels is reported, or does no harm.

`pytest` runs a seeded sample of each class, `pytest --full` every fault; the summary at the end prints how many.
"""

from collections import Counter

import numpy as np
import pytest
import scenarios
from faults import FAMILIES, chosen, is_right, plants, source_line

from qwen_vl_npu_ops import sim


def baseline(scenario):
    results, chip = scenario.run()
    scenario.check(results)
    return chip.sites()


def outcome(scenario, planted):
    """(verdict, detail) of one planted fault.

    caught: reported, as a kind it can cause and at its place. misplaced: reported otherwise. not executed: the fault
    did not take effect. harmless: nothing reported, and every result is what it is without the fault. other
    program: nothing reported and other results. Only the last kind needs a reason why the simulator cannot know.
    """
    with sim.device("910B1", faults=[planted.fault]) as device:
        arrays = [a.copy() for a in scenario.arrays]
        try:
            scenario.launch(arrays)
        except sim.SimulatorError as error:
            return ("caught" if is_right(planted, error) else "misplaced"), str(error)
        if not any(device.fired()):
            return "not executed", ""
    same = all(np.array_equal(arrays[i], wanted) for i, wanted in scenario.expected.items())
    return ("harmless" if same else "other program"), ""


@pytest.mark.parametrize("scenario", scenarios.SMALL, ids=lambda s: s.name)
def test_campaign(scenario, full, campaigns):
    campaign = campaigns["sample kernels"]
    missed = []
    for planted in chosen(baseline(scenario), scenario.name, full):
        verdict, detail = outcome(scenario, planted)
        campaign[planted.family][verdict] += 1
        reason = planted.reason(verdict)
        if verdict not in ("caught", "not executed") and reason is None:
            missed.append(f"{verdict}: {planted}  {detail}")
        elif verdict not in ("caught", "not executed"):
            campaign["reasons"][f"{scenario.name}: {reason}"] += 1
    assert not missed, f"{len(missed)} faults:\n" + "\n".join(missed)


def test_every_class_of_fault_is_planted_somewhere():
    planted = Counter()
    for scenario in scenarios.SMALL:
        planted.update(p.family for p in plants(baseline(scenario)))
    assert set(planted) == set(FAMILIES)


@pytest.mark.parametrize("scenario", scenarios.SMALL, ids=lambda s: s.name)
def test_sites_are_lines_of_the_kernel(scenario):
    for site in baseline(scenario):
        name = site.api.split("<")[0].lstrip("~")
        # A TPipe acts where it is constructed and destroyed: as a member, with its owner. A call that runs over two
        # lines may be placed at either.
        before = source_line(site, -1) + source_line(site)
        assert name in before or name == "TPipe"
        assert site.count > 0


def test_two_events_of_parallel_queues_are_both_needed_or_one():
    """Either EnQue of the Add orders both copies before the addition; without both there is a race."""
    scenario = scenarios.add()
    sites = [s for s in baseline(scenario) if s.api.startswith("EnQue")][:2]
    with pytest.raises(sim.SimulatorError) as raised:
        scenario.run(faults=[sim.Fault("drop", site) for site in sites])
    assert raised.value.kind == "race"
    assert {raised.value.pipe, raised.value.other["pipe"]} == {"MTE2", "V"}


def test_an_unknown_fault_is_refused():
    scenario = scenarios.axpy()
    site = next(s for s in baseline(scenario) if s.api.startswith("Axpy"))
    for fault in (sim.Fault("skip_queue", site), sim.Fault("no such kind", site)):
        with pytest.raises(ValueError, match=r"fault|kind|apply"):
            scenario.run(faults=[fault])
