"""A worker: runs the tasks that its hub sends.

Owns the functions it was sent, the running of tasks and the encoding of what comes of them. Knows
nothing of other workers, nor of how frames travel.
"""

import asyncio
import contextvars
import os
import sys
import time
import traceback
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from types import CoroutineType
from typing import Any, Final, TypedDict

from pyworkers import _codec, _js
from pyworkers._channels import Link
from pyworkers._channels.heap import HeapLink
from pyworkers._protocol import HEADER_BYTES, MAX_FRAME_BYTES, SPILLED, Frame, Kind
from pyworkers.errors import PayloadError

_LINGER_MS: Final = 20.0
"""An idle worker blocks this long for the next frame before its event loop waits for it: waking
from Atomics.wait is several times faster than a turn of the loop."""

Outcome = Callable[[], Any]
"""Returns a result, or raises an error."""

_task: contextvars.ContextVar[int] = contextvars.ContextVar("task")
_inline: contextvars.ContextVar["Worker | None"] = contextvars.ContextVar("worker", default=None)
"""The worker whose task runs here, where it shares the interpreter with its hub."""

_own: "Worker | None" = None
"""The worker that this interpreter is."""


class Setup(TypedDict):
    """What a worker is prepared with.

    Attributes:
        files: paths and contents.
        modules: the same, below a folder from which modules are imported.
        packages: names or URLs.
        initializer: the pickle of a function, and its arguments.
    """

    files: dict[str, bytes]
    modules: dict[str, bytes]
    packages: list[str]
    initializer: tuple[bytes, tuple[Any, ...]] | None


def current_worker() -> "Worker | None":
    """Returns the worker whose task is running; None outside of tasks."""
    return _own or _inline.get()


