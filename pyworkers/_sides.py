"""The two sides of a conversation: what each offers to the code that both run.

Owns the words for it, and an alarm for deadlines where nobody else brings any. Knows nothing of
channels, handlers and requests.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from typing import Any, Final, Protocol

from pyworkers._futures import Waiter
from pyworkers._protocol import Kind

logger: Final = logging.getLogger("pyworkers")

PARTNER: Final = 0
"""The peer of a side that has only one."""


class Side(Protocol):
    """How messages travel from one side of a conversation."""

    name: str
    """Of this side, for people: "the hub"."""

    @property
    def waiter(self) -> Waiter:
        """Settles the futures of requests while somebody waits."""

    def encode(self, value: Any, lasts: bool = False) -> Any:
        """Returns a value as it travels, and may again later if it ``lasts``.

        Raises:
            PayloadError: it cannot travel.
        """

    def describe(self, error: BaseException) -> Any:
        """Returns what ``restore`` of the other side makes the same exception of."""

    def restore(self, value: Any) -> BaseException:
        """Makes an exception of what the other side told of it."""

    def send(self, peer: int, kind: Kind, id: int, value: Any, number: float) -> None:
        """Queues something encoded."""

    def flush(self) -> None:
        """Has it leave, outside of handling what arrived."""

    def after(self, call: Callable[[], object]) -> None:
        """Calls back when all that has arrived is in order."""

    def apart(self, call: Callable[[], object]) -> None:
        """Calls in a context of its own, outside of any task."""

    def beside(
        self, work: Coroutine[Any, Any, Any], then: Callable[[Callable[[], Any]], None]
    ) -> "asyncio.Task[Any] | None":
        """Awaits a coroutine, and calls with what returns its result or raises its error."""

    def remind(self, when: float) -> None:
        """Has ``Messenger.tick`` called at a time of ``time.monotonic``, at the latest."""

    def undisturbed(self) -> AbstractContextManager[None]:
        """Keeps what users' code has begun from being stopped half way by a signal."""

    def called(self, peer: int) -> str:
        """Returns the name of another side, for people: "worker 3"."""

    def number_of(self, peer: int) -> int | None:
        """Returns the number of a worker; None for others."""


def log(side: Side, what: str, peer: int, channel: str, kind: str) -> None:
    """Logs that one side has told another something."""
    if logger.isEnabledFor(logging.DEBUG):
        names = side.name, side.called(peer)
        logger.debug("%s from %s to %s: %r on channel %r", what, *names, kind, channel)


class Alarm:
    """Has an event loop call back at the earliest of the times that were set.

    None is ever cancelled: Pyodide's loop keeps those, too, until their time.

    Args:
        rings: called at that time; returns the next one, None if there is none.
    """

    def __init__(self, rings: Callable[[], float | None]) -> None:
        self._rings = rings
        self._loop: asyncio.AbstractEventLoop | None = None
        self._due = math.inf

    def set(self, when: float) -> None:
        """Sets a time, in seconds of ``time.monotonic``; nothing where no event loop runs."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        if loop is not self._loop or when < self._due:
            self._loop, self._due = loop, when
            loop.call_later(max(0.0, when - time.monotonic()), self._time_came, when)

    def _time_came(self, when: float) -> None:
        if self._due == when:
            self._due = math.inf
        due = self._rings()
        if due is not None:
            self.set(due)
