"""Chromium, as benchmarks and tests start it. Knows nothing of what it is used for."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from playwright.sync_api import Browser, Playwright

FLAGS: Final = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@contextmanager
def chromium(playwright: Playwright) -> Iterator[Browser]:
    """Starts Chromium: the system's, or else Playwright's own."""
    path = shutil.which("chromium")
    started = playwright.chromium.launch(executable_path=path, args=FLAGS)
    try:
        yield started
    finally:
        started.close()
