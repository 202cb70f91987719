"""Which task comes first, and which worker gets it.

Owns the names of priorities, the ranks of tasks and the choice among workers. Knows nothing of
queues: the scheduler asks a policy for a rank once, when a task is submitted, and runs the lowest
first; it asks for a worker whenever there is more than one way to go on.

Ageing costs nothing while tasks wait. A task that waits gains one priority every
``AGEING_SECONDS``; as all of them gain at the same rate, who is first among those that wait never
changes, and one number, the time of submission less the advantage of the priority, says it.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

MAX_PRIORITY: Final = 10
DEFAULT_PRIORITY: Final = 5
PRIORITIES: Final = {"low": 2, "normal": DEFAULT_PRIORITY, "high": 8, "critical": MAX_PRIORITY}
AGEING_SECONDS: Final = 10.0
"""A task rises by one priority each time it has waited so long, so that none waits for ever."""


def as_priority(priority: int | str) -> int:
    """Returns the number of a priority, which may be given by name.

    Raises:
        ValueError: there is no such priority.
    """
    if isinstance(priority, str) and priority in PRIORITIES:
        return PRIORITIES[priority]
    if priority not in range(MAX_PRIORITY + 1):
        names = ", ".join(PRIORITIES)
        raise ValueError(f"priority must be {names} or 0 to {MAX_PRIORITY}, not {priority!r}")
    return int(priority)


class QueuedTask(NamedTuple):
    """A task as a policy sees it.

    Attributes:
        number: of the task, in order of submission.
        priority: 0 (last) to 10 (first).
        submitted: when it was submitted or, if it was delayed, could first run; in seconds of a
            clock that never goes back.
        deadline: when its timeout is over, by the same clock; None if it has none.
        expected: seconds that it will take; None where that is not known.
    """

    number: int
    priority: int
    submitted: float
    deadline: float | None
    expected: float | None

    @property
    def aged(self) -> float:
        """Its rank by priority, time of waiting included; the lowest is first."""
        return self.submitted - self.priority * AGEING_SECONDS


class Candidate(Protocol):
    """A worker as a policy sees it."""

    @property
    def number(self) -> int:
        """Of the worker, never used again."""

    @property
    def held(self) -> Collection[int]:
        """The tasks that it was given; the first one runs."""

    @property
    def parked(self) -> Collection[int]:
        """Coroutines that it awaits meanwhile."""

    @property
    def ahead(self) -> float:
        """How many seconds what it holds is expected to take."""

    @property
    def tasks_done(self) -> int:
        """How many tasks it has finished."""


class Policy:
    """By priority, to the worker that waits longest; subclasses change either."""

    def rank(self, task: QueuedTask) -> Any:
        """Returns what tasks are ordered by: the lowest first, equal ones as they were submitted.

        Asked once for each task, by ``submit``, to which what it raises goes. All ranks of a policy
        must be comparable with each other.
        """
        return task.aged

    def choose(self, workers: Sequence[Candidate]) -> int:
        """Returns the number of the worker that gets the next task.

        What it raises breaks the pool, and so does a number that is none of theirs.

        Args:
            workers: those that can take it, of which the first has waited longest; at least one.
                All are idle, or none is and all run something short.
        """
        return workers[0].number


class Fifo(Policy):
    """As submitted, whatever the priority."""

    def rank(self, task: QueuedTask) -> float:
        return 0.0


class EarliestDeadline(Policy):
    """The earliest deadline first; then those without one, by priority."""

    def rank(self, task: QueuedTask) -> tuple[float, float]:
        return math.inf if task.deadline is None else task.deadline, task.aged


class RoundRobin(Policy):
    """By priority, to one worker after the other."""

    def __init__(self) -> None:
        self._last = 0

    def choose(self, workers: Sequence[Candidate]) -> int:
        numbers = [worker.number for worker in workers]
        later = [number for number in numbers if number > self._last]
        self._last = min(later or numbers)
        return self._last


class LeastLoaded(Policy):
    """By priority, to the worker that has the fewest tasks, coroutines included."""

    def choose(self, workers: Sequence[Candidate]) -> int:
        return min(
            workers, key=lambda w: (len(w.held) + len(w.parked), w.ahead, w.tasks_done)
        ).number


POLICIES: Final[dict[str, type[Policy]]] = {
    "priority": Policy,
    "fifo": Fifo,
    "deadline": EarliestDeadline,
    "round_robin": RoundRobin,
    "least_loaded": LeastLoaded,
}


def as_policy(policy: str | Policy) -> Policy:
    """Returns a policy, which may be given by name.

    Raises:
        ValueError: there is none of that name.
    """
    if isinstance(policy, Policy):
        return policy
    if policy not in POLICIES:
        raise ValueError(f"policy must be a Policy or one of {', '.join(POLICIES)}, not {policy!r}")
    return POLICIES[policy]()


def places(capabilities: Mapping[str, int], max_workers: int) -> list[frozenset[str]]:
    """Returns what each of the workers that there may be can do.

    The first ones have most: so who names several capabilities finds a worker that has all.

    Raises:
        ValueError: a count is not 1 to ``max_workers``.
    """
    for name, count in capabilities.items():
        if count not in range(1, max_workers + 1):
            raise ValueError(f"capability {name!r} needs 1 to {max_workers} workers, not {count}")
    return [
        frozenset(name for name, count in capabilities.items() if place < count)
        for place in range(max_workers)
    ]
