"""Small tasks through a pool of two.

All calls of a function that does nothing are submitted, then all results are collected:
`futures = [pool.submit(noop) for _ in range(n)]`, then `future.result()` for each, in a blocking
hub in mode shared.

- *ProcessPoolExecutor*: the same lines in CPython on the same machine, with two processes.
"""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from time import perf_counter

from bench.contest import Figure, Metric, Sample
from bench.inside.workload import noop
from bench.lab import Lab


@contextmanager
def contest(lab: Lab) -> Iterator[dict[str, Sample]]:
    tasks = lab.count(5000, 100)
    tab = lab.tab()
    tab.connect(size=2)
    tab.run(
        "from time import perf_counter\n"
        "from pyworkers import WorkerPool\n"
        "from workload import noop\n"
        "from held import start_all\n"
        "pool = WorkerPool(2, modules=['workload', 'held'])\n"
        "await start_all(pool, 2)\n"
        "def run(tasks):\n"
        "    started = perf_counter()\n"
        "    for future in [pool.submit(noop) for _ in range(tasks)]:\n"
        "        future.result()\n"
        "    return tasks / (perf_counter() - started)"
    )
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:

        def native() -> dict[str, float]:
            started = perf_counter()
            for future in [pool.submit(noop) for _ in range(tasks)]:
                future.result()
            return {"rate": tasks / (perf_counter() - started)}

        yield {
            "pyworkers": lambda: {"rate": tab.run(f"run({tasks})")},
            "ProcessPoolExecutor": native,
        }
    tab.close()


FIGURE = Figure(
    __name__, __doc__, (Metric("rate", "tasks/s", "throughput", more_is_better=True),), contest
)
