"""Many results as they come: what ``map`` and ``as_completed`` return.

Each can be iterated with ``for`` where this thread can block and with ``async for`` everywhere.
Owns the chunks of a map and the order of results. Knows nothing of workers.
"""

import concurrent.futures
import inspect
import time
import weakref
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any, Final, Generic, Protocol, TypeVar

from pyworkers import _codec
from pyworkers._futures import Future
from pyworkers._rate import TokenBucket

T = TypeVar("T")

_CHUNK_SECONDS: Final = 0.01
"""How long a chunk should take: long enough that its way costs little beside it."""

_CHUNKS_PER_WORKER: Final = 2
"""Chunks under way for each worker, so that none waits for the next."""


class Waiting(Protocol):
    """What iterators need of their hub."""

    def wait(self, is_done: Callable[[], bool], timeout: float | None) -> bool:
        """Blocks until something is done; returns False when the time is over."""

    async def wait_async(self, is_done: Callable[[], bool], timeout: float | None) -> bool:
        """Waits without blocking."""

    def when_safe(self, call: Callable[[], object]) -> None:
        """Has a function called soon, and not in the middle of anything."""


Submit = Callable[[Callable[..., Any], tuple[Any, ...], float], Future[Any]]
"""Submits a function with arguments; it does not start for so many seconds."""


class _Stream(Generic[T]):
    """Both kinds of iteration, from two questions: is the next one there, and what is it."""

    def __init__(self, hub: Waiting, timeout: float | None) -> None:
        self._hub = hub
        self._end = None if timeout is None else time.monotonic() + timeout

    def __iter__(self) -> Iterator[T]:
        return self

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    def __next__(self) -> T:
        if self._is_over():
            raise StopIteration
        try:
            in_time = self._is_there() or self._hub.wait(self._is_there, self._left())
        except KeyboardInterrupt:
            self.close(running=True)
            raise
        if not in_time:
            self._late()
        return self._take()

    async def __anext__(self) -> T:
        if self._is_over():
            raise StopAsyncIteration
        if not self._is_there() and not await self._hub.wait_async(self._is_there, self._left()):
            self._late()
        return self._take()

    def _left(self) -> float | None:
        return None if self._end is None else self._end - time.monotonic()

    def _late(self) -> None:
        self.close()
        raise TimeoutError("not all results were there in time")

    def _is_over(self) -> bool:
        raise NotImplementedError

    def _is_there(self) -> bool:
        raise NotImplementedError

    def _take(self) -> T:
        raise NotImplementedError

    def close(self, running: bool = False) -> None:
        """Gives up what has not been yielded.

        Args:
            running: whether what it waits for is also cancelled where it runs.
        """
        raise NotImplementedError


class ChunkFailed(Exception):
    """A call in a chunk raised: what the calls before it returned, and its error."""


def _call_each(
    function: Callable[..., T], calls: Sequence[tuple[Any, ...]]
) -> tuple[list[T], float]:
    started = time.perf_counter()
    results = []
    try:
        for args in calls:
            results.append(function(*args))
    except Exception as error:
        raise ChunkFailed(results, _codec.portable(error)) from error
    return results, time.perf_counter() - started


async def _await_each(
    function: Callable[..., Coroutine[Any, Any, T]], calls: Sequence[tuple[Any, ...]]
) -> tuple[list[T], float]:
    started = time.perf_counter()
    results = []
    try:
        for args in calls:
            results.append(await function(*args))
    except Exception as error:
        raise ChunkFailed(results, _codec.portable(error)) from error
    return results, time.perf_counter() - started


def _cancel_all(chunks: Iterable[Future[Any]]) -> None:
    for chunk in chunks:
        chunk.cancel()


def _tell(mapped: "weakref.ref[Mapped[Any]]", chunk: concurrent.futures.Future[Any]) -> None:
    """Tells a map that a chunk is done, unless nobody holds it any more."""
    if (alive := mapped()) is not None:
        alive.chunk_done(chunk)


