"""A-04 X-05: primitives of one interpreter, and what is true of any: whatever is done in whatever
order, few enough have it, who waits is served in order, and nobody waits for what can be had.
"""

from typing import Any, cast

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pyworkers.sync._core import DONE, INHERITED, NOT_YET
from pyworkers.sync._local import KINDS, LocalPrimitive, Wait
from pyworkers.sync._local_conditions import (
    ENDS,
    GIVES_UP,
    GOES_ON,
    IS_ACTING,
    IS_BROKEN,
    NOT_HELD,
    READ,
    STILL_WAITS,
    WAS_NOTIFIED,
    WRITE,
    LocalBarrier,
    LocalCondition,
)
from pyworkers.sync._local_queue import ENDED, JOINED, SOME, LocalQueue

OWNERS = st.integers(0, 3)
INDICES = st.integers(0, 10)
STEPS = settings(max_examples=100, stateful_step_count=40, deadline=None)


class Pending:
    """A wait that was begun, and how often its owner was told."""

    def __init__(self, primitive: LocalPrimitive, owner: int, want: int = 0) -> None:
        self.primitive, self.owner, self.want = primitive, owner, want
        self.told = 0
        self.wait: Wait = primitive.begin(owner, self._tell)

    def _tell(self) -> None:
        self.told += 1

    @property
    def outcome(self) -> Any:
        assert self.told == (self.wait.outcome != NOT_YET)
        return self.wait.outcome

    def end(self) -> Any:
        """The owner goes on, whatever came of it."""
        self.primitive.end(self.wait)
        return self.outcome

    def undo(self) -> None:
        """The owner has gone away before it has heard of what came of it."""
        if self.outcome != NOT_YET:
            self.primitive.undo(self.owner, self.outcome)
        self.primitive.end(self.wait)


class Exclusion(RuleBasedStateMachine):
    """Locks, semaphores and read-write locks: who has it, and who waits in one row."""

    @initialize(
        kind=st.sampled_from(["Lock", "RLock", "Semaphore", "RWLock"]), permits=st.integers(0, 3)
    )
    def make(self, kind: str, permits: int) -> None:
        self.kind = kind
        self.it = cast(Any, KINDS[kind]())
        self.room = permits
        if kind == "Semaphore":
            self.it.initialize(0, permits, 0)
        self.have: list[tuple[int, int]] = []
        self.row: list[Pending] = []
        self.was_lost = False
        self.losses = 0

    def end_of(self, owner: int, want: int) -> Any:
        return self.it.part(owner, want) if self.kind == "RWLock" else self.it

    def can_have(self, want: int) -> bool:
        if self.kind == "Semaphore":
            return len(self.have) < self.room
        if self.kind == "RWLock" and want == READ:
            return all(kind == READ for _, kind in self.have)
        return not self.have

    def gets(self, owner: int, want: int, outcome: int) -> None:
        assert self.can_have(want)
        assert outcome == (INHERITED if self.was_lost else DONE)
        self.was_lost = False
        self.have.append((owner, want))

    def serve(self) -> None:
        while self.row and self.can_have(self.row[0].want):
            first = self.row.pop(0)
            self.gets(first.owner, first.want, first.outcome)
        assert all(each.outcome == NOT_YET for each in self.row)

    @rule(owner=OWNERS, want=st.sampled_from([READ, WRITE]))
    def attempt(self, owner: int, want: int) -> None:
        got = self.end_of(owner, want).attempt(owner)
        if self.kind == "RLock" and any(who == owner for who, _ in self.have):
            assert got == DONE
            assert self.it.releaseOnce(owner)
        elif self.row or not self.can_have(want):
            assert got == NOT_YET
        else:
            self.gets(owner, want, got)

    @rule(owner=OWNERS, want=st.sampled_from([READ, WRITE]))
    def begin(self, owner: int, want: int) -> None:
        self.row.append(Pending(self.end_of(owner, want), owner, want))
        self.serve()

    @precondition(lambda self: self.row)
    @rule(index=INDICES)
    def give_up(self, index: int) -> None:
        each = self.row.pop(index % len(self.row))
        assert each.end() == NOT_YET
        self.serve()

    @rule(owner=OWNERS, want=st.sampled_from([READ, WRITE]))
    def begin_and_be_cancelled(self, owner: int, want: int) -> None:
        waiting = Pending(self.end_of(owner, want), owner, want)
        if waiting.outcome == INHERITED:
            self.was_lost = False
        waiting.undo()
        self.serve()

    @precondition(lambda self: self.have)
    @rule(index=INDICES)
    def release(self, index: int) -> None:
        owner, want = self.have.pop(index % len(self.have))
        arguments = (1,) if self.kind == "Semaphore" else ()
        assert self.end_of(owner, want).release(owner, *arguments)
        self.serve()

    @precondition(lambda self: self.kind == "Semaphore")
    @rule(count=st.integers(1, 3))
    def add_permits(self, count: int) -> None:
        self.room += count
        assert self.it.release(0, count)
        self.serve()

    @precondition(lambda self: self.kind == "RWLock")
    @rule(owner=OWNERS)
    def read_again(self, owner: int) -> None:
        reads = (owner, READ) in self.have
        assert self.end_of(owner, READ).again(owner) == reads
        self.have += [(owner, READ)] * reads

    @precondition(lambda self: self.kind == "RLock")
    @rule(owner=OWNERS, times=st.integers(0, 3))
    def take_again_and_release_once(self, owner: int, times: int) -> None:
        has = [who for who, _ in self.have] == [owner]
        if has:
            assert [self.it.attempt(owner) for _ in range(times)] == [DONE] * times
            assert self.it.statistics(owner)["depth"] == 1 + times
            assert all(self.it.releaseOnce(owner) for _ in range(times))
        else:
            assert not self.it.releaseOnce(owner)

    @rule(owner=OWNERS)
    def lose(self, owner: int) -> None:
        self.row = [each for each in self.row if each.owner != owner]
        if self.kind != "Semaphore":  # whose permits are nobody's
            exclusive = [who for who, kind in self.have if self.kind != "RWLock" or kind == WRITE]
            self.was_lost |= owner in exclusive
            self.losses += owner in exclusive
            self.have = [(who, kind) for who, kind in self.have if who != owner]
        self.it.owner_lost(owner)
        self.serve()

    @invariant()
    def tells_so(self) -> None:
        if not hasattr(self, "it"):
            return
        found = self.it.statistics(0)
        assert found["waiting"] == len(self.row)
        if self.kind == "Semaphore":
            assert found["value"] == self.room - len(self.have)
        else:
            assert found["losses"] == self.losses


