"""A-04 X-05: conditions and barriers of one interpreter: whatever is done in whatever order, nobody
waits for what has happened.
"""

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pyworkers.sync._core import DONE, INHERITED, NOT_YET
from pyworkers.sync._local import KINDS
from pyworkers.sync._local_conditions import (
    ENDS,
    GIVES_UP,
    GOES_ON,
    IS_ACTING,
    IS_BROKEN,
    NOT_HELD,
    STILL_WAITS,
    WAS_NOTIFIED,
    LocalBarrier,
    LocalCondition,
)
from tests.unit.local_waits import INDICES, OWNERS, STEPS, Pending


class Notifications(RuleBasedStateMachine):
    """A condition: each notification reaches one who has waited before it, if anybody does."""

    @initialize()
    def make(self) -> None:
        self.lock: Any = KINDS["Lock"]()
        self.it = LocalCondition()
        self.it.bind(self.lock)
        self.clock = self.tickets = 0
        self.holder = -1
        self.was_lost = False
        # Who has the lock back, the wait and what it was notified of; its caller may not know yet.
        self.told: tuple[int, int, int] | None = None
        self.began: dict[int, int] = {}
        self.notified: dict[int, int] = {}
        self.looking: dict[int, Pending] = {}
        self.returning: dict[int, Pending] = {}

    def take(self, owner: int, got: int) -> None:
        assert self.holder == -1
        assert got & (DONE | INHERITED) == (INHERITED if self.was_lost else DONE)
        self.was_lost = False
        self.holder = owner

    def serve(self) -> None:
        if self.holder == -1 and self.returning:
            ticket = next(iter(self.returning))
            pending = self.returning.pop(ticket)
            got = pending.end()
            self.take(pending.owner, got)
            assert not got & STILL_WAITS
            assert bool(got & WAS_NOTIFIED) == (ticket in self.notified)
            del self.began[ticket]
            time = self.notified.pop(ticket, None)
            if time is not None:
                if pending.want == GIVES_UP:
                    self.hand_on(time)
                else:
                    self.told = pending.owner, ticket, time
        assert all(pending.outcome == NOT_YET for pending in self.returning.values())
        for ticket, pending in self.looking.items():
            assert pending.outcome == (DONE if ticket in self.notified else NOT_YET)

    def hand_on(self, time: int) -> None:
        for ticket, began in self.began.items():
            if ticket not in self.notified and began < time:
                self.notified[ticket] = time
                return

    @rule(owner=OWNERS)
    def acquire(self, owner: int) -> None:
        got = self.lock.attempt(owner)
        if self.holder == -1:
            self.take(owner, got)
        else:
            assert got == NOT_YET

    @precondition(lambda self: self.holder != -1)
    @rule()
    def release(self) -> None:
        assert self.lock.release(self.holder)
        self.holder, self.told = -1, None
        self.serve()

    @precondition(lambda self: self.holder != -1)
    @rule()
    def wait(self) -> None:
        self.tickets += 1
        self.clock += 1
        owner, ticket = self.holder, self.tickets
        assert self.it.suspend(owner, ticket) == 1
        self.holder, self.told = -1, None
        self.began[ticket] = self.clock
        self.looking[ticket] = Pending(self.it.part(owner, ticket), owner)
        self.serve()

    @precondition(lambda self: self.holder != -1)
    @rule(count=st.integers(1, 3))
    def notify(self, count: int) -> None:
        waiting = [ticket for ticket in self.began if ticket not in self.notified][:count]
        assert self.it.notify(self.holder, count) == len(waiting)
        for ticket in waiting:
            self.clock += 1
            self.notified[ticket] = self.clock
        self.serve()

    @rule(owner=OWNERS)
    def must_have_the_lock(self, owner: int) -> None:
        if owner != self.holder:
            assert self.it.notify(owner, 1) == self.it.suspend(owner, 0) == NOT_HELD

    @precondition(lambda self: self.looking)
    @rule(index=INDICES, gives_up=st.booleans())
    def come_back(self, index: int, gives_up: bool) -> None:
        ticket = list(self.looking)[index % len(self.looking)]
        pending = self.looking.pop(ticket)
        how = GIVES_UP if gives_up else GOES_ON if pending.end() else ENDS
        back = Pending(self.it.part(pending.owner, ticket, how), pending.owner, how)
        self.returning[ticket] = back
        self.serve()

    @precondition(lambda self: self.told is not None)
    @rule()
    def give_up_when_back(self) -> None:
        assert self.told is not None
        owner, ticket, time = self.told
        self.told = None
        assert self.it.part(owner, ticket, GIVES_UP).attempt(owner) == DONE
        self.hand_on(time)
        self.serve()

    @rule(owner=OWNERS, lock_first=st.booleans())
    def lose(self, owner: int, lock_first: bool) -> None:
        lost = []
        for waits in (self.looking, self.returning):
            for ticket in [ticket for ticket, each in waits.items() if each.owner == owner]:
                del waits[ticket], self.began[ticket]
                lost.append(ticket)

        def lose_lock() -> None:
            self.lock.owner_lost(owner)
            if self.holder == owner:
                self.holder, self.was_lost, self.told = -1, True, None
            self.serve()

        if lock_first:
            lose_lock()
        self.it.owner_lost(owner)
        for time in [self.notified.pop(t) for t in sorted(lost) if t in self.notified]:
            self.hand_on(time)
        if not lock_first:
            lose_lock()
        self.serve()


