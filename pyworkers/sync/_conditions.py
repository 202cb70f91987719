"""Condition: as ``multiprocessing`` has it.

Owns what its users see, and that a wait ends with the lock taken back, whatever happens to it. Who
is woken by what is decided in ``js_shim/conditions.mjs``.
"""

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from pyworkers._cancel import undisturbed
from pyworkers._env import Mode
from pyworkers.errors import OwnerDied
from pyworkers.sync._core import INHERITED
from pyworkers.sync._held import Guarded
from pyworkers.sync._hosted import HostedCore
from pyworkers.sync._local_conditions import (
    ENDS,
    GIVES_UP,
    GOES_ON,
    NOT_HELD,
    STILL_WAITS,
    WAS_NOTIFIED,
)
from pyworkers.sync._locks import Lock, RLock
from pyworkers.sync._primitive import Primitive
from pyworkers.sync._unbroken import unbroken

MAX_WAITS: Final = 128
"""So many can wait for one of them at the same time, in shared memory."""
SLOT_BYTES: Final = 32

_ALL: Final = 0x7FFFFFFF


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditionStatistics:
    """What a condition can tell.

    Attributes:
        waiting: how many wait for it now and were not notified; too many if a worker has ended
            while it waited.
        waits: how often somebody waited.
        notifications: how many waits were notified.
    """

    waiting: int
    waits: int
    notifications: int


