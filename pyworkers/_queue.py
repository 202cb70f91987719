"""The tasks of a pool that are not over: those that wait, in which order and until when.

Owns their places in the lanes, their delays, deadlines and further tries. Knows nothing of
workers, but the number of the one that has a task. Who comes first says a policy, who may run what
the lanes.
"""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from pyworkers._backoff import Retries
from pyworkers._lanes import Lane, Lanes, Need
from pyworkers._policies import AGEING_SECONDS, DEFAULT_PRIORITY, Policy, QueuedTask

_SLACK: Final = 64
"""So many deadlines and delays of what is over may lie about."""


@dataclass(slots=True)
class Entry:
    """A task as the scheduler knows it.

    Attributes:
        rank: by which it is ordered, the lowest first.
        priority: 0 (last) to 10 (first).
        expected: seconds that it will take; None where that is not known.
        need: what it asks of its worker; None means nothing.
        retries: how often it may be run again; None means never.
        is_preemptible: whether it may be made to wait for others while it runs.
        is_delayed: whether it waits for its time.
        worker: that has it; None while it waits.
    """

    rank: Any
    priority: int
    expected: float | None
    need: Need | None
    retries: Retries | None
    is_preemptible: bool = False
    is_delayed: bool = False
    worker: int | None = None


@dataclass(slots=True, kw_only=True)
class Queue:
    """The outstanding tasks of one pool.

    Args:
        policy: says which task is first.
        chance: returns a number from 0 to 1, by which those that wait to be run again differ.
    """

    policy: Policy = field(default_factory=Policy)
    chance: Callable[[], float] = lambda: 1.0
    queued: int = field(default=0, init=False)
    """How many tasks wait for a worker."""
    delayed: int = field(default=0, init=False)
    """How many tasks wait for their time."""
    retried: int = field(default=0, init=False)
    """How many times a task was queued again after it had failed or its worker was lost."""
    _tasks: dict[int, Entry] = field(default_factory=dict, init=False)
    _lanes: Lanes = field(init=False)
    _main: Lane = field(init=False)
    _others: dict[frozenset[str] | int, Lane] = field(init=False)
    _keyed: dict[Need, Lane] = field(init=False)
    """The lanes beside the main one."""
    _ranks: bool = field(init=False)
    """Whether the policy has ranks of its own."""
    _delayed: list[tuple[float, int]] = field(default_factory=list, init=False)
    _deadlines: list[tuple[float, int]] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self._lanes = Lanes(self._tasks)
        self._main = self._lanes.main
        self._others = self._lanes.others
        self._keyed = self._lanes.keyed
        self._ranks = type(self.policy).rank is not Policy.rank

    @property
    def outstanding(self) -> int:
        """How many tasks are delayed, queued or running."""
        return len(self._tasks)

    def submitted(
        self,
        task: int,
        priority: int = DEFAULT_PRIORITY,
        deadline: float | None = None,
        expected: float | None = None,
        now: float = 0.0,
        need: Need | None = None,
        delay: float = 0.0,
        retries: int = 0,
        preemptible: bool = False,
        backoff: float = 0.0,
    ) -> None:
        """A task was submitted.

        Args:
            task: its number, above that of all others so far.
            priority: 0 (last) to 10 (first); equal ones run in order.
            deadline: when ``expired`` shall name it; None means never.
            expected: seconds that it will take; None where that is not known.
            now: the time.
            need: what it asks of its worker; None means nothing.
            delay: seconds from now before which it does not run.
            retries: how many times it may be run again because its worker was lost, or ``failed``
                says so.
            preemptible: whether ``preempt`` may name it while it runs.
            backoff: seconds that it waits before it is run again for the first time.
        """
        since = now + delay
        if self._ranks:
            rank = self.policy.rank(QueuedTask(task, priority, since, deadline, expected))
        else:
            rank = since - priority * AGEING_SECONDS
        again = Retries(retries, backoff) if retries else None
        entry = self._tasks[task] = Entry(rank, priority, expected, need, again, preemptible)
        try:
            if delay:
                self._delay(task, entry, since)
            elif need is None:
                lane = self._main
                place = rank, task
                if lane.run and place < lane.run[-1]:
                    heapq.heappush(lane.heap, place)
                else:
                    lane.run.append(place)
                lane.waiting += 1
                self.queued += 1
            else:
                self._enqueue(task, entry)
        except Exception:  # its rank cannot be compared
            del self._tasks[task]
            raise
        if deadline is not None:
            if len(self._deadlines) > 2 * len(self._tasks) + _SLACK:
                self._deadlines = self._outstanding_of(self._deadlines)
            heapq.heappush(self._deadlines, (deadline, task))

    def _outstanding_of(self, dues: list[tuple[float, int]]) -> list[tuple[float, int]]:
        left = [due for due in dues if due[1] in self._tasks]
        heapq.heapify(left)
        return left

    def _delay(self, task: int, entry: Entry, until: float) -> None:
        if len(self._delayed) > 2 * self.delayed + _SLACK:
            self._delayed = self._outstanding_of(self._delayed)
        self.delayed += 1
        entry.is_delayed = True
        heapq.heappush(self._delayed, (until, task))

    def _enqueue(self, task: int, entry: Entry) -> None:
        if entry.need is None:
            self._main.push((entry.rank, task))
        else:
            self._lanes.push((entry.rank, task), entry.need)
        self.queued += 1

    def cancelled(self, task: int) -> bool:
        """A task is not wanted any more; returns False if a worker has it, or it is over."""
        entry = self._tasks.get(task)
        if entry is None or entry.worker is not None:
            return False
        del self._tasks[task]
        if entry.is_delayed:
            self.delayed -= 1
        else:
            self.queued -= 1
            self._lanes.removed(entry.need)
        return True

    def release(self, now: float) -> None:
        """Queues the tasks whose delay is over."""
        while (due := self.next_release()) is not None and due <= now:
            task = heapq.heappop(self._delayed)[1]
            entry = self._tasks[task]
            entry.is_delayed = False
            self.delayed -= 1
            self._enqueue(task, entry)

    def next_release(self) -> float | None:
        """Returns when ``release`` has something to do; None if nothing is delayed."""
        while self._delayed and self._delayed[0][1] not in self._tasks:
            heapq.heappop(self._delayed)
        return self._delayed[0][0] if self._delayed else None

    def holder(self, task: int) -> int | None:
        """Returns the worker that has a task; None while it is queued, or when it is over."""
        entry = self._tasks.get(task)
        return entry.worker if entry else None

    def expired(self, now: float) -> list[int]:
        """Returns the outstanding tasks whose deadline is over, each once."""
        over = []
        while self._deadlines and self._deadlines[0][0] <= now:
            _, task = heapq.heappop(self._deadlines)
            if task in self._tasks:
                over.append(task)
        return over

    def next_deadline(self) -> float | None:
        """Returns when ``expired`` has something to say; None if nothing has a deadline."""
        while self._deadlines and self._deadlines[0][1] not in self._tasks:
            heapq.heappop(self._deadlines)
        return self._deadlines[0][0] if self._deadlines else None

    def may_retry(self, task: int) -> bool:
        """Says whether a task may be run again."""
        retries = self._tasks[task].retries
        return retries is not None and retries.left > 0

    def tries(self, task: int) -> tuple[int, float]:
        """Returns how many times a task was run again, or waits to be, and how long the last time.

        That is in seconds.
        """
        retries = self._tasks[task].retries
        return (0, 0.0) if retries is None else (retries.tried, retries.wait)

    def _try_again(self, task: int, entry: Entry, now: float) -> float:
        """Queues a task again, by its rank in its old place, once it has waited; returns when."""
        assert entry.retries is not None
        wait = entry.retries.use(self.chance())
        entry.worker = None
        self.retried += 1
        if wait:
            self._delay(task, entry, now + wait)
        else:
            self._enqueue(task, entry)
        return now + wait
