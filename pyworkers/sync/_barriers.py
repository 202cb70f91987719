"""Barrier, as ``multiprocessing`` has it, and Latch and Once.

Owns what their users see. The words and their transitions are those of ``js_shim/barriers.mjs``.
"""

import itertools
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from threading import BrokenBarrierError
from typing import Any, ClassVar, Final

from pyworkers._env import Mode
from pyworkers.sync._conditions import SLOT_BYTES
from pyworkers.sync._core import DONE, INHERITED, NOT_YET
from pyworkers.sync._hosted import HostedCore
from pyworkers.sync._local import check_count
from pyworkers.sync._local_conditions import IS_ACTING, IS_BROKEN, IS_FULL
from pyworkers.sync._primitive import Awaited, Primitive
from pyworkers.sync._unbroken import unbroken

MAX_PARTIES: Final = 64
_SLOTS: Final = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class BarrierStatistics:
    """What a barrier can tell.

    Attributes:
        parties: how many pass together.
        waiting: how many have arrived for the next passage.
        broken: whether it is broken.
        trips: how often they have passed.
        breaks: how often it was broken.
    """

    parties: int
    waiting: int
    broken: bool
    trips: int
    breaks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LatchStatistics:
    """What a latch can tell.

    Attributes:
        value: how much there is still to count down.
        count: how much it was at first.
        waiting: how many wait for it; too many if a worker has ended while it waited.
        waits: how often somebody had to wait.
    """

    value: int
    count: int
    waiting: int
    waits: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OnceStatistics:
    """What is known of something that is to be done once.

    Attributes:
        done: whether it is.
        runner: number of the worker that is about it, 0 for the hub; None if nobody is.
        runs: how often somebody has begun.
        waiting: how many wait for it; too many if a worker has ended while it waited.
        waits: how often somebody had to wait.
    """

    done: bool
    runner: int | None
    runs: int
    waiting: int
    waits: int


