"""The page's own thread during the start.

The longest task of the page's thread from the opening of a page until two workers have their first
results, as in the figure of the start: by the wall clock, in which a task may wait for a core, and
in processor time. Both from Chromium's trace of that thread, which itself takes some time. What the
browser does to open any page at all, and what the driver of this measurement has the page do, are
tasks of that thread, too, but do not count.

- *loadPyodide*: two workers with a plain Pyodide each.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from bench.contest import Figure, Metric, Sample
from bench.lab import Lab

_OF_OTHERS: Final = {"content.mojom.NavigationClient", "blink.mojom.DevToolsSession"}
"""Interfaces by which the browser has a page opened, and a driver has it do something."""


def _longest(events: list[dict[str, Any]]) -> dict[str, float]:
    """Looks at the threads of pages; the one that did most is the page's that was traced."""
    names = {
        (event["pid"], event["tid"])
        for event in events
        if event["name"] == "thread_name" and event["args"]["name"] == "CrRendererMain"
    }
    tasks: dict[tuple[int, int], list[dict[str, Any]]] = {name: [] for name in names}
    of_others: dict[tuple[int, int], list[float]] = {name: [] for name in names}
    for event in events:
        thread = event["pid"], event["tid"]
        if "dur" not in event or thread not in names:
            continue
        if event["name"] == "RunTask":
            tasks[thread].append(event)
        elif event["name"] == "Receive mojo message":
            about = event["args"]["chrome_mojo_event_info"]
            if about.get("mojo_interface_tag") in _OF_OTHERS:
                of_others[thread].append(event["ts"])
    page = max(tasks, key=lambda thread: len(tasks[thread]))
    own = [
        task
        for task in tasks[page]
        if not any(0 <= when - task["ts"] <= task["dur"] for when in of_others[page])
    ]
    return {
        "wall": max(task["dur"] for task in own) / 1000,
        "processor": max(task.get("tdur", 0) for task in own) / 1000,
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
