"""What makes an interpreter look like a process of its own: its number, and its sleep.

Owns what takes the place of ``os.getpid`` and ``time.sleep``, so that it is right even for who has
imported them by name, in a memory that several workers start from. Knows nothing of tasks.
"""

import os
import sys
import time
from collections.abc import Callable
from typing import Any, Final

from pyworkers._cancel import interruptible_sleep

_NUMBERED: Final = os.getpid()
"""Pyodide answers 42 in every interpreter, and programs name files by it."""

_number = _NUMBERED

_Sleep = tuple[Callable[[float], object], Callable[[], None]]

_sleep: _Sleep | None = None


def _getpid() -> int:
    return _number


def be_process(peer: int) -> None:
    """Has ``os.getpid`` tell workers apart.

    Args:
        peer: the number of the worker in its hub.
    """
    global _number  # noqa: PLW0603 - an interpreter is one process
    _number = _NUMBERED + peer
    posix: Any = sys.modules[os.name]
    os.getpid = posix.getpid = _getpid


def sleep_by(pause: Callable[[float], object], check: Callable[[], None]) -> None:
    """Has ``time.sleep`` see what is to be interrupted, once it is routed here.

    Args:
        pause: blocks for milliseconds, or until there is something to interrupt.
        check: raises TaskCancelled if the task is to end.
    """
    global _sleep  # noqa: PLW0603 - an interpreter becomes a worker once
    _sleep = pause, check


def route_sleep() -> None:
    """Has ``time.sleep`` ask what ``sleep_by`` has named, as soon as it has."""
    original = time.sleep

    def pause(milliseconds: float) -> None:
        if _sleep is None:
            original(milliseconds / 1000)
        else:
            _sleep[0](milliseconds)

    def check() -> None:
        if _sleep is not None:
            _sleep[1]()

    time.sleep = interruptible_sleep(pause, check)
