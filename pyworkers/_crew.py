"""The workers of a pool: how they start, whether they live, and how they end.

Owns those in reserve, those that are waited for, and the looks at whether they live. What becomes
of the tasks of one that is gone is the engine's.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from pyworkers._boot_report import note_worker
from pyworkers._env import capabilities
from pyworkers._futures import Future
from pyworkers._heartbeat import Heartbeats
from pyworkers._hub import Handler, Hub
from pyworkers._ledger import Ledger
from pyworkers._peers import Peers
from pyworkers._pool_messages import PoolMessages
from pyworkers._protocol import Frame, WorkerState
from pyworkers._scheduler import Scheduler
from pyworkers._standby import QUIET_SECONDS, Reserve
from pyworkers._stops import Lose

BOOT_TIMEOUT: Final = 120.0
"""Seconds after which a worker that is not ready counts as one that did not start."""


class Crew:
    """The workers of one pool.

    Args:
        handler: gets their frames.
        hub: where they come from.
        scheduler: knows what they do.
        peers: talks to them.
        ledger: writes down what becomes of them.
        messages: with them.
        heartbeats: judges whether they live.
        standby: how many to hold in reserve.
        lose: ends one whose tasks are to fail.
    """

    def __init__(
        self,
        handler: Handler,
        hub: Hub,
        scheduler: Scheduler,
        peers: Peers,
        ledger: Ledger,
        messages: PoolMessages,
        heartbeats: Heartbeats,
        standby: int,
        lose: Lose,
    ) -> None:
        self.reserve = Reserve(standby, capabilities().cores, BOOT_TIMEOUT)
        self.heartbeats = heartbeats
        self._handler = handler
        self._hub = hub
        self._scheduler = scheduler
        self._peers = peers
        self._ledger = ledger
        self._messages = messages
        self._lose = lose
        self._warming: dict[int, Future[None]] = {}

    def start(self, count: int) -> bool:
        """Gets workers, from the reserve if there are any; returns whether one is ready."""
        is_ready = False
        self._hub.remind(time.monotonic() + BOOT_TIMEOUT)
        for _ in range(count):
            self._ledger.counts.workers_started += 1
            spare = self.reserve.take()
            if spare is None:
                number = self._peers.spawn(self._handler)
                self._scheduler.worker_started(number, time.monotonic())
                continue
            self._scheduler.worker_started(spare.number, spare.created)
            self._hub.remind(time.monotonic() + QUIET_SECONDS)
            if spare.state is WorkerState.IDLE:
                self._scheduler.worker_ready(spare.number, time.monotonic())
                self._ledger.worker_ready(spare.number)
                is_ready = True
        return is_ready

    def ready(self, worker: int, frame: Frame) -> None:
        """A worker has said that it can run tasks."""
        now = time.monotonic()
        spare = self.reserve.workers.get(worker)
        created = (spare or self._scheduler.workers[worker]).created
        self._peers.ready(worker)
        if spare is None:
            self._scheduler.worker_ready(worker, now)
            self._hub.after(self.all_warm)
            self._ledger.worker_ready(worker)
        else:
            self.reserve.worker_ready(worker)
        if self.heartbeats.every is not None:
            self._hub.remind(now + self.heartbeats.every)
        if not len(frame.payload):
            return
        measured = self._peers.decode(frame)
        note_worker(worker, measured, (now - created) * 1000)
        if self._peers.fork is not None:
            self._peers.fork.worker_ready(measured)
            self._hub.after(self._begin_fork)

    def _begin_fork(self) -> None:
        """Has further workers start from what is set up: once none is starting otherwise."""
        slots = [*self._scheduler.workers.values(), *self.reserve.workers.values()]
        if slots and not any(slot.state is WorkerState.INITIALIZING for slot in slots):
            assert self._peers.fork is not None
            self._peers.fork.begin()
            self._hub.link.flush()

    @property
    def is_warming(self) -> bool:
        """Whether somebody waits for all workers to be ready: until then none is too many."""
        return bool(self._warming)

    def warm_up(self, number: int) -> Future[None]:
        """Starts all workers.

        Args:
            number: of a task that is not one.

        Returns:
            A future that is done when all are ready.
        """
        future: Future[None] = Future(self._hub, number, self._forget_warming)
        self._warming[number] = future
        self.all_warm()
        return future

    def _forget_warming(self, number: int, running: bool) -> bool:
        return self._warming.pop(number, None) is not None

    def all_warm(self) -> None:
        """Starts the workers that are waited for, and settles those who wait once all are ready."""
        if not self._warming:
            return
        now = time.monotonic()
        missing = self._scheduler.staffing.startable(now)
        if missing > 0 and self.start(missing):
            self._handler.dispatch()
        if self._scheduler.restarts.next_due(now) is not None:
            return
        if any(w.state is WorkerState.INITIALIZING for w in self._scheduler.workers.values()):
            return
        self._settle_warming(lambda future: future.set_result(None))
        self._hub.remind(now)  # of those that are idle

    def _settle_warming(self, settle: Callable[[Future[None]], Any]) -> None:
        warm, self._warming = self._warming, {}
        for future in warm.values():
            self._hub.after(partial(settle, future))

    def tick(self, now: float) -> list[float]:
        """Ends workers that give no sign of life, or do not start; returns when to look again."""
        due = self._look_for_life(now)
        for slot in list(self._scheduler.workers.values()):
            if slot.number in self._scheduler.workers and slot.state is WorkerState.INITIALIZING:
                if slot.created + BOOT_TIMEOUT <= now:
                    self._lose(slot.number, f"it was not ready after {BOOT_TIMEOUT:.0f} s")
                else:
                    due.append(slot.created + BOOT_TIMEOUT)
        return due

    def _look_for_life(self, now: float) -> list[float]:
        if self.heartbeats.every is None or not self._scheduler.workers:
            return []
        look = self.heartbeats.look(now, self._scheduler.workers.values(), self._hub.link.pulse)
        for worker in look.ask:
            self._peers.ping(worker)
        for worker, seconds in look.lost:
            if worker in self._scheduler.workers:  # the first one may have broken the pool
                self._lose(worker, f"it gave no sign of life for {seconds:.1f} s")
        due = self.heartbeats.next_due()
        return [] if due is None else [due]

    def wake_reserve(self) -> None:
        """The pool is in use: looks after its reserve from now on."""
        if self.reserve.asleep and self.reserve.size:
            self.reserve.asleep = False
            self._hub.remind(time.monotonic() + QUIET_SECONDS)

    def keep_reserve(self, now: float, is_open: bool) -> float | None:
        """Starts or ends workers in reserve; returns when to be called again.

        Args:
            now: seconds of ``time.monotonic``.
            is_open: whether the pool takes tasks.
        """
        if self.reserve.asleep:
            return None
        plan = self.reserve.plan(now, self._scheduler.workers.values())
        for worker in plan.end:
            self.end_spare(worker)
        if plan.start and is_open:
            for _ in range(plan.start):
                self.reserve.started(self._peers.spawn(self._handler), now)
        return plan.due

    def end_spare(self, worker: int, failed: bool = False) -> None:
        """Ends a worker that is in reserve."""
        self.reserve.lost(worker, failed)
        self.close(worker, "it was not needed any more")

    def end(self, worker: int, reason: str) -> None:
        """Ends a worker whose tasks, if it has any, are settled."""
        held = len(self._scheduler.workers[worker].held)
        self.close(worker, reason)
        self._ledger.worker_ended(worker)
        self._scheduler.worker_lost(worker, "it was not needed any more", held, may_retry=False)

    def end_all(self, reason: str, broken: Callable[[], BaseException] | None = None) -> None:
        """Ends all workers, and the waiting for them.

        Args:
            reason: for whoever waits for their answers.
            broken: makes the error of those who wait for workers to be ready; None if they are
                cancelled.
        """
        for worker in list(self._scheduler.workers):
            self.end(worker, reason)
        for worker in list(self.reserve.workers):
            self.end_spare(worker)
        if self._peers.fork is not None:
            self._peers.fork.end()
        if broken is None:
            self._settle_warming(Future.settle_cancelled)
        else:
            self._settle_warming(lambda future: future.set_exception(broken()))

    def close(self, worker: int, reason: str, went_wrong: bool = False) -> None:
        """Ends a worker: at once if it does anything.

        Args:
            worker: its number.
            reason: why.
            went_wrong: whether it had died, or had to be ended for what it did by itself.
        """
        slot = self._scheduler.workers.get(worker)
        if slot is not None:
            self._ledger.worker_gone(slot, reason, went_wrong)
        self._peers.close(worker, slot is None or slot.state is WorkerState.IDLE)
        self._messages.lost(worker, reason)
