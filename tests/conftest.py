import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))


def pytest_addoption(parser):
    parser.addoption("--full", action="store_true", help="run every case instead of a seeded sample")


@pytest.fixture(scope="session")
def full(request) -> bool:
    """Whether every case is wanted."""
    return request.config.getoption("--full")


# Of the fault campaigns: title -> class of fault -> verdict -> count, and title -> "reasons" -> reason -> count.
CAMPAIGNS = pytest.StashKey()
VERDICTS = ["caught", "wrong result", "misplaced", "harmless", "other program", "not executed"]


@pytest.fixture(scope="session")
def campaigns(request):
    """Verdicts of the fault campaigns, which are printed at the end."""
    return request.config.stash[CAMPAIGNS]


def pytest_terminal_summary(terminalreporter, config):
    for title, counts in config.stash[CAMPAIGNS].items():
        terminalreporter.section(f"fault campaign: {title}")
        reasons = counts.pop("reasons", {})
        counts["all"] = sum(counts.values(), Counter())
        for family, verdicts in counts.items():
            planted = sum(verdicts.values())
            executed = planted - verdicts["not executed"]
            rest = ", ".join(f"{verdicts[v]} {v}" for v in VERDICTS[1:] if verdicts[v])
            terminalreporter.line(
                f"{family:24} caught {verdicts['caught']} / {executed} executed / {planted} planted  {rest}"
            )
        for reason, count in sorted(reasons.items()):
            terminalreporter.line(f"  {count} x {reason}")


def pytest_configure(config):
    config.stash[CAMPAIGNS] = defaultdict(lambda: defaultdict(Counter))
    # The same examples on every run; --full draws new ones.
    settings.register_profile("suite", deadline=None, derandomize=not config.getoption("--full"))
    settings.load_profile("suite")
