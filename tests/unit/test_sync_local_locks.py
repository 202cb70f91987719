"""A-04 X-05: locks, semaphores, flags and the like of one interpreter, and what is true of any:
whatever is done in whatever order, few enough have it, who waits is served in order, and nobody
waits for what can be had.
"""

from typing import Any, cast

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pyworkers.sync._core import DONE, INHERITED, NOT_YET
from pyworkers.sync._local import KINDS
from pyworkers.sync._local_conditions import (
    READ,
    WRITE,
)
from tests.unit.local_waits import INDICES, OWNERS, STEPS, Pending


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
            self.it.initialize(0, permits, -1)
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


Exclusion.TestCase.settings = STEPS
TestExclusion = Exclusion.TestCase
Gates.TestCase.settings = STEPS
TestGates = Gates.TestCase
