"""What a hub's workers shall find as the hub does: variables, paths, filters, modules, packages.

Owns what is told of the hub's environment, how a change is noticed, and the files of a module or
package. Knows nothing of workers beyond the epoch that each one has been told of. What workers make
of it stands in ``_mirror.py``.

Where workers can ask, and wait for the answer, they are told names only, and get the files of a
module when they first import it. Where they cannot, files travel ahead: those of packages, and of
the modules that this interpreter itself has imported from elsewhere than the standard library.
"""

import importlib.util
import os
import sys
import warnings
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, Final, TypedDict

from pyworkers import _codec
from pyworkers._codec import Encoded

_HAD_BY_ALL: Final = ("pyworkers", "cloudpickle")
"""What each interpreter starts with."""

_PRIVATE_VARIABLES: Final = frozenset({"_"})
"""Environment variables that belong to one interpreter: the name of its program."""

Files = dict[str, bytes]
"""Absolute paths and contents."""


class Told(TypedDict):
    """What workers are told.

    Attributes:
        variables: of the environment.
        argv: ``sys.argv``.
        path: ``sys.path``.
        filters: of warnings, each with the name of its category in place of the class.
        names: top-level modules that are here and may be asked for.
        files: that are sent ahead, since what the worker was told before.
    """

    variables: dict[str, str]
    argv: list[str]
    path: list[str]
    filters: list[Any]
    names: frozenset[str]
    files: Files


class _Watcher:
    """A finder that finds nothing: installers tell all finders when there is something new."""

    def __init__(self) -> None:
        self.rang = True

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        return None

    def invalidate_caches(self) -> None:
        self.rang = True


class Environment:
    """The environment of this hub.

    Args:
        ahead: whether workers cannot ask, so that files have to be sent ahead.
    """

    def __init__(self, ahead: bool) -> None:
        self._ahead = ahead
        self._epoch = 0
        self._watcher = _Watcher()
        sys.meta_path.append(self._watcher)
        # Private to it; comparing the mapping itself would decode each entry.
        self._live: dict[bytes, bytes] = vars(os.environ)["_data"]
        self._seen: list[Any] = []
        self._modules = 0
        self._entries: dict[Path, tuple[int, tuple[int, int]]] = {}
        self._told: dict[int, Encoded] = {}

    def look(self) -> int:
        """Returns the epoch of the environment, which moves on with each change.

        Nothing that was already seen is looked at more closely: this is called for each task.
        """
        seen = self._seen
        if (
            seen
            and not self._watcher.rang
            and self._live == seen[0]
            and sys.path == seen[1]
            and sys.argv == seen[2]
            and warnings.filters == seen[3]
            and len(sys.modules) == self._modules
        ):
            return self._epoch
        return self.look_closely()

    def look_closely(self) -> int:
        """The same, with a look at the files, too, that are sent ahead: for a new worker."""
        self._note()
        return self._epoch

    def _note(self) -> None:
        now = [dict(self._live), sys.path.copy(), list(sys.argv), list(warnings.filters)]
        changed = self._watcher.rang or now != self._seen
        self._watcher.rang = False
        self._seen = now
        epoch = self._epoch + 1
        if self._ahead:
            for entry in self._entries_ahead():
                found = entry.stat()
                mark = found.st_mtime_ns, found.st_size
                if self._entries.get(entry, (0, None))[1] != mark:
                    self._entries[entry] = epoch, mark
                    changed = True
        self._modules = len(sys.modules)
        if changed:
            self._epoch = epoch
            self._told.clear()

    def since(self, epoch: int) -> Encoded:
        """Encodes what to tell a worker.

        Args:
            epoch: of which it was told before; 0 if of none.
        """
        if epoch not in self._told:
            self._told[epoch] = _codec.encode(self._tell(epoch))
        return self._told[epoch]

    def whole(self) -> Encoded:
        """Encodes what to tell a worker that cannot ask, even if others can."""
        self.look()
        return _codec.encode(self._told_with(self._entries_ahead()))

    def _tell(self, epoch: int) -> Told:
        changes = self._entries.items()
        return self._told_with(entry for entry, (changed, _) in changes if changed > epoch)

    def _told_with(self, entries: Iterable[Path]) -> Told:
        files: Files = {}
        for entry in entries:
            files |= read_entry(entry)
        return {
            "variables": {k: v for k, v in os.environ.items() if k not in _PRIVATE_VARIABLES},
            "argv": list(sys.argv),
            "path": sys.path.copy(),
            "filters": [_by_name(*each) for each in warnings.filters],
            "names": frozenset() if self._ahead else _names_here(),
            "files": files,
        }

    def _entries_ahead(self) -> Iterator[Path]:
        site = _site_packages()
        if site is not None:
            yield from (each for each in sorted(site.iterdir()) if _is_wanted(each))
        for name, module in list(sys.modules.items()):
            origin = getattr(getattr(module, "__spec__", None), "origin", None)
            if "." in name or name in _HAD_BY_ALL or not origin:
                continue
            path = Path(origin)
            if path.suffix == ".py" and path.is_file() and not _is_library(path):
                yield path.parent if path.name == "__init__.py" else path


def _by_name(
    action: str, message: Any, category: type | tuple[type, ...], *rest: Any
) -> tuple[Any, ...]:
    """Returns a filter of warnings that workers can read without what defines its category."""
    categories = category if isinstance(category, tuple) else (category,)
    return action, message, [(each.__module__, each.__qualname__) for each in categories], *rest


def _is_library(path: Path) -> bool:
    """Whether a file belongs to the standard library, or lies beside it as packages do."""
    return path.is_relative_to(Path(os.__file__).parent)


def _is_wanted(entry: Path) -> bool:
    stem = entry.name.partition(".")[0].partition("-")[0]
    return stem not in (*_HAD_BY_ALL, "__pycache__")


def _site_packages() -> Path | None:
    for folder in sys.path:
        if folder.endswith("/site-packages") and Path(folder).is_dir():
            return Path(folder)
    return None


def _names_here() -> frozenset[str]:
    """Returns the names of what the folders of ``sys.path`` hold, the standard library apart."""
    names: set[str] = set()
    for folder in sys.path:
        path = Path(folder)
        if path.is_dir() and not (path / "os.py").is_file():
            names |= {each.name.partition(".")[0] for each in path.iterdir()}
    return frozenset(names)


def read_entry(entry: Path) -> Files:
    """Returns a file, or all files of a folder."""
    if entry.is_file():
        return {str(entry.absolute()): entry.read_bytes()}
    return {
        str(file.absolute()): file.read_bytes()
        for file in sorted(entry.rglob("*"))
        if file.is_file() and "__pycache__" not in file.parts
    }


def files_of(name: str) -> Files:
    """Returns the files of a module, package or installed distribution; none if it is not here.

    Args:
        name: a top-level module that a worker could not find.
    """
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return {}
    if spec is None:
        return {}
    places = list(spec.submodule_search_locations or ())
    if places:
        entry = Path(places[0])
    elif spec.origin is not None and Path(spec.origin).is_file():
        entry = Path(spec.origin)
    else:
        return {}
    if entry.parent.name != "site-packages":
        return read_entry(entry)
    files = read_entry(entry)
    for distribution in metadata.packages_distributions().get(name, ()):
        for part in metadata.distribution(distribution).files or ():
            path = Path(str(part.locate()))
            if path.is_file() and "__pycache__" not in path.parts:
                files.setdefault(str(path.resolve()), path.read_bytes())
    return files