class Barrier(Primitive):
    """A place that a number of tasks pass together, as soon as all have arrived.

    It breaks, for all that have arrived, when one of them gives up, is cancelled, or its worker
    ends; and when the action fails. ``reset`` mends it.

    Args:
        parties: how many pass together, 64 at the most.
        action: called by the last to arrive, before all pass; None means nothing. It travels as
            functions of tasks do.
        timeout: seconds that ``wait`` waits if it is not told; None means for ever.
        mode: of the pools whose tasks shall get it; None means the default one.

    Raises:
        ValueError: the number of parties is not one of 1 to 64.
        ModeError: the mode does not work here, or in a worker is not that of its pool.
        ArenaFull: there is no room.
    """

    __slots__ = ("_action", "_parties", "_timeout")
    _KIND: ClassVar = "Barrier"
    _BYTES: ClassVar = 48 + _SLOTS * SLOT_BYTES

    _action: Callable[[], object] | None
    _parties: int
    _timeout: float | None
    _tickets: Final = itertools.count(1)

    def __init__(
        self,
        parties: int,
        action: Callable[[], object] | None = None,
        timeout: float | None = None,
        *,
        mode: Mode | None = None,
    ) -> None:
        if not 1 <= parties <= MAX_PARTIES:
            raise ValueError(f"a Barrier has 1 to {MAX_PARTIES} parties, not {parties}")
        super().__init__(mode=mode)
        self._core.ask("initialize", parties)
        self._join(parties, action, timeout)

    def _companions(self) -> tuple[Any, ...]:
        return self._parties, self._action, self._timeout

    def _join(self, *companions: Any) -> None:
        self._parties, self._action, self._timeout = companions

    def wait(self, timeout: float | None = None) -> int:
        """Arrives, and waits until all have.

        Args:
            timeout: seconds, after which the barrier breaks; None means the barrier's own.

        Returns:
            How many arrived before: another number for each, from 0 on.

        Raises:
            BrokenBarrierError: it is broken, or breaks meanwhile, or is reset.
            RuntimeError: too many have passed and were not yet told.
            ModeError: this thread cannot wait; ``wait_async`` can.
        """
        if isinstance(self._core, HostedCore):
            self._core.check_waiting()
        end = self._end(timeout)
        ticket = next(self._tickets)
        try:
            index = self._arrive(ticket)
            while index == IS_ACTING and self._core.wait(_left(end)):
                index = self._arrive(ticket)
            if self._is_last(index) and self._action is not None:
                self._action()
                self._core.ask("trip", ticket)
            else:
                self._core.part(ticket).wait(_left(end))
            passed: bool = self._core.ask("finish", ticket)
        except BaseException:
            self._core.ask("finish", ticket)
            raise
        return self._outcome(index, passed)

    async def wait_async(self, timeout: float | None = None) -> int:
        """Like ``wait``, without blocking."""
        end = self._end(timeout)
        ticket = next(self._tickets)
        try:
            index = await self._arrive_async(ticket)
            while index == IS_ACTING and await self._core.wait_async(_left(end)):
                index = await self._arrive_async(ticket)
            if self._is_last(index) and self._action is not None:
                self._action()
                await self._core.ask_async("trip", ticket)
            else:
                await self._core.part(ticket).wait_async(_left(end))
            passed: bool = await self._core.ask_async("finish", ticket)
        except BaseException:
            await unbroken(self._core.ask_async("finish", ticket))
            raise
        return self._outcome(index, passed)

    def _end(self, timeout: float | None) -> float | None:
        seconds = self._timeout if timeout is None else timeout
        return None if seconds is None else time.monotonic() + seconds

    def _arrive(self, ticket: int) -> int:
        index: int = self._core.ask("arrive", ticket, self._action is not None)
        return _checked(index)

    async def _arrive_async(self, ticket: int) -> int:
        index: int = await self._core.ask_async("arrive", ticket, self._action is not None)
        return _checked(index)

    def _is_last(self, index: int) -> bool:
        if index == IS_ACTING:
            self.abort()
            raise BrokenBarrierError
        return index == self._parties - 1

    def _outcome(self, index: int, passed: bool) -> int:
        if not passed:
            raise BrokenBarrierError
        return index

    def reset(self) -> None:
        """Makes it as new; who has arrived finds it broken."""
        self._core.teller("reset")()

    def abort(self) -> None:
        """Breaks it, for those who have arrived and all who come, until it is reset."""
        self._core.teller("abort")()

    @property
    def parties(self) -> int:
        """How many pass together."""
        return self._parties

    @property
    def n_waiting(self) -> int:
        """How many have arrived for the next passage."""
        return self.statistics().waiting

    @property
    def broken(self) -> bool:
        """Whether it is broken."""
        return self.statistics().broken

    def statistics(self) -> BarrierStatistics:
        """Returns how many have arrived, and how often all have passed."""
        return _barrier_statistics(self._core.ask("statistics"))

    async def statistics_async(self) -> BarrierStatistics:
        """Like ``statistics``, without blocking."""
        return _barrier_statistics(await self._core.ask_async("statistics"))

    def _describe(self) -> str:
        found = self.statistics()
        state = "broken" if found.broken else f"{found.waiting} arrived"
        return f"of {found.parties}, {state}"


def _barrier_statistics(found: dict[str, Any]) -> BarrierStatistics:
    return BarrierStatistics(waiting=found.pop("arrived"), **found)


def _left(end: float | None) -> float | None:
    return None if end is None else end - time.monotonic()


def _checked(index: int) -> int:
    if index == IS_BROKEN:
        raise BrokenBarrierError
    if index == IS_FULL:
        raise RuntimeError("too many have passed this Barrier and were not yet told")
    return index