class Gates(RuleBasedStateMachine):
    """Flags, latches and what is done once: open or shut for all."""

    @initialize(kind=st.sampled_from(["Flag", "Latch", "Once"]), count=st.integers(1, 3))
    def make(self, kind: str, count: int) -> None:
        self.kind, self.count = kind, count
        self.it = cast(Any, KINDS[kind]())
        if kind == "Latch":
            self.it.initialize(0, count)
        self.is_open = False
        self.runner = -1
        self.row: list[Pending] = []

    def heard(self, owner: int, outcome: int) -> None:
        if self.is_open:
            assert outcome == DONE
        elif self.kind == "Once" and self.runner == -1:
            assert outcome == INHERITED
            self.runner = owner
        else:
            assert outcome == NOT_YET

    def serve(self) -> None:
        row, self.row = self.row, []
        for each in row:
            self.heard(each.owner, each.outcome)
            if each.outcome == NOT_YET:
                self.row.append(each)

    @rule(owner=OWNERS)
    def attempt(self, owner: int) -> None:
        self.heard(owner, self.it.attempt(owner))

    @rule(owner=OWNERS)
    def begin(self, owner: int) -> None:
        self.row.append(Pending(self.it, owner))
        self.serve()

    @precondition(lambda self: self.row)
    @rule(index=INDICES)
    def give_up(self, index: int) -> None:
        assert self.row.pop(index % len(self.row)).end() == NOT_YET
        self.serve()

    @rule(owner=OWNERS, well=st.booleans())
    def change(self, owner: int, well: bool) -> None:
        if self.kind == "Flag":
            self.it.put(owner, well)
            self.is_open = well
        elif self.kind == "Latch":
            assert self.it.countDown(owner, 1) == (self.count > 0)
            self.count = max(self.count - 1, 0)
            self.is_open = self.count == 0
        else:
            assert self.it.isMine(owner) == (owner == self.runner)
            assert self.it.finish(owner, well) == (owner == self.runner)
            if owner == self.runner:
                self.runner = -1
                self.is_open = well
        self.serve()

    @rule(owner=OWNERS)
    def lose(self, owner: int) -> None:
        self.row = [each for each in self.row if each.owner != owner]
        if self.runner == owner:
            self.runner = -1
        self.it.owner_lost(owner)
        self.serve()


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
            if time is not None and pending.want == GIVES_UP:
                self.hand_on(time)
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
        self.holder = -1
        self.serve()

    @precondition(lambda self: self.holder != -1)
    @rule()
    def wait(self) -> None:
        self.tickets += 1
        self.clock += 1
        owner, ticket = self.holder, self.tickets
        assert self.it.suspend(owner, ticket) == 1
        self.holder = -1
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
                self.holder, self.was_lost = -1, True
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


