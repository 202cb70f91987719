"""Ending a task that runs, without its worker: what the hub asks, and what the worker makes of it.

Owns the hub's patience (when to ask again, when to end the worker) and the worker's signal. Knows
nothing of futures, frames or scheduling.

Pyodide asks for a signal now and then while Python runs; the shim gives one as long as the hub has
named a task in the channel, and the handler raises TaskCancelled if it is that task's own code that
is running. At any other moment, such as between two tasks, the signal is dropped, and the hub asks
again: so no task is hit by what was meant for another one, and none is missed. It is raised once
in a task, whose ``finally`` blocks may then take their time.

A signal can strike as a function begins, before its first line. So code that gives something back
is named here by ``undisturbed``: a signal that strikes there is put off, and that code raises it
when it is done.
"""

import asyncio
import contextlib
import math
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import CodeType, FrameType
from typing import Any, Final, SupportsIndex, TypeVar

from pyworkers import _js
from pyworkers.errors import TaskCancelled

ASK_SECONDS: Final = 0.05
"""The hub asks again after so long."""

POLL_SECONDS: Final = 0.01
"""A function that asks more often is told what was known: to look takes a turn of the loop."""

SIGNAL: Final = 50
"""None that means something to Python, as SIGINT does, nor one that the C library keeps."""

_MAX_PAUSE_SECONDS: Final = 3600.0

_undisturbed: Final[set[CodeType]] = set()
_F = TypeVar("_F", bound=Callable[..., Any])


def undisturbed(function: _F) -> _F:
    """Has a signal that strikes in a function's own code put off; not in what that calls.

    Where nothing of the task would be left to be ended soon, it calls ``raise_put_off`` at its end.
    """
    _undisturbed.add(function.__code__)
    return function


@dataclass(slots=True)
class _Ending:
    why: str
    ask: float
    kill: float


@dataclass(slots=True)
class Endings:
    """The tasks of a pool that were asked to end and have not yet.

    Args:
        grace: seconds after which the worker of such a task is ended.
    """

    grace: float
    tasks: dict[int, _Ending] = field(default_factory=dict)
    """Those that have not ended."""

    def begin(self, task: int, why: str, now: float) -> None:
        """A task was asked to end.

        Args:
            task: its number.
            why: what happened to it, for people: "it was cancelled".
            now: seconds of ``time.monotonic``.
        """
        self.tasks[task] = _Ending(why, now + ASK_SECONDS, now + self.grace)

    def over(self, task: int) -> None:
        """A task has ended, whether or not it was asked to."""
        self.tasks.pop(task, None)

    def asked_again(self, now: float) -> list[int]:
        """Returns the tasks that are to be asked once more, now."""
        again = [task for task, ending in self.tasks.items() if ending.ask <= now < ending.kill]
        for task in again:
            self.tasks[task].ask = now + ASK_SECONDS
        return again

    def overdue(self, now: float) -> list[tuple[int, str]]:
        """Returns the tasks whose worker is to be ended, and what is to be said of it."""
        return [
            (task, f"{ending.why}, and it did not end within {self.grace:g} s")
            for task, ending in self.tasks.items()
            if ending.kill <= now
        ]

    def postpone(self, task: int, now: float) -> None:
        """A task could not hear of it yet: its time begins anew."""
        self.tasks[task].kill = now + self.grace

    def next_due(self) -> float | None:
        """Returns when one of the lists above has something; None if never."""
        return min((min(e.ask, e.kill) for e in self.tasks.values()), default=None)


