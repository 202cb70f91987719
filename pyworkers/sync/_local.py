"""Primitives in the memory of one interpreter: of a hub without shared memory, and of mode inline.

Owns their state and the order of those who wait. Pure but for futures: nothing here blocks, and
whoever acts says who it is. The classes have the operations of those in ``js_shim/``, and are found
by the same names.

Who waits is served in order: what is given back goes to the first who waits, and nobody who
comes later is faster.
"""

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, ClassVar, Final, cast

from pyworkers._hub import Hub
from pyworkers.sync._core import DONE, INHERITED, NOT_YET, Core

MOST: Final = 0x7FFFFFFF
"""What a word can count to."""
_NO_LIMIT: Final = -1


def check_count(name: str, value: int) -> None:
    """Raises ValueError if something cannot be counted in a word."""
    if not 0 <= value <= MOST:
        raise ValueError(f"{name} must be from 0 to {MOST}, not {value}")


class Wait:
    """A wait of somebody: what came of it, and who is told."""

    __slots__ = ("outcome", "owner", "tell")

    def __init__(self, owner: int, tell: Callable[[], object]) -> None:
        self.owner = owner
        self.tell = tell
        self.outcome = NOT_YET


class LocalPrimitive(ABC):
    """What all of them have in common."""

    is_contended: ClassVar = True
    """Whether one who gets what it wants leaves less for others."""

    def __init__(self) -> None:
        self._waiting: deque[Wait] = deque()
        self._waits = 0

    @abstractmethod
    def take(self, owner: int) -> int:
        """Takes what is wanted, if it can be had: NOT_YET, DONE or INHERITED."""

    def give_back(self, owner: int) -> None:  # noqa: B027 - there may be nothing to undo
        """Undoes a ``take`` of which its owner has not heard."""

    def undo(self, owner: int, outcome: Any) -> None:
        """Undoes a ``take`` with this outcome, of which its owner has not heard."""
        self.give_back(owner)

    def owner_lost(self, owner: int) -> None:
        """A worker is gone; its waits go with it."""
        self._waiting = deque(wait for wait in self._waiting if wait.owner != owner)

    def attempt(self, owner: int) -> int:
        """Tries once; NOT_YET, too, where others have waited for longer."""
        if self.is_contended and self._waiting:
            return NOT_YET
        return self.take(owner)

    def begin(self, owner: int, tell: Callable[[], object]) -> Wait:
        """Begins a wait, whose ``outcome`` is there when ``tell`` is called."""
        wait = Wait(owner, tell)
        self._waits += 1
        self._waiting.append(wait)
        self.serve()
        return wait

    def end(self, wait: Wait) -> None:
        """Ends a wait, whatever came of it."""
        if wait.outcome == NOT_YET and wait in self._waiting:
            self._waiting.remove(wait)
            self.serve()

    def serve(self) -> None:
        """Gives those who wait, in order, what they can have now."""
        while self._waiting:
            wait = self._waiting[0]
            wait.outcome = self.take(wait.owner)
            if wait.outcome == NOT_YET:
                return
            self._waiting.popleft()
            wait.tell()

    def part(self, owner: int, *which: int) -> "LocalPrimitive":
        """Returns what somebody waits for there, if it is not one thing for all."""
        raise NotImplementedError

    def bind(self, other: "LocalPrimitive") -> None:
        """Tells it which other one it belongs to."""
        raise NotImplementedError

    def counts(self) -> dict[str, int]:
        return {"waiting": len(self._waiting), "waits": self._waits}


class LocalLock(LocalPrimitive):
    """As ``Lock`` of ``js_shim/locks.mjs``."""

    def __init__(self) -> None:
        super().__init__()
        self._owner = -1
        self._depth = self._takings = self._losses = 0
        self._was_lost = False

    def take(self, owner: int) -> int:
        if self._owner != -1:
            return NOT_YET
        self._owner, self._depth = owner, 1
        self._takings += 1
        lost, self._was_lost = self._was_lost, False
        return INHERITED if lost else DONE

    def give_back(self, owner: int) -> None:
        self.release(owner)

    def owner_lost(self, owner: int) -> None:
        super().owner_lost(owner)
        if self._owner == owner:
            self._was_lost = True
            self._losses += 1
            self._owner = -1
        self.serve()

    def release(self, owner: int) -> bool:
        if self._owner == -1:
            return False
        self._owner = -1
        self.serve()
        return True

    def owner(self, owner: int) -> int:
        return self._owner

    def depth_of(self, owner: int) -> int:
        """How often somebody holds it."""
        return self._depth if self._owner == owner else 0

    def set_depth(self, owner: int, depth: int) -> None:
        """Who has just taken it holds it so often."""
        assert self._owner == owner
        self._depth = depth

    def statistics(self, owner: int) -> dict[str, int]:
        depth = 0 if self._owner == -1 else self._depth
        own = {"takings": self._takings, "losses": self._losses, "depth": depth}
        return self.counts() | own


