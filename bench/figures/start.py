"""From nothing to the first result.

- *further worker*: from the submission of a task that needs a second worker, while the first one
  is held by another task, to its result. For the peer: from `new Worker` to the first result of
  `loadPyodide`, on a page where one such worker runs already.
- *page, first* and *page, both*: from the opening of a page to the first result of either, and of
  both, of two workers. With pyworkers that means a hub and two workers: three interpreters.
  The browser's HTTP cache is warm; the server is asked whether it is still valid.

- *loadPyodide*: a plain Pyodide in each worker, loaded as its documentation says.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from bench.contest import Figure, Metric, Sample
from bench.lab import Lab, Tab


def page(lab: Lab, by: str) -> dict[str, float]:
    """Opens a page of its own and closes it again."""
    tab = lab.tab()
    tab.go(f"start.html?by={by}")
    times: dict[str, float] = tab.ask("start")
    tab.close()
    return times


@contextmanager
def contest(lab: Lab) -> Iterator[dict[str, Sample]]:
    ours, peer = lab.tab(), lab.tab()
    ours.connect(size=1)
    ours.run(
        "from time import perf_counter\n"
        "from pyworkers import WorkerPool\n"
        "import held, workload\n"
        "async def second_worker():\n"
        "    pool = WorkerPool(2, modules=['held', 'workload'])\n"
        "    first = await pool.submit(held.number)\n"
        "    holder = pool.submit(held.hold, 60)\n"
        "    started = perf_counter()\n"
        "    second = await pool.submit(held.number)\n"
        "    seconds = perf_counter() - started\n"
        "    assert first != second\n"
        "    pool.kill(holder)\n"
        "    await pool.aclose()\n"
        "    return seconds"
    )
    peer.ask("plain", 1)

    def plain(tab: Tab) -> float:
        seconds: float = tab.ask("plain", 1)
        tab.ask("endPlain")
        return seconds

    yield {
        "pyworkers": lambda: {
            "worker": ours.run("await second_worker()"),
            **page(lab, "pyworkers"),
        },
        "loadPyodide": lambda: {"worker": plain(peer), **page(lab, "plain")},
    }
    ours.close()
    peer.close()


FIGURE = Figure(
    __name__,
    __doc__,
    (
        Metric("worker", "s", "further worker"),
        Metric("first", "s", "page, first"),
        Metric("both", "s", "page, both"),
    ),
    contest,
)
