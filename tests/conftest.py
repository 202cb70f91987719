"""Fixtures that all tests share: a built site, servers, one browser, and hubs to run Python in."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import pytest_pyodide
from playwright.sync_api import Browser, Page, Playwright, sync_playwright
from pytest_pyodide.config import get_global_config
from pytest_pyodide.hook import pytest_wrapper

from bench import browsers
from pyworkers.cli.build import build_site
from pyworkers.cli.serve import serving

pytest_plugins = ["pytest_pyworkers"]

ROOT = Path(__file__).parents[1]
BUILD = ROOT / ".build"

# What the sandbox in which pytest-pyodide runs Node's Pyodide lacks, and any real Node has.
get_global_config().add_node_extra_globals(
    ["performance", "MessageChannel", "Blob", "URL", "Response", "crypto", "queueMicrotask"]
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--all", action="store_true", help="run behaviour tests in Firefox and WebKitGTK, too"
    )


@pytest.hookimpl(trylast=True)
def pytest_configure() -> None:
    """Gives pytest-pyodide's set of runtimes an order, which must be the same in each process."""
    pytest_wrapper.pyodide_runtimes = sorted(pytest_wrapper.pyodide_runtimes)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Builds what is tested, before pytest-pyodide looks for its copy of Pyodide."""
    if hasattr(session.config, "workerinput"):  # who started this process has done it
        return
    site = build_site(BUILD / "site")
    if (ROOT / "web").is_dir():
        shutil.copytree(ROOT / "web", site, dirs_exist_ok=True)
    dist = BUILD / "pyodide-dist"
    shutil.copytree(ROOT / "js_shim" / "node_modules" / "pyodide", dist, dirs_exist_ok=True)
    shutil.copytree(site / "pyodide", dist, dirs_exist_ok=True)
    shutil.copytree(Path(pytest_pyodide.__file__).parent / "_templates", dist, dirs_exist_ok=True)


@pytest.fixture(scope="session")
def site() -> Path:
    """A built site, with the examples in it."""
    return BUILD / "site"


@pytest.fixture(scope="session")
def isolated_url(site: Path) -> Iterator[str]:
    """The site, served with the isolation headers; without a slash at the end."""
    with serving(site) as url:
        yield url


@pytest.fixture(scope="session")
def plain_url(site: Path) -> Iterator[str]:
    """The site, served without isolation headers."""
    with serving(site, isolation="off") as url:
        yield url


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as driver:
        yield driver


@pytest.fixture(scope="session")
def chromium(playwright: Playwright) -> Iterator[Browser]:
    """One for all tests."""
    with browsers.chromium(playwright) as browser:
        yield browser


@pytest.fixture(scope="session")
def firefox(playwright: Playwright) -> Iterator[Browser]:
    """The system's Firefox."""
    path = shutil.which("firefox-esr")
    # scripts/setup installs it on Debian, as root; elsewhere there may be none.
    if path is None:
        pytest.skip("Firefox is not installed")
    browser = playwright.firefox.launch(channel="moz-firefox", executable_path=path)
    yield browser
    browser.close()


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """An empty page in a profile of its own; an error that nobody caught fails the test."""
    context = chromium.new_context()
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    context.close()
    assert errors == []
