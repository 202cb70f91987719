"""The page's own thread during the start.

The longest task of the page's thread from the opening of a page until two workers have their first
results, as in the figure of the start: by the wall clock, in which a task may wait for a core, and
in processor time. Both from Chromium's trace of that thread, which itself takes some time.

- *loadPyodide*: two workers with a plain Pyodide each.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from bench.contest import Figure, Metric, Sample
from bench.lab import Lab


def _longest(events: list[dict[str, Any]]) -> dict[str, float]:
    """Looks at the threads of pages; the one that did most is the page's that was traced."""
    names = {
        (event["pid"], event["tid"])
        for event in events
        if event["name"] == "thread_name" and event["args"]["name"] == "CrRendererMain"
    }
    tasks: dict[tuple[int, int], list[dict[str, Any]]] = {name: [] for name in names}
    for event in events:
        thread = event["pid"], event["tid"]
        if event["name"] == "RunTask" and "dur" in event and thread in names:
            tasks[thread].append(event)
    most = max(tasks.values(), key=len)
    return {
        "wall": max(task["dur"] for task in most) / 1000,
        "processor": max(task.get("tdur", 0) for task in most) / 1000,
    }


@contextmanager
def contest(lab: Lab) -> Iterator[dict[str, Sample]]:
    def start(by: str) -> Callable[[], dict[str, float]]:
        def sample() -> dict[str, float]:
            tab = lab.tab()
            with tab.traced() as events:
                tab.go(f"start.html?by={by}")
                tab.ask("start")
            tab.close()
            return _longest(events)

        return sample

    yield {"pyworkers": start("pyworkers"), "loadPyodide": start("plain")}


FIGURE = Figure(
    __name__,
    __doc__,
    (
        Metric("wall", "ms", "longest task"),
        Metric("processor", "ms", "longest, processor"),
    ),
    contest,
)
