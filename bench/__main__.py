"""The command: ``python -m bench``."""

import json
import sys
from pathlib import Path
from typing import Any

import click
from playwright.sync_api import Playwright, sync_playwright

from bench import lab
from bench.browsers import chromium
from bench.contest import Result, measure
from bench.docs import page
from bench.figures import FIGURES
from bench.machine import describe
from bench.plot import plot
from bench.table import text
from pyworkers.cli.serve import serving

_EPILOG = "\n\n".join(["Figures:", *(f"{name}: {FIGURES[name].title}" for name in FIGURES)])


@click.command(epilog=_EPILOG)
@click.argument("names", metavar="[FIGURE]...", nargs=-1, type=click.Choice(list(FIGURES)))
@click.option("--runs", type=click.IntRange(1), help="Rounds that count; 5, or 1 with --quick.")
@click.option("--quick", is_flag=True, help="Only try whether everything works: small counts.")
@click.option(
    "--json",
    "json_file",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    metavar="FILE",
    help="Write all values there.",
)
@click.option(
    "--docs",
    type=click.Path(exists=True, file_okay=False, writable=True, path_type=Path),
    metavar="FOLDER",
    help="Write benchmarks.md, benchmarks.png and benchmarks.json there.",
)
@click.option("--note", default="", help="A sentence about this run, kept with the results.")
def bench(
    names: tuple[str, ...],
    runs: int | None,
    quick: bool,
    json_file: Path | None,
    docs: Path | None,
    note: str,
) -> None:
    """Measure pyworkers beside its peers: all figures, or those that are named."""
    runs = runs or (1 if quick else 5)
    lab.build()
    with sync_playwright() as playwright:
        with chromium(playwright) as browser:
            about = describe(lab.ROOT, lab.SITE, f"Chromium {browser.version}")
        about |= {"runs": runs, "quick": quick, "note": note}
        results = []
        with serving(lab.SITE) as url:
            for name in names or FIGURES:
                results.append(run(playwright, url, name, runs, quick))
                click.echo(text(results[-1]))
    report = about | {"figures": [result.as_json() for result in results]}
    if json_file is not None:
        write_json(json_file, report)
    if docs is not None:
        write_json(docs / "benchmarks.json", report)
        plot(results, docs / "benchmarks.png")
        (docs / "benchmarks.md").write_text(page(about, results), encoding="utf-8")
    if any(result.error for result in results):
        sys.exit(1)


def run(playwright: Playwright, url: str, name: str, runs: int, quick: bool) -> Result:
    """Measures a figure in a browser of its own."""

    def progress(what: str) -> None:
        click.echo(f"{name}: {what}", err=True)

    with chromium(playwright) as browser:
        return measure(FIGURES[name], lab.Lab(browser, url, quick), runs, progress)


def write_json(file: Path, report: dict[str, Any]) -> None:
    file.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    bench()
