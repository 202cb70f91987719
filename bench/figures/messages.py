"""Small messages from one Python to another.

Messages with 32 bytes each go one way; the clock stops when the other side says that it has read
the last one.

- *pyworkers, channel*: frames over one channel in shared memory, written and read by the classes
  that pools use, without a pool.
- *pyworkers, progress*: `task.progress(i)` in a task, heard by a callback of its future in a
  blocking hub. Each is sent at once, and carries three pickled values.
- *postMessage, Python*: bytes from a plain Pyodide to another, posted from Python through one
  JavaScript function and handed to a Python function, as bytes, on arrival. Their buffers are
  transferred.
- *postMessage, JavaScript*: the same between two workers without Python.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from bench.contest import Figure, Metric, Sample
from bench.lab import Lab

PAYLOAD = 32


@contextmanager
def contest(lab: Lab) -> Iterator[dict[str, Sample]]:
    count = lab.count(20_000, 500)
    tab = lab.tab()
    tab.connect(size=1)
    tab.run(
        "from time import perf_counter\n"
        "from pyworkers import WorkerPool\n"
        "import held\n"
        "pool = WorkerPool(1, modules=['held'])\n"
        "def run(count):\n"
        "    heard = []\n"
        "    started = perf_counter()\n"
        "    future = pool.submit(held.progress, count)\n"
        "    future.add_progress_callback(lambda *progress: heard.append(progress))\n"
        "    future.result()\n"
        "    seconds = perf_counter() - started\n"
        "    assert len(heard) == count\n"
        "    return seconds"
    )
    pairs = {kind: (f"{kind} sender", f"{kind} reader") for kind in ("link", "python", "script")}
    tab.ask("peers", {name: kind for kind, pair in pairs.items() for name in pair})
    tab.ask("link", *pairs["link"])
    tab.ask("join", *pairs["python"])
    tab.ask("join", *pairs["script"])

    def rate(seconds: float) -> dict[str, float]:
        return {"rate": count / seconds}

    def post(kind: str) -> dict[str, float]:
        sender, reader = pairs[kind]
        tab.ask("peer", reader, "read", count)
        return rate(tab.ask("peer", sender, "post", count, PAYLOAD))

    yield {
        "pyworkers, channel": lambda: rate(tab.ask("frames", *pairs["link"], count, PAYLOAD)),
        "pyworkers, progress": lambda: rate(tab.run(f"run({count})")),
        "postMessage, Python": lambda: post("python"),
        "postMessage, JavaScript": lambda: post("script"),
    }
    tab.close()


FIGURE = Figure(
    __name__, __doc__, (Metric("rate", "messages/s", "throughput", more_is_better=True),), contest
)
