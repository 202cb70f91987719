"""Queues in the memory of one interpreter: of a hub without shared memory, and of mode inline.

Owns their items and who waits for what, and the hub's half of the conversation with workers that
reach them by messages. Nothing here blocks. An item is a pickle and its buffers.

Whoever puts something takes room first, and then pushes its item there. What was sent to a worker
is remembered until that one says that it has got it: so what comes to a task that was cancelled
meanwhile, or to a worker that is gone, is put back, in front of all.
"""

import time
from collections import deque
from typing import Any, ClassVar, Final

from pyworkers._answers import SERVICES, Message
from pyworkers._hub import hub_for
from pyworkers.sync._core import DONE, NOT_YET
from pyworkers.sync._hosted import found
from pyworkers.sync._local import KINDS, LocalCore, LocalPrimitive

ENDED: Final = -1
"""There will be nothing more: a try came to its end, though nothing was put or taken."""

SOME: Final = 1
"""The part of a queue that is waited for until there is something, or the end."""
JOINED: Final = 2
"""The part that is waited for until all is done with."""

CHANNEL: Final = "pyworkers.queues"

Item = tuple[bytes, list[Any]]
"""A pickle, and the buffers that belong to it."""


def size_of(item: Item) -> int:
    """Returns how many bytes an item has."""
    data, buffers = item
    return len(data) + sum(memoryview(part).nbytes for part in buffers)


class LocalQueue(LocalPrimitive):
    """As ``Consumer`` of ``js_shim/queues.mjs``; its other ends are its parts."""

    def __init__(self) -> None:
        super().__init__()
        self.items: deque[Item] = deque()
        self.maxsize = self.done = self.puts = 0
        self._gets = self._bytes = self._peak = 0
        self.closed = False
        self._sent: dict[tuple[int, int], list[Item]] = {}
        self.room = _Room(self)
        self.some = _Some(self)
        self.joined = _Joined(self)

    def part(self, owner: int, *which: int) -> LocalPrimitive:
        return {SOME: self.some, JOINED: self.joined}[which[0]]

    def initialize(self, owner: int, maxsize: int) -> None:
        self.maxsize = maxsize

    def take(self, owner: int) -> Any:
        """Returns an item, NOT_YET or ENDED."""
        if not self.items:
            return ENDED if self.closed else NOT_YET
        self._gets += 1
        item = self.items.popleft()
        self.room.serve()
        return item

    def undo(self, owner: int, outcome: Any) -> None:
        if outcome != ENDED:
            self.put_back([outcome])

    def put_back(self, items: list[Item]) -> None:
        """Puts items back in front of all others, in their order."""
        self._gets -= len(items)
        self.items.extendleft(reversed(items))
        self.serve()
        self.some.serve()

    def push(self, owner: int, data: bytes, buffers: list[Any]) -> bool:
        """Adds an item; False if it is closed."""
        if self.closed:
            return False
        item = (data, buffers)
        self.puts += 1
        self._bytes += size_of(item)
        self.items.append(item)
        self._peak = max(self._peak, len(self.items))
        self.serve()
        self.some.serve()
        return True

    def close(self, owner: int) -> None:
        self.closed = True
        for each in (self, self.room, self.some, self.joined):
            each.serve()

    def drain(self, owner: int) -> bool:
        while self.items:
            self.take(owner)
            self.taskDone(owner)
        return True

    def taskDone(self, owner: int) -> bool:
        if self.done == self.puts:
            return False
        self.done += 1
        self.joined.serve()
        return True

    def depth(self, owner: int) -> int:
        return len(self.items)

    def send(self, worker: int, ticket: int, items: list[Item]) -> list[Item]:
        """Notes that items are on their way to a worker; returns them."""
        self._sent[worker, ticket] = items
        return items

    def arrived(self, worker: int, ticket: int) -> None:
        """A worker has got what was sent."""
        self._sent.pop((worker, ticket), None)

    def came_back(self, worker: int, ticket: int) -> None:
        """Nobody there wants any more what was sent."""
        self.put_back(self._sent.pop((worker, ticket), []))

    def owner_lost(self, owner: int) -> None:
        super().owner_lost(owner)
        for each in (self.room, self.some, self.joined):
            each.owner_lost(owner)
        # What was sent last comes back first, so that what was sent first is in front again.
        for worker, ticket in reversed([key for key in self._sent if key[0] == owner]):
            self.came_back(worker, ticket)

    def statistics(self, owner: int) -> dict[str, int]:
        return {
            "puts": self.puts,
            "gets": self._gets,
            "done": self.done,
            "depth": len(self.items),
            "peak": self._peak,
            "bytes": self._bytes,
            "capacity": 0,
            "maxsize": self.maxsize,
            "closed": self.closed,
            "producers": self.room.counts()["waiting"],
            "consumers": self.counts()["waiting"],
            "putWaits": self.room.counts()["waits"],
            "getWaits": self.counts()["waits"],
            "losses": 0,
        }


