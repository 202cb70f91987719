"""Processes: what ``multiprocessing.Process`` is, each in a worker of its own.

Owns what users see of a process, and what runs in its worker. Knows nothing of how that worker
comes and goes: that is ``_children``'s.
"""

import asyncio
import itertools
import os
import sys
import traceback
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED
from concurrent.futures import wait as wait_for_futures
from contextvars import ContextVar
from signal import SIGTERM
from types import CoroutineType, MappingProxyType
from typing import Any, Final

from pyworkers._futures import Future
from pyworkers._worker import current_worker
from pyworkers.errors import ModeError
from pyworkers.sync._children import SIGKILL, Child, HubsChild, OwnChild, Parent

_NO_ARGUMENTS: Final[Mapping[str, Any]] = MappingProxyType({})

_HERE: Final = ("_child", "_parent", "_numbers")
"""Attributes of a process that mean nothing elsewhere."""


class Process:
    """A function, or the ``run`` of a subclass, that runs in a worker of its own.

    As ``multiprocessing.Process`` where processes are spawned: the worker starts with this process,
    and ends with it. The object is pickled by ``start``; what the worker changes in it is not seen
    here. A target, or ``run``, may be ``async``. In mode inline it runs within ``start``.

    Args:
        group: None.
        target: called by ``run``; None means that nothing is.
        name: for people; None means one that says which process it is.
        args: arguments of the target.
        kwargs: its keyword arguments.
        daemon: whether it is ended with the process that started it, which else waits for it; a
            daemon can start none. None means as the current process.
    """

    def __init__(
        self,
        group: None = None,
        target: Callable[..., object] | None = None,
        name: str | None = None,
        args: Iterable[Any] = (),
        kwargs: Mapping[str, Any] = _NO_ARGUMENTS,
        *,
        daemon: bool | None = None,
    ) -> None:
        if group is not None:
            raise AssertionError("group argument must be None for now")
        parent = current_process()
        self._parent: Process | None = parent
        self._identity: tuple[int, ...] = (*parent._identity, next(parent._numbers))
        self._numbers: Iterator[int] = itertools.count(1)
        self._parent_pid = os.getpid()
        self._child: Child | None = None
        self._target = target
        self._args = tuple(args)
        self._kwargs = dict(kwargs)
        self._daemon = parent.daemon if daemon is None else bool(daemon)
        self._closed = False
        self.name = name or f"{type(self).__name__}-{':'.join(map(str, self._identity))}"

    def __getstate__(self) -> dict[str, Any]:
        if self._child is not None:
            raise TypeError(f"{self!r} cannot be sent: give what others need of it to them")
        return {name: value for name, value in vars(self).items() if name not in _HERE}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._numbers = itertools.count(1)
        self._child = self._parent = None

    def run(self) -> object:
        """Runs in the worker: calls the target."""
        return self._target(*self._args, **self._kwargs) if self._target is not None else None

    def start(self) -> None:
        """Starts the worker, which calls ``run``.

        Raises:
            AssertionError: it was started before, elsewhere than where it was made, or in a daemon.
            PayloadError: it, or an argument, cannot be pickled.
        """
        self._check_open()
        parent = self._parent
        assert self._child is None, "cannot start a process twice"
        assert parent is not None, "can only start a process object created by current process"
        assert not parent.daemon, "daemonic processes are not allowed to have children"
        worker = current_worker()
        about = parent.name, os.getpid()
        if worker is None:
            self._child = OwnChild(self, self.name, main, about)
        else:
            self._child = HubsChild(worker, self, self.name, main, about)
        _children[self] = None
        self._child.ended.add_done_callback(lambda _: _children.pop(self, None))

    def join(self, timeout: float | None = None) -> None:
        """Waits until it is over.

        Args:
            timeout: seconds to wait; None means for ever.

        Raises:
            AssertionError: it was not started, or elsewhere.
            ModeError: this thread cannot wait; ``join_async`` can.
        """
        ended = self._started().ended
        if not ended.done():
            blocking(lambda: ended.hub.wait(ended.done, timeout), "await process.join_async()")

    async def join_async(self, timeout: float | None = None) -> None:
        """Like ``join``, without blocking."""
        await wait_async([self._started().ended], timeout)

    def _started(self) -> Child:
        self._check_open()
        assert self._parent is not None, "can only join a child process"
        assert self._child is not None, "can only join a started process"
        return self._child

    def terminate(self) -> None:
        """Ends it at once, whatever it does: no ``finally`` block runs. Its code is then -15."""
        self._end(SIGTERM)

    def kill(self) -> None:
        """Does what ``terminate`` does. The code is then -9."""
        self._end(SIGKILL)

    def _end(self, signal: int) -> None:
        self._check_open()
        assert self._child is not None, "can only end a started process"
        self._child.signal(signal)

    def close(self) -> None:
        """Gives up what belongs to it, which is over; nothing can be asked of it any more.

        Raises:
            ValueError: it still runs.
        """
        if self._child is not None and self.is_alive():
            raise ValueError(
                "cannot close a process while it is still running: join or terminate it first"
            )
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError("process object is closed")

    def is_alive(self) -> bool:
        """Says whether it was started and is not over."""
        self._check_open()
        if self is current_process():
            return True
        return self._child is not None and self.exitcode is None

    @property
    def exitcode(self) -> int | None:
        """What came of it; None if it is not over.

        0 if ``run`` returned, 1 if it raised, n after ``sys.exit(n)`` or ``os._exit(n)``; -15 and
        -9 after ``terminate`` and ``kill``, -6 if its worker was lost otherwise.
        """
        self._check_open()
        child = self._child
        if child is None:
            return None
        if not child.ended.done():
            child.look()
        return child.ended.result(0) if child.ended.done() else None

    @property
    def pid(self) -> int | None:
        """What ``os.getpid`` returns in it; None before it was started."""
        self._check_open()
        if self is current_process():
            return os.getpid()
        return None if self._child is None else self._child.pid

    @property
    def ident(self) -> int | None:
        """The same as ``pid``."""
        return self.pid

    @property
    def sentinel(self) -> Future[int]:
        """What ``wait`` takes; a future of the exit code.

        Raises:
            ValueError: it was not started.
        """
        self._check_open()
        if self._child is None:
            raise ValueError("process not started")
        return self._child.ended

    @property
    def daemon(self) -> bool:
        """Whether it ends with the process that started it."""
        return self._daemon

    @daemon.setter
    def daemon(self, is_daemon: bool) -> None:
        assert self._child is None, "process has already started"
        self._daemon = bool(is_daemon)

    def __repr__(self) -> str:
        if self._closed:
            return f"<{type(self).__name__} name={self.name!r} closed>"
        if self is current_process():
            state = "started"
        elif self._child is None:
            state = "initial"
        elif self._child.ended.done():
            state = f"stopped exitcode={self._child.ended.result(0)}"
        else:
            state = "started"
        number = "" if self.pid is None else f" pid={self.pid}"
        daemon = " daemon" if self._daemon else ""
        parent = f" parent={self._parent_pid}"
        return f"<{type(self).__name__} name={self.name!r}{number}{parent} {state}{daemon}>"


