"""A worker as those know it who decide: what it does and holds.

Owns nothing but the record. Knows nothing of who decides what.
"""

import math
from collections import deque
from dataclasses import dataclass, field

from pyworkers._protocol import WorkerState


@dataclass(slots=True)
class WorkerSlot:
    """A worker as the scheduler knows it.

    Attributes:
        number: of the worker.
        state: what it is doing.
        created: when it was started, in seconds of the clock that is handed in.
        last_used: when it last began or finished a task.
        held: the tasks that it was given, in order; the first one runs.
        parked: coroutines that it awaits meanwhile.
        ahead: how many seconds what it holds is expected to take.
        in_the_way: tasks were taken back from behind the one that runs.
        tasks_done: how many it has finished.
        ending: tasks that were asked to end and have not: it may have to be ended for them.
        taken: how many tasks it was given and not relieved of.
        capabilities: what it can do that others may not be able to.
        place: which of the places for workers it takes.
        is_over: it gets nothing more, and ends when it holds nothing.
        failures: how many of its tasks raised, where that matters.
        busy_since: when it would have become ready if it had never been idle since.
        ready_since: when it became ready; infinity as long as it is not.
    """

    number: int
    state: WorkerState
    created: float
    last_used: float
    held: deque[int] = field(default_factory=deque)
    parked: set[int] = field(default_factory=set)
    ahead: float = 0.0
    in_the_way: bool = False
    tasks_done: int = 0
    ending: set[int] = field(default_factory=set)
    taken: int = 0
    capabilities: frozenset[str] = frozenset()
    place: int = 0
    is_over: bool = False
    failures: int = 0
    busy_since: float = 0.0
    ready_since: float = math.inf

    def busy_until(self, now: float) -> float:
        """Returns for how many seconds it has run tasks, since it was ready."""
        return (now if self.held else self.last_used) - self.busy_since
