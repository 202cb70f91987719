"""What is taken and given back: that it is never kept by who has not heard of having it.

Owns ``with`` and ``async with``, and what happens when a wait is ended in the moment of its
success, or a task in that of giving something back. Knows nothing of what is taken.

A signal that ends a task can strike wherever Python looks for one: as a function begins, after a
call into JavaScript, and as a loop goes round; but not between the end of a function and the line
that called it. So there is none between the end of ``acquire`` and what its caller does next; in
between, what was taken is given back, and what gives back is ``undisturbed``.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol

from pyworkers._cancel import undisturbed
from pyworkers._worker import current_worker
from pyworkers.errors import OwnerDied
from pyworkers.sync._core import DONE, INHERITED, NOT_YET, Core


class Care(Protocol):
    """Puts signals off where they would do harm; the ``interruptions`` of a worker."""

    puts_off: bool
    put_off: int

    def raise_put_off(self) -> None: ...


class _Careless:
    """Stands in for the signals of a worker, where there are none."""

    puts_off = False
    put_off = 0

    def raise_put_off(self) -> None:
        pass


_CARELESS = _Careless()


def care() -> Care:
    """Returns what puts signals off in this interpreter."""
    worker = current_worker()
    return _CARELESS if worker is None else worker.interruptions


class Held(ABC):
    """What can be taken by a name or a block, and is given back."""

    __slots__ = ()

    @abstractmethod
    def _take(self, timeout: float | None) -> bool:
        """Takes it within some seconds; None means whenever."""

    @abstractmethod
    async def _take_async(self, timeout: float | None) -> bool:
        """The same without blocking."""

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """Takes it, and waits until that is possible.

        Args:
            block: False tries once.
            timeout: seconds to wait; None means for ever.

        Returns:
            Whether it was taken.

        Raises:
            OwnerDied: who held a lock has ended; it was not taken, and is free again.
            ModeError: this thread cannot wait; ``acquire_async`` can.
        """
        return self._take(timeout if block else 0.0)

    async def acquire_async(self, timeout: float | None = None) -> bool:
        """Like ``acquire``, without blocking."""
        return await self._take_async(timeout)

    @abstractmethod
    def release(self) -> None:
        """Gives it back."""

    def __enter__(self) -> bool:
        return self._take(None)

    @undisturbed
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()

    async def __aenter__(self) -> bool:
        return await self._take_async(None)

    @undisturbed
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


class Acquired(Held):
    """What has a core by which it is taken."""

    __slots__ = ()
    _attempt: Callable[[float], int]
    _release: Callable[..., bool]
    _core: Core
    _care: Care

    @undisturbed
    def _give_back(self) -> None:
        """Releases what was just taken."""
        self._release()

    @undisturbed
    def _free(self, *how: int) -> bool:
        """Releases it, and then hears of what was put off meanwhile; False if it was not taken."""
        was_taken = self._release(*how)
        if self._care.put_off:
            self._care.raise_put_off()
        return was_taken

    def _take(self, timeout: float | None) -> bool:
        try:
            got = self._attempt(0) or self._insist() or self._core.wait(timeout)
        except BaseException:
            if self._core.has_just_taken():
                self._give_back()
            raise
        return got == DONE or self._had(got)

    def _insist(self) -> int:
        """Tries what is left to try before a wait."""
        return NOT_YET

    async def _take_async(self, timeout: float | None) -> bool:
        try:
            got = self._attempt(0) or await self._core.wait_async(timeout)
        except BaseException:
            if self._core.has_just_taken():
                self._give_back()
            raise
        return got == DONE or self._had(got)

    @undisturbed
    def _had(self, got: int) -> bool:
        if got == INHERITED:
            self._give_back()
            raise OwnerDied(
                f"the worker that held this {type(self).__name__} has ended without releasing it: "
                "what it guards may be half changed"
            )
        return bool(got)


class Guarded(Held):
    """What is taken by taking its lock."""

    __slots__ = ()
    _lock: Any

    def _take(self, timeout: float | None) -> bool:
        taken: bool = self._lock._take(timeout)
        return taken

    async def _take_async(self, timeout: float | None) -> bool:
        taken: bool = await self._lock._take_async(timeout)
        return taken

    @undisturbed
    def release(self) -> None:
        """Gives the lock back."""
        self._lock.release()
