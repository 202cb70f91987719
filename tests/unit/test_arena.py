"""The shared memory of the shim, in Node, against a model of it.

What stands in the region is read by the layout that ``arena.mjs`` documents, not by its code.
"""

import json
import secrets
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, pairwise
from typing import Any, Literal, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.node_host import HERE, NodeError, NodeHost, node

pytestmark = pytest.mark.timeout(60)

HUB = 0
BROKER = 0x3FFFFFFF
DATA = 320
HEAD = 16
PAGE = 65_536
MIB = 2**20
GROWTH = 4 * MIB
COUNTERS = ("allocations", "frees", "refusals", "recoveries")
STATISTICS = ("maximum", "used", "peak", "blocks", *COUNTERS)


@pytest.fixture(scope="module")
def shim() -> Iterator[NodeHost]:
    with NodeHost("arena_driver.mjs") as host:
        yield host


# What must hold of a region, whoever looks at it


class Block(NamedTuple):
    at: int
    size: int
    in_use: bool
    before: int
    third: int
    fourth: int

    @property
    def offset(self) -> int:
        return self.at + HEAD


class Region:
    """What stands in a region while nobody changes it.

    Args:
        found: by ``regionOf`` of the driver.
    """

    def __init__(self, found: dict[str, Any]) -> None:
        self.row = [Block(*block.values()) for block in found.pop("row")]
        self.lists: list[list[int]] = found.pop("lists")
        self.numbers: dict[str, int] = found
        self._check_row()
        self._check_lists()
        self._check_numbers()

    @property
    def end(self) -> int:
        return self.numbers["end"]

    @property
    def in_use(self) -> dict[int, Block]:
        """The blocks in use, by the offsets of their bytes."""
        return {block.offset: block for block in self.row if block.in_use}

    @property
    def free(self) -> list[int]:
        """Sizes of the free blocks."""
        return [block.size for block in self.row if not block.in_use]

    @property
    def is_empty(self) -> bool:
        """Whether all of it is one free block."""
        return self.free == [self.end - DATA] and not self.in_use

    def _check_row(self) -> None:
        for block in self.row:
            assert block.size >= 2 * HEAD
            assert block.size % HEAD == 0
        assert DATA + sum(block.size for block in self.row) == self.end
        for one, following in pairwise(self.row):
            assert one.in_use or following.in_use, f"two free neighbours: {one}, {following}"
            assert following.before == one.size
        assert all(block.before == 0 for block in self.row[:1])
        assert self.numbers["last"] == (self.row[-1].size if self.row else 0)

    def _check_lists(self) -> None:
        free = {block.at: block for block in self.row if not block.in_use}
        for number, members in enumerate(self.lists):
            for previous, at, following in zip(
                [0, *members], members, [*members[1:], 0], strict=False
            ):
                assert at in free, f"{at} is in a list, though it is no free block"
                assert free[at].size.bit_length() - 1 == number
                assert (free[at].third, free[at].fourth) == (following, previous)
        assert sorted(at for members in self.lists for at in members) == sorted(free)
        bits = sum(1 << number for number, members in enumerate(self.lists) if members)
        assert self.numbers["classes"] == bits

    def _check_numbers(self) -> None:
        numbers = self.numbers
        assert (numbers["lock"], numbers["dirty"]) == (0, 0)
        assert self.end <= numbers["maximum"]
        assert numbers["blocks"] == len(self.in_use)
        assert numbers["used"] == sum(block.size for block in self.in_use.values())


def look(shim: NodeHost) -> Region:
    return Region(shim.ask("look"))


def call(shim: NodeHost, number: int, what: str, *args: int) -> Any:
    return shim.ask("call", number=number, what=what, args=args)


def is_refused(shim: NodeHost, number: int, what: str, *args: int) -> bool:
    """Whether that raises RangeError."""
    try:
        call(shim, number, what, *args)
    except NodeError as error:
        if error.name != "RangeError":
            raise
        return True
    return False


# A model


