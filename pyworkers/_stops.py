"""Tasks that end before their time, or leave their worker: taken back, asked to end, preempted.

Owns the requests to end that workers have not answered. Decides nothing about futures: who asks
settles them. What a worker that does not answer means is the engine's.
"""

from typing import Protocol

from pyworkers._cancel import Endings
from pyworkers._events import Outcome
from pyworkers._hub import Hub
from pyworkers._ledger import Ledger
from pyworkers._peers import Peers
from pyworkers._records import Task
from pyworkers._scheduler import Scheduler


class Lose(Protocol):
    """Ends a worker."""

    def __call__(self, worker: int, reason: str, on_purpose: bool = False) -> None:
        """Ends it, for a reason; ``on_purpose`` because of a task that would not end by itself."""


class Stops:
    """Ends the tasks of one pool.

    Args:
        hub: has the event loop come back.
        scheduler: knows who has which task.
        peers: the workers.
        ledger: writes down what became of tasks.
        tasks: that are outstanding.
        grace: seconds that a task which was asked to end has until its worker is ended.
        lose: ends that worker.
    """

    def __init__(
        self,
        hub: Hub,
        scheduler: Scheduler,
        peers: Peers,
        ledger: Ledger,
        tasks: dict[int, Task],
        grace: float,
        lose: Lose,
    ) -> None:
        self.endings = Endings(grace)
        self._hub = hub
        self._scheduler = scheduler
        self._peers = peers
        self._ledger = ledger
        self._tasks = tasks
        self._lose = lose

    def withdraw(self, number: int, outcome: Outcome) -> bool:
        """Forgets a task that no worker has started; returns False if one has, or it is over."""
        worker = self._scheduler.holder(number)
        if worker is not None:
            self.recall(worker)
        if not self._scheduler.cancelled(number):
            return False
        self._ledger.task_over(None, self._tasks.pop(number), outcome)
        return True

    def abandon(self, number: int, why: str, outcome: Outcome, now: float) -> None:
        """Asks a task to end that a worker has started, and whose future is settled now."""
        worker = self._holder(number)
        task = self._tasks[number]
        task.abandoned = True
        task.preempted = False
        self._ledger.task_over(worker, task, outcome)
        self._scheduler.ending(number)
        self._interrupt(worker, number, why, now)

    def preempt(self, now: float) -> bool:
        """Has a task make room for one of higher priority, if it declared that it would."""
        number = self._scheduler.preempt(now)
        if number is None:
            return False
        self._tasks[number].preempted = True
        self._interrupt(self._holder(number), number, "it was preempted", now)
        return True

    def _holder(self, number: int) -> int:
        worker = self._scheduler.holder(number)
        assert worker is not None
        return worker

    def _interrupt(self, worker: int, number: int, why: str, now: float) -> None:
        self.endings.begin(number, why, now)
        self._peers.interrupt(worker, number)
        due = self.endings.next_due()
        assert due is not None
        self._hub.remind(due)

    def tick(self, now: float) -> None:
        """Asks tasks again that shall end, and ends the workers of those that had their time."""
        for number in self.endings.asked_again(now):
            self._peers.interrupt_again(self._holder(number), number)
        for number, why in self.endings.overdue(now):
            worker = self._scheduler.holder(number)
            if worker is None:  # its worker has just been ended for another task
                continue
            slot = self._scheduler.workers[worker]
            if number in slot.parked and slot.held and self._recall_known(worker):
                # A coroutine that could not hear of it, because a function runs beside it.
                self.endings.postpone(number, now)
            else:
                self._lose(worker, why, True)

    def _recall_known(self, worker: int) -> bool:
        """Says whether a worker is known to run a function, beside the coroutines it awaits."""
        return self._scheduler.can_take_back and self.recall(worker) > 0

    def recall(self, worker: int) -> int:
        """Takes back what a worker has not started; returns how many of its tasks it has."""
        held = len(self._scheduler.workers[worker].held)
        if not held:
            return 0  # and one that is starting stays so: its loss counts as a failed start
        started = self._peers.recall(worker, held)
        if started is None:
            return held
        for number in self._scheduler.taken_back(worker, started):
            self._tasks[number].future.wait_again()
        return started

    def over(self, number: int) -> None:
        """A task has ended, whether or not it was asked to."""
        if self.endings.tasks:
            self.endings.over(number)
