"""The table of compatibility: what of the behaviour tests holds in which engine and mode.

Owns docs/compatibility.md, which a run of all behaviour tests in all places writes.
"""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import pytest

from pyworkers.cli._core import PYODIDE_VERSION
from tests.features import FEATURES, features_of
from tests.gaps import GAPS, SKIPPED

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "docs" / "compatibility.md"
NAMES: Final = {
    "chromium": "Chromium",
    "node": "Node",
    "firefox": "Firefox",
    "webkit": "WebKitGTK",
}

HEAD = """\
# Compatibility

What holds where, as the behaviour tests found it: each runs in every engine and mode.
`scripts/test --all` writes this page.

"""

MEANING = """
**yes**: all tests of that feature pass there. **in part**: all but those that the note speaks of.
**none**: the note says why there is nothing to test. **no**: a test fails. What is tested in one
engine alone, such as [the service worker](javascript.md#offline-and-isolated-without-headers), is
not in this table.

WebKitGTK has no SharedArrayBuffer, unless the variable `JSC_useSharedArrayBuffer=1` is in its
environment, as it was for the column with shared memory.
"""


class Matrix:
    """Collects what comes of behaviour tests.

    Args:
        places: engine and mode of each column.
        folder: of the behaviour tests.
    """

    def __init__(self, places: list[str], folder: Path) -> None:
        self._places = places
        self._folder = folder
        self._tests: dict[str, tuple[str, list[str]]] = {}
        self._outcomes: dict[str, str] = {}
        self._versions: dict[str, str] = {}

    def saw(self, place: str, version: str) -> None:
        """Notes the version of an engine."""
        self._versions[place] = version

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        for item in session.items:
            if isinstance(item, pytest.Function) and hasattr(item, "callspec"):
                place = item.callspec.params.get("hub")
                if place in self._places:
                    self._tests[item.nodeid] = place, features_of(item.function.__doc__)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.nodeid not in self._tests:
            return
        if report.skipped and isinstance(report.longrepr, tuple):
            reason = report.longrepr[2].removeprefix("Skipped: ")
            self._outcomes[report.nodeid] = reason
        elif report.failed:
            self._outcomes[report.nodeid] = "failed"
        elif report.when == "call":
            self._outcomes[report.nodeid] = "passed"

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self._is_complete(session.config):
            TABLE.write_text(self.page(), encoding="utf-8")

    def _is_complete(self, config: pytest.Config) -> bool:
        """Whether all behaviour tests were run, in all places."""
        option = config.option
        if option.keyword or option.markexpr or option.deselect or option.maxfail:
            return False
        asked = {Path(argument).resolve() for argument in config.args}
        if asked.isdisjoint({self._folder, *self._folder.parents}):
            return False
        return self._outcomes.keys() == self._tests.keys() and all(
            outcome in ("passed", "failed") or outcome.startswith(SKIPPED)
            for outcome in self._outcomes.values()
        )

    def page(self) -> str:
        """Returns the whole page."""
        found: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        for test, (place, features) in self._tests.items():
            for feature in features:
                found[feature, place].add(self._outcomes[test])
        titles = [f"{NAMES[place.split('-')[0]]}, {place.split('-')[1]}" for place in self._places]
        rows = [["feature", *titles], ["---"] * (1 + len(titles))]
        for feature, name in FEATURES.items():
            rows.append([name, *(cell(found[feature, place]) for place in self._places)])
        versions = [f"{NAMES[place]} {version}" for place, version in self._versions.items()]
        tried = f"Tried in {', '.join(sorted(versions))}, with Pyodide {PYODIDE_VERSION}.\n\n"
        table = "".join(f"| {' | '.join(row)} |\n" for row in rows)
        met = {outcome.removeprefix(SKIPPED) for outcome in self._outcomes.values()}
        notes = "".join(f"\n[^{name}]: {GAPS[name].reason}\n" for name in GAPS if name in met)
        return HEAD + tried + table + MEANING + notes


def cell(outcomes: Iterable[str]) -> str:
    """Returns what the table says of one feature in one place."""
    outcomes = set(outcomes)
    gaps = sorted(outcome for outcome in outcomes if outcome.startswith(SKIPPED))
    notes = "".join(f"[^{gap.removeprefix(SKIPPED)}]" for gap in gaps)
    if "failed" in outcomes:
        return "**no**"
    if "passed" not in outcomes:
        return f"none{notes}"
    return f"in part{notes}" if notes else "yes"
