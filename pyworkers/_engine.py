"""What makes a pool go: it does what the scheduler decides, and settles futures.

Owns the outstanding tasks with their futures, the functions that workers know, and what a lost
worker means. The decisions are the scheduler's, the waiting is the hub's, arguments are checked
above. The flow, with the writer of each queue::

    submit ──> encode ──> Scheduler queue (written by submit)
                              │ decide
                              ▼
    dispatch ─── FUNCTION, TASK ──> Link mailbox ──> worker
                                                       │
    handle <── RESULT, ERROR, PROGRESS, LOST <── Hub frame queue (written by Hub.pump)
       └──> Future (settled once, here)
"""

import codecs
import hashlib
import itertools
import logging
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeVar

from pyworkers import _codec
from pyworkers._arena import SharedArena
from pyworkers._boot_report import note_worker
from pyworkers._cancel import Endings
from pyworkers._codec import Encoded, Handle
from pyworkers._env import capabilities
from pyworkers._events import KINDS, Event, EventKind, Events, Outcome, log, logger
from pyworkers._futures import Future
from pyworkers._hub import Hub
from pyworkers._lanes import Need
from pyworkers._mirror import answer
from pyworkers._output import Output
from pyworkers._protocol import (
    HEADER_BYTES,
    KEEP,
    MAX_FRAME_BYTES,
    SPILLED,
    Frame,
    Kind,
    WorkerState,
    check_kind,
)
from pyworkers._scheduler import Scheduler
from pyworkers._standby import QUIET_SECONDS, Reserve
from pyworkers._statistics import Counts, PoolStatistics, WorkerInfo, durations
from pyworkers._store import ArenaStore, Block, Buffers, adopt, check_mode, keep
from pyworkers.errors import (
    BrokenWorkerPool,
    PayloadError,
    ProtocolError,
    RemoteTraceback,
    WorkerLost,
)

Settle = Callable[[], None]

BOOT_TIMEOUT: Final = 120.0
"""Seconds after which a worker that is not ready counts as one that did not start."""

_STREAMS: Final = {1: "stdout", 2: "stderr"}

_SHORT_SECONDS: Final = 0.00005
"""A task that takes less is worth a brief wait: a turn of the event loop takes longer."""

_SMOOTHING: Final = 0.2
"""Weight of the newest run in the average of what a function takes."""

CACHED_CALLS: Final = 256
"""So many results of pure functions are remembered; those not asked for longest are forgotten."""

E = TypeVar("E", bound=BaseException)

_NOTHING: Final[Encoded] = (b"", [], ())

_task_numbers = itertools.count(1)


@dataclass(slots=True)
class _Task:
    future: Future[Any]
    function: int
    call: Encoded
    priority: int
    since: float
    """When it could run first, in seconds of ``time.monotonic``."""
    keep: bool
    is_parked: bool = False
    abandoned: bool = False
    """Its future is settled; it runs only until it has heard of that."""


@dataclass(slots=True)
class _Sent:
    """What one worker was sent.

    Attributes:
        functions: those that it knows.
        epoch: that the next task bears; it moves on when tasks are taken back.
        tasks: how many tasks it was sent and not given back.
        retained: what it goes on using beyond the tasks that it came with.
        environment: the epoch of the hub's environment of which it was told.
    """

    functions: set[int] = field(default_factory=set)
    epoch: int = 0
    tasks: int = 0
    retained: dict[int, Block] = field(default_factory=dict)
    environment: int = 0


