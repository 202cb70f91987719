"""What the parts of the build share: its errors and the user's cache folder.

A folder of the cache is either complete or absent: it is filled under another name and renamed.
Knows nothing of Pyodide, wheels or sites.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from click import ClickException


class BuildError(ClickException):
    """A build that cannot go on, told in one line; the command ends with exit code 1."""


class BadArgument(BuildError):
    """An argument that cannot be used, told in one line; the command ends with exit code 2."""

    exit_code = 2


def cache_directory() -> Path:
    """The folder where downloads are kept for later builds; it may not exist yet.

    `$XDG_CACHE_HOME/pyworkers` where that variable holds an absolute path, else the platform's
    own place for caches.
    """
    chosen = os.environ.get("XDG_CACHE_HOME", "")
    if Path(chosen).is_absolute():
        base = Path(chosen)
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path.home() / ".cache"
    return base / "pyworkers"


def cached(name: str, fill: Callable[[Path], None]) -> Path:
    """The folder `name` of the cache, made by `fill` if it is not there yet.

    `fill` gets an empty folder; when it raises, the cache stays as it was.
    """
    folder = cache_directory() / name
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent, prefix=".") as scratch:
        new = Path(scratch, "new")
        new.mkdir()
        fill(new)
        try:
            new.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another build was faster, with the same content
                raise
    return folder


def run_tool(
    *command: str | Path, timeout: float | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program without input to its end and return its exit code and both outputs.

    Raises BuildError when it is not done after `timeout` seconds; it is ended then.
    """
    try:
        return _run(command, timeout)
    except subprocess.TimeoutExpired:
        raise BuildError(f"{Path(command[0]).name} did not end within {timeout} s") from None


def _run(command: Sequence[str | Path], timeout: float | None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        timeout=timeout,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
