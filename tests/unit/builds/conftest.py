"""Sites, and machines on which something is missing."""

from pathlib import Path

import pytest

from pyworkers.cli import _core
from pyworkers.cli.build import build_site
from tests.unit.builds.tools import CDN


@pytest.fixture(scope="package")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site with all defaults."""
    return build_site(tmp_path_factory.mktemp("build") / "site")


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A site without Pyodide's core, which is quickly made."""
    return build_site(tmp_path / "out" / "site", pyodide_url=CDN)


@pytest.fixture
def no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "pyworkers"


@pytest.fixture
def no_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package lies alone, without a shim and npm packages beside it."""
    monkeypatch.setattr(_core, "_PACKAGE_ROOT", tmp_path / "alone" / "pyworkers")
