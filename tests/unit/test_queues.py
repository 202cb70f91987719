"""Queues in shared memory: orders of steps, threads at random, and sequences of operations."""

from collections import deque
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.arena.layout import Region
from tests.unit.node_host import NodeHost, stress

pytestmark = pytest.mark.timeout(120)


SAMPLE = 4_000


@pytest.mark.parametrize("limit", [0, SAMPLE], ids=["small scenes", "larger scenes"])
def test_whatever_the_order_of_steps_nothing_is_lost_doubled_torn_or_waited_for_in_vain(
    limit: int,
) -> None:
    """A-04, B-04: every interleaving of small scenes, and many of larger ones, with deaths."""
    found = stress("queue_checker.mjs", limit)
    assert len(found) == (5 if limit else 6)
    for scene, told in found.items():
        assert told["wrong"] == [], scene
        assert told["states"] == limit if limit else told["ends"] > 0


@pytest.mark.parametrize(
    ("producers", "consumers", "capacity", "maxsize"),
    [(1, 1, 65_536, 0), (3, 2, 4_096, 0), (2, 3, 4_096, 9)],
)
def test_what_several_threads_put_several_threads_take(
    producers: int, consumers: int, capacity: int, maxsize: int
) -> None:
    """A-04: a million items in all, each once and whole, those of one producer in order."""
    items = 340_000 // producers * producers
    found = stress("queue_stress.mjs", items, producers, consumers, capacity, maxsize, 0)
    told = found["told"]
    share = items // producers
    assert sum(one["wrong"] for one in told) == 0
    assert sum(one["taken"] for one in told) == items
    assert sum(one["sum"] for one in told) == producers * share * (share + 1) // 2
    assert (found["statistics"]["puts"], found["statistics"]["gets"]) == (items, items)
    assert 0 < found["statistics"]["peak"] <= (maxsize or items)
    # The table of seats is left.
    assert Region(found["region"]).numbers["blocks"] == 1


def test_threads_that_end_at_random_leave_a_queue_that_goes_on() -> None:
    """A-04, B-04: a consumer that ends loses the items that it had taken, and nothing else."""
    deaths = 30
    found = stress("queue_stress.mjs", 0, 2, 2, 4_096, 0, deaths)
    statistics = found["statistics"]
    assert sum(one["wrong"] for one in found["told"]) == 0
    assert found["left"] == 0
    assert statistics["puts"] == statistics["gets"] > 0
    # At most four items at a time are taken; of a producer that ends, one block may go with it.
    assert 0 <= statistics["gets"] - found["marked"] <= 4 * deaths
    assert Region(found["region"]).numbers["blocks"] == 1
    print(f"{statistics['losses']} sides were inherited")


@pytest.fixture(scope="module")
def shim() -> Iterator[NodeHost]:
    with NodeHost("queue_driver.mjs") as host:
        yield host


ITEMS = st.lists(st.integers(0, 60), min_size=1, max_size=5)
OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), ITEMS),
        st.tuples(st.just("one"), st.integers(0, 60)),
        st.tuples(st.just("block"), st.integers(0, 300)),
        st.tuples(st.just("take"), st.integers(0, 5)),
    ),
    max_size=60,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    capacity=st.integers(16, 64).map(lambda n: 4 * n), maxsize=st.integers(0, 5), does=OPERATIONS
)
def test_a_queue_does_what_a_list_of_its_items_does(
    shim: NodeHost, capacity: int, maxsize: int, does: list[tuple[str, Any]]
) -> None:
    """A-04: sizes, limits, order, and the ring's going on at its beginning."""
    model: deque[tuple[int | None, int]] = deque()
    number = used = 0

    def fits(length: int) -> bool:
        room = 4 + (length + 3) // 4 * 4 <= capacity - used
        return room and (maxsize == 0 or len(model) < maxsize)

    def put(length: int, room: int) -> None:
        nonlocal number, used
        number += 1
        model.append((number & 255 if length else None, length))
        sizes.append(4 + (room + 3) // 4 * 4)
        used += sizes[-1]

    sizes: deque[int] = deque()
    shim.ask("open", capacity=capacity, maxsize=maxsize)
    for what, argument in does:
        if what == "take":
            got = shim.ask("take", most=argument)
            expected = [model.popleft() for _ in range(min(len(model), max(argument, 1)))]
            used -= sum(sizes.popleft() for _ in expected)
            assert [tuple(item) for item in got] == expected
            continue
        lengths = argument if what == "put" else [argument]
        before = number
        told = shim.ask(
            what, items=[[(before + 1 + n) & 255, length] for n, length in enumerate(lengths)]
        )
        for length in lengths:
            room = 8 if what == "block" else length
            if not fits(room):
                break
            put(length, room)
        assert told == number - before
    statistics = shim.ask("close")
    assert (statistics["depth"], statistics["puts"]) == (len(model), number)
    if model:
        assert [tuple(item) for item in shim.ask("take", most=100)] == list(model)
    assert shim.ask("take", most=1) == "end"
    assert shim.ask("one", items=[[1, 1]]) == -1
    assert shim.ask("blocks") == 1