class _Interpreter(Process):
    """An interpreter that no process object has started: the hub, or a worker of a pool."""

    def __init__(self, name: str) -> None:
        self._parent = self._child = None
        self._identity = ()
        self._numbers = itertools.count(1)
        self._parent_pid = os.getpid()
        self._target, self._args, self._kwargs = None, (), {}
        self._daemon = self._closed = False
        self.name = name


_children: Final[dict[Process, None]] = {}
"""Those that this interpreter has started and that are not known to be over."""
_others: Final[dict[int, Process]] = {}
_own: Process | None = None
"""The process that this interpreter was started for."""
_current: ContextVar[Process | None] = ContextVar("process", default=None)
"""In mode inline, the one that runs."""
_started_by: ContextVar[Parent | None] = ContextVar("parent", default=None)


def current_process() -> Process:
    """Returns the process in which this is called."""
    process = _own or _current.get()
    if process is not None:
        return process
    worker = current_worker()
    number = 0 if worker is None else worker.peer
    if number not in _others:
        _others[number] = _Interpreter(f"PoolWorker-{number}" if number else "MainProcess")
    return _others[number]


class ParentProcess:
    """The process that has started this one; as long as this one runs, it does.

    Attributes:
        name: of it.
        pid: of it.
    """

    def __init__(self, name: str, pid: int) -> None:
        self.name = name
        self.pid = self.ident = pid

    def is_alive(self) -> bool:
        """Returns True: a process ends with the one that has started it."""
        return True

    def __repr__(self) -> str:
        return f"<ParentProcess name={self.name!r} pid={self.pid}>"


