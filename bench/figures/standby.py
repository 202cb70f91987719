"""A further worker from the reserve.

A pool of two has one worker, and one in reserve that is ready. Then its worker is held by a task,
and the next task needs another: from its submission to its result, as the caller waits for it.

- *no reserve*: the same without one, so the worker has to be started.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bench.contest import Figure, Metric, Sample
from bench.lab import Lab
from bench.statistics import percentile

_SECOND = """
from pyworkers import WorkerPool
from held import time_further

async def second(reserve):
    async with WorkerPool(2, standby=reserve, modules=["held"]) as pool:
        return await time_further(pool, lambda: pool.standby >= reserve)
"""


@contextmanager
def contest(lab: Lab) -> Iterator[dict[str, Sample]]:
    tab = lab.tab()
    tab.connect(size=1)
    tab.run(_SECOND)

    def sample(reserve: int, count: int) -> Callable[[], dict[str, float]]:
        def take() -> dict[str, float]:
            waits = [1000 * tab.run(f"await second({reserve})") for _ in range(count)]
            return {"p50": percentile(waits, 50), "p99": percentile(waits, 99)}

        return take

    yield {
        "pyworkers": sample(1, lab.count(20, 2)),
        "no reserve": sample(0, lab.count(5, 1)),
    }
    tab.close()


FIGURE = Figure(
    __name__,
    __doc__,
    (Metric("p50", "ms", "wait, median"), Metric("p99", "ms", "wait, p99")),
    contest,
)
