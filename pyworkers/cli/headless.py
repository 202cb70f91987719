"""Python in a browser without a window, for tests on native CPython.

Owns the browser's thread: its driver leaves an event loop running in the thread that started it,
where `asyncio.run()` then fails, so it gets one of its own. Playwright is imported there and not
before. Knows nothing of pytest.
"""

import ast
import inspect
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ._shipping import as_literal, program_of

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Playwright

T = TypeVar("T")

BROWSERS: Final = ("chromium", "firefox")
MODES: Final = ("shared", "transfer")
TIMEOUT: Final = 60.0
"""Seconds that anything may take, unless the caller says otherwise."""


class BrowserError(Exception):
    """A Python exception in the browser.

    Attributes:
        name: of its type.
        message: its text.
        traceback: in the browser, and in its worker.
    """

    def __init__(self, name: str, message: str, traceback: str) -> None:
        super().__init__(f"{name}: {message}\n{traceback}".rstrip())
        self.name = name
        self.message = message
        self.traceback = traceback


@contextmanager
def headless(name: str) -> Iterator["HeadlessBrowser"]:
    """Start a browser: the system's, or else Playwright's own.

    Arguments:
        name: "chromium" or "firefox".

    Raises ModuleNotFoundError when Playwright is not installed, and its Error when there is no
    such browser.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="pyworkers-browser") as thread:
        driver = thread.submit(_start_driver).result()
        try:
            browser = thread.submit(_launch, driver, name).result()
            try:
                yield HeadlessBrowser(browser, thread)
            finally:
                thread.submit(browser.close).result()
        finally:
            thread.submit(driver.stop).result()


def _start_driver() -> "Playwright":
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - an extra of the package

    return sync_playwright().start()


def _launch(driver: "Playwright", name: str) -> "Browser":
    if name == "firefox":
        path = shutil.which("firefox-esr") or shutil.which("firefox")
        # The system's own Firefox speaks another protocol than Playwright's.
        channel = "moz-firefox" if path else None
        return driver.firefox.launch(executable_path=path, channel=channel)
    # Its sandbox refuses to be run by root, as containers do.
    flags = ["--no-sandbox"] if getattr(os, "geteuid", lambda: 1)() == 0 else []
    return driver.chromium.launch(executable_path=shutil.which("chromium"), args=flags)


class HeadlessBrowser:
    """A browser, and the only thread that may talk to it."""

    def __init__(self, browser: "Browser", thread: ThreadPoolExecutor) -> None:
        self._browser = browser
        self._thread = thread

    @contextmanager
    def page(self, url: str) -> Iterator["HeadlessPage"]:
        """Open a page of a built site in a profile of its own, and start Python there.

        Arguments:
            url: of the site, without a slash at the end.
        """
        context = self._thread.submit(self._browser.new_context).result()
        try:
            opened = self._thread.submit(context.new_page).result()
            page = HeadlessPage(opened, self._thread, url)
            page.open()
            yield page
        finally:
            self._thread.submit(context.close).result()


_OPEN = """
async (url) => {
    const { connect } = await import(`${url}/page.mjs`);
    window.output = "";
    const onOutput = ({ text }) => { window.output += text; };
    window.py = await connect({ onOutput });
}
"""

_EXEC = """
async ([source, timeout]) => {
    const failed = ({ name, message, pythonTraceback }) =>
        ({ error: [name, message, pythonTraceback ?? ""] });
    let timer;
    const late = new Promise((resolve) => {
        const error = ["TimeoutError", `no answer within ${timeout} s`, ""];
        timer = setTimeout(resolve, timeout * 1000, { error });
    });
    const answer = py.exec(source, { filename: "<test>" }).then((value) => ({ value }), failed);
    const first = await Promise.race([answer, late]);
    clearTimeout(timer);
    return first;
}
"""

_HELPERS = """
import ast as _ast

def _as_literal(value):
    text = repr(value)
    try:
        same = _ast.literal_eval(text) == value
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        same = False
    if not same:
        raise TypeError(
            f"only plain data can be returned to a test; this is of type {type(value).__name__}: "
            f"{text[:200]}"
        )
    return text

async def _run(source, space):
    from pyodide.code import eval_code_async
    space.setdefault("__name__", "__main__")
    return _as_literal(await eval_code_async(source, space, filename="<test>"))

def _add_files(files):
    import importlib, sys
    from pathlib import Path
    root = Path.home() / "of-tests"
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    importlib.invalidate_caches()

