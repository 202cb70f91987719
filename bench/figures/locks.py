"""What a lock costs.

In mode shared, in workers. A lock that nobody else wants is taken and released, beside one call
from Python into JavaScript that returns a number: a lock needs two such calls. And two workers take
turns: each waits for the other and lets it go on, by semaphores from Python, or in JavaScript
by `Atomics.wait` and `Atomics.notify` alone.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from bench.contest import Figure, Metric, Sample
from bench.lab import Lab


@contextmanager
def contest(lab: Lab) -> Iterator[dict[str, Sample]]:
    times = lab.count(20_000, 200)
    rounds = lab.count(2_000, 50)
    tab = lab.tab()
    tab.connect(size=1)
    tab.run(
        "from pyworkers import SharedArray, WorkerPool\n"
        "from pyworkers.sync import Lock, Semaphore\n"
        "from held import start_all\n"
        "import turns\n"
        "pool = WorkerPool(2, modules=['held', 'turns'])\n"
        "await start_all(pool, 2)\n"
        "lock, one, two = Lock(), Semaphore(1), Semaphore(0)\n"
        "words = SharedArray(1, 'int32')\n"
        "def both(take, first, second):\n"
        "    tasks = [pool.submit(take, *given) for given in (first, second)]\n"
        "    return max(task.result() for task in tasks)\n"
        "def bare(rounds):\n"
        "    words[0] = 0\n"
        "    return both(turns.take_bare_turns, (words, 0, rounds), (words, 1, rounds))\n"
        "def ours(rounds):\n"
        "    return both(turns.take_turns, (one, two, rounds), (two, one, rounds))"
    )

    def microseconds(source: str) -> dict[str, float]:
        return {"time": 1e6 * float(tab.run(source))}

    yield {
        "acquire, release": lambda: microseconds(
            f"pool.submit(turns.pair, lock, {times}).result()"
        ),
        "with": lambda: microseconds(f"pool.submit(turns.block, lock, {times}).result()"),
        "one call into JavaScript": lambda: microseconds(
            f"pool.submit(turns.crossing, {times}).result()"
        ),
        "turn of two workers": lambda: microseconds(f"ours({rounds})"),
        "turn, Atomics alone": lambda: microseconds(f"bare({rounds})"),
    }
    tab.close()


FIGURE = Figure(__name__, __doc__, (Metric("time", "µs", "time"),), contest)
