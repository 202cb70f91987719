"""Tasks that belong together: all are done, or none goes on.

Owns what becomes of the others when one fails. Knows nothing of workers.
"""

from collections.abc import Callable, Generator
from types import TracebackType
from typing import Any, ParamSpec, Protocol, Self, TypeVar

from pyworkers._futures import Future
from pyworkers._iterators import Waiting

P = ParamSpec("P")
T = TypeVar("T")


class _Submits(Protocol):
    """What a group needs of its pool."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Queues a call."""

    def submit_with(self, fn: Callable[..., T], *args: Any, **options: Any) -> Future[Any]:
        """Queues a call with options."""


class TaskGroup:
    """Submits tasks, and ends with the last of them; ``pool.group()`` returns one.

    As a context manager, by ``with`` where this thread can block and by ``async with`` everywhere,
    it waits for its tasks. If one fails, or the block does, the others are cancelled, those that
    run too, and the errors are raised together once all futures are settled.
    """

    def __init__(self, pool: _Submits, hub: Waiting) -> None:
        self._pool = pool
        self._hub = hub
        self._open = 0
        self._failed = False
        self.futures: list[Future[Any]] = []
        """Those of the tasks, as submitted."""

    def __repr__(self) -> str:
        done = len(self.futures) - self._open
        return f"<TaskGroup: {done} of {len(self.futures)} tasks are done>"

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Submits a task of this group, as ``submit`` of the pool does."""
        return self._add(self._pool.submit(fn, *args, **kwargs))

    def submit_with(self, fn: Callable[..., T], *args: Any, **options: Any) -> Future[Any]:
        """Submits a task of this group, as ``submit_with`` of the pool does."""
        return self._add(self._pool.submit_with(fn, *args, **options))

    def _add(self, future: Future[T]) -> Future[T]:
        self.futures.append(future)
        self._open += 1
        future.add_done_callback(self._note)
        return future

    def _note(self, future: Any) -> None:
        self._open -= 1
        if not future.cancelled() and future.exception(0) is not None:
            self._failed = True

    def cancel(self) -> None:
        """Cancels all tasks that are not done, those that run too."""
        for future in self.futures:
            future.cancel(running=True)

    def results(self) -> list[Any]:
        """Returns what the tasks have returned, as submitted.

        Raises:
            CancelledError: one was cancelled.
            TimeoutError: one is not done.
            Exception: what the first that failed has raised.
        """
        return [future.result(0) for future in self.futures]

    def _is_decided(self) -> bool:
        return self._failed or self._open == 0

    def _is_over(self) -> bool:
        return self._open == 0

    def _raise(self) -> None:
        errors = [
            error
            for future in self.futures
            if not future.cancelled() and (error := future.exception(0)) is not None
        ]
        if errors:
            raise BaseExceptionGroup("tasks of a group failed", errors)

    def _end(self, block_failed: bool) -> Generator[Callable[[], bool], None, None]:
        """Ends the group: yields what is to be waited for, however that is done.

        What goes wrong with the waiting is thrown in.
        """
        if not block_failed:
            try:
                yield self._is_decided
            except BaseException:
                self.cancel()
                raise
        if block_failed or self._failed:
            self.cancel()
            if self._open:
                yield self._is_over
        if not block_failed:
            self._raise()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        end = self._end(error is not None)
        for is_done in end:
            try:
                self._hub.wait(is_done, None)
            except BaseException as interrupted:
                end.throw(interrupted)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        end = self._end(error is not None)
        for is_done in end:
            try:
                await self._hub.wait_async(is_done, None)
            except BaseException as interrupted:
                end.throw(interrupted)
