"""The table of compatibility: what of the behaviour tests holds in which engine and mode.

Owns docs/compatibility.md, and .build/compatibility, where the outcomes of tests are kept, one file
for each file of tests. With ``--all``, each run notes there what came of its tests, so all may be
run at once or in parts: some files, some places, or one test again that had failed. An outcome
counts as long as the code is what it was: the file of tests itself, and everything that all of them
rest on. The page is written by the run after which every behaviour test of every place has an
outcome of the present code, and by no other. Knows nothing of how tests are chosen.

With several processes, each notes what it runs itself, and the one that has started them writes the
page; a file's tests must be run by one process at a time (``--dist loadfile``).
"""

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Final, TypedDict

import pytest

from pyworkers.cli._core import PYODIDE_VERSION
from tests.features import FEATURES, features_of
from tests.gaps import GAPS, SKIPPED

RECORDS: Final = Path(".build", "compatibility")
TABLE: Final = Path("docs", "compatibility.md")
TESTS: Final = Path("tests", "browser")
RESTS_ON: Final = ("pyworkers/**/*.py", "js_shim/*.*", "tests/*.*", "tests/browser/**/*.*")
"""What behaviour tests rest on, but for the files of tests themselves."""

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
environment, as it was for the column with shared memory. It tells pages of four cores even where
there are two; so a pool that is not told otherwise has four workers, and one in reserve.
"""

PICTURES = """
The [demo](../README.md) in Firefox, in mode `shared`, and in WebKitGTK as it comes, in mode
`transfer`; on a machine of two cores that did other things, too:

![The demo in Firefox: two workers and one have measured 559 modules](demo-firefox.png)

![The demo in WebKitGTK: two workers and one have measured 559 modules](demo-webkit.png)
"""


class Trial(TypedDict):
    """One test in one place.

    Attributes:
        place: engine and mode.
        version: of the engine; empty as long as it was not run.
        features: that it proves.
        outcome: "passed", "failed", why it was skipped, or empty as long as it was not run.
    """

    place: str
    version: str
    features: list[str]
    outcome: str


class Record(TypedDict):
    """What is known of a file of tests.

    Attributes:
        code: digest of what was run.
        trials: all of its behaviour tests, by their ids.
    """

    code: str
    trials: dict[str, Trial]


class Matrix:
    """Notes what comes of behaviour tests, and writes the page once all is known.

    Args:
        places: engine and mode of each column.
        root: of the repository.
    """

    def __init__(self, places: list[str], root: Path) -> None:
        self._places = places
        self._root = root
        self._base = self._digest_of_base()
        self._records: dict[Path, Record] = {}
        self._versions: dict[str, str] = {}

    def saw(self, place: str, version: str) -> None:
        """Notes the version of the engine in which the next tests of a place run."""
        self._versions[place] = version

    @pytest.hookimpl(tryfirst=True)  # before tests are deselected
    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        if any("::" in argument for argument in config.args):
            return  # a file that is collected in part does not tell which tests there are
        for path in {item.path for item in items}.intersection(self._files()):
            code = digest([path], self._base)
            self._records[path] = self._read(path, code) or Record(code=code, trials={})
        for item in items:
            if item.path in self._records and isinstance(item, pytest.Function):
                place = item.callspec.params.get("hub") if hasattr(item, "callspec") else None
                if place in self._places:
                    features = features_of(item.function.__doc__)
                    empty = Trial(place=place, version="", features=features, outcome="")
                    self._records[item.path]["trials"].setdefault(item.nodeid, empty)
        for path in self._records:
            self._write(path)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        path = self._root / report.nodeid.partition("::")[0]
        if path not in self._records or report.nodeid not in self._records[path]["trials"]:
            return
        trial = self._records[path]["trials"][report.nodeid]
        if report.when == "setup":
            trial["outcome"] = ""
        if report.skipped and isinstance(report.longrepr, tuple):
            trial["outcome"] = report.longrepr[2].removeprefix("Skipped: ")
        elif report.failed:
            trial["outcome"] = "failed"
        elif report.when == "call":
            trial["outcome"] = "passed"
        trial["version"] = self._versions.get(trial["place"].split("-")[0], "")
        self._write(path)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        base = self._digest_of_base()
        records = {path: self._read(path, digest([path], base)) for path in self._files()}
        missing = [
            f"{path.name} ({unknown_of(record) if record else 'all'})"
            for path, record in records.items()
            if record is None or unknown_of(record)
        ]
        if missing:
            terminalreporter.write_line(
                f"{TABLE} is not written: not run on the code as it is: {', '.join(missing)}"
            )
            return
        trials = [
            trial for record in records.values() if record for trial in record["trials"].values()
        ]
        (self._root / TABLE).write_text(page(self._places, trials), encoding="utf-8")
        terminalreporter.write_line(f"{TABLE} is written")

    def _files(self) -> list[Path]:
        """Returns the files of tests."""
        return sorted((self._root / TESTS).glob("test_*.py"))

    def _digest_of_base(self) -> str:
        """Returns the digest of what all files of tests rest on."""
        paths = {path for pattern in RESTS_ON for path in self._root.glob(pattern)}
        return digest(path for path in paths.difference(self._files()) if path.suffix != ".pyc")

    def _record_of(self, path: Path) -> Path:
        return self._root / RECORDS / f"{path.stem}.json"

    def _read(self, path: Path, code: str) -> Record | None:
        """Returns what is known of a file of tests, if that is of this code."""
        try:
            record: Record = json.loads(self._record_of(path).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return record if record["code"] == code else None

    def _write(self, path: Path) -> None:
        """Keeps what is known of a file of tests."""
        target = self._record_of(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_suffix(f".{os.getpid()}")
        draft.write_text(json.dumps(self._records[path], indent=1), encoding="utf-8")
        draft.replace(target)


def digest(paths: Iterable[Path], base: str = "") -> str:
    """Returns a digest of the names and contents of files, and of a digest before."""
    found = hashlib.sha256(base.encode())
    for path in sorted(paths):
        content = path.read_bytes()
        found.update(f"{path.name} {len(content)}\n".encode())
        found.update(content)
    return found.hexdigest()


def unknown_of(record: Record) -> int:
    """Returns how many tests have no outcome that the table could tell."""
    outcomes = [trial["outcome"] for trial in record["trials"].values()]
    return sum(
        outcome not in ("passed", "failed") and not outcome.startswith(SKIPPED)
        for outcome in outcomes
    )


def page(places: list[str], trials: list[Trial]) -> str:
    """Returns the whole page.

    Args:
        places: engine and mode of each column.
        trials: all of them, with their outcomes.
    """
    found: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for trial in trials:
        for feature in trial["features"]:
            found[feature, trial["place"]].add(trial["outcome"])
    titles = [f"{NAMES[place.split('-')[0]]}, {place.split('-')[1]}" for place in places]
    rows = [["feature", *titles], ["---"] * (1 + len(titles))]
    for feature, name in FEATURES.items():
        rows.append([name, *(cell(found[feature, place]) for place in places)])
    versions = {
        f"{NAMES[trial['place'].split('-')[0]]} {trial['version']}"
        for trial in trials
        if trial["version"]
    }
    tried = f"Tried in {', '.join(sorted(versions))}, with Pyodide {PYODIDE_VERSION}.\n\n"
    table = "".join(f"| {' | '.join(row)} |\n" for row in rows)
    met = {trial["outcome"].removeprefix(SKIPPED) for trial in trials}
    notes = "".join(f"\n[^{name}]: {GAPS[name].reason}\n" for name in GAPS if name in met)
    return HEAD + tried + table + MEANING + notes + PICTURES


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
