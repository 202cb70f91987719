"""The future of a task: a ``concurrent.futures.Future`` that can also be awaited.

Owns waiting for one task, blocking or not, and its progress. Knows nothing of how results
arrive: the hub pumps.
"""

import asyncio
import concurrent.futures
import contextvars
import logging
import math
import sys
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures._base import CANCELLED, CANCELLED_AND_NOTIFIED, FINISHED, PENDING, RUNNING
from functools import partial
from typing import Any, Final, Protocol, TypeVar

from pyworkers.errors import TaskCancelled

T = TypeVar("T")

_CANCELLED: Final = frozenset({CANCELLED, CANCELLED_AND_NOTIFIED})
_OVER: Final = _CANCELLED | {FINISHED}

Progress = tuple[float, float | None, str]
ProgressCallback = Callable[[float, float | None, str], object]

_logger = logging.getLogger("pyworkers")


class Waiter(Protocol):
    """What a future needs of its hub."""

    def wait(self, is_done: Callable[[], bool], timeout: float | None) -> bool:
        """Blocks until something is done; returns False when the time is over."""

    def wait_briefly(self, is_done: Callable[[], bool]) -> bool:
        """Blocks where the thread may, for less than a turn of the event loop takes."""

    def soon(self, callback: Callable[[], object], loop: asyncio.AbstractEventLoop) -> None:
        """Calls back once all is done that is going on, as ``call_soon`` of the loop does."""


_TURN_SECONDS: Final = 0.02
"""Who waits for several hubs gives each so long in turn."""

_lock: Final = threading.RLock()
"""Held while a future without a Condition changes its state, or gets its Condition. Taken again by
finalizers, which the garbage collector may run in between and which cancel futures of their own."""