def needed(length: int) -> int:
    """The size of the block for so many bytes."""
    return HEAD + max(-(-length // HEAD), 1) * HEAD


@dataclass
class Kept:
    length: int
    owner: int
    byte: int


class Model:
    """What several threads have in one region; each operation is followed by a look at it.

    Args:
        shim: where the region is.
        maximum: where it ends; None is as far as it can.
    """

    def __init__(self, shim: NodeHost, maximum: int | None = None) -> None:
        self.shim = shim
        self.kept: dict[int, Kept] = {}
        self.allocations = self.frees = self.refusals = self.peak = 0
        self.bytes = count(1)
        if maximum:
            shim.ask("newSmallRegion", maximum=maximum)
        else:
            shim.ask("newRegion")
        for number in (HUB, 1, 2, BROKER):
            shim.ask("enter", number=number, canBlock=number in (1, 2))
        self.region = look(shim)

    def allocate(self, number: int, length: int, owner: int) -> int:
        """Returns the offset, or 0 if there is no room."""
        offset: int = call(self.shim, number, "allocate", length, owner)
        if offset == 0:
            assert self.room < needed(length)
            self.refusals += 1
            self.check()
            return 0
        assert offset not in self.kept
        byte = next(self.bytes) % 255 + 1
        self.kept[offset] = Kept(length, owner, byte)
        self.allocations += 1
        self.fill(offset, byte)
        self.check()
        return offset

    @property
    def room(self) -> int:
        """The size of the largest block that there could be now."""
        row = self.region.row
        more = self.region.numbers["maximum"] - self.region.end
        last = row[-1].size if row and not row[-1].in_use else 0
        return max(last + more, *self.region.free, 0)

    def fill(self, offset: int, byte: int) -> None:
        self.kept[offset].byte = byte
        self.shim.ask("fill", offset=offset, length=self.kept[offset].length, byte=byte)

    def free(self, number: int, offset: int) -> None:
        call(self.shim, number, "free", offset)
        del self.kept[offset]
        self.frees += 1
        self.check()

    def hand(self, number: int, offset: int, to: int) -> None:
        kept = self.kept[offset]
        call(self.shim, number, "hand", offset, kept.owner, to)
        kept.owner = to
        self.check()

    def sweep(self, number: int, peer: int) -> None:
        assert call(self.shim, number, "sweep", peer) is True
        for offset in [offset for offset, kept in self.kept.items() if kept.owner == peer]:
            del self.kept[offset]
            self.frees += 1
        self.check()

    def check(self) -> None:
        """Looks at the region, and compares."""
        self.region = region = look(self.shim)
        assert region.in_use.keys() == self.kept.keys()
        for offset, block in region.in_use.items():
            kept = self.kept[offset]
            need = needed(kept.length)
            assert block.size in (need, need + HEAD)
            assert (block.third, block.fourth) == (kept.owner, kept.length)
        numbers = region.numbers
        self.peak = max(self.peak, numbers["used"])
        counted = [numbers[name] for name in COUNTERS]
        assert counted == [self.allocations, self.frees, self.refusals, 0]
        assert numbers["peak"] == self.peak
        contents = [[offset, kept.length, kept.byte] for offset, kept in self.kept.items()]
        assert self.shim.ask("spoilt", contents=contents) == []

    def check_statistics(self, number: int) -> None:
        region = self.region
        assert call(self.shim, number, "statistics") == {
            "bytes": region.end,
            "free": sum(region.free),
            "largest": max(region.free, default=0),
            **{name: region.numbers[name] for name in STATISTICS},
        }
        self.check()

    def check_misuse(self, number: int, offset: int) -> None:
        """Asks for what must not be, which changes nothing."""
        owners = {HUB, 1, 2} - {self.kept[offset].owner} if offset in self.kept else {HUB}
        for owner in owners:
            assert is_refused(self.shim, number, "hand", offset, owner, 1)
            assert is_refused(self.shim, number, "lengthOf", offset, owner)
        if offset not in self.kept:
            assert is_refused(self.shim, number, "free", offset)
        self.check()


numbers = st.sampled_from([HUB, 1, 2, BROKER])
peers = st.sampled_from([HUB, 1, 2])
places = st.floats(0, 1, exclude_max=True)
near_powers = st.builds(
    lambda bits, more: max(0, 2**bits + more), st.integers(4, 22), st.integers(-17, 17)
)
lengths = st.integers(0, 100) | st.integers(0, 10_000) | near_powers | st.integers(0, 3 * MIB)
steps_of_all = st.lists(
    st.tuples(st.just("allocate"), numbers, lengths, peers)
    | st.tuples(st.just("allocate"), numbers, near_powers, peers)
    | st.tuples(st.just("free"), numbers, places)
    | st.tuples(st.just("free and allocate again"), numbers, places)
    | st.tuples(st.just("hand"), numbers, places, peers)
    | st.tuples(st.just("sweep"), numbers, peers)
    | st.tuples(st.just("statistics"), numbers)
    | st.tuples(st.just("misuse"), numbers, places, st.sampled_from([0, HEAD, -HEAD, 8, 1])),
    min_size=10,
    max_size=50,
)


@settings(max_examples=150)
@given(maximum=st.sampled_from([None, 64 * PAGE, 90 * PAGE]), steps=steps_of_all)
def test_blocks_never_overlap_and_all_that_describes_them_is_exact(
    shim: NodeHost, maximum: int | None, steps: list[tuple[Any, ...]]
) -> None:
    """A-03: after every operation of any thread, also where there is little room."""
    model = Model(shim, maximum)
    for what, number, *args in steps:
        offsets = list(model.kept)
        if what == "allocate":
            model.allocate(number, *args)
        elif what == "sweep":
            model.sweep(number, *args)
        elif what == "statistics":
            model.check_statistics(number)
        elif offsets:
            offset = offsets[int(args[0] * len(offsets))]
            if what == "hand":
                model.hand(number, offset, args[1])
            elif what == "misuse":
                model.check_misuse(number, offset + args[1])
            else:
                end = model.region.end
                length = model.kept[offset].length
                model.free(number, offset)
                if what == "free and allocate again":
                    assert model.allocate(number, length, HUB)
                    assert model.region.end == end, "it has grown"
    check_that_all_fits_again(model)


def check_that_all_fits_again(model: Model) -> None:
    """Frees everything, and allocates it again where it was."""
    lengths = [kept.length for kept in model.kept.values()]
    end = model.region.end
    for _ in range(2):
        for offset in list(model.kept):
            model.free(HUB, offset)
        assert end == DATA or model.region.is_empty
        for length in lengths:
            assert model.allocate(1, length, 1)
        assert model.region.end == end, "it has grown"


def test_a_list_of_many_blocks_that_are_too_small_hides_none_that_fits(shim: NodeHost) -> None:
    """A-03: the one that fits is the last of its list; all of it is searched before the region
    grows."""
    model = Model(shim)
    fits = model.allocate(1, 1_900, 1)
    model.allocate(1, 8, 1)
    row = [model.allocate(1, length, 1) for _ in range(40) for length in (1_100, 8)]
    model.allocate(1, max(model.region.free) - HEAD, 1)
    for offset in [fits, *row[::2]]:
        model.free(1, offset)
    assert max(model.region.free) == 1_904 + HEAD, "a larger class would do"
    end = model.region.end
    assert model.allocate(1, 1_900, 1) == fits
    assert model.region.end == end


# Its header, growth and limit


def test_a_new_region_says_what_it_is(shim: NodeHost) -> None:
    """A-03: 64 bytes of header."""
    shim.ask("newRegion")
    region = look(shim)
    assert region.row == []
    found = region.numbers
    assert (found["magic"], found["version"], found["end"]) == (0x50595741, 1, DATA)
    assert found["maximum"] % PAGE == 0
    assert sum(found.values()) == 0x50595741 + 1 + DATA + found["maximum"]


@pytest.mark.parametrize("number", ["magic", "version"])
def test_a_region_of_another_layout_is_refused(shim: NodeHost, number: str) -> None:
    shim.ask("newRegion")
    shim.ask("set", numbers={number: 7})
    with pytest.raises(NodeError, match="layout"):
        shim.ask("enter", number=1, canBlock=True)


def test_others_see_what_lies_beyond_their_views(shim: NodeHost) -> None:
    """A-03: the region grows; what was a view before stays one."""
    model = Model(shim)
    early = model.allocate(1, 1_000, 1)
    shim.ask("keepView", number=1, offset=early, length=1_000)
    shim.ask("keepView", number=2, offset=early, length=1_000)
    late = [model.allocate(1, 3 * MIB, 1) for _ in range(3)]
    assert call(shim, 2, "lengthOf", late[0], 1) == 3 * MIB
    model.hand(HUB, late[1], HUB)
    shim.ask("keepView", number=BROKER, offset=late[2], length=3 * MIB)
    model.fill(early, 77)
    byte = model.kept[late[2]].byte
    assert shim.ask("viewed") == [[1_000, 77, 77], [1_000, 77, 77], [3 * MIB, byte, byte]]
    model.free(2, late[0])


def small(shim: NodeHost, maximum: int, **more: int) -> None:
    """A new region that ends at a maximum."""
    shim.ask("newSmallRegion", maximum=maximum, **more)
    for number in (HUB, 1, 2, 3, BROKER):
        shim.ask("enter", number=number, canBlock=True)


def test_a_full_region_refuses_until_something_is_freed(shim: NodeHost) -> None:
    """A-03"""
    small(shim, 8 * MIB)
    offsets = []
    while offset := call(shim, 1, "allocate", 1_000_000, 1):
        offsets.append(offset)
    assert len(offsets) == 8
    region = look(shim)
    assert region.numbers["refusals"] == 1
    assert call(shim, 2, "allocate", 8 * MIB - DATA - 8 * 1_000_016 - HEAD, 2) > 0
    assert call(shim, 2, "allocate", 0, 2) == 0
    region = look(shim)
    assert (region.end, region.free, region.numbers["refusals"]) == (8 * MIB, [], 2)
    call(shim, 2, "free", offsets[3])
    assert call(shim, 1, "allocate", 1_000_000, 1) == offsets[3]
    for offset in look(shim).in_use:
        call(shim, HUB, "free", offset)
    assert look(shim).is_empty


@pytest.mark.parametrize("length", [2**30 + 1, 2**31, 2**32, 2**53])
def test_what_no_region_holds_is_refused(shim: NodeHost, length: int) -> None:
    shim.ask("newRegion")
    shim.ask("enter", number=1, canBlock=True)
    assert call(shim, 1, "allocate", length, 1) == 0
    assert look(shim).row == []


@pytest.mark.parametrize("beyond", [16, 32, 1_000, PAGE])
def test_the_region_does_not_pass_its_maximum(shim: NodeHost, beyond: int) -> None:
    """A-03: not even where the memory has some pages more."""
    small(shim, MIB)
    fits = MIB - DATA - HEAD
    assert call(shim, 1, "allocate", fits + beyond, 1) == 0
    assert look(shim).end <= MIB
    assert call(shim, 1, "allocate", fits, 1) == DATA + HEAD


def test_the_region_makes_do_with_the_memory_that_the_system_gives(shim: NodeHost) -> None:
    """A-03: less than it would like to grow by."""
    small(shim, 64 * MIB, pages=32)
    assert call(shim, 1, "allocate", MIB, 1) > 0
    assert call(shim, 1, "allocate", MIB, 1) == 0
    region = look(shim)
    assert region.numbers["refusals"] == 1
    assert region.end <= 2 * MIB
    assert call(shim, 1, "allocate", MIB // 2, 1) > 0
    look(shim)


# Misuse


def test_only_what_allocate_gave_can_be_used(shim: NodeHost) -> None:
    """A-07: anything else raises RangeError and changes nothing."""
    model = Model(shim)
    freed, kept, other = (model.allocate(1, 1_000, 1) for _ in range(3))
    model.free(1, freed)
    outside = [0, 1, 15, HEAD, DATA, -HEAD, model.region.end, model.region.end + HEAD, 2**31, 2**40]
    for offset in [freed, kept + 1, kept + 8, other - 4, *outside]:
        model.check_misuse(2, offset)
    model.check_misuse(2, kept)


@pytest.mark.parametrize("byte", [0x00, 0x01, 0x10, 0xFF])
def test_nothing_begins_within_contents(shim: NodeHost, byte: int) -> None:
    """A-07: whatever they are."""
    model = Model(shim)
    offset = model.allocate(1, 1_000, 1)
    model.fill(offset, byte)
    word = int.from_bytes(bytes([byte] * 4), "little", signed=True)
    for inside in (16, 32, 512):
        assert is_refused(shim, 1, "lengthOf", offset + inside, word)
        assert is_refused(shim, 1, "hand", offset + inside, word, 2)
        assert is_refused(shim, 1, "free", offset + inside)
        model.check()


# Locks that others hold


def lock_as(shim: NodeHost, peer: int) -> None:
    """Makes it look as if a peer held the lock, and had changed nothing yet."""
    shim.ask("set", numbers={"lock": peer + 1})


def test_what_is_freed_while_another_holds_the_lock_is_freed_later(shim: NodeHost) -> None:
    """A-03: a thread that must not block does not wait for the lock."""
    model = Model(shim)
    offset = model.allocate(HUB, 1_000, HUB)
    lock_as(shim, 1)
    call(shim, HUB, "free", offset)
    assert call(shim, HUB, "allocate", 10, HUB) == 0
    assert call(shim, BROKER, "sweep", 2) is False
    with pytest.raises(NodeError, match="held by 1"):
        call(shim, HUB, "statistics")
    shim.ask("set", numbers={"lock": 0})
    assert look(shim).in_use.keys() == {offset}
    assert call(shim, HUB, "statistics")["frees"] == 1
    assert look(shim).is_empty


def test_what_is_to_be_freed_later_cannot_be_freed_again(shim: NodeHost) -> None:
    model = Model(shim)
    offset = model.allocate(HUB, 1_000, HUB)
    other = model.allocate(HUB, 1_000, HUB)
    lock_as(shim, 1)
    call(shim, HUB, "free", offset)
    assert is_refused(shim, HUB, "free", offset)
    assert call(shim, BROKER, "sweep", 1) is True
    assert call(shim, HUB, "statistics")["frees"] == 1
    assert look(shim).in_use.keys() == {other}


def test_what_is_to_be_freed_later_is_not_freed_from_under_its_next_owner(shim: NodeHost) -> None:
    """B-04: a hub frees what a worker has sent, which ended with the lock."""
    model = Model(shim)
    offset = model.allocate(1, 1_000, 1)
    lock_as(shim, 1)
    call(shim, HUB, "free", offset)
    assert call(shim, BROKER, "sweep", 1) is True
    again = call(shim, 2, "allocate", 1_000, 2)
    call(shim, HUB, "statistics")
    assert look(shim).in_use.keys() == {again}
    call(shim, HUB, "allocate", 1_000, HUB)
    assert len(look(shim).in_use) == 2


def test_what_a_thread_was_to_free_later_is_freed_when_it_has_ended(shim: NodeHost) -> None:
    """B-04"""
    model = Model(shim)
    offset = model.allocate(HUB, 1_000, HUB)
    shim.ask("enter", number=2, canBlock=False)
    lock_as(shim, 1)
    model.kept[offset].owner = 2
    call(shim, 2, "hand", offset, HUB, 2)
    call(shim, 2, "free", offset)
    assert call(shim, BROKER, "sweep", 1) is True
    model.sweep(BROKER, 2)
    assert model.region.is_empty


def two_neighbours(shim: NodeHost) -> tuple[int, int]:
    """Offsets of a block of peer 1, which is about to end, and one of peer 2."""
    small(shim, 8 * MIB)
    shim.ask("enter", number=HUB, canBlock=False)
    shim.ask("enter", number=BROKER, canBlock=False)
    dead, alive = shim.ask("furnish", blocks=[[1, 1_000, 5], [2, 1_000, 6]], holes=[])
    return dead, alive


def interruptions(
    shim: NodeHost, step: dict[str, Any], by: dict[str, Any]
) -> Iterator[tuple[str, int, int]]:
    """Has one thread do something before each store of another.

    Yields:
        What came of it, each time, and the offsets of ``two_neighbours``.
    """
    for number in count(1):
        dead, alive = two_neighbours(shim)
        fields = {**step, "by": {**by, "args": [dead if arg is ... else arg for arg in by["args"]]}}
        fields["args"] = [dead if arg is ... else arg for arg in step["args"]]
        told = shim.ask("interrupt", step=number, **fields)
        if told["other"] is None:
            assert number > 5
            return
        yield told["other"].get("value", "refused"), dead, alive


FREE_IN_HUB = {"number": HUB, "what": "free", "args": [...]}
HAND_TO_HUB = {"number": HUB, "what": "hand", "args": [..., 1, HUB]}
SWEEP = {"number": BROKER, "what": "sweep", "args": [1]}


def test_a_block_is_freed_once_though_its_owner_is_swept_meanwhile(shim: NodeHost) -> None:
    """B-04: a hub frees what a worker has sent that has ended."""
    for _, _, alive in interruptions(shim, FREE_IN_HUB, SWEEP):
        region = look(shim)
        assert region.in_use.keys() == {alive}
        assert region.numbers["frees"] == 1
        assert shim.ask("spoilt", contents=[[alive, 1_000, 6]]) == []


def test_a_block_is_freed_once_though_it_is_freed_during_a_sweep(shim: NodeHost) -> None:
    """B-04: the same, the other way round; the hub frees it later, or not at all."""
    for _, _, alive in interruptions(shim, SWEEP, FREE_IN_HUB):
        call(shim, HUB, "statistics")
        region = look(shim)
        assert region.in_use.keys() == {alive}
        assert region.numbers["frees"] == 1


def test_a_block_is_either_handed_on_or_swept(shim: NodeHost) -> None:
    """B-04: a hub takes over what a worker has sent that has ended."""
    for handed, dead, alive in interruptions(shim, SWEEP, HAND_TO_HUB):
        stays = {dead, alive} if handed != "refused" else {alive}
        assert look(shim).in_use.keys() == stays
        contents = [[offset, 1_000, 6 if offset == alive else 5] for offset in stays]
        assert shim.ask("spoilt", contents=contents) == []


# Threads that end in the midst of something


@dataclass(frozen=True)
class Scene:
    """What peer 1 does in a region, and what is there before.

    Args:
        blocks: owner and length of each, in order.
        holes: which of them are freed before.
        what: the operation.
        args: the last one is an index of ``blocks`` where it is to be an offset.
        rest: whether peer 3 has what the region has left at its end.
    """

    blocks: tuple[tuple[int, int], ...]
    holes: tuple[int, ...]
    what: Literal["allocate", "free", "sweep", "statistics"]
    args: tuple[int, ...]
    rest: bool = False

    def play(self, shim: NodeHost) -> tuple[list[int], list[list[int]]]:
        """Returns the arguments, and the contents of those that stay alive."""
        small(shim, 6 * MIB)
        blocks = [[owner, length, 7 + n] for n, (owner, length) in enumerate(self.blocks)]
        if self.rest:
            used = sum(-(-length // HEAD) * HEAD + HEAD for _, length in self.blocks)
            blocks.append([3, GROWTH - used - HEAD, 200])
        offsets = shim.ask("furnish", blocks=blocks, holes=self.holes)
        args = [offsets[self.args[-1]]] if self.what == "free" else list(self.args)
        contents = [
            [offset, length, byte]
            for n, (offset, (owner, length, byte)) in enumerate(zip(offsets, blocks, strict=True))
            if n not in self.holes and owner == 3
        ]
        return args, contents


ROW = ((3, 40), (1, 100), (2, 200), (1, 300), (3, 400), (1, 500), (3, 600))
SCENES = {
    "allocate the first block": Scene((), (), "allocate", (100, 1)),
    "allocate with split": Scene(ROW, (3,), "allocate", (100, 1)),
    "allocate without split": Scene(ROW, (3,), "allocate", (300, 1)),
    "allocate without split, with a rest": Scene(ROW, (3,), "allocate", (280, 1)),
    "allocate from the end": Scene(ROW, (), "allocate", (5_000, 1)),
    "allocate with growth that joins": Scene(ROW, (3,), "allocate", (5 * MIB, 1)),
    "allocate with growth behind a block in use": Scene(ROW, (), "allocate", (MIB, 1), rest=True),
    "allocate where there is no room": Scene(ROW, (3,), "allocate", (7 * MIB, 1)),
    "free between blocks in use": Scene(ROW, (), "free", (3,)),
    "free and join what is behind": Scene(ROW, (2,), "free", (1,)),
    "free and join what is before": Scene(ROW, (2,), "free", (3,)),
    "free and join both": Scene(ROW, (1, 3), "free", (2,)),
    "free and join what is at the end": Scene(ROW[:6], (3,), "free", (5,)),
    "free the last block": Scene(((3, 100), (1, 200)), (), "free", (1,)),
    "free the only block": Scene(((1, 200),), (), "free", (0,)),
    "sweep another": Scene(((2, 50), *ROW, (2, 60), (2, 70)), (3,), "sweep", (2,)),
    "tell statistics": Scene(ROW, (3,), "statistics", ()),
}


def check_that_it_goes_on(
    shim: NodeHost, contents: list[list[int]], dead: tuple[int, ...] = (1, 2)
) -> Region:
    """Sweeps peers, and uses what is left. Returns what was there after the sweeps."""
    for peer in dead:
        assert call(shim, BROKER, "sweep", peer) is True
        swept = look(shim)
        assert peer not in {block.third for block in swept.in_use.values()}
    assert swept.in_use.keys() == {offset for offset, _, _ in contents}
    assert shim.ask("spoilt", contents=contents) == []
    more = [[3, length, 99] for length in (0, 100, 1_000, 280)]
    offsets = shim.ask("furnish", blocks=more, holes=[1])
    look(shim)
    assert shim.ask("spoilt", contents=contents) == []
    for offset in [*(offset for offset, _, _ in contents), *offsets]:
        if offset != offsets[1]:
            call(shim, 3, "free", offset)
    assert look(shim).is_empty
    return swept


def deaths(shim: NodeHost, scene: Scene) -> Iterator[list[list[int]]]:
    """Has peer 1 end before each of its stores. Yields the contents that shall stay each time."""
    for step in count(1):
        args, contents = scene.play(shim)
        if not shim.ask("die", number=1, what=scene.what, args=args, step=step):
            assert step > 4
            return
        yield contents


@pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES)
def test_a_thread_may_end_before_any_of_its_stores(shim: NodeHost, scene: Scene) -> None:
    """A-03, B-04: no byte is lost, or in two blocks."""
    for contents in deaths(shim, scene):
        check_that_it_goes_on(shim, contents)


@pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES)
def test_counts_agree_after_a_thread_has_ended(shim: NodeHost, scene: Scene) -> None:
    """A-03: what was allocated was freed or is there; no more is in use than ever was."""
    for contents in deaths(shim, scene):
        peak = look_at_what_is_left(shim)
        swept = check_that_it_goes_on(shim, contents).numbers
        assert swept["allocations"] - swept["frees"] == swept["blocks"]
        assert swept["peak"] >= peak


def look_at_what_is_left(shim: NodeHost) -> int:
    """Returns how many bytes are in use while nobody has recovered them yet."""
    return sum(block["size"] for block in shim.ask("look")["row"] if block["inUse"])


@pytest.mark.parametrize(
    "first", ["free and join both", "allocate with split", "allocate with growth that joins"]
)
def test_a_thread_may_end_while_it_repairs_what_another_has_left(
    shim: NodeHost, first: str
) -> None:
    """A-03, B-04: also while the lists are made anew."""
    scene = SCENES[first]
    for step in count(1):
        for second in count(1):
            args, contents = scene.play(shim)
            if not shim.ask("die", number=1, what=scene.what, args=args, step=step):
                return
            shim.ask("set", numbers={"lock": 0})
            died = shim.ask("die", number=2, what="allocate", args=[100, 2], step=second)
            check_that_it_goes_on(shim, contents, dead=(2, 1))
            if not died:
                break


def test_a_waiting_thread_may_end_too(shim: NodeHost) -> None:
    """B-04: what it counted among the sleepers makes others notify in vain, and nothing worse."""
    model = Model(shim)
    shim.ask("set", numbers={"sleepers": 3})
    for _ in range(3):
        model.free(1, model.allocate(2, 100, 2))


# Threads at once


def stress(rounds: int, deaths: int) -> dict[str, Any]:
    seed = secrets.randbelow(2**32)
    print(f"seed {seed}")
    command = [node(), str(HERE / "arena_stress.mjs"), str(rounds), str(deaths), str(seed)]
    found = subprocess.run(command, capture_output=True, encoding="utf-8", check=False, timeout=50)
    assert found.returncode == 0, found.stderr
    told: dict[str, Any] = json.loads(found.stdout)
    return told


@pytest.mark.parametrize("rounds", [300_000])
def test_four_threads_use_one_region_at_once(rounds: int) -> None:
    """A-03: and hand each other what they have; every block is freed once."""
    found = stress(rounds, 0)
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
    found = stress(0, deaths)
    region = Region(found["region"])
    for one in found["told"]:
        assert (one["foreign"], one["refused"]) == (0, 0)
        assert one["allocated"] == one["freed"]
    print(f"{region.numbers['recoveries']} recoveries")
    assert region.is_empty


# The lock


class Agent(NamedTuple):
    """One thread, before a step of ``#acquire`` or ``#release``.

    Attributes:
        step: what it does next.
        held: the lock's value when it last failed to get it.
        rounds: how often it still wants the lock.
    """

    step: str
    held: int
    rounds: int


class State(NamedTuple):
    lock: int
    sleepers: int
    deaths: int
    """How many agents may still end before their time."""
    agents: tuple[Agent, ...]


def after(state: State, me: int, flaw: str) -> State | None:
    """What follows from one atomic step of an agent; None if it cannot make one.

    Agent ``me`` puts ``me + 1`` into the lock. That the code spins before it counts itself in
    changes nothing. No wait ends with its time here: each must be ended by a notify.
    """
    lock, sleepers, deaths, agents = state
    step, held, rounds = agents[me]
    match step:
        case "try":
            held = lock
            step = "count in" if lock else "inside"
            lock = lock or me + 1
        case "count in":
            sleepers += flaw != "it is not counted"
            step = "wait"
        case "wait":
            step = "asleep" if lock == held or flaw == "it waits in any case" else "count out"
        case "count out":
            sleepers -= flaw != "it is not counted"
            step = "try"
        case "inside":
            step = "let go"
        case "let go":  # for an agent that has ended too, which may not have had the lock
            lock = 0 if lock == me + 1 or flaw == "it lets go of any lock" else lock
            step = "look"
        case "look":
            step = "notify" if sleepers else "end of round"
        case "notify":
            agents = tuple(
                agent._replace(step="count out") if agent.step == "asleep" else agent
                for agent in agents
            )
            step = "end of round"
        case "end of round":
            rounds -= 1
            held = 0
            step = "try" if rounds else "done"
        case _:
            return None
    return State(
        lock, sleepers, deaths, (*agents[:me], Agent(step, held, rounds), *agents[me + 1 :])
    )


def ended(state: State, me: int) -> State | None:
    """An agent ends before its next step, and a sweep follows.

    The broker lets go of its lock, and then locks and unlocks once, here under the same number.
    """
    if state.deaths == 0 or state.agents[me].step == "done":
        return None
    sweep = Agent("let go", 0, 2)
    agents = (*state.agents[:me], sweep, *state.agents[me + 1 :])
    return state._replace(deaths=state.deaths - 1, agents=agents)


def what_goes_wrong(agents: int, rounds: int, deaths: int, flaw: str) -> set[str]:
    """Explores every state that can be reached."""
    wrong = set()
    waiting = [State(0, 0, deaths, (Agent("try", 0, rounds),) * agents)]
    seen = set(waiting)
    while waiting:
        state = waiting.pop()
        following = [after(state, me, flaw) for me in range(agents)]
        inside = [me for me, agent in enumerate(state.agents) if agent.step == "inside"]
        if len(inside) > 1:
            wrong.add("two are inside")
        if not any(following):
            if any(agent.step == "asleep" for agent in state.agents):
                wrong.add("one sleeps forever")
            if state.lock or (state.sleepers and not deaths):
                wrong.add("something is left")
        following += [ended(state, me) for me in range(agents)]
        new = {step for step in following if step} - seen
        seen |= new
        waiting += new
    return wrong


ROUNDS_AND_DEATHS = [(1, 0), (2, 0), (1, 1), (2, 1), (1, 2)]


@pytest.mark.parametrize(("rounds", "deaths"), ROUNDS_AND_DEATHS)
def test_three_threads_get_the_lock_in_turn_however_they_interleave(
    rounds: int, deaths: int
) -> None:
    """A-03: one at a time, and none sleeps forever, also where some end before any step."""
    assert what_goes_wrong(3, rounds, deaths, flaw="") == set()


@pytest.mark.parametrize(
    ("flaw", "wrong"),
    [
        ("it waits in any case", "one sleeps forever"),
        ("it is not counted", "one sleeps forever"),
        ("it lets go of any lock", "two are inside"),
    ],
)
def test_the_model_of_the_lock_shows_what_would_go_wrong(flaw: str, wrong: str) -> None:
    assert wrong in what_goes_wrong(3, 1, 1, flaw)
