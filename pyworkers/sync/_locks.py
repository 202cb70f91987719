"""Lock, RLock, Semaphore, BoundedSemaphore, Event: as ``multiprocessing`` has them.

Owns what their users see: signatures, errors and statistics. The words and their transitions are
those of ``js_shim/locks.mjs``.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from pyworkers._cancel import undisturbed
from pyworkers._env import Mode
from pyworkers.sync._held import Acquired, care
from pyworkers.sync._local import MOST, check_count
from pyworkers.sync._primitive import Awaited, Primitive


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


class _Lock(Acquired, Primitive):
    """What one holder has at a time."""

    __slots__ = ("_care", "_release")
    _BYTES: ClassVar = 32
    _RELEASE: ClassVar[str]
    """The operation that gives it back."""

    def _set_up(self) -> None:
        super()._set_up()
        self._care = care()
        self._release = self._core.teller(self._RELEASE)

    def statistics(self) -> LockStatistics:
        """Returns who holds it, and how often it was waited for."""
        owner = self._core.ask("owner")
        holder = None if owner == -1 else owner
        return LockStatistics(holder=holder, **self._core.ask("statistics"))

    def _describe(self) -> str:
        found = self.statistics()
        if found.holder is None:
            state = "free"
        else:
            who = f"worker {found.holder}" if found.holder else "the hub"
            state = f"held by {who}" + (f" {found.depth} times" if found.depth > 1 else "")
        return f"{state}, {found.waiting} waiting"


class Lock(_Lock):
    """Mutual exclusion between hub and workers; anyone may release it.

    ``with lock:`` blocks, ``async with lock:`` does not. Where the worker that holds it ends, who
    wants it next is told so by ``OwnerDied``, and it is free again.
    """

    __slots__ = ()
    _KIND: ClassVar = "Lock"
    _RELEASE: ClassVar = "release"

    @undisturbed
    def release(self) -> None:
        """Frees it, whoever has taken it.

        Raises:
            ValueError: it is not locked.
        """
        if not self._free():
            raise ValueError(f"this {type(self).__name__} is released and was not taken")

    def locked(self) -> bool:
        """Says whether somebody holds it."""
        return bool(self._core.ask("owner") != -1)


class RLock(_Lock):
    """A lock that its holder can take again; as often as it has taken it, it has to release it.

    The holder is an interpreter: a worker with all that it runs, or the hub.
    """

    __slots__ = ()
    _KIND: ClassVar = "RLock"
    _RELEASE: ClassVar = "releaseOnce"

    @undisturbed
    def release(self) -> None:
        """Gives it back once.

        Raises:
            AssertionError: this interpreter does not hold it.
        """
        if not self._free():
            raise AssertionError("an RLock can only be released by the interpreter that holds it")


class Semaphore(Acquired, Primitive):
    """A number of permits, which ``acquire`` takes one of and ``release`` gives back.

    Args:
        value: how many there are at first.
        mode: of the pools whose tasks shall get it; None means the default one.

    Raises:
        ValueError: the value is negative, or more than 2**31 - 1.
        ModeError: the mode does not work here.
        ArenaFull: there is no room.
    """

    __slots__ = ("_care", "_release")
    _KIND: ClassVar = "Semaphore"
    _BYTES: ClassVar = 32

    def __init__(self, value: int = 1, *, mode: Mode | None = None) -> None:
        check_count("the value of a semaphore", value)
        super().__init__(mode=mode)
        self._core.ask("initialize", value, self._limit(value))

    def _limit(self, value: int) -> int:
        return -1  # none

    def _set_up(self) -> None:
        super()._set_up()
        self._care = care()
        self._release = self._core.teller("release")

    @undisturbed
    def _give_back(self) -> None:
        self._release(1)

    @undisturbed
    def release(self, n: int = 1) -> None:
        """Gives permits back, or adds some.

        Args:
            n: how many.

        Raises:
            ValueError: there would be more than it can count, or, for a BoundedSemaphore, than
                there were at first.
        """
        if not 1 <= n <= MOST:  # here, as a signal could strike in a function that is called
            raise ValueError(f"n must be from 1 to {MOST}, not {n}")
        if not self._free(n):
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


class Event(Awaited):
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

    def _describe(self) -> str:
        found = self._core.ask("statistics")
        return f"{'set' if found['value'] else 'unset'}, {found['waiting']} waiting"