class Latch(Awaited):
    """Something that is counted down to 0 once, which many may wait for.

    Args:
        count: to count down.
        mode: of the pools whose tasks shall get it; None means the default one.

    Raises:
        ValueError: the count is negative, or more than 2**31 - 1.
        ModeError: the mode does not work here, or in a worker is not that of its pool.
        ArenaFull: there is no room.
    """

    __slots__ = ("_count_down",)
    _KIND: ClassVar = "Latch"
    _BYTES: ClassVar = 32

    def __init__(self, count: int = 1, *, mode: Mode | None = None) -> None:
        check_count("the count of a Latch", count)
        super().__init__(mode=mode)
        self._core.ask("initialize", count)

    def _set_up(self) -> None:
        super()._set_up()
        self._count_down = self._core.teller("countDown")

    def count_down(self, n: int = 1) -> None:
        """Counts down, and at 0 wakes all who wait.

        Args:
            n: how many.

        Raises:
            ValueError: there is not so much left.
        """
        if n < 1:
            raise ValueError(f"n must be 1 or more, not {n}")
        check_count("n", n)
        if not self._count_down(n):
            raise ValueError(f"this Latch cannot be counted down by {n}: less is left")

    def statistics(self) -> LatchStatistics:
        """Returns how much is left, and how often it was waited for."""
        return LatchStatistics(**self._core.ask("statistics"))

    def _describe(self) -> str:
        found = self.statistics()
        return f"at {found.value} of {found.count}, {found.waiting} waiting"


class Once(Primitive):
    """Something that is done by one, and waited for by all others that want it done.

    Args:
        mode: of the pools whose tasks shall get it; None means the default one.

    Raises:
        ModeError: the mode does not work here, or in a worker is not that of its pool.
        ArenaFull: there is no room.
    """

    __slots__ = ("_finish",)
    _KIND: ClassVar = "Once"
    _BYTES: ClassVar = 32

    def _set_up(self) -> None:
        super()._set_up()
        self._finish = self._core.teller("finish")

    def call(self, fn: Callable[[], object], timeout: float | None = None) -> bool:
        """Calls a function, unless one was called to its end; waits while another is about it.

        Where it raises or its worker ends, another call may try.

        Args:
            fn: what to do.
            timeout: seconds to wait for others; None means for ever.

        Returns:
            Whether it was called here.

        Raises:
            TimeoutError: the time is over, and another is still about it.
            RuntimeError: a function that is called so calls it again.
            ModeError: this thread cannot wait; ``call_async`` can.
            Exception: what the function raises.
        """
        got = NOT_YET
        try:
            got = self._attempt(0)
            if got == NOT_YET:
                if not isinstance(self._core, HostedCore) and self._core.ask("isMine"):
                    raise RuntimeError("a function that a Once calls waits for itself")
                got = self._core.wait(timeout)
            if not _is_mine(got):
                return False
            fn()
            self._finish(True)
        except BaseException:
            if got == INHERITED or self._core.has_just_taken():
                self._finish(False)
            raise
        return True

    async def call_async(
        self, fn: Callable[[], Awaitable[object]], timeout: float | None = None
    ) -> bool:
        """Like ``call``, without blocking, for a function whose result is awaited."""
        got = NOT_YET
        try:
            got = self._attempt(0) or await self._core.wait_async(timeout)
            if not _is_mine(got):
                return False
            await fn()
            self._finish(True)
        except BaseException:
            if got == INHERITED or self._core.has_just_taken():
                self._finish(False)
            raise
        return True

    def is_done(self) -> bool:
        """Says whether it is done."""
        return self.statistics().done

    def statistics(self) -> OnceStatistics:
        """Returns whether it is done, and how often it was tried."""
        found = self._core.ask("statistics")
        runner = found.pop("runner")
        return OnceStatistics(runner=None if runner == -1 else runner, **found)

    def _describe(self) -> str:
        found = self.statistics()
        if found.done:
            return "done"
        if found.runner is None:
            return "to be done"
        return f"being done by {f'worker {found.runner}' if found.runner else 'the hub'}"


def _is_mine(got: int) -> bool:
    if got == NOT_YET:
        raise TimeoutError("another has not finished in that time")
    return got != DONE
