"""A window of Chromium with tabs: all but one of them are hidden, as for people.

Playwright has each page that it opens believe to be in front, in a window of its own. So this
starts the browser itself and has Playwright take it as it finds it.
"""

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import Final

from playwright.sync_api import BrowserContext, Page, Playwright

from bench.browsers import FLAGS

_THROTTLE: Final = "--enable-features=IntensiveWakeUpThrottling:grace_period_seconds/1"
"""Timers run once a minute after a second in the background, not after five minutes."""


@contextmanager
def window(playwright: Playwright) -> Iterator[BrowserContext]:
    """Opens a window; each new page is a tab of it, and in front until there is another."""
    path = shutil.which("chromium") or playwright.chromium.executable_path
    with TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [
                path,
                *FLAGS,
                _THROTTLE,
                "--headless=new",
                "--remote-debugging-port=0",
                f"--user-data-dir={profile}",
                "about:blank",
            ],
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            browser = playwright.chromium.connect_over_cdp(_endpoint(process), no_defaults=True)
            yield browser.contexts[0]
            browser.close()
        finally:
            process.kill()
            process.__exit__(None, None, None)


def _endpoint(process: "subprocess.Popen[str]") -> str:
    assert process.stderr is not None
    for line in process.stderr:
        found = re.search(r"listening on (ws://\S+)", line)
        if found:
            return found[1]
    raise AssertionError(f"Chromium ended with code {process.wait(10)}")


def hide(page: Page) -> None:
    """Puts a new tab in front of a page."""
    page.context.new_page().bring_to_front()
    page.wait_for_function("document.hidden", polling=50)


def set_frozen(page: Page, frozen: bool) -> None:
    """Freezes a page that is hidden, or has it go on."""
    session = page.context.new_cdp_session(page)
    session.send("Page.setWebLifecycleState", {"state": "frozen" if frozen else "active"})
    session.detach()
