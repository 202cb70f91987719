"""What outlives a task: objects that are kept once and read by any worker, and shared arrays.

Owns what is kept, and for how long. Knows nothing of tasks, nor of how frames travel.

Whatever is kept belongs to the hub, which counts who may still use it, and frees it with the last
of these:

- a ``Ref`` or ``SharedArray`` of the hub's own Python;
- a task that was given one, until it is done; a function or initializer that refers to one;
- a worker that has attached a shared array and told by RETAIN that it goes on using it, until it
  tells by RELEASE that it does not, or is gone.

A worker that is told of a handle thus always finds what it stands for. Where memory is shared,
both ends look at the arena. What is not there, an object in mode transfer or memory that a page has
made, is sent by the hub ahead of the first task of each worker that needs it; when the worker can
forget it, it is told.
"""

import itertools
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final, Generic, Protocol, TypeVar

from pyworkers import _codec
from pyworkers._arena import Arena, ArenaStatistics, SharedArena, is_beside
from pyworkers._codec import Encoded, Handle
from pyworkers._compression import Packing, packed, unpacked
from pyworkers.errors import PayloadError

T = TypeVar("T")

_ALIGNMENT: Final = 16

Layout = tuple[tuple[int, bool], ...]
"""Length of the pickle and of each of its buffers, and whether it is frozen."""

_NOTHING: Final[Encoded] = (b"", [], ())

Buffers = list[bytes | bytearray]

Kept = tuple[int, Layout, list[int]]
"""What a worker tells of a result that stays: its id, and those of what it refers to."""


class Block:
    """The right to use something that is kept; it is given up with the last of these objects."""

    __slots__ = ("__weakref__", "id")

    def __init__(self, id: int) -> None:
        self.id = id


class _Deliveries:
    """Which worker was sent what."""

    def __init__(self) -> None:
        self._sent: dict[int, set[int]] = {}
        self._forgotten: deque[tuple[int, int]] = deque()

    def is_new(self, peer: int, id: int) -> bool:
        """Says whether a worker was not sent something yet; from now on it was."""
        sent = self._sent.setdefault(peer, set())
        if id in sent:
            return False
        sent.add(id)
        return True

    def drop(self, id: int) -> None:
        """Notes that nobody needs something any more."""
        for peer, ids in self._sent.items():
            if id in ids:
                ids.discard(id)
                self._forgotten.append((peer, id))

    def peer_lost(self, peer: int) -> None:
        self._sent.pop(peer, None)

    def forgotten(self) -> list[tuple[int, int]]:
        found = []
        while self._forgotten:  # garbage collection may add to it at any time
            peer, id = self._forgotten.popleft()
            if peer in self._sent:
                found.append((peer, id))
        return found


class _Store(Protocol):
    """One interpreter's end of what is kept."""

    def put(self, encoded: Encoded) -> tuple[Block, Layout]:
        """Keeps an encoded object.

        Raises:
            ArenaFull: there is no room.
        """

    def load(self, id: int, layout: Layout) -> tuple[bytes | bytearray, Buffers]:
        """Returns copies of what was kept: the pickle and its buffers."""

    def missing(self, peer: int, handles: Iterable[Handle]) -> list[tuple[int, Encoded]]:
        """Returns what a worker must be sent before it can read a pickle with these handles."""

    def peer_lost(self, peer: int) -> None:
        """Forgets what a worker had been sent."""

    def let_go(self, peer: int, task: int) -> tuple[Handle, ...]:
        """Returns what is kept for a result, which is the caller's from now on."""

    def let_go_message(self, peer: int) -> tuple[Handle, ...]:
        """Returns what is kept for the next message of a worker, which is the caller's now."""

    def forgotten(self) -> list[tuple[int, int]]:
        """Returns, once, pairs of worker and id: what that one need not keep any longer."""

    def statistics(self) -> ArenaStatistics | None:
        """Returns how much of the shared memory is in use; None where there is none."""


