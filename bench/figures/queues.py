"""Small objects from one worker to another through a queue.

One process or worker puts tuples of a number and a short string, another takes them. The clock runs
in the one that takes, from its first object to its last.

- *pyworkers, one by one*: `queue.put(item)` and `queue.get()` of a `pyworkers.sync.Queue`, in mode
  shared.
- *pyworkers, by 100*: `queue.put_many(items)` and `queue.get_many(100)`.
- *multiprocessing.Queue*: `put` and `get` in CPython on the same machine, with two processes.
- *multiprocessing.SimpleQueue*: the same without a thread that feeds the pipe.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any

from bench.contest import Figure, Metric, Sample
from bench.inside.passing import put_all, take_all
from bench.lab import Lab


@contextmanager
def contest(lab: Lab) -> Iterator[dict[str, Sample]]:
    count = lab.count(50_000, 1_000)
    tab = lab.tab()
    tab.connect(size=2)
    tab.run(
        "from pyworkers import WorkerPool\n"
        "from pyworkers.sync import Queue\n"
        "from passing import put_all, put_batches, take_all, take_batches\n"
        "from held import start_all\n"
        "pool = WorkerPool(2, modules=['passing', 'held'])\n"
        "await start_all(pool, 2)\n"
        "def run(count, by):\n"
        "    queue = Queue()\n"
        "    put, take = (put_batches, take_batches) if by else (put_all, take_all)\n"
        "    taking = pool.submit(take, queue, count)\n"
        "    pool.submit(put, queue, count).result()\n"
        "    return (count - 1) / taking.result()"
    )
    context = get_context("spawn")

    def native(kind: str) -> dict[str, float]:
        queue = getattr(context, kind)()
        times = context.SimpleQueue()
        putting = context.Process(target=put_all, args=(queue, count))
        taking = context.Process(target=_tell, args=(queue, count, times))
        taking.start()
        putting.start()
        seconds: float = times.get()
        putting.join()
        taking.join()
        return {"rate": (count - 1) / seconds}

    yield {
        "pyworkers, one by one": lambda: {"rate": tab.run(f"run({count}, False)")},
        "pyworkers, by 100": lambda: {"rate": tab.run(f"run({count}, True)")},
        "multiprocessing.Queue": lambda: native("Queue"),
        "multiprocessing.SimpleQueue": lambda: native("SimpleQueue"),
    }
    tab.close()


def _tell(queue: Any, count: int, times: Any) -> None:
    times.put(take_all(queue, count))


FIGURE = Figure(
    __name__, __doc__, (Metric("rate", "objects/s", "throughput", more_is_better=True),), contest
)
