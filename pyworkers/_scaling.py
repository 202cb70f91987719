"""How many workers a pool should have, without any I/O.

Owns how many workers the thresholds of a pool ask for, and when those that are not needed are to
end. Knows nothing of tasks: it is told how many wait and how long workers were busy, and the time
is handed in.

A worker ends when it was idle for ``idle_timeout``, never below ``min_workers``; with a
``Scaling``, only when the pool looks, and while the others have little to do. So that a few tasks
now and then do not keep all of them, the scheduler gives a task to the one that was idle for the
shortest time.

Three things keep work that comes and goes from ending workers just to start them again. Patience
grows: when a worker is wanted soon after one ended, before as much time again has passed, the pool
waits twice as long from then on, at most ``MAX_PATIENCE`` times the time-out; it is as impatient as
before after a time without that. What is left after an end has to be below ``end_utilisation``,
and so below ``start_utilisation``: what ends a worker never asks for one. And that utilisation is
an average over a window, so that a pause does not count as the end of the work.
"""

import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

MAX_PATIENCE: Final = 16
CALM: Final = 8
"""Patience halves after so many times of itself without a worker that was missed."""

_SAMPLES: Final = 60
"""A window is remembered in so many parts."""
_FUZZ: Final = 1e-9
"""Of a worker: what is no more than a rounding error asks for none."""

