"""The errors of pyworkers.

::

    PyworkersError
    ├── ModeError             this environment cannot do what was asked; the message says what to do
    ├── ProtocolError         a frame or message that its table does not allow: our fault
    ├── PayloadError          a value that cannot be pickled, or not be read back: the task's fault
    ├── ArenaFull             no room in the shared memory (also a MemoryError)
    ├── CircuitOpen           a call that was not made, as too many like it have failed
    ├── OwnerDied             the worker that held a lock has ended (also an OSError)
    ├── QueueClosed           a queue of pyworkers.sync was closed (also a ValueError and, from
    │                         Python 3.13 on, a queue.ShutDown)
    ├── QueueFull             as many tasks or requests wait as allowed (also a queue.Full)
    ├── NoHandler             nobody there handles such messages (also a LookupError)
    ├── PageError             JavaScript in the page that was asked has thrown something
    ├── RemoteTraceback       the traceback of a task's exception, as the cause of that exception
    └── BrokenWorkerPool      the pool is unusable (also a concurrent.futures.BrokenExecutor)
        └── WorkerLost        the worker of a task died; the pool itself goes on

The type says whose fault it was. A task's own exception is none of these: it returns as itself.
Nor is ``TaskCancelled``, which is no error: like ``asyncio.CancelledError``, of which it is a
subclass, it passes by ``except Exception``.
"""

import asyncio
import queue
import sys
from concurrent.futures import BrokenExecutor

__all__ = [
    "ArenaFull",
    "BrokenWorkerPool",
    "CircuitOpen",
    "ModeError",
    "NoHandler",
    "OwnerDied",
    "PageError",
    "PayloadError",
    "ProtocolError",
    "PyworkersError",
    "QueueClosed",
    "QueueFull",
    "RemoteTraceback",
    "TaskCancelled",
    "WorkerLost",
]


class PyworkersError(Exception):
    """Root of all errors that pyworkers itself raises."""


class ModeError(PyworkersError, RuntimeError):
    """This environment cannot do what was asked."""


class ProtocolError(PyworkersError):
    """A frame or message that its table does not allow."""


class OwnerDied(PyworkersError, OSError):
    """The worker that held a lock has ended without releasing it.

    What the lock guards may be half changed. It is raised once, by the first attempt to take the
    lock that finds out; that attempt does not take it, and the lock is free again.
    """


class PayloadError(PyworkersError, TypeError):
    """An argument, function or result that cannot travel between interpreters."""


class ArenaFull(PyworkersError, MemoryError):
    """The shared memory has no room; the message says how much is used."""


class CircuitOpen(PyworkersError):
    """A call was not made, because too many calls of its function in a row have failed.

    Args:
        function: name of the function.
        seconds: until a call may be tried again.
    """

    def __init__(self, function: str, seconds: float) -> None:
        super().__init__(function, seconds)
        self.function = function
        self.seconds = seconds

    def __str__(self) -> str:
        return (
            f"calls of {self.function} keep failing: the next one may be tried "
            f"in {self.seconds:.1f} s"
        )


if sys.version_info >= (3, 13):
    _ShutDown = queue.ShutDown
else:

    class _ShutDown(Exception):
        """What the standard library has from Python 3.13 on."""


class QueueClosed(PyworkersError, ValueError, _ShutDown):
    """A queue was closed: nothing can be put any more, and nothing more will come."""


class QueueFull(PyworkersError, queue.Full):
    """As many tasks wait as the pool takes, or as many requests as their channel."""


class NoHandler(PyworkersError, LookupError):
    """A message has come to a side that has no handler for it.

    Args:
        where: the side that has none: "the hub", "worker 3" or "the page".
        channel: name of the channel.
        kind: of the message.
    """

    def __init__(self, where: str, channel: str, kind: str) -> None:
        super().__init__(where, channel, kind)
        self.where = where
        self.channel = channel
        self.kind = kind

    def __str__(self) -> str:
        return f"{self.where} has no handler for {self.kind!r} on channel {self.channel!r}"


class PageError(PyworkersError):
    """A handler in the page has thrown something.

    Args:
        name: of its type: "TypeError".
        text: its message.
        stack: where, as the browser writes it.
    """

    def __init__(self, name: str, text: str, stack: str) -> None:
        super().__init__(name, text, stack)
        self.name = name
        self.text = text
        self.stack = stack

    def __str__(self) -> str:
        return f"{self.name}: {self.text}"


class RemoteTraceback(PyworkersError):
    """The traceback of an exception in the worker where it was raised.

    Args:
        text: the formatted traceback.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


class BrokenWorkerPool(PyworkersError, BrokenExecutor):
    """The pool cannot run tasks any more: its workers do not start, or their initializer failed."""


class WorkerLost(BrokenWorkerPool):
    """The worker that ran a task, or had a request to answer, died.

    Args:
        worker: number of the worker.
        task: number of the task, that of its future; None for a request.
        reason: what ended the worker.
    """

    def __init__(self, worker: int, task: int | None, reason: str) -> None:
        super().__init__(worker, task, reason)
        self.worker = worker
        self.task = task
        self.reason = reason

    def __str__(self) -> str:
        if self.task is None:
            return f"worker {self.worker} ended before it answered: {self.reason}"
        return f"worker {self.worker} died while it held task {self.task}: {self.reason}"


class TaskCancelled(asyncio.CancelledError):
    """Raised in a running task that is not wanted any more: cancelled, or over its timeout.

    Its ``finally`` blocks run. A task that awaits gets an ``asyncio.CancelledError`` instead: one
    ``except asyncio.CancelledError`` sees both.
    """
