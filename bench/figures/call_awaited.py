"""A call that is awaited, and its answer.

Python in a worker awaits a Python function in another worker that does nothing:
`await pool.submit(noop)`, in mode shared and in mode transfer. The clock is read after each call.

- *comlink, Python*: a plain Pyodide in a worker awaits a Python function in another one through
  comlink, in the same Python loop.
- *comlink, JavaScript*: a worker without Python awaits that function.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from bench.contest import Figure, Sample
from bench.figures.call_blocking import LATENCY
from bench.lab import Lab
from bench.statistics import latency


@contextmanager
def contest(lab: Lab) -> Iterator[dict[str, Sample]]:
    calls = lab.count(2000, 50)
    tab = lab.tab()
    tab.connect(size=1)
    tab.run(
        "from pyworkers import WorkerPool\n"
        "from timing import awaited\n"
        "from workload import noop\n"
        "shared, transfer = [\n"
        "    WorkerPool(1, modules=['workload'], mode=mode) for mode in ('shared', 'transfer')\n"
        "]"
    )
    tab.ask("peers", {"python": "python", "answerer": "python", "script": "script"})
    tab.ask("join", "python", "answerer")
    tab.ask("join", "script", "answerer")

    def ours(mode: str) -> dict[str, float]:
        return latency(tab.run(f"await awaited(lambda: {mode}.submit(noop), {calls})"))

    yield {
        "pyworkers, shared": lambda: ours("shared"),
        "pyworkers, transfer": lambda: ours("transfer"),
        "comlink, Python": lambda: latency(tab.ask("peer", "python", "comlink", calls)),
        "comlink, JavaScript": lambda: latency(
            tab.ask("peer", "script", "comlink", calls, "noop", [])
        ),
    }
    tab.close()


FIGURE = Figure(__name__, __doc__, LATENCY, contest)
