"""`pyworkers build`: a folder of static files from which any web server serves pyworkers.

Owns the order of the steps and what a user sees of them. Files come from `_core`, wheels from
`_wheels` and `_resolve`, the lock file from `_lock`; `_site` puts the result into its place.
"""

import json
import shlex
import shutil
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Final

import click
from packaging.requirements import Requirement

from pyworkers import __version__, _shim_source

from ._common import BuildError
from ._compress import add_copies
from ._core import (
    CORE_FILES,
    LOCK_FILE,
    PYODIDE_VERSION,
    Lock,
    core_directory,
    normalise_url,
    pyodide_lock,
    shim_files,
)
from ._lock import make_lock
from ._resolve import Request, key_of
from ._service_worker import fill_in
from ._site import CONFIG_FILE, SiteConfig, check_place, list_files, replacing
from ._snapshot import make_archive, make_snapshot
from ._wheels import Target, Wheel, make_own_wheel

Progress = Callable[[str, int, int], None]

_PYODIDE_FOLDER: Final = "pyodide"
_INSTALLER: Final = Requirement("micropip==0.11.1")


def build_site(
    out: Path,
    *,
    pyodide_url: str | None = None,
    extra: Sequence[str] = (),
    compress: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Make a static site: the shim, Pyodide, and the wheels with a lock file that lists them.

    Arguments:
        out: the site's folder. It may be absent, empty, or an earlier site, of which those files
            are kept that no build wrote. It is replaced at the end and as a whole.
        pyodide_url: a complete Pyodide distribution to use instead of a copy of Pyodide's core
            files: http, https, or relative to the site; None makes the copy.
        extra: further packages, as requirements or as paths of wheels.
        compress: add .gz and .br copies of what gets smaller by it.
        progress: called with the name of a step, how much of it is done, and how much there is.

    Returns the absolute path of the site. Raises BadArgument for an argument that cannot be used
    and BuildError when npm, pip or a file of theirs fails; `out` is unchanged then.
    """
    tell = progress or (lambda _step, _done, _total: None)
    url = None if pyodide_url is None else normalise_url(pyodide_url)
    out = out.resolve()
    check_place(out)
    tell(f"Pyodide {PYODIDE_VERSION}", 0, 1)
    base = pyodide_lock(url)
    core = [core_directory() / name for name in CORE_FILES] if url is None else []
    tell(f"Pyodide {PYODIDE_VERSION}", 1, 1)
    tell("packages", 0, 1)
    request = _request(base, url, extra)
    with replacing(out) as new:
        folder = new / _PYODIDE_FOLDER
        folder.mkdir()
        lock, archive = _add_wheels(folder, base, url, request)
        (folder / LOCK_FILE).write_text(json.dumps(lock, indent=1, sort_keys=True) + "\n")
        tell("packages", 1, 1)
        _copy(core, folder)
        _copy(shim_files(), new)
        # In one piece: each worker asks the server for it anew.
        (new / "worker.mjs").write_text(_shim_source.worker_module(), encoding="utf-8")
        snapshot = None
        if url is None:
            tell("snapshot", 0, 1)
            snapshot = make_snapshot(new, core, archive, packed=not compress)
            tell("snapshot", 1, 1)
        elsewhere = [] if url is None else [url + name for name in CORE_FILES]
        fill_in(new, [CONFIG_FILE, *elsewhere])
        if compress:
            files = [new / name for name in list_files(new)]
            add_copies(files, lambda done, total: tell("compressed copies", done, total))
        SiteConfig(
            version=__version__,
            pyodide=PYODIDE_VERSION,
            indexURL=url or f"./{_PYODIDE_FOLDER}/",
            lockURL=f"./{_PYODIDE_FOLDER}/{LOCK_FILE}",
            archiveURL=f"./{_PYODIDE_FOLDER}/{archive.name}",
            snapshotURL=f"./{_PYODIDE_FOLDER}/{snapshot.name}" if snapshot else None,
            files=tuple(list_files(new)),
        ).write(new)
    return out


def _copy(files: Sequence[Path], folder: Path) -> None:
    for path in files:
        shutil.copyfile(path, folder / path.name)


def _request(base: Lock, url: str | None, extra: Sequence[str]) -> Request:
    """What the user asks for, and micropip."""
    distributed = {key: entry["version"] for key, entry in base["packages"].items()}
    target = Target.of(base)
    request = Request(target, __version__, distributed, use_distributed=url is not None)
    for argument in extra:
        request.add(argument)
    if key_of(_INSTALLER) not in request.names:
        request.requirements.append(_INSTALLER)
    return request


def _add_wheels(folder: Path, base: Lock, url: str | None, request: Request) -> tuple[Lock, Path]:
    """Put all wheels into the folder and return the lock file that lists them.

    Returns also the start archive: pyworkers and what it needs.
    """
    own = Wheel.read(make_own_wheel(folder, __version__))
    needed = own.needs(request.target)
    request.requirements += needed
    wheels = request.wheels()
    keys = {key_of(need) for need in needed}
    archive = make_archive(folder, [own, *(wheel for wheel in wheels if wheel.key in keys)])
    _copy([wheel.path for wheel in wheels], folder)
    wheels.append(own)
    return make_lock(base, url, wheels, request.needs(wheels)), archive


class _Bars:
    """Shows each step as a progress bar, or as a line where the output is not a terminal."""

    def __init__(self) -> None:
        self._step = ""
        self._done = 0
        self._shown = ExitStack()

    def __call__(self, step: str, done: int, total: int) -> None:
        if step != self._step:
            self.close()
            bar = click.progressbar(length=total, label=step, file=sys.stderr)
            self._update = self._shown.enter_context(bar).update
            self._step, self._done = step, 0
        self._update(done - self._done)
        self._done = done

    def close(self) -> None:
        self._shown.close()


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--pyodide-url",
    metavar="URL",
    help="Use the Pyodide distribution at this URL instead of copying Pyodide's core files.",
)
@click.option(
    "--with",
    "extra",
    metavar="PACKAGE",
    multiple=True,
    help="Add a package: a requirement like msgspec==0.22.0, or the path of a wheel. Repeatable.",
)
@click.option("--compress", is_flag=True, help="Add .gz and .br copies, for hosts that serve them.")
def build(out: Path, pyodide_url: str | None, extra: tuple[str, ...], compress: bool) -> None:
    """Make a folder OUT of static files that any web server can serve."""
    with closing(_Bars()) as bars:
        try:
            site = build_site(
                out, pyodide_url=pyodide_url, extra=extra, compress=compress, progress=bars
            )
        except OSError as error:
            raise BuildError(f"{error.filename or out}: {error.strerror or error}") from error
    click.echo(_summary(out, site))


def _summary(out: Path, site: Path) -> str:
    written = [CONFIG_FILE, *SiteConfig.read(site).files]
    size = sum((site / name).stat().st_size for name in written)
    return (
        f"{out}: {size / 1e6:.1f} MB in {len(written)} files; "
        f"serve it with: pyworkers serve {shlex.quote(str(out))}"
    )
