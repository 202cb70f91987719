"""How a worker is prepared before its first task: files, modules, packages, the initializer.

Owns what SETUP says, and the measures of this interpreter's start. Knows nothing of tasks.
"""

import sys
import time
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import CoroutineType
from typing import Any, TypedDict

from pyworkers import _codec, _js
from pyworkers._boot_report import Measured
from pyworkers._line import Line
from pyworkers._mirror import Mirror
from pyworkers._protocol import Frame, Kind

Outcome = Callable[[], Any]
"""Returns a result, or raises an error."""

Beside = Callable[[Coroutine[Any, Any, Any], Callable[[Outcome], None]], Any]
"""Awaits a coroutine beside what the worker does next, and calls with its outcome."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """What there is already where the set-up has been run.

    Attributes:
        mirror: knows what was taken over from the hub.
    """

    mirror: Mirror


prepared: Prepared | None = None
"""Set where this interpreter is made of one that was set up."""


class Setup(TypedDict):
    """What a worker is prepared with.

    Attributes:
        files: paths and contents.
        modules: the same, below a folder from which modules are imported.
        packages: names or URLs.
        initializer: the pickle of a function, and its arguments.
        heap_limit: bytes of memory above which a worker shall be replaced; None means never.
    """

    files: dict[str, bytes]
    modules: dict[str, bytes]
    packages: list[str]
    initializer: tuple[bytes, tuple[Any, ...]] | None
    heap_limit: int | None


class Preparation:
    """What is done once in a worker.

    Args:
        line: leads to the hub.
        beside: awaits the coroutine of an initializer or an installation.
        entered: what runs within belongs to this worker.
        heap_bytes: returns how large this interpreter's memory is.
        fail: tells the hub of an error.
        ready: called when the worker can run tasks.
    """

    def __init__(
        self,
        line: Line,
        beside: Beside,
        entered: Callable[[], AbstractContextManager[None]],
        heap_bytes: Callable[[], int],
        fail: Callable[[Kind, int, BaseException, float], None],
        ready: Callable[[], None],
    ) -> None:
        self.heap_limit: int | None = None
        """Bytes of memory above which this worker shall be replaced; None means never."""
        self.measured: Measured | None = None
        """What the shim measured while this interpreter started."""
        self._line = line
        self._beside = beside
        self._entered = entered
        self._heap_bytes = heap_bytes
        self._fail = fail
        self._ready = ready
        self._began = 0.0

    def begin(self, frame: Frame) -> None:
        """Acts on the SETUP frame; READY or SETUP_FAILED says what became of it."""
        self._began = time.perf_counter()
        try:
            setup: Setup = self._line.decode(frame)
            self.heap_limit = setup["heap_limit"]
            if prepared is not None:
                self._send_ready()
                return
            write_files(Path.cwd(), setup["files"])
            if setup["modules"]:
                folder = Path.home() / ".pyworkers-modules"
                write_files(folder, setup["modules"])
                sys.path.insert(0, str(folder))
            if setup["packages"]:
                install = _js.install(setup["packages"])
                self._beside(install, partial(self._installed, setup))
            else:
                self._initialize(setup)
        except BaseException as error:
            self._fail(Kind.SETUP_FAILED, 0, error, 0.0)

    def _installed(self, setup: Setup, outcome: Outcome) -> None:
        try:
            outcome()
            self._initialize(setup)
        except BaseException as error:
            self._fail(Kind.SETUP_FAILED, 0, error, 0.0)

    def _initialize(self, setup: Setup) -> None:
        called = None
        with self._entered():
            if setup["initializer"] is not None:
                function, arguments = setup["initializer"]
                called = _codec.decode(function)(*arguments)
            if type(called) is CoroutineType:
                self._beside(called, self._initialized)
            else:
                self._send_ready()

    def _initialized(self, outcome: Outcome) -> None:
        try:
            outcome()
        except BaseException as error:
            self._fail(Kind.SETUP_FAILED, 0, error, 0.0)
        else:
            self._send_ready()

    def _send_ready(self) -> None:
        if self.heap_limit is not None and self._heap_bytes() > self.heap_limit:
            error = ValueError(
                f"heap_limit is {self.heap_limit}, and a worker of this pool has "
                f"{self._heap_bytes()} bytes before its first task"
            )
            self._fail(Kind.SETUP_FAILED, 0, error, 0.0)
            return
        payload = b""
        if self.measured is not None:
            phases, files, unforked = self.measured
            seconds = time.perf_counter() - self._began
            told = [*phases, ("setup", seconds * 1000)], files, unforked
            payload = _codec.encode(told)[0]
        self._line.link.send(self._line.peer, Kind.READY, 0, payload)
        self._ready()


def write_files(folder: Path, files: dict[str, bytes]) -> None:
    """Writes files below a folder, or where their absolute paths say."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
