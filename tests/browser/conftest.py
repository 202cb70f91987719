"""The hubs in which each behaviour test runs."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page
from selenium.common.exceptions import WebDriverException

from tests.hubs import Hub, NodeHub, PageHub
from tests.matrix import Matrix
from tests.webkit import WebKitPage, webkit_page

MATRIX = "compatibility"

PLACES = ["chromium-shared", "chromium-transfer", "node-shared", "node-transfer"]
MORE_PLACES = ["firefox-shared", "firefox-transfer", "webkit-shared", "webkit-transfer"]
"""Where tests that are marked ``smoke`` run too, and all others with ``--all``."""


def pytest_configure(config: pytest.Config) -> None:
    """Has the table of compatibility kept where behaviour tests run in all places."""
    if config.getoption("--all"):
        config.pluginmanager.register(
            Matrix([*PLACES, *MORE_PLACES], Path(__file__).parents[2]), MATRIX
        )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Gives each test that takes a ``hub`` the places where it runs."""
    if "hub" in metafunc.fixturenames:
        everywhere = metafunc.config.getoption("--all")
        marked = metafunc.definition.get_closest_marker("smoke")
        places = PLACES + (MORE_PLACES if everywhere or marked else [])
        metafunc.parametrize("hub", places, indirect=True, scope="module")


@pytest.fixture(scope="module")
def hub(request: pytest.FixtureRequest, site: Path) -> Iterator[Hub]:
    """A hub: in browsers with and without shared memory, and in Node in both modes."""
    place, mode = request.param.split("-")
    with ExitStack() as stack:
        hub: Hub
        if place == "node":
            hub = NodeHub(site, mode)
            stack.callback(hub.close)
        elif place == "webkit":
            # scripts/setup installs it on Debian, as root; elsewhere there may be none.
            if shutil.which("WebKitWebDriver") is None:
                pytest.skip("WebKitGTK is not installed")
            # It can be without shared memory on an isolated page, too.
            url = request.getfixturevalue("isolated_url")
            page = stack.enter_context(webkit_page(mode == "shared"))
            hub = PageHub(page, url, mode, place, page.version)
        else:
            browser: Browser = request.getfixturevalue(place)
            url = request.getfixturevalue("isolated_url" if mode == "shared" else "plain_url")
            context = browser.new_context()
            stack.callback(context.close)
            hub = PageHub(context.new_page(), url, mode, place, browser.version)
        matrix: Matrix | None = request.config.pluginmanager.get_plugin(MATRIX)
        if matrix is not None:
            matrix.saw(place, hub.version)
        yield hub


@pytest.fixture(params=["shared", "transfer"])
def py(request: pytest.FixtureRequest, page: Page, isolated_url: str, plain_url: str) -> Page:
    """A page with a connection in ``window.py``, in each mode.

    ``caught`` and ``refused`` return what a promise was rejected with, or its message alone.
    """
    page.goto(f"{isolated_url if request.param == 'shared' else plain_url}/pyworkers.json")
    page.evaluate(
        """async () => {
            const { connect } = await import("/page.mjs");
            window.py = await connect({ size: 2 });
            window.caught = (promise) => promise.then(
                () => "nothing",
                ({ name, message, pythonTraceback }) => [name, message, pythonTraceback],
            );
            window.refused = (promise) => promise.then(() => "nothing", ({ message }) => message);
        }"""
    )
    assert page.evaluate("py.mode") == request.param
    return page


@pytest.fixture(autouse=True)
def a_machine_at_rest(request: pytest.FixtureRequest) -> Iterator[None]:
    """Ends what a test has left running, or has crashed, before it disturbs the next one."""
    hub = request.getfixturevalue("hub") if "hub" in request.fixturenames else None
    yield
    if not (isinstance(hub, PageHub) and isinstance(hub.page, WebKitPage)):
        return  # every other browser ends workers at once
    try:
        left = hub.threads(1.5)
    except WebDriverException:
        left = 1
    if left:
        hub.page.restart()
        hub.open()
