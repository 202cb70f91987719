"""Where the site's fixed parts come from: the shim's files, Pyodide's core files and lock file.

Owns the Pyodide version that pyworkers is made for, and the check of a URL that replaces the core
files. Knows nothing of wheels and of the site's layout.
"""

import hashlib
import json
import re
import shutil
import tarfile
import urllib.request
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from ._common import BadArgument, BuildError, cache_directory, cached, run_tool

PYODIDE_VERSION: Final = "314.0.7"
CORE_FILES: Final = ("pyodide.mjs", "pyodide.asm.mjs", "pyodide.asm.wasm", "python_stdlib.zip")
LOCK_FILE: Final = "pyodide-lock.json"

_PACKAGE_ROOT: Final = Path(__file__).parents[1]
_CACHE_NAME: Final = f"pyodide-{PYODIDE_VERSION}"
_FETCH_TIMEOUT: Final = 60  # seconds

Lock = dict[str, Any]


def package_directory() -> Path:
    """The folder of the running `pyworkers` package."""
    return _PACKAGE_ROOT


def shim_directory() -> Path:
    """The folder of the JavaScript shim: inside an installed package, beside it in a checkout."""
    installed = _PACKAGE_ROOT / "_shim"
    return installed if installed.is_dir() else _PACKAGE_ROOT.parent / "js_shim"


def shim_files() -> list[Path]:
    """The shim's modules, sorted by name: all .mjs and .js files at the top of its folder."""
    folder = shim_directory()
    return sorted(path for path in folder.glob("*.*js") if path.suffix in {".mjs", ".js"})


def core_directory() -> Path:
    """A folder with Pyodide's core files and lock file, fetched by npm if there is none yet.

    Raises BuildError when npm is missing or fails.
    """
    return _local_core() or cached(_CACHE_NAME, _fetch_core)


def pyodide_lock(url: str | None) -> Lock:
    """Pyodide's own lock file: of a copy that is here, else from an absolute `url`, else npm's.

    A lock file belongs to a Pyodide version, so that the copy's is as good as the URL's.
    Raises BuildError when none can be had.
    """
    folder = _local_core()
    if folder is None and url is not None and "://" in url:
        name = f"lock-{hashlib.sha256(url.encode()).hexdigest()[:32]}"
        folder = cached(name, lambda new: _fetch_lock(url, new))
    return read_lock((folder or core_directory()) / LOCK_FILE)


def read_lock(path: Path) -> Lock:
    """Parse a lock file. Raises BuildError when it has not the form of one."""
    try:
        lock = json.loads(path.read_bytes())
        described = lock["info"].keys() >= {"abi_version", "arch", "platform", "python"}
        if not described or not isinstance(lock["packages"], dict):
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError):
        raise BuildError(f"not a lock file of Pyodide: {path}") from None
    return dict(lock)


def normalise_url(url: str) -> str:
    """Check the URL of a folder with Pyodide's files and return it with one slash at its end.

    It may be absolute (http, https), root-relative, or relative to the site. Raises BadArgument.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise BadArgument(f"--pyodide-url {url}: {error}") from None
    if not url:
        fault = "is empty"
    elif "\\" in url or not url.isprintable() or any(letter.isspace() for letter in url):
        fault = "holds a blank, a backslash or a control character"
    elif "?" in url or "#" in url:
        fault = "has a query or a fragment"
    elif parts.scheme not in {"http", "https", ""}:
        fault = "begins neither with http:// nor https:// and is no relative URL"
    elif bool(parts.scheme) != bool(parts.hostname):
        fault = "needs both a scheme and a host, or neither"
    elif parts.path.endswith((".js", ".mjs", ".json")):
        fault = "names a file; name its folder"
    else:
        return url.rstrip("/") + "/"
    raise BadArgument(f"--pyodide-url {url}: it {fault}")


def _local_core() -> Path | None:
    """The folder of a copy that is already here: the checkout's npm package or the cache's."""
    checkout = shim_directory() / "node_modules" / "pyodide"
    for folder in (checkout, cache_directory() / _CACHE_NAME):
        if _version_of(folder) == PYODIDE_VERSION:
            return folder
    return None


def _version_of(folder: Path) -> str | None:
    try:
        return str(json.loads((folder / "package.json").read_bytes())["version"])
    except FileNotFoundError:
        return None


def _fetch_core(folder: Path) -> None:
    spec = f"pyodide@{PYODIDE_VERSION}"
    npm = shutil.which("npm")
    if npm is None:
        raise BuildError(
            f"npm is needed to fetch {spec}: install Node.js, or name a place that has Pyodide's "
            "files by --pyodide-url"
        )
    result = run_tool(npm, "pack", spec, "--pack-destination", folder)
    if result.returncode:
        raise BuildError(f"npm pack {spec}: {_npm_reason(result.stderr)}")
    (archive,) = folder.glob("*.tgz")
    with tarfile.open(archive) as tar:
        for name in (*CORE_FILES, LOCK_FILE, "package.json"):
            member = tar.extractfile(f"package/{name}")
            if member is None:
                raise BuildError(f"{spec} has no file {name}")
            with member, (folder / name).open("wb") as copy:
                shutil.copyfileobj(member, copy)
    archive.unlink()
    if (found := _version_of(folder)) != PYODIDE_VERSION:
        raise BuildError(f"npm pack {spec} brought version {found}")


def _npm_reason(output: str) -> str:
    """The first line of npm's complaint that is more than a code."""
    complaints = re.findall(
        r"^npm (?:error|ERR!) (?!code|errno|syscall)(.+)$", output, re.MULTILINE
    )
    return complaints[0] if complaints else output.strip().rpartition("\n")[2]


def _fetch_lock(url: str, folder: Path) -> None:
    source = url + LOCK_FILE
    try:
        with urllib.request.urlopen(source, timeout=_FETCH_TIMEOUT) as response:
            (folder / LOCK_FILE).write_bytes(response.read())
    except OSError as error:
        raise BuildError(f"cannot fetch {source}: {error}") from None
    read_lock(folder / LOCK_FILE)
