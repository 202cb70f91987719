"""What makes a pool go: it does what the scheduler decides, and settles futures.

Owns the outstanding tasks with their futures, the functions that workers know, and what a lost
worker means. The decisions are the scheduler's, the waiting is the hub's, arguments are checked
above. The flow, with the writer of each queue::

    submit ──> encode ──> Scheduler queue (written by submit)
                              │ decide
                              ▼
    _dispatch ── FUNCTION, TASK ──> Link mailbox ──> worker
                                                       │
    handle <── RESULT, ERROR, PROGRESS, LOST <── Hub frame queue (written by Hub.pump)
       └──> Future (settled once, here)
"""

import codecs
import hashlib
import itertools
import math
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeVar

from pyworkers import _codec
from pyworkers._futures import Future
from pyworkers._hub import Hub
from pyworkers._protocol import (
    HEADER_BYTES,
    MAX_FRAME_BYTES,
    SPILLED,
    Frame,
    Kind,
    WorkerState,
    check_kind,
)
from pyworkers._scheduler import Scheduler
from pyworkers.errors import (
    BrokenWorkerPool,
    PayloadError,
    ProtocolError,
    RemoteTraceback,
    WorkerLost,
)

Output = Callable[[int, str, str], object]
Encoded = tuple[bytes, list[memoryview]]
Settle = Callable[[], None]

BOOT_TIMEOUT: Final = 120.0
"""Seconds after which a worker that is not ready counts as one that did not start."""

_STREAMS: Final = {1: "stdout", 2: "stderr"}

_SMOOTHING: Final = 0.2
"""Weight of the newest run in the average of what a function takes."""

E = TypeVar("E", bound=BaseException)

_task_numbers = itertools.count(1)


@dataclass(slots=True)
class _Task:
    future: Future[Any]
    function: int
    call: Encoded
    priority: int
    submitted: float


@dataclass(slots=True)
class _Sent:
    """What one worker was sent.

    Attributes:
        functions: those that it knows.
        epoch: that the next task bears; it moves on when tasks are taken back.
        tasks: how many tasks it was sent and not given back.
    """

    functions: set[int] = field(default_factory=set)
    epoch: int = 0
    tasks: int = 0


