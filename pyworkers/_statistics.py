"""What a pool counts, cheaply: totals, and how long tasks waited and ran.

Owns the counters. Knows nothing of clocks: seconds are handed in. What can be worked out from other
numbers when somebody asks is not counted.
"""

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

_PARTS: Final = 8
"""A histogram has so many bins between a time and its double: each is at most 13 % wide."""

REMEMBERED: Final = 100
"""Of so many workers and tasks that have ended, the newest ones, it is remembered how."""

_FOLD: Final = 1024
"""Times are put into their bins so many at once: until then each costs no more than a tuple."""


@dataclass(frozen=True, slots=True)
class Durations:
    """How long something took, in seconds; all 0.0 where nothing did.

    Attributes:
        median: half of all took less; this and the next two to the upper end of a bin.
        p90: nine of ten took less.
        p99: 99 of 100 took less.
        longest: none took longer.
        mean: the sum of all by their count.
        histogram: upper ends of bins that are at most 13 % wide, and how many lie in each.
    """

    median: float
    p90: float
    p99: float
    longest: float
    mean: float
    histogram: tuple[tuple[float, int], ...]


@dataclass(frozen=True, slots=True)
class ForkReport:
    """What has become of the memory from which further workers of a pool shall start.

    Attributes:
        state: "waiting" for the first workers, "making", "ready", or "refused": each worker runs
            the set-up.
        reason: why it was refused; else empty.
        bytes: that it takes, once for all workers; 0 until it is ready.
        seconds: that it took to make, the set-up included; 0.0 until it is ready.
        workers: how many have started from it.
    """

    state: Literal["waiting", "making", "ready", "refused"]
    reason: str
    bytes: int
    seconds: float
    workers: int


@dataclass(frozen=True, slots=True)
class PoolStatistics:
    """What has happened in a pool so far.

    Attributes:
        submitted: tasks that were taken.
        done: tasks that returned.
        failed: tasks that raised, or were cut off because the pool broke.
        cancelled: tasks that were taken back or killed.
        timed_out: tasks that were not done within their timeout.
        lost: tasks whose worker died.
        retried: times that a task was run again, after it had raised or its worker had died.
        cached: calls that were answered by the result of an earlier one.
        preempted: how many times a task made room for another.
        bytes_sent: bytes that workers were sent: pickles of functions, arguments and messages, and
            the buffers beside them. What lies in shared memory to be read there is not sent.
        bytes_received: bytes that workers have sent: results, errors, messages and output.
        queued: tasks that wait for a worker now.
        delayed: tasks that wait for their time now.
        running: tasks that workers have now, those held ahead included.
        workers: how many there are now.
        workers_started: how many were started.
        workers_lost: how many died, or were ended with what they ran.
        workers_ended: how many ended because they were idle or old.
        waiting: how long tasks that ended by themselves waited from ``submit``, or the end of
            their delay, to their begin, their way there and back included.
        executing: how long these ran.
        utilisation: share of the workers' lives in which they ran tasks, 0 to 1. Coroutines that
            await count only until they do.
        fork: of a pool that was made with ``fork=True``; else None.
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
    bytes_sent: int
    bytes_received: int
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
    fork: ForkReport | None


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """What a worker is doing now, or was doing when it ended.

    Attributes:
        number: of the worker, never used again.
        state: "initializing", "idle" or "busy"; of one that has ended, "terminated", or "error"
            where it died by itself, hung, or could not be set up.
        age: seconds since it was started; of one that has ended, those that it lived.
        unchanged: seconds since it last began or finished a task, or became ready.
        task: number of the task that it runs; None if it runs none.
        ahead: how many tasks it was given that wait behind that one.
        awaiting: how many coroutines it awaits meanwhile.
        tasks_done: how many tasks it has finished.
        capabilities: those of the pool's that it has.
        reason: what ended it; None while it lives.
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
    reason: str | None = None


TaskState = Literal[
    "delayed",
    "queued",
    "ahead",
    "running",
    "awaiting",
    "done",
    "failed",
    "cancelled",
    "timed_out",
    "lost",
]


