"""The tasks of a pool: what its engine knows of each, and what is told of those that were.

Owns the record of a task. What is told is made of what is known anyway, when somebody asks; only
of tasks that do not come to their own end, which are few, it is written down as they end.
"""

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pyworkers._breaker import CircuitBreaker
from pyworkers._codec import Encoded
from pyworkers._events import Outcome
from pyworkers._futures import Future
from pyworkers._scheduler import Scheduler
from pyworkers._statistics import REMEMBERED, Asked, Counts, Ended, TaskInfo, TaskState

_NOTHING: Final = Asked(None, None, 0, 0.0)


@dataclass(slots=True)
class Task:
    """A task that is outstanding.

    Attributes:
        future: what its user has of it.
        function: number of its function.
        call: its arguments, encoded.
        priority: 0 (last) to 10 (first).
        since: when it could run first, in seconds of ``time.monotonic``.
        keep: whether its result stays where workers can read it.
        retry_on: errors after which it may be run again.
        asked: what else was asked of it; None if it was nothing.
        is_parked: whether it is a coroutine that its worker awaits.
        abandoned: its future is settled; it runs only until it has heard of that.
        preempted: it was asked to end so that another can run, and is run again later.
        breaker: is told what becomes of it; None if nobody is.
        judged: number of the function that it judges.
        began: when it began to run, if it does not run alone any more.
    """

    future: Future[Any]
    function: int
    call: Encoded
    priority: int
    since: float
    keep: bool
    retry_on: tuple[type[BaseException], ...] = ()
    asked: Asked | None = None
    is_parked: bool = False
    abandoned: bool = False
    preempted: bool = False
    breaker: CircuitBreaker | None = None
    judged: int = 0
    began: float | None = None


class Records:
    """What is told of the tasks of one pool.

    Args:
        names: of its functions, by their numbers.
        scheduler: knows what they do.
        counts: has those that have come to their own end.
    """

    def __init__(self, names: Mapping[int, str], scheduler: Scheduler, counts: Counts) -> None:
        self.epoch = time.time() - time.monotonic()
        """What is to be added to a time of ``time.monotonic``."""
        self._names = names
        self._scheduler = scheduler
        self._counts = counts
        self._cut_off: deque[TaskInfo] = deque(maxlen=REMEMBERED)

    def cut_off(self, task: Task, worker: int | None, outcome: Outcome) -> None:
        """A task is over that has not come to its own end.

        Args:
            task: that is over.
            worker: that had it; None if none had.
            outcome: why.
        """
        number, began = task.future.task, task.began
        if began is None and self._scheduler.holder(number) is not None:
            began = self._scheduler.whereabouts(number)[2]
        self._cut_off.append(self._info(task, outcome, worker, began, time.monotonic()))

    def tasks(self, outstanding: Mapping[int, Task], ended: bool) -> list[TaskInfo]:
        """Returns what each task is doing now; behind those that have ended, if asked for."""
        living = []
        for number, task in outstanding.items():
            if not task.abandoned:
                state, worker, began = self._scheduler.whereabouts(number)
                began = task.began if began is None else began
                living.append(self._info(task, state, worker, began, None))
        return [*self._ended(), *living] if ended else living

    def functions(self) -> set[int]:
        """Returns the numbers of the functions of tasks that have come to their own end."""
        return {task[5] for task in self._latest()}

    def _latest(self) -> list[Ended]:
        return [*self._counts.latest, *self._counts.recent][-REMEMBERED:]

    def _ended(self) -> list[TaskInfo]:
        told = [*self._cut_off, *map(self._finished, self._latest())]
        return sorted(told, key=lambda info: info.completed or 0.0)[-REMEMBERED:]

    def _finished(self, task: Ended) -> TaskInfo:
        now, seconds, since, worker, number, function, priority, failed, asked = task
        metadata, timeout, retries, delay, retried, first = asked or _NOTHING
        return TaskInfo(
            number=number,
            function=self._names[function],
            state="failed" if failed else "done",
            priority=priority,
            metadata=metadata,
            timeout=timeout,
            retries=retries,
            retried=retried,
            created=(since if first is None else first) - delay + self.epoch,
            scheduled=since + self.epoch,
            started=max(since, now - seconds) + self.epoch,
            completed=now + self.epoch,
            worker=worker,
        )

    def _info(
        self,
        task: Task,
        state: TaskState,
        worker: int | None,
        began: float | None,
        completed: float | None,
    ) -> TaskInfo:
        metadata, timeout, retries, delay, retried, first = task.asked or _NOTHING
        return TaskInfo(
            number=task.future.task,
            function=self._names[task.function],
            state=state,
            priority=task.priority,
            metadata=metadata,
            timeout=timeout,
            retries=retries,
            retried=retried,
            created=(task.since if first is None else first) - delay + self.epoch,
            scheduled=task.since + self.epoch,
            started=None if began is None else began + self.epoch,
            completed=None if completed is None else completed + self.epoch,
            worker=worker,
        )
