"""What makes a pool go: it does what the scheduler decides, and settles futures.

Owns the outstanding tasks with their futures, and what a lost worker means. The decisions are the
scheduler's, the waiting is the hub's, what workers are told the peers', arguments are checked
above. The flow, with the writer of each queue::

    submit ──> encode ──> Scheduler queue (written by submit)
                              │ decide
                              ▼
    dispatch ─── FUNCTION, TASK ──> Link mailbox ──> worker
                                                       │
    handle <── RESULT, ERROR, PROGRESS, LOST <── Hub frame queue (written by Hub.pump)
       └──> Hub settle queue (written by handle, tick, ...) ──> Future (settled once)

Futures are settled last, by way of the hub: what their callbacks do finds this engine in order.
"""

import itertools
import math
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from pyworkers import _codec
from pyworkers._backoff import is_retried
from pyworkers._boot_report import note_worker
from pyworkers._breaker import CircuitBreaker
from pyworkers._cancel import Endings
from pyworkers._codec import Encoded, Handle
from pyworkers._env import capabilities
from pyworkers._events import Outcome
from pyworkers._functions import Functions, PureCalls, encode_call
from pyworkers._futures import Future
from pyworkers._heartbeat import Heartbeats
from pyworkers._hub import Hub
from pyworkers._lanes import Need
from pyworkers._ledger import Ledger, Task
from pyworkers._output import Output
from pyworkers._peers import Peers
from pyworkers._pool_messages import PoolMessages
from pyworkers._protocol import FULL, KEEP, Frame, Kind, WorkerState, check_kind
from pyworkers._results import chained, error_of, remote_error, settle
from pyworkers._scheduler import Scheduler
from pyworkers._standby import QUIET_SECONDS, Reserve
from pyworkers._store import Buffers, adopt, check_mode, keep
from pyworkers.errors import BrokenWorkerPool, CircuitOpen, PayloadError, ProtocolError, WorkerLost

BOOT_TIMEOUT: Final = 120.0
"""Seconds after which a worker that is not ready counts as one that did not start."""

_SHORT_SECONDS: Final = 0.00005
"""A task that takes less is worth a brief wait: a turn of the event loop takes longer."""

