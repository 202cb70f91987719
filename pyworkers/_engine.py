"""What makes a pool go: it does what the scheduler decides, and settles futures.

Owns the outstanding tasks, and what a lost worker means for them. The decisions are the
scheduler's, the waiting is the hub's, what workers are told the peers', their start and end the
crew's, how tasks end early the stops'; arguments are checked above. The flow, with the writer of
each queue::

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
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

from pyworkers import _codec
from pyworkers._backoff import is_retried
from pyworkers._breaker import CircuitBreaker
from pyworkers._codec import Encoded
from pyworkers._crew import Crew
from pyworkers._functions import Functions, PureCalls, encode_call
from pyworkers._futures import Future
from pyworkers._heartbeat import Heartbeats
from pyworkers._hub import Hub
from pyworkers._lanes import Need
from pyworkers._ledger import Ledger
from pyworkers._outcomes import Outcomes
from pyworkers._output import Output
from pyworkers._peers import Peers
from pyworkers._pool_messages import PoolMessages
from pyworkers._protocol import FULL, KEEP, Frame, Kind, check_kind
from pyworkers._records import Task
from pyworkers._results import chained, error_of, remote_error
from pyworkers._scheduler import Scheduler
from pyworkers._statistics import Asked
from pyworkers._stops import Stops
from pyworkers._store import Buffers, adopt, check_mode
from pyworkers.errors import BrokenWorkerPool, CircuitOpen, PayloadError, ProtocolError, WorkerLost

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
        self.ledger = Ledger(hub, name, self.functions, scheduler, self.peers)
        self.messages = PoolMessages(
            hub, self.peers, scheduler.workers, self.check_open, heartbeats.told
        )
        self.shut_down = False
        self.broken: BaseException | None = None
        self.tasks: dict[int, Task] = {}
        self.crew = Crew(
            self,
            hub,
            scheduler,
            self.peers,
            self.ledger,
            self.messages,
            heartbeats,
            standby,
            self._lose,
        )
        self._stops = Stops(hub, scheduler, self.peers, self.ledger, self.tasks, grace, self._lose)
        self._outcomes = Outcomes(hub, name, self._end_if_over)
        self._hub = hub
        self._link = hub.link
        self._let_go = hub.store.let_go if hub.mode == "inline" else None
        self._breaks_on_loss = breaks_on_loss
        self._wears_out = wears_out
        self._refusing = False
        self._pure_calls = PureCalls()
        self._epoch = self.ledger.records.epoch
        self._end_due: float | None = None
        self._look_due: float | None = None
        scaler = scheduler.scaler
        limits = scheduler.lifetime, scaler.idle_timeout, scaler.scaling
        self._changes_size = limits != (None, None, None)

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
        judged: int | None = None,
        asked: Asked | None = None,
    ) -> Future[Any]:
        """Encodes and queues a call; what cannot be run fails its future.

        The arguments are those of ``submit_with``, but for ``judged``: number of the function that
        the breaker judges, None if that is the one which is called; and ``asked``: what is told of
        the task of those arguments, None if nothing was asked.
        """
        number = next(_task_numbers)
        future: Future[Any] = Future(self._hub, number, self.take_back)
        if self._refusing:
            future.settle_cancelled()
            return future
        if self.broken is not None:
            future.set_exception(self._broken_error())
            return future
        now = time.monotonic()
        try:
            id = self.functions.register(function)
            if self.functions.is_crowded:
                self._forget_functions(id if judged is None else judged)
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
        if breaker is not None and breaker.circuits:
            subject = id if judged is None else judged
            try:
                # That of a map whose calls were all done may be forgotten.
                name = self.functions.names.get(subject, "a function")
                if not self._outcomes.admitted(future, breaker, subject, name, now):
                    breaker = None
            except CircuitOpen as error:
                future.set_exception(error)
                return future
        expected = self.functions.seconds.get(id)
        if expected is not None and expected < _SHORT_SECONDS:
            future.is_short = True
        deadline = None if timeout is None or timeout == math.inf else now + timeout
        self._hub.busy += 1
        try:
            self.scheduler.submitted(
                number,
                priority,
                deadline,
                expected,
                now,
                need,
                delay,
                retries,
                preemptible,
                backoff,
            )
            task = Task(future, id, call, priority, now + delay, keep, retry_on, asked)
            if breaker is not None:
                task.breaker, task.judged = breaker, id if judged is None else judged
            self.tasks[number] = task
            if is_pure:
                self._pure_calls.remember(call, keep, future)
            if need is not None:
                self._fail_hopeless(now)
            self.dispatch()
            if deadline is not None:
                self._hub.remind(deadline)
            if delay:
                self._hub.remind(now + delay, self)
            self._link.flush()
        finally:
            self._hub.busy -= 1
        self._hub.work_inline()
        self._hub.settle()
        return future

    def _forget_functions(self, wanted: int) -> None:
        """Has functions forgotten that no task needs, nor what is told of tasks."""
        used = {wanted} | {
            id for task in self.tasks.values() for id in (task.function, task.judged)
        }
        used |= self.ledger.records.functions()
        for id in self.functions.forget(used):
            self.peers.forget_function(id)

    def _fail_hopeless(self, now: float) -> None:
        """Fails what no worker can do that is left, where those that were lost are not replaced."""
        for number in self.scheduler.hopeless(now):
            task = self.tasks[number]
            self._stops.withdraw(number, "lost")
            text = "no worker is left with the capabilities of this task, and none will be started"
            self._outcomes.fail(task, BrokenWorkerPool(text))
            self._hub.after(self._end_if_over)

    def warm_up(self) -> Future[None]:
        """Starts all workers; the future is done when all are ready."""
        with self._undisturbed():
            future = self.crew.warm_up(next(_task_numbers))
        self._hub.work_inline()
        self._hub.settle()
        return future

    @contextmanager
    def _undisturbed(self) -> Iterator[None]:
        """Flushes at its end; what the collector asks for meanwhile waits for ``settle``."""
        self._hub.busy += 1
        try:
            yield
            self._link.flush()
        finally:
            self._hub.busy -= 1

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
        with self._undisturbed():
            forgotten = self._stops.withdraw(number, "cancelled")
            if forgotten:
                self._end_if_over()
            elif running and number in self.tasks and not self.tasks[number].abandoned:
                self._stops.abandon(number, "it was cancelled", "cancelled", time.monotonic())
                forgotten = True
            self.dispatch()
        self._hub.look_again()
        self._hub.settle()
        return forgotten

    def kill(self, number: int) -> bool:
        """Ends the worker that runs a task at once, and cancels its future if it is not settled."""
        task = self.tasks.get(number)
        if task is None:
            return False
        is_settled = task.abandoned  # now or soon
        with self._undisturbed():
            if self._stops.withdraw(number, "cancelled"):  # sent, but not started
                self._end_if_over()
            else:
                worker = self.scheduler.holder(number)
                assert worker is not None
                self.scheduler.ending(number)
                if not is_settled:
                    self.ledger.task_over(worker, task, "cancelled")
                    task.abandoned = True
                self._lose(worker, "its task was killed", True)
            self.dispatch()
        if not is_settled:
            task.future.settle_cancelled()
        self._hub.look_again()
        self._hub.settle()
        return task.future.cancelled()

    def begin_shutdown(self, cancel_futures: bool) -> None:
        """Takes no more tasks; the workers end with the last one."""
        self.shut_down = True
        self.scheduler.staffing.closing()
        self._refusing = self._refusing or cancel_futures
        if cancel_futures:
            for task in list(self.tasks.values()):
                task.future.cancel()
        with self._undisturbed():
            self._end_if_over()
        self._hub.settle()

    def end_workers(self, softly: bool) -> None:
        """Takes no more tasks and ends the workers, whatever they run.

        Args:
            softly: whether running tasks are asked to end, and have their grace period.
        """
        self.begin_shutdown(cancel_futures=True)
        running: list[Task] = []
        with self._undisturbed():
            for number, task in list(self.tasks.items()):
                if task.abandoned:
                    continue
                if self._stops.withdraw(number, "cancelled"):
                    self._hub.after(task.future.settle_cancelled)
                else:
                    running.append(task)
                    self._stops.abandon(
                        number, "the pool was terminated", "cancelled", time.monotonic()
                    )
            if not softly:
                for number in self.tasks:
                    self._stops.over(number)
                self.tasks.clear()
            self._end_if_over()
        for task in running:
            self._outcomes.fail(task, BrokenWorkerPool("the workers of the pool were ended"))
        self._hub.settle()

    def handle(self, frame: Frame) -> None:
        """Acts on a frame of one of this pool's workers."""
        worker = frame.peer
        slot = self.crew.reserve.workers.get(worker) or self.scheduler.workers[worker]
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
                self.tasks[number].began = slot.last_used
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
                self.crew.ready(worker, frame)
            elif kind is Kind.MISSING:
                self.peers.send_module(frame)
            elif kind is Kind.PONG:
                self.crew.heartbeats.heard(worker)
                self.peers.answered(worker, frame.id)
            elif kind is Kind.SETUP_FAILED:
                self._setup_failed(worker, frame)
            else:
                self._lose(worker, str(frame.payload, "utf-8", "replace"))
        except ProtocolError as error:
            self._lose(worker, str(error))
        except Exception as error:
            self._lose(worker, f"what it sent cannot be read: {type(error).__name__}: {error}")

    def tick(self, now: float) -> float | None:
        """Ends what is overdue; returns when the next thing is due."""
        with self._undisturbed():
            due = self._do_what_is_due(now)
        self._hub.settle()
        return due

    def _do_what_is_due(self, now: float) -> float | None:
        for number in self.scheduler.expired(now):
            task = self.tasks[number]
            if task.abandoned:
                continue
            if self._stops.withdraw(number, "timed_out"):
                self._end_if_over()
            else:
                self._stops.abandon(number, "its timeout was over", "timed_out", now)
            self._outcomes.fail(task, TimeoutError("the task was not done within its timeout"))
        self._stops.tick(now)
        due = self.crew.tick(now)
        for worker in self.scheduler.stuck(now):
            self._stops.recall(worker)
        self.scheduler.release(now)
        if not self.shut_down:
            self.crew.all_warm()
        if count := self.scheduler.look(now):
            self.crew.start(count)
        if not self.crew.is_warming:
            for worker in self.scheduler.surplus(now):
                self.crew.end(worker, self._why_ended())
        self._end_due = self._look_due = None
        answer_due = self.messages.messenger.tick(now)
        self.dispatch()
        alone = (self.scheduler.next_release(), self.scheduler.restarts.next_due(now))
        for when in alone:  # there may be no worker that brings this pool back
            if when is not None:
                self._hub.remind(when, self)
        is_open = not self.shut_down and self.broken is None
        due += [
            when
            for when in (
                self.scheduler.next_deadline(),
                self.scheduler.next_stuck(),
                None if self.crew.is_warming else self.scheduler.next_surplus(),
                self._look_due,
                self.crew.keep_reserve(now, is_open),
                self._stops.endings.next_due(),
                answer_due,
                *alone,
            )
            if when is not None
        ]
        return min(due, default=None)

    def dispatch(self) -> None:
        """Sends tasks to workers that have room, and starts workers that are missing."""
        if self.scheduler.has_choice:
            self._do_as_decided()
        preemptible = self.scheduler.preemptible and self.scheduler.queued
        if preemptible and self._stops.preempt(time.monotonic()):
            self._link.flush()
        if self._changes_size:
            self._await_change()

    def _await_change(self) -> None:
        """Has this pool come back when workers may end, or others are to be started."""
        if not self.crew.is_warming and (self._end_due is None or self.scheduler.has_over):
            self._end_due = self.scheduler.next_surplus()
            if self._end_due is not None:
                self._hub.remind(self._end_due)
        if self._look_due is None:
            self._look_due = self.scheduler.next_look()
            if self._look_due is not None:
                self._hub.remind(self._look_due)

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
            if self.crew.start(decision.start):
                self.dispatch()
        elif (when := self.scheduler.next_stuck()) is not None:
            self._hub.remind(when)
        self.crew.wake_reserve()

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
        held = self._let_go(worker, frame.id) if self._let_go is not None else ()
        if task.preempted and failed:
            self._run_again(worker, number, task)
            return
        now = time.monotonic()
        cause = None
        if failed and task.retry_on:
            cause = self._cause_to_retry(number, task, data, buffers)
        if cause is not None:
            self.ledger.task_failed(task, frame.number)
            assert task.asked is not None
            if task.asked.first is None:
                task.asked = task.asked._replace(first=task.since)
            task.since = self.scheduler.failed(worker, number, now)
            self._waits_again(number, task)
            self._tell_retried(worker, number, task, frame.number, cause)
            self._await_release()
        elif frame.flags & KEEP:
            # At once: bytes that are still the worker's are freed when it ends.
            store = self.peers.arena_store()
            kept = adopt(self._hub.mode, store, worker, _codec.decode(data))
            self._outcomes.is_value(task, kept)
        elif task.abandoned:
            self._hub.after(self._end_if_over)
        elif task.keep and not failed:
            self._outcomes.came_to_be_kept(task, data, buffers)
        else:
            self._outcomes.came(task, failed, data, buffers, held)
        if cause is None:
            self.ledger.task_finished(worker, task, failed, frame.number, now)
            self.scheduler.finished(worker, number, now)
            del self.tasks[number]
            self._stops.over(number)
        slot = self.scheduler.workers[worker]
        if self._wears_out and (failed or slot.is_over or not slot.held or frame.flags & FULL):
            self._wear(worker, failed and not task.abandoned, bool(frame.flags & FULL))
        if slot.held:
            self.ledger.task_started(worker, self.tasks[slot.held[0]])

    def _cause_to_retry(
        self, number: int, task: Task, data: bytes, buffers: Buffers
    ) -> BaseException | None:
        """Returns what a task has raised, if it is run again because of that."""
        if task.abandoned or self._refusing or not self.scheduler.may_retry(number):
            return None
        error = error_of(data, buffers)
        return error if is_retried(error, task.retry_on) else None

    def _tell_retried(
        self, worker: int, number: int, task: Task, seconds: float | None, why: BaseException | str
    ) -> None:
        """Tells who listens that a task is run again, if it is."""
        attempt, delay = self.scheduler.tries(number)
        asked = task.asked
        if asked is not None and attempt > asked.retried:
            task.asked = asked._replace(retried=attempt)
            self.ledger.task_retried(worker, task, seconds, why, attempt, delay)

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
            self._stops.recall(worker)
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
        task.began = None
        task.future.wait_again()
        self._stops.over(number)

    def _retire(self, worker: int) -> None:
        if worker in self.scheduler.workers:
            self.crew.end(worker, self._why_ended())
            self.dispatch()

    def _setup_failed(self, worker: int, frame: Frame) -> None:
        error = remote_error(self.peers.decode(frame))
        if worker in self.crew.reserve.workers:
            self.crew.end_spare(worker, failed=True)
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
        if worker in self.crew.reserve.workers:
            self.crew.end_spare(worker, failed=True)
            return
        started = self._stops.recall(worker)
        self.crew.close(worker, reason, not on_purpose)
        self.ledger.worker_lost(worker, reason)
        now = time.monotonic()
        slot = self.scheduler.workers[worker]
        if started:
            self.tasks[slot.held[0]].began = slot.last_used
        lost = self.scheduler.worker_lost(worker, reason, started, now=now)
        self._await_release()
        for number in lost.requeued:
            task = self.tasks[number]
            self._waits_again(number, task)
            self._tell_retried(worker, number, task, None, reason)
        for number in lost.started:
            task = self.tasks.pop(number)
            self._stops.over(number)
            if not task.abandoned:
                self._outcomes.fail(task, WorkerLost(worker, number, reason))
                self.ledger.task_over(worker, task, "lost")
        if self._breaks_on_loss and not on_purpose and not self.shut_down:
            self.scheduler.broken = f"worker {worker} died: {reason}"
        elif not on_purpose:
            self.scheduler.crashed(reason, now)
            if (due := self.scheduler.restarts.next_due(now)) is not None:
                self._hub.remind(due, self)
        if self.scheduler.broken is not None and self.broken is None:
            self._break(BrokenWorkerPool(self.scheduler.broken))
        elif self.broken is None:
            if not self.shut_down:
                self.crew.all_warm()
            self._fail_hopeless(now)
        self._end_if_over()

    def _break(self, cause: BaseException) -> None:
        """Fails every task and ends every worker: nothing can be run any more."""
        self.broken = cause
        tasks = dict(self.tasks)
        self.tasks.clear()
        for number in tasks:
            self.scheduler.cancelled(number)
        self.crew.end_all(self._why_ended(), self._broken_error)
        for number, task in tasks.items():
            self._stops.over(number)
            if not task.abandoned:
                self.ledger.task_over(None, task, "failed")
                self._outcomes.fail(task, self._broken_error())

    @property
    def leaving(self) -> int:
        """How many tasks are over but for that their workers have not heard of it."""
        asked = (self.tasks.get(number) for number in self._stops.endings.tasks)
        return sum(task is not None and task.abandoned for task in asked)

    def _end_if_over(self) -> None:
        if self.shut_down and not self.tasks:
            self.crew.end_all(self._why_ended(), self._broken_error if self.broken else None)

    def _why_ended(self) -> str:
        if self.broken is not None:
            return "the pool is broken"
        return "the pool was shut down" if self.shut_down else "it was not needed any more"
