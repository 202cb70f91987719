"""Stress of the links, of deaths in the midst of it, of illegal frames, and of long use.

``PYWORKERS_STRESS`` says how many frames the stress of the links shall pass, both ways together.
``scripts/soak`` is the long run of the last one. ``PYWORKERS_SEED`` is the seed of all of them.
"""

import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from pyworkers.cli.serve import serving
from tests.browser.stress import fuzz, load
from tests.browser.stress.soak import faults, sampled
from tests.gaps import skip_if
from tests.hubs import Hub

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).with_name("stress")
FRAMES = int(os.environ.get("PYWORKERS_STRESS", "1000000"))
WORKERS = 4
DEATHS = 40
SEED = int(os.environ.get("PYWORKERS_SEED", "2026"))
BARE = "delete Atomics.waitAsync;"


def stress(browser: Browser, root: Path, preamble: str = "", **options: Any) -> Any:
    """Serves a copy of the shim and the modules of the stress, and runs them on a page of it."""
    shim = root / "js_shim"
    shim.mkdir()
    for file in (ROOT / "js_shim").glob("*.mjs"):
        shutil.copy(file, shim)
    ring = shim / "ring.mjs"
    ring.write_text(preamble + ring.read_text(encoding="utf-8"), encoding="utf-8")
    shutil.copytree(HERE, root / "tests" / "browser" / "stress")
    (root / "index.html").write_text(
        '<!doctype html><link rel="icon" href="data:,"><title>Stress</title>', encoding="utf-8"
    )
    isolated = options["mode"] == "shared"
    with serving(root, isolation="require-corp" if isolated else "off") as url:
        context = browser.new_context()
        try:
            page = context.new_page()
            page.goto(f"{url}/index.html")
            return page.evaluate(
                """async (options) => {
                    const { stress } = await import("/tests/browser/stress/page.mjs");
                    return stress(options);
                }""",
                {"workers": WORKERS, "seed": SEED, **options},
            )
        finally:
            context.close()


def check_counts(report: dict[str, Any]) -> int:
    """Checks that either end heard what the other said; returns how many frames that were."""
    frames = 0
    for side in report["sides"]:
        theirs = side["report"]
        for sent, received in (
            (side["sent"], theirs["received"]),
            (theirs["sent"], side["received"]),
        ):
            assert received | {"dropped": 0} == sent
            frames += sent["frames"]
    assert report["left"] == 0
    return frames


@pytest.mark.timeout(60 + FRAMES // 2_000)
@pytest.mark.parametrize(
    ("mode", "preamble"),
    [("shared", ""), ("shared", BARE), pytest.param("transfer", "", marks=pytest.mark.thorough)],
    ids=["shared", "shared-without-waitAsync", "transfer"],
)
def test_a_hub_and_four_workers_lose_no_frame(
    chromium: Browser, tmp_path: Path, mode: str, preamble: str
) -> None:
    """A-05 A-07: exact counts, order and checksums of frames and bulk parts up to three times a
    ring, whether threads block or listen, while their heaps move."""
    print(f"seed {SEED}")
    report = stress(
        chromium,
        tmp_path,
        preamble,
        mode=mode,
        frames=FRAMES // (2 * WORKERS),
        deaths=0,
        partShare=4,
    )
    assert len(report["sides"]) == WORKERS
    assert check_counts(report) == FRAMES // (2 * WORKERS) * 2 * WORKERS
    ends = [side["report"] for side in report["sides"]]
    assert min(end["turns"] for end in [report, *ends]) > 100, "they hardly listened"
    if mode == "shared":
        assert min(end["waits"] for end in [report, *ends]) > 100, "they hardly blocked"
        arena = report["arena"]
        allocated = sum(
            end["sent"]["inArena"] for side in report["sides"] for end in (side, side["report"])
        )
        assert (arena["blocks"], arena["used"]) == (0, 0)
        assert arena["allocations"] == arena["frees"] == allocated > 100


def test_workers_that_die_while_they_write_disturb_no_other(
    chromium: Browser, tmp_path: Path
) -> None:
    """A-03 A-05 B-04: threads end in the midst of ring and arena, by their hub or by themselves;
    what the others say stays exact, and all memory comes back."""
    print(f"seed {SEED}")
    report = stress(chromium, tmp_path, mode="shared", frames=0, deaths=DEATHS, partShare=400)
    print(report)
    assert report["died"] + report["ended"] >= DEATHS
    assert min(report["died"], report["ended"]) > 3
    assert len(report["sides"]) == WORKERS
    assert check_counts(report) > WORKERS * 2_000
    assert (report["arena"]["blocks"], report["arena"]["used"]) == (0, 0)


@pytest.mark.timeout(300)
def test_what_no_worker_says_harms_nobody_else(hub: Hub, request: pytest.FixtureRequest) -> None:
    """A-07 B-04: it is refused, or ends the worker that said it with a reason that says why."""
    print(f"seed {SEED}")
    place = int(request.node.callspec.params["hub"].startswith("node"))
    cases = fuzz.deal(hub.mode, place, places=2, seed=SEED, lost=10, kept=30)
    report = hub.run(
        """
        from pathlib import Path
        folder = Path.home() / "fuzz"
        folder.mkdir()
        (folder / "fuzz.py").write_text(source)
        sys.path.insert(0, str(folder))
        import fuzz
        return await fuzz.run(cases)
        """,
        source=Path(fuzz.__file__).read_text(encoding="utf-8"),
        cases=cases,
    )
    outcomes = report.pop("outcomes")
    assert report == {"wrong": [], "outstanding": 0, "handlers": 0, "blocks": 0}
    assert [(name, seed) for name, seed, *_ in outcomes] == cases
    for name, seed, outcome, reason in outcomes:
        case = fuzz.CASES[name]
        assert outcome == case.outcome, f"{name}, seed {seed}: {outcome} {reason}"
        assert re.search(case.reason or "", reason), f"{name}, seed {seed}: {reason}"


@pytest.mark.lengthy
@pytest.mark.timeout(180)
def test_nothing_grows_under_a_mixed_load(hub: Hub) -> None:
    """A-03 A-05 B-01: after each round no task, frame, block or channel is left behind, and heaps
    do not grow on."""
    skip_if("same-engine", hub)
    print(f"seed {SEED}")
    samples = list(sampled(hub, SEED, duration=15.0, interval=3.0))
    assert faults(samples) == []
    assert samples[-1]["calls"] > 1_000
    assert samples[-1]["killed"] > 0
    assert len(samples[-1]["workers"]) == load.WORKERS
