"""A worker: runs the tasks that its hub sends.

Owns the functions it was sent, the running of tasks and what comes of them. Knows nothing of other
workers, nor of how frames travel; how it is prepared is ``_preparation``'s.
"""

import asyncio
import contextlib
import contextvars
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from types import CoroutineType
from typing import Any, Final

from pyworkers import _codec, _js, _preparation
from pyworkers._arena import SharedArena
from pyworkers._cancel import SIGNAL, Interruptions
from pyworkers._channels import Link
from pyworkers._channels.heap import HeapLink
from pyworkers._codec import Handle
from pyworkers._line import Line
from pyworkers._mirror import Mirror
from pyworkers._preparation import Outcome, Preparation
from pyworkers._process import be_process, route_sleep, sleep_by
from pyworkers._protocol import (
    FULL,
    KEEP,
    MESSAGE_KINDS,
    PROTOCOL_VERSION,
    Frame,
    Kind,
)
from pyworkers._results import described
from pyworkers._store import ArenaStore, SendingStore, stores
from pyworkers._worker_messages import WorkerMessages
from pyworkers.errors import ArenaFull, PayloadError, TaskCancelled

_LINGER_MS: Final = 20.0
"""An idle worker blocks this long for the next frame before its event loop waits for it: waking
from Atomics.wait is several times faster than a turn of the loop."""

_task: contextvars.ContextVar[int] = contextvars.ContextVar("task", default=0)
"""The number of the task that runs; 0 outside of tasks."""
_inline: contextvars.ContextVar["Worker | None"] = contextvars.ContextVar("worker", default=None)
"""The worker whose task runs here, where it shares the interpreter with its hub."""

_own: "Worker | None" = None
"""The worker that this interpreter is."""


def current_worker() -> "Worker | None":
    """Returns the worker whose task is running; None outside of tasks."""
    return _own or _inline.get()


def apart(worker: "Worker | None", call: Callable[[], object]) -> None:
    """Calls in a context of its own, outside of any task.

    Args:
        worker: whose code that is; None if it is the hub's.
        call: the function.
    """

    def enter() -> None:
        _inline.set(worker)
        _task.set(0)
        call()

    contextvars.copy_context().run(enter)


