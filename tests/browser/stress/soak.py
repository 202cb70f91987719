"""`scripts/soak`: puts a hub in Chromium under a mixed load, and watches for what grows.

Owns the sampling, the table and the verdict. What is done stands in ``load.py``. ``test_stress.py``
does the same for some seconds.
"""

import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any, Final

import click
from playwright.sync_api import sync_playwright

from bench.browsers import chromium
from bench.processes import browser_processes, pss_mib
from pyworkers.cli.build import build_site
from pyworkers.cli.serve import serving
from tests.browser.stress import load
from tests.hubs import Hub, PageHub

ROOT: Final = Path(__file__).parents[3]
SITE: Final = ROOT / ".build" / "soak"
SAMPLE_SECONDS: Final = 5.0
LEAST_SAMPLES: Final = 5
MIB: Final = 2**20

HEAP_BYTES: Final = 8 * MIB
"""An interpreter's heap may grow by so much in the later half: a step of the engine's growth."""

OBJECTS: Final = 500
"""So many more objects may the hub's Python hold in the last quarter than in the one before."""

SPAN_SHARE: Final = 0.5
SPAN_BYTES: Final = 8 * MIB
"""In the later half the arena may grow by such a part and so many bytes, and by what more was in
use at its peak: it never shrinks, and peaks are random."""

PSS_SHARE: Final = 0.2
"""The browser's memory may be so much larger in the last quarter than in the one before: it
collects garbage when it likes."""


def sampled(hub: Hub, seed: int, duration: float, interval: float) -> Iterator[dict[str, Any]]:
    """Yields samples of the load in a hub, five at the least; then ends its pool.

    Args:
        hub: where the pool is.
        seed: of the load.
        duration: seconds in all.
        interval: seconds of work before each sample.
    """
    hub.run(
        """
        from pathlib import Path
        folder = Path.home() / "load"
        folder.mkdir()
        (folder / "load.py").write_text(source)
        sys.path.insert(0, str(folder))
        """,
        source=Path(load.__file__).read_text(encoding="utf-8"),
    )
    end = time.monotonic() + duration
    number = 0
    while number < LEAST_SAMPLES or time.monotonic() < end:
        body = "import load\nreturn await load.work(seed, seconds)"
        yield hub.run(body, seed=seed, seconds=interval)
        number += 1
    hub.run("import load\nawait load.close()")


def faults(samples: list[dict[str, Any]]) -> list[str]:
    """Says what was left behind, and what has grown in the later half."""
    found = []
    for sample in samples:
        when = f"after {sample['seconds']} s"
        found += [f"{when}: {n} {what} left" for what, n in sample["left"].items() if n]
        found += [
            f"{when}: {n} {what} for {load.WORKERS} workers"
            for what, n in sample["per worker"].items()
            if n != load.WORKERS
        ]
        if sample["used"]:
            found.append(f"{when}: {sample['used']} bytes of the arena are in use")
        if sample["known"] != samples[0]["known"]:
            found.append(f"{when}: {sample['known']}, where {samples[0]['known']} were known")
    half, last = samples[len(samples) // 2], samples[-1]
    heaps = {"the hub": (half["hub"], last["hub"])}
    for number in half["workers"].keys() & last["workers"].keys():
        heaps[f"worker {number}"] = half["workers"][number], last["workers"][number]
    for who, (before, after) in heaps.items():
        if after - before > HEAP_BYTES:
            found.append(f"the heap of {who} has grown from {before} to {after} bytes")
    room = SPAN_BYTES + last["peak"] - half["peak"]
    if last["span"] > half["span"] * (1 + SPAN_SHARE) + room:
        found.append(f"the arena has grown from {half['span']} to {last['span']} bytes")
    found += _trend(samples, "objects", OBJECTS, 0.0)
    if "pss" in last:
        found += _trend(samples, "pss", 0.0, PSS_SHARE)
    return found


def _trend(samples: list[dict[str, Any]], what: str, amount: float, share: float) -> list[str]:
    quarter = max(1, len(samples) // 4)
    before = median(sample[what] for sample in samples[-2 * quarter : -quarter])
    after = median(sample[what] for sample in samples[-quarter:])
    grown = after > before * (1 + share) + amount
    return [f"{what} went from {before:.0f} to {after:.0f}"] if grown else []


_COLUMNS: Final = (
    "     s  rounds    calls killed  hub MiB workers MiB  objects  arena MiB  peak MiB  PSS MiB"
)


def _row(sample: dict[str, Any]) -> str:
    workers = "+".join(f"{length / MIB:.0f}" for length in sample["workers"].values())
    return (
        f"{sample['seconds']:6.0f} {sample['rounds']:7} {sample['calls']:8} {sample['killed']:6}"
        f" {sample['hub'] / MIB:8.1f} {workers:>11} {sample['objects']:8}"
        f" {sample['span'] / MIB:10.1f} {sample['peak'] / MIB:9.1f} {sample['pss']:8.0f}"
    )


@click.command()
@click.argument("minutes", type=click.FloatRange(min=0, min_open=True), default=10.0)
def soak(minutes: float) -> None:
    """Put a hub in Chromium under load for MINUTES (10), half of them in each mode."""
    seed = secrets.randbits(31)
    click.echo(f"seed {seed}")
    shutil.rmtree(SITE, ignore_errors=True)
    build_site(SITE)
    found = []
    with sync_playwright() as playwright:
        for mode in ("shared", "transfer"):
            click.echo(f"\n{mode}\n{_COLUMNS}")
            isolation: Any = "require-corp" if mode == "shared" else "off"
            with serving(SITE, isolation=isolation) as url, chromium(playwright) as browser:
                hub = PageHub(browser.new_page(), url, mode)
                samples = []
                for sample in sampled(hub, seed, minutes * 30, SAMPLE_SECONDS):
                    samples.append(sample | {"pss": pss_mib(browser_processes())})
                    click.echo(_row(samples[-1]))
            found += [f"{mode}: {fault}" for fault in faults(samples)]
    for fault in found:
        click.echo(fault, err=True)
    if found:
        raise SystemExit(1)


if __name__ == "__main__":
    soak()
