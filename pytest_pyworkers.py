"""Pytest's plugin of pyworkers: pools in a browser without a window, for tests of your own code.

Lies beside the package and imports nothing of it until a test asks for a fixture: to have
pyworkers installed shall cost no other test run anything. Hence the imports inside of functions.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pyworkers.cli.headless import HeadlessBrowser, HeadlessPage, RemotePool


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("pyworkers", "Python in a browser (pyworkers)")
    for name, default, text in (
        ("browser", "chromium", "chromium or firefox"),
        ("mode", "shared", "shared: the page is isolated; transfer: it is not"),
        ("size", "2", "workers of a pool at the most"),
        ("site", "", "a built site to use; by default one is built for each run"),
    ):
        parser.addini(f"pyworkers_{name}", text, type="string", default=default)
        group.addoption(f"--pyworkers-{name}", help=f"{text} (ini: pyworkers_{name})")
    parser.addini("pyworkers_packages", "requirements and wheels for the site", type="linelist")
    parser.addini("pyworkers_files", "modules and packages of yours to import", type="paths")


def _setting(config: pytest.Config, name: str, choices: tuple[str, ...] = ()) -> str:
    given = config.getoption(f"--pyworkers-{name}")
    value = str(config.getini(f"pyworkers_{name}") if given is None else given)
    if choices and value not in choices:
        raise pytest.UsageError(f"pyworkers_{name} is {value!r}, not one of {', '.join(choices)}")
    return value


@pytest.fixture(scope="session")
def pyworkers_site(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a built site, with the packages of the ini option `pyworkers_packages`."""
    given = _setting(pytestconfig, "site")
    if given:
        return pytestconfig.rootpath / given
    from pyworkers.cli.build import build_site  # noqa: PLC0415

    packages = pytestconfig.getini("pyworkers_packages")
    return build_site(tmp_path_factory.mktemp("pyworkers") / "site", extra=packages)


@pytest.fixture(scope="session")
def pyworkers_url(pytestconfig: pytest.Config, pyworkers_site: Path) -> Iterator[str]:
    """Where that site is served, with isolation headers unless the mode is transfer."""
    from pyworkers.cli.headless import MODES  # noqa: PLC0415
    from pyworkers.cli.serve import serving  # noqa: PLC0415

    shared = _setting(pytestconfig, "mode", MODES) == "shared"
    with serving(pyworkers_site, isolation="require-corp" if shared else "off") as url:
        yield url


@pytest.fixture(scope="session")
def pyworkers_browser(pytestconfig: pytest.Config) -> Iterator[HeadlessBrowser]:
    """The browser, in a thread of its own."""
    from pyworkers.cli.headless import BROWSERS, headless  # noqa: PLC0415

    name = _setting(pytestconfig, "browser", BROWSERS)
    try:
        with headless(name) as browser:
            yield browser
    except ModuleNotFoundError as error:
        if error.name != "playwright":
            raise
        raise pytest.UsageError("Playwright is missing: pip install 'pyworkers[pytest]'") from None


@pytest.fixture(scope="module")
def pyworkers_page(
    pytestconfig: pytest.Config, pyworkers_browser: HeadlessBrowser, pyworkers_url: str
) -> Iterator[HeadlessPage]:
    """A page with Python in a worker of it, one for each file of tests."""
    from pyworkers.cli.headless import files_below  # noqa: PLC0415

    with pyworkers_browser.page(pyworkers_url) as page:
        page.add_files(files_below(pytestconfig.getini("pyworkers_files")))
        yield page


@pytest.fixture
def pyworkers_pool(
    pytestconfig: pytest.Config, pyworkers_page: HeadlessPage
) -> Iterator[RemotePool]:
    """A pool of workers in that page, one for each test."""
    from pyworkers.cli.headless import RemotePool  # noqa: PLC0415

    pool = RemotePool(pyworkers_page, int(_setting(pytestconfig, "size")))
    yield pool
    pool.close()
