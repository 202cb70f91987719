"""pyworkers in JupyterLite: the notebooks of web/notebooks run, can be stopped, and leave nothing.

The site is one that anybody could have built, with pyworkers in an index that ``%pip`` looks into.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest
from playwright.sync_api import Browser

from pyworkers.cli.serve import Isolation, serving
from tests.firefox import start_firefox
from tests.hubs import Evaluates
from tests.jupyterlite import NOTEBOOKS, build_jupyterlite

pytestmark = pytest.mark.timeout(400)  # for four interpreters and more, on a busy machine

PLACES = ["chromium-shared"]
MORE_PLACES = ["chromium-transfer", "firefox-shared", "firefox-transfer"]
"""With ``--all``."""
NAMES = sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))
SCRIPT_SECONDS = 240

HELPERS = """() => {
  window.until = async (found) => {
    for (;;) {
      const value = await found();
      if (value) return value;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  };
  // Each worker holds a lock for as long as it lives.
  window.workers = async () => {
    const { held } = await navigator.locks.query();
    return held.filter(({ name }) => name.startsWith("pyworkers")).length;
  };
  window.begin = async () => {
    window.app = await until(() => window.jupyterapp);
    window.panel = await until(() => app.shell?.currentWidget);
    await until(() => panel.sessionContext?.session?.kernel);
  };
  window.restart = () => panel.sessionContext.session.kernel.restart();
  window.outputs = () => panel.content.model.toJSON().cells
    .filter((cell) => cell.cell_type === "code").map((cell) => cell.outputs);
  window.runAll = () => { window.ran = app.commands.execute("notebook:run-all-cells"); };
  window.runNew = (source) => {
    const { content } = panel;
    content.model.sharedModel.insertCell(content.model.cells.length, {
      cell_type: "code", source, metadata: { trusted: true },
    });
    content.activeCellIndex = content.model.cells.length - 1;
    window.ran = app.commands.execute("notebook:run-cell");
  };
  const last = (selector, matches) =>
    [...document.querySelectorAll(selector)].filter(matches).at(-1);
  window.shown = async (text) => {
    await until(() => last(".jp-OutputArea", () => true)?.textContent.includes(text));
  };
  window.click = async (selector, text) => {
    (await until(() => last(selector, (each) => each.textContent.includes(text)))).click();
  };
}"""


@dataclass
class Notebook:
    """An open notebook, with a kernel of its own."""

    page: Evaluates

    @classmethod
    def open(cls, page: Evaluates, url: str) -> "Notebook":
        page.goto(url)
        page.evaluate(HELPERS)
        page.evaluate("begin()")
        return cls(page)

    def run_all(self) -> None:
        """Begins to run all cells."""
        self.page.evaluate("runAll()")

    def start(self, source: str) -> None:
        """Begins to run a new cell."""
        self.page.evaluate("(source) => runNew(source)", source)

    def finish(self) -> list[list[dict[str, Any]]]:
        """Waits until what runs has ended; returns the outputs of each cell with code."""
        self.page.evaluate("ran.then(() => null)")
        outputs: list[list[dict[str, Any]]] = self.page.evaluate("outputs()")
        return outputs

    def run(self, source: str) -> list[dict[str, Any]]:
        """Runs a new cell and returns its outputs."""
        self.start(source)
        return self.finish()[-1]

    def shows(self, text: str) -> None:
        """Waits until the last cell shows a text."""
        self.page.evaluate("(text) => shown(text)", text)

    def click(self, selector: str, text: str = "") -> None:
        """Clicks on the last element of those with a text."""
        self.page.evaluate("([selector, text]) => click(selector, text)", [selector, text])


@dataclass
class Lite:
    """The notebooks of one browser, all open at the same time, and what their cells gave."""

    mode: str
    requests: Callable[[], list[str]]
    notebooks: dict[str, Notebook] = field(default_factory=dict)
    outputs: dict[str, list[list[dict[str, Any]]]] = field(default_factory=dict)


@pytest.fixture(scope="session")
def lite_site() -> Path:
    return build_jupyterlite()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "lite" in metafunc.fixturenames:
        places = PLACES + MORE_PLACES * metafunc.config.getoption("--all")
        metafunc.parametrize("lite", places, indirect=True, scope="module")


@pytest.fixture(scope="module")
def lite(request: pytest.FixtureRequest, lite_site: Path) -> Iterator[Lite]:
    """JupyterLite in one browser, on an isolated page or not."""
    place, mode = request.param.split("-")
    with ExitStack() as stack:
        isolation: Isolation = "require-corp" if mode == "shared" else "off"
        url = stack.enter_context(serving(lite_site, isolation=isolation))
        new_page: Callable[[], Evaluates]
        if place == "firefox":
            path = shutil.which("firefox-esr")
            # scripts/setup installs it on Debian, as root; elsewhere there may be none.
            if path is None:
                pytest.skip("Firefox is not installed")
            firefox = stack.enter_context(start_firefox(path, SCRIPT_SECONDS))
            lite, new_page = Lite(mode, firefox.requests), firefox.new_page
        else:
            browser: Browser = request.getfixturevalue(place)
            context = browser.new_context()
            stack.callback(context.close)
            context.set_default_timeout(1000 * SCRIPT_SECONDS)
            asked: list[str] = []
            context.on("request", lambda request: asked.append(request.url))
            lite, new_page = Lite(mode, lambda: asked), context.new_page
        for name in NAMES:
            page_url = f"{url}/notebooks/index.html?path={name}.ipynb"
            lite.notebooks[name] = Notebook.open(new_page(), page_url)
            lite.notebooks[name].run_all()
        for name, notebook in lite.notebooks.items():
            lite.outputs[name] = notebook.finish()
        yield lite


def text_of(outputs: list[dict[str, Any]]) -> list[str]:
    """What a reader of plain text sees of outputs."""
    found = []
    for each in outputs:
        if each["output_type"] == "error":
            found.append(f"{each['ename']}: {each['evalue']}")
        elif each["output_type"] == "stream":
            found.append("".join(each["text"]))
        else:
            found.append("".join(each["data"]["text/plain"]))
    return found


def walk(seed: int) -> int:
    """As the notebook does."""
    choice = Random(seed).choice
    return sum(choice((-1, 1)) for _ in range(20_000))


def test_all_notebooks_run_at_the_same_time(lite: Lite) -> None:
    """E-04 X-07: with nothing of pyworkers but what they install, each in its own kernel."""
    found = lite.outputs
    texts = {name: [text_of(each) for each in outputs] for name, outputs in found.items()}

    walks = [walk(seed) for seed in range(12)]
    pool = texts["pool"]
    assert pool[:2] == [[], []]
    assert pool[2] == pool[3] == [repr(walks[:4])]
    assert pool[4] == [repr(abs(walks[1]) > 100)]
    assert "state=finished returned bool" in pool[5][0]
    assert f"WorkerPool {lite.mode}" in pool[6][0]
    assert pool[7] == ["walks 12 of 12", str(max(walks))]
    longest = max(map(abs, walks))
    assert pool[8] == [f"longest 12 of 12 {longest} steps", str(longest)]
    assert pool[9] == ["KeyError 'key'\n"]
    for index, shown in ((5, "finished</span>"), (6, "<th>worker</th>"), (7, "value='12'")):
        assert shown in found["pool"][index][0]["data"]["text/html"]

    magics = texts["magics"]
    assert f"mode: {lite.mode}" in magics[2][0]
    assert ("COOP same-origin" in magics[2][0]) == (lite.mode == "transfer")
    assert magics[3:6] == [[], ["primes 4 of 4"], ["[430, 353, 334, 321]"]]
    assert magics[6:] == [[], ["name, count 2 of 2", "['a', 'bbb']"]]


FOREVER = """
import time
def forever():
    while True:
        time.sleep(0.01)
ready = mine.submit(abs, -1).result()
"""


@pytest.mark.parametrize(
    "wait",
    [
        "mine.submit(forever).result()",
        "list(mine.map(lambda n: forever(), range(3)))",
        "while True: pass",
    ],
)
def test_the_stop_button_interrupts_a_cell(lite: Lite, wait: str) -> None:
    """X-01 X-02: and with it the task that the cell waits for. Most sites have no `jupyterapp`."""
    if lite.mode == "transfer" and "while" in wait:
        pytest.skip("a thread that computes hears nothing where no memory is shared")
    notebook = lite.notebooks["magics"]
    notebook.page.evaluate("() => { delete window.jupyterapp; }")
    notebook.run("%reload_ext pyworkers")
    assert text_of(notebook.run(FOREVER)) == []
    notebook.start(f"print('begun')\n{wait}")
    notebook.shows("begun")
    notebook.click("[data-command='notebook:interrupt-kernel']")
    begun, error = text_of(notebook.finish()[-1])
    assert begun == "begun\n"
    assert "KeyboardInterrupt" in error
    assert text_of(notebook.run("mine.submit(abs, -7).result()")) == ["7"]


@pytest.mark.parametrize("command", ["kernelmenu:interrupt", "notebook:interrupt-kernel"])
def test_what_interrupts_a_kernel_interrupts_a_cell(lite: Lite, command: str) -> None:
    """X-01 X-02: the menu's command and that of the keys, where scripts reach the application."""
    notebook, other = lite.notebooks["magics"], lite.notebooks["pool"]
    notebook.page.evaluate("() => { window.jupyterapp = app; }")
    notebook.run("%reload_ext pyworkers")
    assert text_of(notebook.run(FOREVER)) == []
    notebook.start("print('begun')\nmine.submit(forever).result()")
    notebook.shows("begun")
    notebook.page.evaluate("(command) => { app.commands.execute(command); }", command)
    assert "KeyboardInterrupt" in text_of(notebook.finish()[-1])[1]
    assert text_of(notebook.run("mine.submit(abs, -7).result()")) == ["7"]
    assert text_of(other.run("pool.submit(abs, -8).result()")) == ["8"]


def test_the_button_of_a_bar_cancels_a_cell_that_awaits(lite: Lite) -> None:
    """X-01: as asyncio cancels."""
    notebook = lite.notebooks["magics"]
    notebook.run("from pyworkers.integrations.ipython import Bar")
    notebook.start("bar = Bar('for ever', 2)\nawait mine.submit(forever)")
    notebook.shows("for ever")
    notebook.click("button", "Stop")
    shown, error = text_of(notebook.finish()[-1])
    assert shown == "for ever 0 of 2"
    assert "CancelledError" in error


def test_a_restarted_kernel_leaves_no_worker(lite: Lite) -> None:
    """B-04: nor does it touch those of other notebooks."""
    first, second = lite.notebooks["pool"], lite.notebooks["magics"]
    before = first.page.evaluate("workers()")
    assert before >= 4
    second.page.evaluate("restart()")
    second.page.evaluate("(before) => until(async () => (await workers()) < before)", before)
    assert text_of(first.run("pool.submit(abs, -8).result()")) == ["8"]
    first.page.evaluate("restart()")
    first.page.evaluate("until(async () => (await workers()) === 0)")
    first.run_all()
    assert text_of(first.finish()[9]) == ["KeyError 'key'\n"]


def test_nothing_is_asked_of_another_server(lite: Lite) -> None:
    """E-04"""
    schemes = ("http://127.0.0.1:", "blob:", "data:")
    requests = lite.requests()
    assert [url for url in requests if not url.startswith(schemes)] == []
    assert any("/pypi/pyworkers-" in url for url in requests)
