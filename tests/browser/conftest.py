"""The hubs in which each behaviour test runs."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from zlib import crc32

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Playwright
from selenium.common.exceptions import WebDriverException

from bench.browsers import FLAGS
from tests.hubs import Hub, NodeHub, PageHub
from tests.matrix import Matrix
from tests.webkit import WebKitPage, webkit_page
from tests.windows import window

MATRIX = "compatibility"

FIRST_PLACE = "chromium-shared"
"""Where each behaviour test runs."""
SECOND_PLACES = ["chromium-transfer", "node-shared", "node-transfer"]
"""Each runs in one of these, too, chosen by its name, unless it is marked ``lengthy``."""
MODES = ["shared", "transfer"]
"""A test that takes a ``py`` runs in one of these, chosen in the same way."""
MORE_PLACES = ["firefox-shared", "firefox-transfer", "webkit-shared", "webkit-transfer"]
PLACES = [FIRST_PLACE, *SECOND_PLACES, *MORE_PLACES]
"""Where tests that are marked ``smoke`` run, and all others with ``--all``."""


LONG = ["jupyterlite", "stress", "chaos", "snapshot", "own_pyodide", "demo", "shared_tabs"]
"""Files whose tests take long each."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begins with the long files, so that at the end no process is left alone with one of them.

    Leaves out what is marked ``thorough``, unless all are to be run.
    """
    first = {f"test_{name}.py" for name in LONG}
    items.sort(key=lambda item: item.path.name not in first)
    if not config.getoption("--all"):
        left_out = [item for item in items if item.get_closest_marker("thorough")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def pytest_configure(config: pytest.Config) -> None:
    """Has the table of compatibility kept where behaviour tests run in all places."""
    if config.getoption("--all"):
        config.pluginmanager.register(Matrix(PLACES, Path(__file__).parents[2]), MATRIX)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Gives each test that takes a ``hub``, a ``py`` or a ``context`` the places where it runs."""
    number = crc32(metafunc.definition.name.encode())
    everywhere = metafunc.config.getoption("--all")
    everywhere = everywhere or metafunc.definition.get_closest_marker("smoke") is not None
    if "hub" in metafunc.fixturenames:
        is_lengthy = metafunc.definition.get_closest_marker("lengthy") is not None
        second = [] if is_lengthy else [SECOND_PLACES[number % len(SECOND_PLACES)]]
        places = PLACES if everywhere else [FIRST_PLACE, *second]
        metafunc.parametrize("hub", places, indirect=True, scope="module")
    if "py" in metafunc.fixturenames:
        modes = MODES if everywhere else [MODES[number % len(MODES)]]
        metafunc.parametrize("py", modes, indirect=True)
    if "context" in metafunc.fixturenames:
        metafunc.parametrize("engine", ["chromium", *["firefox"] * everywhere])


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


@pytest.fixture(scope="module")
def caching_chromium(playwright: Playwright) -> Iterator[Browser]:
    """Chromium that keeps pages which were left, as it does for people."""
    browser = playwright.chromium.launch(
        executable_path=shutil.which("chromium"),
        args=FLAGS,
        ignore_default_args=["--disable-back-forward-cache"],
    )
    yield browser
    browser.close()


@pytest.fixture
def context(request: pytest.FixtureRequest, engine: str) -> Iterator[BrowserContext]:
    """A profile of its own, for several pages."""
    name = "caching_chromium" if engine == "chromium" else engine
    browser: Browser = request.getfixturevalue(name)
    opened = browser.new_context()
    yield opened
    opened.close()


@pytest.fixture
def tabs(playwright: Playwright) -> Iterator[BrowserContext]:
    """A window in which tabs hide each other. Only Chromium's driver has them."""
    with window(playwright) as context:
        yield context


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def url(mode: str, isolated_url: str, plain_url: str) -> str:
    """The site, in each mode."""
    return isolated_url if mode == "shared" else plain_url


@pytest.fixture
def py(request: pytest.FixtureRequest, page: Page, isolated_url: str, plain_url: str) -> Page:
    """A page with a connection in ``window.py``.

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
