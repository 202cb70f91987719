"""Queues: objects on their way between workers, and between them and the hub.

Owns what users see of them. How an item travels, and who has it when a thread ends, stands in
``_lines``, ``_shared_line`` and ``js_shim/queues.mjs``.
"""

import queue
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Self

from pyworkers import _codec
from pyworkers._arena import SharedArena
from pyworkers._cancel import undisturbed
from pyworkers._env import Mode
from pyworkers._store import ArenaStore, Block, stores
from pyworkers.errors import PayloadError, QueueClosed
from pyworkers.sync._core import SharedCore
from pyworkers.sync._hosted import HostedCore
from pyworkers.sync._lines import END, NOTHING, HostedLine, Line, LocalLine
from pyworkers.sync._local import LocalCore, check_count
from pyworkers.sync._local_queue import ENDED, Item, LocalQueue
from pyworkers.sync._primitive import Primitive
from pyworkers.sync._shared_line import SharedLine

CAPACITY: Final = 262_144
"""Bytes of a queue's ring, unless it is told otherwise."""

_LEAST_CAPACITY: Final = 64
_MOST_CAPACITY: Final = 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueStatistics:
    """What a queue can tell.

    Attributes:
        puts: how many items were put, modulo 2^31.
        gets: how many were taken, modulo 2^31.
        depth: how many there are now.
        peak: the most there ever were.
        bytes: of all items ever put, pickled.
        capacity: bytes of the ring; 0 without shared memory, where there is none.
        maxsize: how many items there may be; 0 any number.
        closed: whether it is closed.
        producers: how many wait for room now; too many if a worker has ended while it waited.
        consumers: how many wait for an item now, likewise.
        put_waits: how often somebody had to wait for room.
        get_waits: how often somebody had to wait for an item.
        unfinished: how many items were put and not said to be done with by ``task_done``.
        losses: how many workers have ended in the very moment of putting or taking.
    """

    puts: int
    gets: int
    depth: int
    peak: int
    bytes: int
    capacity: int
    maxsize: int
    closed: bool
    producers: int
    consumers: int
    put_waits: int
    get_waits: int
    unfinished: int
    losses: int


def encoded(value: Any) -> Item:
    """Pickles a value as an item.

    Raises:
        PayloadError: it cannot be pickled, or refers to what somebody has to keep.
    """
    data, buffers, handles = _codec.encode_item(value)
    if handles:
        raise PayloadError(
            f"{handles[0]!r} cannot be put into a queue, as nobody would keep it until it is "
            "taken: give it to the task as an argument, or return it"
        )
    return data, buffers


class _Queue(Primitive):
    """What all queues have in common."""

    __slots__ = ("_line",)
    _KIND: ClassVar = "Queue"
    _BYTES: ClassVar = 320

    _line: Line

    def __init__(self, maxsize: int, capacity: int, mode: Mode | None) -> None:
        if not _LEAST_CAPACITY <= capacity <= _MOST_CAPACITY:
            raise ValueError(
                f"capacity must be from {_LEAST_CAPACITY} to {_MOST_CAPACITY} bytes, not {capacity}"
            )
        maxsize = max(maxsize, 0)
        check_count("maxsize", maxsize)
        ring = (capacity + 15) & -16
        super().__init__(mode=mode, beyond=ring)
        core = self._core
        if isinstance(core, SharedCore):
            self._line.ask("initialize", ring, maxsize)
        else:
            core.ask("initialize", maxsize)

    def _open(self, mode: Mode, block: Block) -> None:
        super()._open(mode, block)
        assert isinstance(self._core, SharedCore)
        store = stores[mode]
        assert isinstance(store, ArenaStore)
        assert isinstance(store.arena, SharedArena)
        self._line = SharedLine(store.arena, block.id, self._core._hub, self._core)

    def _set_up(self) -> None:
        super()._set_up()
        core = self._core
        if isinstance(core, HostedCore):
            self._line = HostedLine(self._block.id)
        elif isinstance(core, LocalCore):
            assert isinstance(core.primitive, LocalQueue)
            self._line = LocalLine(core.primitive, core._owner, core._hub)

    @undisturbed
    def _given(self, value: Any) -> Any:
        """Returns what a line gave.

        Raises:
            queue.Empty: nothing.
            QueueClosed: its end.
        """
        if value is NOTHING:
            raise queue.Empty
        if value is END:
            raise QueueClosed(f"this {type(self).__name__} is closed, and nothing is left in it")
        return value

    def _was_put(self, count: int) -> None:
        if count == 0:
            raise queue.Full
        if count == ENDED:
            raise QueueClosed(f"this {type(self).__name__} is closed: nothing can be put any more")

    def close(self) -> None:
        """Ends it for all: nothing can be put any more; what is in it can still be taken."""
        self._line.ask("close")

    def empty(self) -> bool:
        """Says whether there is nothing to take now."""
        return bool(self._line.ask("depth") == 0)

    def statistics(self) -> QueueStatistics:
        """Returns how many items there were and are, and how often they were waited for."""
        found: dict[str, Any] = dict(self._line.ask("statistics"))
        return QueueStatistics(
            unfinished=(found["puts"] - found.pop("done")) & 0x7FFFFFFF,
            put_waits=found.pop("putWaits"),
            get_waits=found.pop("getWaits"),
            **found,
        )

    def _describe(self) -> str:
        found = self.statistics()
        most = f" of {found.maxsize}" if found.maxsize else ""
        closed = ", closed" if found.closed else ""
        waiting = f"{found.producers} putting and {found.consumers} getting"
        return f"with {found.depth}{most} items{closed}, {waiting}"


