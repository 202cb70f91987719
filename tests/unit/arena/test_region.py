"""The arena's region against a model of it: blocks, growth, limits, misuse."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.arena.layout import BROKER, DATA, HEAD, HUB, MIB, PAGE, call, is_refused, look
from tests.unit.arena.model import Model, check_that_all_fits_again, small
from tests.unit.node_host import NodeError, NodeHost

pytestmark = pytest.mark.timeout(60)

# A model


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
