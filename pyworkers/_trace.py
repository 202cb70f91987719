"""A trace of what workers do, in the format of ``chrome://tracing`` and Perfetto.

Owns the form of the file: an object with ``traceEvents``, times in microseconds, a thread for each
worker (Trace Event Format, complete events "X", instants "i", metadata "M").
"""

import json
from typing import Any

from pyworkers._events import Event


class Trace:
    """Collects events, and says them as JSON.

    Args:
        name: of the pool.
    """

    def __init__(self, name: str) -> None:
        self._events: list[dict[str, Any]] = [
            {"ph": "M", "pid": 1, "tid": 0, "name": "process_name", "args": {"name": name}}
        ]
        self._begun: dict[int, float] = {}
        self._workers: set[int] = set()

    def add(self, event: Event) -> None:
        """Notes an event; a listener to all kinds of them."""
        args: dict[str, Any]
        thread = event.worker or 0
        if thread and thread not in self._workers:
            self._workers.add(thread)
            self._note("M", thread, "thread_name", None, args={"name": f"worker {thread}"})
        if event.task is None:
            args = {} if event.reason is None else {"reason": event.reason}
            self._note("i", thread, event.kind, event.time, s="t", args=args)
        elif event.kind == "task_started":
            self._begun[event.task] = event.time
        elif event.kind == "task_progress":
            self._note(
                "i", thread, "progress", event.time, s="t", args={"progress": event.progress}
            )
        else:
            began = self._begun.pop(event.task, event.time)
            seconds = event.time - began if event.seconds is None else event.seconds
            args = {"task": event.task, "outcome": event.outcome or "retried"}
            name = event.function or "task"
            self._note("X", thread, name, event.time - seconds, dur=seconds * 1e6, args=args)

    def _note(self, phase: str, thread: int, name: str, time: float | None, **rest: Any) -> None:
        entry: dict[str, Any] = {"ph": phase, "pid": 1, "tid": thread, "name": name, **rest}
        if time is not None:
            entry["ts"] = time * 1e6
        self._events.append(entry)

    def as_json(self) -> str:
        """Returns the content of the file."""
        return json.dumps({"traceEvents": self._events, "displayTimeUnit": "ms"})
