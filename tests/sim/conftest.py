"""Simulator tests import their helpers from this folder; the fault campaign's counts are printed at the end."""

import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
CAMPAIGN = pytest.StashKey()
VERDICTS = ["caught", "misplaced", "harmless", "other program", "not executed"]


def pytest_configure(config):
    config.stash[CAMPAIGN] = defaultdict(Counter)


@pytest.fixture(scope="session")
def campaign(request):
    """Verdicts of the fault campaign, counted by class of fault."""
    return request.config.stash[CAMPAIGN]


def pytest_terminal_summary(terminalreporter, config):
    counts = config.stash.get(CAMPAIGN, {})
    if not counts:
        return
    terminalreporter.section("fault campaign")
    reasons = counts.pop("reasons", {})
    counts["all"] = sum(counts.values(), Counter())
    for family, verdicts in counts.items():
        executed = sum(n for verdict, n in verdicts.items() if verdict != "not executed")
        rest = ", ".join(f"{verdicts[v]} {v}" for v in VERDICTS[1:] if verdicts[v])
        terminalreporter.line(f"{family:24} caught {verdicts['caught']} / {executed} planted  {rest}")
    for reason, count in sorted(reasons.items()):
        terminalreporter.line(f"  {count} x {reason}")
