"""A-04 X-05: queues of one interpreter: each item is got once, whatever is done when."""

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pyworkers.sync._core import DONE, NOT_YET
from pyworkers.sync._local import LocalPrimitive
from pyworkers.sync._local_queue import ENDED, JOINED, SOME, LocalQueue
from tests.unit.local_waits import INDICES, OWNERS, STEPS, Pending


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


Items.TestCase.settings = STEPS
TestItems = Items.TestCase
