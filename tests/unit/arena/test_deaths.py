"""Locks that others hold, and threads that end in the midst of something."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any, Literal

import pytest

from tests.unit.arena.layout import BROKER, GROWTH, HEAD, HUB, MIB, Region, call, is_refused, look
from tests.unit.arena.model import Model, small
from tests.unit.node_host import NodeError, NodeHost

pytestmark = pytest.mark.timeout(60)

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
