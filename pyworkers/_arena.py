"""Memory that all interpreters of a hub reach: bytes in, bytes out, numbers one at a time.

Owns the copying between a Python heap and shared memory. Knows nothing of what is kept there. What
a page has made itself lies beside the arena, and has an odd number where that has offsets. Where
there are no other interpreters (mode inline), this one's own heap stands in.
"""

import itertools
import sys
from dataclasses import dataclass
from typing import Any, Final, Protocol

from pyworkers import _js
from pyworkers.errors import ArenaFull

HUB: Final = 0
"""The owner of what a hub keeps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArenaStatistics:
    """How much of the shared memory is in use; sizes in bytes, overhead of blocks included.

    Attributes:
        bytes: how much the arena spans so far; it grows as needed and never shrinks.
        maximum: how far it can grow.
        used: in blocks that are in use.
        peak: the most that ``used`` ever was.
        free: in blocks that can be used again.
        largest: the largest of them.
        blocks: how many blocks are in use.
        allocations: how many there ever were.
        frees: how many of them were given back.
        refusals: how many found no room.
        recoveries: how often the lists were made anew after a worker had died changing them.
    """

    bytes: int
    maximum: int
    used: int
    peak: int
    free: int
    largest: int
    blocks: int
    allocations: int
    frees: int
    refusals: int
    recoveries: int

    @property
    def fragmentation(self) -> float:
        """The part of the free bytes that the largest free block does not hold: 0 is none."""
        return 1 - self.largest / self.free if self.free else 0.0


class Cells(Protocol):
    """Numbers of one type, by index. Indices and values are checked by the caller."""

    items: Any
    """The JavaScript array of these numbers; None if they are not in shared memory."""

    def get(self, index: int) -> Any: ...
    def set(self, index: int, value: Any) -> None: ...
    def load(self, index: int) -> int: ...
    def store(self, index: int, value: int) -> None: ...
    def add(self, index: int, value: int) -> int: ...
    def compareExchange(self, index: int, expected: int, value: int) -> int: ...


class Arena(Protocol):
    """Shared memory, as one interpreter sees it."""

    def allocate(self, length: int) -> int:
        """Reserves bytes and returns their offset; this interpreter owns them.

        Raises:
            ArenaFull: there is no room.
        """

    def free(self, offset: int) -> None:
        """Gives bytes back, once nothing can write there any more."""

    def hand(self, offset: int, owner: int) -> None:
        """Makes the hub the owner of what a peer had reserved."""

    def write(self, offset: int, position: int, data: Any) -> None:
        """Copies a contiguous buffer of bytes in, to a position behind an offset."""

    def read(self, offset: int, position: int, length: int, frozen: bool) -> bytes | bytearray:
        """Copies bytes out: into a ``bytes`` if it shall be frozen, else into a ``bytearray``."""

    def cells(self, offset: int, position: int, length: int, code: str) -> Cells:
        """Returns the numbers at a position behind an offset.

        Args:
            offset: of ``allocate``.
            position: in bytes.
            length: in bytes.
            code: their type, as in ``struct``.
        """

    def statistics(self) -> ArenaStatistics:
        """Returns how much is in use now."""


def is_beside(offset: int) -> bool:
    """Says whether this is the number of something that a page has made, beside the arena."""
    return offset & 1 == 1


class SharedArena:
    """The arena of the shim, and what lies beside it.

    Args:
        link: a RingLink of ``js_shim/ring_link.mjs``, which has the arena, and what lies beside it.
        keeper: frees what this interpreter owns and tells how much is in use: a hub's Hub of
            ``js_shim/hub.mjs``, in a worker the arena itself.
        make_cells: makes a Cells of ``js_shim/cells.mjs``.
        make_primitive: finds a primitive of ``js_shim/sync.mjs``.
        owner: the number of this worker, or HUB.
    """

    def __init__(
        self, link: Any, keeper: Any, make_cells: Any, make_primitive: Any, owner: int
    ) -> None:
        self.link = link
        self.shim = link.arena
        self._keeper = keeper
        self._make_cells = make_cells
        self._make_primitive = make_primitive
        self._owner = owner

    def allocate(self, length: int) -> int:
        offset = int(self.shim.allocate(length, self._owner))
        if offset == 0:
            found = self.statistics()
            raise ArenaFull(
                f"the shared memory has no room for {length} bytes: {found.used} of "
                f"{found.maximum} bytes are in use, in {found.blocks} blocks"
            )
        return offset

    def give(self, data: bytes, peer: int) -> int:
        """Copies bytes in, for a peer to free; returns their offset, 0 if there is no room."""
        offset = int(self.shim.allocate(len(data), peer))
        if offset:
            self.write(offset, 0, data)
        return offset

    def free(self, offset: int) -> None:
        if is_beside(offset):
            self.link.memories.delete(offset)
        else:
            self._keeper.free(offset)

    def add(self, buffer: Any, name: int) -> int:
        """Takes in what a page has made, beside the arena.

        Args:
            buffer: a SharedArrayBuffer.
            name: by which the page knows it.
        """
        return int(self.link.memories.add(buffer, name))

    def lend(self, offset: int, peer: int) -> None:
        """Sends a worker what lies beside the arena; an OBJECT frame has to follow."""
        self.link.lend(peer, offset)

    def hand(self, offset: int, owner: int) -> None:
        self.shim.hand(offset, owner, HUB)

    def _place(self, offset: int) -> tuple[Any, int]:
        if is_beside(offset):
            return self.link.memories.get(offset), 0
        return self.shim, offset

    def write(self, offset: int, position: int, data: Any) -> None:
        if len(data):
            memory, start = self._place(offset)
            memory.bytes(start + position, len(data)).assign(data)

    def read(self, offset: int, position: int, length: int, frozen: bool) -> bytes | bytearray:
        memory, start = self._place(offset)
        return _js.copied(memory.bytes(start + position, length), length, frozen)

    def cells(self, offset: int, position: int, length: int, code: str) -> Cells:
        memory, start = self._place(offset)
        cells: Cells = self._make_cells(memory, start + position, length, code)
        if code in "qQ":
            return WideCells(cells)
        return FloatCells(cells) if code in "fd" else cells

    def primitive(self, kind: str, offset: int) -> Any:
        """Returns the shim's object for a primitive.

        Args:
            kind: its name in ``js_shim/sync.mjs``.
            offset: of ``allocate``.
        """
        return self._make_primitive(self.link, kind, offset)

    def statistics(self) -> ArenaStatistics:
        return ArenaStatistics(**self._keeper.statistics().to_py())


class WideCells:
    """Numbers of 64 bits in shared memory.

    JavaScript's come as a type of their own, which would go back to it as a BigInt.
    """

    def __init__(self, cells: Cells) -> None:
        self._cells = cells
        self.items = cells.items
        self.set = cells.set
        self.store = cells.store

    def get(self, index: int) -> int:
        return int(self._cells.get(index))

    def load(self, index: int) -> int:
        return int(self._cells.load(index))

    def add(self, index: int, value: int) -> int:
        return int(self._cells.add(index, value))

    def compareExchange(self, index: int, expected: int, value: int) -> int:
        return int(self._cells.compareExchange(index, expected, value))


class FloatCells:
    """Floats in shared memory, of which JavaScript's 3.0 would come as an int."""

    def __init__(self, cells: Cells) -> None:
        self._cells = cells
        self.items = cells.items
        self.set = cells.set
        self.load = cells.load
        self.store = cells.store
        self.add = cells.add
        self.compareExchange = cells.compareExchange

    def get(self, index: int) -> float:
        return float(self._cells.get(index))