@dataclass(frozen=True, slots=True)
class TaskInfo:
    """What a task is doing now, or what has become of it.

    Times are in seconds since the epoch, as of ``time.time`` when the pool was made; they never go
    back when that clock is set.

    Attributes:
        number: of the task, as ``future.task``.
        function: name of the function that it calls.
        state: "delayed" until it may run, or run again; "queued" until a worker has it; "ahead"
            while that runs another one before it; "running"; "awaiting" if it is a coroutine that
            its worker awaits. Of one that has ended: "done", "failed", "cancelled", "timed_out", or
            "lost" with its worker.
        priority: 0 (last) to 10 (first).
        metadata: what ``submit_with`` was given as such.
        timeout: seconds from ``created`` that it has or had; None means any number.
        retries: how many times it may or might be run again.
        retried: how many times it was run again, or waits to be.
        created: when it was submitted.
        scheduled: from when on it may run: when it was submitted, or its delay, or its wait to be
            run again, is over.
        started: when it began to run; None if it has not, or that was not noticed.
        completed: when its end was noticed here; None if it has not ended.
        worker: that has it, or had it; None if none has.
    """

    number: int
    function: str
    state: TaskState
    priority: int
    metadata: object
    timeout: float | None
    retries: int
    retried: int
    created: float
    scheduled: float
    started: float | None
    completed: float | None
    worker: int | None


class Asked(NamedTuple):
    """What was asked of a task that was submitted with more than its call.

    Attributes:
        metadata: whatever its user wants to know again.
        timeout: seconds, or None.
        retries: how many times it may be run again.
        delay: seconds before which it does not run.
        retried: how many times it was run again, or waits to be.
        first: when it could run before that, in seconds of ``time.monotonic``.
    """

    metadata: object
    timeout: float | None
    retries: int
    delay: float
    retried: int = 0
    first: float | None = None


Ended = tuple[float, float, float, int, int, int, int, bool, Asked | None]
"""A task that has come to its own end: when that was, how long it ran, when it could run first,
its worker, number, function and priority, whether it raised, and what was asked of it. A plain
tuple, as one is made for each task."""


class Histogram:
    """Counts how long something took."""

    def __init__(self) -> None:
        self._bins: Counter[int] = Counter()
        self._sum = 0.0
        self._longest = 0.0

    def add(self, times: list[float]) -> None:
        """Counts seconds; what is below 0, as clocks differ, counts as 0."""
        self._bins.update(map(_bin, times))
        self._sum += math.fsum([seconds for seconds in times if seconds > 0.0])
        self._longest = max(self._longest, *times, 0.0)

    def durations(self) -> Durations:
        """Returns what is to be said of what was counted."""
        bins = [(_upper(bin), count) for bin, count in sorted(self._bins.items())]
        total = sum(count for _, count in bins)
        median, p90, p99 = (
            min(_percentile(bins, share * (total - 1)), self._longest) for share in (0.5, 0.9, 0.99)
        )
        mean = self._sum / max(total, 1)
        return Durations(median, p90, p99, self._longest, mean, tuple(bins))


_LEAST: Final = -(10**6)
"""The bin of 0.0."""


def _bin(seconds: float) -> int:
    if seconds <= 0.0:
        return _LEAST
    mantissa, exponent = math.frexp(seconds)
    return exponent * _PARTS + int(mantissa * (2 * _PARTS)) - _PARTS


def _upper(bin: int) -> float:
    if bin == _LEAST:
        return 0.0
    exponent, part = divmod(bin, _PARTS)
    return math.ldexp(0.5 + (part + 1) / (2 * _PARTS), exponent)


def _percentile(bins: list[tuple[float, int]], rank: float) -> float:
    below = 0
    for upper, count in bins:
        below += count
        if below > rank:
            return upper
    return 0.0


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
    recent: list[Ended] = field(default_factory=list)
    """Tasks whose times are not in their bins yet."""
    latest: list[Ended] = field(default_factory=list)
    """The newest tasks whose times are, the oldest first."""
    waiting: Histogram = field(default_factory=Histogram)
    executing: Histogram = field(default_factory=Histogram)

    def took(self, task: Ended) -> None:
        """A task has come to its own end."""
        self.recent.append(task)
        if len(self.recent) >= _FOLD:
            self.fold()

    def fold(self) -> None:
        """Puts the times of the latest tasks into their bins."""
        recent = self.recent
        self.waiting.add([task[0] - task[2] - task[1] for task in recent])
        self.executing.add([task[1] for task in recent])
        self.latest = [*self.latest, *recent][-REMEMBERED:]
        self.recent = []
