"""What watching and limiting cost.

The same small tasks as in `submit_throughput`, by two pools of the same build in turn, in a
blocking hub in mode shared.

- *pyworkers*: nothing but the tasks. What a pool always counts is part of it.
- *pyworkers, all on*: somebody listens to all events, and everything is limited: how many
  tasks wait, how long each may take, how many a worker runs, how large its heap may be; workers
  have heartbeats and calls a circuit breaker.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from bench.contest import Figure, Metric, Sample
from bench.lab import Lab


@contextmanager
def contest(lab: Lab) -> Iterator[dict[str, Sample]]:
    tasks = lab.count(5000, 100)
    tab = lab.tab()
    tab.connect(size=2)
    tab.run(
        "from time import perf_counter\n"
        "from pyworkers import CircuitBreaker, WorkerPool\n"
        "from workload import noop\n"
        "from held import start_all\n"
        "options = dict(modules=['workload', 'held'])\n"
        "without = WorkerPool(2, **options)\n"
        "limited = WorkerPool(2, **options, max_pending=10**6, max_tasks_per_child=10**9,\n"
        "                     heap_limit=2**31, heartbeat=5.0, breaker=CircuitBreaker())\n"
        "heard = []\n"
        "for kind in ('task_started', 'task_progress', 'task_retried', 'task_done',\n"
        "             'worker_ready', 'worker_lost'):\n"
        "    limited.on(kind, heard.append)\n"
        "await start_all(without, 2)\n"
        "await start_all(limited, 2)\n"
        "def run(pool, tasks, timeout):\n"
        "    heard.clear()\n"
        "    started = perf_counter()\n"
        "    for future in [pool.submit_with(noop, timeout=timeout) for _ in range(tasks)]:\n"
        "        future.result()\n"
        "    return tasks / (perf_counter() - started)"
    )
    yield {
        "pyworkers, all on": lambda: {"rate": tab.run(f"run(limited, {tasks}, 3600.0)")},
        "pyworkers": lambda: {"rate": tab.run(f"run(without, {tasks}, None)")},
    }
    tab.close()


FIGURE = Figure(
    __name__, __doc__, (Metric("rate", "tasks/s", "throughput", more_is_better=True),), contest
)
