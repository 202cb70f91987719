"""Lock, RLock, Semaphore, BoundedSemaphore, Event: as ``multiprocessing`` has them.

Owns what their users see: signatures, errors and statistics. The words and their transitions are
those of ``js_shim/locks.mjs``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, ClassVar

from pyworkers._env import Mode
from pyworkers.errors import OwnerDied
from pyworkers.sync._core import DONE, INHERITED, Core
from pyworkers.sync._primitive import Primitive


@dataclass(frozen=True, slots=True, kw_only=True)
class LockStatistics:
    """What a lock can tell.

    Attributes:
        holder: number of the worker that holds it, 0 for the hub; None if nobody does.
        depth: how often the holder has taken it.
        waiting: how many wait for it now; too many if a worker has ended while it waited.
        waits: how often somebody had to wait.
        takings: how often it was taken, but for an RLock by who held it already.
        losses: how many holders have ended without releasing it.
    """

    holder: int | None
    depth: int
    waiting: int
    waits: int
    takings: int
    losses: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SemaphoreStatistics:
    """What a semaphore can tell.

    Attributes:
        value: how many can be taken now.
        waiting: how many wait for one; too many if a worker has ended while it waited.
        waits: how often somebody had to wait.
    """

    value: int
    waiting: int
    waits: int


class Acquired:
    """What is taken, and given back."""

    __slots__ = ()
    _attempt: Callable[[float], int]
    _core: Core

    def _give_back(self) -> None:
        """Releases what was just taken."""
        raise NotImplementedError

    def _take(self, timeout: float | None) -> bool:
        try:
            got = self._attempt(0) or self._core.wait(timeout)
        except BaseException:
            if self._core.has_just_taken():
                self._give_back()
            raise
        return got == DONE or self._had(got)

    async def _take_async(self, timeout: float | None) -> bool:
        try:
            got = self._attempt(0) or await self._core.wait_async(timeout)
        except BaseException:
            if self._core.has_just_taken():
                self._give_back()
            raise
        return self._had(got)

    def _had(self, got: int) -> bool:
        if got == INHERITED:
            self._give_back()
            raise OwnerDied(
                f"the worker that held this {type(self).__name__} has ended without releasing it: "
                "what it guards may be half changed"
            )
        return bool(got)

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

    def release(self) -> None:
        """Gives it back."""
        raise NotImplementedError

    def __enter__(self) -> bool:
        return self._take(None)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()

    async def __aenter__(self) -> bool:
        return await self.acquire_async()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


class Lock(Acquired, Primitive):
    """Mutual exclusion between hub and workers; anyone may release it.

    ``with lock:`` blocks, ``async with lock:`` does not. Where the worker that holds it ends, who
    wants it next is told so by ``OwnerDied``, and it is free again.
    """

    __slots__ = ("_release",)
    _KIND: ClassVar = "Lock"
    _BYTES: ClassVar = 32

    def _set_up(self) -> None:
        super()._set_up()
        self._release = self._core.teller("release")

    def _give_back(self) -> None:
        self._release()

    def release(self) -> None:
        """Frees it, whoever has taken it.

        Raises:
            ValueError: it is not locked.
        """
        if not self._release():
            raise ValueError(f"this {type(self).__name__} is released and was not taken")

    def locked(self) -> bool:
        """Says whether somebody holds it."""
        return bool(self._core.ask("owner") != -1)

    def statistics(self) -> LockStatistics:
        """Returns who holds it, and how often it was waited for."""
        return _lock_statistics(self._core.ask("owner"), self._core.ask("statistics"))

    def _describe(self) -> str:
        return _described(self.statistics())


class RLock(Acquired, Primitive):
    """A lock that its holder can take again; as often as it has taken it, it has to release it.

    The holder is an interpreter: a worker with all that it runs, or the hub.
    """

    __slots__ = ("_again", "_release")
    _KIND: ClassVar = "RLock"
    _BYTES: ClassVar = 32

    def _set_up(self) -> None:
        super()._set_up()
        self._again = self._core.teller("again")
        self._release = self._core.teller("releaseOnce")

    def _give_back(self) -> None:
        self._release()

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        return self._again() or super().acquire(block, timeout)

    async def acquire_async(self, timeout: float | None = None) -> bool:
        return self._again() or await super().acquire_async(timeout)

    def __enter__(self) -> bool:
        return self.acquire()

    def release(self) -> None:
        """Gives it back once.

        Raises:
            AssertionError: this interpreter does not hold it.
        """
        if not self._release():
            raise AssertionError("an RLock can only be released by the interpreter that holds it")

    def statistics(self) -> LockStatistics:
        """Returns who holds it, and how often it was waited for."""
        return _lock_statistics(self._core.ask("owner"), self._core.ask("statistics"))

    def _describe(self) -> str:
        return _described(self.statistics())


def _lock_statistics(owner: int, found: dict[str, int]) -> LockStatistics:
    return LockStatistics(holder=None if owner == -1 else owner, **found)


def _described(found: LockStatistics) -> str:
    if found.holder is None:
        state = "free"
    else:
        who = f"worker {found.holder}" if found.holder else "the hub"
        state = f"held by {who}" + (f" {found.depth} times" if found.depth > 1 else "")
    return f"{state}, {found.waiting} waiting"


class Semaphore(Acquired, Primitive):
    """A number of permits, which ``acquire`` takes one of and ``release`` gives back.

    Args:
        value: how many there are at first.
        mode: of the pools whose tasks shall get it; None means the default one.

    Raises:
        ValueError: the value is negative.
        ModeError: the mode does not work here.
        ArenaFull: there is no room.
    """

    __slots__ = ("_release",)
    _KIND: ClassVar = "Semaphore"
    _BYTES: ClassVar = 32

    def __init__(self, value: int = 1, *, mode: Mode | None = None) -> None:
        super().__init__(mode=mode)
        if value < 0:
            raise ValueError(f"the value of a semaphore cannot be negative: {value}")
        self._core.ask("initialize", value, self._limit(value))

    def _limit(self, value: int) -> int:
        return 0

    def _set_up(self) -> None:
        super()._set_up()
        self._release = self._core.teller("release")

    def _give_back(self) -> None:
        self._release(1)

    def release(self, n: int = 1) -> None:
        """Gives permits back, or adds some.

        Args:
            n: how many.

        Raises:
            ValueError: there would be more than it can count, or, for a BoundedSemaphore, than
                there were at first.
        """
        if n < 1:
            raise ValueError(f"n must be 1 or more, not {n}")
        if not self._release(n):
            raise ValueError(f"this {type(self).__name__} is released too many times")

    def get_value(self) -> int:
        """Returns how many permits can be taken now."""
        return self.statistics().value

    def statistics(self) -> SemaphoreStatistics:
        """Returns how many permits there are, and how often they were waited for."""
        found: dict[str, Any] = self._core.ask("statistics")
        return SemaphoreStatistics(
            value=found["value"], waiting=found["waiting"], waits=found["waits"]
        )

    def _describe(self) -> str:
        found = self.statistics()
        return f"with value {found.value}, {found.waiting} waiting"


class BoundedSemaphore(Semaphore):
    """A semaphore that cannot be released more often than it was acquired."""

    __slots__ = ()

    def _limit(self, value: int) -> int:
        return value


class Event(Primitive):
    """Something that has happened, or not: ``wait`` waits until it has."""

    __slots__ = ("_put",)
    _KIND: ClassVar = "Flag"
    _BYTES: ClassVar = 16

    def _set_up(self) -> None:
        super()._set_up()
        self._put = self._core.teller("put")

    def is_set(self) -> bool:
        """Says whether it is set now."""
        return bool(self._core.ask("isSet"))

    def set(self) -> None:
        """Sets it, and wakes all who wait."""
        self._put(1)

    def clear(self) -> None:
        """Makes it unset: who waits from now on waits until it is set again."""
        self._put(0)

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until it is set.

        Args:
            timeout: seconds; None means for ever.

        Returns:
            False when the time is over.

        Raises:
            ModeError: this thread cannot wait; ``wait_async`` can.
        """
        return bool(self._attempt(0) or self._core.wait(timeout))

    async def wait_async(self, timeout: float | None = None) -> bool:
        """Like ``wait``, without blocking."""
        return bool(self._attempt(0) or await self._core.wait_async(timeout))

    def _describe(self) -> str:
        found = self._core.ask("statistics")
        return f"{'set' if found['value'] else 'unset'}, {found['waiting']} waiting"
