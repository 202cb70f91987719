"""A context, as ``multiprocessing.get_context`` returns: all of ``pyworkers.sync`` by those names.

Programs that are written against a context run with this one. ``sys.modules`` is left alone:
libraries that find a whole ``multiprocessing`` would start processes, which there are none of.
"""

import importlib
from typing import Any, Final, NoReturn

from pyworkers._env import capabilities
from pyworkers.errors import ModeError
from pyworkers.sync._pool import Pool
from pyworkers.sync._process import Process, active_children, current_process, parent_process

_SHARED: Final = frozenset(
    {
        "Array",
        "Barrier",
        "BoundedSemaphore",
        "Condition",
        "Event",
        "JoinableQueue",
        "Lock",
        "Pipe",
        "Queue",
        "RLock",
        "RawArray",
        "RawValue",
        "Semaphore",
        "SimpleQueue",
        "Value",
    }
)
"""What is looked up in ``pyworkers.sync``."""

_ERRORS: Final = frozenset({"AuthenticationError", "BufferTooShort", "ProcessError"})
"""Those of ``multiprocessing``, which takes long to import and so is not before it is needed."""

_METHOD: Final = "spawn"


class Context:
    """What ``get_context`` returns."""

    Process = Process
    Pool = Pool
    active_children = staticmethod(active_children)
    current_process = staticmethod(current_process)
    parent_process = staticmethod(parent_process)

    def __getattr__(self, name: str) -> Any:
        if name in _SHARED:
            return getattr(importlib.import_module("pyworkers.sync"), name)
        if name in _ERRORS or name == "TimeoutError":
            return getattr(importlib.import_module("multiprocessing.context"), name)
        raise AttributeError(f"the context of pyworkers has no {name!r}", name=name, obj=self)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *_SHARED, *_ERRORS, "TimeoutError"})

    def __reduce__(self) -> tuple[Any, ...]:
        return get_context, ()

    def __repr__(self) -> str:
        return "<Context of pyworkers: spawn>"

    def Manager(self) -> NoReturn:
        """There is none.

        Raises:
            ModeError: always.
        """
        raise ModeError(
            "there is no server process for a Manager: share a Queue, a Value or an Array, or keep "
            "the object where the pool is and ask for it by a channel (task.channel, pool.channel)"
        )

    def cpu_count(self) -> int:
        """Returns how many processors there are."""
        return capabilities().cores

    def freeze_support(self) -> None:
        """Does nothing, as elsewhere than on Windows."""

    def get_context(self, method: str | None = None) -> "Context":
        """Returns this context.

        Raises:
            ValueError: the method is not "spawn".
        """
        return get_context(method)

    def get_start_method(self, allow_none: bool = False) -> str:
        """Returns "spawn": each process starts from nothing and is sent what it runs."""
        return _METHOD

    def set_start_method(self, method: str | None, force: bool = False) -> None:
        """Accepts "spawn", which it is.

        Raises:
            ValueError: it is anything else.
        """
        get_context(method)

    def get_all_start_methods(self) -> list[str]:
        """Returns the start methods there are."""
        return [_METHOD]


_context: Final = Context()


def get_context(method: str | None = None) -> Context:
    """Returns what has the names of ``multiprocessing``, for programs that take a context.

    Args:
        method: "spawn", or None, which means the same.

    Raises:
        ValueError: it is another method: there are no processes to fork.
    """
    if method not in (None, _METHOD):
        raise ValueError(f"cannot find context for {method!r}: there is {_METHOD!r} only")
    return _context
