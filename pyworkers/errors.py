"""The errors of pyworkers.

::

    PyworkersError
    ├── ModeError             this environment cannot do what was asked; the message says what to do
    ├── ProtocolError         a frame or message that its table does not allow: our fault
    ├── PayloadError          a value that cannot be pickled, or not be read back: the task's fault
    ├── RemoteTraceback       the traceback of a task's exception, as the cause of that exception
    └── BrokenWorkerPool      the pool is unusable (also a concurrent.futures.BrokenExecutor)
        └── WorkerLost        the worker of a task died; the pool itself goes on

The type says whose fault it was. A task's own exception is none of these: it returns as itself.
"""

from concurrent.futures import BrokenExecutor

__all__ = [
    "BrokenWorkerPool",
    "ModeError",
    "PayloadError",
    "ProtocolError",
    "PyworkersError",
    "RemoteTraceback",
    "WorkerLost",
]


class PyworkersError(Exception):
    """Root of all errors that pyworkers itself raises."""


class ModeError(PyworkersError, RuntimeError):
    """This environment cannot do what was asked."""


class ProtocolError(PyworkersError):
    """A frame or message that its table does not allow."""


class PayloadError(PyworkersError, TypeError):
    """An argument, function or result that cannot travel between interpreters."""


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
    """The worker that ran a task died.

    Args:
        worker: number of the worker.
        reason: what ended it.
    """

    def __init__(self, worker: int, reason: str) -> None:
        super().__init__(worker, reason)
        self.worker = worker
        self.reason = reason

    def __str__(self) -> str:
        return f"worker {self.worker} died while it held this task: {self.reason}"
