"""RWLock: many may read, or one may write.

Owns what its users see. Who gets in before whom is decided in ``js_shim/rwlocks.mjs``.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from pyworkers._cancel import undisturbed
from pyworkers._env import Mode
from pyworkers.sync._held import Acquired, care
from pyworkers.sync._local_conditions import READ, WRITE
from pyworkers.sync._primitive import Placed, Primitive


@dataclass(frozen=True, slots=True, kw_only=True)
class RWLockStatistics:
    """What a read-write lock can tell.

    Attributes:
        writer: number of the worker that writes, 0 for the hub; None if nobody does.
        readers: how often it is taken to read.
        waiting: how many wait for it now; too many if a worker has ended while it waited.
        waits: how often somebody had to wait.
        readings: how often it was taken to read.
        writings: how often it was taken to write.
        losses: how many writers have ended without releasing it.
    """

    writer: int | None
    readers: int
    waiting: int
    waits: int
    readings: int
    writings: int
    losses: int


class _Side(Acquired, Placed):
    """One of the two ways to take it."""

    __slots__ = ("_attempt", "_care", "_core", "_release")
    _WHICH: ClassVar[int]

    def __init__(self, lock: "RWLock") -> None:
        # What keeps the words of the lock is its block.
        self._block, self._mode = lock._block, lock._mode
        self._core = core = lock._core.part(self._WHICH)
        self._attempt = core.attempt
        self._care = care()
        self._release = core.teller("release")

    def reduced(self) -> tuple[Any, ...]:
        return _attach_side, (type(self), self._mode, self._block.id)

    @undisturbed
    def release(self) -> None:
        """Gives it back.

        Raises:
            RuntimeError: this interpreter has not taken it so.
        """
        if not self._free():
            raise RuntimeError(f"this {type(self).__name__} is released and was not taken here")


class ReadLock(_Side):
    """An RWLock as those take it who read.

    A call that blocks takes it at once where this interpreter reads already: it would else wait for
    a writer that waits for it.
    """

    __slots__ = ()
    _WHICH: ClassVar = READ

    def _insist(self) -> int:
        return self._core.wait(0) or int(self._core.ask("again"))


class WriteLock(_Side):
    """An RWLock as those take it who write."""

    __slots__ = ("_withdraw",)
    _WHICH: ClassVar = WRITE

    def __init__(self, lock: "RWLock") -> None:
        super().__init__(lock)
        self._withdraw = self._core.teller("withdraw")

    def _take(self, timeout: float | None) -> bool:
        if super()._take(0):
            return True
        if timeout is None and self._core.ask("isMine"):
            raise RuntimeError(
                "this interpreter has the RWLock already, and would wait for itself: use "
                "`async with` where coroutines share it"
            )
        got = False
        try:
            got = super()._take(timeout)
        finally:
            if not got:
                self._withdraw()
        return got

    async def _take_async(self, timeout: float | None) -> bool:
        got = False
        try:
            got = await super()._take_async(timeout)
        finally:
            if not got:
                self._withdraw()
        return got


class RWLock(Primitive):
    """A lock that many may have to read at the same time, or one to write.

    ``with lock.read():`` and ``with lock.write():`` block, ``async with`` does not. A writer waits
    for those who read, and nobody begins to meanwhile; after it, readers that wait get their turn
    before the next writer. Where the worker that writes ends, who wants it next is told so by
    ``OwnerDied``; one that reads is forgotten.

    Args:
        mode: of the pools whose tasks shall get it; None means the default one.

    Raises:
        ModeError: the mode does not work here, or in a worker is not that of its pool.
        ArenaFull: there is no room.
    """

    __slots__ = ("_reading", "_writing")
    _KIND: ClassVar = "RWLock"
    _BYTES: ClassVar = 48 + 128 * 8

    def __init__(self, *, mode: Mode | None = None) -> None:
        super().__init__(mode=mode)

    def _set_up(self) -> None:
        super()._set_up()
        self._reading = ReadLock(self)
        self._writing = WriteLock(self)

    def read(self) -> ReadLock:
        """Returns it as those take it who read."""
        return self._reading

    def write(self) -> WriteLock:
        """Returns it as those take it who write."""
        return self._writing

    def statistics(self) -> RWLockStatistics:
        """Returns who has it, and how often it was waited for."""
        found: dict[str, Any] = self._core.ask("statistics")
        writer = found.pop("writer")
        return RWLockStatistics(writer=None if writer == -1 else writer, **found)

    def _describe(self) -> str:
        found = self.statistics()
        if found.writer is not None:
            state = f"written by {f'worker {found.writer}' if found.writer else 'the hub'}"
        else:
            state = f"{found.readers} reading"
        return f"{state}, {found.waiting} waiting"


def _attach_side(kind: type[_Side], mode: Mode, id: int) -> _Side:
    """Finds the side of a lock that a pickle names."""
    return kind(RWLock._attached(mode, id))
