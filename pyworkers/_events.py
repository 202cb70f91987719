"""What happens in a pool, for who wants to know.

Owns the subscribers, and the events that were not told yet. An event is made only if somebody
listens to its kind. Knows nothing of when they may be told: the hub has it done when the state of
the pool is in order, since a callback may use the pool.
"""

import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Final, Literal, NamedTuple

EventKind = Literal[
    "task_started", "task_progress", "task_retried", "task_done", "worker_ready", "worker_lost"
]
Outcome = Literal["done", "failed", "cancelled", "timed_out", "lost"]
KINDS: Final[tuple[EventKind, ...]] = (
    "task_started",
    "task_progress",
    "task_retried",
    "task_done",
    "worker_ready",
    "worker_lost",
)

logger: Final = logging.getLogger("pyworkers")


class Event(NamedTuple):  # which is made several times faster than a frozen dataclass
    """Something that happened in a pool.

    Attributes:
        kind: what.
        time: when this interpreter learned of it, in seconds since the epoch.
        worker: number of the worker; None if no worker had the task.
        task: number of the task, as ``future.task``; None for an event of a worker.
        function: name of the task's function; None for an event of a worker.
        outcome: of task_done: how the task ended; else None.
        seconds: of task_done and task_retried: how long it ran, None if it did not come to its end;
            else None.
        progress: of task_progress: done, total or None, and message; else None.
        reason: of worker_lost: what ended it; of task_retried: what it raised, or what ended its
            worker; else None.
        attempt: of task_retried: 1 if the task is run again for the first time; else None.
        delay: of task_retried: seconds that it waits before; else None.
    """

    kind: EventKind
    time: float
    worker: int | None
    task: int | None = None
    function: str | None = None
    outcome: Outcome | None = None
    seconds: float | None = None
    progress: tuple[float, float | None, str] | None = None
    reason: str | None = None
    attempt: int | None = None
    delay: float | None = None


Listener = Callable[[Event], object]

_new: Final = tuple.__new__
"""Makes an event in a third of the time that calling the class takes."""


class Events:
    """Subscribers of one pool, and what they have not been told yet.

    Args:
        later: has a function called once the state of the pool is in order.
    """

    def __init__(self, later: Callable[[Callable[[], object]], object]) -> None:
        self.listeners: dict[EventKind, tuple[Listener, ...]] = {}
        """By kind; there is an entry only for kinds to which somebody listens."""
        self._later = later
        self._pending: deque[Event] = deque()

    def subscribe(self, kind: EventKind, listener: Listener) -> Callable[[], None]:
        """Has a listener told of a kind of event; returns what ends that.

        Raises:
            ValueError: there is no such kind.
        """
        if kind not in KINDS:
            raise ValueError(f"event must be one of {', '.join(KINDS)}, not {kind!r}")
        self.listeners[kind] = (*self.listeners.get(kind, ()), listener)

        def unsubscribe() -> None:
            rest = list(self.listeners.get(kind, ()))
            if listener in rest:
                rest.remove(listener)
            if rest:
                self.listeners[kind] = tuple(rest)
            else:
                self.listeners.pop(kind, None)

        return unsubscribe

    def add(
        self,
        kind: EventKind,
        worker: int | None,
        task: int | None = None,
        function: str | None = None,
        outcome: Outcome | None = None,
        seconds: float | None = None,
        progress: tuple[float, float | None, str] | None = None,
        reason: str | None = None,
        attempt: int | None = None,
        delay: float | None = None,
    ) -> None:
        """Has listeners told of an event, whose attributes these are."""
        # fmt: off
        fields = (
            kind, time.time(), worker, task, function, outcome, seconds, progress, reason, attempt,
            delay,
        )
        # fmt: on
        if not self._pending:
            self._later(self._deliver)
        self._pending.append(_new(Event, fields))

    def _deliver(self) -> None:
        """Tells all that was not told; what listeners raise is logged."""
        pending, listeners = self._pending, self.listeners
        while pending:
            event = pending.popleft()
            for listener in listeners.get(event.kind, ()):
                try:
                    listener(event)
                except Exception:
                    logger.exception("exception in a listener to %s", event.kind)


def log(event: Event) -> None:
    """Logs an event of a task, with the numbers of task and worker as attributes of the record."""
    details = [event.outcome, event.progress, event.seconds, event.attempt, event.reason]
    text = " ".join(str(detail) for detail in details if detail is not None)
    logger.debug(
        "%s: task %s (%s) in worker %s %s",
        event.kind,
        event.task,
        event.function,
        event.worker,
        text,
        extra={"task": event.task, "worker": event.worker},
    )
