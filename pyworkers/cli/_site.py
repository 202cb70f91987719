"""The site's folder: what `pyworkers.json` says, which folder may be replaced, and replacing it.

A new site is finished under another name beside its place and then renamed, so that the place
holds the old site or the new one and nothing in between. Knows nothing of what the files are.
"""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Final

from ._common import BadArgument

CONFIG_FILE: Final = "pyworkers.json"


@dataclass(frozen=True)
class SiteConfig:
    """The content of `pyworkers.json`, which the shim reads; URLs are relative to that file.

    `files` are the paths of all other files that the build wrote. `archiveURL` is what interpreters
    start with; `snapshotURL` is None where there is no snapshot.
    """

    version: str
    pyodide: str
    indexURL: str
    lockURL: str
    files: tuple[str, ...]
    archiveURL: str | None = None
    snapshotURL: str | None = None

    def write(self, folder: Path) -> None:
        """Write it into a site's folder."""
        text = json.dumps(asdict(self), indent=1, sort_keys=True) + "\n"
        (folder / CONFIG_FILE).write_text(text, encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> "SiteConfig":
        """Read that of a site. Raises ValueError when it is not what a build writes."""
        content = json.loads((folder / CONFIG_FILE).read_bytes())
        try:
            return cls(**{**content, "files": tuple(map(str, content["files"]))})
        except (TypeError, KeyError) as error:
            raise ValueError(str(error)) from None


def list_files(folder: Path) -> list[str]:
    """Paths of all files below a folder, relative to it, with slashes, sorted."""
    return sorted(
        Path(parent, name).relative_to(folder).as_posix()
        for parent, _, names in os.walk(folder)
        for name in names
    )


def check_place(out: Path) -> None:
    """Raise BadArgument unless a site may be put at `out`: absent, empty, or an earlier site."""
    if not out.exists():
        return
    if not out.is_dir():
        raise BadArgument(f"{out} is a file")
    if Path.cwd().is_relative_to(out):
        raise BadArgument(f"{out} holds the current directory; run the command from elsewhere")
    if out.is_mount():
        raise BadArgument(f"{out} is a mount point, which cannot be replaced; name a folder in it")
    if any(out.iterdir()):
        try:
            SiteConfig.read(out)
        except FileNotFoundError:
            raise BadArgument(
                f"{out} is neither empty nor an earlier build (it has no {CONFIG_FILE})"
            ) from None
        except ValueError:
            raise BadArgument(f"{out / CONFIG_FILE} was not written by a build") from None


@contextmanager
def replacing(out: Path) -> Iterator[Path]:
    """An empty folder that takes the place of `out` when the block ends without an exception.

    Files in `out` that no build wrote are kept. Raises BadArgument, with `out` unchanged, when one
    of them would be overwritten.
    """
    anchor = next(parent for parent in out.parents if parent.is_dir())
    scratch = Path(mkdtemp(dir=anchor, prefix=f".{out.name}-"))
    try:
        new = scratch / "new"
        new.mkdir()
        yield new
        if out.is_dir():
            _keep_foreign(out, new)
            shutil.copymode(out, new)
        _swap(new, out, scratch / "old")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _keep_foreign(old: Path, new: Path) -> None:
    written = {CONFIG_FILE, *SiteConfig.read(old).files} if any(old.iterdir()) else set()
    for parent, folders, names in os.walk(old):
        inside = Path(parent).relative_to(old)
        (new / inside).mkdir(exist_ok=True)
        links = [name for name in folders if Path(parent, name).is_symlink()]
        for name in names + links:
            path = inside / name
            if path.as_posix() in written:
                continue
            if os.path.lexists(new / path):
                raise BadArgument(f"{old / path} was not written by a build; it is in the way")
            _link(old / path, new / path)


def _link(source: Path, target: Path) -> None:
    """Give a file a second name, or copy it where the file system has no hard links."""
    try:
        os.link(source, target, follow_symlinks=False)
    except (OSError, NotImplementedError):
        shutil.copy2(source, target, follow_symlinks=False)


def _swap(new: Path, out: Path, old: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        if out.exists():
            out.rename(old)
        new.rename(out)
    except BaseException:
        if old.exists() and not out.exists():
            old.rename(out)
        raise
