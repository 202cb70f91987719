"""Wheels: what one of them holds, which of them Pyodide runs, how the one of pyworkers is made.

Knows nothing of pip, of lock files and of where a wheel came from.
"""

import base64
import csv
import hashlib
import io
import re
import zipfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from email import message_from_bytes
from functools import cached_property
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Final

from packaging.requirements import Requirement
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from ._common import BadArgument, BuildError
from ._core import PYODIDE_VERSION, Lock, package_directory, shim_files

ZIP_EPOCH: Final = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip archive can hold
# They stay out of the browser, with the shim, which is added from where it really is.
_LEFT_OUT: Final = {"cli", "__main__.py", "_shim"}


@dataclass(frozen=True)
class Target:
    """The Python that a Pyodide release contains, as its lock file describes it."""

    python: str
    abi: str
    platform: str
    arch: str

    @classmethod
    def of(cls, lock: Lock) -> "Target":
        """The target that a lock file's `info` block names."""
        info = lock["info"]
        return cls(info["python"], info["abi_version"], info["platform"], info["arch"])

    @property
    def platforms(self) -> tuple[str, ...]:
        """Platform tags of binary wheels, best first; the same three that micropip accepts."""
        return (
            f"pyemscripten_{self.abi}_{self.arch}",
            f"pyodide_{self.abi}_{self.arch}",
            f"{self.platform}_{self.arch}",
        )

    @property
    def interpreter(self) -> str:
        """The interpreter's and ABI's tag, as in `cp314`."""
        return f"cp{''.join(self.python.split('.')[:2])}"

    @cached_property
    def tags(self) -> frozenset[Tag]:
        """All tags of wheels that can be installed."""
        major, minor = (int(part) for part in self.python.split(".")[:2])
        binary = cpython_tags((major, minor), [self.interpreter], self.platforms)
        pure = compatible_tags((major, minor), self.interpreter, self.platforms)
        return frozenset((*binary, *pure))

    def applies(self, requirement: Requirement, extras: Collection[str] = ()) -> bool:
        """Whether a requirement's marker holds inside Pyodide, with some extras asked for."""
        if requirement.marker is None:
            return True
        release = self.platform.removeprefix("emscripten_").replace("_", ".")
        environment = {
            "implementation_name": "cpython",
            "implementation_version": self.python,
            "os_name": "posix",
            "platform_machine": self.arch,
            "platform_python_implementation": "CPython",
            "platform_release": release,
            "platform_system": "Emscripten",
            "platform_version": "#1",
            "python_full_version": self.python,
            "python_version": ".".join(self.python.split(".")[:2]),
            "sys_platform": "emscripten",
        }
        marker = requirement.marker
        return any(marker.evaluate({**environment, "extra": name}) for name in extras or [""])


@dataclass(frozen=True)
class Wheel:
    """One wheel file: its name as its author writes it, its version, what it offers and needs."""

    path: Path
    name: str
    version: str
    imports: tuple[str, ...]
    requires: tuple[Requirement, ...]
    sha256: str

    @property
    def key(self) -> str:
        """The normalised name, by which a lock file lists the package."""
        return canonicalize_name(self.name)

    def needs(self, target: Target, extras: Collection[str] = ()) -> list[Requirement]:
        """What it needs inside Pyodide, without the markers that have been evaluated."""
        return [unmarked(need) for need in self.requires if target.applies(need, extras)]

    @classmethod
    def read(cls, path: Path) -> "Wheel":
        """Read what a wheel file says of itself. Raises BuildError when it is no wheel."""
        try:
            data = path.read_bytes()
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                names = archive.namelist()
                headers = message_from_bytes(archive.read(_metadata_name(names)))
            return cls(
                path=path,
                name=headers["Name"],
                version=headers["Version"],
                imports=tuple(sorted(set(_top_level_modules(names)))),
                requires=tuple(map(Requirement, headers.get_all("Requires-Dist", []))),
                sha256=hashlib.sha256(data).hexdigest(),
            )
        except (zipfile.BadZipFile, ValueError) as error:
            raise BuildError(f"not a wheel: {path} ({error})") from None


