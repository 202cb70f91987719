"""Who runs what, when: the decisions of a pool, without any I/O.

Owns the workers' states, what each holds, and which of them ends. Knows nothing of payloads,
futures or channels: events come in by method calls, tasks and workers are numbers, time is handed
in, and ``decide`` returns what is to be done. What waits, and in which order, is the queue's; which
workers are started the staffing's.

A worker holds tasks in the order in which it runs them; the first one runs. Where tasks that it
has not started can be taken back, it is given further ones ahead, so that it need not wait for the
hub between them: as many as are expected to be done within ``WINDOW_SECONDS``, and one behind a
somewhat longer one. Should they wait while another worker is idle, ``stuck`` says so. Where nothing
can be taken back, nobody could tell which tasks a dead worker had started: it holds one at a time.
A task that turned out to be a coroutine is *parked*: it runs beside the others.

A worker that is over its lifetime is given nothing more, and ends when it has nothing left.
"""

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from pyworkers._backoff import Restarts
from pyworkers._lanes import Lane
from pyworkers._policies import Policy
from pyworkers._protocol import WorkerState
from pyworkers._queue import Entry, Queue
from pyworkers._scaling import Scaler
from pyworkers._slots import WorkerSlot
from pyworkers._staffing import Staffing, Wanted
from pyworkers._statistics import TaskState

