"""Memory of a further worker.

The memory of all processes of the browser (their PSS, in which a shared page counts once), with
one worker that has run a task and then rested, and then with two more; half of the difference. To
rest is to have nothing to do for 40 seconds: after 30, Chromium collects garbage.

- *at first*: as soon as the memory has settled: when nine samples in a row, 0.25 s apart, lie
  within 1 MiB. If none of 120 samples ends such a row, the figure fails.
- *at rest*: when the further ones have rested, too.

- *loadPyodide*: one, then three workers, each with a plain Pyodide that has run `1 + 1`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import sleep

from bench.contest import Figure, Metric, Sample
from bench.lab import Lab
from bench.processes import browser_processes, pss_mib

FURTHER = 2
TOLERANCE_MIB = 1.0
PAUSE_SECONDS = 0.25
MOST_SAMPLES = 120
REST_SECONDS = 40


def settled(sample: Callable[[], float], quiet: int, pause: Callable[[], object]) -> float:
    """Samples until the samples stay within the tolerance of each other.

    Args:
        sample: takes one.
        quiet: how many in a row must agree.
        pause: called between two.

    Returns:
        The last one.

    Raises:
        TimeoutError: they did not agree within the most samples that are taken.
    """
    samples = [sample()]
    while len(samples) < MOST_SAMPLES:
        recent = samples[-quiet:]
        if len(recent) == quiet and max(recent) - min(recent) <= TOLERANCE_MIB:
            return recent[-1]
        pause()
        samples.append(sample())
    raise TimeoutError(f"memory has not settled; the last samples in MiB: {samples[-quiet:]}")


@contextmanager
def contest(lab: Lab) -> Iterator[dict[str, Sample]]:
    quiet = lab.count(9, 3)

    rest = lab.count(REST_SECONDS, 0)

    def sample() -> float:
        return pss_mib(browser_processes())

    def memory() -> tuple[float, float]:
        first = settled(sample, quiet, lambda: sleep(PAUSE_SECONDS))
        sleep(rest)
        return first, sample()

    def each(start: Callable[[int], object]) -> dict[str, float]:
        start(1)
        _, before = memory()
        start(FURTHER)
        first, after = memory()
        return {"first": (first - before) / FURTHER, "rest": (after - before) / FURTHER}

    def ours() -> dict[str, float]:
        tab = lab.tab()
        tab.connect(size=1)
        tab.run(
            "from pyworkers import WorkerPool\n"
            "import held\n"
            "pools = []\n"
            "async def start(workers):\n"
            "    pools.append(WorkerPool(workers, modules=['held']))\n"
            "    await held.start_all(pools[-1], workers)"
        )
        result = each(lambda workers: tab.run(f"await start({workers})"))
        tab.close()
        return result

    def plain() -> dict[str, float]:
        tab = lab.tab()
        result = each(lambda workers: tab.ask("plain", workers))
        tab.close()
        return result

    yield {"pyworkers": ours, "loadPyodide": plain}


FIGURE = Figure(
    __name__,
    __doc__,
    (Metric("first", "MiB", "at first"), Metric("rest", "MiB", "at rest")),
    contest,
)
