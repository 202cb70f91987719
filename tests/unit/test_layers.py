"""The layers of the package: imports point downwards only.

Owns the table of layers. A new module fails here until it is given a place in it.
"""

import ast
from collections.abc import Iterator
from pathlib import Path, PurePath

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted((ROOT / "pyworkers").rglob("*.py"))

# From top to bottom. A subpackage has its place as a whole.
LAYERS: tuple[set[str], ...] = (
    {"sync"},
    {
        "__init__",
        "_pool",
        "_shared_array",
        "_lending",
        "_page",
        "_snapshot",
        "_forking",
        "page",
        "task",
    },
    {"_options"},
    {"_engine", "_groups", "_iterators"},
    {"_crew", "_outcomes"},
    {"_stops"},
    {"_ledger", "_peers", "_pool_messages", "_page_messages", "_source"},
    {"_fork"},
    {"_functions", "_hub", "_staff", "_worker", "_worker_messages", "_output"},
    {"_preparation", "_process"},
    {"_line"},
    {"_messages", "_pickled"},
    {"_answers"},
    {"_sides"},
    {"_records"},
    {"_results", "_futures", "_cancel"},
    {"_events", "_html", "_trace"},
    {"_heartbeat", "_scheduler", "_standby"},
    {"_queue", "_staffing"},
    {
        "_backoff",
        "_breaker",
        "_lanes",
        "_policies",
        "_rate",
        "_requests",
        "_scaling",
        "_slots",
        "_statistics",
    },
    {"_store", "_environment", "_mirror"},
    {"_arena"},
    {"_makings"},
    {"_codec", "_compression"},
    {"_channels"},
    {"_protocol"},
    {"_env", "_boot_report"},
    {"_js", "_shim_source"},
    {"errors"},
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}

# The command line runs on native CPython and stands beside the layers.
NATIVE = {"__main__", "cli"}
NATIVE_MAY_IMPORT = {"pyworkers", "pyworkers.__version__", "pyworkers._shim_source"}

# What notebooks use stands on the public API, and on the boundary where a browser has a part in it.
OUTSIDE = {"integrations"}
OUTSIDE_MAY_IMPORT = {"_html", "_js"}

BOUNDARY = "_js"
BROWSER_MODULES = {"js", "pyodide", "pyodide_js"}

# Events in, effects out: the clock, the randomness and all I/O are handed to them.
PURE = {
    "_backoff",
    "_breaker",
    "_heartbeat",
    "_lanes",
    "_policies",
    "_protocol",
    "_queue",
    "_rate",
    "_requests",
    "_scaling",
    "_scheduler",
    "_slots",
    "_staffing",
    "_standby",
    "_statistics",
}
PURE_STDLIB = {
    "__future__",
    "abc",
    "bisect",
    "collections",
    "dataclasses",
    "enum",
    "functools",
    "heapq",
    "itertools",
    "math",
    "operator",
    "struct",
    "types",
    "typing",
}


def layered_name(dotted: str) -> str:
    """The entry of the table that `dotted`, something in the package, belongs to."""
    _, *rest = dotted.split(".")
    return rest[0] if rest and rest[0] in {*LEVEL, *NATIVE, *OUTSIDE} else "__init__"


def imported_names(path: PurePath, source: str) -> Iterator[str]:
    """Full dotted names of all that the module at `path`, relative to the root, imports."""
    package = path.parent.parts
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            stem = [node.module] if node.module else []
            if node.level:
                stem = [*package[: len(package) + 1 - node.level], *stem]
            yield from (".".join([*stem, alias.name]) for alias in node.names)


def complaint(importer: str, imported: str) -> str | None:
    root = imported.partition(".")[0]
    if root in BROWSER_MODULES and importer != BOUNDARY:
        return f"only {BOUNDARY} may import {root}"
    if root != "pyworkers":
        if importer in PURE and root not in PURE_STDLIB:
            return f"{importer} is pure and may not import {root}"
        return None

    target = layered_name(imported)
    if importer in NATIVE:
        if target in {*NATIVE, "errors"} or imported in NATIVE_MAY_IMPORT:
            return None
        return f"{importer} may not import {imported}"
    if target in {*NATIVE, *OUTSIDE} - {importer}:
        return f"{importer} may not import {target}"
    if importer in OUTSIDE:
        if target in {"__init__", "errors", "task", *OUTSIDE, *OUTSIDE_MAY_IMPORT}:
            return None
        return f"{importer} may not import {target}"
    if LEVEL[target] < LEVEL[importer]:
        return f"{importer} imports {target}, which is above it"
    if importer in PURE and target not in PURE | {"errors"}:
        return f"{importer} is pure and may not import {target}"
    return None


def complaints(path: PurePath, source: str) -> list[str]:
    importer = path.with_suffix("").parts[1]
    if importer not in {*LEVEL, *NATIVE, *OUTSIDE}:
        return [f"{importer} is in no layer"]
    found = (complaint(importer, imported) for imported in imported_names(path, source))
    return [text for text in found if text]


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_only_what_is_below_it(module: Path) -> None:
    assert complaints(module.relative_to(ROOT), module.read_text()) == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("__init__.py", "from pyworkers._pool import Pool"),
        ("_pool.py", "import time\nfrom . import _scheduler, errors"),
        ("_scheduler.py", "from collections import deque\nfrom ._protocol import Frame"),
        ("_channels/ring.py", "from .. import _js\nfrom . import port"),
        ("_js.py", "import js\nfrom pyodide.ffi import to_js\nfrom .errors import PyworkersError"),
        ("integrations/ipython.py", "from pyworkers import WorkerPool, _html"),
        ("cli/__init__.py", "import click\nfrom .serve import serve"),
        ("__main__.py", "from .cli import main"),
        ("cli/build.py", "from pyworkers import __version__\nfrom pyworkers.errors import X"),
    ],
)
def test_a_downward_import_is_accepted(path: str, source: str) -> None:
    assert complaints(PurePath("pyworkers", path), source) == []


@pytest.mark.parametrize(
    ("path", "source", "expected"),
    [
        ("_scheduler.py", "import pyworkers._pool", "_pool, which is above"),
        ("_scheduler.py", "from . import Pool", "__init__, which is above"),
        ("_js.py", "def f():\n    from ._channels.ring import Ring", "_channels, which is above"),
        ("_channels/ring.py", "from .._codec import dumps", "_codec, which is above"),
        ("_channels/__init__.py", "from .. import _pool", "_pool, which is above"),
        ("errors.py", "from ._js import call", "_js, which is above"),
        ("_worker.py", "from pyodide.ffi import run_sync", "only _js may import pyodide"),
        ("cli/serve.py", "import js", "only _js may import js"),
        ("_scheduler.py", "from time import monotonic", "pure and may not import time"),
        ("_scheduler.py", "import asyncio", "pure and may not import asyncio"),
        ("_scheduler.py", "from . import _codec", "pure and may not import _codec"),
        ("_pool.py", "from .cli import main", "_pool may not import cli"),
        ("cli/build.py", "from pyworkers import submit", "cli may not import pyworkers.submit"),
        ("cli/build.py", "from .._codec import dumps", "cli may not import pyworkers._codec.dumps"),
        ("_pool.py", "from pyworkers.integrations import ipython", "may not import integrations"),
        ("integrations/ipython.py", "from pyworkers import _pool", "may not import _pool"),
        ("_novel.py", "", "_novel is in no layer"),
    ],
)
def test_a_forbidden_import_is_reported(path: str, source: str, expected: str) -> None:
    (found,) = complaints(PurePath("pyworkers", path), source)
    assert expected in found