WINDOW_SECONDS: Final = 0.002
"""How much work a worker may hold ahead: many times the way to the hub and back."""
WINDOW_TASKS: Final = 64
ONE_AHEAD_SECONDS: Final = 0.1
"""A worker that is busy for at most so long holds one task ahead, if it can be taken back."""
STUCK_SECONDS: Final = 0.01
"""A task that runs so long while others wait behind it, and a worker is idle, is in the way."""


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
        requeued: tasks that it had not started, or may be run again; they are queued again.
    """

    started: list[int]
    requeued: list[int]


@dataclass(slots=True)
class Scheduler(Queue):
    """The state of one pool: its queue, and the workers that empty it.

    Args:
        max_workers: how many workers may live at a time.
        can_take_back: whether tasks that a worker has not started can be taken back.
        max_tasks: how many tasks a worker runs in its life; None means any number.
        max_failures: how many of them may raise; None means any number.
        restarts: says when workers that were lost are replaced.
        policy: says which task is first and which worker gets it.
        places: the capabilities of each worker that there may be; empty if none has any.
        scaler: says how many workers there should be.
        lifetime: seconds from when it is ready after which a worker is given no more tasks; None
            means never.
        chance: returns a number from 0 to 1, by which those that wait to be run again differ.
    """

    max_workers: int
    can_take_back: bool = False
    max_tasks: int | None = None
    places: Sequence[frozenset[str]] = ()
    scaler: Scaler = field(default_factory=Scaler)
    lifetime: float | None = None
    max_failures: int | None = None
    restarts: Restarts = field(default_factory=Restarts)
    workers: dict[int, WorkerSlot] = field(default_factory=dict)
    broken: str | None = None
    """Why no worker will be started any more; None while all is well."""
    has_over: bool = False
    """Whether ``surplus`` names a worker that has just become free."""
    staffing: Staffing = field(init=False)
    preemptible: set[int] = field(default_factory=set)
    """Tasks that workers have which may be made to wait for others of higher priority."""
    _chooses: bool = field(init=False)
    """Whether it matters which of several workers gets a task."""
    _newest_first: bool = field(init=False)
    """Whether a task goes to the worker that waits shortest, so that those not needed can end."""
    _idle: dict[int, None] = field(default_factory=dict)
    """Ready workers that hold nothing, the one that waits longest first."""
    _room: dict[int, None] = field(default_factory=dict)
    """Workers that hold something and may hold more."""
    _ahead: set[int] = field(default_factory=set)
    """Workers that hold more than the task that they run."""
    _preempted: int | None = None
    """The task that was asked to make room and has not yet."""

    def __post_init__(self) -> None:
        Queue.__post_init__(self)  # super() does not know a class that was made anew for its slots
        self.staffing = Staffing(
            self.max_workers,
            self.places,
            self.scaler,
            self.restarts,
            self.workers,
            self.max_tasks,
        )
        chooses = type(self.policy).choose is not Policy.choose
        self._chooses = chooses or bool(self.places)
        self._newest_first = self.scaler.idle_timeout is not None and not chooses

    @property
    def has_choice(self) -> bool:
        """Whether ``decide`` or ``next_stuck`` may have something to say; cheaper than to ask."""
        if self.queued:
            return bool(self._idle or self._room) or len(self.workers) < self.max_workers
        return self.staffing.is_short or bool(self._ahead)

    def whereabouts(self, task: int) -> tuple[TaskState, int | None, float | None]:
        """Returns what a task that is outstanding does, who has it, and when it began to run.

        The time is known of tasks that run alone.
        """
        entry = self._tasks[task]
        if entry.worker is None:
            return "delayed" if entry.is_delayed else "queued", None, None
        slot = self.workers[entry.worker]
        if task in slot.parked:
            return "awaiting", slot.number, None
        if slot.held[0] == task:
            return "running", slot.number, slot.last_used
        return "ahead", slot.number, None

    def ending(self, task: int) -> None:
        """A task that runs was asked to end: until it has, its worker gets no further ones."""
        worker = self.holder(task)
        assert worker is not None
        slot = self.workers[worker]
        slot.ending.add(task)
        if task == self._preempted:
            self._preempted = None
        self._update(slot)

    def preempt(self, now: float) -> int | None:
        """Returns a task that shall make room for one of higher priority; None if none need.

        It counts as one that was asked to end. There is one at a time: the next is named when it
        has left its worker. None is named that would be the first again in the queue.
        """
        if self._idle or self.staffing.starting or self._preempted is not None:
            return None
        if self.broken is None and self.staffing.startable(now) > 0:
            return None
        for place, lane in self._lanes.open():
            urgent = self._tasks[place[1]].priority
            found = [
                (self._tasks[other].priority, -other)
                for other in self.preemptible
                if self._tasks[other].priority < urgent
                and self._is_in_the_way(other, lane)
                and (self._rank_at(other, now), other) > place
            ]
            if found:
                victim = -min(found)[1]
                self.ending(victim)
                self._preempted = victim
                return victim
        return None

    def _is_in_the_way(self, task: int, lane: Lane) -> bool:
        """Says whether a task runs, not asked to end, where the first one of a lane could run."""
        worker = self.holder(task)
        assert worker is not None
        slot = self.workers[worker]
        return (
            (slot.held[0] == task if slot.held else task in slot.parked)
            and not slot.ending
            and lane.home in (None, worker)
            and lane.requires <= slot.capabilities
        )

    def _rank_at(self, task: int, now: float) -> Any:
        """The rank of a task that a worker has: the time for which it ran is no time of waiting."""
        entry = self._tasks[task]
        assert entry.worker is not None
        slot = self.workers[entry.worker]
        if self._ranks or not slot.held or slot.held[0] != task:
            return entry.rank
        return entry.rank + max(0.0, now - slot.last_used)

    def left(self, worker: int, task: int, now: float) -> None:
        """A worker has let go of a task that was preempted, which is queued again."""
        slot = self.workers[worker]
        self._tasks[task].rank = self._rank_at(task, now)
        self._take_off(slot, task, now)
        slot.taken -= 1
        self._requeue([task])
        self._update(slot)

    def worker_started(self, worker: int, now: float) -> None:
        """A worker was asked for; it is not ready yet."""
        self.staffing.started(worker, now)
        if self.queued:
            self.scaler.started(now)

    def worker_ready(self, worker: int, now: float) -> None:
        """A worker can run tasks."""
        slot = self.workers[worker]
        slot.state = WorkerState.IDLE
        slot.last_used = slot.busy_since = slot.ready_since = now
        self.staffing.ready()
        self.scaler.ready(now)
        self._idle[worker] = None

    def setup_failed(self, worker: int, reason: str) -> None:
        """A worker cannot be prepared as the pool's user asked: the pool is of no use."""
        self.workers[worker].state = WorkerState.ERROR
        self.staffing.starting -= 1
        self.broken = reason

    def is_used_up(self, worker: int) -> bool:
        """Says whether a worker has run all the tasks that it may run."""
        slot = self.workers.get(worker)
        if slot is None or slot.held or slot.parked:
            return False
        return slot.is_over or (self.max_tasks is not None and slot.taken >= self.max_tasks)

    def raised(self, worker: int) -> None:
        """A task of a worker raised: after too many it gets no more."""
        slot = self.workers[worker]
        slot.failures += 1
        if self.max_failures is not None and slot.failures >= self.max_failures:
            self._retire(slot)

    def use_up(self, worker: int) -> None:
        """A worker gets no more tasks."""
        self._retire(self.workers[worker])

    def worker_lost(
        self,
        worker: int,
        reason: str,
        started: int = 1,
        may_retry: bool = True,
        now: float = 0.0,
    ) -> Lost:
        """A worker is gone.

        Args:
            worker: its number.
            reason: what ended it.
            started: how many of the tasks that it held it had started.
            may_retry: whether those that may be run again are queued again, unless they were asked
                to end.
            now: the time.
        """
        slot = self.workers[worker]
        if self._preempted is not None and self.holder(self._preempted) == worker:
            self._tasks[self._preempted].rank = self._rank_at(self._preempted, now)
        self.broken = self.staffing.lost(worker, reason, is_failure=may_retry) or self.broken
        self._idle.pop(worker, None)
        self._room.pop(worker, None)
        self._ahead.discard(worker)
        held = list(slot.held)
        over, again, requeued = [], [], []
        for task in (*slot.parked, *held[:started]):
            if may_retry and task == self._preempted:
                requeued.append(task)
            elif may_retry and self.may_retry(task) and task not in slot.ending:
                again.append(task)
            else:
                del self._tasks[task]
                over.append(task)
                self.preemptible.discard(task)
        requeued += held[started:]
        for _, task in self._lanes.lost(worker):
            if (waiting := self._tasks.get(task)) is not None:
                self.queued -= 1
                self._enqueue(task, waiting)
        for task in again:
            self.preemptible.discard(task)
            self._try_again(task, self._tasks[task], now)
        self._requeue(requeued)
        return Lost(over, again + requeued)

    def crashed(self, reason: str, now: float) -> None:
        """The worker that was just lost had ended by itself: its place may stay empty for a while.

        Args:
            reason: what ended it.
            now: the time.
        """
        self.broken = self.broken or self.staffing.crashed(reason, now)

    def failed(self, worker: int, task: int, now: float) -> float:
        """A worker is done with a task that is to be run again, as ``may_retry`` allows.

        Returns:
            When it may be run.
        """
        entry = self._tasks[task]
        self.finished(worker, task, now)
        self._tasks[task] = entry
        return self._try_again(task, entry, now)

    def taken_back(self, worker: int, started: int) -> list[int]:
        """The tasks that a worker had not started are queued again, and returned.

        Args:
            worker: its number.
            started: how many of the tasks that it holds it has started.
        """
        slot = self.workers[worker]
        back = [slot.held.pop() for _ in range(len(slot.held) - started)][::-1]
        slot.taken -= len(back)
        slot.ahead -= sum(self._tasks[task].expected or 0.0 for task in back)
        self._requeue(back)
        slot.in_the_way = True
        self._update(slot)
        return back

    def hopeless(self, now: float) -> list[int]:
        """Returns the tasks that wait for what no worker can do that there is or may be."""
        if self.restarts.replaces or not self.places or self.staffing.startable(now) > 0:
            return []
        living = [slot.capabilities for slot in self.workers.values()]
        return [
            task
            for task, entry in self._tasks.items()
            if entry.worker is None
            and entry.need is not None
            and not any(entry.need.requires <= offered for offered in living)
        ]

    def _requeue(self, tasks: list[int]) -> None:
        """Queues tasks again; by their ranks they have the places that they had."""
        for task in tasks:
            entry = self._tasks[task]
            entry.worker = None
            self.preemptible.discard(task)
            if task == self._preempted:
                self._preempted = None
            self._enqueue(task, entry)

    def parked(self, worker: int, task: int, now: float) -> None:
        """A worker awaits a task that it holds first, and goes on with the next."""
        slot = self.workers[worker]
        self._next(slot, now)
        slot.parked.add(task)
        self._update(slot)

    def finished(self, worker: int, task: int, now: float) -> None:
        """A worker is done with a parked task, or with the first one that it holds."""
        slot = self.workers[worker]
        self._take_off(slot, task, now)
        slot.tasks_done += 1
        del self._tasks[task]
        if task in self.preemptible:
            self.preemptible.remove(task)
            if task == self._preempted:
                self._preempted = None
        self._update(slot)

    def _take_off(self, slot: WorkerSlot, task: int, now: float) -> None:
        if task in slot.parked:
            slot.parked.remove(task)
            if not slot.held:
                slot.busy_since += now - slot.last_used
                slot.last_used = now
        else:
            self._next(slot, now)
        slot.ending.discard(task)

    def _next(self, slot: WorkerSlot, now: float) -> None:
        task = slot.held.popleft()
        slot.ahead = max(0.0, slot.ahead - (self._tasks[task].expected or 0.0))
        slot.in_the_way = False
        slot.last_used = now

    def _update(self, slot: WorkerSlot) -> None:
        """Puts a worker where it belongs by what it holds now."""
        number, count = slot.number, len(slot.held)
        used_up = self.max_tasks is not None and slot.taken >= self.max_tasks
        may_take = not (slot.ending or slot.is_over or used_up)
        self._idle.pop(number, None)
        self._room.pop(number, None)
        if count > 1:
            self._ahead.add(number)
        else:
            self._ahead.discard(number)
        if count == 0:
            slot.state = WorkerState.BUSY if slot.parked else WorkerState.IDLE
            slot.ahead = 0.0
            slot.in_the_way = False
            if slot.is_over:
                self.has_over = True
            elif may_take:
                self._idle[number] = None
            return
        slot.state = WorkerState.BUSY
        if not self.can_take_back or slot.in_the_way or not may_take:
            return
        if self._tasks[slot.held[0]].expected is None:
            return
        if (slot.ahead < WINDOW_SECONDS and count < WINDOW_TASKS) or (
            count == 1 and slot.ahead < ONE_AHEAD_SECONDS
        ):
            self._room[number] = None

    def decide(self, now: float) -> Decision:
        """Says what is to be done, and takes it as done."""
        assign: list[tuple[int, int]] = []
        idle, room, tasks = self._idle, self._room, self._tasks
        if self._others or self._keyed or self._chooses:
            self._assign_by_choice(assign, now)
            return Decision(assign, self._missing(now))
        lane = self._main
        run, heap = lane.run, lane.heap
        newest_first = self._newest_first
        while self.queued and (idle or room):
            is_next = not heap or (run and run[0] < heap[0])
            task = run[0][1] if is_next else heap[0][1]
            entry = tasks.get(task)
            if entry is None:  # it was cancelled
                lane.pop()
                continue
            if idle:
                worker = next(reversed(idle)) if newest_first else next(iter(idle))
            elif entry.expected is not None and entry.expected < ONE_AHEAD_SECONDS:
                worker = next(iter(room))
            else:
                break
            if is_next:
                run.popleft()
            else:
                heapq.heappop(heap)
            lane.waiting -= 1
            self.queued -= 1
            self._give(worker, task, entry, now)
            assign.append((worker, task))
        return Decision(assign, self._missing(now))

    def _assign_by_choice(self, assign: list[tuple[int, int]], now: float) -> None:
        """Like the loop of ``decide``, where not every worker may run every task."""
        while self.queued and (self._idle or self._room):
            for (_, task), lane in self._lanes.open():
                entry = self._tasks[task]
                worker = self._worker_for(lane, entry.expected)
                if worker is not None:
                    break
            else:
                return
            self._lanes.take(lane, entry.need, worker)
            self.queued -= 1
            self._give(worker, task, entry, now)
            assign.append((worker, task))

    def _worker_for(self, lane: Lane, expected: float | None) -> int | None:
        """Returns who gets a task of a lane; None if nobody can take it now."""
        is_short = expected is not None and expected < ONE_AHEAD_SECONDS
        if lane.home is not None:
            is_free = lane.home in self._idle or (is_short and lane.home in self._room)
            return lane.home if is_free else None
        for group in (self._idle, self._room if is_short else {}):
            slots = [self.workers[worker] for worker in group]
            if self.places:
                slots = [slot for slot in slots if lane.requires <= slot.capabilities]
                least = min((len(slot.capabilities) for slot in slots), default=0)
                slots = [slot for slot in slots if len(slot.capabilities) == least]
            if slots:
                is_last = self._newest_first and group is self._idle
                return slots[-1].number if is_last else self._chosen(slots)
        return None

    def _chosen(self, slots: list[WorkerSlot]) -> int:
        """Returns the worker that the policy chooses; ValueError if it is none that could be."""
        worker = self.policy.choose(slots)
        if all(worker != slot.number for slot in slots):
            numbers = ", ".join(str(slot.number) for slot in slots)
            raise ValueError(f"the policy chose worker {worker!r}, which is none of {numbers}")
        return worker

    def _give(self, worker: int, task: int, entry: Entry, now: float) -> None:
        entry.worker = worker
        slot = self.workers[worker]
        if not slot.held:
            slot.busy_since += now - slot.last_used
            slot.last_used = now
        slot.held.append(task)
        slot.taken += 1
        slot.ahead += entry.expected or 0.0
        if entry.is_preemptible:
            self.preemptible.add(task)
        self._update(slot)

    def _missing(self, now: float) -> int:
        """Returns how many workers to start."""
        if len(self.workers) >= self.max_workers or self.broken is not None:
            return 0
        if not (self.queued or self._ahead or self.staffing.is_short):
            return 0
        return self.staffing.missing(self._wanted(), now)

    def _wanted(self) -> Wanted:
        """Returns for how many tasks a worker would be of use, by the capabilities needed."""
        wanted = self._lanes.wanted()
        wanted[self._main.requires] += sum(len(self.workers[w].held) - 1 for w in self._ahead)
        return wanted

    def look(self, now: float) -> int:
        """Returns how many workers to start by the pool's thresholds; ends may follow, too.

        Each is announced by ``worker_started``, and ``surplus`` says which end.
        """
        if self.scaler.scaling is None or self.broken is not None:
            return 0
        return self.staffing.look(self._wanted(), self._is_active, now)

    def next_look(self) -> float | None:
        """Returns when ``look`` may have something to say; None if nothing is going on."""
        return self.scaler.next_look(self._is_active)

    @property
    def _is_active(self) -> bool:
        return len(self._tasks) > self.delayed

    def stuck(self, now: float) -> list[int]:
        """Returns the workers from which tasks should be taken back, because another is idle."""
        if self._main.waiting or not self._idle:
            return []
        return [
            worker
            for worker in self._ahead
            if now - self.workers[worker].last_used >= STUCK_SECONDS
        ]

    def next_stuck(self) -> float | None:
        """Returns when ``stuck`` may have something to say; None if nothing waits."""
        if not self._ahead or self._main.waiting or not self._idle:
            return None
        return min(self.workers[worker].last_used for worker in self._ahead) + STUCK_SECONDS

    def surplus(self, now: float) -> list[int]:
        """Returns the workers that are to end, because they are idle or old; none holds a task."""
        if self.lifetime is not None:
            for slot in self.workers.values():
                if not slot.is_over and slot.ready_since + self.lifetime <= now:
                    self._retire(slot)
        self.has_over = False
        over = [
            slot.number
            for slot in self.workers.values()
            if slot.is_over and slot.state is WorkerState.IDLE
        ]
        if not self.queued:
            over += self.scaler.surplus(len(self.workers) - len(over), self._unused(), now)
        return over

    def _retire(self, slot: WorkerSlot) -> None:
        """Gives a worker no more tasks."""
        slot.is_over = True
        self._idle.pop(slot.number, None)
        self._room.pop(slot.number, None)

    def _unused(self) -> list[WorkerSlot]:
        slots = (self.workers[worker] for worker in self._idle)
        return [slot for slot in slots if slot.state is WorkerState.IDLE]

    def next_surplus(self) -> float | None:
        """Returns when ``surplus`` may name a worker; None if none is going to end."""
        due = [] if self.queued else [self.scaler.next_surplus(len(self.workers), self._unused())]
        if self.lifetime is not None:
            due += [
                slot.ready_since + self.lifetime
                for slot in self.workers.values()
                if slot.ready_since < math.inf
                and (slot.state is WorkerState.IDLE or not slot.is_over)
            ]
        return min((when for when in due if when is not None), default=None)
