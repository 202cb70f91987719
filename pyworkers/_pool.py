"""The pool as users see it: an executor whose tasks run in workers.

Owns the arguments: it checks them, encodes what every worker starts with, and gives the rest to
its engine.
"""

import itertools
import weakref
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar, overload

from pyworkers import _codec
from pyworkers._engine import Engine, Output, print_output
from pyworkers._env import Mode, capabilities, choose_mode, module_source
from pyworkers._futures import Future
from pyworkers._hub import hub_for
from pyworkers._iterators import Completed, Mapped
from pyworkers._protocol import WorkerState
from pyworkers._scheduler import DEFAULT_PRIORITY, MAX_PRIORITY
from pyworkers._worker import Setup, current_worker
from pyworkers.errors import ModeError

P = ParamSpec("P")
T = TypeVar("T")

_pool_numbers = itertools.count(1)


class WorkerPool(Executor):
    """Runs functions in parallel in Web Workers; a ``concurrent.futures.Executor``.

    Workers start when there is work for them, and end with the pool. Functions that can be
    imported in a worker travel by name, all others (lambdas, closures, what a notebook defines)
    by value.

    Args:
        max_workers: how many workers at the most; None means one for each core, 8 at the most.
            In mode inline there is one, whatever is asked for.
        packages: names or wheel URLs that each worker installs before its first task.
        modules: top-level modules or packages that this interpreter can import, to be importable
            in the workers too.
        files: files that each worker finds: path, absolute or relative to its working directory,
            and content.
        initializer: called in each worker before its first task; may be ``async``.
        initargs: its arguments.
        mode: "shared", "transfer" or "inline"; None means the best that works here.
        on_output: called with the worker's number, "stdout" or "stderr", and text; None means
            that it is printed here, each line behind the number of its worker.

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
        on_output: Output | None = None,
    ) -> None:
        if current_worker() is not None:
            raise ModeError(
                "this is a worker, which cannot have a pool of its own: return what is to be done "
                "and submit it where the pool is"
            )
        if max_workers is None:
            max_workers = capabilities().default_workers
        if max_workers < 1:
            raise ValueError(f"max_workers must be at least 1, not {max_workers}")
        if isinstance(packages, str) or isinstance(modules, str):
            raise ValueError("packages and modules each take a list of names, not a string")
        self._mode = choose_mode(mode)
        sources: dict[str, bytes] = {}
        for name in modules:
            sources |= module_source(name)
        self._hub = hub_for(self._mode)
        self._engine = Engine(
            self._hub,
            name=f"pyworkers pool {next(_pool_numbers)}",
            max_workers=1 if self._mode == "inline" else max_workers,
            setup=_encode_setup(
                packages,
                # In mode inline they are here already.
                {} if self._mode == "inline" else sources,
                files or {},
                initializer,
                initargs,
            ),
            on_output=on_output or print_output,
        )
        weakref.finalize(self, self._engine.begin_shutdown, cancel_futures=False)

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

    @property
    def mode(self) -> Mode:
        """How this pool reaches its workers."""
        return self._mode

    @property
    def max_workers(self) -> int:
        """How many workers there may be."""
        return self._engine.scheduler.max_workers

    async def ready(self) -> None:
        """Waits until blocking calls are safe; needed in a worker that pyworkers did not start.

        There, the thread that makes workers starts with the first pool, and can do so only while
        this one does not block.
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
        """
        self._engine.check_open()
        return self._engine.submit(fn, args, kwargs, DEFAULT_PRIORITY, None)

    def submit_with(
        self,
        fn: Callable[..., T],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        priority: int = DEFAULT_PRIORITY,
        timeout: float | None = None,
    ) -> Future[T]:
        """Like ``submit``, with a say in how the task is run.

        Args:
            fn: the function.
            args: its positional arguments.
            kwargs: its keyword arguments.
            priority: 0 (last) to 10 (first); equal ones run in order.
            timeout: seconds from now after which the task fails with TimeoutError, and a worker
                that is running it is ended and replaced; None means never.

        Raises:
            ValueError: the priority is out of its range, or the timeout negative.
            RuntimeError: the pool is shut down.
            BrokenWorkerPool: the pool is broken.
        """
        self._engine.check_open()
        if priority not in range(MAX_PRIORITY + 1):
            raise ValueError(f"priority must be 0 to {MAX_PRIORITY}, not {priority}")
        if timeout is not None and not timeout >= 0:
            raise ValueError(f"timeout must be 0 seconds or more, not {timeout}")
        return self._engine.submit(fn, tuple(args), kwargs or {}, priority, timeout)

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int | None = None,
    ) -> Mapped[T]:
        """Calls a function on many arguments, as ``map`` does.

        The iterables are read now. Results come in order, by ``for`` where this thread can block
        and by ``async for`` everywhere, each as soon as it and those before it are there.

        Args:
            fn: the function.
            iterables: its arguments; the shortest one ends it.
            timeout: seconds from now after which waiting raises TimeoutError; None means never.
            chunksize: how many calls travel together; None means that it follows from how long
                they take.

        Raises:
            ValueError: chunksize is below 1.
            RuntimeError: the pool is shut down.
            BrokenWorkerPool: the pool is broken.
        """
        if chunksize is not None and chunksize < 1:
            raise ValueError(f"chunksize must be at least 1, not {chunksize}")
        self._engine.check_open()
        engine = self._engine
        calls = list(zip(*iterables, strict=False))
        return Mapped(
            lambda function, args: engine.submit(function, args, {}, DEFAULT_PRIORITY, None),
            self.max_workers,
            self._hub,
            fn,
            calls,
            timeout,
            chunksize,
        )

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
        """Cancels a task even while it runs; a worker that runs it is ended and replaced.

        Returns:
            Whether the task is cancelled: False if it was done before.
        """
        return future.cancel() or self._engine.kill(future.task)

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


def _encode_setup(
    packages: Sequence[str],
    sources: dict[str, bytes],
    files: Mapping[str, bytes | str],
    initializer: Callable[..., object] | None,
    initargs: tuple[Any, ...],
) -> tuple[bytes, list[memoryview]]:
    setup: Setup = {
        "packages": list(packages),
        "modules": sources,
        "files": {
            name: data.encode() if isinstance(data, str) else bytes(data)
            for name, data in files.items()
        },
        "initializer": (
            None if initializer is None else (_codec.encode_function(initializer), initargs)
        ),
    }
    return _codec.encode(setup)
