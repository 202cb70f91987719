"""What a pool writes down of its tasks and workers: counts, and events for who listens.

Owns the counting. Decides nothing, and calls no listener before the hub says that the
state of the pool is in order.
"""

import logging
import time
from collections import deque
from typing import Any, Final

from pyworkers._events import KINDS, Events, Outcome, log, logger
from pyworkers._functions import Functions
from pyworkers._hub import Hub
from pyworkers._peers import Peers
from pyworkers._protocol import WorkerState
from pyworkers._records import Records, Task
from pyworkers._scheduler import Scheduler
from pyworkers._slots import WorkerSlot
from pyworkers._statistics import REMEMBERED, Counts, ForkReport, PoolStatistics, WorkerInfo

_VERBOSE: Final = KINDS[:4]
"""What is logged where somebody wants to see everything: the events of tasks."""

_DONE: Final[Outcome] = "done"
_FAILED: Final[Outcome] = "failed"


class Ledger:
    """The counts and events of one pool.

    Args:
        hub: says when listeners are told.
        name: of the pool, for people.
        functions: of the pool.
        scheduler: knows what is going on now.
        peers: know what was said.
    """

    def __init__(
        self, hub: Hub, name: str, functions: Functions, scheduler: Scheduler, peers: Peers
    ) -> None:
        self.counts = Counts()
        self.records = Records(functions.names, scheduler, self.counts)
        self.events = Events(hub.at_last)
        self.listeners = self.events.listeners
        self._tell = self.events.add
        self._name = name
        self._names = functions.names
        self._scheduler = scheduler
        self._peers = peers
        self._ended: deque[WorkerInfo] = deque(maxlen=REMEMBERED)
        if logger.isEnabledFor(logging.DEBUG):
            for kind in _VERBOSE:
                self.events.subscribe(kind, log)

    def task_started(self, worker: int, task: Task) -> None:
        """A task runs."""
        task.future.start()
        if "task_started" in self.listeners:
            self._tell("task_started", worker, task.future.task, self._names[task.function])

    def task_progressed(self, worker: int, task: Task, progress: tuple[Any, ...]) -> None:
        """A task has told how far it is."""
        if "task_progress" in self.listeners:
            name = self._names[task.function]
            self._tell("task_progress", worker, task.future.task, name, progress=progress)

    def task_finished(
        self, worker: int, task: Task, failed: bool, seconds: float, now: float
    ) -> None:
        """A task has come to its own end, whether or not that is still wanted.

        Args:
            worker: that ran it.
            task: that is over.
            failed: whether it raised.
            seconds: how long it ran.
            now: seconds of ``time.monotonic``.
        """
        counts = self.counts
        if task.abandoned:
            counts.dropped += 1
            return
        # fmt: off
        counts.took((
            now, seconds, task.since, worker, task.future.task, task.function, task.priority,
            failed, task.asked,
        ))
        # fmt: on
        if not task.is_parked:
            counts.busy += seconds
        if failed:
            counts.failed += 1
        if "task_done" in self.listeners:
            name, outcome = self._names[task.function], _FAILED if failed else _DONE
            self._tell("task_done", worker, task.future.task, name, outcome, seconds)

    def task_failed(self, task: Task, seconds: float) -> None:
        """A task has raised and is going to be run again.

        Args:
            task: the task.
            seconds: how long it ran.
        """
        self.counts.dropped += 1
        if not task.is_parked:
            self.counts.busy += seconds

    def task_retried(
        self,
        worker: int,
        task: Task,
        seconds: float | None,
        reason: BaseException | str,
        attempt: int,
        delay: float,
    ) -> None:
        """A task waits to be run again.

        Args:
            worker: that had it.
            task: the task.
            seconds: how long it ran; None if it did not come to its end.
            reason: what it raised, or what ended its worker.
            attempt: 1 if it is the first time.
            delay: seconds that it waits.
        """
        if "task_retried" in self.listeners:
            if isinstance(reason, BaseException):
                reason = f"{type(reason).__name__}: {reason}"
            name = self._names[task.function]
            self._tell(
                "task_retried",
                worker,
                task.future.task,
                name,
                seconds=seconds,
                reason=reason,
                attempt=attempt,
                delay=delay,
            )

    def task_over(self, worker: int | None, task: Task, outcome: Outcome) -> None:
        """A task is over that has not come to its own end.

        Args:
            worker: that had it; None if none had.
            task: that is over.
            outcome: why.
        """
        counts = self.counts
        setattr(counts, outcome, getattr(counts, outcome) + 1)
        if outcome == _FAILED:  # counted among those that finished
            counts.finished += 1
        self.records.cut_off(task, worker, outcome)
        if "task_done" in self.listeners:
            name = self._names[task.function]
            self._tell("task_done", worker, task.future.task, name, outcome)

    def worker_ready(self, worker: int) -> None:
        """A worker can run tasks."""
        self.log("worker %d of %s is ready", worker)
        if "worker_ready" in self.listeners:
            self._tell("worker_ready", worker)

    def worker_lost(self, worker: int, reason: str) -> None:
        """A worker has died, or was ended with what it ran."""
        self.counts.workers_lost += 1
        self.log("worker %d of %s is lost: %s", worker, reason)
        if "worker_lost" in self.listeners:
            self._tell("worker_lost", worker, reason=reason)

    def worker_ended(self, worker: int) -> None:
        """A worker has ended because nobody needs it."""
        self.counts.workers_ended += 1
        self.log("worker %d of %s ends: it is not needed any more", worker)

    def worker_gone(self, slot: WorkerSlot, reason: str, went_wrong: bool) -> None:
        """A worker will do nothing more.

        Args:
            slot: what it was doing.
            reason: what ended it.
            went_wrong: whether that is its own fault, or that of what it ran.
        """
        now = time.monotonic()
        self.counts.lived += now - slot.created
        self.counts.finished += slot.tasks_done
        failed = went_wrong or slot.state is WorkerState.ERROR
        state = WorkerState.ERROR if failed else WorkerState.TERMINATED
        self._ended.append(_info(slot, now, state, reason))

    def log(self, text: str, worker: int, *details: str) -> None:
        """Logs something of a worker, whose number is an attribute of the record."""
        logger.info(text, worker, self._name, *details, extra={"worker": worker})

    def statistics(self, fork: ForkReport | None, leaving: int) -> PoolStatistics:
        """Returns what has happened so far.

        Args:
            fork: what has become of the pool's fork; None if it has none.
            leaving: how many tasks are over but for that their workers have not heard of it.
        """
        counts, scheduler, now = self.counts, self._scheduler, time.monotonic()
        counts.fold()
        lived = counts.lived + sum(now - slot.created for slot in scheduler.workers.values())
        finished = counts.finished + sum(slot.tasks_done for slot in scheduler.workers.values())
        finished -= counts.dropped
        over = finished + counts.cancelled + counts.timed_out + counts.lost
        return PoolStatistics(
            submitted=over + scheduler.outstanding - leaving,
            done=finished - counts.failed,
            failed=counts.failed,
            cancelled=counts.cancelled,
            timed_out=counts.timed_out,
            lost=counts.lost,
            retried=scheduler.retried,
            cached=counts.cached,
            preempted=counts.preempted,
            bytes_sent=self._peers.bytes_sent,
            bytes_received=self._peers.bytes_received,
            queued=scheduler.queued,
            delayed=scheduler.delayed,
            running=scheduler.outstanding - scheduler.queued - scheduler.delayed,
            workers=len(scheduler.workers),
            workers_started=counts.workers_started,
            workers_lost=counts.workers_lost,
            workers_ended=counts.workers_ended,
            waiting=counts.waiting.durations(),
            executing=counts.executing.durations(),
            utilisation=min(1.0, counts.busy / lived) if lived else 0.0,
            fork=fork,
        )

    def workers(self, ended: bool) -> list[WorkerInfo]:
        """Returns what each worker is doing now; behind those that have ended, if asked for."""
        now = time.monotonic()
        living = [_info(slot, now, slot.state) for slot in self._scheduler.workers.values()]
        return [*self._ended, *living] if ended else living


def _info(
    slot: WorkerSlot, now: float, state: WorkerState, reason: str | None = None
) -> WorkerInfo:
    return WorkerInfo(
        number=slot.number,
        state=state.value,
        age=now - slot.created,
        unchanged=now - slot.last_used,
        task=slot.held[0] if slot.held else None,
        ahead=max(0, len(slot.held) - 1),
        awaiting=len(slot.parked),
        tasks_done=slot.tasks_done,
        capabilities=slot.capabilities,
        reason=reason,
    )
