"""Workers in reserve: when to start one, and when to give it up; decisions without any I/O.

Owns the reserve of one pool. Knows nothing of tasks: it sees the pool's workers and the clock.

A worker in reserve is set up like any other and runs nothing, until the pool needs one more: to
grow, or in place of one that died. It takes memory and, while it starts, a core. So none is started
before the pool has a worker that is ready and none that is starting, nor while it would compete
with tasks for the cores; and all are given up when the pool has not been used for a while.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from pyworkers._protocol import WorkerState
from pyworkers._slots import WorkerSlot

QUIET_SECONDS: Final = 0.5
"""So long no worker must have got ready or be starting; looked at as often while one is missing."""

IDLE_SECONDS: Final = 60.0
"""After so long without a task the reserve is given up, until there are tasks again."""

CORES_FOR_DEFAULT: Final = 4
"""With fewer, a pool that is not asked to keeps no reserve."""


def default_standby(cores: int) -> int:
    """Returns how many workers a pool holds in reserve that names no number."""
    return 1 if cores >= CORES_FOR_DEFAULT else 0


class Plan(NamedTuple):
    """What is to be done now.

    Attributes:
        start: how many workers to start; each is announced by ``started``.
        end: workers in reserve to be ended; each is announced by ``lost``.
        due: when to ask again at the latest; None: once there are tasks.
    """

    start: int
    end: list[int]
    due: float | None


@dataclass(slots=True)
class Reserve:
    """The reserve of one pool.

    Args:
        size: how many workers to hold in reserve.
        cores: of the machine.
        boot_seconds: how long a worker may take to start.
    """

    size: int
    cores: int
    boot_seconds: float
    workers: dict[int, WorkerSlot] = field(default_factory=dict)
    asleep: bool = True
    """Nothing will be done before there are tasks: ``plan`` need not be called."""
    _used: float = 0.0
    """When a worker of the pool last began or finished a task, as far as it was seen."""

    @property
    def ready(self) -> int:
        """How many can be taken at once."""
        return sum(slot.state is WorkerState.IDLE for slot in self.workers.values())

    def started(self, worker: int, now: float) -> None:
        """A worker was asked for."""
        self.workers[worker] = WorkerSlot(worker, WorkerState.INITIALIZING, now, now)

    def worker_ready(self, worker: int) -> None:
        """A worker in reserve is set up."""
        self.workers[worker].state = WorkerState.IDLE

    def lost(self, worker: int, failed: bool) -> None:
        """A worker in reserve is gone; after one that failed to start there is no other."""
        if self.workers.pop(worker).state is not WorkerState.IDLE and failed:
            self.size = 0

    def take(self) -> WorkerSlot | None:
        """Returns a worker that the pool gets: one that is ready, or else one that starts."""
        slots = self.workers.values()
        best = min(slots, key=lambda slot: slot.state is not WorkerState.IDLE, default=None)
        if best is not None:
            del self.workers[best.number]
        return best

    def plan(self, now: float, pool: Collection[WorkerSlot]) -> Plan:
        """Says what is to be done.

        Args:
            now: seconds.
            pool: its workers, those in reserve not among them.
        """
        late = [
            slot.number
            for slot in self.workers.values()
            if slot.state is WorkerState.INITIALIZING and slot.created + self.boot_seconds <= now
        ]
        if late:
            self.size = 0
        busy = sum(slot.state is WorkerState.BUSY for slot in pool)
        # The pool may have ended all its workers meanwhile.
        self._used = max((slot.last_used for slot in pool), default=self._used)
        idle_end = self._used + IDLE_SECONDS
        if not busy and idle_end <= now:
            self.asleep = True
            return Plan(0, list(self.workers), None)
        missing = self.size - len(self.workers)
        starting = any(
            slot.state is WorkerState.INITIALIZING for slot in (*pool, *self.workers.values())
        )
        ready = any(slot.state in (WorkerState.IDLE, WorkerState.BUSY) for slot in pool)
        newest = max((slot.created for slot in pool), default=now)
        is_quiet = ready and not starting and newest + QUIET_SECONDS <= now
        if missing > 0 and is_quiet and busy + 1 < self.cores:
            return Plan(1, late, now + QUIET_SECONDS)
        if missing > 0 or starting:
            return Plan(0, late, now + QUIET_SECONDS)
        return Plan(0, late, now + QUIET_SECONDS if busy else idle_end)