class ArenaStore:
    """A store in shared memory: an id is an offset.

    Args:
        arena: of this interpreter.
        is_hub: whether what is kept belongs to this interpreter.
    """

    def __init__(self, arena: Arena, is_hub: bool) -> None:
        self.arena = arena
        self._is_hub = is_hub
        self.on_peer_lost: list[Callable[[int], object]] = []
        """Called with the number of each worker that is gone."""
        self.touched = False
        """A block was attached or given up since somebody cleared this."""
        self._blocks: weakref.WeakValueDictionary[int, Block] = weakref.WeakValueDictionary()
        self._held: dict[tuple[int, int], tuple[Handle, ...]] = {}
        self._held_by_messages: dict[int, deque[tuple[Handle, ...]]] = {}
        self._deliveries = _Deliveries()

    def put(self, encoded: Encoded) -> tuple[Block, Layout]:
        id, layout = self.write(encoded)
        return self.own(id), layout

    def hold(self, peer: int, task: int, handles: tuple[Handle, ...]) -> None:
        """Keeps, in mode inline, what a result names until it is read."""
        self._held[peer, task] = handles

    def let_go(self, peer: int, task: int) -> tuple[Handle, ...]:
        return self._held.pop((peer, task), ())

    def hold_message(self, peer: int, handles: tuple[Handle, ...]) -> None:
        """Keeps, in mode inline, what a message of a worker names, if anything, until it is read.

        All of its messages are noted: they are read in the order in which they were sent.
        """
        self._held_by_messages.setdefault(peer, deque()).append(handles)

    def let_go_message(self, peer: int) -> tuple[Handle, ...]:
        held = self._held_by_messages.get(peer)
        return held.popleft() if held else ()

    def write(self, encoded: Encoded) -> tuple[int, Layout]:
        """Copies an encoded object into bytes that nobody is responsible for yet."""
        data, buffers, _ = encoded
        parts = [memoryview(data), *buffers]
        layout = tuple((len(part), part.readonly) for part in parts)
        id = self.arena.allocate(sum(_padded(length) for length, _ in layout))
        position = 0
        for part in parts:
            self.arena.write(id, position, part)
            position += _padded(len(part))
        return id, layout

    def own(self, id: int) -> Block:
        """Takes responsibility for an offset: it is freed with the block that is returned."""
        block = self._blocks[id] = Block(id)
        weakref.finalize(block, self._free, id).atexit = False
        return block

    def _free(self, id: int) -> None:
        self.arena.free(id)
        self._deliveries.drop(id)

    def attach(self, id: int) -> Block:
        """Returns the right to use what a pickle names.

        Raises:
            LookupError: the hub has freed it.
        """
        block = self._blocks.get(id)
        if block is None:
            if self._is_hub:
                raise LookupError(f"what was at {id} of the shared memory is freed")
            block = self._blocks[id] = Block(id)
            self.touched = True
            weakref.finalize(block, self._dropped).atexit = False
        return block

    def _dropped(self) -> None:
        self.touched = True

    def attached(self) -> set[int]:
        """Returns the ids of all blocks in use here."""
        return set(self._blocks)

    def load(self, id: int, layout: Layout) -> tuple[bytes | bytearray, Buffers]:
        parts: Buffers = []
        position = 0
        for length, frozen in layout:
            parts.append(self.arena.read(id, position, length, frozen))
            position += _padded(length)
        return parts[0], parts[1:]

    def missing(self, peer: int, handles: Iterable[Handle]) -> list[tuple[int, Encoded]]:
        found: list[tuple[int, Encoded]] = []
        self._lend(peer, handles, found)
        return found

    def _lend(
        self, peer: int, named: Iterable[Handle | Block], found: list[tuple[int, Encoded]]
    ) -> None:
        for each in named:
            if isinstance(each, Ref):
                self._lend(peer, each._inner, found)
            elif is_beside(each.id) and self._deliveries.is_new(peer, each.id):
                assert isinstance(self.arena, SharedArena)
                self.arena.lend(each.id, peer)
                found.append((each.id, _NOTHING))

    def forget(self, id: int) -> None:
        """Drops, in a worker, what the hub has dropped."""
        self.arena.free(id)

    def peer_lost(self, peer: int) -> None:
        self._held = {key: handles for key, handles in self._held.items() if key[0] != peer}
        self._held_by_messages.pop(peer, None)
        self._deliveries.peer_lost(peer)
        for call in self.on_peer_lost:
            call(peer)

    def forgotten(self) -> list[tuple[int, int]]:
        return self._deliveries.forgotten()

    def statistics(self) -> ArenaStatistics | None:
        return self.arena.statistics()


class SendingStore:
    """A store without shared memory: the hub keeps the objects, a worker those that it was sent."""

    def __init__(self) -> None:
        self.on_peer_lost: list[Callable[[int], object]] = []
        """Called with the number of each worker that is gone."""
        self._ids = itertools.count(1)
        self._objects: dict[int, Encoded] = {}
        self._deliveries = _Deliveries()

    def put(self, encoded: Encoded) -> tuple[Block, Layout]:
        data, buffers, handles = encoded
        block = Block(next(self._ids))
        copies = [memoryview(bytes(part) if part.readonly else bytearray(part)) for part in buffers]
        self.keep(block.id, (bytes(data), copies, handles))
        weakref.finalize(block, self._drop, block.id).atexit = False
        return block, ()

    def keep(self, id: int, encoded: Encoded) -> None:
        """Keeps, in a worker, what the hub sent."""
        self._objects[id] = encoded

    def forget(self, id: int) -> None:
        """Drops, in a worker, what the hub has dropped."""
        self._objects.pop(id, None)

    def _drop(self, id: int) -> None:
        del self._objects[id]
        self._deliveries.drop(id)

    def load(self, id: int, layout: Layout) -> tuple[bytes | bytearray, Buffers]:
        data, buffers, _ = self._objects[id]
        return data, [bytes(part) if part.readonly else bytearray(part) for part in buffers]

    def missing(self, peer: int, handles: Iterable[Handle]) -> list[tuple[int, Encoded]]:
        found: list[tuple[int, Encoded]] = []
        for handle in handles:
            if isinstance(handle, Ref) and self._deliveries.is_new(peer, handle.id):
                encoded = self._objects[handle.id]
                found += self.missing(peer, encoded[2])
                found.append((handle.id, encoded))
        return found

    def peer_lost(self, peer: int) -> None:
        self._deliveries.peer_lost(peer)
        for call in self.on_peer_lost:
            call(peer)

    def let_go(self, peer: int, task: int) -> tuple[Handle, ...]:
        return ()

    def let_go_message(self, peer: int) -> tuple[Handle, ...]:
        return ()

    def forgotten(self) -> list[tuple[int, int]]:
        return self._deliveries.forgotten()

    def statistics(self) -> ArenaStatistics | None:
        return None