class Queue(_Queue):
    """A queue that any number of workers, and the hub, put objects into and take them out of.

    Items are pickled. Those of one producer are taken in their order. In mode shared they lie in
    shared memory: small ones in a ring, so that ``put`` has to wait while that is full, and
    large ones as a block each.

    Args:
        maxsize: how many items there may be; 0 or less means any number.
        capacity: bytes of the ring in shared memory, into which small items have to fit; a small
            item takes 4 bytes more than its pickle, a large one 12.
        mode: of the pools whose tasks shall get it; None means the default one.

    Raises:
        ValueError: the capacity is out of its range, or ``maxsize`` is more than 2**31 - 1.
        ModeError: the mode does not work here, or in a worker is not that of its pool.
        ArenaFull: there is no room.
    """

    __slots__ = ()

    def __init__(
        self, maxsize: int = 0, *, capacity: int = CAPACITY, mode: Mode | None = None
    ) -> None:
        super().__init__(maxsize, capacity, mode)

    def put(self, obj: Any, block: bool = True, timeout: float | None = None) -> None:
        """Puts an object in.

        Without shared memory a worker posts it: it is not told that the queue is full or closed,
        as ``put_async`` is.

        Args:
            obj: anything that can be pickled, but for what a hub keeps (a Ref, a SharedArray, a
                primitive).
            block: False tries once.
            timeout: seconds to wait for room; None means for ever.

        Raises:
            queue.Full: there was no room in that time.
            QueueClosed: it is closed.
            PayloadError: the object cannot be pickled.
            ArenaFull: a large object finds no room in the shared memory.
            ModeError: this thread cannot wait; ``put_async`` can.
        """
        self._was_put(self._line.put((encoded(obj),), timeout if block else 0.0))

    async def put_async(self, obj: Any, timeout: float | None = None) -> None:
        """Like ``put``, without blocking."""
        self._was_put(await self._line.put_async((encoded(obj),), timeout))

    def put_nowait(self, obj: Any) -> None:
        """Puts an object in if there is room now; raises ``queue.Full`` if not."""
        self.put(obj, False)

    def put_many(
        self, items: Iterable[Any], block: bool = True, timeout: float | None = None
    ) -> int:
        """Puts objects in, one after the other; others may come between them.

        Args:
            items: the objects.
            block: False puts as many as there is room for now.
            timeout: seconds to wait for room, in all; None means for ever.

        Returns:
            How many were put: the first of them, if the time was over or it was closed meanwhile.

        Raises:
            QueueClosed: it was closed before.
            PayloadError: one of them cannot be pickled; none was put.
        """
        return self._counted(
            self._line.put([encoded(each) for each in items], self._time(block, timeout))
        )

    async def put_many_async(self, items: Iterable[Any], timeout: float | None = None) -> int:
        """Like ``put_many``, without blocking."""
        return self._counted(await self._line.put_async([encoded(each) for each in items], timeout))

    def _time(self, block: bool, timeout: float | None) -> float | None:
        return timeout if block else 0.0

    def _counted(self, count: int) -> int:
        if count == ENDED:
            self._was_put(count)
        return count

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Takes an object out, and waits until there is one.

        Args:
            block: False tries once.
            timeout: seconds to wait; None means for ever.

        Raises:
            queue.Empty: there was none in that time.
            QueueClosed: it is closed, and nothing is left.
            PayloadError: what was taken cannot be unpickled here.
            ModeError: this thread cannot wait; ``get_async`` can.
        """
        value = self._line.get(timeout if block else 0.0)
        if value is NOTHING or value is END:
            self._given(value)
        return value

    async def get_async(self, timeout: float | None = None) -> Any:
        """Like ``get``, without blocking."""
        value = await self._line.get_async(timeout)
        if value is NOTHING or value is END:
            self._given(value)
        return value

    def get_nowait(self) -> Any:
        """Takes an object out if there is one now; raises ``queue.Empty`` if not."""
        return self.get(False)

    def get_many(self, most: int, block: bool = True, timeout: float | None = None) -> list[Any]:
        """Takes out what is there, and waits until there is something.

        Args:
            most: so many objects.
            block: False tries once.
            timeout: seconds to wait for the first one; None means for ever.

        Returns:
            One object at least.

        Raises:
            ValueError: ``most`` is less than 1.
            queue.Empty: there was none in that time.
            QueueClosed: it is closed, and nothing is left.
            PayloadError: some cannot be unpickled here; its attribute ``received`` is the list of
                the others.
        """
        if most < 1:
            raise ValueError(f"most must be 1 or more, not {most}")
        values = self._line.get_many(most, timeout if block else 0.0)
        if values is NOTHING or values is END:
            self._given(values)
        found: list[Any] = values
        return found

    async def get_many_async(self, most: int, timeout: float | None = None) -> list[Any]:
        """Like ``get_many``, without blocking."""
        if most < 1:
            raise ValueError(f"most must be 1 or more, not {most}")
        values = await self._line.get_many_async(most, timeout)
        if values is NOTHING or values is END:
            self._given(values)
        found: list[Any] = values
        return found

    def qsize(self) -> int:
        """Returns how many items there are now."""
        return int(self._line.ask("depth"))

    def full(self) -> bool:
        """Says whether there are as many items as there may be; bytes are not looked at."""
        found = self.statistics()
        return 0 < found.maxsize <= found.depth

    def shutdown(self, immediate: bool = False) -> None:
        """Closes it.

        Args:
            immediate: what is in it is dropped, and counts as done with.
        """
        self.close()
        if immediate:
            end = time.monotonic() + 1
            while not self._line.ask("drain") and time.monotonic() < end:
                pass  # a worker takes something at this moment

    def join_thread(self) -> None:
        """Does nothing: what was put is in the queue."""

    def cancel_join_thread(self) -> None:
        """Does nothing, like ``join_thread``."""

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        try:
            return self.get()
        except QueueClosed:
            raise StopIteration from None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        try:
            return await self.get_async()
        except QueueClosed:
            raise StopAsyncIteration from None


class JoinableQueue(Queue):
    """A queue that can be waited for until all that was put is done with.

    Whoever has taken an item calls ``task_done`` when it is done with it. A worker that ends before
    that never will: wait with a timeout where that may happen, and have somebody else call it.
    """

    __slots__ = ()

    def task_done(self) -> None:
        """Tells that an item which was taken is done with.

        Raises:
            ValueError: it was called more often than items were put.
        """
        if not self._line.ask("taskDone"):
            raise ValueError("task_done() called too many times")

    def join(self, timeout: float | None = None) -> bool:
        """Waits until all that was put is done with.

        Args:
            timeout: seconds; None means for ever.

        Returns:
            False when the time is over.

        Raises:
            ModeError: this thread cannot wait; ``join_async`` can.
        """
        joined = self._line.joined
        return bool(joined.attempt(0) or joined.wait(timeout))

    async def join_async(self, timeout: float | None = None) -> bool:
        """Like ``join``, without blocking."""
        joined = self._line.joined
        return bool(joined.attempt(0) or await joined.wait_async(timeout))


class SimpleQueue(_Queue):
    """A queue that can put and get, and no more.

    Args:
        capacity: bytes of the ring in shared memory, as for ``Queue``.
        mode: of the pools whose tasks shall get it; None means the default one.
    """

    __slots__ = ()

    def __init__(self, *, capacity: int = CAPACITY, mode: Mode | None = None) -> None:
        super().__init__(0, capacity, mode)

    def put(self, obj: Any) -> None:
        """Puts an object in; waits while the ring is full."""
        self._was_put(self._line.put((encoded(obj),), None))

    async def put_async(self, obj: Any) -> None:
        """Like ``put``, without blocking."""
        self._was_put(await self._line.put_async((encoded(obj),), None))

    def get(self) -> Any:
        """Takes an object out, and waits until there is one.

        Raises:
            QueueClosed: it is closed, and nothing is left.
        """
        return self._given(self._line.get(None))

    async def get_async(self) -> Any:
        """Like ``get``, without blocking."""
        return self._given(await self._line.get_async(None))
