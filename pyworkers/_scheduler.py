"""Who runs what, when: the decisions of a pool, without any I/O.

Owns the queue, the workers' states and what each holds, and when a worker is to be started.
Knows nothing of payloads, futures or channels: events come in by method calls, tasks and workers
are numbers, time is handed in, and ``decide`` returns what is to be done.
"""

import heapq
from collections import deque
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from pyworkers._protocol import WorkerState

MAX_PRIORITY: Final = 10
DEFAULT_PRIORITY: Final = 5
MAX_BOOT_FAILURES: Final = 3
"""So many workers in a row that end before they are ready break the pool."""


@dataclass(slots=True)
class WorkerSlot:
    """A worker as the scheduler knows it.

    Attributes:
        number: of the worker.
        state: what it is doing.
        created: when it was started, in seconds of the clock that is handed in.
        last_used: when it last became busy or idle.
        task: the task that it holds, None while it holds none.
        tasks_done: how many it has finished.
    """

    number: int
    state: WorkerState
    created: float
    last_used: float
    task: int | None = None
    tasks_done: int = 0


@dataclass(slots=True)
class _Entry:
    priority: int
    deadline: float | None
    worker: int | None = None


class Decision(NamedTuple):
    """What is to be done now.

    Attributes:
        assign: pairs of worker and task to be sent to it.
        start: how many workers to start; each is announced by ``worker_started``.
    """

    assign: list[tuple[int, int]]
    start: int


@dataclass(slots=True)
class Scheduler:
    """The state of one pool.

    Args:
        max_workers: how many workers may live at a time.
    """

    max_workers: int
    workers: dict[int, WorkerSlot] = field(default_factory=dict)
    broken: str | None = None
    """Why no worker will be started any more; None while all is well."""
    _tasks: dict[int, _Entry] = field(default_factory=dict)
    _queues: list[deque[int]] = field(
        default_factory=lambda: [deque() for _ in range(MAX_PRIORITY + 1)]
    )
    _queued: int = 0
    _idle: deque[int] = field(default_factory=deque)
    _deadlines: list[tuple[float, int]] = field(default_factory=list)
    _boot_failures: int = 0

    @property
    def outstanding(self) -> int:
        """How many tasks are queued or running."""
        return len(self._tasks)

    @property
    def queued(self) -> int:
        """How many tasks wait for a worker."""
        return self._queued

    def submitted(
        self, task: int, priority: int = DEFAULT_PRIORITY, deadline: float | None = None
    ) -> None:
        """A task was submitted.

        Args:
            task: its number.
            priority: 0 (last) to 10 (first); equal ones run in order.
            deadline: when ``expired`` shall name it; None means never.
        """
        self._tasks[task] = _Entry(priority, deadline)
        self._queues[priority].append(task)
        self._queued += 1
        if deadline is not None:
            heapq.heappush(self._deadlines, (deadline, task))

    def cancelled(self, task: int) -> bool:
        """A queued task is not wanted any more; returns False if it runs already, or is over."""
        entry = self._tasks.get(task)
        if entry is None or entry.worker is not None:
            return False
        del self._tasks[task]
        self._queues[entry.priority].remove(task)
        self._queued -= 1
        return True

    def holder(self, task: int) -> int | None:
        """Returns the worker that runs a task; None while it is queued, or when it is over."""
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

    def worker_started(self, worker: int, now: float) -> None:
        """A worker was asked for; it is not ready yet."""
        self.workers[worker] = WorkerSlot(worker, WorkerState.INITIALIZING, now, now)

    def worker_ready(self, worker: int, now: float) -> None:
        """A worker can run tasks."""
        slot = self.workers[worker]
        slot.state = WorkerState.IDLE
        slot.last_used = now
        self._boot_failures = 0
        self._idle.append(worker)

    def worker_lost(self, worker: int, reason: str) -> int | None:
        """A worker is gone. Returns the task that it held, which is then over."""
        slot = self.workers.pop(worker)
        if slot.state in (WorkerState.INITIALIZING, WorkerState.ERROR):
            self._boot_failures += 1
            if self._boot_failures >= MAX_BOOT_FAILURES:
                self.broken = (
                    f"{self._boot_failures} workers in a row did not start; the last: {reason}"
                )
        elif slot.state is WorkerState.IDLE:
            self._idle.remove(worker)
        if slot.task is not None:
            del self._tasks[slot.task]
        return slot.task

    def setup_failed(self, worker: int, reason: str) -> None:
        """A worker cannot be prepared as the pool's user asked: the pool is of no use."""
        self.workers[worker].state = WorkerState.ERROR
        self.broken = reason

    def finished(self, worker: int, now: float) -> int:
        """A worker is done with its task, which it returns."""
        slot = self.workers[worker]
        task = slot.task
        assert task is not None
        slot.task = None
        slot.state = WorkerState.IDLE
        slot.last_used = now
        slot.tasks_done += 1
        self._idle.append(worker)
        del self._tasks[task]
        return task

    def decide(self, now: float) -> Decision:
        """Says what is to be done, and takes it as done.

        The idle worker that waited longest gets the next task, so that all keep warm.
        """
        assign = []
        while self._queued and self._idle:
            worker = self._idle.popleft()
            task = self._next_task()
            slot = self.workers[worker]
            slot.task = task
            slot.state = WorkerState.BUSY
            slot.last_used = now
            self._tasks[task].worker = worker
            assign.append((worker, task))
        start = 0
        if self._queued and self.broken is None:
            room = self.max_workers - len(self.workers)
            if room > 0:
                starting = sum(
                    slot.state is WorkerState.INITIALIZING for slot in self.workers.values()
                )
                start = max(0, min(room, self._queued - starting))
        return Decision(assign, start)

    def _next_task(self) -> int:
        for queue in reversed(self._queues):
            if queue:
                self._queued -= 1
                return queue.popleft()
        raise AssertionError("no task is queued")
