"""How long to wait before something is tried again, and whether it is; without any I/O.

Owns the waits of tasks that are run again and of workers that are replaced. Knows nothing of
queues: the scheduler asks, and hands in the time and the chance.
"""

import heapq
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from pyworkers.errors import PayloadError

MAX_RETRY_SECONDS: Final = 60.0
"""A task waits no longer than this before it is run again."""

RESTART_SECONDS: Final = 0.1
"""The second worker in a row that is lost is replaced after so long, each further one after twice
as long as the one before it."""
MAX_RESTART_SECONDS: Final = 5.0

_MAX_DOUBLINGS: Final = 60
"""No wait that matters doubles more often; many more would overflow."""

RetryOn = type[BaseException] | Iterable[type[BaseException]]


def doubled(first: float, times: int, most: float) -> float:
    """Returns the wait that begins with ``first`` and has doubled some times, at most ``most``."""
    return float(min(first * 2 ** min(times, _MAX_DOUBLINGS), most))


def retry_wait(first: float, tried: int, chance: float) -> float:
    """Returns how many seconds a task waits before it is run again.

    Tasks that failed together shall not come back together: each waits between half of the time
    and all of it.

    Args:
        first: seconds before it is run again for the first time.
        tried: how many times it was run again before.
        chance: 0 to 1.
    """
    return doubled(first, tried, MAX_RETRY_SECONDS) * (0.5 + 0.5 * chance)


@dataclass(slots=True)
class Retries:
    """How many times one task may still be run again, and how long it waits before.

    Args:
        left: so many times.
        backoff: seconds to wait the first time.
    """

    left: int
    backoff: float
    tried: int = field(default=0, init=False)
    """How many times it was run again, or waits to be."""
    wait: float = field(default=0.0, init=False)
    """Seconds that it waited, or waits, the last time."""

    def use(self, chance: float) -> float:
        """Takes one of them; returns how many seconds to wait.

        Args:
            chance: 0 to 1.
        """
        self.wait = retry_wait(self.backoff, self.tried, chance)
        self.left -= 1
        self.tried += 1
        return self.wait


def as_error_types(retry_on: RetryOn) -> tuple[type[BaseException], ...]:
    """Returns the types of errors after which a task is run again, which may be one alone.

    Raises:
        TypeError: something in it is no type of exceptions.
    """
    kinds = (retry_on,) if isinstance(retry_on, type) else tuple(retry_on)
    for kind in kinds:
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            raise TypeError(f"retry_on takes types of exceptions, not {kind!r}")
    return kinds


def is_retried(error: BaseException, kinds: tuple[type[BaseException], ...]) -> bool:
    """Says whether a task that raised an error is run again.

    What could not travel is a PayloadError, of which nobody knows what it would have been: it has
    to be named itself, not by one of its bases.
    """
    if isinstance(error, PayloadError):
        return PayloadError in kinds
    return isinstance(error, kinds)


@dataclass(slots=True)
class Restarts:
    """The places of lost workers that stay empty, and until when.

    The first worker that is lost is replaced at once; those that are lost after it, while no task
    was finished in between, later and later: what ends them would only end others.

    Args:
        replaces: whether lost workers are replaced at all.
    """

    replaces: bool = True
    _in_a_row: int = 0
    _done: int = 0
    _dues: list[float] = field(default_factory=list)

    def lost(self, now: float, done: int) -> None:
        """A worker has ended by itself.

        Args:
            now: the time.
            done: how many tasks were finished so far.
        """
        if done != self._done:
            self._done = done
            self._in_a_row = 0
        if not self.replaces:
            heapq.heappush(self._dues, math.inf)
        elif self._in_a_row:
            wait = doubled(RESTART_SECONDS, self._in_a_row - 1, MAX_RESTART_SECONDS)
            heapq.heappush(self._dues, now + wait)
        self._in_a_row += 1

    def empty(self, now: float) -> int:
        """Returns how many places stay empty now."""
        while self._dues and self._dues[0] <= now:
            heapq.heappop(self._dues)
        return len(self._dues)

    def next_due(self, now: float) -> float | None:
        """Returns when the next place may be taken again; None if none is ever going to be."""
        return self._dues[0] if self.empty(now) and self._dues[0] < math.inf else None
