"""Adding to a counter that all workers share.

A worker adds 1 in a loop of Python, as often as fits, and nobody else does.

- *SharedCounter*: `counter.add()`, 64 bits.
- *SharedCounter32*: the same with 32 bits.
- *SharedProgress*: `progress.increment()`, which also tells who waits for changes.
- *bare crossing*: a JavaScript function that does nothing is called from Python, with one number.
- *SharedArray*: `array.add(0, 1)`.
- *Value*: `with value.get_lock(): value.value += 1`.

In mode shared.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from bench.contest import Figure, Metric, Sample
from bench.lab import Lab

KINDS = {
    "SharedCounter": "counter",
    "SharedCounter32": "counter32",
    "SharedProgress": "progress",
    "bare crossing": "crossing",
    "SharedArray": "array",
    "Value": "value",
}


@contextmanager
def contest(lab: Lab) -> Iterator[dict[str, Sample]]:
    count = lab.count(50_000, 500)
    tab = lab.tab()
    tab.connect(size=1)
    tab.run(
        "from pyworkers import SharedArray, WorkerPool\n"
        "from pyworkers.sync import SharedCounter, SharedCounter32, SharedProgress, Value\n"
        "pool = WorkerPool(1, modules=['counting'])\n"
        "import counting\n"
        "shared = {'counter': SharedCounter(), 'counter32': SharedCounter32(),\n"
        "    'progress': SharedProgress(), 'array': SharedArray(1, 'int32'),\n"
        "    'value': Value('i'), 'crossing': None}\n"
        "def run(kind, count):\n"
        "    return pool.submit(getattr(counting, kind), shared[kind], count).result()"
    )

    def sample(kind: str) -> Sample:
        return lambda: {"time": 1e6 * tab.run(f"run('{kind}', {count})") / count}

    yield {name: sample(kind) for name, kind in KINDS.items()}
    tab.close()


FIGURE = Figure(__name__, __doc__, (Metric("time", "µs", "for one addition"),), contest)
