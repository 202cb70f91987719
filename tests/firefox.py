"""Firefox with several windows, each driven like a page of Playwright as far as notebooks need it.

Playwright drives Firefox by WebDriver BiDi, which watches all workers; and while anything watches
them, a worker of Firefox 153 that starts another one hangs now and then: see
docs/traps/firefox-nested.md. Marionette, Firefox's own protocol, does not watch them.
"""

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from marionette_driver.marionette import Marionette

from tests.webkit import EVALUATE, ScriptError

_START_SECONDS = 60
_WATCH = """
globalThis.urls = [];
Services.obs.addObserver({
  observe(request) {
    const { URI, loadInfo } = request.QueryInterface(Ci.nsIHttpChannel);
    if (loadInfo.triggeringPrincipal.isContentPrincipal) urls.push(URI.spec);
  },
}, "http-on-modify-request");
"""
"""Notes all requests of pages and their workers, in the window where it runs."""


class FirefoxWindow:
    """A window, visible as far as its page can tell.

    Args:
        firefox: the browser.
        handle: its own name of the window.
    """

    def __init__(self, firefox: "Firefox", handle: str) -> None:
        self._firefox = firefox
        self._handle = handle

    def goto(self, url: str) -> None:
        """Opens a URL."""
        self._firefox.at(self._handle).navigate(url)

    def evaluate(self, expression: str, arg: Any = None) -> Any:
        """Evaluates an expression, or calls a function, in the page; awaits what it returns."""
        driver = self._firefox.at(self._handle)
        given = (expression, json.dumps(arg))
        answer = json.loads(driver.execute_async_script(EVALUATE, given, sandbox=None))
        if "error" in answer:
            raise ScriptError(answer["error"])
        return answer.get("value")


class Firefox:
    """A browser, without a screen.

    Args:
        driver: with a session.
    """

    def __init__(self, driver: Marionette) -> None:
        self._driver = driver
        self._first = driver.current_window_handle
        with driver.using_context("chrome"):
            driver.execute_script(_WATCH, sandbox="system")

    def at(self, handle: str) -> Marionette:
        """Turns to a window."""
        self._driver.switch_to_window(handle, focus=False)
        return self._driver

    def new_page(self) -> FirefoxWindow:
        """Opens an empty window."""
        return FirefoxWindow(self, self._driver.open(type="window")["handle"])

    def requests(self) -> list[str]:
        """Returns the URLs that were asked for, by pages and workers."""
        driver = self.at(self._first)
        with driver.using_context("chrome"):
            urls: list[str] = driver.execute_script(
                "return urls", sandbox="system", new_sandbox=False
            )
        return urls


@contextmanager
def start_firefox(path: str, script_seconds: float) -> Iterator[Firefox]:
    """Starts Firefox with a profile of its own.

    Args:
        path: of its program.
        script_seconds: so long may what is evaluated take.
    """
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        profile = Path(folder)
        (profile / "user.js").write_text('user_pref("marionette.port", 0);')
        command = [
            path,
            "--headless",
            "--no-remote",
            "--marionette",
            "-remote-allow-system-access",
            "--profile",
            folder,
        ]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            driver = Marionette(port=_port_of(profile))
            driver.start_session()
            driver.timeout.script = script_seconds
            yield Firefox(driver)
            driver.delete_session()
        finally:
            process.terminate()
            process.wait(20)


def _port_of(profile: Path) -> int:
    """Waits until Firefox has said where it listens."""
    file = profile / "MarionetteActivePort"
    end = time.monotonic() + _START_SECONDS
    while not (file.exists() and file.read_text()):
        if time.monotonic() > end:
            raise TimeoutError(f"Firefox did not listen within {_START_SECONDS} s")
        time.sleep(0.05)
    return int(file.read_text())