class Items(RuleBasedStateMachine):
    """A queue: each item is got once, in order, and nobody waits for what is there."""

    @initialize(maxsize=st.integers(0, 3))
    def make(self, maxsize: int) -> None:
        self.it = LocalQueue()
        self.it.initialize(0, maxsize)
        self.maxsize = maxsize
        self.number = self.puts = self.done = self.reserved = 0
        self.is_closed = False
        self.items: list[bytes] = []
        self.sent: dict[tuple[int, int], list[bytes]] = {}
        self.rows: dict[str, list[Pending]] = {"get": [], "room": [], "some": [], "joined": []}

    def end_of(self, row: str) -> LocalPrimitive:
        if row == "room":
            return self.it.room
        return self.it if row == "get" else self.it.part(0, {"some": SOME, "joined": JOINED}[row])

    def outcome(self, row: str) -> Any:
        """What somebody gets now, who is the first to want it."""
        if row == "room":
            used = len(self.items) + self.reserved
            has_room = not self.maxsize or used < self.maxsize
            return ENDED if self.is_closed else DONE if has_room else NOT_YET
        if row == "joined":
            return DONE if self.done == self.puts else NOT_YET
        if row == "some":
            return DONE if self.items or self.is_closed else NOT_YET
        return self.items[0] if self.items else ENDED if self.is_closed else NOT_YET

    def heard(self, row: str, owner: int, got: Any) -> None:
        assert (got[0] if isinstance(got, tuple) else got) == self.outcome(row)
        if row == "room" and got == DONE:
            self.reserved += 1
        elif row == "get" and isinstance(got, tuple):
            self.number += 1
            self.it.send(owner, self.number, [got])
            self.sent[owner, self.number] = [self.items.pop(0)]

    def serve(self) -> None:
        for row in ("get", "room", "some", "joined"):
            waits = self.rows[row]
            while waits and self.outcome(row) != NOT_YET:
                first = waits.pop(0)
                self.heard(row, first.owner, first.outcome)
            assert all(each.outcome == NOT_YET for each in waits)

    @rule(owner=OWNERS, row=st.sampled_from(["get", "room", "some", "joined"]))
    def attempt(self, owner: int, row: str) -> None:
        got = self.end_of(row).attempt(owner)
        if row in ("get", "room") and self.rows[row]:
            assert got == NOT_YET
        else:
            self.heard(row, owner, got)
        self.serve()

    @rule(owner=OWNERS, row=st.sampled_from(["get", "room", "some", "joined"]))
    def begin(self, owner: int, row: str) -> None:
        self.rows[row].append(Pending(self.end_of(row), owner))
        self.serve()

    @rule(row=st.sampled_from(["get", "room", "some", "joined"]), index=INDICES)
    def give_up(self, row: str, index: int) -> None:
        if waits := self.rows[row]:
            assert waits.pop(index % len(waits)).end() == NOT_YET
            self.serve()

    @rule(owner=OWNERS, row=st.sampled_from(["get", "room"]))
    def begin_and_be_cancelled(self, owner: int, row: str) -> None:
        waiting = Pending(self.end_of(row), owner)
        if isinstance(waiting.outcome, tuple):
            # What it leaves free for a moment is given away.
            item = self.items.pop(0)
            self.serve()
            self.items.insert(0, item)
        waiting.undo()
        self.serve()

    @precondition(lambda self: self.reserved)
    @rule()
    def fill(self) -> None:
        self.reserved -= 1
        self.number += 1
        data = b"%d" % self.number
        assert self.it.room.fill((data, [])) == (ENDED if self.is_closed else DONE)
        if not self.is_closed:
            self.items.append(data)
            self.puts += 1
        self.serve()

    @precondition(lambda self: self.reserved)
    @rule()
    def leave_room(self) -> None:
        self.reserved -= 1
        self.it.room.undo(0, DONE)
        self.serve()

    @precondition(lambda self: self.sent)
    @rule(index=INDICES, is_wanted=st.booleans())
    def arrive(self, index: int, is_wanted: bool) -> None:
        key = list(self.sent)[index % len(self.sent)]
        items = self.sent.pop(key)
        if is_wanted:
            self.it.arrived(*key)
        else:
            self.items = items + self.items
            self.it.came_back(*key)
        self.serve()

    @rule(owner=OWNERS)
    def be_done(self, owner: int) -> None:
        assert self.it.taskDone(owner) == (self.done < self.puts)
        self.done += self.done < self.puts
        self.serve()

    @rule(owner=OWNERS)
    def lose(self, owner: int) -> None:
        for row, waits in self.rows.items():
            self.rows[row] = [each for each in waits if each.owner != owner]
        keys = [key for key in self.sent if key[0] == owner]
        self.items = [item for key in keys for item in self.sent.pop(key)] + self.items
        self.it.owner_lost(owner)
        self.serve()

    @precondition(lambda self: self.puts > 5)
    @rule(drains=st.booleans())
    def close(self, drains: bool) -> None:
        self.it.close(0)
        self.is_closed = True
        self.serve()
        if drains:
            self.it.drain(0)
            self.done = min(self.done + len(self.items), self.puts)
            self.items = []
            self.serve()

    @invariant()
    def tells_so(self) -> None:
        if hasattr(self, "it"):
            found = self.it.statistics(0)
            assert (found["depth"], found["puts"]) == (len(self.items), self.puts)
            assert found["gets"] == self.puts - len(self.items)
            assert found["consumers"] == len(self.rows["get"])
            assert found["producers"] == len(self.rows["room"])


for _machine in (Exclusion, Gates, Notifications, Meetings, Items):
    _machine.TestCase.settings = STEPS
TestExclusion = Exclusion.TestCase
TestGates = Gates.TestCase
TestNotifications = Notifications.TestCase
TestMeetings = Meetings.TestCase
TestItems = Items.TestCase
