"""A further worker, where the set-up takes seconds.

The initializer of the pool imports 40 modules of the standard library and makes a table of 200,000
entries. Its first worker is held by a task, and the next task needs another one.

- *wait*: from the submission of that task to its result, as the caller waits for it.
- *made*: how long the fork took to make, beside the work of the pool: the start of an interpreter,
  the set-up, and the taking of its memory. It is made once.
- *size*: of the fork, which all workers share.

- *set up in each*: the same without a fork, so the further worker runs the set-up.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bench.contest import Figure, Metric, Sample
from bench.lab import Lab

_SECOND = """
from pyworkers import WorkerPool
from held import time_further

MODULES = '''argparse ast asyncio.subprocess bisect calendar cmath cmd colorsys configparser csv
    decimal difflib dis doctest email.message fractions getopt gettext html.parser http.client
    http.server imaplib ipaddress mailbox optparse pdb plistlib pprint pydoc sqlite3 smtplib
    statistics tarfile textwrap unittest.mock urllib.request wave xml.dom.minidom xmlrpc.client
    zipapp'''.split()

def prepare():
    import builtins, contextlib, importlib
    for name in MODULES:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    builtins.table = {str(n): (n, n * n % 1009) for n in range(200_000)}

async def second(forked):
    options = dict(modules=["held"], initializer=prepare, standby=0, fork=forked)
    async with WorkerPool(2, **options) as pool:
        working = ("waiting", "making")
        is_ready = lambda: not forked or pool.stats().fork.state not in working
        seconds = await time_further(pool, is_ready)
        fork = pool.stats().fork
        assert not forked or fork.workers == 1, fork
        return [seconds, fork.seconds if forked else 0, fork.bytes / 1e6 if forked else 0]
"""


@contextmanager
def contest(lab: Lab) -> Iterator[dict[str, Sample]]:
    tab = lab.tab()
    tab.connect(size=1)
    tab.run(_SECOND)

    def sample(forked: bool) -> Callable[[], dict[str, float]]:
        def take() -> dict[str, float]:
            wait, made, size = tab.run(f"await second({forked})")
            return {"wait": wait, "made": made, "size": size}

        return take

    yield {"pyworkers": sample(True), "set up in each": sample(False)}
    tab.close()


FIGURE = Figure(
    __name__,
    __doc__,
    (Metric("wait", "s", "wait"), Metric("made", "s", "made"), Metric("size", "MB", "size")),
    contest,
)