class Meetings(RuleBasedStateMachine):
    """A barrier: all of a group pass, or all fail."""

    @initialize(parties=st.integers(1, 3))
    def make(self, parties: int) -> None:
        self.parties = parties
        self.it = LocalBarrier()
        self.it.initialize(0, parties)
        self.tickets = 0
        self.group: dict[int, Pending] = {}
        self.over: dict[int, tuple[Pending, bool]] = {}
        self.actor: int | None = None
        self.is_broken = False

    def end(self, passed: bool) -> None:
        self.over |= {ticket: (pending, passed) for ticket, pending in self.group.items()}
        self.group = {}
        self.actor = None

    def fail(self) -> None:
        self.end(False)
        self.is_broken = True

    @rule(owner=OWNERS, acts=st.booleans())
    def arrive(self, owner: int, acts: bool) -> None:
        self.tickets += 1
        got = self.it.arrive(owner, self.tickets, acts)
        if self.is_broken or self.actor is not None:
            assert got == (IS_BROKEN if self.is_broken else IS_ACTING)
            return
        assert got == len(self.group)
        self.group[self.tickets] = Pending(self.it.part(owner, self.tickets), owner)
        if got + 1 == self.parties:
            if acts:
                self.actor = self.tickets
            else:
                self.end(True)

    @precondition(lambda self: self.actor is not None)
    @rule()
    def act(self) -> None:
        assert self.actor is not None
        assert self.it.trip(self.group[self.actor].owner, self.actor)
        self.end(True)

    @precondition(lambda self: self.over)
    @rule(index=INDICES)
    def go_on(self, index: int) -> None:
        ticket = list(self.over)[index % len(self.over)]
        pending, passed = self.over.pop(ticket)
        assert pending.end() == DONE
        assert self.it.finish(pending.owner, ticket) == passed

    @precondition(lambda self: self.group)
    @rule(index=INDICES)
    def give_up(self, index: int) -> None:
        ticket = list(self.group)[index % len(self.group)]
        pending = self.group.pop(ticket)
        assert pending.end() == NOT_YET
        assert not self.it.finish(pending.owner, ticket)
        self.fail()

    @rule(breaks=st.booleans())
    def stop(self, breaks: bool) -> None:
        if breaks:
            self.it.abort(0)
            self.fail()
        else:
            self.it.reset(0)
            self.end(False)
            self.is_broken = False

    @rule(owner=OWNERS)
    def lose(self, owner: int) -> None:
        was_here = any(pending.owner == owner for pending in self.group.values())
        for waits in (self.group, self.over):
            for ticket in [t for t in waits if self.owner_of(t) == owner]:
                del waits[ticket]
        self.it.owner_lost(owner)
        if was_here:
            self.fail()

    def owner_of(self, ticket: int) -> int:
        return (self.group.get(ticket) or self.over[ticket][0]).owner

    @invariant()
    def nobody_waits_in_vain(self) -> None:
        if hasattr(self, "it"):
            assert all(pending.outcome == NOT_YET for pending in self.group.values())
            assert all(pending.outcome == DONE for pending, _ in self.over.values())


Notifications.TestCase.settings = STEPS
TestNotifications = Notifications.TestCase
Meetings.TestCase.settings = STEPS
TestMeetings = Meetings.TestCase
