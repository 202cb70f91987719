"""The future of a task: a ``concurrent.futures.Future`` that can also be awaited.

Owns waiting for one task, blocking or not, and its progress. Knows nothing of how results
arrive: the hub pumps.
"""

import asyncio
import concurrent.futures
import logging
from collections.abc import Callable, Generator
from typing import Any, Protocol, TypeVar

T = TypeVar("T")

Progress = tuple[float, float | None, str]
ProgressCallback = Callable[[float, float | None, str], object]

_logger = logging.getLogger("pyworkers")


class Waiter(Protocol):
    """What a future needs of its hub."""

    def wait(self, is_done: Callable[[], bool], timeout: float | None) -> bool:
        """Blocks until something is done; returns False when the time is over."""


class Future(concurrent.futures.Future[T]):
    """What a task will return.

    It behaves as in the standard library, and ``await future`` works too.
    """

    def __init__(self, hub: Waiter, task: int, take_back: Callable[[int], bool]) -> None:
        super().__init__()
        self._hub = hub
        self._take_back = take_back
        self._progress_callbacks: list[ProgressCallback] = []
        self._progress: Progress | None = None
        self.task = task
        """Number of the task, unique in this interpreter."""

    def result(self, timeout: float | None = None) -> T:
        """Returns what the task returned, waiting for it if need be.

        Args:
            timeout: seconds to wait; None means for ever.

        Raises:
            TimeoutError: it took longer.
            CancelledError: the task was cancelled.
            ModeError: this thread cannot wait; the message says what to do.
            Exception: whatever the task raised, with its traceback in the worker as the cause.
        """
        if not self.done():
            self._hub.wait(self.done, timeout)
        return super().result(0)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Returns what the task raised, or None; waits as ``result`` does."""
        if not self.done():
            self._hub.wait(self.done, timeout)
        return super().exception(0)

    def cancel(self) -> bool:
        """Takes the task back if it does not run yet; returns whether it is cancelled."""
        if self.done() or self.running():
            return super().cancel()
        if not self._take_back(self.task):
            return False
        super().cancel()
        self.set_running_or_notify_cancel()
        return True

    def settle_cancelled(self) -> None:
        """Cancels this future whatever became of its task; for the engine."""
        with self._condition:
            self._state = concurrent.futures._base.PENDING
        super().cancel()
        self.set_running_or_notify_cancel()

    def start(self) -> None:
        """Notes that the task runs; for the engine."""
        if self._state == concurrent.futures._base.PENDING:
            self.set_running_or_notify_cancel()

    def report(self, done: float, total: float | None, message: str) -> None:
        """Passes progress on; for the engine."""
        self._progress = (done, total, message)
        for callback in self._progress_callbacks:
            self._tell(callback, self._progress)

    def _tell(self, callback: ProgressCallback, progress: Progress) -> None:
        try:
            callback(*progress)
        except Exception:
            _logger.exception("exception in a progress callback of %r", self)

    def add_progress_callback(self, callback: ProgressCallback) -> None:
        """Has a function called with done, total (or None) and message at each progress.

        If the task has told of progress already, it is called at once with the newest. What it
        raises is logged.
        """
        self._progress_callbacks.append(callback)
        if self._progress is not None:
            self._tell(callback, self._progress)

    def __await__(self) -> Generator[Any, None, T]:
        if not self.done():
            waiter = asyncio.get_running_loop().create_future()

            def wake(_: object) -> None:
                if not waiter.done():
                    waiter.set_result(None)

            self.add_done_callback(wake)
            try:
                yield from waiter
            except asyncio.CancelledError:
                self.cancel()
                raise
        if self.cancelled():
            raise asyncio.CancelledError
        return super().result(0)
