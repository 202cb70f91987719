"""One object for several workers.

A hub gives 64 MiB of bytes to tasks on one worker, on two and on four, which are idle: one task for
each. What is timed is what the hub spends on it, without waiting for results.

- *put*: `ref = pool.put(data)`, then `pool.submit(len, ref)` for each worker.
- *argument*: `pool.submit(len, data)` for each worker.

In mode shared. The workers copy out of shared memory by themselves, at the same time.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from bench.contest import Figure, Metric, Sample
from bench.lab import Lab

MIB = 1 << 20
WORKERS = (1, 2, 4)


@contextmanager
def contest(lab: Lab) -> Iterator[dict[str, Sample]]:
    size = lab.count(64, 4) * MIB
    tab = lab.tab()
    tab.connect(size=1)
    tab.run(
        "from time import perf_counter\n"
        "from pyworkers import WorkerPool\n"
        "from workload import pattern\n"
        "from held import start_all\n"
        f"pools = {{n: WorkerPool(n, modules=['held']) for n in {WORKERS}}}\n"
        "for n, pool in pools.items():\n"
        "    await start_all(pool, n)\n"
        f"data = pattern({size})\n"
        "def give(workers, keep):\n"
        "    pool = pools[workers]\n"
        "    started = perf_counter()\n"
        "    given = pool.put(data) if keep else data\n"
        "    futures = [pool.submit(len, given) for _ in range(workers)]\n"
        "    spent = perf_counter() - started\n"
        "    for future in futures:\n"
        "        future.result()\n"
        "    return spent"
    )

    def sample(workers: int, keep: bool) -> Sample:
        return lambda: {"time": 1000 * tab.run(f"give({workers}, {keep})")}

    yield {
        f"{'put' if keep else 'argument'}, {n} worker{'s' * (n > 1)}": sample(n, keep)
        for keep in (True, False)
        for n in WORKERS
    }
    tab.close()


FIGURE = Figure(__name__, __doc__, (Metric("time", "ms", "spent by the hub"),), contest)