class Mapped(_Stream[T]):
    """The results of ``map``, in order.

    Without a chunk size, calls travel one by one until it is known how long one takes, then in
    chunks of about 10 ms; chunks are submitted as others are done, a few for each worker ahead.
    With a rate, each is submitted with the delay that keeps to it, and no more than there are
    workers: what waits for a worker cannot keep to a rate. Closing it, or an error, cancels the
    calls that do not run yet.
    """

    def __init__(
        self,
        submit: Submit,
        workers: int,
        hub: Waiting,
        function: Callable[..., T],
        calls: Iterable[tuple[Any, ...]],
        length: int | None,
        timeout: float | None,
        chunksize: int | None,
        buffersize: int | None,
        rate: float | None,
    ) -> None:
        super().__init__(hub, timeout)
        self._submit = submit
        self._workers = workers
        self._ahead = workers * _CHUNKS_PER_WORKER
        self._bucket: TokenBucket | None = None
        if rate is not None:
            chunksize = chunksize or 1
            self._ahead = workers
            self._bucket = TokenBucket(rate, chunksize, time.monotonic())
        self._function = function
        self._call = _await_each if inspect.iscoroutinefunction(function) else _call_each
        self._length = length
        self._calls = iter(calls)
        self._chunksize = chunksize
        self._buffersize = buffersize
        self._submitted = 0
        self._taken = 0
        self._all_submitted = False
        self._chunks: deque[Future[tuple[list[T], float]]] = deque()
        self._under_way = 0
        self._calls_done = 0
        self._seconds = 0.0
        self._ready: deque[T] = deque()
        self._error: BaseException | None = None
        self._filling = False
        self._fill()

    def __len__(self) -> int:
        """How many results there are in all."""
        if self._length is None:
            raise TypeError("with a buffersize it is not known how many results there are")
        return self._length

    def _fill(self) -> None:
        # In mode inline a chunk is done when it is submitted, and its callback comes here again.
        if self._filling:
            return
        self._filling = True
        try:
            self._submit_chunks()
        finally:
            self._filling = False

    def _submit_chunks(self) -> None:
        while (
            not self._all_submitted and self._under_way < self._ahead and (room := self._room()) > 0
        ):
            calls = list(islice(self._calls, min(self._chunk(room), room)))
            if not calls:
                self._all_submitted = True
                break
            self._submitted += len(calls)
            self._under_way += 1
            delay = self._bucket.take(len(calls), time.monotonic()) if self._bucket else 0.0
            future = self._submit(self._call, (self._function, calls), delay)
            self._chunks.append(future)
            future.add_done_callback(partial(_tell, weakref.ref(self)))

    def _room(self) -> int:
        """How many calls may be submitted now."""
        if self._length is not None:
            return self._length - self._submitted
        assert self._buffersize is not None
        return self._buffersize - (self._submitted - self._taken)

    def _chunk(self, room: int) -> int:
        if self._chunksize is not None:
            return self._chunksize
        if not self._calls_done:
            return 1
        rate = self._calls_done / max(self._seconds, 1e-6)
        # Never so large that the last chunks leave workers without anything to do.
        share = room // (2 * self._workers)
        return max(1, min(int(rate * _CHUNK_SECONDS), share))

    def chunk_done(self, future: concurrent.futures.Future[tuple[list[T], float]]) -> None:
        """Submits the next chunks."""
        self._under_way -= 1
        if future.cancelled() or future.exception(0) is not None:
            self._all_submitted = True
            return
        results, seconds = future.result(0)
        self._calls_done += len(results)
        self._seconds += seconds
        if self._buffersize is None:
            self._fill()

    def _is_over(self) -> bool:
        return not self._ready and not self._chunks and self._error is None

    def _is_there(self) -> bool:
        return bool(self._ready) or self._error is not None or self._chunks[0].done()

    def _take(self) -> T:
        while not self._ready:
            if self._error is not None:
                error = self._error
                self.close()
                raise error
            self._open(self._chunks.popleft())
        self._taken += 1
        if self._buffersize is not None:
            # Here and not when a chunk is done: what the iterables raise is for who iterates.
            try:
                self._fill()
            except BaseException:
                self.close()
                raise
        return self._ready.popleft()

    def _open(self, chunk: Future[tuple[list[T], float]]) -> None:
        try:
            results, _ = chunk.result(0)
        except ChunkFailed as failed:
            results, self._error = failed.args
            assert self._error is not None
            self._error.__cause__ = failed.__cause__
        except BaseException as error:
            results, self._error = [], error
        self._ready.extend(results)

    def close(self, running: bool = False) -> None:
        self._error = None
        self._all_submitted = True
        for chunk in self._chunks:
            chunk.cancel(running)
        self._chunks.clear()
        self._ready.clear()

    def __del__(self) -> None:
        if self._chunks:
            self._hub.when_safe(partial(_cancel_all, self._chunks))


class Completed(_Stream[Future[T]]):
    """Futures in the order in which they are done."""

    def __init__(self, hub: Waiting, futures: Iterable[Future[T]], timeout: float | None) -> None:
        super().__init__(hub, timeout)
        self._done: deque[Future[T]] = deque()
        self._waited = list(dict.fromkeys(futures))
        self._missing = len(self._waited)
        note: Callable[[Any], object] = self._done.append
        self._note = note
        for future in self._waited:
            future.add_done_callback(self._note)

    def _is_over(self) -> bool:
        return self._missing == 0

    def _is_there(self) -> bool:
        return bool(self._done)

    def _take(self) -> Future[T]:
        self._missing -= 1
        return self._done.popleft()

    def close(self, running: bool = False) -> None:
        self._missing = 0
        for future in self._waited:
            if isinstance(future, Future):  # and of no other executor
                future.remove_done_callback(self._note)
            if running:
                future.cancel(running)
        self._waited.clear()
