"""Memory that pools leave behind.

The memory of all processes of the browser (their PSS) after fifty pools of two workers were opened,
used and closed, one after the other, compared to that after the first ten of them. Both times
without workers, and once memory has settled as for `memory`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from time import sleep

from bench.contest import Figure, Metric, Sample
from bench.figures.memory import PAUSE_SECONDS, settled
from bench.lab import Lab
from bench.processes import browser_processes, pss_mib


@contextmanager
def contest(lab: Lab) -> Iterator[dict[str, Sample]]:
    quiet = lab.count(9, 3)
    first, all_of_them = lab.count(10, 1), lab.count(50, 3)

    def now() -> float:
        return settled(lambda: pss_mib(browser_processes()), quiet, lambda: sleep(PAUSE_SECONDS))

    def ours() -> dict[str, float]:
        tab = lab.tab()
        tab.connect(size=1)
        tab.run(
            "from pyworkers import WorkerPool\n"
            "import held\n"
            "async def open_and_close(count):\n"
            "    for _ in range(count):\n"
            "        async with WorkerPool(2, modules=['held']) as pool:\n"
            "            await held.start_all(pool, 2)"
        )
        tab.run(f"await open_and_close({first})")
        before = now()
        tab.run(f"await open_and_close({all_of_them - first})")
        after = now()
        tab.close()
        return {"before": before, "after": after, "growth": after - before}

    yield {"pyworkers": ours}


FIGURE = Figure(
    __name__,
    __doc__,
    (
        Metric("after", "MiB", "after fifty"),
        Metric("before", "MiB", "after ten"),
        Metric("growth", "MiB", "growth"),
    ),
    contest,
)
