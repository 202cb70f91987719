"""A call that blocks, and its answer.

Python in a worker calls a Python function in another worker that does nothing, and blocks until
the result is there: `pool.submit(noop).result()` in mode shared. The clock is read after each
call, in the same Python loop for all contestants that call from Python.

- *Atomics, Python to Python*: two plain Pyodides in workers exchange a counter in shared memory,
  each by calling one JavaScript function, which spins for a while and then waits in `Atomics.wait`.
  Nothing is named, encoded or scheduled: the floor.
- *Atomics, JavaScript*: the same without Python.
- *comlink, JSPI*: Python calls a plain Pyodide in another worker through comlink, and blocks
  by `run_sync`: what can be had without shared memory.
- *comlink, awaited*: the same, awaiting each call.
- *postMessage, JavaScript*: a number to another worker and back, without Python.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from bench.contest import Figure, Metric, Sample
from bench.lab import Lab
from bench.statistics import latency

LATENCY = (
    Metric("p50", "µs", "median"),
    Metric("p99", "µs", "99th percentile"),
)


@contextmanager
def contest(lab: Lab) -> Iterator[dict[str, Sample]]:
    calls = lab.count(2000, 50)
    tab = lab.tab()
    tab.connect(size=1)
    tab.run(
        "from pyworkers import WorkerPool\n"
        "from timing import blocking\n"
        "from workload import noop\n"
        "pool = WorkerPool(1, modules=['workload'])"
    )
    python = ("python caller", "python answerer")
    script = ("script caller", "script answerer")
    tab.ask("peers", {name: "python" for name in python} | {name: "script" for name in script})
    tab.ask("join", *python)
    tab.ask("join", *script)
    yield {
        "pyworkers": lambda: latency(
            tab.run(f"blocking(lambda: pool.submit(noop).result(), {calls})")
        ),
        "Atomics, Python to Python": lambda: latency(tab.ask("pingpong", *python, calls)),
        "Atomics, JavaScript": lambda: latency(tab.ask("pingpong", *script, calls)),
        "comlink, JSPI": lambda: latency(tab.ask("peer", python[0], "switched", calls)),
        "comlink, awaited": lambda: latency(tab.ask("peer", python[0], "comlink", calls)),
        "postMessage, JavaScript": lambda: latency(tab.ask("peer", script[0], "messages", calls)),
    }
    tab.close()


FIGURE = Figure(__name__, __doc__, LATENCY, contest)
