"""What a ``Pool`` returns before its calls are done: one result, or an iterator over some.

Owns when they are there, and who waits for them. Knows nothing of how a ``Pool`` is asked.
"""

import builtins
import math
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from functools import cache, partial
from itertools import islice
from types import CoroutineType
from typing import Any, Final, Generic, Self, TypeVar

from pyworkers._futures import Future
from pyworkers._hub import Hub
from pyworkers.sync._children import look
from pyworkers.sync._process import blocking

T = TypeVar("T")

CHUNKS_PER_WORKER: Final = 4
"""So many chunks ``map`` makes for each worker, and ``imap`` submits ahead."""
_UNTAKEN: Final = 1_000
"""While so many chunks wait to be taken, ``imap`` submits no others: it may be endless."""


@cache
def timeout_error() -> type[Exception]:
    """Returns what is raised when a time is over: that of ``multiprocessing``, and Python's.

    That package is not imported before, as it takes long.
    """
    from multiprocessing.context import TimeoutError  # noqa: PLC0415 - takes long

    return type("TimeoutError", (TimeoutError, builtins.TimeoutError), {"__module__": __name__})


Calls = Sequence[tuple[Any, ...]]


def call_each(function: Callable[..., Any], calls: Calls) -> Any:
    """Makes some calls, in a worker; returns a list of results, or a coroutine that does."""
    results: list[Any] = []
    for index, args in enumerate(calls):
        result = function(*args)
        if type(result) is CoroutineType:
            return _await_each(function, results, result, calls[index + 1 :])
        results.append(result)
    return results


async def _await_each(function: Callable[..., Any], results: Any, first: Any, rest: Calls) -> Any:
    results.append(await first)
    for args in rest:
        results.append(await function(*args))
    return results


class AsyncResult(Generic[T]):
    """What ``apply_async`` and the like return: the result, once it is there. It can be awaited.

    Args:
        hub: of the pool.
        futures: of the tasks.
        combine: makes the result of what they return, in order.
        callback: called with the result.
        error_callback: called with the first error.
    """

    def __init__(
        self,
        hub: Hub,
        futures: Sequence[Future[Any]],
        combine: Callable[[list[Any]], T],
        callback: Callable[[T], object] | None,
        error_callback: Callable[[BaseException], object] | None,
    ) -> None:
        self._future: Future[T] = Future(hub, 0, lambda *_: False)
        self._hub = hub
        self._parts = futures
        self._combine = combine
        self._missing = len(futures)
        self._error: BaseException | None = None
        self._future.add_done_callback(partial(_call_back, callback, error_callback))
        for future in futures:
            future.add_done_callback(self._part_done)
        if not futures:
            self._future.set_result(combine([]))

    def _part_done(self, part: Any) -> None:
        try:
            part.result(0)
        except BaseException as error:
            self._error = self._error or error
        self._missing -= 1
        if self._missing:
            return
        if self._error is not None:
            self._future.set_exception(self._error)
        else:
            self._future.set_result(self._combine([part.result(0) for part in self._parts]))
        self._parts = ()

    def ready(self) -> bool:
        """Says whether all is done."""
        return look(self._hub, self._future.done)

    def successful(self) -> bool:
        """Says whether nothing was raised.

        Raises:
            ValueError: it is not ready.
        """
        if not self.ready():
            raise ValueError(f"{self!r} not ready")
        return self._future.exception(0) is None

    def wait(self, timeout: float | None = None) -> None:
        """Waits until it is ready.

        Args:
            timeout: seconds to wait; None means for ever.

        Raises:
            ModeError: this thread cannot wait; ``await`` the result.
        """
        if not self._future.done():
            blocking(lambda: self._hub.wait(self._future.done, timeout), "await result")

    def get(self, timeout: float | None = None) -> T:
        """Returns the result, waiting for it if need be.

        Args:
            timeout: seconds to wait; None means for ever.

        Raises:
            TimeoutError: it took longer: both that of ``multiprocessing`` and Python's.
            ModeError: this thread cannot wait; ``await`` the result.
            Exception: the first one that a task has raised.
        """
        self.wait(timeout)
        if not self._future.done():
            raise timeout_error()(f"there was no result after {timeout:g} s")
        return self._future.result(0)

    def __await__(self) -> Generator[Any, None, T]:
        return self._future.__await__()


