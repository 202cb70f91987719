"""A large argument.

Python in a worker calls `len` in another one with 64 MiB of bytes, and waits for the result:
`pool.submit(len, data).result()` in mode shared, for `bytes` and for `bytearray`, and
`await pool.submit(len, data)` in mode transfer. A WebAssembly heap cannot be shared with another
one, so at least one copy out of the one and one into the other are needed.

- *two copies, JavaScript*: the bytes are copied from one array to a second and on to a third that
  were there before: the floor.
- *comlink, transfer*: a plain Pyodide awaits a function in another one. The bytes are copied out
  of the one heap once, transferred, and copied once into a bytes object in the other.
- *postMessage, JavaScript*: a worker posts an ArrayBuffer to another one by structured clone,
  without Python, and waits for its length.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

from bench.contest import Figure, Metric, Sample
from bench.lab import Lab
from bench.statistics import differences

MIB = 1 << 20


@contextmanager
def contest(lab: Lab) -> Iterator[dict[str, Sample]]:
    size = lab.count(64, 4) * MIB
    calls = lab.count(3, 1)
    tab = lab.tab()
    tab.connect(size=1)
    tab.run(
        "from pyworkers import WorkerPool\n"
        "from timing import awaited, blocking\n"
        "from workload import pattern\n"
        "shared, transfer = [WorkerPool(1, mode=mode) for mode in ('shared', 'transfer')]\n"
        f"data = pattern({size})\n"
        "array = bytearray(data)"
    )
    tab.ask("peers", {"python": "python", "reader": "python", "script": "script", "echo": "script"})
    tab.ask("join", "python", "reader")
    tab.ask("join", "script", "echo")

    def rate(times: list[float]) -> dict[str, float]:
        return {"rate": size / MIB / median(differences(times))}

    def shared(data: str) -> dict[str, float]:
        return rate(tab.run(f"blocking(lambda: shared.submit(len, {data}).result(), {calls})"))

    yield {
        "pyworkers, bytes": lambda: shared("data"),
        "pyworkers, bytearray": lambda: shared("array"),
        "pyworkers, transfer": lambda: rate(
            tab.run(f"await awaited(lambda: transfer.submit(len, data), {calls})")
        ),
        "two copies, JavaScript": lambda: rate(tab.ask("peer", "script", "copies", calls, size)),
        "comlink, transfer": lambda: rate(tab.ask("peer", "python", "transfer", calls, size)),
        "postMessage, JavaScript": lambda: rate(tab.ask("peer", "script", "clone", calls, size)),
    }
    tab.close()


FIGURE = Figure(__name__, __doc__, (Metric("rate", "MiB/s", "throughput", True),), contest)
