"""A worker's end of its hub's environment: what it was told is made true here.

Owns what was taken over, and the finder of modules that are missing here. Knows nothing of tasks.

A module that no other finder finds is asked for by name, where the hub's answer can be waited for.
Question and answer lie in the arena, so that frames which have arrived meanwhile stay where they
are. The words of a question, i32: state (0 asked, 1 answered, 2 given up), offset of the answer
(0: it is not there), its length. Who changes the state last frees what the other has left:

    worker: ask ──> MISSING ──> hub: writes the answer, then 0 -> 1; was it 2, frees all
    worker: waits for 1, reads, frees all; or 0 -> 2 when the time is over
"""

import builtins
import os
import pickle
import sys
import time
import warnings
from collections.abc import Callable
from functools import cache
from importlib import invalidate_caches
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any, Final

from pyworkers import _js
from pyworkers._arena import SharedArena
from pyworkers._environment import Files, Told, files_of
from pyworkers.errors import ArenaFull

ASKED: Final = 0
ANSWERED: Final = 1
GIVEN_UP: Final = 2

QUESTION_BYTES: Final = 16

_PATIENCE_SECONDS: Final = 60.0
"""So long a module that the hub has is waited for: a hub that computes answers afterwards."""

_HASTE_SECONDS: Final = 0.05
"""So long one that it probably has not, as when a library looks for what is optional."""

_ABSENT_SECONDS: Final = 1.0
"""So long what the hub did not have is not asked for again."""

_SLICE_MS: Final = 200.0


class _StandIn(type):
    """The class of classes that stand for one that may never be imported here.

    They are told from others by name: to import what defines the category of a filter, such as a
    notebook's IPython, would make each worker larger and its start longer for nothing.
    """

    def __subclasscheck__(cls, other: type) -> bool:
        name = (cls.__module__, cls.__qualname__)
        return any((each.__module__, each.__qualname__) == name for each in other.__mro__)


@cache
def _category(module: str, name: str) -> type:
    if module == "builtins":
        found: type = getattr(builtins, name)
        return found
    return _StandIn(name, (Warning,), {"__module__": module, "__qualname__": name})


class Mirror:
    """What a worker has of its hub's environment; also a finder of modules.

    Args:
        arena: where questions can be asked; None where an answer cannot be waited for.
        ask: sends a question: its offset in the arena, and the name.
    """

    def __init__(self, arena: SharedArena | None, ask: Callable[[int, str], None]) -> None:
        self._arena = arena
        self._ask = ask
        self._names: frozenset[str] = frozenset()
        self._absent: dict[str, float] = {}
        self._variables: set[str] = set()
        self._added: list[str] = []
        sys.meta_path.append(self)

    def connect(self, arena: SharedArena | None, ask: Callable[[int, str], None]) -> None:
        """Finds from now on what this hub has: the arguments are those of a new one."""
        self._arena = arena
        self._ask = ask
        self._absent.clear()

    def take_over(self, told: Told) -> None:
        """Does here what was done in the hub."""
        for name in self._variables - told["variables"].keys():
            os.environ.pop(name, None)
        for name, value in told["variables"].items():
            if os.environ.get(name) != value:
                os.environ[name] = value
        self._variables = set(told["variables"])
        sys.argv[:] = told["argv"]
        self._take_over_path(told["path"])
        wanted = [
            (action, message, tuple(_category(*name) for name in names), *rest)
            for action, message, names, *rest in told["filters"]
        ]
        if warnings.filters != wanted:
            filters: Any = warnings.filters
            filters[:] = wanted
            with warnings.catch_warnings():  # has modules forget what they have warned of
                pass
        self._names = told["names"]
        self._absent.clear()
        self._write(told["files"])

    def _take_over_path(self, path: list[str]) -> None:
        for folder in self._added:
            if folder in sys.path:
                sys.path.remove(folder)
        own = set(sys.path)
        self._added = [folder for folder in path if folder not in own]
        libraries = [index for index, folder in enumerate(path) if folder in own and folder]
        first = libraries[0] if libraries else 0
        ahead = [folder for folder in path[:first] if folder not in own]
        sys.path[:0] = ahead
        sys.path += [folder for folder in self._added if folder not in ahead]

    def _write(self, files: Files) -> None:
        for name, data in files.items():
            path = Path(name)
            # Where the machine's folders are mounted, it may be there, and is not ours to change.
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
        if files:
            invalidate_caches()

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """Finds a top-level module that the hub has; called when nobody else has found it."""
        if self._arena is None or "." in name or name in sys.stdlib_module_names:
            return None
        now = time.monotonic()
        if self._absent.get(name, now) > now:
            return None
        listed = name in self._names
        answer = self._question(name, _PATIENCE_SECONDS if listed else _HASTE_SECONDS)
        if answer is None and listed:
            raise ModuleNotFoundError(
                f"No module named {name!r}: the hub seems to have it, but did not answer within "
                f"{_PATIENCE_SECONDS:.0f} s; name it in modules= or packages=",
                name=name,
            )
        if not answer:
            self._absent[name] = now + _ABSENT_SECONDS
            return None
        self._write(answer)
        return PathFinder.find_spec(name)

    def _question(self, name: str, patience: float) -> Files | None:
        """Asks the hub for the files of a module; None if it does not answer in time."""
        arena = self._arena
        assert arena is not None
        try:
            question = arena.allocate(QUESTION_BYTES)
        except ArenaFull:
            return {}
        words = arena.cells(question, 0, QUESTION_BYTES, "i")
        for index in range(3):
            words.set(index, 0)
        self._ask(question, name)
        end = time.monotonic() + patience
        while words.load(0) == ASKED:
            left = end - time.monotonic()
            if left <= 0:
                if words.compareExchange(0, ASKED, GIVEN_UP) == ASKED:
                    return None
                break
            # In slices, so that Python sees interrupts.
            _js.wait_for_word(words.items, 0, ASKED, min(left * 1000, _SLICE_MS))
        place, length = words.get(1), words.get(2)
        arena.free(question)
        if not place:
            return {}
        found = arena.read(place, 0, length, frozen=True)
        arena.free(place)
        files: Files = pickle.loads(found)
        return files


def answer(arena: SharedArena, peer: int, question: int, name: str) -> None:
    """Answers a worker's question, in the hub.

    Raises:
        RangeError: there is no question of this worker.
    """
    if arena.shim.lengthOf(question, peer) < QUESTION_BYTES:
        return
    files = files_of(name)
    data = pickle.dumps(files, 5) if files else b""
    place = arena.give(data, peer) if data else 0
    words = arena.cells(question, 0, QUESTION_BYTES, "i")
    words.set(1, place)
    words.set(2, len(data))
    if words.compareExchange(0, ASKED, ANSWERED) == ASKED:
        _js.notify_word(words.items, 0)
        return
    if place:
        arena.free(place)
    arena.free(question)
