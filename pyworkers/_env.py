"""What this environment can do, which mode follows from it, and what a worker starts with.

Owns the capabilities (detected once), the choice of a mode, and the archive of packages that a
new worker starts from. Knows nothing of pools.
"""

import io
import os
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Literal, get_args
from zipfile import ZipFile, ZipInfo
from zipimport import zipimporter

from pyworkers import _js
from pyworkers.errors import ModeError

Mode = Literal["shared", "transfer", "inline"]
"""How tasks reach workers: rings in shared memory, message ports, or not at all."""

_MAX_DEFAULT_WORKERS: Final = 8
_WORKER_GIB: Final = 0.0625


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What was found in this environment, and the mode that follows.

    Attributes:
        mode: the best mode that works here.
        reason: why it is that one.
        cross_origin_isolated: what the page claims; ``shared_memory`` is what counts.
        shared_memory: SharedArrayBuffer can be made.
        atomics: Atomics exists.
        wait_async: Atomics.waitAsync exists; else a thread that waits without blocking is woken by
            messages.
        blocking_wait: this thread may block in Atomics.wait (false on a page's own thread).
        jspi: WebAssembly stack switching exists. Whether it can be used depends on how Python
            was entered: see ``can_run_sync``.
        workers: Web Workers, or Node's worker threads, can be made.
        nested: this thread is itself a worker.
        offscreen_canvas: OffscreenCanvas exists.
        node: this is Node.
        cores: logical processors, as the platform tells.
        memory: GiB of the machine, as the platform tells; browsers tell of 8 at the most, and some
            of none: 0.0.
    """

    mode: Mode
    reason: str
    cross_origin_isolated: bool = False
    shared_memory: bool = False
    atomics: bool = False
    wait_async: bool = False
    blocking_wait: bool = False
    jspi: bool = False
    workers: bool = False
    nested: bool = False
    offscreen_canvas: bool = False
    node: bool = False
    cores: int = 1
    memory: float = 0.0

    @property
    def can_run_sync(self) -> bool:
        """Whether a synchronous call can wait through stack switching, right now."""
        return _js.can_block_by_jspi()

    @property
    def default_workers(self) -> int:
        """Size of a pool that names none: one for each core, 8 at the most.

        Fewer where they would take more than a quarter of a small machine's memory, by what
        workers with some packages take.
        """
        room = int(self.memory / 4 / _WORKER_GIB) if self.memory else _MAX_DEFAULT_WORKERS
        return max(1, min(self.cores, room, _MAX_DEFAULT_WORKERS))


def best_mode(found: dict[str, Any]) -> tuple[Mode, str]:
    """Chooses the best mode for what was found, and says why."""
    if not found["workers"]:
        return "inline", "Web Workers cannot be made here"
    if not found["shared_memory"]:
        if found["cross_origin_isolated"]:
            return "transfer", "the page is isolated, but the browser has no SharedArrayBuffer"
        return "transfer", (
            "the page is not cross-origin isolated, so it has no SharedArrayBuffer; "
            "serve it with `pyworkers serve`, or with the headers COOP same-origin and COEP "
            "require-corp"
        )
    return "shared", "SharedArrayBuffer is here"


@cache
def capabilities() -> Capabilities:
    """Returns what this environment can do, detected once."""
    if not _js.IN_PYODIDE:
        return Capabilities(
            mode="inline", reason="this is CPython, not Pyodide", cores=os.cpu_count() or 1
        )
    found = _js.detect()
    mode, reason = best_mode(found)
    return Capabilities(mode=mode, reason=reason, **found)


_default_mode: Mode | None = None


def set_default_mode(requested: str | None) -> Mode:
    """Has pools that name no mode use one that is not the best, and returns it."""
    global _default_mode  # noqa: PLW0603 - the interpreter has one page, and so one such mode
    _default_mode = choose_mode(requested)
    return _default_mode


def choose_mode(requested: str | None) -> Mode:
    """Returns the mode of a new pool.

    Args:
        requested: a mode, or None for the default: the best, unless the hub's page chose another.

    Raises:
        ValueError: there is no such mode.
        ModeError: that mode does not work here.
    """
    found = capabilities()
    if requested is None:
        return _default_mode or found.mode
    modes: tuple[Mode, ...] = get_args(Mode)
    for mode in modes:
        if requested == mode:
            if modes.index(mode) < modes.index(found.mode):
                raise ModeError(f"mode {mode!r} is not available: {found.reason}")
            return mode
    raise ValueError(f"mode must be one of {', '.join(modes)} or None, not {requested!r}")


@cache
def start_archive() -> bytes:
    """Returns a zip of the packages that every worker needs: pyworkers and cloudpickle.

    Where this interpreter itself was started from such an archive, it is that one.
    """
    own: object = _js.__loader__
    if isinstance(own, zipimporter):
        return Path(own.archive).read_bytes()
    stream = io.BytesIO()
    with ZipFile(stream, "w") as archive:
        for name in ("pyworkers", "cloudpickle"):
            spec = find_spec(name)
            if spec is None or spec.origin is None:
                raise ModeError(f"the package {name} has no files to give to workers")
            root = Path(spec.origin).parent
            for path in sorted(root.rglob("*.py")):
                inside = path.relative_to(root.parent)
                if "cli" not in inside.parts:
                    # Without its time, so that equal packages make equal archives.
                    archive.writestr(ZipInfo(inside.as_posix()), path.read_bytes())
    return stream.getvalue()


def module_source(name: str) -> dict[str, bytes]:
    """Returns the files of a module or package that this interpreter can import.

    Args:
        name: a top-level module or package.

    Returns:
        Paths relative to a folder of ``sys.path``, and what the files hold.

    Raises:
        ModuleNotFoundError: it cannot be found, or has no source files.
    """
    spec = find_spec(name)
    origin = spec.origin if spec else None
    if spec is None or origin is None or not Path(origin).is_file():
        raise ModuleNotFoundError(
            f"modules: {name!r} has no source file here to give to workers", name=name
        )
    path = Path(origin)
    if spec.submodule_search_locations is None:
        return {path.name: path.read_bytes()}
    root = path.parent
    return {
        file.relative_to(root.parent).as_posix(): file.read_bytes()
        for file in sorted(root.rglob("*"))
        if file.is_file() and "__pycache__" not in file.parts
    }
