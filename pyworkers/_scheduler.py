"""Who runs what, when: the decisions of a pool, without any I/O.

Owns the queue, the workers' states and what each holds, and when a worker is to be started.
Knows nothing of payloads, futures or channels: events come in by method calls, tasks and workers
are numbers, time is handed in, and ``decide`` returns what is to be done.

A worker holds tasks in the order in which it runs them; the first one runs. Where tasks that it
has not started can be taken back, it is given further ones ahead, so that it need not wait for the
hub between them: as many as are expected to be done within ``WINDOW_SECONDS``, and one behind a
somewhat longer one. Should they wait while another worker is idle, ``stuck`` says so. Where nothing
can be taken back, nobody could tell which tasks a dead worker had started: it holds one at a time.
A task that turned out to be a coroutine is *parked*: it runs beside the others.
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

WINDOW_SECONDS: Final = 0.002
"""How much work a worker may hold ahead: many times the way to the hub and back."""
WINDOW_TASKS: Final = 64
ONE_AHEAD_SECONDS: Final = 0.1
"""A worker that is busy for at most so long holds one task ahead, if it can be taken back."""
STUCK_SECONDS: Final = 0.01
"""A task that runs so long while others wait behind it, and a worker is idle, is in the way."""


@dataclass(slots=True)
class WorkerSlot:
    """A worker as the scheduler knows it.

    Attributes:
        number: of the worker.
        state: what it is doing.
        created: when it was started, in seconds of the clock that is handed in.
        last_used: when it last began or finished a task.
        held: the tasks that it was given, in order; the first one runs.
        parked: coroutines that it awaits meanwhile.
        ahead: how many seconds what it holds is expected to take.
        in_the_way: tasks were taken back from behind the one that runs.
        tasks_done: how many it has finished.
    """

    number: int
    state: WorkerState
    created: float
    last_used: float
    held: deque[int] = field(default_factory=deque)
    parked: set[int] = field(default_factory=set)
    ahead: float = 0.0
    in_the_way: bool = False
    tasks_done: int = 0


@dataclass(slots=True)
class _Entry:
    priority: int
    expected: float | None
    worker: int | None = None


class Decision(NamedTuple):
    """What is to be done now.

    Attributes:
        assign: pairs of worker and task to be sent to it.
        start: how many workers to start; each is announced by ``worker_started``.
    """

    assign: list[tuple[int, int]]
    start: int


class Lost(NamedTuple):
    """What a worker held that is gone.

    Attributes:
        started: tasks that it was running; they are over.
        requeued: tasks that it had not started; they are queued again.
    """

    started: list[int]
    requeued: list[int]


@dataclass(slots=True)
class Scheduler:
    """The state of one pool.

    Args:
        max_workers: how many workers may live at a time.
        can_take_back: whether tasks that a worker has not started can be taken back.
    """

    max_workers: int
    can_take_back: bool = False
    workers: dict[int, WorkerSlot] = field(default_factory=dict)
    broken: str | None = None
    """Why no worker will be started any more; None while all is well."""
    queued: int = 0
    """How many tasks wait for a worker."""
    _tasks: dict[int, _Entry] = field(default_factory=dict)
    _queues: list[deque[int]] = field(
        default_factory=lambda: [deque() for _ in range(MAX_PRIORITY + 1)]
    )
    _idle: dict[int, None] = field(default_factory=dict)
    """Ready workers that hold nothing, the one that waits longest first."""
    _room: dict[int, None] = field(default_factory=dict)
    """Workers that hold something and may hold more."""
    _ahead: set[int] = field(default_factory=set)
    """Workers that hold more than the task that they run."""
    _deadlines: list[tuple[float, int]] = field(default_factory=list)
    _boot_failures: int = 0

    @property
    def outstanding(self) -> int:
        """How many tasks are queued or running."""
        return len(self._tasks)

    def submitted(
        self,
        task: int,
        priority: int = DEFAULT_PRIORITY,
        deadline: float | None = None,
        expected: float | None = None,
    ) -> None:
        """A task was submitted.

        Args:
            task: its number.
            priority: 0 (last) to 10 (first); equal ones run in order.
            deadline: when ``expired`` shall name it; None means never.
            expected: seconds that it will take; None where that is not known.
        """
        self._tasks[task] = _Entry(priority, expected)
        self._queues[priority].append(task)
        self.queued += 1
        if deadline is not None:
            heapq.heappush(self._deadlines, (deadline, task))

    def cancelled(self, task: int) -> bool:
        """A queued task is not wanted any more; returns False if a worker has it, or it is over."""
        entry = self._tasks.get(task)
        if entry is None or entry.worker is not None:
            return False
        del self._tasks[task]
        self._queues[entry.priority].remove(task)
        self.queued -= 1
        return True

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

    def worker_started(self, worker: int, now: float) -> None:
        """A worker was asked for; it is not ready yet."""
        self.workers[worker] = WorkerSlot(worker, WorkerState.INITIALIZING, now, now)

    def worker_ready(self, worker: int, now: float) -> None:
        """A worker can run tasks."""
        slot = self.workers[worker]
        slot.state = WorkerState.IDLE
        slot.last_used = now
        self._boot_failures = 0
        self._idle[worker] = None

    def setup_failed(self, worker: int, reason: str) -> None:
        """A worker cannot be prepared as the pool's user asked: the pool is of no use."""
        self.workers[worker].state = WorkerState.ERROR
        self.broken = reason

    def worker_lost(self, worker: int, reason: str, started: int = 1) -> Lost:
        """A worker is gone.

        Args:
            worker: its number.
            reason: what ended it.
            started: how many of the tasks that it held it had started.
        """
        slot = self.workers.pop(worker)
        if slot.state in (WorkerState.INITIALIZING, WorkerState.ERROR):
            self._boot_failures += 1
            if self._boot_failures >= MAX_BOOT_FAILURES:
                self.broken = (
                    f"{self._boot_failures} workers in a row did not start; the last: {reason}"
                )
        self._idle.pop(worker, None)
        self._room.pop(worker, None)
        self._ahead.discard(worker)
        held = list(slot.held)
        running = [*slot.parked, *held[:started]]
        for task in running:
            del self._tasks[task]
        self._requeue(held[started:])
        return Lost(running, held[started:])

    def taken_back(self, worker: int, started: int) -> list[int]:
        """The tasks that a worker had not started are queued again, and returned.

        Args:
            worker: its number.
            started: how many of the tasks that it holds it has started.
        """
        slot = self.workers[worker]
        back = [slot.held.pop() for _ in range(len(slot.held) - started)][::-1]
        slot.ahead -= sum(self._tasks[task].expected or 0.0 for task in back)
        self._requeue(back)
        slot.in_the_way = True
        self._update(slot)
        return back

    def _requeue(self, tasks: list[int]) -> None:
        for task in reversed(tasks):
            entry = self._tasks[task]
            entry.worker = None
            self._queues[entry.priority].appendleft(task)
        self.queued += len(tasks)

    def parked(self, worker: int, task: int, now: float) -> None:
        """A worker awaits a task that it holds first, and goes on with the next."""
        slot = self.workers[worker]
        self._next(slot, now)
        slot.parked.add(task)
        self._update(slot)

    def finished(self, worker: int, task: int, now: float) -> None:
        """A worker is done with a parked task, or with the first one that it holds."""
        slot = self.workers[worker]
        if task in slot.parked:
            slot.parked.remove(task)
        else:
            self._next(slot, now)
        slot.tasks_done += 1
        del self._tasks[task]
        self._update(slot)

    def _next(self, slot: WorkerSlot, now: float) -> None:
        task = slot.held.popleft()
        slot.ahead = max(0.0, slot.ahead - (self._tasks[task].expected or 0.0))
        slot.in_the_way = False
        slot.last_used = now

    def _update(self, slot: WorkerSlot) -> None:
        """Puts a worker where it belongs by what it holds now."""
        self._idle.pop(slot.number, None)
        self._room.pop(slot.number, None)
        self._ahead.discard(slot.number)
        if not slot.held:
            slot.state = WorkerState.BUSY if slot.parked else WorkerState.IDLE
            slot.ahead = 0.0
            slot.in_the_way = False
            self._idle[slot.number] = None
            return
        slot.state = WorkerState.BUSY
        count = len(slot.held)
        if count > 1:
            self._ahead.add(slot.number)
        if not self.can_take_back or slot.in_the_way:
            return
        if self._tasks[slot.held[0]].expected is None:
            return
        if (slot.ahead < WINDOW_SECONDS and count < WINDOW_TASKS) or (
            count == 1 and slot.ahead < ONE_AHEAD_SECONDS
        ):
            self._room[slot.number] = None

    def decide(self, now: float) -> Decision:
        """Says what is to be done, and takes it as done."""
        assign = []
        while self.queued and (self._idle or self._room):
            queue = next(queue for queue in reversed(self._queues) if queue)
            expected = self._tasks[queue[0]].expected
            if self._idle:
                worker = next(iter(self._idle))
            elif expected is not None and expected < ONE_AHEAD_SECONDS:
                worker = next(iter(self._room))
            else:
                break
            task = queue.popleft()
            self.queued -= 1
            slot = self.workers[worker]
            if not slot.held:
                slot.last_used = now
            slot.held.append(task)
            slot.ahead += expected or 0.0
            self._tasks[task].worker = worker
            self._update(slot)
            assign.append((worker, task))
        return Decision(assign, self._missing())

    def _missing(self) -> int:
        """Returns how many workers to start: one for each task that has none to itself."""
        room = self.max_workers - len(self.workers)
        if room <= 0 or self.broken is not None or not (self.queued or self._ahead):
            return 0
        slots = self.workers.values()
        waiting = self.queued + sum(len(self.workers[worker].held) - 1 for worker in self._ahead)
        starting = sum(slot.state is WorkerState.INITIALIZING for slot in slots)
        return max(0, min(room, waiting - starting))

    def stuck(self, now: float) -> list[int]:
        """Returns the workers from which tasks should be taken back, because another is idle."""
        if self.queued or not self._idle:
            return []
        return [
            worker
            for worker in self._ahead
            if now - self.workers[worker].last_used >= STUCK_SECONDS
        ]

    def next_stuck(self) -> float | None:
        """Returns when ``stuck`` may have something to say; None if nothing waits."""
        if not self._ahead or self.queued or not self._idle:
            return None
        return min(self.workers[worker].last_used for worker in self._ahead) + STUCK_SECONDS
