"""The store in an arena."""

import pytest

from pyworkers import ArenaStatistics, _codec
from pyworkers._arena import LocalArena
from pyworkers._store import ArenaStore, stores
from tests.unit.memory.tools import kept

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def arena() -> LocalArena:
    return LocalArena()


def encoded(data: bytes, *buffers: bytes | bytearray) -> _codec.Encoded:
    return data, [memoryview(buffer) for buffer in buffers], ()


def test_the_parts_of_an_object_lie_behind_each_other_in_one_block(arena: LocalArena) -> None:
    found = ArenaStore(arena, is_hub=True)
    block, layout = found.put(encoded(b"pickle", b"x" * 16, bytearray(b"y" * 17), b"", b"z"))
    assert layout == ((6, True), (16, True), (17, False), (0, True), (1, True))
    statistics = arena.statistics()
    assert (statistics.blocks, statistics.used) == (1, 16 + 16 + 32 + 0 + 16)
    whole = arena.read(block.id, 0, statistics.used, True)
    assert whole == b"pickle".ljust(16, b"\0") + b"x" * 16 + (b"y" * 17).ljust(32, b"\0") + (
        b"z".ljust(16, b"\0")
    )
    data, buffers = found.load(block.id, layout)
    assert (data, buffers) == (b"pickle", [b"x" * 16, b"y" * 17, b"", b"z"])
    assert [type(part) for part in buffers] == [bytes, bytearray, bytes, bytes]


def test_what_is_written_belongs_to_nobody_before_it_is_owned(arena: LocalArena) -> None:
    found = ArenaStore(arena, is_hub=True)
    id, layout = found.write(encoded(b"pickle"))
    assert found.attached() == set()
    block = found.own(id)
    assert found.attached() == {id}
    assert found.load(id, layout) == (b"pickle", [])
    del block
    assert found.attached() == set()
    assert arena.statistics().blocks == 0


def test_a_hub_finds_its_blocks_until_the_last_use_is_over(arena: LocalArena) -> None:
    found = ArenaStore(arena, is_hub=True)
    block = found.own(arena.allocate(8))
    again = found.attach(block.id)
    assert again is block
    id = block.id
    del block
    assert arena.statistics().blocks == 1
    del again
    assert arena.statistics().blocks == 0
    with pytest.raises(LookupError, match=f"what was at {id} of the shared memory is freed"):
        found.attach(id)
    assert not found.touched


def was_touched(found: ArenaStore) -> bool:
    """Says whether a store was touched since the last look."""
    touched, found.touched = found.touched, False
    return touched


def test_a_worker_frees_nothing_and_notes_what_it_uses(arena: LocalArena) -> None:
    offset = arena.allocate(8)
    found = ArenaStore(arena, is_hub=False)
    assert not was_touched(found)
    block = found.attach(offset)
    assert was_touched(found)
    assert found.attached() == {offset}
    again = found.attach(offset)
    assert again is block
    del block
    assert not was_touched(found)
    del again
    assert was_touched(found)
    assert found.attached() == set()
    assert arena.statistics().blocks == 1


def test_a_store_in_an_arena_sends_nothing(arena: LocalArena) -> None:
    found = ArenaStore(arena, is_hub=True)
    stores["other"] = found
    ref = kept("other", 1)
    assert found.missing(1, [ref]) == []
    found.peer_lost(1)
    del ref
    assert found.forgotten() == []


def statistics(free: int, largest: int) -> ArenaStatistics:
    return ArenaStatistics(
        bytes=1_000,
        maximum=1_000,
        used=0,
        peak=0,
        free=free,
        largest=largest,
        blocks=0,
        allocations=0,
        frees=0,
        refusals=0,
        recoveries=0,
    )


@pytest.mark.parametrize(
    ("free", "largest", "fragmentation"),
    [(0, 0, 0.0), (100, 100, 0.0), (100, 25, 0.75), (1_000, 1, 0.999)],
)
def test_fragmentation_is_what_the_largest_free_block_does_not_hold(
    free: int, largest: int, fragmentation: float
) -> None:
    assert statistics(free, largest).fragmentation == pytest.approx(fragmentation)


def test_statistics_count_what_is_and_what_was(arena: LocalArena) -> None:
    one, two = arena.allocate(100), arena.allocate(50)
    arena.free(one)
    found = arena.statistics()
    assert (found.used, found.peak, found.blocks) == (50, 150, 1)
    assert (found.allocations, found.frees) == (2, 1)
    assert (found.free, found.largest, found.fragmentation) == (0, 0, 0.0)
    arena.free(two)
    assert arena.statistics().allocations == 2
