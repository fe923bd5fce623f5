import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


def pytest_addoption(parser):
    parser.addoption("--full", action="store_true", help="run every case instead of a seeded sample")


@pytest.fixture(scope="session")
def full(request) -> bool:
    """Whether every case is wanted."""
    return request.config.getoption("--full")