def parent_process() -> ParentProcess | None:
    """Returns the process that has started this one; None in the hub and in workers of pools."""
    parent = _started_by.get() or _own_parent
    return None if parent is None else ParentProcess(parent.name, parent.pid)


_own_parent: Parent | None = None


def active_children() -> list[Process]:
    """Returns the processes that were started here and are not over."""
    return [process for process in list(_children) if process.is_alive()]


def wait(sentinels: Iterable[Future[Any]], timeout: float | None = None) -> list[Future[Any]]:
    """Waits until one of some processes is over.

    Args:
        sentinels: of processes; futures of pools may be among them.
        timeout: seconds to wait; None means for ever.

    Returns:
        The sentinels of those that are over.

    Raises:
        ModeError: this thread cannot wait; ``wait_async`` can.
    """
    futures = list(sentinels)
    if not any(future.done() for future in futures):
        blocking(
            lambda: wait_for_futures(futures, timeout, FIRST_COMPLETED), "await sync.wait_async()"
        )
    return [future for future in futures if future.done()]


async def wait_async(
    sentinels: Iterable[Future[Any]], timeout: float | None = None
) -> list[Future[Any]]:
    """Like ``wait``, without blocking."""
    futures = list(sentinels)
    if not any(future.done() for future in futures):
        over = asyncio.get_running_loop().create_future()

        def tell(_: object) -> None:
            if not over.done():
                over.set_result(None)

        for future in futures:
            future.add_done_callback(tell)
        # Pyodide's loop refuses times that have gone by.
        left = None if timeout is None else max(0.0, timeout)
        await asyncio.wait({over}, timeout=left)
        over.cancel()
    return [future for future in futures if future.done()]


def blocking(wait: Callable[[], object], instead: str) -> None:
    """Waits; where that is not possible, says what to do.

    Raises:
        ModeError: this thread cannot wait.
    """
    try:
        wait()
    except ModeError as error:
        raise ModeError(f"this thread cannot block here and now: use `{instead}`") from error


def main(process: Process, parent: Parent) -> int | Coroutine[Any, Any, int]:
    """Is a process, in its worker; returns its exit code."""
    global _own, _own_parent  # an interpreter becomes a process once
    if parent.is_apart:
        _own, _own_parent = process, parent
    process._parent_pid = parent.pid
    marks = _current.set(process), _started_by.set(parent)
    try:
        called = process.run()
        if type(called) is CoroutineType:
            return _go_on(process, parent, called)
        code = 0
    except asyncio.CancelledError:
        raise
    except BaseException as error:
        code = _code_of(process, error)
    finally:
        _current.reset(marks[0])
        _started_by.reset(marks[1])
    return _ended(code) if _children and parent.is_apart else _flushed(code)


async def _go_on(process: Process, parent: Parent, called: Coroutine[Any, Any, Any]) -> int:
    _current.set(process)
    _started_by.set(parent)
    try:
        await called
        code = 0
    except asyncio.CancelledError:
        raise
    except BaseException as error:
        code = _code_of(process, error)
    return await _ended(code) if parent.is_apart else _flushed(code)


def _code_of(process: Process, error: BaseException) -> int:
    if isinstance(error, SystemExit):
        if error.code is None:
            return 0
        if isinstance(error.code, int):
            return error.code & 0xFF
        sys.stderr.write(f"{error.code}\n")
        return 1
    sys.stderr.write(f"Process {process.name}:\n")
    traceback.print_exception(error)
    return 1


async def _ended(code: int) -> int:
    """Ends the daemons that this process has started, and waits for its other children."""
    children = active_children()
    for child in children:
        if child.daemon:
            child.terminate()
    for child in children:
        await child.join_async()
    return _flushed(code)


def _flushed(code: int) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    return code
