"""What Python does so that its memory can be taken and others can start from it.

Owns what must not be in a snapshot, and what must differ between interpreters that are made of the
same one. Knows nothing of how a memory is taken or restored: ``boot.mjs`` calls ``prepare`` before
and ``renew`` after it.
"""

import gc
import importlib
import linecache
import locale
import logging
import os
import random
import sys
import time
from importlib.machinery import FileFinder
from io import TextIOWrapper
from typing import Final

_IMPORTED: Final = ("cloudpickle", "pyworkers._page", "pyworkers._worker")
"""What hubs and workers import on their start."""


def prepare() -> None:
    """Imports what each interpreter will need, and forgets what only this one knows."""
    for name in _IMPORTED:
        importlib.import_module(name)
    # The loader puts it there again, in each interpreter.
    sys.path.remove("")
    for folder, finder in list(sys.path_importer_cache.items()):
        # Its file system will be another: what is absent here may be there.
        if finder is None:
            del sys.path_importer_cache[folder]
        elif isinstance(finder, FileFinder):
            finder.invalidate_caches()
    linecache.clearcache()
    random.seed(0)
    gc.collect()


def renew(language: str, folder: str | None) -> None:
    """Gives a restored interpreter what would be its own, had it started by itself.

    Args:
        language: the environment variable LANG.
        folder: the environment variable PYTHONPATH, one folder; None where it is not set.
    """
    random.seed()
    vars(logging)["_startTime"] = time.time_ns()  # %(relativeCreated)d counts from there
    _renew_time_zone()
    _renew_locale(language)
    if folder is not None:
        os.environ["PYTHONPATH"] = folder
        sys.path.insert(sys.path.index("") + 1, folder)


def _renew_time_zone() -> None:
    """Does what ``time.tzset`` does where there is one: the zone is otherwise found on import."""
    year = (365 * 24 + 6) * 3600
    begin = time.time() // year * year
    january, july = time.localtime(begin), time.localtime(begin + year // 2)
    # South of the equator, summer time is that of January.
    standard, summer = sorted((january, july), key=lambda moment: moment.tm_gmtoff)
    time.timezone, time.altzone = -standard.tm_gmtoff, -summer.tm_gmtoff
    time.daylight = int(time.timezone != time.altzone)
    time.tzname = (standard.tm_zone, summer.tm_zone)


def _renew_locale(language: str) -> None:
    """Does what Python does on its start with LANG; streams depend on it too."""
    os.environ["LANG"] = language
    locale.setlocale(locale.LC_CTYPE, "")
    errors = "surrogateescape" if language.startswith("C.") else "strict"
    for stream in (sys.stdin, sys.stdout):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors=errors)
