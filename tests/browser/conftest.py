"""The hubs in which each behaviour test runs."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.hubs import Hub, NodeHub, PageHub
from tests.webkit import webkit_page

PLACES = ["chromium-shared", "chromium-transfer", "node-shared", "node-transfer"]
MORE_PLACES = ["firefox-shared", "firefox-transfer", "webkit-shared", "webkit-transfer"]
"""Where tests that are marked ``smoke`` run too, and all others with ``--all``."""


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
        if place == "node":
            node = NodeHub(site, mode)
            stack.callback(node.close)
            yield node
            return
        # WebKitGTK can be without shared memory on an isolated page, too.
        isolated = mode == "shared" or place == "webkit"
        url = request.getfixturevalue("isolated_url" if isolated else "plain_url")
        if place == "webkit":
            # scripts/setup installs it on Debian, as root; elsewhere there may be none.
            if shutil.which("WebKitWebDriver") is None:
                pytest.skip("WebKitGTK is not installed")
            page = stack.enter_context(webkit_page(mode == "shared"))
            yield PageHub(page, url, mode, place)
            return
        browser: Browser = request.getfixturevalue(place)
        context = browser.new_context()
        stack.callback(context.close)
        yield PageHub(context.new_page(), url, mode, place)
