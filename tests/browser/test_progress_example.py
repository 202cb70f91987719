"""The example web/02-progress, as a visitor uses it."""

import pytest
from playwright.sync_api import Page, expect


@pytest.mark.parametrize("mode", ["shared", pytest.param("transfer", marks=pytest.mark.thorough)])
def test_a_bar_is_drawn_from_what_workers_write_and_a_button_stops_them(
    page: Page, request: pytest.FixtureRequest, mode: str
) -> None:
    """B-12 B-13: the count is exact, and after a cancel it is what workers got to."""
    url = request.getfixturevalue("isolated_url" if mode == "shared" else "plain_url")
    page.goto(f"{url}/02-progress/")
    page.locator("#run:enabled").wait_for()

    page.locator("#stop").fill("20000")
    page.locator("#run").click()
    report = page.wait_for_function("demo.finished").json_value()

    assert report == {
        "cancelled": False,
        "looked": 20000,
        "primes": 2262,
        "frames": report["frames"],
        "mode": mode,
    }
    expect(page.locator("#done")).to_have_text("20,000")
    expect(page.locator("#found")).to_have_text("2,262")
    assert page.locator("#bar").evaluate("bar => bar.value") == 100

    page.locator("#stop").fill("5000000")
    page.evaluate("demo.finished = undefined")
    page.locator("#run").click()
    page.wait_for_function("document.querySelector('#bar').value > 0")
    page.locator("#cancel").click()
    report = page.wait_for_function("demo.finished").json_value()

    assert report["cancelled"]
    assert 0 < report["looked"] < 5_000_000
    expect(page.locator("#status")).to_contain_text("Cancelled after")
