"""What becomes of the futures of tasks: each is settled once, last of all, and judged before.

Owns the order of these: a circuit breaker hears first, then the future's callbacks, then whoever
waits for the last task. Knows nothing of workers, nor of which tasks there are.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from pyworkers._breaker import CircuitBreaker
from pyworkers._codec import Handle
from pyworkers._futures import Future
from pyworkers._hub import Hub
from pyworkers._records import Task
from pyworkers._results import settle
from pyworkers._store import Buffers, keep


class Outcomes:
    """Settles the futures of one pool, when the hub says that all is in order.

    Args:
        hub: says when.
        name: of the pool.
        ended: called when a task is over.
    """

    def __init__(self, hub: Hub, name: str, ended: Callable[[], object]) -> None:
        self._hub = hub
        self._name = name
        self._ended = ended

    def admitted(
        self, future: Future[Any], breaker: CircuitBreaker, id: int, name: str, now: float
    ) -> bool:
        """Has a breaker let a call through.

        Args:
            future: of the call.
            breaker: that judges it.
            id: number of its function.
            name: of its function, for people.
            now: seconds of ``time.monotonic``.

        Returns:
            Whether the task has to be judged when it is settled; a trial is judged by itself.

        Raises:
            CircuitOpen: it is not to be made.
        """
        is_trial = breaker.enter((self._name, id), name, now)
        if is_trial:
            future.add_done_callback(partial(self._tried, breaker, id))
        return not is_trial

    def _tried(self, breaker: CircuitBreaker, id: int, future: Any) -> None:
        """Tells a breaker what became of its trial, however that ended."""
        succeeded = None if future.cancelled() else future.exception(0) is None
        breaker.leave((self._name, id), succeeded, True, time.monotonic())

    def _judge(self, task: Task, failed: bool) -> None:
        """Tells the breaker of a task, before others hear, whether it failed."""
        breaker = task.breaker
        assert breaker is not None
        if failed or breaker.circuits:
            breaker.leave((self._name, task.judged), not failed, False, time.monotonic())

    def came(
        self, task: Task, failed: bool, data: bytes, buffers: Buffers, held: tuple[Handle, ...]
    ) -> None:
        """A worker has sent what a task returned or raised.

        Args:
            task: that is over.
            failed: whether it raised.
            data: what was sent.
            buffers: its parts out of band.
            held: what is kept for it until then.
        """
        self._hub.after(partial(self._settle, task, failed, data, buffers, held))

    def _settle(
        self, task: Task, failed: bool, data: bytes, buffers: Buffers, held: tuple[Handle, ...]
    ) -> None:
        # The task and what the worker held are held on to, as the result may name parts of them.
        judge = None if task.breaker is None else partial(self._judge, task)
        settle(task.future, failed, data, buffers, judge)
        self._ended()

    def came_to_be_kept(self, task: Task, data: bytes, buffers: Buffers) -> None:
        """A worker has sent a result that is to stay where others can read it."""
        self._hub.after(partial(self._settle_kept, task, data, buffers))

    def _settle_kept(self, task: Task, data: bytes, buffers: Buffers) -> None:
        views = [memoryview(part) for part in buffers]
        try:
            kept = keep(self._hub.mode, (data, views, ()))
        except Exception as error:
            self.fail(task, error)
        else:
            self._settle_with(task, kept)

    def is_value(self, task: Task, value: object) -> None:
        """The result of a task is known already."""
        self._hub.after(partial(self._settle_with, task, value))

    def _settle_with(self, task: Task, value: object) -> None:
        if not task.abandoned:
            if task.breaker is not None:
                self._judge(task, False)
            task.future.set_result(value)
        self._ended()

    def fail(self, task: Task, error: BaseException) -> None:
        """A task did not come to its own end."""
        self._hub.after(partial(self._settle_failed, task, error))

    def _settle_failed(self, task: Task, error: BaseException) -> None:
        if task.breaker is not None:
            self._judge(task, True)
        task.future.set_exception(error)