class Engine:
    """The moving part of one pool.

    Args:
        hub: where its workers come from.
        name: for people.
        max_workers: how many workers at the most.
        setup: the encoded SETUP of each worker.
        on_output: gets what workers print: number, stream and text.
    """

    def __init__(
        self, hub: Hub, name: str, max_workers: int, setup: Encoded, on_output: Output
    ) -> None:
        self.scheduler = Scheduler(max_workers, can_take_back=hub.mode == "shared")
        self.shut_down = False
        self.broken: BaseException | None = None
        self._refusing = False
        self._hub = hub
        self._link = hub.link
        self._name = name
        self._setup = setup
        self._on_output = on_output
        self._tasks: dict[int, _Task] = {}
        self._digests: dict[bytes, int] = {}
        self._importable: dict[Callable[..., Any], int] = {}
        self._functions: dict[int, bytes] = {}
        self._seconds: dict[int, float] = {}
        self._sent: dict[int, _Sent] = {}
        self._decoders: dict[tuple[int, int], codecs.IncrementalDecoder] = {}

    def submit(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        priority: int,
        timeout: float | None,
    ) -> Future[Any]:
        """Encodes and queues a call; what cannot be run fails its future."""
        number = next(_task_numbers)
        future: Future[Any] = Future(self._hub, number, self.take_back)
        if self._refusing:
            future.settle_cancelled()
            return future
        if self.broken is not None:
            future.set_exception(self._broken_error())
            return future
        try:
            id = self._register(function)
            call = _encode_call(function, id, args, kwargs)
        except PayloadError as error:
            future.set_exception(error)
            return future
        self._tasks[number] = _Task(future, id, call, priority, time.time())
        deadline = None if timeout in (None, math.inf) else time.monotonic() + timeout
        self.scheduler.submitted(number, priority, deadline, self._seconds.get(id))
        self._dispatch()
        if deadline is not None:
            self._hub.remind(deadline)
        self._link.flush()
        self._hub.work_inline()
        return future

    def check_open(self) -> None:
        """Raises RuntimeError or BrokenWorkerPool if no more tasks are taken."""
        if self.broken is not None:
            raise self._broken_error()
        if self.shut_down:
            raise RuntimeError("cannot submit to a pool that is shut down")

    def _broken_error(self) -> BrokenWorkerPool:
        return chained(BrokenWorkerPool(f"the pool is broken: {self.broken}"), self.broken)

    def take_back(self, number: int) -> bool:
        """Forgets a task, unless a worker has started it; its future is the caller's to settle."""
        withdrawn = self._withdraw(number)
        if withdrawn:
            self._end_if_over()
        self._dispatch()
        self._link.flush()
        return withdrawn

    def _withdraw(self, number: int) -> bool:
        worker = self.scheduler.holder(number)
        if worker is not None:
            self._recall(worker)
        if not self.scheduler.cancelled(number):
            return False
        del self._tasks[number]
        return True

    def kill(self, number: int) -> bool:
        """Ends the worker that runs a task, and cancels its future."""
        task = self._tasks.get(number)
        if task is None:
            return False
        if self._withdraw(number):  # sent, but not started
            task.future.settle_cancelled()
            self._end_if_over()
        else:
            worker = self.scheduler.holder(number)
            assert worker is not None
            self._lose(worker, "its task was cancelled", number, Future.settle_cancelled)
        self._dispatch()
        self._link.flush()
        return True

    def begin_shutdown(self, cancel_futures: bool) -> None:
        """Takes no more tasks; the workers end with the last one."""
        self.shut_down = True
        self._refusing = self._refusing or cancel_futures
        if cancel_futures:
            for task in list(self._tasks.values()):
                task.future.cancel()
        self._end_if_over()

    def handle(self, frame: Frame) -> Settle | None:
        """Acts on a frame of one of this pool's workers.

        Returns:
            What settles a future, to be called once the next tasks are on their way.
        """
        worker = frame.peer
        slot = self.scheduler.workers[worker]
        settle = None
        try:
            kind = check_kind(worker, slot.state, frame.kind)
            if kind is Kind.RESULT or kind is Kind.ERROR:
                settle = self._finish(worker, kind, frame)
            elif kind is Kind.PROGRESS:
                self._tasks[self._task_of(worker, frame)].future.report(*self._decode(frame))
            elif kind is Kind.PARKED:
                self.scheduler.parked(worker, self._task_of(worker, frame), time.monotonic())
                self._next_runs(worker)
            elif kind is Kind.OUTPUT:
                self._print(worker, frame)
            elif kind is Kind.READY:
                self.scheduler.worker_ready(worker, time.monotonic())
            elif kind is Kind.SETUP_FAILED:
                self._setup_failed(worker, frame)
            else:
                self._lose(worker, str(frame.payload, "utf-8", "replace"))
        except ProtocolError as error:
            self._lose(worker, str(error))
        except Exception as error:
            self._lose(worker, f"what it sent cannot be read: {type(error).__name__}: {error}")
        self._dispatch()
        return settle

    def tick(self, now: float) -> float | None:
        """Ends what is overdue; returns when the next thing is due."""
        for number in self.scheduler.expired(now):
            late = partial(
                Future.set_exception,
                exception=TimeoutError("the task was not done within its timeout"),
            )
            future = self._tasks[number].future
            if self._withdraw(number):
                late(future)
                self._end_if_over()
            else:
                worker = self.scheduler.holder(number)
                assert worker is not None
                self._lose(worker, "its task timed out", number, late)
        due = []
        for slot in list(self.scheduler.workers.values()):
            if slot.number in self.scheduler.workers and slot.state is WorkerState.INITIALIZING:
                if slot.created + BOOT_TIMEOUT <= now:
                    self._lose(slot.number, f"it was not ready after {BOOT_TIMEOUT:.0f} s")
                else:
                    due.append(slot.created + BOOT_TIMEOUT)
        for worker in self.scheduler.stuck(now):
            self._recall(worker)
        self._dispatch()
        due += [
            when
            for when in (self.scheduler.next_deadline(), self.scheduler.next_stuck())
            if when is not None
        ]
        return min(due, default=None)

    def _recall(self, worker: int) -> int:
        """Takes back what a worker has not started; returns how many of its tasks it has."""
        slot = self.scheduler.workers[worker]
        sent = self._sent[worker]
        self._link.flush()
        total = self._link.recall(worker)
        if total is None:
            return 1
        sent.epoch = (sent.epoch + 1) & 0xFFFF
        started = len(slot.held) - ((sent.tasks - total) & 0xFFFF)
        back = self.scheduler.taken_back(worker, started)
        sent.tasks -= len(back)
        return started

    def _dispatch(self) -> None:
        decision = self.scheduler.decide(time.monotonic())
        for worker, number in decision.assign:
            task = self._tasks[number]
            sent = self._sent[worker]
            if task.function not in sent.functions:
                sent.functions.add(task.function)
                data = self._functions[task.function]
                self._send(worker, Kind.FUNCTION, task.function, (data, []))
            sent.tasks += 1
            self._send(
                worker, Kind.TASK, number, task.call, task.priority, task.submitted, sent.epoch
            )
            if self.scheduler.workers[worker].held[0] == number:
                task.future.start()
        for _ in range(decision.start):
            worker = self._hub.spawn(self, self._name)
            self.scheduler.worker_started(worker, time.monotonic())
            self._sent[worker] = _Sent()
            self._send(worker, Kind.SETUP, 0, self._setup)
        if decision.start:
            self._hub.remind(time.monotonic() + BOOT_TIMEOUT)
        elif (when := self.scheduler.next_stuck()) is not None:
            self._hub.remind(when)

    def _next_runs(self, worker: int) -> None:
        """The worker has begun the next task that it holds."""
        held = self.scheduler.workers[worker].held
        if held:
            self._tasks[held[0]].future.start()

    def _send(
        self,
        worker: int,
        kind: Kind,
        id: int,
        value: Encoded,
        flags: int = 0,
        number: float = 0.0,
        epoch: int = 0,
    ) -> None:
        payload, buffers = value
        if buffers or len(payload) > MAX_FRAME_BYTES - HEADER_BYTES:
            payload = _codec.spill(payload, buffers, lambda part: self._link.put(worker, part))
            flags |= SPILLED
        self._link.send(worker, kind, id, payload, flags, number, epoch)

    def _decode(self, frame: Frame) -> Any:
        if frame.flags & SPILLED:
            data, buffers = _codec.gather(frame.payload, partial(self._link.take, frame.peer))
            return _codec.decode(data, buffers)
        return _codec.decode(frame.payload)

    def _task_of(self, worker: int, frame: Frame) -> int:
        slot = self.scheduler.workers[worker]
        if slot.held and slot.held[0] & 0xFFFFFFFF == frame.id:
            return slot.held[0]
        for number in slot.parked:
            if number & 0xFFFFFFFF == frame.id:
                return number
        raise ProtocolError(f"worker {worker} spoke of task {frame.id}, which it does not run")

    def _finish(self, worker: int, kind: Kind, frame: Frame) -> Settle:
        number = self._task_of(worker, frame)
        future, function = self._tasks[number].future, self._tasks[number].function
        seconds = self._seconds.get(function, frame.number)
        self._seconds[function] = seconds + _SMOOTHING * (frame.number - seconds)
        if frame.flags & SPILLED:
            data, buffers = _codec.gather(frame.payload, partial(self._link.take, worker))
        else:
            data, buffers = bytes(frame.payload), []
        self.scheduler.finished(worker, number, time.monotonic())
        del self._tasks[number]
        self._next_runs(worker)
        return partial(self._settle, future, kind, data, buffers)

    def _settle(self, future: Future[Any], kind: Kind, data: Any, buffers: list[bytearray]) -> None:
        try:
            value = _codec.decode(data, buffers)
        except PayloadError as error:
            text = f"what the task returned cannot be read here: {error}"
            future.set_exception(chained(PayloadError(text), error.__cause__))
        else:
            if kind is Kind.ERROR:
                future.set_exception(remote_error(value))
            else:
                future.set_result(value)
        self._end_if_over()

    def _print(self, worker: int, frame: Frame) -> None:
        key = worker, frame.flags
        decoder = self._decoders.get(key)
        if decoder is None:
            decoder = codecs.getincrementaldecoder("utf-8")("replace")
            self._decoders[key] = decoder
        text = decoder.decode(frame.payload)
        if text:
            self._on_output(worker, _STREAMS.get(frame.flags, "stderr"), text)

    def _setup_failed(self, worker: int, frame: Frame) -> None:
        error = remote_error(self._decode(frame))
        self.scheduler.setup_failed(worker, str(error))
        self._break(error)

    def _lose(
        self,
        worker: int,
        reason: str,
        victim: int = 0,
        settle: Callable[[Future[Any]], object] = Future.settle_cancelled,
    ) -> None:
        """Ends a worker, if it has not ended, and settles the futures of what it ran.

        Args:
            worker: its number.
            reason: why, for the message of WorkerLost.
            victim: the task on whose account it is ended, if any.
            settle: settles the future of that one.
        """
        started = self._recall(worker)
        self._hub.terminate(worker)
        del self._sent[worker]
        self._decoders = {key: d for key, d in self._decoders.items() if key[0] != worker}
        for number in self.scheduler.worker_lost(worker, reason, started).started:
            future = self._tasks.pop(number).future
            if number == victim:
                settle(future)
            else:
                future.set_exception(WorkerLost(worker, reason))
        if self.scheduler.broken is not None and self.broken is None:
            self._break(BrokenWorkerPool(self.scheduler.broken))
        self._end_if_over()

    def _break(self, cause: BaseException) -> None:
        """Fails every task and ends every worker: nothing can be run any more."""
        self.broken = cause
        tasks, self._tasks = self._tasks, {}
        for number in tasks:
            self.scheduler.cancelled(number)
        self._end_workers()
        for task in tasks.values():
            task.future.set_exception(self._broken_error())

    def _end_if_over(self) -> None:
        if self.shut_down and not self._tasks:
            self._end_workers()

    def _end_workers(self) -> None:
        for worker in list(self.scheduler.workers):
            self._hub.terminate(worker)
            self.scheduler.worker_lost(worker, "the pool is over")
        self._sent.clear()
        self._decoders.clear()

    def _register(self, function: Callable[..., Any]) -> int:
        try:
            return self._importable[function]
        except (KeyError, TypeError):  # not seen yet, or a callable without a hash
            pass
        data = _codec.encode_function(function)
        digest = hashlib.blake2b(data, digest_size=16).digest()
        id = self._digests.setdefault(digest, len(self._digests) + 1)
        self._functions.setdefault(id, data)
        if _codec.is_importable(function):
            self._importable[function] = id
        return id


