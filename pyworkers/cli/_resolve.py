"""Which wheels a site needs, and pip's part in getting them.

pip evaluates markers for the Python that it runs in, which here is not the one that the wheels are
for. So it is only asked to choose and download the wheels of a list of requirements, without their
dependencies; those are read from the wheels with Pyodide's markers, and pip is asked again with
the longer list until nothing is missing. No choice is taken back: two requirements that
contradict each other are an error, which a version named by the user settles.

Results are cached by what was asked for. Knows nothing of lock files and of the site.
"""

import hashlib
import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from ._common import BadArgument, BuildError, cached, run_tool
from ._wheels import Target, Wheel, check_platform, unmarked

_OWN_NAME: Final = "pyworkers"


class Request:
    """What is asked for: requirements by name and wheel files, for one target.

    `version` is that of pyworkers, which is in every site. `distributed` maps the packages of
    Pyodide's own distribution to their versions; with `use_distributed` the site reaches those, and
    they need no wheel.
    """

    def __init__(
        self,
        target: Target,
        version: str,
        distributed: Mapping[str, str],
        *,
        use_distributed: bool,
    ) -> None:
        self.target = target
        self.requirements: list[Requirement] = []
        self.files: list[Wheel] = []
        self._distributed = distributed
        self._given = {**(distributed if use_distributed else {}), _OWN_NAME: version}

    @property
    def names(self) -> set[str]:
        """Normalised names of all packages that are asked for."""
        return {key_of(each) for each in self.requirements} | {each.key for each in self.files}

    def add(self, text: str) -> None:
        """Add a `--with` argument, a requirement or the path of a wheel. Raises BadArgument."""
        if text.endswith(".whl") and "://" not in text:
            path = Path(text)
            if not path.is_file():
                raise BadArgument(f"--with {text}: there is no such file")
            check_platform(path, self.target)
            wheel = Wheel.read(path)
            _refuse_own(wheel.key, text)
            self.files.append(wheel)
            return
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            raise BadArgument(
                f"--with {text}: neither a requirement like name==1.0 nor the path of a .whl file"
            ) from None
        _refuse_own(key_of(requirement), text)
        if not self.target.applies(requirement):
            raise BadArgument(f"--with {text}: its marker excludes Pyodide")
        if not self.is_given(requirement):
            self.requirements.append(unmarked(requirement))

    def is_given(self, requirement: Requirement) -> bool:
        """Whether a package that the site has from elsewhere satisfies a requirement.

        Raises BuildError when another pyworkers than the running one is required.
        """
        name = key_of(requirement)
        version = self._given.get(name)
        if version is None:
            return False
        fits = requirement.url is None and requirement.specifier.contains(version, prereleases=True)
        if name == _OWN_NAME and not fits:
            raise BuildError(f"{requirement} is required, but this is pyworkers {version}")
        return fits

    def wheels(self) -> list[Wheel]:
        """The wheels of all that is asked for and of its dependencies, from pip or the cache.

        Raises BuildError when pip fails.
        """
        question = {
            "requirements": sorted(map(str, self.requirements)),
            "files": sorted(each.sha256 for each in self.files),
            "target": asdict(self.target),
            "given": self._given,
        }
        digest = hashlib.sha256(json.dumps(question, sort_keys=True).encode()).hexdigest()
        folder = cached(f"wheels/{digest[:32]}", self._fetch)
        return _read_all(folder)

    def needs(self, wheels: Sequence[Wheel]) -> dict[str, list[Requirement]]:
        """What each of the wheels needs, by the wheel's key, with the extras that are asked for."""
        extras: dict[str, set[str]] = {wheel.key: set() for wheel in wheels}
        asked = self.requirements
        while True:
            for requirement in asked:
                extras.get(key_of(requirement), set()).update(requirement.extras)
            needs = {wheel.key: wheel.needs(self.target, extras[wheel.key]) for wheel in wheels}
            asked = [need for each in needs.values() for need in each]
            if all(need.extras <= extras.get(key_of(need), need.extras) for need in asked):
                return needs

    def _fetch(self, folder: Path) -> None:
        wanted = {str(each): each for each in self.requirements}
        while True:
            for stale in folder.iterdir():
                stale.unlink()
            self._pip_download(folder, list(wanted))
            chosen = {key_of(each) for each in wanted.values()} | {each.key for each in self.files}
            missing = {
                str(need): need
                for needs in self.needs(_read_all(folder)).values()
                for need in needs
                if key_of(need) in chosen or not self.is_given(need)
            }
            if missing.keys() <= wanted.keys():
                return
            wanted |= missing

    def _pip_download(self, folder: Path, requirements: Sequence[str]) -> None:
        if find_spec("pip") is None:
            raise BuildError("this Python has no pip; add it with: python -m ensurepip")
        options = [
            "--no-deps",
            "--only-binary=:all:",
            "--no-input",
            "--disable-pip-version-check",
            "--progress-bar=off",
            "--implementation=cp",
            f"--python-version={self.target.python}",
            f"--abi={self.target.interpreter}",
            *(f"--platform={platform}" for platform in self.target.platforms),
            f"--dest={folder}",
        ]
        # Files first: pip takes them for the same names that follow, but not for earlier ones.
        files = [wheel.path.resolve() for wheel in self.files]
        result = run_tool(sys.executable, "-m", "pip", "download", *options, *files, *requirements)
        if result.returncode:
            raise BuildError(f"pip: {self._reason(result.stderr)}")

    def _reason(self, output: str) -> str:
        """The essential line of pip's complaint, with what may help."""
        complaints = re.findall(r"^ERROR: (.+)$", output, re.MULTILINE)
        line = complaints[0] if complaints else output.strip().rpartition("\n")[2]
        if "Retrying (" in output:
            return f"{line}; the package index cannot be reached"
        if missing := re.search(r"satisfies the requirement (.+?) \(from versions", line):
            name = key_of(Requirement(missing[1]))
            if name in self._distributed:
                return (
                    f"{line}; Pyodide's own distribution has {name} {self._distributed[name]}: "
                    "reach it by --pyodide-url, or name its wheel file"
                )
        return line


def key_of(requirement: Requirement) -> str:
    """The normalised name of the package that a requirement is about."""
    return canonicalize_name(requirement.name)


def _refuse_own(key: str, text: str) -> None:
    if key == _OWN_NAME:
        raise BadArgument(f"--with {text}: pyworkers itself is in every site already")


def _read_all(folder: Path) -> list[Wheel]:
    return [Wheel.read(path) for path in sorted(folder.glob("*.whl"))]
