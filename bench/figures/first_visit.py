"""Bytes of a first visit.

What travels for a hub and its workers, as `boot_report()` tells: bodies as they are sent,
compressed where the server has a compressed copy. *core* is Pyodide with its standard library,
*snapshot* the memory from which interpreters start. The page's own scripts, some 60 KB, are not
among them, nor are the packages of a program.

- *plain site*: the same, built without `--compress`.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.contest import Figure, Metric, Sample
from bench.lab import Lab, build
from pyworkers.cli.serve import serving

_MIB = 1 << 20


def _part(name: str) -> str:
    if name.startswith("snapshot-"):
        return "snapshot"
    return "core" if name.startswith(("pyodide.", "python_stdlib")) else "rest"


@contextmanager
def contest(lab: Lab) -> Iterator[dict[str, Sample]]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()), "site")
        build(folder, compress=True)
        compressed = stack.enter_context(serving(folder))

        def visit(url: str | None) -> Callable[[], dict[str, float]]:
            def sample() -> dict[str, float]:
                tab = lab.tab(url)
                tab.connect(size=1)
                assets: dict[str, int] = tab.run(
                    "from pyworkers import boot_report\n"
                    "{asset.name: asset.bytes for asset in boot_report().assets}"
                )
                tab.close()
                parts = dict.fromkeys(("core", "snapshot", "rest"), 0.0)
                for name, size in assets.items():
                    parts[_part(name)] += size / _MIB
                return {"total": sum(parts.values()), **parts}

            return sample

        yield {"pyworkers": visit(compressed), "plain site": visit(None)}


FIGURE = Figure(
    __name__,
    __doc__,
    (
        Metric("total", "MiB", "in all"),
        Metric("core", "MiB", "core"),
        Metric("snapshot", "MiB", "snapshot"),
        Metric("rest", "MiB", "rest"),
    ),
    contest,
)