Capabilities = frozenset[str]
Seconds = Mapping[Capabilities, float]
"""For how long workers were busy in all, by what they can do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """When a pool starts workers and when it may end them, by what waits and by what is used.

    A pool looks every ``interval`` seconds, as long as there is something to do. Beside that, a
    worker starts at once for a task that no worker could run, as there is none or none that has its
    capabilities, and for ``min_workers``. Workers end only if the pool has an ``idle_timeout``, and
    while nothing waits.

    Args:
        start_waiting: how many tasks may wait for each worker that there is; if more do, so many
            workers are started that no more do, but not more than tasks wait. With 0, each task
            that waits gets a worker.
        start_utilisation: share of its time, above 0 and below 1, that a worker may be busy on
            average; if they are busier, so many are started that they would not be, even if nothing
            waits. It is below 1 so that no task waits for ever behind one that does not end.
        end_utilisation: idle workers end only as long as less than this share of those that are
            left would be busy, on average and now; above 0 and below ``start_utilisation``.
        window: seconds over which that average is taken; time before the first worker counts as
            idle. At least ``interval``.
        interval: seconds between two looks.
        max_starts: how many workers are started at one look at the most; None means any number.
        max_ends: how many workers end at one look at the most; None means any number.

    Raises:
        ValueError: an argument is out of its range.
    """

    start_waiting: float = 1.0
    start_utilisation: float = 0.8
    end_utilisation: float = 0.5
    window: float = 10.0
    interval: float = 1.0
    max_starts: int | None = None
    max_ends: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.start_waiting < math.inf:
            raise ValueError(
                f"start_waiting must be 0 tasks for each worker or more, not {self.start_waiting}"
            )
        if not 0 < self.start_utilisation < 1:
            raise ValueError(
                f"start_utilisation must be above 0 and below 1, not {self.start_utilisation}"
            )
        if not 0 < self.end_utilisation < self.start_utilisation:
            raise ValueError(
                "end_utilisation must be above 0 and below start_utilisation, which is "
                f"{self.start_utilisation}, not {self.end_utilisation}: else workers would end "
                "just to be started again"
            )
        if not 0 < self.interval < math.inf:
            raise ValueError(f"interval must be more than 0 seconds, not {self.interval}")
        if not self.interval <= self.window < math.inf:
            raise ValueError(
                f"window must be at least the interval, {self.interval} seconds, not {self.window}"
            )
        for name in ("max_starts", "max_ends"):
            count = getattr(self, name)
            if count is not None and count < 1:
                raise ValueError(f"{name} must be at least 1, not {count}")


class Load:
    """How many workers were busy on average over a window.

    Args:
        window: seconds.
    """

    def __init__(self, window: float) -> None:
        self._window = window
        self._samples: deque[tuple[float, Seconds]] = deque()

    def average(self, now: float, busy: Seconds) -> dict[Capabilities, float]:
        """Returns how many workers were busy on average, by what they can do.

        Args:
            now: the time.
            busy: for how long workers were busy in all until now.
        """
        samples, start = self._samples, now - self._window
        while len(samples) > 1 and samples[1][0] <= start:
            samples.popleft()
        if len(samples) > 1 and now - samples[-2][0] < self._window / _SAMPLES:
            samples.pop()
        samples.append((now, busy))
        (first, before), (second, after) = samples[0], samples[min(1, len(samples) - 1)]
        passed = 0.0 if first >= start else min(1.0, (start - first) / (second - first))
        found = {}
        for kind, seconds in busy.items():
            # What was before the first sample is in the window, too, as long as that is.
            base = 0.0 if first > start else before.get(kind, 0.0)
            base += passed * (after.get(kind, 0.0) - base)
            found[kind] = max(0.0, seconds - base) / self._window
        return found


class Idle(Protocol):
    """A worker that holds nothing, as far as it matters here."""

    @property
    def number(self) -> int:
        """Of the worker."""

    @property
    def last_used(self) -> float:
        """Since when it is idle."""


@dataclass(slots=True)
class Scaler:
    """How one pool grows and shrinks.

    Args:
        min_workers: so many live even when there is nothing to do.
        idle_timeout: seconds after which a worker that holds nothing ends; None means never.
        scaling: the thresholds; None means that each task which has no worker gets one.
    """

    min_workers: int = 0
    idle_timeout: float | None = None
    scaling: Scaling | None = None
    patience: int = field(default=1, init=False)
    """How many times ``idle_timeout`` a worker may be idle."""
    _ended: float | None = field(default=None, init=False)
    _changed: float = field(default=0.0, init=False)
    _load: Load | None = field(default=None, init=False)
    _next_look: float = field(default=0.0, init=False)
    _is_quiet: bool = field(default=True, init=False)
    """Whether nothing was going on when it looked last."""
    _keeps: int = field(default=0, init=False)
    """How many workers what was going on is enough for."""
    _may_end: int | None = field(default=0, init=False)
    """How many workers may end until it looks again."""

    def __post_init__(self) -> None:
        if self.scaling is not None:
            self._load = Load(self.scaling.window)

    def next_look(self, is_active: bool) -> float | None:
        """Returns when to look; None if there is nothing to see.

        Args:
            is_active: whether anything waits or runs.
        """
        if self._load is None or (self._is_quiet and not is_active):
            return None
        return self._next_look

    def look(
        self, now: float, is_active: bool, busy: int, seconds: Seconds
    ) -> dict[Capabilities, float] | None:
        """Returns how many workers were busy on average; None if it is not time to look.

        Args:
            now: the time.
            is_active: whether anything waits or runs.
            busy: how many workers run a task now.
            seconds: for how long workers were busy in all, by what they can do.
        """
        if self.scaling is None or self._load is None or now < self._next_look:
            return None
        self._next_look = now + self.scaling.interval
        self._is_quiet = not is_active
        load = self._load.average(now, seconds)
        # Work that has just come back is no more than a small part of the average yet.
        used = max(sum(load.values()), busy)
        self._keeps = math.floor(used / self.scaling.end_utilisation) + 1 if used else 0
        self._may_end = self.scaling.max_ends
        return load

    def missing(self, load: float, there: int, starting: int, waiting: int) -> int:
        """Returns how many workers the thresholds ask for.

        Args:
            load: how many workers were busy on average.
            there: how many there are.
            starting: how many of them are not ready yet.
            waiting: how many tasks have no worker to themselves.
        """
        assert self.scaling is not None
        by_waiting = waiting - starting
        if self.scaling.start_waiting:
            wanted = math.ceil(waiting / self.scaling.start_waiting - there - _FUZZ)
            by_waiting = min(by_waiting, wanted)
        by_use = math.ceil(load / self.scaling.start_utilisation - there - _FUZZ) if there else 0
        return max(0, by_waiting, by_use)

    def started(self, now: float) -> None:
        """A worker is started because there is work."""
        if self._ended is None or self.idle_timeout is None:
            return
        if now - self._ended < self.patience * self.idle_timeout:
            self.patience = min(2 * self.patience, MAX_PATIENCE)
            self._changed = now
        self._ended = None

    def ready(self, now: float) -> None:
        """A worker has started: the time that it took for that was no calm."""
        self._changed = now

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
        most = living - self.min_workers
        if self.scaling is not None:
            most = living - max(self.min_workers, self._keeps)
            most = most if self._may_end is None else min(most, self._may_end)
            self._may_end = 0
        over = [number for _, number in late[: max(0, most)]]
        if over:
            self._ended = now
        return over

    def next_surplus(self, living: int, idle: Iterable[Idle]) -> float | None:
        """Returns when ``surplus`` may name a worker; None if nothing that is idle would end."""
        if self.idle_timeout is None or living <= self.min_workers:
            return None
        first = min((worker.last_used for worker in idle), default=None)
        if first is None:
            return None
        due = first + self.patience * self.idle_timeout
        return due if self.scaling is None else max(due, self._next_look)
