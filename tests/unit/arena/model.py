"""What the arena is compared with: which blocks there must be, and how much room they take."""

from dataclasses import dataclass
from itertools import count

from tests.unit.arena.layout import (
    BROKER,
    COUNTERS,
    DATA,
    HEAD,
    HUB,
    STATISTICS,
    call,
    is_refused,
    look,
)
from tests.unit.node_host import NodeHost


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


def small(shim: NodeHost, maximum: int, **more: int) -> None:
    """A new region that ends at a maximum."""
    shim.ask("newSmallRegion", maximum=maximum, **more)
    for number in (HUB, 1, 2, 3, BROKER):
        shim.ask("enter", number=number, canBlock=True)