class Worker:
    """The Python half of a worker.

    Args:
        link: leads to the hub.
        peer: the number of this worker in its hub.
    """

    def __init__(self, link: Link, peer: int) -> None:
        self.link = link
        self.peer = peer
        self._functions: dict[int, Any] = {}
        self._running: set[asyncio.Task[Any]] = set()
        self._handlers: dict[int, Callable[[Frame], None]] = {
            Kind.SETUP: self._set_up,
            Kind.FUNCTION: self._keep_function,
            Kind.TASK: self._run_task,
        }

    def step(self) -> None:
        """Handles frames until none is left, lingering for more if nothing else is going on."""
        while True:
            linger = 0.0 if self._running or not self.link.can_block else _LINGER_MS
            frames = list(self.link.receive(linger))
            if not frames:
                return
            for frame in frames:
                self._handlers[frame.kind](frame)
            self.link.flush()

    def close(self) -> None:
        """Drops what is running."""
        for running in self._running:
            running.cancel()

    def progress(self, done: float, total: float | None, message: str) -> None:
        """Tells the hub how far the current task is."""
        self._send(Kind.PROGRESS, _task.get(), (done, total, message), 0.0)
        self.link.flush()

    def _decode(self, frame: Frame) -> Any:
        if frame.flags & SPILLED:
            data, buffers = _codec.gather(frame.payload, self._take)
            return _codec.decode(data, buffers)
        return _codec.decode(frame.payload)

    def _take(self, token: int, length: int) -> bytearray:
        return self.link.take(self.peer, token, length)

    def _put(self, buffer: Any) -> int:
        return self.link.put(self.peer, buffer)

    def _send(self, kind: Kind, id: int, value: Any, number: float) -> None:
        data, buffers = _codec.encode(value)
        if buffers or len(data) > MAX_FRAME_BYTES - HEADER_BYTES:
            payload = _codec.spill(data, buffers, self._put)
            self.link.send(self.peer, kind, id, payload, SPILLED, number)
        else:
            self.link.send(self.peer, kind, id, data, 0, number)

    def _set_up(self, frame: Frame) -> None:
        try:
            setup: Setup = self._decode(frame)
            write_files(Path.cwd(), setup["files"])
            if setup["modules"]:
                folder = Path.home() / ".pyworkers-modules"
                write_files(folder, setup["modules"])
                sys.path.insert(0, str(folder))
            if setup["packages"]:
                install = _js.install(setup["packages"])
                self._beside(install, partial(self._installed, setup))
            else:
                self._initialize(setup)
        except BaseException as error:
            self._send_error(Kind.SETUP_FAILED, 0, error, 0.0)

    def _installed(self, setup: Setup, outcome: Outcome) -> None:
        try:
            outcome()
            self._initialize(setup)
        except BaseException as error:
            self._send_error(Kind.SETUP_FAILED, 0, error, 0.0)

    def _initialize(self, setup: Setup) -> None:
        called = None
        if setup["initializer"] is not None:
            function, arguments = setup["initializer"]
            called = _codec.decode(function)(*arguments)
        if type(called) is CoroutineType:
            self._beside(called, self._initialized)
        else:
            self.link.send(self.peer, Kind.READY, 0, b"")

    def _initialized(self, outcome: Outcome) -> None:
        try:
            outcome()
        except BaseException as error:
            self._send_error(Kind.SETUP_FAILED, 0, error, 0.0)
        else:
            self.link.send(self.peer, Kind.READY, 0, b"")

    def _beside(self, work: Coroutine[Any, Any, Any], then: Callable[[Outcome], None]) -> None:
        """Awaits a coroutine beside what the worker does next.

        Args:
            work: the coroutine.
            then: called with what returns its result or raises its error.
        """
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            then(partial(asyncio.run, work))
            return
        running = loop.create_task(work)
        self._running.add(running)

        def done(_: object) -> None:
            self._running.discard(running)
            then(running.result)
            self.link.flush()

        running.add_done_callback(done)

    def _keep_function(self, frame: Frame) -> None:
        # Read when first called: an error there belongs to that task.
        if frame.flags & SPILLED:
            data, _ = _codec.gather(frame.payload, self._take)
            self._functions[frame.id] = bytes(data)
        else:
            self._functions[frame.id] = bytes(frame.payload)

    def _function(self, id: int) -> Callable[..., Any]:
        function = self._functions[id]
        if type(function) is bytes:
            function = self._functions[id] = _codec.decode(function)
        return function  # type: ignore[no-any-return]

    def _run_task(self, frame: Frame) -> None:
        if not self.link.claim(self.peer, frame.epoch):
            return
        outer = _inline.set(self)
        _task.set(frame.id)
        started = time.perf_counter()
        try:
            function_id, args, kwargs = self._decode(frame)
            value = self._function(function_id)(*args, **kwargs)
            if type(value) is CoroutineType:
                self.link.send(self.peer, Kind.PARKED, frame.id, b"")
                self._beside(value, partial(self._finish, frame.id, started))
                return
        except BaseException as error:
            self._fail(frame.id, error, started)
        else:
            self._succeed(frame.id, value, started)
        finally:
            _inline.reset(outer)

    def _finish(self, task: int, started: float, outcome: Outcome) -> None:
        try:
            value = outcome()
        except BaseException as error:
            self._fail(task, error, started)
        else:
            self._succeed(task, value, started)

    def _succeed(self, task: int, value: Any, started: float) -> None:
        try:
            self._send(Kind.RESULT, task, value, time.perf_counter() - started)
        except PayloadError as error:
            wrapped = PayloadError(
                f"the result of the task, {_codec.shortened(value)}, cannot be sent back: {error}"
            )
            self._fail(task, wrapped, started)

    def _fail(self, task: int, error: BaseException, started: float) -> None:
        self._send_error(Kind.ERROR, task, error, time.perf_counter() - started)

    def _send_error(self, kind: Kind, id: int, error: BaseException, seconds: float) -> None:
        trace = "".join(traceback.format_exception(error))
        summary = f"{type(error).__name__}: {error}"
        # Pickled for itself: should the hub be unable to read it, the rest still tells of it.
        data, _ = _codec.encode(_codec.portable(error))
        self._send(kind, id, (data, summary, trace), seconds)


def write_files(folder: Path, files: dict[str, bytes]) -> None:
    """Writes files below a folder, or where their absolute paths say."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def start(shim_link: Any, peer: int, can_block: bool) -> Any:
    """Makes this interpreter a worker; called by ``worker.mjs``.

    Args:
        shim_link: leads to the hub.
        peer: the number of this worker there.
        can_block: whether the link can wait.

    Returns:
        What is to be called whenever frames may have arrived.
    """
    global _own  # noqa: PLW0603
    # Pyodide answers 42 in every interpreter, and programs name files by it.
    number = os.getpid() + peer
    os.getpid = sys.modules[os.name].getpid = lambda: number  # type: ignore[attr-defined]
    _own = Worker(HeapLink(shim_link, can_block), peer)
    return _own.step