class Engine:
    """The moving part of one pool.

    Args:
        hub: where its workers come from.
        name: for people.
        scheduler: decides.
        setup: the encoded SETUP of each worker.
        on_output: gets what workers print: number, stream and text.
        grace: seconds that a task which was asked to end has until its worker is ended.
        breaks_on_loss: whether a worker that dies breaks the pool, instead of being replaced.
        standby: how many workers to hold in reserve.
    """

    def __init__(
        self,
        hub: Hub,
        name: str,
        scheduler: Scheduler,
        setup: Encoded,
        on_output: Output,
        grace: float,
        breaks_on_loss: bool,
        standby: int,
    ) -> None:
        self.scheduler = scheduler
        self._breaks_on_loss = breaks_on_loss
        self.reserve = Reserve(standby, capabilities().cores, BOOT_TIMEOUT)
        self.counts = Counts()
        self.events = Events()
        self._listeners = self.events.listeners
        if logger.isEnabledFor(logging.DEBUG):
            for kind in KINDS[:3]:
                self.events.subscribe(kind, log)
        self._end_due: float | None = None
        self._workers_end = (
            scheduler.lifetime is not None or scheduler.scaling.idle_timeout is not None
        )
        self.shut_down = False
        self.broken: BaseException | None = None
        self._refusing = False
        self._hub = hub
        self._link = hub.link
        self.name = name
        self._setup = setup
        self._on_output = on_output
        self._tasks: dict[int, _Task] = {}
        self._warming: dict[int, Future[None]] = {}
        self._digests: dict[bytes, int] = {}
        self._importable: dict[Callable[..., Any], int] = {}
        self._functions: dict[int, Encoded] = {}
        self._names: dict[int, str] = {}
        self._seconds: dict[int, float] = {}
        self._sent: dict[int, _Sent] = {}
        self._decoders: dict[tuple[int, int], codecs.IncrementalDecoder] = {}
        self._endings = Endings(grace)
        self._epoch = time.time() - time.monotonic()
        self._cache: OrderedDict[bytes, Future[Any]] = OrderedDict()

    def submit(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        priority: int,
        timeout: float | None,
        keep: bool = False,
        retries: int = 0,
        need: Need | None = None,
        delay: float = 0.0,
        pure: bool = False,
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
            if call[2]:
                check_mode(self._hub.mode, call[2])
        except PayloadError as error:
            future.set_exception(error)
            return future
        if pure and not call[2] and (known := self._remembered(call, future)) is not None:
            return known
        expected = self._seconds.get(id)
        future.is_short = expected is not None and expected < _SHORT_SECONDS
        now = time.monotonic()
        deadline = None if timeout in (None, math.inf) else now + timeout
        self.scheduler.submitted(number, priority, deadline, expected, now, need, delay, retries)
        self._tasks[number] = _Task(future, id, call, priority, now + delay, keep)
        self.dispatch()
        if deadline is not None:
            self._hub.remind(deadline)
        if delay:
            self._hub.remind(now + delay, self)
        self._link.flush()
        self._hub.work_inline()
        if self.events.pending:
            self._hub.settle()
        return future

    def _remembered(self, call: Encoded, future: Future[Any]) -> Future[Any] | None:
        """Returns the future of an equal call; else None, and remembers this one's."""
        digest = hashlib.blake2b(call[0], digest_size=32)
        for part in call[1]:
            digest.update(len(part).to_bytes(8, "little"))
            digest.update(part)
        key = digest.digest()
        known = self._cache.get(key)
        if known is not None and not (
            known.done() and (known.cancelled() or known.exception(0) is not None)
        ):
            self._cache.move_to_end(key)
            self.counts.cached += 1
            return known
        self._cache[key] = future
        self._cache.move_to_end(key)
        if len(self._cache) > CACHED_CALLS:
            self._cache.popitem(last=False)
        return None

    def warm_up(self) -> Future[None]:
        """Starts all workers; the future is done when all are ready."""
        number = next(_task_numbers)
        future: Future[None] = Future(self._hub, number, self._forget_warming)
        self._warming[number] = future
        self._all_warm()
        self._link.flush()
        self._hub.work_inline()
        return future

    def _forget_warming(self, number: int, running: bool) -> bool:
        return self._warming.pop(number, None) is not None

    def _all_warm(self) -> None:
        """Starts the workers that are waited for, and settles those who wait once all are ready."""
        if not self._warming:
            return
        missing = self.scheduler.max_workers - len(self.scheduler.workers)
        if missing > 0:
            self._hub.remind(time.monotonic() + BOOT_TIMEOUT)
            if self._start(missing):
                self.dispatch()
        if any(w.state is WorkerState.INITIALIZING for w in self.scheduler.workers.values()):
            return
        warm, self._warming = self._warming, {}
        for future in warm.values():
            future.set_result(None)

    def check_open(self) -> None:
        """Raises RuntimeError or BrokenWorkerPool if no more tasks are taken."""
        if self.broken is not None:
            raise self._broken_error()
        if self.shut_down:
            raise RuntimeError("cannot submit to a pool that is shut down")

    def _broken_error(self) -> BrokenWorkerPool:
        return chained(BrokenWorkerPool(f"the pool is broken: {self.broken}"), self.broken)

    def take_back(self, number: int, running: bool) -> bool:
        """Forgets a task; its future is the caller's to settle.

        Args:
            number: of the task.
            running: whether one that a worker has started is asked to end.

        Returns:
            Whether it is forgotten.
        """
        forgotten = self._withdraw(number, "cancelled")
        if forgotten:
            self._end_if_over()
        elif running and number in self._tasks:
            self._abandon(number, "it was cancelled", "cancelled", time.monotonic())
            forgotten = True
        self.dispatch()
        self._link.flush()
        self._hub.look_again()
        self._hub.settle()
        return forgotten

    def _abandon(self, number: int, why: str, outcome: Outcome, now: float) -> None:
        """Asks a task to end that a worker has started, and whose future is settled now."""
        worker = self.scheduler.holder(number)
        assert worker is not None
        task = self._tasks[number]
        task.abandoned = True
        self._count(outcome, task, worker)
        self.scheduler.ending(number)
        self._endings.begin(number, why, now)
        self._send(worker, Kind.CANCEL, number, _NOTHING)
        self._link.interrupt(worker, number)
        due = self._endings.next_due()
        assert due is not None
        self._hub.remind(due)

    def _withdraw(self, number: int, outcome: Outcome) -> bool:
        worker = self.scheduler.holder(number)
        if worker is not None:
            self._recall(worker)
        if not self.scheduler.cancelled(number):
            return False
        self._count(outcome, self._tasks.pop(number), None)
        return True

    def _count(
        self, outcome: Outcome, task: _Task, worker: int | None, seconds: float | None = None
    ) -> None:
        """Counts a task that is over, and tells of it."""
        counts = self.counts
        setattr(counts, outcome, getattr(counts, outcome) + 1)
        if "task_done" in self._listeners:
            self._tell("task_done", worker, task, outcome=outcome, seconds=seconds)

    def _tell(
        self, kind: EventKind, worker: int | None, task: _Task | None = None, **rest: Any
    ) -> None:
        """Has listeners told of an event, once the state of this pool is in order."""
        if not self.events.pending:
            self._hub.after(self.events.deliver)
        if task is not None:
            rest |= {"task": task.future.task, "function": self._names[task.function]}
        self.events.pending.append(Event(kind, time.time(), worker, **rest))

    def kill(self, number: int) -> bool:
        """Ends the worker that runs a task at once, and cancels its future if it is not settled."""
        task = self._tasks.get(number)
        if task is None:
            return False
        if self._withdraw(number, "cancelled"):  # sent, but not started
            task.future.settle_cancelled()
            self._end_if_over()
        else:
            worker = self.scheduler.holder(number)
            assert worker is not None
            self.scheduler.ending(number)
            self._lose(worker, "its task was killed", number)
        self.dispatch()
        self._link.flush()
        self._hub.look_again()
        self._hub.settle()
        return task.future.cancelled()

    def begin_shutdown(self, cancel_futures: bool) -> None:
        """Takes no more tasks; the workers end with the last one."""
        self.shut_down = True
        self.scheduler.closing()
        self._refusing = self._refusing or cancel_futures
        if cancel_futures:
            for task in list(self._tasks.values()):
                task.future.cancel()
        self._end_if_over()

    def end_workers(self, softly: bool) -> None:
        """Takes no more tasks and ends the workers, whatever they run.

        Args:
            softly: whether running tasks are asked to end, and have their grace period.
        """
        self.begin_shutdown(cancel_futures=True)
        running: list[Future[Any]] = []
        for number, task in list(self._tasks.items()):
            if task.abandoned:
                continue
            if self._withdraw(number, "cancelled"):
                task.future.settle_cancelled()
            else:
                running.append(task.future)
                self._abandon(number, "the pool was terminated", "cancelled", time.monotonic())
        if not softly:
            for number in self._tasks:
                self._endings.over(number)
            self._tasks.clear()
        self._end_if_over()
        self._link.flush()
        for future in running:
            future.set_exception(BrokenWorkerPool("the workers of the pool were ended"))

    def handle(self, frame: Frame) -> Settle | None:
        """Acts on a frame of one of this pool's workers.

        Returns:
            What settles a future, to be called once the next tasks are on their way.
        """
        worker = frame.peer
        spare = self.reserve.workers.get(worker)
        slot = spare or self.scheduler.workers[worker]
        settle = None
        try:
            kind = check_kind(worker, slot.state, frame.kind)
            if kind is Kind.RESULT or kind is Kind.ERROR:
                settle = self._finish(worker, kind, frame)
            elif kind is Kind.PROGRESS:
                task = self._tasks[self._task_of(worker, frame)]
                progress = self._decode(frame)
                if not task.abandoned:
                    task.future.report(*progress)
                    if "task_progress" in self._listeners:
                        self._tell("task_progress", worker, task, progress=tuple(progress))
            elif kind is Kind.PARKED:
                number = self._task_of(worker, frame)
                if number in slot.parked:
                    raise ProtocolError(f"worker {worker} parked task {frame.id} twice")
                self._tasks[number].is_parked = True
                self.scheduler.parked(worker, number, time.monotonic())
                self._next_runs(worker)
            elif kind is Kind.OUTPUT:
                self._print(worker, frame)
            elif kind is Kind.RETAIN:
                self._sent[worker].retained[frame.id] = self._arena_store().attach(frame.id)
            elif kind is Kind.RELEASE:
                # After the result that may be or hold what is released.
                settle = partial(self._released, worker, frame.id)
            elif kind is Kind.READY:
                now = time.monotonic()
                _log_worker("worker %d of %s is ready", worker, self.name)
                if spare is None:
                    self.scheduler.worker_ready(worker, now)
                    if "worker_ready" in self._listeners:
                        self._tell("worker_ready", worker)
                    settle = self._all_warm
                else:
                    self.reserve.worker_ready(worker)
                if len(frame.payload):
                    note_worker(worker, self._decode(frame), (now - slot.created) * 1000)
            elif kind is Kind.MISSING:
                arena = self._arena_store().arena
                assert isinstance(arena, SharedArena)
                answer(arena, worker, frame.id, str(frame.payload, "utf-8"))
            elif kind is Kind.SETUP_FAILED:
                self._setup_failed(worker, frame)
            else:
                self._lose(worker, str(frame.payload, "utf-8", "replace"))
        except ProtocolError as error:
            self._lose(worker, str(error))
        except Exception as error:
            self._lose(worker, f"what it sent cannot be read: {type(error).__name__}: {error}")
        return settle

    def _released(self, worker: int, id: int) -> None:
        if worker in self._sent:
            self._sent[worker].retained.pop(id, None)

    def tick(self, now: float) -> float | None:
        """Ends what is overdue; returns when the next thing is due."""
        for number in self.scheduler.expired(now):
            task = self._tasks[number]
            if task.abandoned:
                continue
            if self._withdraw(number, "timed_out"):
                self._end_if_over()
            else:
                self._abandon(number, "its timeout was over", "timed_out", now)
            task.future.set_exception(TimeoutError("the task was not done within its timeout"))
        self._end_abandoned(now)
        due = []
        for slot in list(self.scheduler.workers.values()):
            if slot.number in self.scheduler.workers and slot.state is WorkerState.INITIALIZING:
                if slot.created + BOOT_TIMEOUT <= now:
                    self._lose(slot.number, f"it was not ready after {BOOT_TIMEOUT:.0f} s")
                else:
                    due.append(slot.created + BOOT_TIMEOUT)
        for worker in self.scheduler.stuck(now):
            self._recall(worker)
        self.scheduler.release(now)
        for worker in self.scheduler.surplus(now):
            self._end_worker(worker)
        self._end_due = None
        self.dispatch()
        self._hub.settle()
        release = self.scheduler.next_release()
        if release is not None:
            self._hub.remind(release, self)
        if not self.reserve.asleep and (again := self._keep_reserve(now)) is not None:
            due.append(again)
        due += [
            when
            for when in (
                self.scheduler.next_deadline(),
                self.scheduler.next_stuck(),
                self.scheduler.next_surplus(),
                self._endings.next_due(),
                release,
            )
            if when is not None
        ]
        return min(due, default=None)

    def _end_abandoned(self, now: float) -> None:
        """Asks tasks again that shall end, and ends the workers of those that had their time."""
        for number in self._endings.asked_again(now):
            worker = self.scheduler.holder(number)
            assert worker is not None
            self._link.interrupt(worker, number)
        for number, why in self._endings.overdue(now):
            worker = self.scheduler.holder(number)
            if worker is None:  # its worker has just been ended for another task
                continue
            slot = self.scheduler.workers[worker]
            if number in slot.parked and slot.held and self._recall_known(worker):
                # A coroutine that could not hear of it, because a function runs beside it.
                self._endings.postpone(number, now)
            else:
                self._lose(worker, why, number)

    def _recall_known(self, worker: int) -> bool:
        """Says whether a worker is known to run a function, beside the coroutines it awaits."""
        return self.scheduler.can_take_back and self._recall(worker) > 0

    def _recall(self, worker: int) -> int:
        """Takes back what a worker has not started; returns how many of its tasks it has."""
        slot = self.scheduler.workers[worker]
        if not slot.held:
            return 0  # and one that is starting stays so: its loss counts as a failed start
        sent = self._sent[worker]
        self._link.flush()
        total = self._link.recall(worker)
        if total is None:
            return 1
        sent.epoch = (sent.epoch + 1) & 0xFFFF
        started = len(slot.held) - ((sent.tasks - total) & 0xFFFF)
        back = self.scheduler.taken_back(worker, started)
        sent.tasks -= len(back)
        for number in back:
            self._tasks[number].future.wait_again()
        return started

    def dispatch(self) -> None:
        """Sends tasks to workers that have room, and starts workers that are missing."""
        if self.scheduler.has_choice:
            self._do_as_decided()
        if self._workers_end and (self._end_due is None or self.scheduler.has_over):
            self._end_due = self.scheduler.next_surplus()
            if self._end_due is not None:
                self._hub.remind(self._end_due)

    def _do_as_decided(self) -> None:
        decision = self.scheduler.decide(time.monotonic())
        environment = self._hub.environment
        chosen = bool(decision.assign or decision.start)
        epoch = environment.look() if environment is not None and chosen else 0
        for worker, number in decision.assign:
            task = self._tasks[number]
            sent = self._sent[worker]
            if sent.environment != epoch:
                self._tell_environment(worker, epoch)
            if task.function not in sent.functions:
                sent.functions.add(task.function)
                self._send(worker, Kind.FUNCTION, task.function, self._functions[task.function])
            sent.tasks += 1
            flags = task.priority | KEEP if task.keep else task.priority
            self._send(
                worker, Kind.TASK, number, task.call, flags, task.since + self._epoch, sent.epoch
            )
            if self.scheduler.workers[worker].held[0] == number:
                task.future.start()
                if "task_started" in self._listeners:
                    self._tell("task_started", worker, task)
        if decision.start:
            self._hub.remind(time.monotonic() + BOOT_TIMEOUT)
            if self._start(decision.start):
                self.dispatch()
        elif (when := self.scheduler.next_stuck()) is not None:
            self._hub.remind(when)
        if self.reserve.asleep and self.reserve.size:
            self.reserve.asleep = False
            self._hub.remind(time.monotonic() + QUIET_SECONDS)

    def _start(self, count: int) -> bool:
        """Gets workers, from the reserve if there are any; returns whether one is ready."""
        is_ready = False
        for _ in range(count):
            self.counts.workers_started += 1
            spare = self.reserve.take()
            if spare is None:
                self.scheduler.worker_started(self._spawn(), time.monotonic())
                continue
            self.scheduler.worker_started(spare.number, spare.created)
            self._hub.remind(time.monotonic() + QUIET_SECONDS)
            if spare.state is WorkerState.IDLE:
                self.scheduler.worker_ready(spare.number, time.monotonic())
                is_ready = True
        return is_ready

    def _spawn(self) -> int:
        """Starts a worker and has it set up; returns its number."""
        worker = self._hub.spawn(self, self.name)
        self._sent[worker] = _Sent()
        environment = self._hub.environment
        if environment is not None:
            self._tell_environment(worker, environment.look())
        self._send(worker, Kind.SETUP, 0, self._setup)
        return worker

    def _keep_reserve(self, now: float) -> float | None:
        """Starts or ends workers in reserve; returns when to be called again."""
        plan = self.reserve.plan(now, self.scheduler.workers.values())
        for worker in plan.end:
            self._end_spare(worker)
        if plan.start and not self.shut_down and self.broken is None:
            for _ in range(plan.start):
                self.reserve.started(self._spawn(), now)
        return plan.due

    def _end_spare(self, worker: int, failed: bool = False) -> None:
        self.reserve.lost(worker, failed)
        self._close(worker)

    def _tell_environment(self, worker: int, epoch: int) -> None:
        """Tells a worker, ahead of what comes next, what has changed in this interpreter."""
        environment = self._hub.environment
        if environment is not None:
            sent = self._sent[worker]
            self._send(worker, Kind.ENVIRONMENT, 0, environment.since(sent.environment))
            sent.environment = epoch

    def _next_runs(self, worker: int) -> None:
        """The worker has begun the next task that it holds."""
        held = self.scheduler.workers[worker].held
        if held:
            task = self._tasks[held[0]]
            task.future.start()
            if "task_started" in self._listeners:
                self._tell("task_started", worker, task)

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
        payload, buffers, handles = value
        if handles:
            for missing, encoded in self._hub.store.missing(worker, handles):
                self._send(worker, Kind.OBJECT, missing, encoded)
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
        task = self._tasks[number]
        if not task.abandoned:
            seconds = self._seconds.get(task.function, frame.number)
            self._seconds[task.function] = seconds + _SMOOTHING * (frame.number - seconds)
        if frame.flags & SPILLED:
            data, buffers = _codec.gather(frame.payload, partial(self._link.take, worker))
        else:
            data, buffers = bytes(frame.payload), []
        held = self._hub.store.let_go(worker, frame.id)
        settle: Settle
        if frame.flags & KEEP:
            # At once: bytes that are still the worker's are freed when it ends.
            kept = adopt(self._hub.mode, self._arena_store(), worker, _codec.decode(data))
            settle = partial(self._settle_with, task, kept)
        elif task.abandoned:
            settle = self._end_if_over
        elif task.keep and kind is Kind.RESULT:
            settle = partial(self._settle_kept, task, data, buffers)
        else:
            settle = partial(self._settle, task, kind, data, buffers, held)
        now = time.monotonic()
        if task.abandoned:
            self.counts.dropped += 1
        else:
            settle = self._counted(worker, kind, frame.number, task, settle, now)
        self.scheduler.finished(worker, number, now)
        del self._tasks[number]
        self._endings.over(number)
        self._next_runs(worker)
        if self.scheduler.is_used_up(worker):
            return partial(self._retire, worker, settle)
        return settle

    def _counted(
        self, worker: int, kind: Kind, seconds: float, task: _Task, settle: Settle, now: float
    ) -> Settle:
        """Counts a task that has ended by itself; returns what settles it and tells of it."""
        counts = self.counts
        counts.recent.append((now - task.since, seconds))
        if not task.is_parked:
            counts.busy += seconds
        if kind is Kind.ERROR:
            counts.failed += 1
        if "task_done" not in self._listeners:
            return settle
        outcome: Outcome = "done" if kind is Kind.RESULT else "failed"
        return partial(self._settle_and_tell, settle, worker, task, outcome, seconds)

    def _retire(self, worker: int, settle: Settle) -> None:
        if worker in self.scheduler.workers:
            self._end_worker(worker)
            self.dispatch()
        settle()

    def _settle_and_tell(
        self, settle: Settle, worker: int, task: _Task, outcome: Outcome, seconds: float
    ) -> None:
        settle()
        self._tell("task_done", worker, task, outcome=outcome, seconds=seconds)

    def _arena_store(self) -> ArenaStore:
        store = self._hub.store
        if not isinstance(store, ArenaStore):
            raise ProtocolError(f"mode {self._hub.mode} has no shared memory")
        return store

    def _settle_with(self, task: _Task, value: object) -> None:
        if not task.abandoned:
            task.future.set_result(value)
        self._end_if_over()

    def _settle_kept(self, task: _Task, data: Any, buffers: Buffers) -> None:
        views = [memoryview(part) for part in buffers]
        self._settle_with(task, keep(self._hub.mode, (bytes(data), views, ())))

    def _settle(
        self, task: _Task, kind: Kind, data: Any, buffers: Buffers, held: tuple[Handle, ...]
    ) -> None:
        # The task and what the worker held are held on to, as the result may name parts of them.
        future = task.future
        try:
            value = _codec.decode(data, buffers)
            if kind is Kind.ERROR:
                value = remote_error(value)
        except PayloadError as error:
            text = f"what the task returned cannot be read here: {error}"
            future.set_exception(chained(PayloadError(text), error.__cause__))
        except BaseException as error:
            # A SystemExit of what is read is its future's; a KeyboardInterrupt is the user's too.
            future.set_exception(error)
            if isinstance(error, KeyboardInterrupt):
                raise
        else:
            if kind is Kind.ERROR:
                future.set_exception(value)
            else:
                future.set_result(value)
        if self.shut_down:
            self._end_if_over()

    def _print(self, worker: int, frame: Frame) -> None:
        key = worker, frame.flags
        decoder = self._decoders.get(key)
        if decoder is None:
            decoder = codecs.getincrementaldecoder("utf-8")("replace")
            self._decoders[key] = decoder
        text = decoder.decode(frame.payload)
        if text:
            try:
                self._on_output(worker, _STREAMS.get(frame.flags, "stderr"), text)
            except Exception:
                logger.exception("exception in on_output of %s", self.name)

    def _setup_failed(self, worker: int, frame: Frame) -> None:
        error = remote_error(self._decode(frame))
        if worker in self.reserve.workers:
            self._end_spare(worker, failed=True)
            return
        self.scheduler.setup_failed(worker, str(error))
        self._break(error)

    def _lose(
        self,
        worker: int,
        reason: str,
        victim: int = 0,
    ) -> None:
        """Ends a worker, if it has not ended, and settles the futures of what it ran.

        Args:
            worker: its number.
            reason: why, for the message of WorkerLost.
            victim: the task on whose account it is ended, which is cancelled; 0 if there is none.
        """
        if worker in self.reserve.workers:
            self._end_spare(worker, failed=True)
            return
        started = self._recall(worker)
        self._close(worker)
        self.counts.workers_lost += 1
        _log_worker("worker %d of %s is lost: %s", worker, self.name, reason)
        if "worker_lost" in self._listeners:
            self._tell("worker_lost", worker, reason=reason)
        lost = self.scheduler.worker_lost(worker, reason, started)
        for number in lost.requeued:
            self._tasks[number].future.wait_again()
        for number in lost.started:
            task = self._tasks.pop(number)
            self._endings.over(number)
            if task.abandoned:
                continue
            if number == victim:
                task.future.settle_cancelled()
                self._count("cancelled", task, worker)
            else:
                task.future.set_exception(WorkerLost(worker, number, reason))
                self._count("lost", task, worker)
        if self._breaks_on_loss and not victim and not self.shut_down:
            self.scheduler.broken = f"worker {worker} died: {reason}"
        if self.scheduler.broken is not None and self.broken is None:
            self._break(BrokenWorkerPool(self.scheduler.broken))
        elif self.broken is None and not self.shut_down:
            self._all_warm()
        self._end_if_over()

    def _break(self, cause: BaseException) -> None:
        """Fails every task and ends every worker: nothing can be run any more."""
        self.broken = cause
        tasks, self._tasks = self._tasks, {}
        for number in tasks:
            self.scheduler.cancelled(number)
        self._end_workers()
        for number, task in tasks.items():
            self._endings.over(number)
            if not task.abandoned:
                task.future.set_exception(self._broken_error())
        warm, self._warming = self._warming, {}
        for future in warm.values():
            future.set_exception(self._broken_error())

    def _end_if_over(self) -> None:
        if self.shut_down and not self._tasks:
            self._end_workers()

    def _end_workers(self) -> None:
        for worker in list(self.scheduler.workers):
            self._end_worker(worker)
        for worker in list(self.reserve.workers):
            self._end_spare(worker)
        if self.broken is None:
            for future in list(self._warming.values()):
                future.cancel()

    def _end_worker(self, worker: int) -> None:
        """Ends a worker whose tasks, if it has any, are settled."""
        _log_worker("worker %d of %s ends: it is not needed any more", worker, self.name)
        held = len(self.scheduler.workers[worker].held)
        self._close(worker)
        self.scheduler.worker_lost(worker, "it was not needed any more", held, may_retry=False)
        self.counts.workers_ended += 1

    def _close(self, worker: int) -> None:
        slot = self.scheduler.workers.get(worker)
        if slot is not None:
            self.counts.lived += time.monotonic() - slot.created
            self.counts.finished += slot.tasks_done
        self._hub.terminate(worker)
        self._hub.store.peer_lost(worker)
        del self._sent[worker]
        self._decoders = {key: d for key, d in self._decoders.items() if key[0] != worker}

    def statistics(self) -> PoolStatistics:
        """Returns what has happened so far."""
        counts, scheduler, now = self.counts, self.scheduler, time.monotonic()
        lived = counts.lived + sum(now - slot.created for slot in scheduler.workers.values())
        finished = counts.finished + sum(slot.tasks_done for slot in scheduler.workers.values())
        finished -= counts.dropped
        over = finished + counts.cancelled + counts.timed_out + counts.lost
        return PoolStatistics(
            submitted=over + scheduler.outstanding,
            done=finished - counts.failed,
            failed=counts.failed,
            cancelled=counts.cancelled,
            timed_out=counts.timed_out,
            lost=counts.lost,
            cached=counts.cached,
            queued=scheduler.queued,
            delayed=scheduler.delayed,
            running=scheduler.outstanding - scheduler.queued - scheduler.delayed,
            workers=len(scheduler.workers),
            workers_started=counts.workers_started,
            workers_lost=counts.workers_lost,
            workers_ended=counts.workers_ended,
            waiting=durations(total - seconds for total, seconds in counts.recent),
            executing=durations(seconds for _, seconds in counts.recent),
            utilisation=min(1.0, counts.busy / lived) if lived else 0.0,
        )

    def workers(self) -> list[WorkerInfo]:
        """Returns what each worker is doing now."""
        now = time.monotonic()
        return [
            WorkerInfo(
                number=slot.number,
                state=slot.state.value,
                age=now - slot.created,
                unchanged=now - slot.last_used,
                task=slot.held[0] if slot.held else None,
                ahead=max(0, len(slot.held) - 1),
                awaiting=len(slot.parked),
                tasks_done=slot.tasks_done,
                capabilities=slot.capabilities,
            )
            for slot in self.scheduler.workers.values()
        ]

    def _register(self, function: Callable[..., Any]) -> int:
        try:
            return self._importable[function]
        except (KeyError, TypeError):  # not seen yet, or a callable without a hash
            pass
        encoded = _codec.encode_function(function)
        check_mode(self._hub.mode, encoded[2])
        digest = hashlib.blake2b(encoded[0], digest_size=16).digest()
        id = self._digests.setdefault(digest, len(self._digests) + 1)
        self._functions.setdefault(id, encoded)
        if id not in self._names:
            self._names[id] = getattr(function, "__qualname__", type(function).__qualname__)
        if _codec.is_importable(function):
            self._importable[function] = id
        return id


def _log_worker(text: str, worker: int, *details: str) -> None:
    logger.info(text, worker, *details, extra={"worker": worker})


def chained(error: E, cause: BaseException | None) -> E:
    """Returns an error with its cause."""
    error.__cause__ = cause
    return error


def remote_error(value: tuple[bytes, list[Any], str, str]) -> BaseException:
    """Reads what a worker says of an exception: its pickle, a summary, and its traceback."""
    error: BaseException
    try:
        data, buffers, summary, trace = value
    except (TypeError, ValueError):
        return PayloadError("the worker sent an error that cannot be read")
    try:
        error = _codec.decode(data, buffers)
        if not isinstance(error, BaseException):
            raise PayloadError(f"a {type(error).__name__} is no exception")
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