Store = ArenaStore | SendingStore

stores: Final[dict[str, Store]] = {}
"""The store of each mode that this interpreter has: of its hubs, or of the worker that it is."""


class Ref(Handle, Generic[T]):
    """An object that is kept outside of any interpreter, as ``pool.put`` and ``keep=True`` do.

    Give it to a task, on its own or inside of other arguments, and the task gets the object: a
    copy of its own, which it may change without changing what is kept. The hub does not copy it
    again, however many tasks use it. It is freed when the last ``Ref`` to it is gone, and no task
    needs it any more.
    """

    __slots__ = (
        "__weakref__",
        "_block",
        "_inner",
        "_layout",
        "_mode",
        "_packing",
        "size",
        "stored",
    )

    def __init__(
        self,
        mode: str,
        block: Block,
        layout: Layout,
        inner: Iterable[Handle | Block],
        size: int,
        stored: int | None = None,
        packing: Packing = (),
    ) -> None:
        self._mode = mode
        self._block = block
        self._layout = layout
        self._packing = packing
        self._inner = tuple(inner)
        self.size = size
        """How many bytes its pickle and its buffers have."""
        self.stored = size if stored is None else stored
        """How many bytes are kept for them: fewer where they are compressed."""

    @property
    def id(self) -> int:
        """What names it in its store."""
        return self._block.id

    @property
    def mode(self) -> str:
        """Of the pools whose tasks can use it."""
        return self._mode

    def get(self) -> T:
        """Returns the object, as a copy of its own.

        Raises:
            PayloadError: it cannot be unpickled here.
        """
        value: T = _load(self._mode, self.id, self._layout, self._packing)
        return value

    def reduced(self) -> tuple[Any, ...]:
        return _load, (self._mode, self.id, self._layout, self._packing)

    def __repr__(self) -> str:
        kept = ""
        if self._packing:
            kept = f" compressed to {self.stored} ({self.stored / self.size:.0%})"
        return f"<Ref {self.id}: {self.size} bytes{kept}, mode {self._mode}>"


def keep(mode: str, encoded: Encoded, compress_over: int | None = None) -> Ref[Any]:
    """Keeps an encoded object in the store of a mode.

    Args:
        mode: of the store.
        encoded: the object.
        compress_over: bytes above which it is compressed, if that makes it smaller; None: never.

    Raises:
        PayloadError: it refers to something of another mode.
        ArenaFull: there is no room.
    """
    handles = encoded[2]
    check_mode(mode, handles)
    stored = size = _size(encoded)
    packing: Packing = ()
    if compress_over is not None and size > compress_over:
        smaller, how = packed(encoded)
        if any(how):
            encoded, packing = smaller, how
            stored = _size(encoded)
    block, layout = stores[mode].put(encoded)
    return Ref(mode, block, layout, handles, size, stored, packing)


def _size(encoded: Encoded) -> int:
    data, buffers, _ = encoded
    return len(data) + sum(len(part) for part in buffers)


def check_mode(mode: str, handles: Iterable[Handle]) -> None:
    """Raises PayloadError if something is of another mode than those who shall use it."""
    for handle in handles:
        if handle.mode != mode:
            raise PayloadError(f"{handle!r} cannot be used in mode {mode}")


def adopt(mode: str, store: ArenaStore, peer: int, kept: Kept) -> Ref[Any]:
    """Takes over what a worker has written for its hub to keep.

    Raises:
        RangeError: nothing of that worker is there.
        LookupError: something that it refers to is freed.
    """
    id, layout, inner = kept
    store.arena.hand(id, peer)
    block = store.own(id)
    size = sum(length for length, _ in layout)
    return Ref(mode, block, layout, map(store.attach, inner), size)


def _load(mode: str, id: int, layout: Layout, packing: Packing) -> Any:
    data, buffers = stores[mode].load(id, layout)
    if packing:
        data, buffers = unpacked(data, buffers, packing)
    return _codec.decode(data, buffers)


def _padded(length: int) -> int:
    return (length + _ALIGNMENT - 1) & -_ALIGNMENT
