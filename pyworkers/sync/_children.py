"""The life of a process: its worker, its end, and the code that it ends with.

Owns the pool of one worker that each process has, and how a worker has its hub start a process for
it. Knows nothing of what a process runs, nor of what users see of it.

A process that a worker starts is its hub's, too: the worker asks by one request, which is answered
by the exit code. With the worker, or the request, the process ends.
"""

import os
import re
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from signal import SIGABRT, SIGTERM
from typing import Any, Final, NamedTuple, Protocol

from pyworkers._answers import SERVICES, Message
from pyworkers._env import Mode, choose_mode
from pyworkers._futures import Future
from pyworkers._hub import Hub
from pyworkers._pool import WorkerPool
from pyworkers._worker import Worker
from pyworkers.errors import ModeError, NoHandler, PayloadError, RemoteTraceback, WorkerLost

SIGKILL: Final = 9
"""Which Python's module ``signal`` does not have everywhere."""

_CHANNEL: Final = "pyworkers.sync.process"
_GLANCE_SECONDS: Final = 1e-6
_EXITED: Final = re.compile(r"exit\((\d+)\)")


class Parent(NamedTuple):
    """What a process knows of the one that started it.

    Attributes:
        name: of that.
        pid: of that.
        is_apart: whether the process has an interpreter of its own.
    """

    name: str
    pid: int
    is_apart: bool


Main = Callable[[Any, Parent], object]
"""What runs in the worker: it gets the process and its parent, and returns the exit code."""


class Child(Protocol):
    """A process that was started, as its parent sees it."""

    @property
    def pid(self) -> int | None:
        """Its number; None as long as that is not known here."""

    ended: Future[int]
    """Gives the exit code when it is over."""

    def look(self) -> None:
        """Takes in what is there to know of its end, where that needs no wait."""

    def signal(self, number: int) -> None:
        """Ends it at once, whatever it does; nothing if it is over."""


def look(hub: Hub, is_done: Callable[[], bool]) -> bool:
    """Takes in what has arrived, where the thread may wait for it; returns whether it is done."""
    if not is_done() and hub.link.can_block:
        with suppress(ModeError):  # workers cannot even start before the event loop turns
            hub.wait(is_done, 0.0)
    return is_done()


class OwnChild:
    """A process of this hub.

    Args:
        process: that is sent to the worker.
        name: of it, for messages.
        main: runs it there.
        parent: of it.

    Raises:
        PayloadError: it cannot be sent.
    """

    def __init__(self, process: object, name: str, main: Main, parent: tuple[str, int]) -> None:
        mode: Mode = choose_mode(None)
        pool = WorkerPool(1, mode=mode, standby=0, on_worker_lost="break")
        self._pool, self._name, self._signal = pool, name, SIGKILL
        self._run = run = pool.submit(main, process, Parent(*parent, mode != "inline"))
        workers = pool.workers()
        pool.shutdown(wait=False)
        if run.done() and (error := _own_error(run)) is not None:
            raise error
        # The worker adds its own number to the same.
        self.pid = os.getpid() + (workers[0].number if workers and mode != "inline" else 0)
        self.ended: Future[int] = Future(run.hub, 0, lambda *_: False)
        run.add_done_callback(self._over)

    def look(self) -> None:
        hub = self._run.hub
        assert isinstance(hub, Hub)
        look(hub, self.ended.done)

    def signal(self, number: int) -> None:
        if not self._run.done():
            self._signal = number
            self._pool.kill(self._run)

    def _over(self, run: Any) -> None:
        if run.cancelled():
            self.ended.set_result(-self._signal)
            return
        error = run.exception(0)
        if error is None:
            self.ended.set_result(run.result(0))
        else:
            self.ended.set_result(self._code_of(error))

    def _code_of(self, error: BaseException) -> int:
        if not isinstance(error, WorkerLost):
            trace = "".join(traceback.format_exception(error))
            sys.stderr.write(f"Process {self._name}:\n{trace}")
            return 1
        exited = _EXITED.search(error.reason)
        if exited is not None:
            return int(exited[1])
        sys.stderr.write(f"Process {self._name}: {error}\n")
        return -SIGABRT


def _own_error(run: Future[Any]) -> PayloadError | None:
    """Returns why a process could not be sent; None where it failed later."""
    error = None if run.cancelled() else run.exception(0)
    if isinstance(error, PayloadError) and not isinstance(error.__cause__, RemoteTraceback):
        return error
    return None


class HubsChild:
    """A process that the hub has started for this worker.

    Args:
        worker: this one.
        process: that is sent.
        name: of it, for messages.
        main: runs it there.
        parent: of it.

    Raises:
        PayloadError: it cannot be sent.
        ModeError: the hub does not know of processes.
    """

    def __init__(
        self, worker: Worker, process: object, name: str, main: Main, parent: tuple[str, int]
    ) -> None:
        self.pid: int | None = None
        self.ended: Future[int] = Future(worker.messages, 0, lambda *_: False)
        self._worker, self._name = worker, name
        self._channel = channel = worker.messages.channel(_CHANNEL)
        channel.max_pending = 1_000_000
        self._run = run = channel.request("start", (process, name, main, parent), timeout=None)
        run.add_progress_callback(self._started)
        if worker.link.can_block:
            worker.messages.wait(lambda: self.pid is not None or run.done(), None)
        if run.done() and (error := run.exception(0)) is not None:
            raise _told(error)
        run.add_done_callback(self._over)

    def look(self) -> None:
        if self._worker.link.can_block:
            self._worker.messages.wait(self.ended.done, _GLANCE_SECONDS)

    def signal(self, number: int) -> None:
        if not self._run.done():
            self._channel.post("signal", (self._run.task, number))

    def _started(self, pid: float, total: float | None, message: str) -> None:
        self.pid = int(pid)

    def _over(self, run: Any) -> None:
        error = run.exception(0)
        if error is None:
            self.ended.set_result(run.result(0))
        else:
            sys.stderr.write(f"Process {self._name} was not started: {_told(error)}\n")
            self.ended.set_result(1)


def _told(error: BaseException) -> BaseException:
    if isinstance(error, NoHandler):
        return ModeError("import pyworkers.sync where the pool is, to start processes in workers")
    return error


_adopted: Final[dict[tuple[int | None, int | None], OwnChild]] = {}
"""The processes of workers, by these and the numbers of their requests."""


def _start(message: Message) -> Future[int]:
    process, name, main, parent = message.payload
    child = OwnChild(process, name, main, parent)
    hub = child.ended.hub
    assert isinstance(hub, Hub)
    assert child.pid is not None
    message.progress(child.pid)
    key = message.worker, message.id
    _adopted[key] = child

    def end(_: int, running: bool) -> bool:
        hub.after(partial(child.signal, SIGTERM))  # once all is in order
        return False

    answer: Future[int] = Future(hub, 0, end)

    def ended(_: object) -> None:
        del _adopted[key]
        answer.set_result(child.ended.result(0))

    child.ended.add_done_callback(ended)
    return answer


def _signal(message: Message) -> None:
    request, number = message.payload
    child = _adopted.get((message.worker, request))
    if child is not None:
        child.signal(number)


SERVICES[_CHANNEL, "start"] = _start
SERVICES[_CHANNEL, "signal"] = _signal
