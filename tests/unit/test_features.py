"""The table of compatibility has a row for what each behaviour test proves."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.features import FEATURES, features_of
from tests.gaps import GAPS
from tests.matrix import cell

BROWSER = Path(__file__).parents[1] / "browser"


def behaviour_tests() -> Iterator[tuple[str, list[str]]]:
    """Names of the tests that run in every place, and the features that they name."""
    for path in sorted(BROWSER.glob("test_*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if (
                isinstance(node, ast.FunctionDef)
                and node.name.startswith("test_")
                and "hub" in {argument.arg for argument in node.args.args}
            ):
                yield f"{path.name}::{node.name}", features_of(ast.get_docstring(node))


def test_every_behaviour_test_names_features_of_the_table() -> None:
    tests = dict(behaviour_tests())
    assert len(tests) > 100
    assert {name: ids for name, ids in tests.items() if not ids} == {}
    named = {feature for ids in tests.values() for feature in ids}
    assert named == set(FEATURES)


def test_behaviour_tests_are_skipped_for_gaps_alone() -> None:
    files = {name.partition("::")[0] for name, _ in behaviour_tests()}
    assert [name for name in files if "pytest.skip" in (BROWSER / name).read_text()] == []


def test_every_gap_says_why() -> None:
    assert all(gap.reason.endswith((".", ")")) for gap in GAPS.values())


def test_a_cell_says_what_came_of_its_tests() -> None:
    assert cell(["passed", "passed"]) == "yes"
    assert cell(["passed", "gap: loop"]) == "in part[^loop]"
    assert cell(["gap: memory", "gap: loop"]) == "none[^loop][^memory]"
    assert cell(["passed", "failed", "gap: loop"]) == "**no**"
