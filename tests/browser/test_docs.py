"""The examples of the documentation, taken from it, in browsers and in Node."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest
from playwright.sync_api import Browser, Page

from tests.hubs import HubError, NodeHub, PageHub
from tests.markdown import ROOT, Block, blocks, commands, named

README = ROOT / "README.md"
GUIDE = ROOT / "docs" / "guide.md"
SYNC_VALUES = ROOT / "docs" / "sync-values.md"
JAVASCRIPT = ROOT / "docs" / "javascript.md"
MODULES = [b.name for b in blocks(JAVASCRIPT, "javascript") if not b.name.startswith("node")]

Open = Callable[[Block], None]


@pytest.fixture(params=["shared", "transfer"])
def url(request: pytest.FixtureRequest, isolated_url: str, plain_url: str) -> str:
    """The site, in each mode."""
    return isolated_url if request.param == "shared" else plain_url


@pytest.fixture
def open_block(page: Page, site: Path, url: str) -> Open:
    """Puts a file of the documentation into the site and opens it."""

    def open(block: Block) -> None:
        (site / block.name).write_text(block.text, encoding="utf-8")
        page.goto(f"{url}/{block.name}")

    return open


def test_the_page_of_the_readme_says_what_it_promises(page: Page, open_block: Open) -> None:
    """E-01"""
    block = named(README, "pi.html")
    open_block(block)
    page.evaluate("pyworkers.ready.then(() => null)")
    assert page.inner_text("#out") == block.output


def test_the_javascript_of_the_readme_shows_what_it_promises(page: Page, open_block: Open) -> None:
    """E-02"""
    logs: list[str] = []
    page.on("console", lambda message: logs.append(message.text))
    block = named(README, "primes.html")
    open_block(block)
    page.wait_for_function("document.querySelector('#out').textContent", timeout=60_000)
    assert f"{page.inner_text('#out')}\n" == block.output
    assert logs.count("15000 of 20000") == 3


def test_the_notebook_cells_of_the_readme_run(page: Page, url: str) -> None:
    """E-04: in a kernel that has nothing of pyworkers but what they install."""
    cells = [block.text for block in blocks(README, "python") if block.name == "notebook"]
    page.goto(f"{url}/pyworkers.json")
    value = page.evaluate(
        """async (cells) => {
            const source = `
                import { loadPyodide } from "${origin}/pyodide/pyodide.mjs";
                const pyodide = await loadPyodide();
                await pyodide.loadPackage("micropip", { messageCallback() {} });
                onmessage = async ({ data }) => {
                    try {
                        postMessage([(await pyodide.runPythonAsync(data))?.toJs?.()]);
                    } catch (error) {
                        postMessage([String(error)]);
                    }
                };
                postMessage("ready");`;
            const blob = new Blob([source], { type: "text/javascript" });
            const kernel = new Worker(URL.createObjectURL(blob), { type: "module" });
            const next = () => new Promise((resolve) => {
                kernel.onmessage = ({ data }) => resolve(data[0]);
            });
            await next();
            const values = [];
            for (const cell of cells) {
                const value = next();
                kernel.postMessage(cell);
                values.push(await value);
            }
            return values;
        }""",
        [cell.replace("https://example.org/site", url) for cell in cells],
    )
    walks = [Random(seed) for seed in range(8)]
    sums = [sum(walk.choice((-1, 1)) for _ in range(50_000)) for walk in walks]
    assert value == [None] * (len(cells) - 1) + [sums]


@pytest.fixture(params=["chromium-shared", "chromium-transfer", "node-shared"])
def fresh_hub(request: pytest.FixtureRequest, site: Path) -> Iterator[PageHub | NodeHub]:
    """A hub that can block, each in its way: natively or by stack switching."""
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


AS_CELL = """
from pyworkers._source import run_source
await run_source(source, filename, sys.modules["__main__"].__dict__)
"""


@pytest.mark.parametrize("document", [GUIDE, SYNC_VALUES], ids=lambda path: path.stem)
def test_the_guide_runs_from_top_to_bottom(fresh_hub: PageHub | NodeHub, document: Path) -> None:
    """B-06 B-12 B-13 B-14 X-01 X-07: in one interpreter, and prints what it says."""
    printed = ""
    for block in blocks(document, "python"):
        try:
            fresh_hub.run(AS_CELL, source=block.text, filename=f"<{block}>")
        except HubError as error:
            raise AssertionError(f"{block} failed") from error
        total = fresh_hub.output()
        assert total[len(printed) :] == (block.output or ""), str(block)
        printed = total


@pytest.mark.parametrize("name", MODULES)
def test_the_modules_of_the_javascript_page_log_what_it_says(
    page: Page, site: Path, isolated_url: str, name: str
) -> None:
    """E-02 B-03"""
    block = named(JAVASCRIPT, name)
    (site / name).write_text(block.text, encoding="utf-8")
    logs: list[str] = []
    page.goto(f"{isolated_url}/pyworkers.json")
    page.on("console", lambda message: logs.append(message.text))
    page.evaluate("(name) => import(`/${name}`).then(() => null)", name)
    assert "".join(f"{line}\n" for line in logs) == block.output


def test_the_blocks_of_the_javascript_page_share_their_names(
    page: Page, open_block: Open, url: str, isolated_url: str
) -> None:
    """E-01"""
    open_block(named(JAVASCRIPT, "blocks.html"))
    mode = "shared" if url == isolated_url else "transfer"
    page.wait_for_function("document.title.includes('mode')", timeout=60_000)
    assert page.title() == f"49 in mode {mode}"
    assert page.inner_text("#first").strip() == "285"
    assert page.inner_text("#second").strip() == "144"


def test_node_connects_as_the_javascript_page_says(site: Path) -> None:
    """E-05"""
    block = named(JAVASCRIPT, "node-hello.mjs")
    (site / block.name).write_text(block.text, encoding="utf-8")
    run = subprocess.run(
        ["node", site / block.name], capture_output=True, text=True, check=False, timeout=60
    )
    assert run.stdout == block.output, run.stderr


def test_the_wheel_that_the_readme_names_is_in_a_site(site: Path) -> None:
    """E-08"""
    (name,) = (path.name for path in (site / "pyodide").glob("pyworkers-*.whl"))
    assert f"/pyodide/{name}" in README.read_text(encoding="utf-8")
    assert "pyworkers build site" in commands(README)