_task_numbers = itertools.count(1)


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
        wears_out: whether a worker may be used up by what it does.
        heartbeats: judges whether workers live.
        forks: whether further workers start from the memory of one that was set up.
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
        wears_out: bool,
        heartbeats: Heartbeats,
        forks: bool,
    ) -> None:
        self.scheduler = scheduler
        self.name = name
        self.functions = Functions(hub.mode)
        self.peers = Peers(hub, name, self.functions, setup, on_output, forks)
        self.ledger = Ledger(hub, name, self.functions, scheduler)
        self.messages = PoolMessages(hub, self.peers, scheduler.workers, self.check_open)
        self.reserve = Reserve(standby, capabilities().cores, BOOT_TIMEOUT)
        self.shut_down = False
        self.broken: BaseException | None = None
        self.tasks: dict[int, Task] = {}
        self._hub = hub
        self._link = hub.link
        self._breaks_on_loss = breaks_on_loss
        self._wears_out = wears_out
        self._heartbeats = heartbeats
        self._refusing = False
        self._warming: dict[int, Future[None]] = {}
        self._pure_calls = PureCalls()
        self._endings = Endings(grace)
        self._epoch = time.time() - time.monotonic()
        self._end_due: float | None = None
        self._workers_end = (
            scheduler.lifetime is not None or scheduler.scaling.idle_timeout is not None
        )

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
        preemptible: bool = False,
        retry_on: tuple[type[BaseException], ...] = (),
        backoff: float = 0.0,
        breaker: CircuitBreaker | None = None,
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
            id = self.functions.register(function)
            call = encode_call(function, id, args, kwargs)
            if call[2]:
                check_mode(self._hub.mode, call[2])
        except PayloadError as error:
            future.set_exception(error)
            return future
        is_pure = pure and not call[2]
        if is_pure and (known := self._pure_calls.find(call, keep)) is not None:
            self.ledger.counts.cached += 1
            return known
        if breaker is not None:
            try:
                self._guard(future, breaker, id)
            except CircuitOpen as error:
                future.set_exception(error)
                return future
        expected = self.functions.seconds.get(id)
        future.is_short = expected is not None and expected < _SHORT_SECONDS
        now = time.monotonic()
        deadline = None if timeout in (None, math.inf) else now + timeout
        self.scheduler.submitted(
            number, priority, deadline, expected, now, need, delay, retries, preemptible, backoff
        )
        self.tasks[number] = Task(future, id, call, priority, now + delay, keep, retry_on)
        if is_pure:
            self._pure_calls.remember(call, keep, future)
        self.dispatch()
        if deadline is not None:
            self._hub.remind(deadline)
        if delay:
            self._hub.remind(now + delay, self)
        self._link.flush()
        self._hub.work_inline()
        self._hub.settle()
        return future

    def _guard(self, future: Future[Any], breaker: CircuitBreaker, function: int) -> None:
        """Has a breaker let a call through, and hear what becomes of it."""
        key = self.name, function
        is_trial = breaker.enter(key, self.functions.names[function], time.monotonic())

        def leave(_: object) -> None:
            succeeded = None if future.cancelled() else future.exception(0) is None
            breaker.leave(key, succeeded, is_trial, time.monotonic())

        future.add_done_callback(leave)

    def warm_up(self) -> Future[None]:
        """Starts all workers; the future is done when all are ready."""
        number = next(_task_numbers)
        future: Future[None] = Future(self._hub, number, self._forget_warming)
        self._warming[number] = future
        self._all_warm()
        self._link.flush()
        self._hub.work_inline()
        self._hub.settle()
        return future

    def _forget_warming(self, number: int, running: bool) -> bool:
        return self._warming.pop(number, None) is not None

    def _all_warm(self) -> None:
        """Starts the workers that are waited for, and settles those who wait once all are ready."""
        if not self._warming:
            return
        now = time.monotonic()
        if (missing := self.scheduler.startable(now)) > 0:
            self._hub.remind(now + BOOT_TIMEOUT)
            if self._start(missing):
                self.dispatch()
        if self.scheduler.restarts.next_due(now) is not None:
            return
        if any(w.state is WorkerState.INITIALIZING for w in self.scheduler.workers.values()):
            return
        warm, self._warming = self._warming, {}
        for future in warm.values():
            self._hub.after(partial(future.set_result, None))

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
        elif running and number in self.tasks and not self.tasks[number].abandoned:
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
        task = self.tasks[number]
        task.abandoned = True
        task.preempted = False
        self.ledger.task_over(worker, task, outcome)
        self.scheduler.ending(number)
        self._interrupt(number, why, now)

    def _interrupt(self, number: int, why: str, now: float) -> None:
        worker = self.scheduler.holder(number)
        assert worker is not None
        self._endings.begin(number, why, now)
        self.peers.interrupt(worker, number)
        due = self._endings.next_due()
        assert due is not None
        self._hub.remind(due)

    def _withdraw(self, number: int, outcome: Outcome) -> bool:
        worker = self.scheduler.holder(number)
        if worker is not None:
            self._recall(worker)
        if not self.scheduler.cancelled(number):
            return False
        self.ledger.task_over(None, self.tasks.pop(number), outcome)
        return True

    def kill(self, number: int) -> bool:
        """Ends the worker that runs a task at once, and cancels its future if it is not settled."""
        task = self.tasks.get(number)
        if task is None:
            return False
        if self._withdraw(number, "cancelled"):  # sent, but not started
            task.future.settle_cancelled()
            self._end_if_over()
        else:
            worker = self.scheduler.holder(number)
            assert worker is not None
            self.scheduler.ending(number)
            if not task.abandoned:
                self.ledger.task_over(worker, task, "cancelled")
                task.abandoned = True
            self._lose(worker, "its task was killed", True)
            task.future.settle_cancelled()
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
            for task in list(self.tasks.values()):
                task.future.cancel()
        self._end_if_over()
        self._hub.settle()

    def end_workers(self, softly: bool) -> None:
        """Takes no more tasks and ends the workers, whatever they run.

        Args:
            softly: whether running tasks are asked to end, and have their grace period.
        """
        self.begin_shutdown(cancel_futures=True)
        running: list[Future[Any]] = []
        for number, task in list(self.tasks.items()):
            if task.abandoned:
                continue
            if self._withdraw(number, "cancelled"):
                task.future.settle_cancelled()
            else:
                running.append(task.future)
                self._abandon(number, "the pool was terminated", "cancelled", time.monotonic())
        if not softly:
            for number in self.tasks:
                self._endings.over(number)
            self.tasks.clear()
        self._end_if_over()
        self._link.flush()
        for future in running:
            error = BrokenWorkerPool("the workers of the pool were ended")
            self._hub.after(partial(future.set_exception, error))
        self._hub.settle()

    def handle(self, frame: Frame) -> None:
        """Acts on a frame of one of this pool's workers."""
        worker = frame.peer
        spare = self.reserve.workers.get(worker)
        slot = spare or self.scheduler.workers[worker]
        try:
            kind = check_kind(worker, slot.state, frame.kind)
            if kind is Kind.RESULT or kind is Kind.ERROR:
                self._finish(worker, kind is Kind.ERROR, frame)
            elif kind >= Kind.POST:
                self.messages.handle(kind, frame)
            elif kind is Kind.PROGRESS:
                task = self.tasks[self._task_of(worker, frame)]
                done, total, message = self.peers.decode(frame)
                if not task.abandoned:
                    self._hub.after(partial(task.future.report, done, total, message))
                    self.ledger.task_progressed(worker, task, (done, total, message))
            elif kind is Kind.PARKED:
                number = self._task_of(worker, frame)
                if number in slot.parked:
                    raise ProtocolError(f"worker {worker} parked task {frame.id} twice")
                self.tasks[number].is_parked = True
                self.scheduler.parked(worker, number, time.monotonic())
                self._next_runs(worker)
            elif kind is Kind.OUTPUT:
                self.peers.print(frame)
            elif kind is Kind.RETAIN:
                self.peers.retain(worker, frame.id)
            elif kind is Kind.RELEASE:
                # After the result that may be or hold what is released.
                self._hub.after(partial(self.peers.release, worker, frame.id))
            elif kind is Kind.READY:
                self._worker_ready(worker, frame)
            elif kind is Kind.MISSING:
                self.peers.send_module(frame)
            elif kind is Kind.PONG:
                self._heartbeats.heard(worker)
            elif kind is Kind.SETUP_FAILED:
                self._setup_failed(worker, frame)
            else:
                self._lose(worker, str(frame.payload, "utf-8", "replace"))
        except ProtocolError as error:
            self._lose(worker, str(error))
        except Exception as error:
            self._lose(worker, f"what it sent cannot be read: {type(error).__name__}: {error}")

    def _worker_ready(self, worker: int, frame: Frame) -> None:
        now = time.monotonic()
        spare = self.reserve.workers.get(worker)
        created = (spare or self.scheduler.workers[worker]).created
        if spare is None:
            self.scheduler.worker_ready(worker, now)
            self._hub.after(self._all_warm)
            self.ledger.worker_ready(worker)
        else:
            self.reserve.worker_ready(worker)
        if self._heartbeats.every is not None:
            self._hub.remind(now + self._heartbeats.every)
        measured = self.peers.decode(frame) if len(frame.payload) else None
        if measured is not None:
            note_worker(worker, measured, (now - created) * 1000)
        if (fork := self.peers.fork) is not None and measured is not None:
            fork.worker_ready(measured)
            self._hub.after(self._begin_fork)

    def _begin_fork(self) -> None:
        """Has further workers start from what is set up: once none is starting otherwise."""
        slots = [*self.scheduler.workers.values(), *self.reserve.workers.values()]
        if slots and not any(slot.state is WorkerState.INITIALIZING for slot in slots):
            assert self.peers.fork is not None
            self.peers.fork.begin()
            self._link.flush()

    def tick(self, now: float) -> float | None:
        """Ends what is overdue; returns when the next thing is due."""
        for number in self.scheduler.expired(now):
            task = self.tasks[number]
            if task.abandoned:
                continue
            if self._withdraw(number, "timed_out"):
                self._end_if_over()
            else:
                self._abandon(number, "its timeout was over", "timed_out", now)
            self._fail(task, TimeoutError("the task was not done within its timeout"))
        self._end_abandoned(now)
        due = self._look_for_life(now)
        for slot in list(self.scheduler.workers.values()):
            if slot.number in self.scheduler.workers and slot.state is WorkerState.INITIALIZING:
                if slot.created + BOOT_TIMEOUT <= now:
                    self._lose(slot.number, f"it was not ready after {BOOT_TIMEOUT:.0f} s")
                else:
                    due.append(slot.created + BOOT_TIMEOUT)
        for worker in self.scheduler.stuck(now):
            self._recall(worker)
        self.scheduler.release(now)
        if not self.shut_down:
            self._all_warm()
        for worker in self.scheduler.surplus(now):
            self._end_worker(worker)
        self._end_due = None
        answer_due = self.messages.messenger.tick(now)
        self.dispatch()
        self._hub.settle()
        alone = (self.scheduler.next_release(), self.scheduler.restarts.next_due(now))
        for when in alone:  # there may be no worker that brings this pool back
            if when is not None:
                self._hub.remind(when, self)
        if not self.reserve.asleep and (again := self._keep_reserve(now)) is not None:
            due.append(again)
        due += [
            when
            for when in (
                self.scheduler.next_deadline(),
                self.scheduler.next_stuck(),
                self.scheduler.next_surplus(),
                self._endings.next_due(),
                answer_due,
                *alone,
            )
            if when is not None
        ]
        return min(due, default=None)

    def _look_for_life(self, now: float) -> list[float]:
        """Ends workers that gave no sign of life; returns when to look again, if ever."""
        if self._heartbeats.every is None or not self.scheduler.workers:
            return []
        look = self._heartbeats.look(now, self.scheduler.workers.values(), self._link.pulse)
        for worker in look.ask:
            self.peers.ping(worker)
        for worker, seconds in look.lost:
            if worker in self.scheduler.workers:  # the first one may have broken the pool
                self._lose(worker, f"it gave no sign of life for {seconds:.1f} s")
        due = self._heartbeats.next_due()
        return [] if due is None else [due]

    def _end_abandoned(self, now: float) -> None:
        """Asks tasks again that shall end, and ends the workers of those that had their time."""
        for number in self._endings.asked_again(now):
            worker = self.scheduler.holder(number)
            assert worker is not None
            self.peers.interrupt_again(worker, number)
        for number, why in self._endings.overdue(now):
            worker = self.scheduler.holder(number)
            if worker is None:  # its worker has just been ended for another task
                continue
            slot = self.scheduler.workers[worker]
            if number in slot.parked and slot.held and self._recall_known(worker):
                # A coroutine that could not hear of it, because a function runs beside it.
                self._endings.postpone(number, now)
            else:
                self._lose(worker, why, True)

    def _recall_known(self, worker: int) -> bool:
        """Says whether a worker is known to run a function, beside the coroutines it awaits."""
        return self.scheduler.can_take_back and self._recall(worker) > 0

    def _recall(self, worker: int) -> int:
        """Takes back what a worker has not started; returns how many of its tasks it has."""
        held = len(self.scheduler.workers[worker].held)
        if not held:
            return 0  # and one that is starting stays so: its loss counts as a failed start
        started = self.peers.recall(worker, held)
        if started is None:
            return held
        for number in self.scheduler.taken_back(worker, started):
            self.tasks[number].future.wait_again()
        return started

    def dispatch(self) -> None:
        """Sends tasks to workers that have room, and starts workers that are missing."""
        if self.scheduler.has_choice:
            self._do_as_decided()
        if self.scheduler.preemptible and self.scheduler.queued:
            self._preempt()
        if self._workers_end and (self._end_due is None or self.scheduler.has_over):
            self._end_due = self.scheduler.next_surplus()
            if self._end_due is not None:
                self._hub.remind(self._end_due)

    def _do_as_decided(self) -> None:
        try:
            decision = self.scheduler.decide(time.monotonic())
        except Exception as error:  # of a policy that is not ours
            self._break(error)
            return
        environment = self.peers.look() if decision.assign else 0
        for worker, number in decision.assign:
            task = self.tasks[number]
            flags = task.priority | KEEP if task.keep else task.priority
            since = task.since + self._epoch
            self.peers.send_task(
                worker, number, task.function, task.call, flags, since, environment
            )
            if self.scheduler.workers[worker].held[0] == number:
                self.ledger.task_started(worker, task)
        if decision.start:
            self._hub.remind(time.monotonic() + BOOT_TIMEOUT)
            if self._start(decision.start):
                self.dispatch()
        elif (when := self.scheduler.next_stuck()) is not None:
            self._hub.remind(when)
        if self.reserve.asleep and self.reserve.size:
            self.reserve.asleep = False
            self._hub.remind(time.monotonic() + QUIET_SECONDS)

    def _preempt(self) -> None:
        """Has a task make room for one of higher priority, if it declared that it would."""
        number = self.scheduler.preempt()
        if number is not None:
            self.tasks[number].preempted = True
            self._interrupt(number, "it was preempted", time.monotonic())
            self._link.flush()

    def _start(self, count: int) -> bool:
        """Gets workers, from the reserve if there are any; returns whether one is ready."""
        is_ready = False
        for _ in range(count):
            self.ledger.counts.workers_started += 1
            spare = self.reserve.take()
            if spare is None:
                self.scheduler.worker_started(self.peers.spawn(self), time.monotonic())
                continue
            self.scheduler.worker_started(spare.number, spare.created)
            self._hub.remind(time.monotonic() + QUIET_SECONDS)
            if spare.state is WorkerState.IDLE:
                self.scheduler.worker_ready(spare.number, time.monotonic())
                is_ready = True
        return is_ready

    def _keep_reserve(self, now: float) -> float | None:
        """Starts or ends workers in reserve; returns when to be called again."""
        plan = self.reserve.plan(now, self.scheduler.workers.values())
        for worker in plan.end:
            self._end_spare(worker)
        if plan.start and not self.shut_down and self.broken is None:
            for _ in range(plan.start):
                self.reserve.started(self.peers.spawn(self), now)
        return plan.due

    def _end_spare(self, worker: int, failed: bool = False) -> None:
        self.reserve.lost(worker, failed)
        self._close(worker, "it was not needed any more")

    def _next_runs(self, worker: int) -> None:
        """The worker has begun the next task that it holds."""
        held = self.scheduler.workers[worker].held
        if held:
            self.ledger.task_started(worker, self.tasks[held[0]])

    def _task_of(self, worker: int, frame: Frame) -> int:
        slot = self.scheduler.workers[worker]
        if slot.held and slot.held[0] & 0xFFFFFFFF == frame.id:
            return slot.held[0]
        for number in slot.parked:
            if number & 0xFFFFFFFF == frame.id:
                return number
        raise ProtocolError(f"worker {worker} spoke of task {frame.id}, which it does not run")

    def _finish(self, worker: int, failed: bool, frame: Frame) -> None:
        number = self._task_of(worker, frame)
        task = self.tasks[number]
        if not task.abandoned:
            self.functions.took(task.function, frame.number)
        data, buffers = self.peers.read(frame)
        held = self._hub.store.let_go(worker, frame.id)
        if task.preempted and failed:
            self._run_again(worker, number, task)
            return
        now = time.monotonic()
        again = failed and bool(task.retry_on) and self._is_retried(number, task, data, buffers)
        if again:
            self.ledger.task_retried(task, frame.number)
            task.since = self.scheduler.failed(worker, number, now)
            self._waits_again(number, task)
            self._await_release()
        elif frame.flags & KEEP:
            # At once: bytes that are still the worker's are freed when it ends.
            store = self.peers.arena_store()
            kept = adopt(self._hub.mode, store, worker, _codec.decode(data))
            self._hub.after(partial(self._settle_with, task, kept))
        elif task.abandoned:
            self._hub.after(self._end_if_over)
        elif task.keep and not failed:
            self._hub.after(partial(self._settle_kept, task, data, buffers))
        else:
            self._hub.after(partial(self._settle, task, failed, data, buffers, held))
        if not again:
            self.ledger.task_finished(worker, task, failed, frame.number, now)
            self.scheduler.finished(worker, number, now)
            del self.tasks[number]
            self._endings.over(number)
        if self._wears_out:
            self._wear(worker, failed and not task.abandoned, bool(frame.flags & FULL))
        self._next_runs(worker)

    def _is_retried(self, number: int, task: Task, data: bytes, buffers: Buffers) -> bool:
        """Says whether a task that raised is run again."""
        if task.abandoned or self._refusing or not self.scheduler.may_retry(number):
            return False
        return is_retried(error_of(data, buffers), task.retry_on)

    def _wear(self, worker: int, failed: bool, is_full: bool) -> None:
        """Ends a worker that has done all that it may, once nothing is left to do in it.

        Args:
            worker: that has finished a task.
            failed: whether that raised.
            is_full: whether its heap is over the limit.
        """
        scheduler = self.scheduler
        if failed:
            scheduler.raised(worker)
        if is_full:
            scheduler.use_up(worker)
        if scheduler.workers[worker].is_over:
            self._recall(worker)
        if scheduler.is_used_up(worker):
            self._hub.after(partial(self._retire, worker))

    def _await_release(self) -> None:
        """Has this pool come back when a task that waits to be run again has waited."""
        release = self.scheduler.next_release()
        if release is not None:
            self._hub.remind(release, self)

    def _run_again(self, worker: int, number: int, task: Task) -> None:
        """A task has made room for another; what it raised for that is of no interest."""
        self._waits_again(number, task)
        self.peers.run_again(worker)
        self.scheduler.left(worker, number, time.monotonic())
        self._next_runs(worker)

    def _waits_again(self, number: int, task: Task) -> None:
        self.ledger.counts.preempted += task.preempted
        task.preempted = task.is_parked = False
        task.future.wait_again()
        self._endings.over(number)

    def _retire(self, worker: int) -> None:
        if worker in self.scheduler.workers:
            self._end_worker(worker)
            self.dispatch()

    def _settle_with(self, task: Task, value: object) -> None:
        if not task.abandoned:
            task.future.set_result(value)
        self._end_if_over()

    def _settle_kept(self, task: Task, data: bytes, buffers: Buffers) -> None:
        views = [memoryview(part) for part in buffers]
        try:
            kept = keep(self._hub.mode, (data, views, ()))
        except Exception as error:
            self._fail(task, error)
        else:
            self._settle_with(task, kept)

    def _settle(
        self, task: Task, failed: bool, data: bytes, buffers: Buffers, held: tuple[Handle, ...]
    ) -> None:
        # The task and what the worker held are held on to, as the result may name parts of them.
        settle(task.future, failed, data, buffers)
        if self.shut_down:
            self._end_if_over()

    def _setup_failed(self, worker: int, frame: Frame) -> None:
        error = remote_error(self.peers.decode(frame))
        if worker in self.reserve.workers:
            self._end_spare(worker, failed=True)
            return
        self.scheduler.setup_failed(worker, str(error))
        self._break(error)

    def _lose(self, worker: int, reason: str, on_purpose: bool = False) -> None:
        """Ends a worker, if it has not ended, and fails what it ran.

        Args:
            worker: its number.
            reason: why, for the message of WorkerLost.
            on_purpose: whether it is ended because of a task that would not end by itself.
        """
        if worker in self.reserve.workers:
            self._end_spare(worker, failed=True)
            return
        started = self._recall(worker)
        self._close(worker, reason)
        self.ledger.worker_lost(worker, reason)
        now = time.monotonic()
        lost = self.scheduler.worker_lost(worker, reason, started, now=now)
        self._await_release()
        for number in lost.requeued:
            self._waits_again(number, self.tasks[number])
        for number in lost.started:
            task = self.tasks.pop(number)
            self._endings.over(number)
            if not task.abandoned:
                self._fail(task, WorkerLost(worker, number, reason))
                self.ledger.task_over(worker, task, "lost")
        if self._breaks_on_loss and not on_purpose and not self.shut_down:
            self.scheduler.broken = f"worker {worker} died: {reason}"
        elif not on_purpose:
            self.scheduler.crashed(reason, now)
            if (due := self.scheduler.restarts.next_due(now)) is not None:
                self._hub.remind(due, self)
        if self.scheduler.broken is not None and self.broken is None:
            self._break(BrokenWorkerPool(self.scheduler.broken))
        elif self.broken is None and not self.shut_down:
            self._all_warm()
        self._end_if_over()

    def _fail(self, task: Task, error: BaseException) -> None:
        self._hub.after(partial(task.future.set_exception, error))

    def _break(self, cause: BaseException) -> None:
        """Fails every task and ends every worker: nothing can be run any more."""
        self.broken = cause
        tasks, self.tasks = self.tasks, {}
        for number in tasks:
            self.scheduler.cancelled(number)
        self._end_workers()
        for number, task in tasks.items():
            self._endings.over(number)
            if not task.abandoned:
                self._fail(task, self._broken_error())
        warm, self._warming = self._warming, {}
        for future in warm.values():
            self._hub.after(partial(future.set_exception, self._broken_error()))

    def _end_if_over(self) -> None:
        if self.shut_down and not self.tasks:
            self._end_workers()

    def _end_workers(self) -> None:
        for worker in list(self.scheduler.workers):
            self._end_worker(worker)
        for worker in list(self.reserve.workers):
            self._end_spare(worker)
        if self.peers.fork is not None:
            self.peers.fork.end()
        if self.broken is None:
            for future in list(self._warming.values()):
                self._hub.after(future.cancel)

    def _end_worker(self, worker: int) -> None:
        """Ends a worker whose tasks, if it has any, are settled."""
        held = len(self.scheduler.workers[worker].held)
        self._close(worker, self._why_ended())
        self.ledger.worker_ended(worker)
        self.scheduler.worker_lost(worker, "it was not needed any more", held, may_retry=False)

    def _why_ended(self) -> str:
        if self.broken is not None:
            return "the pool is broken"
        return "the pool was shut down" if self.shut_down else "it was not needed any more"

    def _close(self, worker: int, reason: str) -> None:
        slot = self.scheduler.workers.get(worker)
        if slot is not None:
            self.ledger.worker_gone(slot)
        self.peers.close(worker)
        self.messages.lost(worker, reason)
