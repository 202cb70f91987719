"""What ``multiprocessing.Pool`` is, over a ``WorkerPool``.

Owns the names and the behaviour of that interface. Knows nothing of how tasks are run, nor of who
waits for what they return.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import MappingProxyType, TracebackType
from typing import Any, Final, NoReturn, Self, TypeVar

from pyworkers._env import Mode, choose_mode
from pyworkers._hub import hub_for
from pyworkers._pool import WorkerPool
from pyworkers.sync._pool_results import CHUNKS_PER_WORKER, AsyncResult, IMapIterator, call_each
from pyworkers.sync._process import blocking

T = TypeVar("T")

_NO_ARGUMENTS: Final[Mapping[str, Any]] = MappingProxyType({})


class Pool:
    """Workers for many calls, by the interface of ``multiprocessing.Pool``.

    What blocks there blocks here where the thread may; else use what ends in ``_async``, whose
    results can be awaited, and ``async for``. Functions may be ``async``.

    Args:
        processes: how many workers; None means one for each core, 8 at the most, fewer where memory
            is small.
        initializer: called in each worker before its first task.
        initargs: its arguments.
        maxtasksperchild: how many tasks a worker runs before it is replaced; None means any number.

    Raises:
        ValueError: an argument is out of its range.
        ModeError: this is a worker.
    """

    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: int | None = None,
    ) -> None:
        if processes is not None and processes < 1:
            raise ValueError("Number of processes must be at least 1")
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        mode: Mode = choose_mode(None)
        self._pool = WorkerPool(
            processes,
            initializer=initializer,
            initargs=tuple(initargs),
            max_tasks_per_child=maxtasksperchild,
            mode=mode,
        )
        self._hub = hub_for(mode)
        self._state = "running"
        self._feeding: set[IMapIterator[Any]] = set()

    def __reduce__(self) -> NoReturn:
        raise NotImplementedError("pool objects cannot be passed between processes or pickled")

    def __repr__(self) -> str:
        return f"<Pool state={self._state} pool_size={self._pool.max_workers}>"

    def _check_running(self) -> None:
        if self._state != "running":
            raise ValueError("Pool not running")

    def apply(
        self,
        func: Callable[..., T],
        args: Iterable[Any] = (),
        kwds: Mapping[str, Any] = _NO_ARGUMENTS,
    ) -> T:
        """Calls a function in a worker and returns what it returns."""
        result: T = self.apply_async(func, args, kwds).get()
        return result

    def apply_async(
        self,
        func: Callable[..., Any],
        args: Iterable[Any] = (),
        kwds: Mapping[str, Any] = _NO_ARGUMENTS,
        callback: Callable[[Any], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> AsyncResult[Any]:
        """Has a function called in a worker.

        Args:
            func: the function.
            args: its positional arguments.
            kwds: its keyword arguments.
            callback: called with what it returns.
            error_callback: called with what it raises.

        Raises:
            ValueError: the pool is closed or terminated.
        """
        self._check_running()
        future = self._pool.submit(func, *args, **kwds)
        return AsyncResult(self._hub, [future], _only, callback, error_callback)

    def map(
        self, func: Callable[[Any], T], iterable: Iterable[Any], chunksize: int | None = None
    ) -> list[T]:
        """Calls a function on each item, and returns the results in order."""
        return self.map_async(func, iterable, chunksize).get()

    def map_async(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        callback: Callable[[list[Any]], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> AsyncResult[list[Any]]:
        """Like ``map``, without waiting.

        Args:
            func: the function.
            iterable: its arguments, read now.
            chunksize: how many calls are one task; None means that there are four tasks or fewer
                for each worker.
            callback: called with the list of results.
            error_callback: called with the first error; then there are no results.
        """
        return self._map(func, [(item,) for item in iterable], chunksize, callback, error_callback)

    def starmap(
        self,
        func: Callable[..., T],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
    ) -> list[T]:
        """Like ``map``, with items that are the arguments of one call each."""
        return self.starmap_async(func, iterable, chunksize).get()

    def starmap_async(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
        callback: Callable[[list[Any]], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> AsyncResult[list[Any]]:
        """Like ``map_async``, with items that are the arguments of one call each."""
        return self._map(func, list(map(tuple, iterable)), chunksize, callback, error_callback)

    def _map(
        self,
        func: Callable[..., Any],
        calls: list[tuple[Any, ...]],
        chunksize: int | None,
        callback: Callable[[list[Any]], object] | None,
        error_callback: Callable[[BaseException], object] | None,
    ) -> AsyncResult[list[Any]]:
        self._check_running()
        if chunksize is None:
            chunksize = -(-len(calls) // (self._pool.max_workers * CHUNKS_PER_WORKER)) or 1
        _check_chunksize(chunksize)
        futures = [
            self._pool.submit(call_each, func, calls[start : start + chunksize])
            for start in range(0, len(calls), chunksize)
        ]
        return AsyncResult(self._hub, futures, _joined, callback, error_callback)

    def imap(
        self, func: Callable[[Any], T], iterable: Iterable[Any], chunksize: int = 1
    ) -> IMapIterator[T]:
        """Like ``map``, with results that can be taken as they come, in order.

        Args:
            func: the function.
            iterable: its arguments, read a few tasks ahead of what is done.
            chunksize: how many calls are one task.
        """
        return self._imap(func, iterable, chunksize, True)

    def imap_unordered(
        self, func: Callable[[Any], T], iterable: Iterable[Any], chunksize: int = 1
    ) -> IMapIterator[T]:
        """Like ``imap``, with results in the order in which they are there."""
        return self._imap(func, iterable, chunksize, False)

    def _imap(
        self, func: Callable[[Any], T], iterable: Iterable[Any], chunksize: int, in_order: bool
    ) -> IMapIterator[T]:
        self._check_running()
        _check_chunksize(chunksize)
        submit = partial(self._pool.submit, call_each, func)
        calls = ((item,) for item in iterable)
        ahead = self._pool.max_workers * CHUNKS_PER_WORKER
        over = self._feeding.discard
        found: IMapIterator[T] = IMapIterator(
            self._hub, submit, calls, chunksize, ahead, in_order, over
        )
        if not found._is_fed:
            self._feeding.add(found)
        return found

    def close(self) -> None:
        """Takes no more tasks; the workers end when all is done."""
        if self._state == "running":
            for feeding in list(self._feeding):
                feeding.feed_all()
            self._state = "closed"
            self._pool.shutdown(wait=False)

    def terminate(self) -> None:
        """Ends the workers at once, whatever they run; what is not done fails."""
        self._state = "terminated"
        for feeding in list(self._feeding):
            feeding.stop()
        self._pool.kill_workers()

    def join(self) -> None:
        """Waits until the workers have ended.

        Raises:
            ValueError: the pool is neither closed nor terminated.
            ModeError: this thread cannot wait; ``join_async`` can.
        """
        self._check_over()
        blocking(lambda: self._pool.shutdown(wait=True), "await pool.join_async()")

    async def join_async(self) -> None:
        """Like ``join``, without blocking."""
        self._check_over()
        await self._pool.aclose()

    def _check_over(self) -> None:
        if self._state == "running":
            raise ValueError("Pool is still running")

    def __enter__(self) -> Self:
        self._check_running()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.terminate()


def _check_chunksize(chunksize: int) -> None:
    if chunksize < 1:
        raise ValueError(f"Chunksize must be 1+, not {chunksize}")


def _only(results: list[T]) -> T:
    return results[0]


def _joined(results: list[list[Any]]) -> list[Any]:
    return [result for chunk in results for result in chunk]