class Worker:
    """The Python half of a worker.

    Args:
        link: leads to the hub.
        peer: the number of this worker in its hub.
        store: what the hub keeps, as seen from here.
        is_apart: whether the hub is another interpreter.
        asked: takes the number of the task that the hub wants interrupted; 0 if there is none.
        heap_bytes: returns how large this interpreter's memory is, which never shrinks.
        hear: has the hub handle what it was told, where it shares this thread.
    """

    def __init__(
        self,
        link: Link,
        peer: int,
        store: ArenaStore | SendingStore,
        is_apart: bool,
        asked: Callable[[], int] = int,
        heap_bytes: Callable[[], int] = int,
        hear: Callable[[], bool] | None = None,
    ) -> None:
        self.link = link
        self.peer = peer
        self._store = store
        self._functions: dict[int, Any] = {}
        self._retained: set[int] = set()
        self._running: set[asyncio.Task[Any]] = set()
        self._coroutines: dict[int, asyncio.Task[Any]] = {}
        self.interruptions = Interruptions(asked, self._coroutines)
        self._handlers: dict[int, Callable[[Frame], None]] = {
            Kind.FUNCTION: self._keep_function,
            Kind.TASK: self._run_task,
            Kind.OBJECT: self._keep_object,
            Kind.FORGET: self._forget_object,
            Kind.CANCEL: self._cancel_task,
            Kind.ENVIRONMENT: self._take_over,
            Kind.PING: self._answer,
        }
        self._heap_bytes = heap_bytes
        self._line = Line(link, peer)
        self._call = self._call_function
        self._frames: deque[Frame] = deque()
        self.messages = WorkerMessages(
            link,
            peer,
            self.interruptions,
            self._frames,
            self._line.payload,
            self._send_message,
            self._beside,
            partial(apart, self),
            hear,
        )
        self._handlers |= dict.fromkeys(MESSAGE_KINDS, self.messages.handle)
        self.mirror: Mirror | None = None
        self.preparation = Preparation(
            self._line, self._beside, self._entered, heap_bytes, self._send_error, self._ready
        )
        self._handlers[Kind.SETUP] = self.preparation.begin
        self._arena_store = store if is_apart and isinstance(store, ArenaStore) else None

    def step(self) -> None:
        """Handles frames until none is left, lingering for more if nothing else is going on."""
        frames = self._frames
        while True:
            if not frames:
                linger = 0.0 if self._running or not self.link.can_block else _LINGER_MS
                frames.extend(self.link.receive(linger))
            if not frames:
                return
            while frames:
                frame = frames.popleft()
                self._handlers[frame.kind](frame)
            self._release()
            self.link.flush()

    def close(self) -> None:
        """Drops what is running."""
        for running in self._running:
            running.cancel()

    def progress(self, done: float, total: float | None, message: str) -> None:
        """Tells the hub how far the current task is."""
        if not _task.get():
            return
        with self.interruptions.held_off():
            self._line.send(Kind.PROGRESS, _task.get(), (done, total, message), 0.0)
            self.link.flush()

    def is_cancelled(self) -> bool:
        """Says whether the hub wants the current task ended."""
        return self.interruptions.is_cancelled(_task.get())

    def check_cancelled(self) -> None:
        """Raises TaskCancelled if the hub wants the current task ended."""
        if self.is_cancelled():
            raise TaskCancelled("the task was cancelled")

    def _take_over(self, frame: Frame) -> None:
        assert self.mirror is not None
        self.mirror.take_over(self._line.decode(frame))

    def _answer(self, frame: Frame) -> None:
        # What messages have brought, and is still used, would else be freed by the answer.
        self._hold(0, ())
        self.link.send(self.peer, Kind.PONG, frame.id, b"")

    def _send_message(self, kind: Kind, id: int, value: _codec.Encoded, number: float) -> None:
        data, buffers, handles = value
        if self._arena_store is None and isinstance(self._store, ArenaStore):
            self._store.hold_message(self.peer, handles)
        self._line.send_encoded(kind, id, data, buffers, number)

    def ask(self, question: int, name: str) -> None:
        """Asks the hub for a module; the answer does not come as a frame."""
        with self.interruptions.held_off():
            self.link.send(self.peer, Kind.MISSING, question, name.encode())
            self.link.flush()

    @contextlib.contextmanager
    def _entered(self) -> Iterator[None]:
        """What runs within finds this worker as the current one."""
        outer = _inline.set(self)
        try:
            yield
        finally:
            _inline.reset(outer)

    def _ready(self) -> None:
        if self.preparation.heap_limit is not None:
            self._call = self._call_and_measure
        self.messages.open()

    def _beside(
        self, work: Coroutine[Any, Any, Any], then: Callable[[Outcome], None], task: int = 0
    ) -> "asyncio.Task[Any] | None":
        """Awaits a coroutine beside what the worker does next.

        Args:
            work: the coroutine.
            then: called with what returns its result or raises its error.
            task: its number, if it is one.
        """
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            then(partial(asyncio.run, work))
            return None
        running = loop.create_task(work)
        self._running.add(running)
        if task:
            self._coroutines[task] = running

        def done(_: object) -> None:
            self._running.discard(running)
            self._coroutines.pop(task, None)
            then(running.result)
            self._release()
            self.link.flush()

        running.add_done_callback(done)
        return running

    def _keep_object(self, frame: Frame) -> None:
        if isinstance(self._store, SendingStore):
            data, buffers = self._line.payload(frame)
            self._store.keep(frame.id, (bytes(data), [memoryview(part) for part in buffers], ()))
        # Else it is memory, which the shim has by now: it kept the frame back until then.

    def _forget_object(self, frame: Frame) -> None:
        self._store.forget(frame.id)

    def _hold(self, task: int, handles: tuple[Handle, ...]) -> None:
        """Has the hub keep what a result names, and what this worker goes on using."""
        store = self._arena_store
        if store is None and handles and isinstance(self._store, ArenaStore):
            self._store.hold(self.peer, task, handles)
        elif store is not None and store.touched:
            for id in store.attached() - self._retained:
                self._retained.add(id)
                self.link.send(self.peer, Kind.RETAIN, id, b"")

    @property
    def mode(self) -> str:
        """Of its pool."""
        return next(mode for mode, store in stores.items() if store is self._store)

    def retain(self) -> None:
        """Tells the hub now what this worker uses, and not at the end of its task."""
        with self.interruptions.held_off():
            self._hold(0, ())

    def _release(self) -> None:
        """Tells the hub what this worker does not use any more, behind the end of a task."""
        store = self._arena_store
        if store is not None and store.touched:
            attached = store.attached()
            # What a coroutine that still runs has attached is told of when it ends.
            store.touched = not attached <= self._retained
            for id in self._retained - attached:
                self._retained.discard(id)
                self.link.send(self.peer, Kind.RELEASE, id, b"")

    def _cancel_task(self, frame: Frame) -> None:
        running = self._coroutines.get(frame.id)
        if running is not None and self.interruptions.tell(frame.id):
            running.cancel()

    def _keep_function(self, frame: Frame) -> None:
        # Read when first called: an error there belongs to that task.
        pickled = bytes(self._line.payload(frame)[0])
        if pickled:
            self._functions[frame.id] = pickled
        else:
            del self._functions[frame.id]

    def _function(self, id: int) -> Callable[..., Any]:
        known = self._functions[id]
        if type(known) is bytes:
            known = self._functions[id] = _codec.decode(known)
        function: Callable[..., Any] = known
        return function

    def _run_task(self, frame: Frame) -> None:
        if not self.link.claim(self.peer, frame.epoch):
            self._line.discard(frame)
            return
        outer = _inline.set(self)
        task = frame.id
        _task.set(task)
        started = time.perf_counter()
        kept = bool(frame.flags & KEEP)
        interruptions = self.interruptions
        try:
            payload = self._line.payload(frame)
            try:
                interruptions.current = task
                value = self._call(*_codec.decode(*payload))
            finally:
                interruptions.current = 0
            if type(value) is CoroutineType:
                self.link.send(self.peer, Kind.PARKED, task, b"")
                self._beside(value, partial(self._finish, task, kept, started), task)
                return
        except BaseException as error:
            # A signal may have come before the line that ends what can be interrupted.
            interruptions.current = 0
            self._fail(task, error, started)
        else:
            self._succeed(task, kept, value, started)
        finally:
            _inline.reset(outer)

    def _call_function(self, function: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self._function(function)(*args, **kwargs)

    def _call_and_measure(
        self, function: int, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        try:
            return self._call_function(function, args, kwargs)
        finally:
            self._measure()

    def _measure(self) -> None:
        """Has the hub replace this worker if it has grown too large."""
        if (
            self.preparation.heap_limit is not None
            and self._heap_bytes() > self.preparation.heap_limit
        ):
            self._line.marks = FULL

    def _encode_result(self, task: int, value: Any) -> _codec.Encoded:
        interruptions = self.interruptions
        try:
            interruptions.current = task
            return _codec.encode(value)
        finally:
            interruptions.current = 0

    def _finish(self, task: int, kept: bool, started: float, outcome: Outcome) -> None:
        try:
            try:
                value = outcome()
            finally:
                self._measure()
        except BaseException as error:
            self._fail(task, error, started)
        else:
            self._succeed(task, kept, value, started)

    def _succeed(self, task: int, kept: bool, value: Any, started: float) -> None:
        try:
            data, buffers, handles = self._encode_result(task, value)
        except PayloadError as error:
            wrapped = PayloadError(
                f"the result of the task, {_codec.shortened(value)}, cannot be sent back: {error}"
            )
            self._fail(task, wrapped, started)
            return
        except BaseException as error:
            self.interruptions.current = 0
            self._fail(task, error, started)
            return
        self.interruptions.over(task)
        seconds = time.perf_counter() - started
        self._hold(task, handles)
        if kept and isinstance(self._store, ArenaStore):
            try:
                told = self._store.write((data, buffers, handles))
            except ArenaFull as error:
                self._fail(task, error, started)
                return
            inner = [handle.id for handle in handles]
            payload = _codec.encode((*told, inner))[0]
            self.link.send(self.peer, Kind.RESULT, task, payload, KEEP | self._line.marks, seconds)
        else:
            self._line.send_encoded(Kind.RESULT, task, data, buffers, seconds)

    def _fail(self, task: int, error: BaseException, started: float) -> None:
        self.interruptions.over(task)
        self._send_error(Kind.ERROR, task, error, time.perf_counter() - started)

    def _send_error(self, kind: Kind, id: int, error: BaseException, seconds: float) -> None:
        try:
            value, handles = described(error)
        except BaseException as worse:
            text = f"the task raised a {type(error).__name__}, which cannot be told: "
            value, handles = described(PayloadError(text + _codec.summary(worse)))
        self._hold(id, handles)
        self._line.send(kind, id, value, seconds)


def start(shim: Any) -> Any:
    """Makes this interpreter a worker; called by ``worker.mjs``.

    Args:
        shim: the link to the hub, the number of this worker there, and what belongs to them.

    Returns:
        What is to be called whenever frames may have arrived.

    Raises:
        ProtocolError: the shim is of another version.
    """
    global _own  # noqa: PLW0603 - an interpreter becomes a worker once
    _js.check_version(shim.version, PROTOCOL_VERSION)
    peer = shim.peer
    be_process(peer)
    arena = getattr(shim.link, "arena", None)
    store: ArenaStore | SendingStore
    shared = None
    if arena is not None:
        shared = SharedArena(shim.link, arena, shim.Cells.new, shim.primitive, peer)
        store = stores["shared"] = ArenaStore(shared, is_hub=False)
    else:
        store = stores["transfer"] = SendingStore()
    link = HeapLink(shim.link, arena is not None)
    if arena is None:
        _own = Worker(link, peer, store, True, heap_bytes=shim.link.heapBytes)
        _own.messages.switch_by(shim.link.arrived)
        _own.interruptions.poll(shim.link.turn, partial(shim.link.interrupted, peer))
    else:
        asked = partial(shim.link.interrupted, peer)
        _own = Worker(link, peer, store, True, asked, shim.link.heapBytes)
        _own.interruptions.listen()
        shim.interruptBy(SIGNAL)
        sleep_by(partial(shim.link.pause, peer), _own.interruptions.check)
        if _preparation.prepared is None:
            route_sleep()
    if _preparation.prepared is None:
        _own.mirror = Mirror(shared, _own.ask)
    else:
        _own.mirror = _preparation.prepared.mirror
        _own.mirror.connect(shared, _own.ask)
    _own.preparation.measured = _js.boot_measures(shim.measured)
    return _own.step