def _call_back(
    callback: Callable[[Any], object] | None,
    error_callback: Callable[[BaseException], object] | None,
    future: Any,
) -> None:
    error = future.exception(0)
    if error is None and callback is not None:
        callback(future.result(0))
    elif error is not None and error_callback is not None:
        error_callback(error)


class IMapIterator(Generic[T]):
    """Results as they come, by ``for``, ``next(timeout)`` or ``async for``.

    Args:
        hub: of the pool.
        submit: takes calls, and returns the future of their results.
        calls: to be made.
        chunksize: how many are one task.
        ahead: how many tasks are submitted and not done.
        in_order: whether results come in the order of the calls, or as they are done.
        exhausted: called when all calls are submitted.
    """

    def __init__(
        self,
        hub: Hub,
        submit: Callable[[Calls], Future[list[T]]],
        calls: Iterator[tuple[Any, ...]],
        chunksize: int,
        ahead: int,
        in_order: bool,
        exhausted: Callable[["IMapIterator[T]"], object],
    ) -> None:
        self._hub = hub
        self._submit = submit
        self._calls = calls
        self._chunksize = chunksize
        self._ahead: float = ahead
        self._in_order = in_order
        self._exhausted = exhausted
        self._is_fed = self._feeding = False
        self._running = 0
        self._chunks: deque[Future[list[T]]] = deque()
        """Those whose results were not taken: in order, or as they are done."""
        self._results: deque[T] = deque()
        self._error: BaseException | None = None
        self._feed()

    def _feed(self) -> None:
        # In mode inline a chunk is done when it is submitted, and comes here again.
        if self._feeding:
            return
        self._feeding = True
        try:
            while self._has_room():
                calls = list(islice(self._calls, self._chunksize))
                if not calls:
                    self._fed()
                    break
                self._running += 1
                chunk = self._submit(calls)
                if self._in_order:
                    self._chunks.append(chunk)
                chunk.add_done_callback(self._chunk_done)
        except BaseException as error:  # of who iterates, as what the iterable raises
            self._error = error
            self._fed()
        finally:
            self._feeding = False

    def _has_room(self) -> bool:
        if self._is_fed or self._running >= self._ahead:
            return False
        return len(self._chunks) < _UNTAKEN or self._ahead == math.inf

    def _fed(self) -> None:
        self._is_fed = True
        self._exhausted(self)

    def feed_all(self) -> None:
        """Submits all that is left."""
        self._ahead = math.inf
        self._feed()

    def stop(self) -> None:
        """Submits nothing more."""
        if not self._is_fed:
            self._fed()

    def _chunk_done(self, chunk: Any) -> None:
        self._running -= 1
        if not self._in_order:
            self._chunks.append(chunk)
        self._feed()

    def _is_there(self) -> bool:
        if self._chunks:
            return self._chunks[0].done()
        return self._is_fed and not self._running

    def _take(self) -> T:
        """Returns the next result, which is there."""
        if not self._results:
            if not self._chunks and self._error is not None:
                error, self._error = self._error, None
                raise error
            chunk = self._chunks.popleft()
            self._feed()
            try:
                self._results.extend(chunk.result(0))
            except BaseException:
                if self._chunksize > 1:  # as in multiprocessing, where this ends a generator
                    self.stop()
                    self._chunks.clear()
                raise
        return self._results.popleft()

    def next(self, timeout: float | None = None) -> T:
        """Returns the next result.

        Args:
            timeout: seconds to wait for it; None means for ever.

        Raises:
            StopIteration: there is none.
            TimeoutError: it took longer.
            ModeError: this thread cannot wait: use ``async for``.
            Exception: what the call has raised.
        """
        if not self._results and not self._is_there():
            blocking(lambda: self._hub.wait(self._is_there, timeout), "async for")
            if not self._is_there():
                raise timeout_error()(f"there was no result after {timeout:g} s")
        if not self._has_next():
            raise StopIteration
        return self._take()

    def _has_next(self) -> bool:
        return bool(self._results or self._chunks) or self._error is not None

    def __next__(self) -> T:
        return self.next()

    def __iter__(self) -> Self:
        return self

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        if not self._results:
            await self._hub.wait_async(self._is_there, None)
        if not self._has_next():
            raise StopAsyncIteration
        return self._take()
