"""A map of a trivial function over many items, by two workers.

`for _ in pool.map(square, range(n))`, which chooses its chunks itself, in a hub in mode shared:
once blocking, once by `async for`.

- *ProcessPoolExecutor*: the same line in CPython on the same machine, with two processes and a
  chunk size that gives each of them four chunks.
"""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from time import perf_counter

from bench.contest import Figure, Metric, Sample
from bench.inside.workload import square
from bench.lab import Lab


@contextmanager
def contest(lab: Lab) -> Iterator[dict[str, Sample]]:
    items = lab.count(200_000, 2000)
    tab = lab.tab()
    tab.connect(size=2)
    tab.run(
        "from time import perf_counter\n"
        "from pyworkers import WorkerPool\n"
        "from workload import square\n"
        "from held import start_all\n"
        "pool = WorkerPool(2, modules=['workload', 'held'])\n"
        "await start_all(pool, 2)\n"
        "def blocking(items):\n"
        "    started = perf_counter()\n"
        "    for _ in pool.map(square, range(items)):\n"
        "        pass\n"
        "    return items / (perf_counter() - started)\n"
        "async def awaited(items):\n"
        "    started = perf_counter()\n"
        "    async for _ in pool.map(square, range(items)):\n"
        "        pass\n"
        "    return items / (perf_counter() - started)"
    )
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:

        def native() -> dict[str, float]:
            started = perf_counter()
            for _ in pool.map(square, range(items), chunksize=items // 8):
                pass
            return {"rate": items / (perf_counter() - started)}

        yield {
            "pyworkers, for": lambda: {"rate": tab.run(f"blocking({items})")},
            "pyworkers, async for": lambda: {"rate": tab.run(f"await awaited({items})")},
            "ProcessPoolExecutor": native,
        }
    tab.close()


FIGURE = Figure(
    __name__, __doc__, (Metric("rate", "items/s", "throughput", more_is_better=True),), contest
)
