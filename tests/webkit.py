"""WebKitGTK, driven like a page of Playwright as far as hubs need it.

Playwright's own WebKit is no browser that people use, and Debian's is driven by WebDriver only.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.webkitgtk.service import Service

_BROWSER = "/usr/lib/x86_64-linux-gnu/webkit2gtk-4.1/MiniBrowser"
_DRIVER = "/usr/bin/WebKitWebDriver"
_SCRIPT_SECONDS = 110

EVALUATE = """
const [source, given, done] = arguments;
(async () => {
  const value = (0, eval)(`(${source})`);
  return typeof value === "function" ? value(JSON.parse(given)) : value;
})().then(
  (value) => done(JSON.stringify({ value })),
  (error) => done(JSON.stringify({ error: `${error.name}: ${error.message}` })),
);
"""


class ScriptError(Exception):
    """What a script in the page has thrown."""


class WebKitPage:
    """A page of WebKitGTK.

    Args:
        environment: of the browser.
    """

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment
        self._driver = self._start()

    def _start(self) -> webdriver.WebKitGTK:
        options = webdriver.WebKitGTKOptions()
        options.binary_location = _BROWSER
        options.add_argument("--automation")
        service = Service(executable_path=_DRIVER, env=self._environment)
        driver = webdriver.WebKitGTK(options=options, service=service)
        driver.set_script_timeout(_SCRIPT_SECONDS)
        return driver

    def restart(self) -> None:
        """Ends the browser, with all threads that its page has left, and starts another."""
        self.close()
        self._driver = self._start()

    def close(self) -> None:
        """Ends the browser."""
        with suppress(WebDriverException):  # of a page that has crashed
            self._driver.quit()

    @property
    def version(self) -> str:
        """Of the browser."""
        return str(self._driver.capabilities["browserVersion"])

    def goto(self, url: str) -> None:
        """Opens a URL."""
        self._driver.get(url)

    def evaluate(self, expression: str, arg: Any = None) -> Any:
        """Evaluates an expression, or calls a function, in the page; awaits what it returns."""
        answer = json.loads(
            self._driver.execute_async_script(EVALUATE, expression, json.dumps(arg))
        )
        if "error" in answer:
            raise ScriptError(answer["error"])
        return answer.get("value")


@contextmanager
def _display() -> Iterator[str]:
    """A screen that nobody sees."""
    read, write = os.pipe()
    command = ["Xvfb", "-displayfd", str(write), "-screen", "0", "1180x1040x24"]
    process = subprocess.Popen(command, pass_fds=[write], stderr=subprocess.DEVNULL)
    os.close(write)
    try:
        with os.fdopen(read) as numbers:
            yield f":{numbers.readline().strip()}"
    finally:
        process.terminate()
        process.wait(10)


@contextmanager
def webkit_page(shared_memory: bool) -> Iterator[WebKitPage]:
    """Opens a page.

    Args:
        shared_memory: whether the engine has SharedArrayBuffer, which WebKitGTK switches off.
    """
    with _display() as display:
        page = WebKitPage(
            {
                **os.environ,
                "DISPLAY": display,
                "JSC_useSharedArrayBuffer": str(int(shared_memory)),
                "WEBKIT_DISABLE_COMPOSITING_MODE": "1",
            }
        )
        try:
            yield page
        finally:
            page.close()