_pools, _futures = {}, {}
None
"""


class HeadlessPage:
    """A page of a built site, with Python in a worker of it.

    Attributes:
        url: of the site, without a slash at the end.
    """

    def __init__(self, page: "Page", thread: ThreadPoolExecutor, url: str) -> None:
        self._page = page
        self._thread = thread
        self._modules: set[str] = set()
        self.url = url

    def call(self, function: Callable[["Page"], T]) -> T:
        """Call a function with Playwright's page, in the thread to which that belongs."""
        return self._thread.submit(function, self._page).result()

    def goto(self, path: str) -> None:
        """Open a page of the site.

        Arguments:
            path: relative to the site's root.
        """
        self.call(lambda page: page.goto(f"{self.url}/{path}"))

    def evaluate(self, expression: str, argument: Any = None) -> Any:
        """Evaluate JavaScript, as Playwright's method of that name does."""
        return self.call(lambda page: page.evaluate(expression, argument))

    def open(self) -> None:
        """Open an empty page and start Python there: `py` is its connection."""
        self.goto("pyworkers.json")
        self.evaluate(_OPEN, self.url)
        self.exec(_HELPERS)

    @property
    def mode(self) -> str:
        """The mode that the page allows."""
        return str(self.evaluate("py.mode"))

    @property
    def output(self) -> str:
        """What Python has printed so far."""
        return str(self.evaluate("output"))

    def add_files(self, files: dict[str, bytes]) -> None:
        """Put files into a folder of the browser's Python from which modules are imported.

        Arguments:
            files: their content, by paths relative to that folder.
        """
        self.exec(f"_add_files({files!r})")
        for name in files:
            if name.endswith(".py"):
                self._modules.add(name.partition("/")[0].removesuffix(".py"))

    @property
    def modules(self) -> list[str]:
        """Names of the modules and packages that were put there."""
        return sorted(self._modules)

    def exec(self, source: str, timeout: float = TIMEOUT) -> Any:
        """Run source in the hub and return what its last expression comes to, as `py.exec` does.

        Raises BrowserError with the error of Python there, or if there is no answer in time.
        """
        answer = self.evaluate(_EXEC, [source, timeout])
        if "error" in answer:
            raise BrowserError(*answer["error"])
        return answer.get("value")


class RemoteFuture:
    """A task in the browser."""

    def __init__(self, page: HeadlessPage, number: int) -> None:
        self._page = page
        self._number = number

    def result(self, timeout: float = TIMEOUT) -> Any:
        """Wait for what the function returns.

        Arguments:
            timeout: seconds, after which BrowserError is raised, whose name is TimeoutError.

        Raises BrowserError with what the function has raised.
        """
        source = f"_as_literal(await _futures[{self._number}])"
        return ast.literal_eval(self._page.exec(source, timeout))


class RemotePool:
    """A pool of workers in a browser, for a test on native CPython.

    Arguments:
        page: whose Python has the pool.
        size: how many workers it has at the most.
    """

    _numbers = count()

    def __init__(self, page: HeadlessPage, size: int) -> None:
        self.page = page
        self._number = next(self._numbers)
        self._name = f"_pools[{self._number}]"
        self._space = f"_spaces[{self._number}]"
        page.exec(
            "from pyworkers import WorkerPool\n"
            "_spaces = globals().setdefault('_spaces', {})\n"
            f"{self._name} = WorkerPool({size}, modules={page.modules!r})\n"
            f"{self._space} = {{'pool': {self._name}}}\n"
            "None"
        )

    def run(self, source: str, timeout: float = TIMEOUT) -> Any:
        """Run source in the browser, beside the pool, whose name there is `pool`.

        Arguments:
            source: a program, which may await outside of functions.
            timeout: seconds.

        Returns the value of its last expression, if that is plain data. Raises BrowserError with
        the error of Python there.
        """
        call = f"await _run({source!r}, {self._space})"
        return ast.literal_eval(self.page.exec(call, timeout))

    def submit(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> RemoteFuture:
        """Have a function called in a worker.

        It travels as its text, with what it refers to: see `program_of`. Arguments and result are
        plain data. Raises TypeError for what cannot travel.
        """
        (future,) = self._submit(function, [(args, kwargs)])
        return future

    def map(self, function: Callable[..., Any], *iterables: Iterable[Any]) -> list[Any]:
        """Call a function with the items of iterables, as `map` does; return all results."""
        calls = zip(*iterables, strict=False)
        futures = self._submit(function, [(args, {}) for args in calls])
        return [future.result() for future in futures]

    def _submit(
        self, function: Callable[..., Any], calls: list[tuple[tuple[Any, ...], dict[str, Any]]]
    ) -> list[RemoteFuture]:
        name = inspect.unwrap(function).__name__
        program = program_of(function)
        numbers = [next(self._numbers) for _ in calls]
        given = ", ".join(as_literal(call) for call in calls)
        self.page.exec(
            "_space = {'__name__': '__main__'}\n"
            f"exec(compile({program!r}, {f'<{name}>'!r}, 'exec'), _space)\n"
            f"for _number, (_args, _kwargs) in zip({numbers}, [{given}]):\n"
            f"    _futures[_number] = {self._name}.submit(_space[{name!r}], *_args, **_kwargs)\n"
            "None"
        )
        return [RemoteFuture(self.page, number) for number in numbers]

    def close(self) -> None:
        """End the pool and its workers, whatever they do."""
        self.page.exec(f"{self._name}.kill_workers()\nNone")


def files_below(paths: list[Path]) -> dict[str, bytes]:
    """Read files, and all `.py` files of folders, by the names under which they are imported.

    Raises FileNotFoundError for a path that is not there.
    """
    files = {}
    for path in paths:
        if path.is_dir():
            for file in sorted(path.rglob("*.py")):
                files[file.relative_to(path.parent).as_posix()] = file.read_bytes()
        else:
            files[path.name] = path.read_bytes()
    return files
