"""`scripts/demo`: runs the first example in a browser and prints what it found.

Owns the site in .build/demo and the driving of the browser. What is measured, and how, is the
business of web/01-stdlib.
"""

import shutil
import threading
import webbrowser
from pathlib import Path
from typing import Any

import click
from playwright.sync_api import Error, Page, sync_playwright

from pyworkers.cli.build import build_site
from pyworkers.cli.serve import serving

ROOT = Path(__file__).parents[1]
SITE = ROOT / ".build" / "demo"
EXAMPLE = "01-stdlib/"
COUNTS = ("modules", "lines", "functions", "classes")
TIMEOUT = 180  # seconds


@click.command()
@click.option("--open", "keep", is_flag=True, help="Open it in your browser instead, until Ctrl-C.")
@click.option(
    "--screenshot",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    metavar="FILE",
    help="Write a picture of the page at its end.",
)
def demo(keep: bool, screenshot: Path | None) -> None:
    """Measure Python's standard library in parallel, in a browser."""
    shutil.rmtree(SITE, ignore_errors=True)
    build_site(SITE)
    shutil.copytree(ROOT / "web", SITE, dirs_exist_ok=True)
    with serving(SITE) as url:
        if keep:
            show(f"{url}/{EXAMPLE}")
        else:
            click.echo(as_text(run(f"{url}/{EXAMPLE}", screenshot)))


def show(url: str) -> None:
    """Open the user's browser and wait for Ctrl-C."""
    click.echo(f"{url} - Ctrl-C ends it")
    # A text browser holds its caller until it is closed.
    threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        click.echo()


def run(url: str, screenshot: Path | None) -> dict[str, Any]:
    """Open the example in a browser without a window and return its report.

    Raises ClickException when there is no browser, or the page fails.
    """
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
            page = browser.new_page(viewport={"width": 1180, "height": 1040})
            report = report_of(page, url)
            report["browser"] = f"Chromium {browser.version}"
            if screenshot is not None:
                page.screenshot(path=screenshot)
            return report
    except Error as error:
        first = error.message.strip().partition("\n")[0]
        raise click.ClickException(first.removeprefix("Page.wait_for_function: ")) from None


def report_of(page: Page, url: str) -> dict[str, Any]:
    """Return what the page's promise resolves to."""
    page.goto(url)
    finished = page.wait_for_function("demo.finished", timeout=TIMEOUT * 1000)
    report: dict[str, Any] = finished.json_value()
    return report


def as_text(report: dict[str, Any]) -> str:
    """Lay out a report for a terminal."""
    totals, frames = report["totals"], report["frames"]
    lines = ["complexity  most complex functions"]
    for function in report["functions"]:
        lines.append(f"{function['complexity']:10}  {function['name']:40}  {function['where']}")
    counts = ", ".join(f"{totals[key]:,} {key}" for key in COUNTS)
    lines += ["", f"{counts}, in mode {report['mode']} of {report['browser']}"]
    for race in report["races"]:
        crew = "1 worker" if race["workers"] == 1 else f"{race['workers']} workers"
        share = race["busy"] / race["seconds"] / race["workers"]
        lines.append(f"{crew:10} {race['seconds']:6.2f} s, {share:.0%} of it in tasks")
    if len(report["races"]) == 2:
        many, one = report["races"]
        lines.append(f"speed-up {one['seconds'] / many['seconds']:8.2f}")
    lines.append(
        f"page {frames['rate']:12.1f} frames/s, the longest {frames['longest']:.0f} ms, "
        f"{frames['longTasks']} tasks over 50 ms"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    demo()
