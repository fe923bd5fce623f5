"""Rounds, quartiles and contention, on a clock that the test moves."""

import pytest
from clocks import Steps

from qwen_vl_npu_ops.bench.timing import CONTENDED, TRIES, ContendedError, SystemClock, interleave, summarise


class Function:
    """Takes the seconds that it is given, one after the other, and may wait for a core meanwhile."""

    def __init__(self, clock, log, name, seconds, waits=()):
        self.clock, self.log, self.name = clock, log, name
        self.seconds, self.waits, self.calls = seconds, dict(waits), 0

    def __call__(self):
        self.clock.time += self.seconds[min(self.calls, len(self.seconds) - 1)]
        self.clock.waiting += self.waits.get(self.calls, 0.0)
        self.log.append(self.name)
        self.calls += 1


def test_rounds_interleave_and_take_turns_to_start():
    clock, log = Steps(), []
    names = "abc"
    interleave({name: Function(clock, log, name, [1.0]) for name in names}, 4, clock)
    assert log[:6] == list("aabbcc")  # warm-up, and how long one takes
    assert ["".join(log[6 + 3 * i : 9 + 3 * i]) for i in range(4)] == ["abc", "bca", "cab", "abc"]
    assert len(log) == 6 + 4 * 3


def test_medians_and_quartiles():
    clock = Steps()
    slow = Function(clock, [], "slow", [9.0, 9.0, 5.0, 1.0, 2.0, 4.0, 3.0])
    timing = interleave({"slow": slow, "other": Function(clock, [], "other", [1.0])}, 5, clock)["slow"]
    assert (timing.median, timing.low, timing.high) == (3.0, 2.0, 4.0)
    assert (timing.rounds, timing.dropped) == (5, 0)


def test_one_round_has_no_spread():
    assert summarise([2.0]) == summarise([2.0, 2.0]).__class__(2.0, 2.0, 2.0, 1, 0)


def test_a_contended_round_is_dropped_whole_and_tried_again():
    clock = Steps()
    # In the second round kept, b waits for a core: a's time of that round, 100, must go as well.
    a = Function(clock, [], "a", [1.0, 1.0, 1.0, 100.0, 1.0, 1.0])
    b = Function(clock, [], "b", [2.0], waits={3: 2.0 * 1.01 * CONTENDED})
    timings = interleave({"a": a, "b": b}, 3, clock)
    assert timings["a"].high == 1.0
    assert {t.dropped for t in timings.values()} == {1}
    assert {t.rounds for t in timings.values()} == {3}


def test_short_waits_are_no_contention():
    clock = Steps()
    waits = dict.fromkeys(range(10), 0.99 * CONTENDED)
    timing = interleave({"a": Function(clock, [], "a", [1.0], waits)}, 5, clock)["a"]
    assert (timing.rounds, timing.dropped) == (5, 0)


def test_how_much_waiting_is_contention_can_be_said():
    clock = Steps()
    a = Function(clock, [], "a", [1.0], dict.fromkeys(range(10), 0.2))
    timing = interleave({"a": a}, 3, clock, once=True, contended=0.25)["a"]
    assert (timing.rounds, timing.dropped, a.calls) == (3, 0, 3)
    with pytest.raises(ContendedError):
        interleave({"a": a}, 1, clock, once=True, contended=0.15)


def test_nothing_but_contended_rounds_is_an_error():
    clock = Steps()
    function = Function(clock, [], "a", [1.0], dict.fromkeys(range(100), 0.5))
    with pytest.raises(ContendedError, match=f"each of {3 * TRIES} rounds"):
        interleave({"a": function}, 3, clock)
    assert function.calls == 2 + 3 * TRIES


def test_short_functions_are_repeated_and_divided():
    clock = Steps()
    function = Function(clock, [], "a", [1e-4])
    timing = interleave({"a": function}, 2, clock)["a"]
    assert timing.median == pytest.approx(1e-4)
    assert function.calls == 2 + 2 * 100


@pytest.mark.parametrize(("functions", "rounds", "named"), [({}, 1, "functions"), ({"a": lambda: None}, 0, "rounds")])
def test_bad_input(functions, rounds, named):
    with pytest.raises(ValueError, match=f"{named}: expected at least"):
        interleave(functions, rounds, Steps())


def test_the_systems_clock_goes_forward():
    clock = SystemClock()
    before = clock.now(), clock.waited()
    after = clock.now(), clock.waited()
    assert after[0] > before[0]
    assert after[1] >= before[1] >= 0.0
