"""The pool as users see it: an executor whose tasks run in workers.

Owns the arguments of tasks: it checks them, and gives them to its engine. Those of the pool itself
are described here, and checked by ``_options``.
"""

import itertools
import math
import weakref
from collections.abc import (
    Callable,
    Coroutine,
    Hashable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from concurrent.futures import Executor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, NoReturn, ParamSpec, Self, TypeVar, overload

from pyworkers import _codec, _js
from pyworkers._arena import ArenaStatistics
from pyworkers._backoff import RetryOn, as_error_types
from pyworkers._breaker import CircuitBreaker
from pyworkers._env import Mode
from pyworkers._events import KINDS, EventKind, Listener
from pyworkers._futures import Future
from pyworkers._groups import TaskGroup
from pyworkers._heartbeat import DEFAULT_HEARTBEAT
from pyworkers._hub import hub_for
from pyworkers._iterators import Completed, Mapped
from pyworkers._lanes import Need
from pyworkers._options import PoolOptions, check_breaker
from pyworkers._output import Output
from pyworkers._policies import DEFAULT_PRIORITY, Policy, as_priority
from pyworkers._pool_messages import PoolChannel
from pyworkers._protocol import WorkerState
from pyworkers._scaling import Scaling
from pyworkers._statistics import Asked, PoolStatistics, TaskInfo, WorkerInfo
from pyworkers._store import Ref
from pyworkers._store import keep as store_keep
from pyworkers._trace import Trace
from pyworkers._worker import current_worker
from pyworkers.errors import ModeError, PayloadError, QueueFull

P = ParamSpec("P")
T = TypeVar("T")

DEFAULT_GRACE: Final = 1.0
"""Seconds in which a task that is interrupted should be able to clean up."""

_pool_numbers = itertools.count(1)


class WorkerPool(Executor):
    """Runs functions in parallel in Web Workers; a ``concurrent.futures.Executor``.

    Workers start when there is work for them, and end with the pool. Functions that can be
    imported in a worker travel by name, all others (lambdas, closures, what a notebook defines)
    by value.

    Args:
        max_workers: how many workers at the most; None means one for each core, 8
            at the most, fewer where memory is small.
            In mode inline there is one, whatever is asked for.
        packages: names or wheel URLs that each worker installs before its first task.
        modules: top-level modules or packages that this interpreter can import, to be importable
            in the workers too.
        files: files that each worker finds: path, absolute or relative to its working directory,
            and content.
        initializer: called in each worker before its first task; may be ``async``.
        initargs: its arguments.
        mode: "shared", "transfer" or "inline"; None means the best that works here.
        standby: how many workers to hold in reserve, started and set up, beyond ``max_workers``:
            when the pool grows or a worker dies, one of them takes the place at once. They are
            started while there are cores to spare, call the initializer, and are given up when the
            pool was not used for 60 seconds. None means 1 on machines with at least 4 cores, else
            0; in mode inline there are none.
        on_output: called with the worker's number, "stdout" or "stderr", and text; None means
            that it is printed here, each line behind the number of its worker.
        grace: seconds that a running task which was cancelled, or is over its timeout, has to end
            before its worker is ended and replaced; 0 means at once.
        max_tasks_per_child: how many tasks a worker runs before it is replaced; a chunk of ``map``
            is one task. None means any number.
        max_failures_per_child: how many tasks of a worker may raise before it is replaced. None
            means any number.
        heap_limit: bytes of memory above which a worker is replaced, once the task that made it so
            large is over; the memory of an interpreter never shrinks. None means no limit. In mode
            inline there is none, as tasks run in the caller's own memory.
        on_worker_lost: what a worker that dies by itself means. "replace": its running tasks fail
            with WorkerLost, and another worker takes its place; those that die while no task is
            finished between them are replaced later and later, after up to 5 seconds. "shrink": no
            other takes its place; what no worker is left for fails, and when none is left, the pool
            is broken. "break": the pool is broken at once, as a ``ProcessPoolExecutor`` is; every
            pending future and every later submit fails.
        heartbeat: seconds between two looks at whether workers live, which finds those that hang
            without having ended; None means that nobody looks. In mode inline there is nothing to
            look at.
        silence: seconds without a sign of life after which a worker is ended and replaced, and what
            it ran is lost; at least two heartbeats. None means three heartbeats for idle workers,
            and never for those that run a task or handle a message, as compiled code gives no
            signs. In mode transfer only idle ones can give any.
        breaker: has calls of a function that keeps failing fail at once; None means that all are
            made. In a ``map``, calls that travel together count as one.
        policy: which task is first and which worker gets it: "priority", "fifo", "deadline",
            "round_robin", "least_loaded", or a ``Policy``.
        capabilities: how many of the workers have something that not all need to have, such as a
            large model; tasks ask for it by ``requires``.
        max_pending: how many tasks may wait for a worker before ``submit`` raises QueueFull; None
            means any number.
        min_workers: so many are started at once, and live as long as the pool.
        idle_timeout: seconds after which a worker that has nothing to do ends; None means never.
            Tasks then go to the worker that has waited shortest, unless the policy chooses, so
            that those which are not needed end.
        worker_lifetime: seconds from when it was ready for tasks after which a worker is replaced,
            once it has done what it has; None means never.
        fork: whether the set-up (packages, modules, files, initializer) is run once more, in an
            interpreter of its own, from whose memory further workers start instead of running it.
            Those that start before it is ready run it; and so do all where it leaves what no memory
            holds, which ``stats().fork`` and a warning tell. In mode inline, and without any
            set-up, it means nothing.
        scaling: by which thresholds, and how often, workers are started and may end; None means
            that each task which has no worker gets one at once, up to ``max_workers``, and that
            ``idle_timeout`` alone says which end.

    Raises:
        ValueError: an argument is out of its range.
        ModeError: the mode does not work here, or this is itself a worker.
        ModuleNotFoundError: one of ``modules`` has no source here.
        PayloadError: the initializer or its arguments cannot be pickled.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        *,
        packages: Sequence[str] = (),
        modules: Sequence[str] = (),
        files: Mapping[str, bytes | str] | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        mode: Mode | None = None,
        standby: int | None = None,
        on_output: Output | None = None,
        grace: float = DEFAULT_GRACE,
        max_tasks_per_child: int | None = None,
        max_failures_per_child: int | None = None,
        heap_limit: int | None = None,
        on_worker_lost: Literal["replace", "shrink", "break"] = "replace",
        heartbeat: float | None = DEFAULT_HEARTBEAT,
        silence: float | None = None,
        breaker: CircuitBreaker | None = None,
        policy: str | Policy = "priority",
        capabilities: Mapping[str, int] | None = None,
        max_pending: int | None = None,
        min_workers: int = 0,
        idle_timeout: float | None = None,
        worker_lifetime: float | None = None,
        fork: bool = False,
        scaling: Scaling | None = None,
    ) -> None:
        if current_worker() is not None:
            raise ModeError(
                "this is a worker, which cannot have a pool of its own: return what is to be done "
                "and submit it where the pool is"
            )
        options = PoolOptions(
            max_workers=max_workers,
            packages=packages,
            modules=modules,
            files=files,
            initializer=initializer,
            initargs=initargs,
            mode=mode,
            standby=standby,
            on_output=on_output,
            grace=grace,
            max_tasks_per_child=max_tasks_per_child,
            max_failures_per_child=max_failures_per_child,
            heap_limit=heap_limit,
            on_worker_lost=on_worker_lost,
            heartbeat=heartbeat,
            silence=silence,
            breaker=breaker,
            policy=policy,
            capabilities=capabilities,
            max_pending=max_pending,
            min_workers=min_workers,
            idle_timeout=idle_timeout,
            worker_lifetime=worker_lifetime,
            fork=fork,
            scaling=scaling,
        )
        self._mode = options.chosen_mode()
        setup = options.setup(self._mode)
        self._places = options.places(self._mode)
        self._max_pending = max_pending
        self._breaker = breaker
        self._hub = hub_for(self._mode)
        name = f"pyworkers pool {next(_pool_numbers)}"
        self._engine = options.engine(self._hub, name, setup, self._places)
        _js.route_executors(WorkerPool)
        shutdown = partial(self._engine.begin_shutdown, cancel_futures=False)
        weakref.finalize(self, self._hub.when_safe, shutdown)
        self._engine.dispatch()
        self._hub.link.flush()

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a pool cannot be sent to a worker: return what is to be done and submit it where the "
            "pool is"
        )

    def __repr__(self) -> str:
        scheduler = self._engine.scheduler
        workers = scheduler.workers.values()
        counts = [(sum(w.state is state for w in workers), state.value) for state in WorkerState]
        states = ", ".join(f"{count} {state}" for count, state in counts if count) or "0"
        phase = ""
        if self._engine.broken is not None:
            phase = "broken, "
        elif self._engine.shut_down:
            phase = "shut down, "
        return (
            f"<WorkerPool {self._mode}: {phase}{states} of {scheduler.max_workers} workers, "
            f"{scheduler.queued} tasks queued>"
        )

    def _repr_html_(self) -> str:
        """Shows this pool and its workers in a notebook."""
        from pyworkers import _html  # noqa: PLC0415 - workers have no notebook

        return _html.pool(repr(self)[1:-1], self.workers(), self.stats())

    @property
    def mode(self) -> Mode:
        """How this pool reaches its workers."""
        return self._mode

    @property
    def max_workers(self) -> int:
        """How many workers there may be."""
        return self._engine.scheduler.max_workers

    def warm_up(self) -> Future[None]:
        """Starts all workers, instead of each when there is work for it.

        Returns:
            A future that is done when all ``max_workers`` workers are set up: await it, or block by
            its ``result``. It fails with BrokenWorkerPool if they cannot be, and is cancelled when
            the pool is shut down before.

        Raises:
            RuntimeError: the pool is shut down.
            BrokenWorkerPool: the pool is broken.
        """
        self._engine.check_open()
        return self._engine.warm_up()

    @property
    def standby(self) -> int:
        """How many workers are in reserve now, ready to take a place at once."""
        return self._engine.crew.reserve.ready

    async def ready(self) -> None:
        """Waits until blocking calls are safe; needed in a worker that pyworkers did not start.

        There, the thread that makes workers starts with the first pool, and can do so only while
        this one does not block.

        Raises:
            BrokenWorkerPool: it did not start, as where the page's policy refuses workers.
        """
        await self._hub.ready()

    @overload
    def submit(
        self, fn: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Future[T]: ...

    @overload
    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]: ...

    def submit(self, fn: Callable[P, Any], /, *args: P.args, **kwargs: P.kwargs) -> Future[Any]:
        """Has a function called in a worker; a coroutine function is awaited there.

        The arguments are pickled now; changing them afterwards changes nothing.

        Returns:
            The future of its result. An argument that cannot be pickled fails that future.

        Raises:
            RuntimeError: the pool is shut down.
            BrokenWorkerPool: the pool is broken.
            QueueFull: as many tasks wait as ``max_pending`` allows.
        """
        self._engine.check_open()
        if self._max_pending is not None and not self._has_room():
            raise self._full()
        return self._engine.submit(fn, args, kwargs, DEFAULT_PRIORITY, None, breaker=self._breaker)

    def submit_with(
        self,
        fn: Callable[..., T],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        priority: int | str = DEFAULT_PRIORITY,
        timeout: float | None = None,
        keep: bool = False,
        retries: int = 0,
        delay: float = 0.0,
        requires: Iterable[str] = (),
        affinity: Hashable | None = None,
        pure: bool = False,
        preemptible: bool = False,
        block: bool = False,
        retry_on: RetryOn = (),
        backoff: float = 0.0,
        breaker: CircuitBreaker | None = None,
        metadata: object = None,
    ) -> Future[Any]:
        """Like ``submit``, with a say in how the task is run.

        Args:
            fn: the function.
            args: its positional arguments.
            kwargs: its keyword arguments.
            priority: 0 (last) to 10 (first), or "low" (2), "normal" (5), "high" (8), "critical"
                (10); equal ones run in order. A task that waits rises by one every 10 s.
            timeout: seconds from now after which the future fails with TimeoutError, and the task
                is interrupted if it runs, as by ``future.cancel(running=True)``; None means never.
            keep: whether the result stays where every worker can read it: the future gives a
                ``Ref`` to it, to be given to other tasks.
            retries: how many times the task may be run again because its worker died while it ran,
                or it raised one of ``retry_on``; only for what may run more than once.
            delay: seconds from now before which the task does not run.
            requires: capabilities that the worker must have.
            affinity: tasks with the same key run in the same worker as long as it lives; None
                means in any.
            pure: whether an earlier equal call, of the same function with arguments that are
                pickled alike, may answer this one, if it has not failed: its future is returned.
                The last 256 are remembered; calls with a ``Ref`` or a ``SharedArray`` are not.
            preemptible: whether the task, should it run while one of higher priority waits and no
                worker is free, is interrupted as by ``future.cancel(running=True)`` and run again
                from its beginning later; only for what may run more than once.
            block: whether to wait for room rather than to raise QueueFull.
            retry_on: a type of exceptions, or several: a task that raises one is run again, as
                often as ``retries`` allows; then the last exception is its future's. What cannot
                be pickled is a PayloadError, and has to be named as that.
            backoff: seconds to wait before the task is run again for the first time; twice as long
                each further time, up to 60. Each wait is shortened by chance, to half at the most,
                so that tasks which failed together do not come back together.
            breaker: has the call fail with CircuitOpen if calls of its function keep failing; None
                means the pool's.
            metadata: whatever ``tasks`` shall tell of this task; it stays here.

        Raises:
            ValueError: the priority, timeout, retries, delay or backoff is out of its range, no
                worker has such a capability, or retry_on or backoff is given without retries.
            TypeError: retry_on has something in it that is no type of exceptions, breaker is no
                CircuitBreaker, or affinity has no hash.
            RuntimeError: the pool is shut down.
            BrokenWorkerPool: the pool is broken.
            QueueFull: as many tasks wait as ``max_pending`` allows.
            ModeError: there is no room, and this thread cannot block.
        """
        self._engine.check_open()
        if priority is not DEFAULT_PRIORITY:
            priority = as_priority(priority)
        if timeout is not None and not timeout >= 0:
            raise ValueError(f"timeout must be 0 seconds or more, not {timeout}")
        if retries < 0:
            raise ValueError(f"retries must be 0 or more, not {retries}")
        if not 0 <= delay < math.inf:
            raise ValueError(f"delay must be 0 seconds or more, not {delay}")
        if breaker is not None:
            check_breaker(breaker)
        errors = () if retry_on == () else as_error_types(retry_on)
        if not 0 <= backoff < math.inf:
            raise ValueError(f"backoff must be 0 seconds or more, not {backoff}")
        if (errors or backoff) and not retries:
            raise ValueError("retry_on and backoff need retries of at least 1")
        needed = frozenset(requires)
        if needed and (unknown := needed - self._places[0]):
            raise ValueError(f"no worker of this pool has the capability {min(unknown)!r}")
        if self._max_pending is not None and not self._has_room():
            if not block:
                raise self._full()
            self._hub.wait(self._has_room, None)
        hash(affinity)  # raises what says why it is no key
        need = Need(needed, affinity) if needed or affinity is not None else None
        asked = None
        if metadata is not None or timeout is not None or retries or delay:
            asked = Asked(metadata, timeout, retries, delay)
        return self._engine.submit(
            fn,
            tuple(args),
            kwargs or {},
            priority,
            timeout,
            keep,
            retries,
            need,
            delay,
            pure,
            preemptible,
            errors,
            backoff,
            breaker or self._breaker,
            asked=asked,
        )

    async def room(self) -> None:
        """Waits until the next ``submit`` does not raise QueueFull."""
        await self._hub.wait_async(self._has_room, None)

    def _has_room(self) -> bool:
        scheduler, most = self._engine.scheduler, self._max_pending
        return most is None or scheduler.queued + scheduler.delayed < most

    def _full(self) -> QueueFull:
        return QueueFull(
            f"{self._max_pending} tasks wait for a worker, and max_pending allows no more: "
            "`await pool.room()` first, or use submit_with(block=True)"
        )

    def stats(self) -> PoolStatistics:
        """Returns what has happened in this pool so far."""
        engine, fork = self._engine, self._engine.peers.fork
        report = None if fork is None else fork.report()
        return engine.ledger.statistics(report, engine.leaving)

    def workers(self, *, ended: bool = False) -> list[WorkerInfo]:
        """Returns what each worker of this pool is doing now.

        Args:
            ended: whether those that have ended are told of, too: the last 100, ahead of the others
                and the one that ended first ahead of all. Their ``reason`` says why.
        """
        return self._engine.ledger.workers(ended)

    def tasks(self, *, ended: bool = False) -> list[TaskInfo]:
        """Returns what each task of this pool is doing now, in the order of their submission.

        A chunk of ``map`` is one task.

        Args:
            ended: whether those that have ended are told of, too: the last 100, ahead of the others
                and the one that ended first ahead of all.
        """
        return self._engine.ledger.records.tasks(self._engine.tasks, ended)

    def on(self, event: EventKind, callback: Listener) -> Callable[[], None]:
        """Has a function called with each ``Event`` of a kind.

        Events are told in order, after the futures of their tasks are settled; what the function
        raises is logged.

        Args:
            event: "task_started", "task_progress", "task_retried", "task_done", "worker_ready",
                "worker_lost".
            callback: called with the event, in the thread of this pool; it may use the pool.

        Returns:
            What ends it.

        Raises:
            ValueError: there is no such event.
        """
        return self._engine.ledger.events.subscribe(event, callback)

    def channel(self, name: str) -> PoolChannel:
        """Returns this side's end of a named channel, on which workers are told and asked things.

        The other end is ``task.channel`` of the same name, in each worker of this pool.
        """
        return self._engine.messages.channel(name)

    @contextmanager
    def trace(self, path: str | Path) -> Iterator[None]:
        """Writes what workers do within a ``with`` block, for ``chrome://tracing`` or Perfetto.

        Args:
            path: of the JSON file, written at the end of the block.
        """
        trace = Trace(self._engine.name)
        ends = [self.on(kind, trace.add) for kind in KINDS]
        try:
            yield
        finally:
            for end in ends:
                end()
            Path(path).write_text(trace.as_json())

    def put(self, value: T, *, compress_over: int | None = None) -> Ref[T]:
        """Keeps an object where every worker can read it, for tasks that share it.

        It is pickled once, now. In mode shared it lies in shared memory, and each task that is
        given the ``Ref`` reads it from there; in mode transfer it is sent once to each worker.

        Args:
            value: the object.
            compress_over: bytes above which it is kept compressed, if that makes it smaller. It
                saves memory, not time: each task that gets it decompresses it. None means never.

        Raises:
            ValueError: ``compress_over`` is below 0.
            PayloadError: it cannot be pickled.
            ArenaFull: the shared memory has no room for it.
        """
        if compress_over is not None and compress_over < 0:
            raise ValueError(f"compress_over must be 0 bytes or more, not {compress_over}")
        return store_keep(self._mode, _codec.encode(value), compress_over)

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int | None = None,
        buffersize: int | None = None,
        rate: float | None = None,
    ) -> Mapped[T]:
        """Calls a function on many arguments, as ``map`` does.

        The iterables are read now, unless there is a ``buffersize``. Results come in order, by
        ``for`` where this thread can block and by ``async for`` everywhere, each as soon as it and
        those before it are there.

        Args:
            fn: the function.
            iterables: its arguments; the shortest one ends it.
            timeout: seconds from now after which waiting raises TimeoutError; None means never.
            chunksize: how many calls travel together; None means that it follows from how long
                they take.
            buffersize: how many calls may be submitted whose results were not yielded; the
                iterables are read further only as results are taken. None means no limit.
            rate: how many calls a second may start at the most; they then travel one by one,
                unless there is a chunksize, and a chunk starts at once. None means no limit.

        Raises:
            ValueError: chunksize or buffersize is below 1, or the rate is not above 0.
            TypeError: buffersize is no integer.
            RuntimeError: the pool is shut down.
            BrokenWorkerPool: the pool is broken.
        """
        if chunksize is not None and chunksize < 1:
            raise ValueError(f"chunksize must be at least 1, not {chunksize}")
        if buffersize is not None and not isinstance(buffersize, int):
            raise TypeError("buffersize must be an integer or None")
        if buffersize is not None and buffersize < 1:
            raise ValueError(f"buffersize must be at least 1, not {buffersize}")
        if rate is not None and not 0 < rate < math.inf:
            raise ValueError(f"rate must be more than 0 calls a second, not {rate}")
        self._engine.check_open()
        engine = self._engine
        breaker, judged = self._breaker, None
        if breaker is not None:
            try:
                judged = engine.functions.register(fn)
            except PayloadError:  # as what the first chunk fails with will say
                breaker = None
        calls: Iterable[tuple[Any, ...]] = zip(*iterables, strict=False)
        length = None
        if buffersize is None:
            calls = list(calls)
            length = len(calls)
        return Mapped(
            lambda function, args, delay: engine.submit(
                function,
                args,
                {},
                DEFAULT_PRIORITY,
                None,
                delay=delay,
                breaker=breaker,
                judged=judged,
            ),
            self.max_workers,
            self._hub,
            fn,
            calls,
            length,
            timeout,
            chunksize,
            buffersize,
            rate,
        )

    def group(self) -> TaskGroup:
        """Returns what submits tasks that belong together: if one fails, the others are cancelled.

        ``async with pool.group() as group: group.submit(...)`` waits for all of them.
        """
        return TaskGroup(self, self._hub)

    def memory(self) -> ArenaStatistics | None:
        """Returns how much of the shared memory is in use, by all pools of this interpreter.

        None in mode transfer, which has none.
        """
        return self._hub.store.statistics()

    def as_completed(
        self, futures: Iterable[Future[T]], timeout: float | None = None
    ) -> Completed[T]:
        """Yields futures as they are done, by ``for`` or by ``async for``.

        Args:
            futures: each is yielded once.
            timeout: seconds from now after which waiting raises TimeoutError; None means never.
        """
        return Completed(self._hub, futures, timeout)

    def kill(self, future: Future[Any]) -> bool:
        """Cancels a task even while it runs, at once: its worker is ended and replaced.

        Nothing of the task is run any more, no ``finally`` block either, and other coroutines that
        this worker awaits fail with WorkerLost. ``future.cancel(running=True)`` is the soft way.

        Returns:
            Whether the task is cancelled: False if it was done before.
        """
        return self._engine.kill(future.task) or future.cancel()

    def terminate_workers(self) -> None:
        """Shuts down without waiting, and ends what runs, softly.

        Queued tasks are cancelled. Futures of running tasks fail with BrokenWorkerPool, and the
        tasks are interrupted, as by ``future.cancel(running=True)``.
        """
        self._engine.end_workers(softly=True)

    def kill_workers(self) -> None:
        """Like ``terminate_workers``, but the workers end at once, whatever they run."""
        self._engine.end_workers(softly=False)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Takes no more tasks, and ends the workers once what was submitted is done.

        Args:
            wait: whether to block until then.
            cancel_futures: whether tasks that do not run yet are cancelled.

        Raises:
            ModeError: there is something to wait for, and this thread cannot block.
        """
        self._engine.begin_shutdown(cancel_futures)
        if wait and self._engine.scheduler.outstanding:
            self._hub.wait(self._is_empty, None)

    async def aclose(self, *, cancel_futures: bool = False) -> None:
        """Like ``shutdown``, waiting without blocking.

        Args:
            cancel_futures: whether tasks that do not run yet are cancelled.
        """
        self._engine.begin_shutdown(cancel_futures)
        await self._hub.wait_async(self._is_empty, None)

    def _is_empty(self) -> bool:
        return self._engine.scheduler.outstanding == 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()