def chained(error: E, cause: BaseException | None) -> E:
    """Returns an error with its cause."""
    error.__cause__ = cause
    return error


def remote_error(value: tuple[bytes, str, str]) -> BaseException:
    """Reads what a worker says of an exception: its pickle, a summary, and its traceback."""
    error: BaseException
    try:
        data, summary, trace = value
    except (TypeError, ValueError):
        return PayloadError("the worker sent an error that cannot be read")
    try:
        error = _codec.decode(data)
    except PayloadError as unreadable:
        error = PayloadError(f"the task raised {summary}, which cannot be read here: {unreadable}")
    return chained(error, RemoteTraceback(trace))


def _encode_call(
    function: Callable[..., Any], id: int, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Encoded:
    try:
        return _codec.encode_call(id, args, kwargs)
    except PayloadError as error:
        named = {f"argument {i + 1}": value for i, value in enumerate(args)}
        named |= {f"argument {name!r}": value for name, value in kwargs.items()}
        name = getattr(function, "__qualname__", repr(function))
        for which, value in named.items():
            try:
                _codec.encode(value)
            except PayloadError as cause:
                what = f"{which} of {name}, {_codec.shortened(value)},"
                raise PayloadError(f"{what} cannot be sent to a worker: {cause}") from cause
        raise PayloadError(f"the arguments of {name} cannot be sent to a worker: {error}") from None


def print_output(worker: int, stream: str, text: str) -> None:
    """Prints what a worker printed, each line behind its number."""
    target = sys.stderr if stream == "stderr" else sys.stdout
    for line in text.splitlines(keepends=True):
        target.write(f"[worker {worker}] {line}")
    target.flush()
