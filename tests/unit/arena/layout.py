"""A region of the arena as it lies in memory, and what must hold of it.

Read by the layout that ``arena.mjs`` documents, not by its code.
"""

from itertools import pairwise
from typing import Any, NamedTuple

from tests.unit.node_host import NodeError, NodeHost

HUB = 0
BROKER = 0x3FFFFFFF
DATA = 320
HEAD = 16
PAGE = 65_536
MIB = 2**20
GROWTH = 4 * MIB
COUNTERS = ("allocations", "frees", "refusals", "recoveries")
STATISTICS = ("maximum", "used", "peak", "blocks", *COUNTERS)


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
