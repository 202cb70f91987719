"""How an interpreter puts items into a queue, and takes them out.

Owns what a queue is to its users' side, and the two that need no shared memory: a queue of this
interpreter, and one that the hub has, by messages. ``_shared_line`` is the third. Knows nothing of
what users see.
"""

import itertools
import math
import time
from collections.abc import Sequence
from typing import Any, Final, Protocol

from pyworkers import _codec
from pyworkers._hub import Hub
from pyworkers._messages import DirectChannel
from pyworkers.errors import PayloadError
from pyworkers.sync._core import DONE, NOT_YET, Core
from pyworkers.sync._hosted import HostedCore, to_hub
from pyworkers.sync._local import LocalCore
from pyworkers.sync._local_queue import CHANNEL, ENDED, JOINED, SOME, Item, LocalQueue

NOTHING: Final = object()
"""There was nothing in all that time."""
END: Final = object()
"""There is nothing, and there will be nothing more."""


class Line(Protocol):
    """A queue, as one interpreter reaches it. Times are seconds; None is for ever."""

    some: Core
    """Waits until there is something, or the end."""
    joined: Core
    """Waits until all is done with."""

    def put(self, items: Sequence[Item], timeout: float | None) -> int:
        """Puts items; returns how many before the time was over, ENDED if it is closed at once."""

    async def put_async(self, items: Sequence[Item], timeout: float | None) -> int: ...

    def get(self, timeout: float | None, is_raw: bool = False) -> Any:
        """Takes an item and returns it, unpickled unless it ``is_raw``; NOTHING or END."""

    async def get_async(self, timeout: float | None, is_raw: bool = False) -> Any: ...

    def get_many(self, most: int, timeout: float | None) -> Any:
        """Takes what is there, and returns a list with an item at least; NOTHING or END."""

    async def get_many_async(self, most: int, timeout: float | None) -> Any: ...

    def ask(self, operation: str, *arguments: Any) -> Any:
        """Returns what an operation of the queue does, that does not wait."""


def opened(item: Item, is_raw: bool = False) -> Any:
    """Unpickles an item; one that ``is_raw`` is bytes."""
    data, buffers = item
    return bytes(data) if is_raw else _codec.decode(data, buffers)


def all_opened(items: Sequence[Item]) -> list[Any]:
    """Unpickles items.

    Raises:
        PayloadError: some cannot be read; what can stands in its attribute ``received``.
    """
    values, wrong = [], None
    for item in items:
        try:
            values.append(opened(item))
        except PayloadError as error:
            wrong = wrong or error
    if wrong is not None:
        some = PayloadError(f"{len(items) - len(values)} of {len(items)} items: {wrong}")
        some.received = values  # type: ignore[attr-defined]
        raise some from wrong
    return values


class LocalLine:
    """A queue of this interpreter.

    Args:
        queue: what it is.
        owner: who acts.
        hub: that pumps while it waits.
    """

    def __init__(self, queue: LocalQueue, owner: int, hub: Hub) -> None:
        self._queue = queue
        self._owner = owner
        self._items = LocalCore(queue, owner, hub)
        self._room = LocalCore(queue.room, owner, hub)
        self.some: Core = LocalCore(queue.some, owner, hub)
        self.joined: Core = LocalCore(queue.joined, owner, hub)

    def ask(self, operation: str, *arguments: Any) -> Any:
        return self._items.ask(operation, *arguments)

    def put(self, items: Sequence[Item], timeout: float | None) -> int:
        end = _end(timeout)
        for count, item in enumerate(items):
            got = self._room.attempt(0)
            if not got and (left := _left(end)) != 0:
                got = self._room.wait(left)
            if got == DONE:
                got = self._queue.room.fill(_owned(item))
            if got != DONE:
                return count or got
        return len(items)

    async def put_async(self, items: Sequence[Item], timeout: float | None) -> int:
        end = _end(timeout)
        for count, item in enumerate(items):
            got = self._room.attempt(0) or await self._room.wait_async(_left(end))
            if got == DONE:
                got = self._queue.room.fill(_owned(item))
            if got != DONE:
                return count or got
        return len(items)

    def get(self, timeout: float | None, is_raw: bool = False) -> Any:
        got = self._first(timeout)
        return got if got in _OUTCOMES else opened(got, is_raw)

    def get_many(self, most: int, timeout: float | None) -> Any:
        got = self._first(timeout)
        return got if got in _OUTCOMES else all_opened([got, *self._more(most)])

    def _first(self, timeout: float | None) -> Any:
        got: Any = self._items.attempt(0)
        if got == NOT_YET and (timeout is None or timeout > 0):
            got = self._items.wait(timeout)
        return _MEANING[got] if type(got) is int else got

    def _more(self, most: int) -> list[Item]:
        items: list[Item] = []
        while len(items) < most - 1:
            got: Any = self._items.attempt(0)
            if type(got) is int:
                break
            items.append(got)
        return items

    async def get_async(self, timeout: float | None, is_raw: bool = False) -> Any:
        got = await self._first_async(timeout)
        return got if got in _OUTCOMES else opened(got, is_raw)

    async def get_many_async(self, most: int, timeout: float | None) -> Any:
        got = await self._first_async(timeout)
        return got if got in _OUTCOMES else all_opened([got, *self._more(most)])

    async def _first_async(self, timeout: float | None) -> Any:
        got: Any = self._items.attempt(0)
        if got == NOT_YET and (timeout is None or timeout > 0):
            got = await self._items.wait_async(timeout)
        return _MEANING[got] if type(got) is int else got


