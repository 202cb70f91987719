"""Waits for primitives of one interpreter, as the tests of their models make them."""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

from pyworkers.sync._core import NOT_YET
from pyworkers.sync._local import LocalPrimitive, Wait

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
