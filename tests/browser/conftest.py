"""The hubs in which each behaviour test runs."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.hubs import Hub, NodeHub, PageHub

PLACES = ["chromium-shared", "chromium-transfer", "node-shared", "node-transfer"]


@pytest.fixture(scope="module", params=PLACES)
def hub(request: pytest.FixtureRequest, site: Path) -> Iterator[Hub]:
    """A hub: in Chromium with and without isolation, and in Node in both modes."""
    place, mode = request.param.split("-")
    if place == "node":
        node = NodeHub(site, mode)
        yield node
        node.close()
        return
    browser: Browser = request.getfixturevalue("chromium")
    url = request.getfixturevalue("isolated_url" if mode == "shared" else "plain_url")
    context = browser.new_context()
    yield PageHub(context.new_page(), url, mode)
    context.close()