class LocalRLock(LocalLock):
    """As ``RLock`` of ``js_shim/locks.mjs``."""

    def attempt(self, owner: int) -> int:
        if self._owner != owner:
            return super().attempt(owner)
        self._depth += 1
        return DONE

    def give_back(self, owner: int) -> None:
        self.releaseOnce(owner)

    def releaseOnce(self, owner: int) -> bool:
        if self._owner != owner:
            return False
        if self._depth == 1:
            return self.release(owner)
        self._depth -= 1
        return True


class LocalSemaphore(LocalPrimitive):
    """As ``Semaphore`` of ``js_shim/locks.mjs``."""

    def __init__(self) -> None:
        super().__init__()
        self._value = 0
        self._limit = _NO_LIMIT

    def initialize(self, owner: int, value: int, limit: int) -> None:
        self._value, self._limit = value, limit

    def take(self, owner: int) -> int:
        if self._value == 0:
            return NOT_YET
        self._value -= 1
        return DONE

    def give_back(self, owner: int) -> None:
        self.release(owner, 1)

    def release(self, owner: int, count: int) -> bool:
        most = MOST if self._limit == _NO_LIMIT else self._limit
        if self._value > most - count:
            return False
        self._value += count
        self.serve()
        return True

    def statistics(self, owner: int) -> dict[str, int]:
        return self.counts() | {"value": self._value, "limit": self._limit}


class LocalFlag(LocalPrimitive):
    """As ``Flag`` of ``js_shim/locks.mjs``."""

    is_contended = False

    def __init__(self) -> None:
        super().__init__()
        self._value = False

    def take(self, owner: int) -> int:
        return DONE if self._value else NOT_YET

    def put(self, owner: int, value: int) -> bool:
        self._value = bool(value)
        self.serve()
        return True

    def toggle(self, owner: int) -> bool:
        return self.put(owner, not self._value)

    def isSet(self, owner: int) -> bool:
        return self._value

    def statistics(self, owner: int) -> dict[str, int]:
        return self.counts() | {"value": int(self._value)}


KINDS: Final[dict[str, type[LocalPrimitive]]] = {
    "Lock": LocalLock,
    "RLock": LocalRLock,
    "Semaphore": LocalSemaphore,
    "Flag": LocalFlag,
}


class LocalCore:
    """A primitive of this interpreter, as seen by somebody in it.

    Args:
        primitive: what it is.
        owner: who acts: number of a worker, or HUB.
        hub: that pumps while it waits.
    """

    def __init__(self, primitive: LocalPrimitive, owner: int, hub: Hub) -> None:
        self.primitive = primitive
        self._owner = owner
        self._hub = hub

    def attempt(self, _: float) -> int:
        return self.primitive.attempt(self._owner)

    def teller(self, operation: str) -> Callable[..., bool]:
        return partial(getattr(self.primitive, operation), self._owner)

    def ask(self, operation: str, *arguments: Any) -> Any:
        return getattr(self.primitive, operation)(self._owner, *arguments)

    async def ask_async(self, operation: str, *arguments: Any) -> Any:
        return self.ask(operation, *arguments)

    def part(self, *which: int) -> Core:
        return LocalCore(self.primitive.part(self._owner, *which), self._owner, self._hub)

    def bind(self, other: Core) -> None:
        self.primitive.bind(cast(LocalCore, other).primitive)

    def wait(self, timeout: float | None) -> int:
        with self._begun(self._hub.look_again) as wait:
            if wait.outcome == NOT_YET:
                self._hub.wait(lambda: wait.outcome != NOT_YET, timeout)
        return wait.outcome

    async def wait_async(self, timeout: float | None) -> int:
        told = asyncio.get_running_loop().create_future()
        with self._begun(partial(_tell, told)) as wait:
            if wait.outcome == NOT_YET:
                # Pyodide's loop refuses times that have gone by.
                left = None if timeout is None else max(0.0, timeout)
                await asyncio.wait({told}, timeout=left)
        return wait.outcome

    @contextmanager
    def _begun(self, tell: Callable[[], object]) -> Iterator[Wait]:
        """Begins a wait, and ends it; what came of one that fails is undone."""
        wait = self.primitive.begin(self._owner, tell)
        try:
            yield wait
        except BaseException:
            if wait.outcome != NOT_YET:
                self.primitive.undo(self._owner, wait.outcome)
            raise
        finally:
            self.primitive.end(wait)

    def has_just_taken(self) -> bool:
        return False


def _tell(told: "asyncio.Future[None]") -> None:
    if not told.done():
        told.set_result(None)
