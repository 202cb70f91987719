"""Threads that use one region at once."""

import pytest

from tests.unit.arena.layout import Region
from tests.unit.node_host import stress

pytestmark = pytest.mark.timeout(60)


@pytest.mark.parametrize("rounds", [300_000])
def test_four_threads_use_one_region_at_once(rounds: int) -> None:
    """A-03: and hand each other what they have; every block is freed once."""
    found = stress("arena_stress.mjs", rounds, 0)
    region = Region(found["region"])
    told = found["told"]
    total = {name: sum(one[name] for one in told) for name in told[0]}
    assert (total["foreign"], total["refused"]) == (0, 0)
    assert total["handed"] > 0
    assert total["allocated"] == total["freed"] + found["left"] == region.numbers["allocations"]
    assert region.numbers["frees"] == region.numbers["allocations"]
    assert (region.numbers["recoveries"], region.numbers["sleepers"]) == (0, 0)
    assert region.is_empty


@pytest.mark.parametrize("deaths", [40])
def test_threads_that_are_terminated_at_random_harm_no_others(deaths: int) -> None:
    """A-03, B-04"""
    found = stress("arena_stress.mjs", 0, deaths)
    region = Region(found["region"])
    for one in found["told"]:
        assert (one["foreign"], one["refused"]) == (0, 0)
        assert one["allocated"] == one["freed"]
    print(f"{region.numbers['recoveries']} recoveries")
    assert region.is_empty


@pytest.mark.parametrize("pages", [20_000])
def test_both_views_reach_equally_far_while_another_thread_grows_the_region(pages: int) -> None:
    """A-03: the engine may tell of growth between any two steps."""
    found = stress("arena_growth.mjs", pages)
    assert found["looks"] > 1_000
    assert found["different"] == 0


def test_a_primitive_at_the_end_of_a_view_is_whole() -> None:
    """A-03: of what another thread has grown, a thread sees all words of what it was told of."""
    assert stress("arena_straddle.mjs") == []


def test_nobody_waits_for_ever_for_a_section_whose_thread_does_not_run() -> None:
    """X-05: as of one that was ended, of which the hub cannot hear while it blocks."""
    told = (
        "a primitive in shared memory is held by worker 7, which does not run; if it was ended "
        "while this thread is blocked, await something first"
    )
    assert stress("held_guard.mjs") == {"blocking": told, "page": told, "swept": 1}
