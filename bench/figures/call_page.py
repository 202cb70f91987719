"""A call from a page's JavaScript, and its answer.

The page awaits `operator.neg(1)` in a worker: `py.run("operator:neg", [1])`, in mode shared and
in mode transfer. The message goes from the page to the hub, from there to a worker, and back. The
clock is read after each call.

- *comlink*: the page awaits a JavaScript function in a worker with a plain Pyodide, which calls
  `operator.neg`, looked up once. There is no hub between them: one hop instead of two.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from bench.contest import Figure, Sample
from bench.figures.call_blocking import LATENCY
from bench.lab import Lab, Tab
from bench.statistics import latency


@contextmanager
def contest(lab: Lab) -> Iterator[dict[str, Sample]]:
    calls = lab.count(1000, 50)
    tabs = {mode: lab.tab() for mode in ("shared", "transfer")}
    for mode, tab in tabs.items():
        tab.connect(size=1, mode=mode)
    peer = lab.tab()
    peer.ask("peers", {"python": "python"})

    def ours(tab: Tab) -> dict[str, float]:
        return latency(tab.ask("run", calls, "operator:neg", [1]))

    yield {
        "pyworkers, shared": lambda: ours(tabs["shared"]),
        "pyworkers, transfer": lambda: ours(tabs["transfer"]),
        "comlink": lambda: latency(peer.ask("comlink", calls, "python", "neg", [1])),
    }
    for tab in (*tabs.values(), peer):
        tab.close()


FIGURE = Figure(__name__, __doc__, LATENCY, contest)
