"""Fixtures of the tests of a pool in mode inline."""

from collections.abc import Iterator

import pytest

from pyworkers import WorkerPool
from tests.unit.inline.tools import gate, log


@pytest.fixture
def pool() -> Iterator[WorkerPool]:
    with WorkerPool() as pool:
        yield pool


@pytest.fixture(autouse=True)
def fresh_tools() -> None:
    gate.renew()
    log.clear()