def unmarked(requirement: Requirement) -> Requirement:
    """The same requirement without its environment marker."""
    copy = Requirement(str(requirement))
    copy.marker = None
    return copy


def check_platform(path: Path, target: Target) -> None:
    """Raise BadArgument when the name of a wheel file says that Pyodide cannot run it."""
    try:
        tags = parse_wheel_filename(path.name)[3]
    except InvalidWheelFilename as error:
        raise BadArgument(f"{path}: {error}") from None
    if tags.isdisjoint(target.tags):
        raise BadArgument(
            f"{path.name} is built for {'.'.join(sorted(map(str, tags)))}; Pyodide "
            f"{PYODIDE_VERSION} runs {target.interpreter} wheels for {target.platforms[0]} and "
            "pure Python ones"
        )


def make_own_wheel(folder: Path, version: str) -> Path:
    """Pack the running pyworkers and the shim into a wheel inside `folder`; return its path.

    The command line tools stay out, because they run on native Python only. Equal sources give an
    equal file. Raises BuildError when pyworkers runs without being installed.
    """
    contents = {f"pyworkers/{name}": path.read_bytes() for name, path in _package_files()}
    contents |= {f"pyworkers/_shim/{path.name}": path.read_bytes() for path in shim_files()}
    info = f"pyworkers-{version}.dist-info"
    contents[f"{info}/METADATA"] = _own_metadata(version).encode()
    contents[f"{info}/WHEEL"] = (
        b"Wheel-Version: 1.0\nGenerator: pyworkers\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    contents[f"{info}/RECORD"] = _record(contents, f"{info}/RECORD").encode()
    path = folder / f"pyworkers-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name in sorted(contents):
            entry = zipfile.ZipInfo(name, ZIP_EPOCH)
            entry.create_system = 3  # Unix, on every host
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, contents[name], zipfile.ZIP_DEFLATED, 9)
    return path


def _package_files() -> Iterator[tuple[str, Path]]:
    root = package_directory()
    for path in sorted(root.rglob("*")):
        inside = path.relative_to(root)
        unwanted = any(part.startswith(".") or part == "__pycache__" for part in inside.parts)
        if path.is_file() and not unwanted and inside.parts[0] not in _LEFT_OUT:
            yield inside.as_posix(), path


def _own_metadata(version: str) -> str:
    try:
        installed = metadata.metadata("pyworkers")
    except metadata.PackageNotFoundError:
        raise BuildError("pyworkers is not installed in this Python; install it by pip") from None
    lines = ["Metadata-Version: 2.1", "Name: pyworkers", f"Version: {version}"]
    lines += [
        f"{field}: {value}"
        for field in ("Summary", "Requires-Python", "Requires-Dist")
        for value in installed.get_all(field, [])
        if "extra ==" not in value
    ]
    return "\n".join(lines) + "\n"


def _record(contents: dict[str, bytes], own_name: str) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    for name in sorted(contents):
        digest = base64.urlsafe_b64encode(hashlib.sha256(contents[name]).digest()).rstrip(b"=")
        table.writerow((name, f"sha256={digest.decode()}", len(contents[name])))
    table.writerow((own_name, "", ""))
    return text.getvalue()


def _metadata_name(names: list[str]) -> str:
    for name in names:
        if name.endswith(".dist-info/METADATA") and name.count("/") == 1:
            return name
    raise ValueError("it has no METADATA")


def _top_level_modules(names: list[str]) -> Iterator[str]:
    """Names that can be imported once the archive's files are unpacked."""
    for name in names:
        parts = PurePosixPath(name).parts
        if len(parts) > 2 and parts[0].endswith(".data") and parts[1] in {"purelib", "platlib"}:
            parts = parts[2:]
        # A binary module's own file name has tags between the module's name and the suffix.
        ending = r"\.py$|\..*so$" if len(parts) == 1 else "$"
        module = re.sub(ending, "", parts[0])
        if name.endswith((".py", ".so")) and module.isidentifier():
            yield module
