"""pytest-pyodide, with the system's browser and a server that sends the isolation headers."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser

from pyworkers.cli.serve import serving
from tests.conftest import BUILD


@pytest.fixture(scope="session")
def playwright_browsers(chromium: Browser) -> dict[str, Browser]:
    """The browser that all tests share."""
    return {"chrome": chromium}


@pytest.fixture(scope="session")
def web_server_main() -> Iterator[tuple[str, int, Path]]:
    """Host, port and log of a server for Pyodide's files and pytest-pyodide's page."""
    with serving(BUILD / "pyodide-dist") as url:
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        yield parts.hostname, parts.port, BUILD / "pyodide-dist.log"
