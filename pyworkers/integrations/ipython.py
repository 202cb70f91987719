"""pyworkers in notebooks and in IPython: ``%load_ext pyworkers``.

Adds ``%%parallel``, which runs a cell once for each item in workers, and ``%pyworkers``, which says
how pyworkers is doing. In a notebook of the browser cells can be stopped from then on. ``Bar``
works without any of it.
"""

from functools import cache
from typing import Any, Final

from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from IPython.display import publish_display_data

from pyworkers import WorkerPool, _html, _js, capabilities
from pyworkers.integrations import _bars
from pyworkers.integrations._bars import Bar
from pyworkers.integrations._parallel import Misused, make_function, parse_line
from pyworkers.integrations._stop import Stop

__all__ = ["Bar", "load_ipython_extension", "unload_ipython_extension"]

_ISOLATED: Final = (
    "workers share memory, cells block natively, and to stop a cell that waits for tasks stops "
    "those, too"
)

_extensions: dict[InteractiveShell, "Extension"] = {}


@cache
def _stop() -> Stop:
    """What hears requests to stop: once in an interpreter, which has one interrupt buffer."""
    return Stop(InteractiveShell.run_code.__code__)


class Extension:
    """What is loaded into a shell."""

    def __init__(self, shell: InteractiveShell) -> None:
        self._shell = shell
        self._pool: WorkerPool | None = None
        self._stop: Stop | None = None
        self._magics = (
            ("parallel", "cell", self.parallel),
            ("pyworkers", "line", self.status),
        )

    def load(self) -> None:
        """Adds the magics and, where cells cannot be stopped otherwise, what stops them."""
        for name, kind, magic in self._magics:
            self._shell.magics_manager.register_function(magic, kind, name)
        if _js.IN_PYODIDE and not capabilities().node:
            self._stop = stop = _stop()
            stop.begin()  # the cell that loads this
            self._shell.events.register("pre_run_cell", stop.begin)
            self._shell.events.register("post_run_cell", stop.end)
            _bars.extra = stop.button
            publish_display_data({"text/html": stop.hook(), "text/plain": ""})

    def unload(self) -> None:
        """Takes back what ``load`` did, and ends the pool."""
        for name, kind, _ in self._magics:
            del self._shell.magics_manager.magics[kind][name]
        if self._stop is not None:
            self._shell.events.unregister("pre_run_cell", self._stop.begin)
            self._shell.events.unregister("post_run_cell", self._stop.end)
            _bars.extra = str
        if self._pool is not None:
            self._pool.terminate_workers()
            self._pool = None

    def parallel(self, line: str, cell: str) -> list[Any] | None:
        """Run a cell once for each item, in workers, and collect the values of its last expression.

        Usage::

            %%parallel [--pool POOL] NAME in ITERABLE [-> RESULTS]

        Each item is bound to NAME, which can be several names as in a ``for``. The cell sees the
        notebook's variables as they are now; what it assigns is its own. ``await`` works in it, and
        ``return`` ends it early. The results are in the order of the items: a list that gets the
        name RESULTS, or is the value of the cell. If a call raises, so does the cell, and what does
        not run yet is cancelled. POOL is the name of a pool; without one, a pool with a worker for
        each core is made at the first use.
        """
        shell = self._shell
        try:
            asked = parse_line(line)
        except Misused as error:
            raise UsageError(str(error)) from None
        pool = self._own_pool() if asked.pool is None else self._named_pool(asked.pool)
        source = shell.transform_cell(cell)
        if not source.strip():
            raise UsageError("the cell is empty: there is nothing to run for each item")
        filename = shell.compile.cache(source, shell.execution_count, raw_code=cell)
        function = make_function(asked.target, source, filename, shell.user_ns)
        items = list(eval(asked.iterable, shell.user_ns))
        bar = Bar(asked.results or asked.target, len(items))
        results = list(bar.over(pool.map(function, items)))
        if asked.results is None:
            return results
        shell.user_ns[asked.results] = results
        return None

    def status(self, line: str) -> None:
        """Show the mode, why it is that one, and all pools that have a name in the notebook."""
        if line.strip():
            raise UsageError(f"%pyworkers takes no arguments, not {line.strip()!r}")
        found = capabilities()
        told = {
            "mode": found.mode,
            "because": found.reason,
            "cores": str(found.cores),
            "blocking calls": self._blocking(),
        }
        if found.mode == "transfer":
            told["on an isolated page"] = _ISOLATED
        pools = {
            name: value
            for name, value in self._shell.user_ns.items()
            if isinstance(value, WorkerPool) and not name.startswith("_")
        }
        if self._pool is not None:
            pools["%%parallel"] = self._pool
        lines = [f"{name}: {text}" for name, text in told.items()]
        lines += [f"{name}: {pool!r}" for name, pool in pools.items()]
        shown = [_html.facts("pyworkers", told)]
        for name, pool in pools.items():
            shown.append(_html.facts(name, {}) + pool._repr_html_())
        publish_display_data({"text/plain": "\n".join(lines), "text/html": "".join(shown)})

    def _blocking(self) -> str:
        found = capabilities()
        if found.mode == "inline" or (found.mode == "shared" and found.blocking_wait):
            return "work"
        if found.can_run_sync:
            return "work, by stack switching"
        return "do not work: use `await`, `async for` and `async with`"

    def _own_pool(self) -> WorkerPool:
        if self._pool is None:
            self._pool = WorkerPool()
        return self._pool

    def _named_pool(self, name: str) -> WorkerPool:
        pool = self._shell.user_ns.get(name)
        if not isinstance(pool, WorkerPool):
            what = "not defined" if pool is None else f"a {type(pool).__name__}"
            raise UsageError(f"--pool {name}: that is {what}, not a WorkerPool")
        return pool


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Loads this into a shell; ``%load_ext pyworkers`` calls it."""
    extension = Extension(shell)
    extension.load()
    _extensions[shell] = extension


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """Takes this out of a shell; ``%unload_ext pyworkers`` calls it."""
    extension = _extensions.pop(shell, None)
    if extension is not None:
        extension.unload()
