"""How many workers a pool starts, and what each can do; decisions without any I/O.

Owns the places for workers, and how many of them start or did not. Knows tasks only as numbers of
what waits for which capabilities: which worker runs what is the scheduler's, how many are enough
for so much is the scaler's.
"""

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from pyworkers._backoff import Restarts
from pyworkers._protocol import WorkerState
from pyworkers._scaling import Capabilities, Scaler
from pyworkers._slots import WorkerSlot

MAX_BOOT_FAILURES: Final = 3
"""So many workers in a row that end before they are ready break the pool."""

Wanted = Counter[Capabilities]
"""For how many tasks a worker would be of use, by the capabilities needed."""

_ANY: Final[Capabilities] = frozenset()


@dataclass(slots=True)
class Staffing:
    """The workers that one pool has, and those that it lacks.

    Args:
        max_workers: how many workers may live at a time.
        places: the capabilities of each worker that there may be; empty if none has any.
        scaler: says how many workers there should be.
        restarts: says when workers that were lost are replaced.
        workers: those that there are.
        max_tasks: how many tasks a worker runs in its life; None means any number.
    """

    max_workers: int
    places: Sequence[Capabilities]
    scaler: Scaler
    restarts: Restarts
    workers: dict[int, WorkerSlot]
    max_tasks: int | None
    starting: int = 0
    """How many are not ready yet."""
    is_short: bool = field(init=False)
    """Whether there are fewer workers than there should always be."""
    _boot_failures: int = 0
    _done: int = 0
    """How many tasks workers finished which are gone."""
    _busy: dict[Capabilities, float] = field(default_factory=dict)
    """For how many seconds workers were busy which are gone, by what they could do."""
    _chosen: deque[int] = field(default_factory=deque)
    """The places of the workers that are started next."""

    def __post_init__(self) -> None:
        self.is_short = self.scaler.min_workers > 0

    def started(self, worker: int, now: float) -> None:
        """A worker was asked for; it is not ready yet."""
        slot = WorkerSlot(worker, WorkerState.INITIALIZING, now, now)
        if self.places:
            slot.place = self._chosen.popleft() if self._chosen else self._free_places()[-1]
            slot.capabilities = self.places[slot.place]
        self.workers[worker] = slot
        self.starting += 1
        self._count()

    def _count(self) -> None:
        self.is_short = len(self.workers) < self.scaler.min_workers

    def ready(self) -> None:
        """A worker has started."""
        self.starting -= 1
        self._boot_failures = 0

    def lost(self, worker: int, reason: str, is_failure: bool = True) -> str | None:
        """A worker is gone.

        Args:
            worker: its number.
            reason: what ended it.
            is_failure: whether it should have lived; else it was not needed any more.

        Returns:
            Why no worker shall be started any more; None if others may.
        """
        slot = self.workers.pop(worker)
        self._done += slot.tasks_done
        self._count()
        if slot.state is WorkerState.INITIALIZING:
            self.starting -= 1
        if slot.state in (WorkerState.INITIALIZING, WorkerState.ERROR):
            self._boot_failures += is_failure
            if self._boot_failures >= MAX_BOOT_FAILURES:
                count = self._boot_failures
                return f"{count} workers in a row did not start; the last: {reason}"
        else:
            kind = slot.capabilities
            self._busy[kind] = self._busy.get(kind, 0.0) + slot.busy_until(slot.last_used)
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
        self.scaler.min_workers = 0
        self.is_short = False

    def missing(self, wanted: Wanted, now: float) -> int:
        """Returns how many workers to start now: one for each task that has none to itself.

        Where there are thresholds, only those without which a task could not run at all.
        """
        room = self.startable(now)
        if not self.places and self.scaler.scaling is None:
            count = max(sum(wanted.values()) - self.starting, self._below_least)
            return max(0, min(room, count))
        plan = Plan(self.places, self._free_places())
        for requires in self._scarce_first(wanted):
            if self.scaler.scaling is None:
                starting = (s for s in self.workers.values() if s.state is WorkerState.INITIALIZING)
                coming = sum(requires <= slot.capabilities for slot in starting)
                plan.add(requires, wanted[requires] - coming)
            elif wanted[requires] and not self._offering(requires) and not plan.has(requires):
                plan.add(requires, 1)
        plan.add(_ANY, self._below_least - len(plan.chosen))
        return self._follow(plan, room)

    @property
    def _below_least(self) -> int:
        """How many workers there should be more in any case, if this is above 0."""
        return self.scaler.min_workers - len(self.workers)

    def look(self, wanted: Wanted, is_active: bool, now: float) -> int:
        """Returns how many workers to start by the thresholds, if it is time to look at them.

        Args:
            wanted: for how many tasks a worker would be of use.
            is_active: whether anything waits or runs.
            now: the time.
        """
        busy = sum(bool(slot.held) for slot in self.workers.values())
        load = self.scaler.look(now, is_active, busy, self._busy_until(now))
        if load is None or not is_active:
            return 0
        assert self.scaler.scaling is not None
        most = self.scaler.scaling.max_starts
        room = self.startable(now)
        plan = Plan(self.places, self._free_places())
        wanted[_ANY] += 0  # all of them are looked at, whether or not anything waits
        for requires in self._scarce_first(wanted):
            there = self._offering(requires)
            coming = sum(slot.state is WorkerState.INITIALIZING for slot in there)
            planned = plan.has(requires)
            used = sum(share for kind, share in load.items() if requires <= kind)
            waiting = wanted[requires]
            count = self.scaler.missing(used, len(there) + planned, coming + planned, waiting)
            plan.add(requires, count)
        return self._follow(plan, room if most is None else min(room, most))

    def _follow(self, plan: "Plan", most: int) -> int:
        """Has the workers that are started next take the places of a plan; returns how many."""
        chosen = plan.chosen[:most]
        if self.places:
            self._chosen = deque(chosen)
        return len(chosen)

    def _busy_until(self, now: float) -> dict[Capabilities, float]:
        """Returns for how many seconds workers were busy so far, by what they can do."""
        busy = dict(self._busy)
        for slot in self.workers.values():
            if slot.state in (WorkerState.IDLE, WorkerState.BUSY):
                kind = slot.capabilities
                busy[kind] = busy.get(kind, 0.0) + slot.busy_until(now)
        return busy

    def _offering(self, requires: Capabilities) -> list[WorkerSlot]:
        """Returns the workers that get tasks with such needs, now or later."""
        return [
            slot
            for slot in self.workers.values()
            if requires <= slot.capabilities
            and not slot.is_over
            and (self.max_tasks is None or slot.taken < self.max_tasks)
        ]

    def _scarce_first(self, wanted: Wanted) -> list[Capabilities]:
        """Returns what is needed, that first for which there are the fewest places."""
        if len(wanted) == 1:
            return list(wanted)
        return sorted(wanted, key=lambda requires: sum(map(requires.__le__, self.places)))

    def _free_places(self) -> list[int]:
        """Returns the places that no worker has; where none differs, so many numbers."""
        if not self.places:
            return list(range(self.max_workers - len(self.workers)))
        taken = {slot.place for slot in self.workers.values()}
        return [place for place in range(self.max_workers) if place not in taken]


class Plan:
    """Places for workers that are to be started.

    Args:
        places: the capabilities of each worker that there may be; empty if none has any.
        free: those that can be chosen.
    """

    def __init__(self, places: Sequence[Capabilities], free: list[int]) -> None:
        self.chosen: list[int] = []
        self._places = places
        self._free = free

    def _is_fit(self, place: int, requires: Capabilities) -> bool:
        return not self._places or requires <= self._places[place]

    def has(self, requires: Capabilities) -> int:
        """Returns how many of the workers could run tasks with such needs."""
        return sum(self._is_fit(place, requires) for place in self.chosen)

    def add(self, requires: Capabilities, count: int) -> None:
        """Chooses places for so many workers, as far as there are any: such as can do little else.

        Args:
            requires: what they must be able to do.
            count: how many; none if it is below 1.
        """
        for place in reversed(self._free):
            if count < 1:
                return
            if self._is_fit(place, requires):
                self._free.remove(place)
                self.chosen.append(place)
                count -= 1