_TOLD: Final = frozenset({"close", "drain", "taskDone"})
"""Operations whose answer a worker does not wait for."""
_MEANING: Final[dict[int, Any]] = {NOT_YET: NOTHING, ENDED: END}
_OUTCOMES: Final = (NOTHING, END)


def _owned(item: Item) -> Item:
    """Returns an item that does not change with what it was made of."""
    data, buffers = item
    return data, [bytes(part) if part.readonly else bytearray(part) for part in buffers]


def _end(timeout: float | None) -> float:
    return math.inf if timeout is None else time.monotonic() + timeout


def _left(end: float) -> float | None:
    return None if end == math.inf else max(0.0, end - time.monotonic())


class HostedLine:
    """A queue of the hub, as seen by a worker of mode transfer.

    What a plain function puts is posted, and so never refused; ``put_async`` waits for room.

    Args:
        number: of the queue there.
    """

    _tickets: Final = itertools.count(1)

    def __init__(self, number: int) -> None:
        self._number = number
        self._core = HostedCore("Queue", number)
        self.some = self._core.part(SOME)
        self.joined = self._core.part(JOINED)

    @property
    def _channel(self) -> DirectChannel:
        return to_hub(CHANNEL)

    def ask(self, operation: str, *arguments: Any) -> Any:
        if operation in _TOLD:
            return self._core.teller(operation)(*arguments)
        return self._core.ask(operation, *arguments)

    def put(self, items: Sequence[Item], timeout: float | None) -> int:
        self._channel.post("push", (self._number, list(items)))
        return len(items)

    async def put_async(self, items: Sequence[Item], timeout: float | None) -> int:
        payload = (self._number, list(items), timeout)
        got: int = await self._channel.request("put", payload, timeout=None)
        return got

    def get(self, timeout: float | None, is_raw: bool = False) -> Any:
        got = self._asked(1, timeout)
        return got if got in _OUTCOMES else opened(got[0], is_raw)

    def get_many(self, most: int, timeout: float | None) -> Any:
        got = self._asked(most, timeout)
        return got if got in _OUTCOMES else all_opened(got)

    def _asked(self, most: int, timeout: float | None) -> Any:
        ticket, asked = self._ask_for(most, timeout)
        try:
            got = asked.result()
        except BaseException:
            self._abandon(ticket, asked)
            raise
        return self._arrived(ticket, got)

    async def get_async(self, timeout: float | None, is_raw: bool = False) -> Any:
        got = await self._asked_async(1, timeout)
        return got if got in _OUTCOMES else opened(got[0], is_raw)

    async def get_many_async(self, most: int, timeout: float | None) -> Any:
        got = await self._asked_async(most, timeout)
        return got if got in _OUTCOMES else all_opened(got)

    async def _asked_async(self, most: int, timeout: float | None) -> Any:
        ticket, asked = self._ask_for(most, timeout)
        try:
            got = await asked
        except BaseException:
            self._abandon(ticket, asked)
            raise
        return self._arrived(ticket, got)

    def _ask_for(self, most: int, timeout: float | None) -> tuple[int, Any]:
        ticket = next(self._tickets)
        payload = (self._number, ticket, most, timeout)
        return ticket, self._channel.request("get", payload, timeout=None)

    def _abandon(self, ticket: int, asked: Any) -> None:
        asked.cancel()
        self._channel.post("came_back", (self._number, ticket))

    def _arrived(self, ticket: int, got: Any) -> Any:
        if type(got) is int:
            return _MEANING[got]
        self._channel.post("arrived", (self._number, ticket))
        return got
