"""Memory of a further worker.

The memory of all processes of the browser (their PSS, in which a shared page counts once), with
one worker that has run a task, and then with two more; half of the difference. Both times after
two quiet seconds.

- *loadPyodide*: one, then three workers, each with a plain Pyodide that has run `1 + 1`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import sleep

from bench.contest import Figure, Metric, Sample
from bench.lab import Lab
from bench.processes import browser_processes, pss_mib

FURTHER = 2


@contextmanager
def contest(lab: Lab) -> Iterator[dict[str, Sample]]:
    quiet = lab.count(2, 1)

    def settled() -> float:
        sleep(quiet)
        return pss_mib(browser_processes())

    def each(start: Callable[[int], object]) -> dict[str, float]:
        start(1)
        before = settled()
        start(FURTHER)
        return {"memory": (settled() - before) / FURTHER}

    def ours() -> dict[str, float]:
        tab = lab.tab()
        tab.connect(size=1)
        tab.run(
            "from pyworkers import WorkerPool\n"
            "import held\n"
            "pools = []\n"
            "async def start(workers):\n"
            "    pools.append(WorkerPool(workers, modules=['held']))\n"
            "    await held.start_all(pools[-1], workers)"
        )
        result = each(lambda workers: tab.run(f"await start({workers})"))
        tab.close()
        return result

    def plain() -> dict[str, float]:
        tab = lab.tab()
        result = each(lambda workers: tab.ask("plain", workers))
        tab.close()
        return result

    yield {"pyworkers": ours, "loadPyodide": plain}


FIGURE = Figure(__name__, __doc__, (Metric("memory", "MiB", "per worker"),), contest)
