"""The plain numbers of the benchmarks, and their tables."""

import json
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from bench.contest import Figure, Metric, Result, Sample
from bench.docs import page
from bench.figures import FIGURES
from bench.figures.memory import MOST_SAMPLES, TOLERANCE_MIB, settled
from bench.lab import Lab
from bench.plot import plot
from bench.statistics import BLOCK, differences, latency, percentile, ratio, summarise
from bench.table import aligned, cell, header, markdown, number, rows, text

SPEED = Metric("speed", "m/s", "speed", more_is_better=True)
DELAY = Metric("delay", "", "delay")

ABOUT = {
    "machine": {"processor": "A", "cores": 2, "system": "S", "load": [0.5, 1, 2]},
    "browser": "B 1",
    "pyodide": "1.2",
    "python_in_pyodide": "3.14",
    "python": "3.11",
    "commit": "abc",
    "changed": True,
    "date": "2025-01-01",
    "runs": 3,
    "note": "Others were here.",
}


def figure() -> Figure:
    def contest(lab: Lab) -> AbstractContextManager[dict[str, Sample]]:
        raise AssertionError("nothing is measured here")

    text = "How fast it is.\n\nWhat is timed."
    return Figure("bench.figures.fast", text, (SPEED, DELAY), contest)


@pytest.fixture
def result() -> Result:
    samples = {
        "ours": {"speed": [10.0, 30.0, 20.0], "delay": [0.0, 1.0, 1.0]},
        "theirs": {"speed": [5.0, 60.0, 10.0], "delay": [1.0, 2.0, 2.0]},
    }
    return Result(figure(), samples)


def test_a_summary_is_the_median_and_the_extremes() -> None:
    assert summarise([3, 1, 2]) == (2, 1, 3)
    assert summarise([1, 2]) == (1.5, 1, 2)


def test_a_ratio_is_the_median_of_the_quotients_of_each_round() -> None:
    assert ratio([5, 60, 10], [10, 30, 20]) == 0.5
    assert ratio([1, 2], [1, 2]) == 1
    assert ratio([1, 2], [0, 2]) is None
    with pytest.raises(ValueError, match="argument 2"):
        ratio([1], [1, 2])


def test_a_percentile_is_one_of_the_values() -> None:
    values = list(range(100, 0, -1))
    assert percentile(values, 99) == 99
    assert percentile(values, 100) == 100
    assert percentile(values, 50) == 50
    assert percentile([7], 99) == 7
    assert percentile([1, 2], 1) == 1


def test_differences_are_between_neighbours() -> None:
    assert differences([1, 2, 4]) == [1, 2]
    assert differences([1]) == []


def test_a_latency_sees_through_the_steps_of_a_clock() -> None:
    """Calls of 12 us each, by a clock with steps of 5 us; the last one takes a millisecond."""
    times = [i * 12 // 5 * 5e-6 for i in range(10 * BLOCK + 1)]
    times.append(times[-1] + 1e-3)
    found = latency(times)
    assert found["p50"] == pytest.approx(12, abs=5 / BLOCK)
    assert found["p99"] == pytest.approx(15)
    assert latency([*times, times[-1] + 2e-3])["p99"] == pytest.approx(1000)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0.00"),
        (0.126, "0.13"),
        (9.99, "9.99"),
        (10, "10.0"),
        (-12.34, "-12.3"),
        (99.96, "100.0"),
        (100, "100"),
        (1234567.8, "1,234,568"),
    ],
)
def test_numbers_have_three_digits_or_so(value: float, shown: str) -> None:
    assert number(value) == shown


def test_a_cell_shows_the_spread() -> None:
    assert cell(summarise([1, 20, 300])) == "20.0 (1.00 to 300)"


def test_a_header_says_which_way_is_better() -> None:
    assert header(SPEED) == "speed, m/s ↑"
    assert header(DELAY) == "delay ↓"


def test_a_table_compares_everybody_to_the_first(result: Result) -> None:
    assert rows(result) == [
        ["", "speed, m/s ↑", "ratio", "delay ↓", "ratio"],
        ["ours", "20.0 (10.0 to 30.0)", "1.00", "1.00 (0.00 to 1.00)", "-"],
        ["theirs", "10.0 (5.00 to 60.0)", "0.50", "2.00 (1.00 to 2.00)", "-"],
    ]


def test_cells_are_aligned() -> None:
    assert aligned([["", "a"], ["long", "1"], ["x", "100"]]) == "        a\nlong    1\nx     100"


def test_markdown_has_a_rule_below_the_header() -> None:
    assert markdown([["", "a"], ["x", "1"]]) == "|  | a |\n| --- | ---: |\n| x | 1 |"


def test_a_figure_is_named_by_its_module_and_titled_by_its_first_line(result: Result) -> None:
    assert result.figure.name == "fast"
    assert result.figure.title == "How fast it is"
    assert result.figure.explanation == "What is timed."
    assert text(result).startswith("fast: How fast it is\n")


def test_a_failure_is_shown_in_place_of_values() -> None:
    failed = Result(figure(), error="Error: it broke")
    assert text(failed) == "fast: How fast it is\nFAILED: Error: it broke\n"
    assert "Failed: Error: it broke" in page(ABOUT, [failed])
    assert failed.as_json()["contestants"] == {}
    assert failed.as_json()["error"] == "Error: it broke"


def test_json_holds_every_value(result: Result) -> None:
    report = json.loads(json.dumps(result.as_json()))
    assert report["metrics"]["speed"] == {"unit": "m/s", "label": "speed", "more_is_better": True}
    assert report["contestants"]["theirs"]["speed"] == {
        "median": 10,
        "low": 5,
        "high": 60,
        "ratio": 0.5,
        "samples": [5, 60, 10],
    }


def test_a_page_says_where_it_comes_from(result: Result) -> None:
    shown = page(ABOUT, [result])
    for part in (
        "A, 2 cores, S",
        "abc with changes",
        "Others were here.",
        "What is timed.",
        "ours",
    ):
        assert part in shown


def test_a_picture_leaves_failures_out(result: Result, tmp_path: Path) -> None:
    file = tmp_path / "picture.png"
    plot([result, Result(figure(), error="Error: it broke")], file)
    assert file.read_bytes().startswith(b"\x89PNG")


def test_every_figure_says_what_it_times() -> None:
    for name, known in FIGURES.items():
        assert known.name == name
        assert known.title
        assert known.explanation
        assert known.metrics


def test_memory_has_settled_when_some_samples_in_a_row_agree() -> None:
    samples = iter([50.0, 60.0, 60.0, 90.0, 90.5, 90.0 + TOLERANCE_MIB, 0.0])
    pauses: list[None] = []
    assert settled(lambda: next(samples), 3, lambda: pauses.append(None)) == 91
    assert len(pauses) == 5


def test_memory_that_does_not_settle_is_an_error() -> None:
    taken: list[float] = []

    def grow() -> float:
        taken.append(len(taken) * (TOLERANCE_MIB + 0.1))
        return taken[-1]

    with pytest.raises(TimeoutError, match="memory has not settled"):
        settled(grow, 2, lambda: None)
    assert len(taken) == MOST_SAMPLES
