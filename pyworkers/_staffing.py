"""How many workers a pool starts, and what each can do; decisions without any I/O.

Owns the places for workers, and how many of them start or did not. Knows tasks only as numbers of
what waits for which capabilities: which worker runs what is the scheduler's.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from pyworkers._backoff import Restarts
from pyworkers._protocol import WorkerState
from pyworkers._scaling import Scaling
from pyworkers._slots import WorkerSlot

MAX_BOOT_FAILURES: Final = 3
"""So many workers in a row that end before they are ready break the pool."""

Wanted = Counter[frozenset[str]]
"""For how many tasks a worker would be of use, by the capabilities needed."""


@dataclass(slots=True)
class Staffing:
    """The workers that one pool has, and those that it lacks.

    Args:
        max_workers: how many workers may live at a time.
        places: the capabilities of each worker that there may be; empty if none has any.
        scaling: says how many workers there should be.
        restarts: says when workers that were lost are replaced.
        workers: those that there are.
    """

    max_workers: int
    places: Sequence[frozenset[str]]
    scaling: Scaling
    restarts: Restarts
    workers: dict[int, WorkerSlot]
    starting: int = 0
    """How many are not ready yet."""
    is_short: bool = field(init=False)
    """Whether there are fewer workers than there should always be."""
    _boot_failures: int = 0
    _done: int = 0
    """How many tasks workers finished which are gone."""

    def __post_init__(self) -> None:
        self.is_short = self.scaling.min_workers > 0

    def started(self, worker: int, wanted: Wanted, now: float) -> None:
        """A worker was asked for; it is not ready yet."""
        slot = WorkerSlot(worker, WorkerState.INITIALIZING, now, now)
        if self.places:
            slot.place = self._next_place(wanted)
            slot.capabilities = self.places[slot.place]
        self.workers[worker] = slot
        self.starting += 1
        self._count()

    def _count(self) -> None:
        self.is_short = len(self.workers) < self.scaling.min_workers

    def ready(self) -> None:
        """A worker has started."""
        self.starting -= 1
        self._boot_failures = 0

    def lost(self, worker: int, reason: str) -> str | None:
        """A worker is gone.

        Args:
            worker: its number.
            reason: what ended it.

        Returns:
            Why no worker shall be started any more; None if others may.
        """
        slot = self.workers.pop(worker)
        self._done += slot.tasks_done
        self._count()
        if slot.state is WorkerState.INITIALIZING:
            self.starting -= 1
        if slot.state in (WorkerState.INITIALIZING, WorkerState.ERROR):
            self._boot_failures += 1
            if self._boot_failures >= MAX_BOOT_FAILURES:
                count = self._boot_failures
                return f"{count} workers in a row did not start; the last: {reason}"
        return None

    def crashed(self, reason: str, now: float) -> str | None:
        """The worker that was just lost had ended by itself: its place may stay empty for a while.

        Args:
            reason: what ended it.
            now: the time.

        Returns:
            Why there will be no worker any more; None if there may.
        """
        self.restarts.lost(now, self._done + sum(w.tasks_done for w in self.workers.values()))
        if not self.restarts.replaces and self.startable(now) + len(self.workers) == 0:
            return f"all workers were lost; the last: {reason}"
        return None

    def startable(self, now: float) -> int:
        """Returns how many workers may be started now."""
        return max(0, self.max_workers - len(self.workers) - self.restarts.empty(now))

    def closing(self) -> None:
        """There will be no more tasks: no worker is kept for those to come."""
        self.scaling.min_workers = 0
        self.is_short = False

    def missing(self, wanted: Wanted, now: float) -> int:
        """Returns how many workers to start: one for each task that has none to itself."""
        room = self.startable(now)
        if self.places:
            waiting = sum(self._shortages(wanted).values()) + self.starting
        else:
            waiting = sum(wanted.values())
        return self.scaling.missing(len(self.workers), room, self.starting, waiting)

    def _free_places(self) -> list[int]:
        taken = {slot.place for slot in self.workers.values()}
        return [place for place in range(self.max_workers) if place not in taken]

    def _shortages(self, wanted: Wanted) -> dict[frozenset[str], int]:
        """Returns how many workers to start for what, of those for which there is a place."""
        starting = [
            slot.capabilities
            for slot in self.workers.values()
            if slot.state is WorkerState.INITIALIZING
        ]
        free = [self.places[place] for place in self._free_places()]
        missing: dict[frozenset[str], int] = {}
        for requires, waiting in wanted.items():
            coming = sum(requires <= capabilities for capabilities in starting)
            possible = sum(requires <= capabilities for capabilities in free)
            if count := max(0, min(waiting - coming, possible)):
                missing[requires] = count
        return missing

    def _next_place(self, wanted: Wanted) -> int:
        """Returns where the next worker starts: what it can do is needed, and little else."""
        free = self._free_places()
        most = max(self._shortages(wanted), key=len, default=frozenset[str]())
        return [place for place in free if most <= self.places[place]][-1]