class LocalCells:
    """Numbers in this interpreter's own heap, which nothing else touches meanwhile."""

    items = None

    def __init__(self, view: memoryview) -> None:
        self._view = view
        self.get = view.__getitem__
        self.set = view.__setitem__
        self.load = view.__getitem__
        self.store = view.__setitem__
        self._bits = 8 * view.itemsize
        self._signed = view.format.islower()

    def add(self, index: int, value: int) -> int:
        old: int = self._view[index]
        total = (old + value) & ((1 << self._bits) - 1)
        if self._signed and total >> (self._bits - 1):
            total -= 1 << self._bits
        self._view[index] = total
        return old

    def compareExchange(self, index: int, expected: int, value: int) -> int:
        old: int = self._view[index]
        if old == expected:
            self._view[index] = value
        return old


class LocalArena:
    """What stands in for shared memory where hub and worker are one interpreter."""

    def __init__(self) -> None:
        self._blocks: dict[int, bytearray] = {}
        self._offsets = itertools.count(16, 16)
        self._used = self._peak = self._frees = 0

    def allocate(self, length: int) -> int:
        offset = next(self._offsets)
        self._blocks[offset] = bytearray(length)
        self._used += length
        self._peak = max(self._peak, self._used)
        return offset

    def free(self, offset: int) -> None:
        self._used -= len(self._blocks.pop(offset))
        self._frees += 1

    def hand(self, offset: int, owner: int) -> None:
        pass

    def write(self, offset: int, position: int, data: Any) -> None:
        self._blocks[offset][position : position + len(data)] = data

    def read(self, offset: int, position: int, length: int, frozen: bool) -> bytes | bytearray:
        part = memoryview(self._blocks[offset])[position : position + length]
        return bytes(part) if frozen else bytearray(part)

    def cells(self, offset: int, position: int, length: int, code: str) -> Cells:
        part: Any = memoryview(self._blocks[offset])[position : position + length]
        return LocalCells(part.cast(code))

    def statistics(self) -> ArenaStatistics:
        return ArenaStatistics(
            bytes=self._used,
            maximum=sys.maxsize,
            used=self._used,
            peak=self._peak,
            free=0,
            largest=0,
            blocks=len(self._blocks),
            allocations=len(self._blocks) + self._frees,
            frees=self._frees,
            refusals=0,
            recoveries=0,
        )
