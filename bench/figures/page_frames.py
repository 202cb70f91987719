"""The page's own thread under full load.

For three seconds two workers compute all the time, in calls of 5 ms each, whose results stream
into the page: `py.run("workload:spin", [0.005])`, four calls under way. Meanwhile the page watches
itself: the longest time between two animation frames (16.7 ms apart on an idle page), and the
longest task of its thread as the Long Tasks API reports it, which is 0 if none took 50 ms.

- *comlink*: the page calls two workers with a plain Pyodide each, two calls under way for each.
- *idle page*: no load.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from bench.contest import Figure, Metric, Sample
from bench.lab import Lab, Tab

SPIN_SECONDS = 0.005


@contextmanager
def contest(lab: Lab) -> Iterator[dict[str, Sample]]:
    milliseconds = lab.count(3000, 300)
    ours, peer, idle = lab.tab(), lab.tab(), lab.tab()
    ours.connect(size=2)
    workers = ["one", "two"]
    peer.ask("peers", {name: "python" for name in workers})

    def watch(tab: Tab, load: list[str], ahead: int) -> dict[str, float]:
        report: dict[str, float] = tab.ask("watch", milliseconds, load, ahead, SPIN_SECONDS)
        return report

    yield {
        "pyworkers": lambda: watch(ours, ["pyworkers"], 4),
        "comlink": lambda: watch(peer, workers, 2),
        "idle page": lambda: watch(idle, [], 0),
    }
    for tab in (ours, peer, idle):
        tab.close()


FIGURE = Figure(
    __name__,
    __doc__,
    (
        Metric("frame", "ms", "longest frame"),
        Metric("task", "ms", "longest task"),
        Metric("results", "1/s", "results", more_is_better=True),
    ),
    contest,
)
