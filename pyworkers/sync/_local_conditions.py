"""Conditions, barriers, latches, read-write locks and the like, in the memory of one interpreter.

Owns their state, as ``_local`` does for locks: the classes have the operations of those in
``js_shim/conditions.mjs``, ``barriers.mjs`` and ``rwlocks.mjs``, and the same results.
"""

from collections.abc import Callable
from typing import Final, Literal

from pyworkers.sync._core import DONE, INHERITED, NOT_YET
from pyworkers.sync._local import KINDS, LocalLock, LocalPrimitive, Wait

GOES_ON: Final = 0
ENDS: Final = 1
GIVES_UP: Final = 2
"""What becomes of a wait when its lock is there again, and it was not notified."""
WAS_NOTIFIED: Final = 4
STILL_WAITS: Final = 8
"""Added to what came of taking the lock back."""
NOT_HELD: Final = -1

IS_BROKEN: Final = -1
IS_ACTING: Final = -2
IS_FULL: Final = -3
"""What ``arrive`` returns in place of a number of arrivals."""

READ: Final = 1
WRITE: Final = 2
"""The parts of a read-write lock."""


class _Slot(LocalPrimitive):
    """The wait of one, until it is told something."""

    is_contended = False

    def __init__(self, order: int, note: int) -> None:
        super().__init__()
        self.order = order
        self.note = note
        self.state: Literal["waiting", "passed", "failed"] = "waiting"

    def take(self, owner: int) -> int:
        return NOT_YET if self.state == "waiting" else DONE

    def mark(self, state: Literal["passed", "failed"]) -> None:
        self.state = state
        self.serve()


class _Slotted(LocalPrimitive):
    """What has slots, by who waits and the ticket of that wait; the first to come first."""

    is_contended = False

    def __init__(self) -> None:
        super().__init__()
        self._slots: dict[tuple[int, int], _Slot] = {}

    def take(self, owner: int) -> int:
        return DONE

    def _pending(self) -> list[_Slot]:
        return [slot for slot in self._slots.values() if slot.state == "waiting"]

    def part(self, owner: int, *which: int) -> LocalPrimitive:
        try:
            return self._slots[owner, which[0]]
        except KeyError:
            raise RuntimeError("the lock of a condition is not held by who waits for it") from None


class _Return(LocalPrimitive):
    """The lock of a condition, as one wait takes it back, unless it has it."""

    def __init__(self, condition: "LocalCondition", ticket: int, how: int) -> None:
        super().__init__()
        self._condition = condition
        self._ticket = ticket
        self._how = how

    def _settled(self, owner: int, got: int) -> int:
        if got == NOT_YET:
            return got
        how = max(self._how, ENDS) if got == INHERITED else self._how
        return got + self._condition.settle(owner, self._ticket, how)

    def _has_it(self, owner: int) -> bool:
        if self._condition.is_pending(owner, self._ticket):
            return False
        if self._how == GIVES_UP:
            self._condition.withdraw(owner, self._ticket)
        return True

    def take(self, owner: int) -> int:
        if self._has_it(owner):
            return DONE
        return self._settled(owner, self._condition.lock.take(owner))

    def attempt(self, owner: int) -> int:
        if self._has_it(owner):
            return DONE
        # Another of the same interpreter may have taken an RLock meanwhile: it is waited for.
        return self._settled(owner, LocalPrimitive.attempt(self._condition.lock, owner))

    def begin(self, owner: int, tell: Callable[[], object]) -> Wait:
        if self._has_it(owner):
            return super().begin(owner, tell)

        def told() -> None:
            if wait is not None:
                wait.outcome = self._settled(owner, wait.outcome)
                tell()

        wait: Wait | None = None
        wait = begun = self._condition.lock.begin(owner, told)
        if begun.outcome:
            told()
        return begun

    def end(self, wait: Wait) -> None:
        super().end(wait)
        self._condition.lock.end(wait)