class _PumpedEvent(threading.Event):
    """What a waiter of the standard library waits for: as long, the hubs take results in."""

    def __init__(self) -> None:
        super().__init__()
        self.futures: list[Future[Any]] = []

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until it is set, as an Event does.

        Raises:
            ModeError: this thread cannot wait; the message says what to do.
        """
        end = math.inf if timeout is None else time.monotonic() + timeout
        while not self.is_set():
            left = end - time.monotonic()
            hubs = {future.hub: None for future in self.futures if not future.done()}
            if not hubs:  # only futures of other executors, which have threads to settle them
                return super().wait(None if timeout is None else max(0.0, left))
            if left <= 0:
                return False
            if len(hubs) > 1:
                left = min(left, _TURN_SECONDS)
            for hub in hubs:
                hub.wait(self.is_set, None if left == math.inf else left)
        return True


class _Waiters(list[Any]):
    """The waiters of a future, which ``concurrent.futures.wait`` and ``as_completed`` install.

    Their Event would wait for another thread to settle the future, and there is none.
    """

    def __init__(self, future: "Future[Any]") -> None:
        super().__init__()
        self._future = future

    def append(self, waiter: Any) -> None:
        """Adds a waiter, which from now on waits for the hub too."""
        if not isinstance(waiter.event, _PumpedEvent):
            waiter.event = _PumpedEvent()
        waiter.event.futures.append(self._future)
        super().append(waiter)


class _OwnCondition:
    """Gives a future its Condition, and its list of waiters, when somebody first asks for it.

    It takes longer to make than all the rest of a future, and only ``concurrent.futures.wait`` and
    ``as_completed`` need it, since blocking for a result pumps.
    """

    def __get__(self, future: Any, owner: type) -> threading.Condition:
        condition = threading.Condition()
        with _lock:
            future.__dict__.setdefault("_waiters", _Waiters(future))
            first: threading.Condition = future.__dict__.setdefault("_condition", condition)
            future.is_watched = True
        return first


class _Wakeup(asyncio.Future[None]):
    """What the task of a coroutine waits for when it awaits our future.

    The hub resumes that task: Pyodide's event loop takes a turn to do so, which is about as long
    as the way to a worker and back, and a second turn for each future that it makes itself.
    """

    def __init__(self, hub: Waiter) -> None:
        super().__init__(loop=asyncio.get_running_loop())
        self._hub = hub
        self._hooks = sys.get_asyncgen_hooks()
        self._step: Callable[[], object] | None = None

    def add_done_callback(
        self, fn: Callable[[Any], object], /, *, context: contextvars.Context | None = None
    ) -> None:
        # Only the task that awaits this does so, once, with its context.
        assert context is not None
        assert self._step is None
        self._step = partial(context.run, fn, self)

    def wake(self, _: object) -> None:
        """Has the task resumed; a callback of what it awaits."""
        if not self.done():
            self.set_result(None)
            if self._step is not None:
                self._hub.soon(self._resume, self.get_loop())

    def cancel(self, msg: Any | None = None) -> bool:
        if not super().cancel(msg):
            return False
        if self._step is not None:
            self.get_loop().call_soon(self._resume)
        return True

    def _resume(self) -> None:
        step, self._step = self._step, None
        assert step is not None
        # With stack switching this is a thread state of its own, which knows nothing of the loop.
        asyncio._set_running_loop(self.get_loop())
        sys.set_asyncgen_hooks(*self._hooks)
        try:
            step()
        except BaseException as error:  # the loop knows what becomes of which
            self.get_loop().call_soon(_raise, error)


def _raise(error: BaseException) -> None:
    raise error


class Future(concurrent.futures.Future[T]):
    """What a task will return.

    It behaves as in the standard library, and ``await future`` works too.
    """

    # What is the same for nearly all lies here, not in each: making one is part of every submit.
    _condition = _OwnCondition()
    _state = PENDING
    _result = None
    _exception = None
    _progress_callbacks: tuple[ProgressCallback, ...] = ()
    _progress: Progress | None = None
    is_watched = False
    """Whether it has a Condition."""
    is_short = False
    """Whether it is expected to be done before the event loop could turn; for the engine."""

    def __init__(self, hub: Waiter, task: int, take_back: Callable[[int, bool], bool]) -> None:
        # Instead of the base class, which would make a Condition.
        self._done_callbacks: list[Callable[[Any], object]] = []
        self.hub = hub
        """Settles this future while somebody waits."""
        self._take_back = take_back
        self.task = task
        """Number of the task, unique in this interpreter."""

    def result(self, timeout: float | None = None) -> T:
        """Returns what the task returned, waiting for it if need be.

        Args:
            timeout: seconds to wait; None means for ever.

        Raises:
            TimeoutError: it took longer.
            CancelledError: the task was cancelled.
            KeyboardInterrupt: the user does not want to wait; the task is cancelled too.
            ModeError: this thread cannot wait; the message says what to do.
            Exception: whatever the task raised, with its traceback in the worker as the cause.
        """
        if self._state not in _OVER:
            self._block(timeout)
        return self._value()

    def _block(self, timeout: float | None) -> None:
        try:
            self.hub.wait(self.done, timeout)
        except (KeyboardInterrupt, TaskCancelled):
            self.cancel(running=True)
            raise

    def _value(self) -> T:
        if self._state == FINISHED and self._exception is None:
            return self._result  # type: ignore[return-value] # finished, so it is there
        return super().result(0)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Returns what the task raised, or None; waits as ``result`` does."""
        if self._state not in _OVER:
            self._block(timeout)
        return self._exception if self._state == FINISHED else super().exception(0)

    # The base class asks under the lock of the Condition; one read of one attribute needs none.

    def done(self) -> bool:
        """Says whether the task is over: done, failed or cancelled."""
        return self._state in _OVER

    def running(self) -> bool:
        """Says whether the task runs."""
        return self._state == RUNNING

    def cancelled(self) -> bool:
        """Says whether the task was cancelled."""
        return self._state in _CANCELLED

    def set_result(self, result: T) -> None:
        """Settles this future with a value; for the engine."""
        if not self._settle_alone(result, None):
            super().set_result(result)

    def set_exception(self, exception: BaseException | None) -> None:
        """Settles this future with an error; for the engine."""
        if not self._settle_alone(None, exception):
            super().set_exception(exception)

    def _settle_alone(self, result: T | None, exception: BaseException | None) -> bool:
        """Settles this future if there is nobody to notify but its callbacks."""
        with _lock:
            if self._state in _OVER or self.is_watched:
                return False
            self._result = result
            self._exception = exception
            self._state = FINISHED
        if self._done_callbacks:
            self._invoke_callbacks()  # type: ignore[attr-defined] # the base class's own
        return True

    def add_done_callback(self, fn: Callable[["concurrent.futures.Future[T]"], object]) -> None:
        """Has a function called with this future when it is done, at once if it is."""
        with _lock:
            if self._state not in _OVER and not self.is_watched:
                self._done_callbacks.append(fn)
                return
        super().add_done_callback(fn)

    def remove_done_callback(self, fn: Callable[[Any], object]) -> None:
        """Has a function not called any more; nothing happens if it was not going to be."""
        with _lock:
            if self._state not in _OVER and fn in self._done_callbacks:
                self._done_callbacks.remove(fn)

    def cancel(self, running: bool = False) -> bool:
        """Takes the task back; returns whether it is cancelled.

        Args:
            running: whether a task that runs is cancelled too. This future is cancelled at once;
                the task is interrupted, which raises ``TaskCancelled`` in it, and if that does
                not end it within the pool's grace period, its worker is ended and replaced.
        """
        if self.done() or (self.running() and not running):
            return super().cancel()
        if self._take_back(self.task, running):
            self.settle_cancelled()
        return self.cancelled()

    def settle_cancelled(self) -> None:
        """Cancels this future, if it is not settled, whatever its task does; for the engine."""
        if self.done():
            return
        with self._condition:
            self._state = PENDING
        super().cancel()
        self.set_running_or_notify_cancel()

    def start(self) -> None:
        """Notes that the task runs; for the engine."""
        if self._state == PENDING:
            self._state = RUNNING

    def wait_again(self) -> None:
        """Notes that the task does not run, whatever was noted before; for the engine."""
        if self._state == RUNNING:
            self._state = PENDING

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
        self._progress_callbacks += (callback,)
        if self._progress is not None:
            self._tell(callback, self._progress)

    def _repr_html_(self) -> str:
        """Shows this future in a notebook."""
        from pyworkers import _html  # noqa: PLC0415 - workers have no notebook

        state, outcome = self._state.lower(), None
        if state.startswith("cancelled"):
            state = "cancelled"
        elif state == "finished":
            outcome = self._result if self._exception is None else self._exception
            state = "finished" if self._exception is None else "failed"
        return _html.future(self.task, state, self._progress, outcome)

    def is_done_soon(self) -> bool:
        """Says whether the task is over, after a brief wait if it is expected to be by then."""
        return self.done() or (self.is_short and self.hub.wait_briefly(self.done))

    def __await__(self) -> Generator[Any, None, T]:
        if not self.is_done_soon():
            wakeup = _Wakeup(self.hub)
            self.add_done_callback(wakeup.wake)
            try:
                yield from wakeup
            except asyncio.CancelledError:
                self.cancel()
                raise
        if self.cancelled():
            raise asyncio.CancelledError
        return self._value()