class Interruptions:
    """Which of a worker's tasks the hub wants ended, and raising that in them.

    Args:
        asked: takes the number of the task that the hub has named; 0 if there is none.
        coroutines: the tasks that are coroutines, by number.
    """

    def __init__(
        self, asked: Callable[[], int], coroutines: dict[int, "asyncio.Task[Any]"]
    ) -> None:
        self.current = 0
        """The task whose own code runs and may be interrupted; 0 if there is none."""
        self.puts_off = False
        """Whether what runs must not lose what it has just got: ``raise_put_off`` comes later."""
        self.put_off = 0
        """The task that a signal was put off for; 0 if none was."""
        self._asked = asked
        self._coroutines = coroutines
        self._cancelled: set[int] = set()
        self._raised: set[int] = set()

    def listen(self) -> None:
        """Has the signal handled; for an interpreter that is a worker."""
        signal.signal(SIGNAL, lambda _, frame: self.check(frame))
        unraisable = sys.unraisablehook

        def hook(what: Any) -> None:
            # In a finalizer, or a callback of the garbage collector: it has ended nothing.
            if isinstance(what.exc_value, TaskCancelled):
                self._raised.clear()
            else:
                unraisable(what)

        sys.unraisablehook = hook

    def poll(self, turn: Callable[[], Any], asked: Callable[[], int]) -> None:
        """Has plain functions look for what the hub wants when they ask; where nothing signals.

        Args:
            turn: lets messages in; returns what is to be awaited.
            asked: takes the number of a task that the hub has named; 0 if there is none.
        """
        last = -math.inf

        def look() -> int:
            nonlocal last
            now = time.monotonic()
            if self.current == 0 or now - last < POLL_SECONDS:
                return 0
            if _js.can_block_by_jspi():
                _js.block_on(turn())
            last = time.monotonic()
            return asked()

        self._asked = look

    def check(self, frame: FrameType | None = None) -> None:
        """Raises TaskCancelled, once, if what runs now is the task that the hub wants ended.

        Args:
            frame: that was interrupted; None where it is known that none has to be spared.
        """
        task = self._take()
        if self.puts_off or (frame is not None and frame.f_code in _undisturbed):
            self.put_off = task or self.put_off
        elif task:
            self._raise_in(task)

    def _raise_in(self, task: int) -> None:
        if task in self._raised:
            return
        if task != self.current:
            running = self._coroutines.get(task)
            if running is None or asyncio.current_task(running.get_loop()) is not running:
                return
        self._raised.add(task)
        raise TaskCancelled("the task was cancelled")

    def raise_put_off(self) -> None:
        """Raises TaskCancelled, once, if a signal was put off that is meant for what runs now.

        Does nothing while signals are to be put off.
        """
        if self.put_off and not self.puts_off:
            task, self.put_off = self.put_off, 0
            self._raise_in(task)

    def _take(self) -> int:
        task = self._asked()
        if task and (task == self.current or task in self._coroutines):
            self._cancelled.add(task)
        return task

    def cancel(self, task: int) -> None:
        """Notes that the hub does not want a task any more."""
        self._cancelled.add(task)

    def tell(self, task: int) -> bool:
        """Notes that a task which awaits is told of it; False if it has been already.

        What it does then to clean up is not to be disturbed by a signal.
        """
        self._cancelled.add(task)
        if task in self._raised:
            return False
        self._raised.add(task)
        return True

    def raise_told(self) -> None:
        """Raises TaskCancelled, once, if ``cancel`` has noted the task that runs now."""
        task = self.current
        if task and task in self._cancelled and task not in self._raised:
            self._raised.add(task)
            raise TaskCancelled("the task was cancelled")

    def is_cancelled(self, task: int) -> bool:
        """Says whether the hub wants a task ended."""
        if task not in self._cancelled:
            self._take()
        return task in self._cancelled

    def over(self, task: int) -> None:
        """A task has ended."""
        if self._cancelled:
            self._cancelled.discard(task)
            self._raised.discard(task)

    @contextlib.contextmanager
    def held_off(self) -> Iterator[None]:
        """Keeps what must not stop half way from being interrupted."""
        current, self.current = self.current, 0
        held, self._coroutines = self._coroutines, {}
        try:
            yield
        finally:
            self._coroutines = held
            self.current = current


def interruptible_sleep(
    pause: Callable[[float], object], check: Callable[[], None]
) -> Callable[[float | SupportsIndex], None]:
    """Returns what takes the place of ``time.sleep`` in a worker that shares memory with its hub.

    Pyodide's own would not see a signal before its end, and in Node computes meanwhile.

    Args:
        pause: blocks for milliseconds, or until there is something to interrupt.
        check: raises TaskCancelled if the task is to end.
    """
    original = time.sleep

    def sleep(seconds: float | SupportsIndex, /) -> None:
        number = seconds if isinstance(seconds, float) else seconds.__index__()
        if not number > 0:  # zero, or what the original refuses
            original(number)
            return
        end = time.monotonic() + number
        while (left := end - time.monotonic()) > 0:
            pause(min(left, _MAX_PAUSE_SECONDS) * 1000)
            check()

    sleep.__module__ = "time"
    sleep.__qualname__ = "sleep"
    return sleep
