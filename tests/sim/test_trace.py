"""Traces keep Chrome's format, and add up to the report."""

import json

import pytest
import scenarios

from trace_events import Trace

SCENARIOS = {
    "add": scenarios.add(blocks=3, total=5000, tile=128),
    "axpy": scenarios.axpy(),
    "matmul": scenarios.matmul(),
    "matmul_leaky_relu": scenarios.matmul_leaky_relu(),
    "block_sum": scenarios.block_sum(),
    "more-blocks-than-cores": scenarios.add(blocks=60, total=60 * 64, tile=64),
}


@pytest.fixture(params=SCENARIOS)
def launched(request, tmp_path):
    """(trace, record) of a sample."""
    _, chip = SCENARIOS[request.param].run(trace=True)
    chip.trace(tmp_path / "trace.json")
    return Trace(tmp_path / "trace.json"), chip.report()[0]


def test_it_adds_up_to_the_report(launched):
    trace, record = launched
    us = record.time_us / record.cycles
    limits = {"aic": 24, "aiv": 48}
    counts = {kind: min(limits[kind], sum(core.startswith(kind) for core in record.cores)) for kind in limits}
    for kind, busy in record.busy_by_core.items():
        for pipe, share in busy.items():
            slices = [
                s for (core, name), all in trace.slices.items() if core.startswith(kind) and name == pipe for s in all
            ]
            cycles = sum(piece["args"]["cycles"] for piece in slices)
            assert cycles == pytest.approx(share * record.cycles * counts[kind])
            assert sum(piece["dur"] for piece in slices) == pytest.approx(cycles * us)
    ends = dict.fromkeys(record.cores, 0.0)
    for (core, _), slices in trace.slices.items():
        ends[core] = max(ends[core], slices[-1]["ts"] + slices[-1]["dur"])
    assert max(ends.values()) == pytest.approx(record.time_us)
    assert trace.top["otherData"]["cycles"] == record.cycles
    assert set(trace.processes.values()) == set(record.cores)


def test_arrows_go_from_sets_to_waits(launched):
    trace, _ = launched
    assert trace.flows
    waits = [id(wait) for _, wait in trace.flows]
    assert len(set(waits)) == len(waits)  # an event releases one wait
    for begin, end in trace.flows:
        assert begin["ts"] + begin["dur"] <= end["ts"] + end["dur"]


def test_every_wait_has_its_set(tmp_path):
    _, chip = SCENARIOS["axpy"].run(trace=True)
    chip.trace(tmp_path / "trace.json")
    trace = Trace(tmp_path / "trace.json")
    names = [(begin["name"], end["name"]) for begin, end in trace.flows]
    assert len(names) == sum(site.count for site in chip.sites() if site.api.startswith("WaitFlag"))
    for begin, end in names:
        assert begin.replace("Set", "Wait") == end


def test_flags_cross_cores(tmp_path):
    _, chip = SCENARIOS["matmul_leaky_relu"].run(trace=True)
    chip.trace(tmp_path / "trace.json")
    trace = Trace(tmp_path / "trace.json")
    crossing = {
        (trace.processes[begin["pid"]], trace.processes[end["pid"]])
        for begin, end in trace.flows
        if begin["pid"] != end["pid"]
    }
    assert ("aic0", "aiv0") in crossing
    assert ("aic0", "aiv1") in crossing
    assert ("aiv0", "aic0") in crossing or ("aiv1", "aic0") in crossing


@pytest.mark.parametrize(
    "damage",
    [
        lambda events: events[-1].pop("id"),
        lambda events: events.append(events[-1]),
        lambda events: events[-1].update(ts=1e9),
        lambda events: next(e for e in events if e["ph"] == "X").update(dur=1e9),
        lambda events: next(e for e in events if e["ph"] == "X").update(tid=99),
        lambda events: next(e for e in events if e["ph"] == "X").update(ts=-1),
    ],
)
def test_the_reader_refuses_what_the_format_does(tmp_path, damage):
    path = tmp_path / "trace.json"
    _, chip = SCENARIOS["axpy"].run(trace=True)
    chip.trace(path)
    top = json.loads(path.read_text())
    damage(top["traceEvents"])
    path.write_text(json.dumps(top))
    with pytest.raises((AssertionError, KeyError)):
        Trace(path)


def test_tracing_has_to_be_asked_for(tmp_path):
    _, chip = SCENARIOS["axpy"].run()
    with pytest.raises(ValueError, match="trace=True"):
        chip.trace(tmp_path / "trace.json")


def test_tracing_changes_no_time():
    records = [SCENARIOS["matmul_leaky_relu"].run(trace=trace)[1].report()[0] for trace in (False, True)]
    assert records[0] == records[1]