class _Room(LocalPrimitive):
    """Room for one more item, which has to be pushed then."""

    def __init__(self, queue: LocalQueue) -> None:
        super().__init__()
        self._queue = queue
        self._reserved = 0

    def take(self, owner: int) -> int:
        queue = self._queue
        if queue.closed:
            return ENDED
        if queue.maxsize and len(queue.items) + self._reserved >= queue.maxsize:
            return NOT_YET
        self._reserved += 1
        return DONE

    def undo(self, owner: int, outcome: Any) -> None:
        if outcome == DONE:
            self._reserved -= 1
            self.serve()

    def fill(self, item: Item) -> int:
        """Pushes an item where there is room for it: DONE, or ENDED."""
        self._reserved -= 1
        return DONE if self._queue.push(0, *item) else ENDED


class _Some(LocalPrimitive):
    """As ``Onlooker`` of ``js_shim/queues.mjs``."""

    is_contended: ClassVar = False

    def __init__(self, queue: LocalQueue) -> None:
        super().__init__()
        self._queue = queue

    def take(self, owner: int) -> int:
        return DONE if self._queue.items or self._queue.closed else NOT_YET


class _Joined(LocalPrimitive):
    """As ``Joiner`` of ``js_shim/queues.mjs``."""

    is_contended: ClassVar = False

    def __init__(self, queue: LocalQueue) -> None:
        super().__init__()
        self._queue = queue

    def take(self, owner: int) -> int:
        return DONE if self._queue.done == self._queue.puts else NOT_YET


KINDS["Queue"] = LocalQueue


def _queue(number: int) -> LocalQueue:
    queue = found(number)
    assert isinstance(queue, LocalQueue)
    return queue


def _who(message: Message) -> int:
    assert message.worker is not None
    return message.worker


async def _put(message: Message) -> int:
    number, items, timeout = message.payload
    queue = _queue(number)
    core = LocalCore(queue.room, _who(message), hub_for("transfer"))
    end = None if timeout is None else time.monotonic() + timeout
    count = 0
    for item in items:
        left = None if end is None else end - time.monotonic()
        got = core.attempt(0) or await core.wait_async(left)
        if got == DONE:
            got = queue.room.fill(item)
        if got != DONE:
            return count or got
        count += 1
    return count


async def _get(message: Message) -> Any:
    number, ticket, most, timeout = message.payload
    queue, who = _queue(number), _who(message)
    core = LocalCore(queue, who, hub_for("transfer"))
    got: Any = core.attempt(0) or await core.wait_async(timeout)
    if got in (NOT_YET, ENDED):
        return got
    items = [got]
    while len(items) < most and (more := queue.attempt(who)) not in (NOT_YET, ENDED):
        items.append(more)
    return queue.send(who, ticket, items)


def _push(message: Message) -> None:
    number, items = message.payload
    for item in items:
        if not _queue(number).push(0, *item):
            raise ValueError("an item was put into a queue that is closed")


def _arrived(message: Message) -> None:
    number, ticket = message.payload
    _queue(number).arrived(_who(message), ticket)


def _came_back(message: Message) -> None:
    number, ticket = message.payload
    _queue(number).came_back(_who(message), ticket)


for _service in (_put, _get, _push, _arrived, _came_back):
    SERVICES[CHANNEL, _service.__name__[1:]] = _service
