"""A strict reader of Chrome's trace-event format (JSON object form), as Perfetto imports it.

Rules of the published format: every event has ph, pid and tid; X has name, ts and dur; M has name and args; a flow's s
and f share cat, name and id, lie inside a slice of their thread (f by bp "e"), and time runs from s to f. Slices of one
thread nest or follow each other.
"""

import itertools
import json
import math
from collections import defaultdict

KEYS = {
    "X": {"name", "cat", "ts", "dur", "args"},
    "M": {"name", "args"},
    "s": {"name", "cat", "id", "ts"},
    "f": {"name", "cat", "id", "ts", "bp"},
}
METADATA = {
    "process_name": ("name", str),
    "thread_name": ("name", str),
    "process_sort_index": ("sort_index", int),
    "thread_sort_index": ("sort_index", int),
}


class Trace:
    """A file that keeps the rules; AssertionError where it does not. `slices`: by (process, thread) names."""

    def __init__(self, path):
        self.top = json.loads(path.read_text(), parse_constant=lambda name: 1 / 0)  # NaN and Infinity are not JSON
        assert set(self.top) <= {"traceEvents", "displayTimeUnit", "otherData"}
        assert self.top["displayTimeUnit"] in ("ms", "ns")
        by_phase = defaultdict(list)
        for event in self.top["traceEvents"]:
            self._check_keys(event)
            by_phase[event["ph"]].append(event)
        self._read_names(by_phase["M"])
        self.slices = defaultdict(list)
        for event in by_phase["X"]:
            self.slices[self._track(event)].append(event)
        for slices in self.slices.values():
            self._check_order(slices)
        self.flows = self._read_flows(by_phase["s"], by_phase["f"])

    @staticmethod
    def _check_keys(event):
        assert set(event) == {"ph", "pid", "tid"} | KEYS[event["ph"]], event
        assert type(event["pid"]) is type(event["tid"]) is int
        for key in {"ts", "dur"} & set(event):
            assert math.isfinite(event[key])
            assert event[key] >= 0
        for key in {"name", "cat"} & set(event):
            assert isinstance(event[key], str)
            assert event[key]

    def _read_names(self, events):
        self.processes, self.threads = {}, {}
        for event in events:
            key, kind = METADATA[event["name"]]
            assert set(event["args"]) == {key}
            assert isinstance(event["args"][key], kind)
            if event["name"] == "process_name":
                assert self.processes.setdefault(event["pid"], event["args"]["name"]) == event["args"]["name"]
            if event["name"] == "thread_name":
                self.threads[event["pid"], event["tid"]] = event["args"]["name"]
        assert len(set(self.processes.values())) == len(self.processes)

    def _track(self, event):
        return self.processes[event["pid"]], self.threads[event["pid"], event["tid"]]

    @staticmethod
    def _check_order(slices):
        slices.sort(key=lambda event: event["ts"])
        for before, after in itertools.pairwise(slices):
            assert before["ts"] + before["dur"] <= after["ts"] * (1 + 1e-12) + 1e-9

    def _read_flows(self, starts, ends):
        assert len({event["id"] for event in ends}) == len(ends) == len(starts)
        ends = {event["id"]: event for event in ends}
        pairs = []
        for start in starts:
            end = ends.pop(start["id"])
            assert (start["cat"], start["name"]) == (end["cat"], end["name"])
            assert end["bp"] == "e"
            assert start["ts"] <= end["ts"]
            pairs.append((self._around(start), self._around(end)))
        return pairs

    def _around(self, event):
        """The slice that an end of a flow is bound to."""
        slices = self.slices[self._track(event)]
        low, high = 0, len(slices)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if slices[middle]["ts"] <= event["ts"] else (low, middle)
        found = slices[low]
        assert found["ts"] <= event["ts"] <= found["ts"] + found["dur"]
        return found
