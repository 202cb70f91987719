"""Where figures are measured: a built site, a browser, and its pages.

Owns the site's folder and how a page is talked to. What a page can do stands in ``pages/page.mjs``.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Browser, Page

from pyworkers.cli.build import build_site

_HERE: Final = Path(__file__).parent
ROOT: Final = _HERE.parent
SITE: Final = ROOT / ".build" / "bench"


def build(site: Path = SITE, compress: bool = False) -> None:
    """Makes a site, with the pages and the Python files of the benchmarks in it."""
    shutil.rmtree(site, ignore_errors=True)
    build_site(site, compress=compress)
    pages = site / "bench"
    shutil.copytree(_HERE / "pages", pages)
    for file in (_HERE / "inside").glob("*.py"):
        shutil.copy(file, pages)
    comlink = ROOT / "js_shim" / "node_modules" / "comlink" / "dist" / "esm" / "comlink.mjs"
    shutil.copy(comlink, pages)


class Tab:
    """An open page.

    Args:
        page: of a browser.
        url: of the site, without a slash at the end.
    """

    def __init__(self, page: Page, url: str) -> None:
        self._page = page
        self._pages = f"{url}/bench"
        self.go("index.html")

    def go(self, name: str) -> None:
        """Opens a page of the benchmarks."""
        self._page.goto(f"{self._pages}/{name}")

    def ask(self, command: str, *arguments: Any) -> Any:
        """Has a command of ``page.mjs`` done, and returns what it resolves to.

        Raises:
            playwright.sync_api.Error: it, or a worker of the page, failed.
        """
        self._page.wait_for_function('"ask" in globalThis')
        return self._page.evaluate(
            "([command, args]) => ask(command, ...args)", [command, arguments]
        )

    def connect(self, **options: Any) -> None:
        """Starts a hub in which the modules that its tasks and figures need can be imported."""
        self.ask(
            "connect", {"modules": ["timing.py", "workload.py", "held.py", "passing.py"], **options}
        )

    def run(self, source: str) -> Any:
        """Runs Python source in the hub and returns the value of its last expression."""
        return self.ask("exec", source)

    @contextmanager
    def traced(self) -> Iterator[list[dict[str, Any]]]:
        """Yields a list that holds Chromium's trace events when the block has ended."""
        browser = self._page.context.browser
        assert browser is not None
        events: list[dict[str, Any]] = []
        categories = ["toplevel", "disabled-by-default-devtools.timeline"]
        browser.start_tracing(page=self._page, categories=categories)
        try:
            yield events
        finally:
            events += json.loads(browser.stop_tracing())["traceEvents"]

    def close(self) -> None:
        self._page.close()


class Lab:
    """A browser of its own for one figure.

    Args:
        browser: just started.
        url: of the isolated site, without a slash at the end.
        quick: whether this is a smoke run.
    """

    def __init__(self, browser: Browser, url: str, quick: bool) -> None:
        self._context = browser.new_context()
        self._url = url
        self.quick = quick

    def count(self, usual: int, quick: int) -> int:
        """Returns how much of something there shall be."""
        return quick if self.quick else usual

    def tab(self, url: str | None = None) -> Tab:
        """Opens a page, of another site if its URL is given. All pages share one HTTP cache."""
        return Tab(self._context.new_page(), url or self._url)
