import sys
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


def pytest_configure(config):
    # The same examples on every run; --full draws new ones.
    settings.register_profile("suite", deadline=None, derandomize=not config.getoption("--full"))
    settings.load_profile("suite")
