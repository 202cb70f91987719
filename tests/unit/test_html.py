"""What notebooks show of pools and futures."""

import math

import pytest

from pyworkers import WorkerPool, _html

EVIL = "<script>alert('x')</script> & \"more\""


def is_harmless(shown: str) -> bool:
    return "<script" not in shown and "&lt;script&gt;alert(" in shown


def test_a_pool_shows_its_state_its_counts_and_its_workers() -> None:
    with WorkerPool(1, mode="inline") as pool:
        assert "no tasks so far" in pool._repr_html_()
        assert list(pool.map(abs, [-1, -2, -3])) == [1, 2, 3]
        shown = pool._repr_html_()
    assert "WorkerPool inline" in shown
    assert "done" in shown
    assert "idle</span>" in shown
    assert "shut down" in pool._repr_html_()


def test_a_future_shows_what_its_task_returned_or_raised() -> None:
    def fail() -> None:
        raise ValueError(EVIL)

    with WorkerPool(1, mode="inline") as pool:
        done = pool.submit(str, EVIL)
        failed = pool.submit(fail)
    assert "finished" in done._repr_html_()
    assert is_harmless(done._repr_html_())
    assert "failed" in failed._repr_html_()
    assert is_harmless(failed._repr_html_())


def test_a_future_shows_the_progress_of_a_task_that_runs() -> None:
    shown = _html.future(7, "running", (2, 8, EVIL), None)
    assert "Task 7" in shown
    assert "value='2' max='8'" in shown
    assert "2 of 8" in shown
    assert is_harmless(shown)
    cancelled = _html.future(7, "cancelled", None, None)
    assert "cancelled" in cancelled
    assert "progress" not in cancelled


def test_an_outcome_is_cut_and_one_that_cannot_be_shown_is_named() -> None:
    class Mute:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    assert len(_html.future(1, "finished", None, "x" * 10_000)) < 500
    assert "Mute" in _html.future(1, "finished", None, Mute())


@pytest.mark.parametrize("total", [None, 0, math.inf, math.nan])
def test_a_bar_without_a_usable_total_has_no_end(total: float | None) -> None:
    assert "max=" not in _html.bar("", 3, total)


def test_a_bar_escapes_its_label_and_its_message() -> None:
    assert is_harmless(_html.bar(EVIL, 1, 2, EVIL))
    assert is_harmless(_html.facts(EVIL, {EVIL: EVIL}))
