"""What a pool counts, cheaply: totals, and how long the latest tasks waited and ran.

Owns the counters. Knows nothing of clocks: seconds are handed in. What can be worked out from other
numbers when somebody asks is not counted.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

RECENT_TASKS: Final = 2048
"""Times are told of so many of the latest tasks. One tuple is all that each of them costs."""


@dataclass(frozen=True, slots=True)
class Durations:
    """How long something took, in seconds; all 0.0 where nothing did.

    Attributes:
        median: half of all took less.
        p90: nine of ten took less.
        p99: 99 of 100 took less.
    """

    median: float
    p90: float
    p99: float


@dataclass(frozen=True, slots=True)
class PoolStatistics:
    """What has happened in a pool so far.

    Attributes:
        submitted: tasks that were taken.
        done: tasks that returned.
        failed: tasks that raised.
        cancelled: tasks that were taken back or killed.
        timed_out: tasks that were not done within their timeout.
        lost: tasks whose worker died.
        retried: times that a task was run again, after it had raised or its worker had died.
        cached: calls that were answered by the result of an earlier one.
        preempted: how many times a task made room for another.
        queued: tasks that wait for a worker now.
        delayed: tasks that wait for their time now.
        running: tasks that workers have now, those held ahead included.
        workers: how many there are now.
        workers_started: how many were started.
        workers_lost: how many died, or were ended with what they ran.
        workers_ended: how many ended because they were idle or old.
        waiting: how long the latest 2,048 tasks waited from ``submit``, or the end of their delay,
            to their begin, their way there and back included.
        executing: how long these ran.
        utilisation: share of the workers' lives in which they ran tasks, 0 to 1. Coroutines that
            await count only until they do.
    """

    submitted: int
    done: int
    failed: int
    cancelled: int
    timed_out: int
    lost: int
    retried: int
    cached: int
    preempted: int
    queued: int
    delayed: int
    running: int
    workers: int
    workers_started: int
    workers_lost: int
    workers_ended: int
    waiting: Durations
    executing: Durations
    utilisation: float


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """What a worker is doing now.

    Attributes:
        number: of the worker, never used again.
        state: "initializing", "idle", "busy", or "error" where its setup failed.
        age: seconds since it was started.
        unchanged: seconds since it last began or finished a task, or became ready.
        task: number of the task that it runs; None if it runs none.
        ahead: how many tasks it was given that wait behind that one.
        awaiting: how many coroutines it awaits meanwhile.
        tasks_done: how many tasks it has finished.
        capabilities: those of the pool's that it has.
    """

    number: int
    state: str
    age: float
    unchanged: float
    task: int | None
    ahead: int
    awaiting: int
    tasks_done: int
    capabilities: frozenset[str]


@dataclass(slots=True)
class Counts:
    """What is counted while a pool goes."""

    finished: int = 0
    """Tasks that workers finished which are gone."""
    dropped: int = 0
    """Tasks that workers finished though they were cancelled or late, or that are run again."""
    failed: int = 0
    cancelled: int = 0
    timed_out: int = 0
    lost: int = 0
    cached: int = 0
    preempted: int = 0
    workers_started: int = 0
    workers_lost: int = 0
    workers_ended: int = 0
    busy: float = 0.0
    """Seconds that workers ran tasks."""
    lived: float = 0.0
    """Seconds that workers lived which are gone."""
    recent: deque[tuple[float, float]] = field(
        default_factory=lambda: deque[tuple[float, float]](maxlen=RECENT_TASKS)
    )
    """How long tasks took in all, and how long of that they ran."""


def durations(seconds: Iterable[float]) -> Durations:
    """Returns what is to be said of some times."""
    ordered = sorted(max(0.0, second) for second in seconds) or [0.0]
    return Durations(*(ordered[int(share * (len(ordered) - 1))] for share in (0.5, 0.9, 0.99)))
