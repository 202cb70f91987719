"""The queues of a pool: one for the tasks that any worker may run, and one for each restriction.

Owns the order of what waits, and which worker is the home of an affinity key. Knows nothing of
what workers do: it is told which task left, and which worker is gone.

A *lane* holds the tasks that the same workers may run. The main lane is open to all, and nearly
always the only one. Others are there as long as something waits in them:

- for tasks that require capabilities, one for each set of them;
- one for each affinity key that has no home yet. The worker that gets its first task becomes its
  home, as long as it lives;
- for tasks whose key has a home, one for each such worker.

As tasks of equal priority come in the order of their ranks, most only need to be put at the end:
what fits there is in the *run* of a lane, all else in its heap. Cancelled tasks stay where they are
until they come up, or until they are the larger part.
"""

import heapq
from collections import Counter, deque
from collections.abc import Container, Hashable
from typing import Any, NamedTuple


class Need(NamedTuple):
    """What a task asks of its worker.

    Attributes:
        requires: capabilities that it must have.
        affinity: tasks with the same key, and the same ``requires``, share a worker; None means
            that the task has no key.
    """

    requires: frozenset[str]
    affinity: Hashable | None


Place = tuple[Any, int]
"""Rank and number of a task; the lowest is first."""


class Lane:
    """Tasks that the same workers may run.

    Args:
        requires: capabilities that the worker must have.
        home: the only worker that may run them; None means any that has the capabilities.
    """

    __slots__ = ("heap", "home", "leader", "requires", "run", "waiting")

    def __init__(self, requires: frozenset[str] = frozenset(), home: int | None = None) -> None:
        self.run: deque[Place] = deque()
        self.heap: list[Place] = []
        self.requires = requires
        self.home = home
        self.leader: Place | None = None
        self.waiting = 0

    def push(self, place: Place) -> None:
        """Queues a task."""
        if self.run and place < self.run[-1]:
            heapq.heappush(self.heap, place)
        else:
            self.run.append(place)
        self.waiting += 1

    def pop(self) -> Place:
        """Takes the first place out, without counting."""
        if not self.heap or (self.run and self.run[0] < self.heap[0]):
            return self.run.popleft()
        return heapq.heappop(self.heap)

    def first(self, living: Container[int]) -> Place | None:
        """Returns the first task that still waits; None if there is none."""
        while self.run or self.heap:
            if not self.heap or (self.run and self.run[0] < self.heap[0]):
                first = self.run[0]
            else:
                first = self.heap[0]
            if first[1] in living:
                return first
            self.pop()
        return None

    def places(self) -> list[Place]:
        """Returns what waits, and what was cancelled and did not come up yet."""
        return [*self.run, *self.heap]

    def removed(self, living: Container[int]) -> None:
        """A task that waits here was cancelled."""
        self.waiting -= 1
        if len(self.run) + len(self.heap) > 2 * self.waiting + 64:
            places = sorted(place for place in self.places() if place[1] in living)
            self.run = deque(places)
            self.heap = []


class Lanes:
    """All lanes of a pool.

    Args:
        living: tells which tasks were not cancelled.
    """

    def __init__(self, living: Container[int]) -> None:
        self.main = Lane()
        self.others: dict[frozenset[str] | int, Lane] = {}
        """By the capabilities that they require, or by their home."""
        self.keyed: dict[Need, Lane] = {}
        """Those of affinity keys without a home."""
        self._leaders: dict[frozenset[str], list[tuple[Place, Need]]] = {}
        """The first tasks of those, and such as were first once."""
        self._homes: dict[Need, int] = {}
        self._keys: dict[int, list[Need]] = {}
        self._living = living

    def push(self, place: Place, need: Need) -> None:
        """Queues a task that asks something of its worker."""
        lane = self._lane(need)
        lane.push(place)
        self._lead(lane, need)

    def _lane(self, need: Need) -> Lane:
        requires, affinity = need
        if affinity is None:
            return self.others.setdefault(requires, Lane(requires))
        home = self._homes.get(need)
        if home is None:
            return self.keyed.setdefault(need, Lane(requires))
        return self.others.setdefault(home, Lane(requires, home))

    def _lead(self, lane: Lane, need: Need) -> None:
        """Notes which task of a key without a home is first."""
        if need not in self.keyed:
            return
        first = lane.first(self._living)
        if first is None:
            del self.keyed[need]
        elif first != lane.leader:
            lane.leader = first
            heapq.heappush(self._leaders.setdefault(need.requires, []), (first, need))

    def open(self) -> list[tuple[Place, Lane]]:
        """Returns lanes in which something waits with their first tasks, the first one first.

        Of the keys without a home, one for each set of capabilities: who cannot run the first of
        these can run none.
        """
        found = []
        if (first := self.main.first(self._living)) is not None:
            found.append((first, self.main))
        for key, lane in list(self.others.items()):
            if (first := lane.first(self._living)) is not None:
                found.append((first, lane))
            else:
                del self.others[key]
        for leaders in self._leaders.values():
            while leaders:
                first, need = leaders[0]
                keyed = self.keyed.get(need)
                if keyed is not None and keyed.first(self._living) == first:
                    found.append((first, keyed))
                    break
                heapq.heappop(leaders)
        return sorted(found, key=_by_place)

    def take(self, lane: Lane, need: Need | None, worker: int) -> None:
        """A worker gets the first task of a lane; it is now the home of its key, if it has one."""
        lane.pop()
        lane.waiting -= 1
        if need is None or need.affinity is None or need in self._homes:
            return
        self._homes[need] = worker
        self._keys.setdefault(worker, []).append(need)
        following = self.keyed.pop(need)
        while (first := following.first(self._living)) is not None:
            following.pop()
            self.push(first, need)

    def removed(self, need: Need | None) -> None:
        """A task that waits with this need was cancelled."""
        if need is None:
            self.main.removed(self._living)
        else:
            lane = self._lane(need)
            lane.removed(self._living)
            self._lead(lane, need)

    def lost(self, worker: int) -> list[Place]:
        """A worker is gone: its keys need new homes.

        Returns:
            What waited for it, to be queued anew, and what of it was cancelled.
        """
        for need in self._keys.pop(worker, ()):
            del self._homes[need]
        lane = self.others.pop(worker, None)
        return lane.places() if lane is not None else []

    def wanted(self) -> Counter[frozenset[str]]:
        """Returns for how many tasks a worker more would be of use, by the capabilities needed."""
        wanted = Counter(need.requires for need in self.keyed)
        wanted[self.main.requires] += self.main.waiting
        for lane in self.others.values():
            if lane.home is None:
                wanted[lane.requires] += lane.waiting
        return wanted


def _by_place(entry: tuple[Place, Lane]) -> Place:
    return entry[0]
