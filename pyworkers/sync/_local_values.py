"""Counters, progress and flags in the memory of one interpreter, which others can follow.

Owns their state and who waits for its next change. As in ``_local``, operations are those of the
classes in ``js_shim/``. Each change has a number: who names the last one that it knows gets the
state as soon as there is another. So what changes faster than it can be told is told less often.
"""

import asyncio
from abc import abstractmethod
from collections.abc import Callable
from contextlib import suppress
from typing import Any, ClassVar, Final

from pyworkers.sync._core import DONE, NOT_YET
from pyworkers.sync._local import KINDS, LocalFlag, LocalPrimitive

State = list[Any]
"""The number of changes, and the values."""


class Followed(LocalPrimitive):
    """What can be followed from afar."""

    is_contended = False
    OPERATIONS: ClassVar[frozenset[str]]
    """Those that a page may ask for."""

    def __init__(self) -> None:
        super().__init__()
        self.changes = 0
        self._followers: set[Callable[[], object]] = set()

    @abstractmethod
    def values(self) -> list[Any]:
        """Returns what a follower is told."""

    def state(self, owner: int) -> State:
        return [self.changes, *self.values()]

    def take(self, owner: int) -> int:
        return NOT_YET

    def has_changed(self) -> bool:
        self.changes += 1
        self.serve()
        for tell in list(self._followers):
            tell()
        return True

    def follow(self, tell: Callable[[], object]) -> Callable[[], None]:
        """Has a function called at each change; returns what ends that."""
        self._followers.add(tell)
        return lambda: self._followers.discard(tell)

    async def changed(self, owner: int, known: int) -> State:
        """Returns the state once there was another change than those that are known."""
        if self.changes == known:
            told = asyncio.get_running_loop().create_future()

            def tell() -> None:
                with suppress(asyncio.InvalidStateError):
                    told.set_result(None)

            end = self.follow(tell)
            try:
                await told
            finally:
                end()
        return self.state(owner)


class _LocalCounter(Followed):
    """As ``Counter32`` and ``Counter64`` of ``js_shim/counters.mjs``."""

    OPERATIONS = frozenset({"add", "put", "compareExchange"})
    _BITS: ClassVar[int]

    def __init__(self) -> None:
        super().__init__()
        self._value = 0

    def values(self) -> list[Any]:
        return [self._value]

    def add(self, owner: int, value: int) -> bool:
        self.fetchAdd(owner, value)
        return True

    def fetchAdd(self, owner: int, value: int) -> int:
        before = self._value
        half = 1 << (self._BITS - 1)
        self._value = (before + value + half) % (2 * half) - half
        self.has_changed()
        return before

    def put(self, owner: int, value: int) -> bool:
        self._value = value
        return self.has_changed()

    def get(self, owner: int) -> int:
        return self._value

    def compareExchange(self, owner: int, expected: int, value: int) -> int:
        before = self._value
        if before == expected:
            self.put(owner, value)
        return before


class LocalCounter32(_LocalCounter):
    _BITS = 32


class LocalCounter64(_LocalCounter):
    _BITS = 64


class LocalProgress(Followed):
    """As ``Progress`` of ``js_shim/counters.mjs``."""

    OPERATIONS = frozenset({"add", "put", "reset"})

    def __init__(self) -> None:
        super().__init__()
        self._done = 0
        self._total = -1

    def values(self) -> list[Any]:
        return [self._done, self._total]

    def add(self, owner: int, value: int) -> bool:
        self._done += value
        return self.has_changed()

    def put(self, owner: int, value: int) -> bool:
        self._done = value
        return self.has_changed()

    def reset(self, owner: int, total: int) -> bool:
        self._done, self._total = 0, total
        return self.has_changed()


class LocalSharedFlag(Followed, LocalFlag):
    """A flag that can be followed."""

    OPERATIONS = frozenset({"put", "toggle"})

    def values(self) -> list[Any]:
        return [int(self.isSet(0))]

    def take(self, owner: int) -> int:
        return DONE if self.isSet(owner) else NOT_YET

    def put(self, owner: int, value: int) -> bool:
        super().put(owner, value)
        return self.has_changed()


_KINDS: Final[dict[str, type[LocalPrimitive]]] = {
    "Counter32": LocalCounter32,
    "Counter64": LocalCounter64,
    "Progress": LocalProgress,
    "SharedFlag": LocalSharedFlag,
}
KINDS.update(_KINDS)
