"""Primitives in shared memory, in orders of steps that were found to matter."""

from collections.abc import Iterator

import pytest

from pyworkers.sync._core import DONE, NOT_YET
from tests.unit.node_host import NodeHost


@pytest.fixture(scope="module")
def stage() -> Iterator[NodeHost]:
    with NodeHost("sync_scenes.mjs") as host:
        yield host


def test_who_has_put_a_block_does_not_free_what_is_in_its_place(stage: NodeHost) -> None:
    """A-04: a block that was put may be taken, freed and made anew before its producer goes on."""
    assert stage.ask("putBlock") == {
        "put": [1, -1],
        "inItsPlace": [True, True],
        "isKept": True,
        "isFreed": True,
    }


def test_nobody_lets_who_has_ended_go_first(stage: NodeHost) -> None:
    """A-04 B-04: a single try gets what is free, though one who has ended had waited for it."""
    assert stage.ask("hungryHasEnded") == {"whileItLives": NOT_YET, "afterwards": DONE}


def test_what_is_set_before_the_other_side_has_answered_gets_there(stage: NodeHost) -> None:
    """B-15: in JavaScript; the other side has been there for longer."""
    assert stage.ask("setAtOnce") == [["at once", "first", "later"]] * 2
