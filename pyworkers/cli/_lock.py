"""The site's lock file: which packages Pyodide finds there, and where.

The form is that of Pyodide's own lock file, whose `info` block is copied. Knows nothing of how the
wheels were chosen.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ._core import Lock
from ._wheels import Wheel


def make_lock(
    base: Lock,
    url: str | None,
    wheels: Sequence[Wheel],
    needs: Mapping[str, Sequence[Requirement]],
) -> Lock:
    """A lock file that lists `wheels`, which lie beside it, and what they depend on.

    With the `url` of a Pyodide distribution it also lists the packages of `base`, found there,
    except those that a wheel replaces.
    """
    packages = {} if url is None else _distributed(base, url)
    names = packages.keys() | {wheel.key for wheel in wheels}
    for wheel in wheels:
        depends = {canonicalize_name(need.name) for need in needs[wheel.key]} & names
        packages[wheel.key] = _entry(wheel, sorted(depends - {wheel.key}))
    return {"info": base["info"], "packages": packages}


def _entry(wheel: Wheel, depends: list[str]) -> dict[str, Any]:
    return {
        "name": wheel.name,
        "version": wheel.version,
        "file_name": wheel.path.name,
        "install_dir": "site",
        "sha256": wheel.sha256,
        "package_type": "package",
        "imports": list(wheel.imports),
        "depends": depends,
        "unvendored_tests": False,
    }


def _distributed(base: Lock, url: str) -> dict[str, dict[str, Any]]:
    """The packages of Pyodide's distribution, with URLs as seen from the site's lock file."""
    # A relative URL starts at pyworkers.json, one folder above the lock file.
    folder = url if "://" in url or url.startswith("/") else f"../{url}"
    return {
        key: {**entry, "file_name": _absolute(entry["file_name"], folder)}
        for key, entry in base["packages"].items()
    }


def _absolute(file_name: str, folder: str) -> str:
    return file_name if "://" in file_name else folder + file_name
