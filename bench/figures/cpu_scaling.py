"""Two workers against one.

Primes are counted by trial division in pure Python, in 64 pieces: by a map on a pool of one, then
on a pool of two, each piece a task. The speed-up is the quotient of the two times. The second
value is the processor time of all processes of the browser, divided by the time that the pool of
two took: 2 means that two cores were busy all the time.

- *ProcessPoolExecutor*: the same in CPython on the same machine, with one process and with two:
  what the machine gave at that time.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter

from bench.contest import Figure, Metric, Sample
from bench.inside.workload import count_primes
from bench.lab import Lab
from bench.processes import browser_processes, cpu_seconds, python_processes

PIECES = 64


def scaling(run: Callable[[int], float], processes: Callable[[], list[Path]]) -> dict[str, float]:
    """Compares two workers to one.

    Args:
        run: does the work on so many workers, and returns the seconds that it took.
        processes: those whose processor time counts.
    """
    one = run(1)
    counted = processes()
    before = cpu_seconds(counted)
    two = run(2)
    return {"speed_up": one / two, "busy": (cpu_seconds(counted) - before) / two}


@contextmanager
def contest(lab: Lab) -> Iterator[dict[str, Sample]]:
    stop = lab.count(500_000, 30_000)
    firsts = range(0, stop, stop // PIECES)
    stops = [first + stop // PIECES for first in firsts]
    tab = lab.tab()
    tab.connect(size=2)
    tab.run(
        "from time import perf_counter\n"
        "from pyworkers import WorkerPool\n"
        "from workload import count_primes\n"
        "from held import start_all\n"
        "pools = {n: WorkerPool(n, modules=['workload', 'held']) for n in (1, 2)}\n"
        "for n, pool in pools.items():\n"
        "    await start_all(pool, n)\n"
        f"pieces = {list(firsts)}, {stops}\n"
        "def run(workers):\n"
        "    started = perf_counter()\n"
        "    sum(pools[workers].map(count_primes, *pieces, chunksize=1))\n"
        "    return perf_counter() - started"
    )
    spawn = get_context("spawn")
    with ProcessPoolExecutor(1, spawn) as one, ProcessPoolExecutor(2, spawn) as two:

        def native(workers: int) -> float:
            pool = one if workers == 1 else two
            started = perf_counter()
            sum(pool.map(count_primes, firsts, stops, chunksize=1))
            return perf_counter() - started

        yield {
            "pyworkers": lambda: scaling(lambda n: tab.run(f"run({n})"), browser_processes),
            "ProcessPoolExecutor": lambda: scaling(native, python_processes),
        }
    tab.close()


FIGURE = Figure(
    __name__,
    __doc__,
    (
        Metric("speed_up", "", "speed-up", more_is_better=True),
        Metric("busy", "cores", "busy", more_is_better=True),
    ),
    contest,
)