class LocalCondition(_Slotted):
    """As ``Condition`` of ``js_shim/conditions.mjs``."""

    lock: LocalLock

    def __init__(self) -> None:
        super().__init__()
        self._clock = self._begun = self._notifications = 0
        self._told: tuple[int, int, _Slot] | None = None
        """Who had the lock back last and was notified; its caller may not know yet."""

    def bind(self, other: LocalPrimitive) -> None:
        assert isinstance(other, LocalLock)
        self.lock = other

    def suspend(self, owner: int, ticket: int) -> int:
        depth = self.lock.depth_of(owner)
        if not depth:
            return NOT_HELD
        self._clock += 1
        self._begun += 1
        self._slots[owner, ticket] = _Slot(self._clock, depth)
        self.lock.release(owner)
        return depth

    def is_pending(self, owner: int, ticket: int) -> bool:
        return (owner, ticket) in self._slots

    def part(self, owner: int, *which: int) -> LocalPrimitive:
        return _Return(self, *which) if len(which) > 1 else super().part(owner, *which)

    def settle(self, owner: int, ticket: int, how: int) -> int:
        slot = self._slots.get((owner, ticket))
        if slot is None:
            return 0
        if slot.state == "waiting" and how == GOES_ON:
            self.lock.release(owner)
            return STILL_WAITS
        del self._slots[owner, ticket]
        self.lock.set_depth(owner, slot.note)
        if slot.state == "waiting":
            self._told = None
            return 0
        self._told = owner, ticket, slot
        if how == GIVES_UP:
            self.withdraw(owner, ticket)
        return WAS_NOTIFIED

    def withdraw(self, owner: int, ticket: int) -> None:
        """Hands on what a wait that has the lock again was notified of."""
        if self._told is None or self._told[:2] != (owner, ticket):
            return
        slot, self._told = self._told[2], None
        if self.lock.depth_of(owner):
            self._hand_on(slot)

    def notify(self, owner: int, count: int) -> int:
        if not self.lock.depth_of(owner):
            return NOT_HELD
        woken = self._pending()[:count]
        self._notifications += len(woken)
        for slot in woken:
            self._clock += 1
            slot.order = self._clock
            slot.mark("passed")
        return len(woken)

    def _hand_on(self, notified: _Slot) -> None:
        for slot in self._pending():
            if slot.order < notified.order:
                slot.order = notified.order
                slot.mark("passed")
                return

    def owner_lost(self, owner: int) -> None:
        lost = [self._slots.pop(key) for key in list(self._slots) if key[0] == owner]
        for slot in lost:
            if slot.state == "passed":
                self._hand_on(slot)

    def statistics(self, owner: int) -> dict[str, int]:
        return {
            "waiting": len(self._pending()),
            "waits": self._begun,
            "notifications": self._notifications,
        }


class LocalLatch(LocalPrimitive):
    """As ``Latch`` of ``js_shim/barriers.mjs``."""

    is_contended = False

    def __init__(self) -> None:
        super().__init__()
        self._value = self._count = 0

    def initialize(self, owner: int, count: int) -> None:
        self._value = self._count = count
        self.serve()

    def take(self, owner: int) -> int:
        return NOT_YET if self._value else DONE

    def countDown(self, owner: int, count: int) -> bool:
        if self._value < count:
            return False
        self._value -= count
        self.serve()
        return True

    def statistics(self, owner: int) -> dict[str, int]:
        return self.counts() | {"value": self._value, "count": self._count}


class LocalOnce(LocalPrimitive):
    """As ``Once`` of ``js_shim/barriers.mjs``."""

    is_contended = False

    def __init__(self) -> None:
        super().__init__()
        self._runner = -1
        self._is_done = False
        self._runs = 0

    def take(self, owner: int) -> int:
        if self._is_done:
            return DONE
        if self._runner != -1:
            return NOT_YET
        self._runner = owner
        self._runs += 1
        return INHERITED

    def finish(self, owner: int, done: bool) -> bool:
        if self._runner != owner:
            return False
        self._runner, self._is_done = -1, done
        self.serve()
        return True

    def isMine(self, owner: int) -> bool:
        return self._runner == owner

    def give_back(self, owner: int) -> None:
        self.finish(owner, False)

    def owner_lost(self, owner: int) -> None:
        super().owner_lost(owner)
        self.finish(owner, False)

    def statistics(self, owner: int) -> dict[str, int]:
        own = {"runs": self._runs, "done": self._is_done, "runner": self._runner}
        return self.counts() | own