class Condition(Guarded, Primitive):
    """A lock, and waits for something that who holds it changes and tells of.

    ``with condition:`` takes the lock, and ``async with condition:`` does so without blocking.

    Up to 128 can wait for it at the same time. What was notified and does not get to know it, as it
    was cancelled or its worker has ended, is made up for: the next that waited by then is woken.

    Args:
        lock: a ``Lock`` or ``RLock``, perhaps of several conditions; None means an ``RLock`` of its
            own. The holder of an RLock is an interpreter: coroutines of one interpreter that are to
            wait for each other need a ``Lock``.
        mode: of the pools whose tasks shall get it; None means that of the lock, or the default
            one.

    Raises:
        ValueError: the lock is of another mode.
        ModeError: the mode does not work here, or in a worker is not that of its pool.
        ArenaFull: there is no room.
    """

    __slots__ = ("_lock", "_notify", "_suspend")
    _KIND: ClassVar = "Condition"
    _BYTES: ClassVar = 16 + MAX_WAITS * SLOT_BYTES

    _lock: Lock | RLock
    _tickets: Final = itertools.count(1)

    def __init__(self, lock: Lock | RLock | None = None, *, mode: Mode | None = None) -> None:
        if lock is None:
            lock = RLock(mode=mode)
        elif mode is not None and mode != lock.mode:
            raise ValueError(f"the lock of a Condition of mode {mode} is of mode {lock.mode}")
        super().__init__(mode=lock._mode)
        self._join(lock)
        if isinstance(self._core, HostedCore):
            assert isinstance(lock._core, HostedCore)
            self._core.bind_there(lock._core)

    def _companions(self) -> tuple[Any, ...]:
        return (self._lock,)

    def _join(self, *companions: Any) -> None:
        (self._lock,) = companions
        self._core.bind(self._lock._core)

    def _set_up(self) -> None:
        super()._set_up()
        self._suspend = self._core.teller("suspend")
        self._notify = self._core.teller("notify")

    def wait(self, timeout: float | None = None) -> bool:
        """Gives the lock back, waits to be notified, and takes the lock again.

        However it ends, the lock is held then, as deep as before.

        Args:
            timeout: seconds to wait for a notification; None means for ever. Taking the lock again
                is waited for without a bound.

        Returns:
            False when the time is over.

        Raises:
            RuntimeError: the lock is not held here, or too many wait.
            OwnerDied: who held the lock meanwhile has ended without releasing it. It is held here.
            ModeError: this thread cannot wait; ``wait_async`` can.
        """
        if isinstance(self._core, HostedCore):
            self._core.check_waiting()
        end = None if timeout is None else time.monotonic() + timeout
        ticket = next(self._tickets)
        depth = 0
        try:
            depth = self._begin(ticket)
            got = STILL_WAITS
            while got & STILL_WAITS:
                left = None if end is None else end - time.monotonic()
                woken = self._core.part(ticket).wait(left)
                got = self._take_back(ticket, GOES_ON if woken else ENDS)
            self._remember(depth)
        except BaseException:
            self._take_back(ticket, GIVES_UP)
            self._remember(depth)
            raise
        return self._outcome(got)

    async def wait_async(self, timeout: float | None = None) -> bool:
        """Like ``wait``, without blocking."""
        end = None if timeout is None else time.monotonic() + timeout
        ticket = next(self._tickets)
        depth = 0
        try:
            depth = self._begin(ticket)
            got = STILL_WAITS
            while got & STILL_WAITS:
                left = None if end is None else end - time.monotonic()
                woken = await self._core.part(ticket).wait_async(left)
                got = await self._take_back_async(ticket, GOES_ON if woken else ENDS)
            self._remember(depth)
        except BaseException:
            await unbroken(self._take_back_async(ticket, GIVES_UP))
            self._remember(depth)
            raise
        return self._outcome(got)

    def _begin(self, ticket: int) -> int:
        """Gives the lock back; returns how deep it was held."""
        lock = self._lock._core
        if isinstance(lock, HostedCore):
            depth = lock.held()
            if depth:
                self._suspend(ticket)
                lock.forget()
        else:
            depth = self._suspend(ticket)
            if depth == 0:
                raise RuntimeError(f"more than {MAX_WAITS} wait for this Condition")
        if depth <= 0:
            raise RuntimeError("a Condition can only be waited for by who holds its lock")
        return depth

    def _take_back(self, ticket: int, how: int) -> int:
        lock = self._core.part(ticket, how)
        return lock.attempt(0) or lock.wait(None)

    async def _take_back_async(self, ticket: int, how: int) -> int:
        lock = self._core.part(ticket, how)
        return lock.attempt(0) or await lock.wait_async(None)

    def _remember(self, depth: int) -> None:
        if depth > 0 and isinstance(self._lock._core, HostedCore):
            self._lock._core.remember(depth)

    @undisturbed
    def _outcome(self, got: int) -> bool:
        if got & INHERITED:
            raise OwnerDied(
                "the worker that held the lock of this Condition has ended without releasing it: "
                "what it guards may be half changed"
            )
        return bool(got & WAS_NOTIFIED)

    def wait_for(self, predicate: Callable[[], Any], timeout: float | None = None) -> Any:
        """Waits until something holds, which is looked at with the lock held.

        Args:
            predicate: what has to hold.
            timeout: seconds; None means for ever.

        Returns:
            What the predicate returned last: something false when the time is over.
        """
        end = None if timeout is None else time.monotonic() + timeout
        found = predicate()
        while not found:
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                break
            self.wait(left)
            found = predicate()
        return found

    async def wait_for_async(
        self, predicate: Callable[[], Any], timeout: float | None = None
    ) -> Any:
        """Like ``wait_for``, without blocking."""
        end = None if timeout is None else time.monotonic() + timeout
        found = predicate()
        while not found:
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                break
            await self.wait_async(left)
            found = predicate()
        return found

    def notify(self, n: int = 1) -> None:
        """Wakes who waits, the first to come first; each goes on once it has the lock.

        Args:
            n: how many, if there are so many.

        Raises:
            RuntimeError: the lock is not held here.
            ValueError: n is negative.
        """
        if n < 0:
            raise ValueError(f"n must not be negative: {n}")
        lock = self._lock._core
        is_held = not isinstance(lock, HostedCore) or lock.held()
        if not is_held or self._notify(min(n, _ALL)) == NOT_HELD:
            raise RuntimeError("a Condition can only be notified by who holds its lock")

    def notify_all(self) -> None:
        """Wakes all who wait.

        Raises:
            RuntimeError: the lock is not held here.
        """
        self.notify(_ALL)

    def statistics(self) -> ConditionStatistics:
        """Returns how many wait, and how often somebody did."""
        return ConditionStatistics(**self._core.ask("statistics"))

    def _describe(self) -> str:
        return f"of {self._lock!r}, {self.statistics().waiting} waiting"
