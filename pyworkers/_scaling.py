"""How many workers a pool should have, without any I/O.

Owns when workers are to be started and when those that are not needed are to end. Knows nothing
of tasks: it is told how many wait, and the time is handed in.

Up: one worker for each task that has none, at once. Down: a worker ends when it was idle for
``idle_timeout``, never below ``min_workers``. So that a few tasks now and then do not keep all of
them, the scheduler gives a task to the one that was idle for the shortest time. So that work which
comes and goes does not end workers just to start them again, patience grows: when a worker is
wanted soon after one ended, before as much time again has passed, the pool waits twice as long from
then on, at most ``MAX_PATIENCE`` times the time-out. It is as impatient as before after a time
without that.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Protocol

MAX_PATIENCE: Final = 16
CALM: Final = 8
"""Patience halves after so many times of itself without a worker that was missed."""


class Idle(Protocol):
    """A worker that holds nothing, as far as it matters here."""

    @property
    def number(self) -> int:
        """Of the worker."""

    @property
    def last_used(self) -> float:
        """Since when it is idle."""


@dataclass(slots=True)
class Scaling:
    """How one pool grows and shrinks.

    Args:
        min_workers: so many live even when there is nothing to do.
        idle_timeout: seconds after which a worker that holds nothing ends; None means never.
    """

    min_workers: int = 0
    idle_timeout: float | None = None
    patience: int = field(default=1, init=False)
    """How many times ``idle_timeout`` a worker may be idle."""
    _ended: float | None = field(default=None, init=False)
    _changed: float = field(default=0.0, init=False)

    def missing(self, living: int, room: int, starting: int, waiting: int) -> int:
        """Returns how many workers to start.

        Args:
            living: how many there are.
            room: how many more there may be.
            starting: how many of them are not ready yet.
            waiting: how many tasks have no worker to themselves.
        """
        return max(0, min(room, max(waiting - starting, self.min_workers - living)))

    def started(self, now: float) -> None:
        """A worker is started because there is work."""
        if self._ended is None or self.idle_timeout is None:
            return
        if now - self._ended < self.patience * self.idle_timeout:
            self.patience = min(2 * self.patience, MAX_PATIENCE)
            self._changed = now
        self._ended = None

    def surplus(self, living: int, idle: Iterable[Idle], now: float) -> list[int]:
        """Returns the workers that are to end, and takes that as done.

        Args:
            living: how many there are.
            idle: those that hold nothing.
            now: the time.
        """
        if self.idle_timeout is None:
            return []
        while self.patience > 1 and now - self._changed >= CALM * self.patience * self.idle_timeout:
            self._changed += CALM * self.patience * self.idle_timeout
            self.patience //= 2
        since = now - self.patience * self.idle_timeout
        late = sorted((w.last_used, w.number) for w in idle if w.last_used <= since)
        over = [number for _, number in late[: max(0, living - self.min_workers)]]
        if over:
            self._ended = now
        return over

    def next_surplus(self, living: int, idle: Iterable[Idle]) -> float | None:
        """Returns when ``surplus`` may name a worker; None if nothing that is idle would end."""
        if self.idle_timeout is None or living <= self.min_workers:
            return None
        first = min((worker.last_used for worker in idle), default=None)
        return None if first is None else first + self.patience * self.idle_timeout