class LocalBarrier(_Slotted):
    """As ``Barrier`` of ``js_shim/barriers.mjs``."""

    def __init__(self) -> None:
        super().__init__()
        self._parties = self._trips = self._breaks = 0
        self._phase: Literal["arriving", "acting", "broken"] = "arriving"

    def initialize(self, owner: int, parties: int) -> None:
        self._parties = parties

    def take(self, owner: int) -> int:
        return NOT_YET if self._phase == "acting" else DONE

    def _end(
        self, phase: Literal["arriving", "broken"], outcome: Literal["passed", "failed"]
    ) -> None:
        self._phase = phase
        for slot in self._pending():
            slot.mark(outcome)
        self.serve()

    def _pass(self) -> None:
        self._trips += 1
        self._end("arriving", "passed")

    def _break(self) -> None:
        self._breaks += self._phase != "broken"
        self._end("broken", "failed")

    def arrive(self, owner: int, ticket: int, acts: bool) -> int:
        if self._phase == "broken":
            return IS_BROKEN
        if self._phase == "acting":
            return IS_ACTING
        before = len(self._pending())
        self._slots[owner, ticket] = _Slot(0, before)
        if before + 1 == self._parties:
            if acts:
                self._phase = "acting"
            else:
                self._pass()
        return before

    def trip(self, owner: int, ticket: int) -> bool:
        slot = self._slots.get((owner, ticket))
        if slot is None or slot.state != "waiting":
            return False
        self._pass()
        return True

    def finish(self, owner: int, ticket: int) -> bool:
        slot = self._slots.pop((owner, ticket), None)
        if slot is None:
            return False
        if slot.state == "waiting":
            self._break()
        return slot.state == "passed"

    def reset(self, owner: int) -> None:
        self._end("arriving", "failed")

    def abort(self, owner: int) -> None:
        self._break()

    def owner_lost(self, owner: int) -> None:
        super().owner_lost(owner)
        lost = [self._slots.pop(key) for key in list(self._slots) if key[0] == owner]
        if any(slot.state == "waiting" for slot in lost):
            self._break()

    def statistics(self, owner: int) -> dict[str, int]:
        return {
            "parties": self._parties,
            "arrived": len(self._pending()) if self._phase == "arriving" else 0,
            "broken": self._phase == "broken",
            "trips": self._trips,
            "breaks": self._breaks,
        }


class _Side(LocalPrimitive):
    """A read-write lock for who wants to read, or to write. Both wait in one row."""

    def __init__(self, lock: "LocalRWLock", kind: int) -> None:
        super().__init__()
        self._lock = lock
        self._kind = kind

    def take(self, owner: int) -> int:
        return self._lock.take(2 * owner + self._kind)

    def attempt(self, owner: int) -> int:
        return self._lock.attempt(2 * owner + self._kind)

    def begin(self, owner: int, tell: Callable[[], object]) -> Wait:
        return self._lock.begin(2 * owner + self._kind, tell)

    def end(self, wait: Wait) -> None:
        self._lock.end(wait)

    def give_back(self, owner: int) -> None:
        self.release(owner)

    def release(self, owner: int) -> bool:
        return self._lock.release(owner, self._kind)

    def again(self, owner: int) -> bool:
        return self._lock.again(owner)

    def isMine(self, owner: int) -> bool:
        return self._lock.is_mine(owner)

    def withdraw(self, owner: int) -> None:
        """Who does not wait any more has no claim here."""


class LocalRWLock(LocalPrimitive):
    """As ``RWLock`` of ``js_shim/rwlocks.mjs``.

    Who waits is known by twice its number and what it wants, 1 to read, 2 to write.
    """

    def __init__(self) -> None:
        super().__init__()
        self._readers: dict[int, int] = {}
        self._writer = -1
        self._was_lost = False
        self._readings = self._writings = self._losses = 0

    def part(self, owner: int, *which: int) -> LocalPrimitive:
        return _Side(self, which[0])

    def take(self, owner: int) -> int:
        owner, is_read = (owner - READ) // 2, owner & 1
        if self._writer != -1 or (self._readers and not is_read):
            return NOT_YET
        if is_read:
            self._enroll(owner)
        else:
            self._writer = owner
            self._writings += 1
        lost, self._was_lost = self._was_lost, False
        return INHERITED if lost else DONE

    def _enroll(self, owner: int) -> None:
        self._readers[owner] = self._readers.get(owner, 0) + 1
        self._readings += 1

    def again(self, owner: int) -> bool:
        if owner not in self._readers:
            return False
        self._enroll(owner)
        return True

    def release(self, owner: int, kind: int) -> bool:
        if kind == WRITE:
            if self._writer != owner:
                return False
            self._writer = -1
        else:
            left = self._readers.pop(owner, 0) - 1
            if left < 0:
                return False
            if left:
                self._readers[owner] = left
        self.serve()
        return True

    def is_mine(self, owner: int) -> bool:
        return owner in self._readers or self._writer == owner

    def owner_lost(self, owner: int) -> None:
        for code in (2 * owner + READ, 2 * owner + WRITE):
            super().owner_lost(code)
        self._readers.pop(owner, None)
        if self._writer == owner:
            self._writer = -1
            self._was_lost = True
            self._losses += 1
        self.serve()

    def statistics(self, owner: int) -> dict[str, int]:
        return self.counts() | {
            "readers": sum(self._readers.values()),
            "writer": self._writer,
            "readings": self._readings,
            "writings": self._writings,
            "losses": self._losses,
        }


KINDS.update(
    Barrier=LocalBarrier,
    Condition=LocalCondition,
    Latch=LocalLatch,
    Once=LocalOnce,
    RWLock=LocalRWLock,
)
