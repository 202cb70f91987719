"""Says after each test of this folder that all memory is free again."""

import gc
from collections.abc import Iterator

import pytest

from pyworkers._store import stores
from tests.unit.memory.tools import blocks, here, others, store


@pytest.fixture(autouse=True, scope="module")
def quick_collections() -> Iterator[None]:
    """Has the garbage collector pass by what was there before these tests."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    others.clear()
    others.update(store().attached())
    before = store().arena.statistics()
    yield
    here.clear()
    assert blocks() == 0
    after = store().arena.statistics()
    assert after.blocks <= before.blocks
    assert after.used <= before.used


@pytest.fixture(autouse=True)
def no_other_mode() -> Iterator[None]:
    yield
    stores.pop("other", None)
