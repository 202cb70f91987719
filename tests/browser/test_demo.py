"""The example web/01-stdlib, as a visitor uses it."""

import zipfile
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from pyworkers.cli.serve import serving

pytestmark = pytest.mark.timeout(240)

RUN_MS = 180_000
STOP_MS = 15_000


def finished(page: Page, timeout: float = RUN_MS) -> dict[str, Any]:
    """The report of the latest run."""
    report: dict[str, Any] = page.wait_for_function("demo.finished", timeout=timeout).json_value()
    return report


def run_small(page: Page, url: str, workers: int) -> dict[str, Any]:
    """Opens the example, which measures the 50 largest modules."""
    page.goto(f"{url}/01-stdlib/?modules=50&workers={workers}")
    return finished(page)


def column(page: Page, number: int) -> list[str]:
    """What the table of modules shows in a column, once all 50 rows are there."""
    cells = page.locator(f"#modules tbody td:nth-child({number})")
    expect(cells).to_have_count(50)
    return cells.all_inner_texts()


def as_numbers(texts: list[str]) -> list[int]:
    return [int(text.replace(",", "")) for text in texts]


@pytest.mark.parametrize("mode", ["shared", pytest.param("transfer", marks=pytest.mark.thorough)])
def test_every_module_of_the_library_is_measured_on_many_workers_and_on_one(
    page: Page, site: Path, request: pytest.FixtureRequest, mode: str
) -> None:
    with zipfile.ZipFile(site / "pyodide" / "python_stdlib.zip") as library:
        sources = [library.read(name) for name in library.namelist() if name.endswith(".py")]
    url = request.getfixturevalue("isolated_url" if mode == "shared" else "plain_url")
    page.goto(f"{url}/01-stdlib/?workers=2")

    report = finished(page)

    assert not report["cancelled"]
    assert report["mode"] == mode
    assert report["totals"]["modules"] == len(sources)
    assert report["totals"]["lines"] == sum(len(source.splitlines()) for source in sources)
    assert report["totals"]["functions"] > 10_000
    assert report["totals"]["classes"] > 2_000
    assert report["races"][-1]["workers"] == 1
    assert {race["done"] for race in report["races"]} == {len(sources)}
    assert all(race["seconds"] > 0 for race in report["races"])
    assert report["functions"][0]["name"] == "_parse"
    assert report["functions"][0]["where"].startswith("re/_parser.py, line ")
    complexities = [function["complexity"] for function in report["functions"]]
    assert complexities == sorted(complexities, reverse=True)
    assert report["frames"]["frames"] > 0
    assert report["frames"]["longest"] > 0
    expect(page.locator("#functions tbody tr")).to_have_count(10)
    expect(page.locator("#modules tbody tr")).to_have_count(len(sources))
    expect(page.locator("#mode")).to_have_text(f"mode {mode}")
    expect(page.locator("#error")).to_be_hidden()


def test_a_run_on_one_worker_has_nothing_to_compare_with(page: Page, isolated_url: str) -> None:
    report = run_small(page, isolated_url, 1)
    assert report["totals"]["modules"] == 50
    assert [race["workers"] for race in report["races"]] == [1]
    expect(page.locator("#comparison")).to_have_text("needs more than one worker")


def test_a_cancelled_run_stops_soon_and_the_page_can_run_again(
    page: Page, isolated_url: str
) -> None:
    page.goto(f"{isolated_url}/01-stdlib/?workers=2")
    page.wait_for_function("document.querySelector('progress')?.value > 5", timeout=RUN_MS)
    page.click("#cancel")
    report = finished(page, STOP_MS)
    assert report["cancelled"]
    assert 5 < report["races"][0]["done"] < 559
    expect(page.locator("#status")).to_contain_text("Cancelled after")
    expect(page.locator("#error")).to_be_hidden()

    page.select_option("#size", "50")
    page.click("#run")
    report = finished(page)

    assert not report["cancelled"]
    assert report["totals"]["modules"] == 50
    assert [race["done"] for race in report["races"]] == [50, 50]


def test_headers_sort_the_table_by_mouse_and_keyboard(page: Page, isolated_url: str) -> None:
    run_small(page, isolated_url, 1)
    complexities = as_numbers(column(page, 5))
    assert complexities == sorted(complexities, reverse=True)

    page.get_by_role("button", name="lines").click()
    expect(page.locator("th[data-key=lines]")).to_have_attribute("aria-sort", "descending")
    lines = as_numbers(column(page, 2))
    assert lines == sorted(lines, reverse=True)

    page.get_by_role("button", name="lines").press("Enter")
    expect(page.locator("th[data-key=lines]")).to_have_attribute("aria-sort", "ascending")
    assert as_numbers(column(page, 2)) == lines[::-1]

    page.get_by_role("button", name="module", exact=True).press("Enter")
    expect(page.locator("th[aria-sort]")).to_have_text("module")
    names = column(page, 1)
    assert names == sorted(names)


def test_it_works_below_any_folder(page: Page, site: Path) -> None:
    with serving(site.parent) as url:
        assert run_small(page, f"{url}/{site.name}", 1)["totals"]["modules"] == 50
        page.click("#source summary")
        expect(page.locator("#source pre")).to_contain_text("def measure(name: str)")


def test_a_run_that_still_starts_can_be_cancelled(page: Page, isolated_url: str) -> None:
    page.goto(f"{isolated_url}/01-stdlib/")
    page.click("#cancel")
    assert finished(page, STOP_MS)["cancelled"]
    expect(page.locator("#status")).to_have_text("Cancelled")
    expect(page.locator("#run")).to_be_enabled()


def test_without_pyworkers_the_page_says_what_to_do(page: Page, isolated_url: str) -> None:
    page.route("**/page.mjs", lambda route: route.abort())
    page.goto(f"{isolated_url}/01-stdlib/")
    expect(page.locator("#error")).to_contain_text("pyworkers build SITE")


def test_what_cannot_be_loaded_is_named_and_can_be_tried_again(
    page: Page, isolated_url: str
) -> None:
    def missing(route: Route) -> None:
        route.fulfill(status=404)

    page.route("**/pyworkers.json", missing)
    page.goto(f"{isolated_url}/01-stdlib/?workers=1&modules=50")
    expect(page.locator("#error")).to_contain_text("pyworkers.json: HTTP 404")
    page.unroute("**/pyworkers.json", missing)
    page.click("#run")
    assert finished(page)["totals"]["modules"] == 50
    expect(page.locator("#error")).to_be_hidden()


def test_the_list_of_examples_leads_to_it(page: Page, isolated_url: str) -> None:
    page.goto(f"{isolated_url}/")
    page.get_by_role("link", name="The standard library").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("The standard library in parallel")
