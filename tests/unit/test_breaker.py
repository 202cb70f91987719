"""Functions that keep failing: which of their calls are made, by a clock of the test and inline."""

import pickle
import time
from typing import Any

import pytest

from pyworkers import CircuitBreaker, CircuitOpen, PayloadError, PyworkersError, WorkerPool
from pyworkers._breaker import CircuitBreaker as Breaker

pytestmark = pytest.mark.timeout(30)


def fail(breaker: Breaker, now: float, times: int = 1, key: object = "f") -> None:
    """Makes calls that fail."""
    for _ in range(times):
        breaker.leave(key, False, breaker.enter(key, "f", now), now)


def test_a_circuit_opens_after_so_many_failures_in_a_row() -> None:
    """B-18"""
    breaker = Breaker(failures=3, seconds=30.0)
    fail(breaker, 0.0, 2)
    breaker.leave("f", True, breaker.enter("f", "f", 1.0), 1.0)
    fail(breaker, 2.0, 3)
    with pytest.raises(CircuitOpen) as refused:
        breaker.enter("f", "load", 10.0)
    assert (refused.value.function, refused.value.seconds) == ("load", 22.0)
    assert not breaker.enter("g", "g", 10.0)


def test_one_trial_is_let_through_and_closes_the_circuit_if_it_succeeds() -> None:
    """B-18"""
    breaker = Breaker(failures=1, seconds=30.0)
    fail(breaker, 0.0)
    assert breaker.enter("f", "f", 30.0)
    with pytest.raises(CircuitOpen):
        breaker.enter("f", "f", 30.0)
    breaker.leave("f", True, True, 35.0)
    assert not breaker.enter("f", "f", 35.0)
    fail(breaker, 36.0)
    with pytest.raises(CircuitOpen):
        breaker.enter("f", "f", 36.0)


def test_a_trial_that_fails_opens_it_for_as_long_again() -> None:
    """B-18: and one that is cancelled makes way for another at once."""
    breaker = Breaker(failures=2, seconds=30.0)
    fail(breaker, 0.0, 2)
    assert breaker.enter("f", "f", 31.0)
    breaker.leave("f", False, True, 40.0)
    with pytest.raises(CircuitOpen, match=r"calls of f keep failing: .* in 1\.0 s"):
        breaker.enter("f", "f", 69.0)
    assert breaker.enter("f", "f", 70.0)
    breaker.leave("f", None, True, 71.0)
    assert breaker.enter("f", "f", 71.0)


def test_a_trial_of_which_nothing_is_heard_is_followed_by_another() -> None:
    breaker = Breaker(failures=1, seconds=30.0)
    fail(breaker, 0.0)
    assert breaker.enter("f", "f", 30.0)
    assert breaker.enter("f", "f", 60.0)


def test_calls_from_before_it_opened_do_not_keep_it_open() -> None:
    """B-18: they say nothing new; but one that succeeds closes it."""
    breaker = Breaker(failures=2, seconds=30.0)
    early = [breaker.enter("f", "f", 0.0) for _ in range(5)]
    for is_trial in early[:4]:
        breaker.leave("f", False, is_trial, 10.0 if is_trial else 1.0)
    with pytest.raises(CircuitOpen):
        breaker.enter("f", "f", 30.9)
    assert breaker.enter("f", "f", 31.0)
    breaker.leave("f", True, early[4], 32.0)
    breaker.leave("f", False, True, 33.0)
    assert not breaker.enter("f", "f", 33.0)


def test_cancelled_calls_count_for_nothing() -> None:
    breaker = Breaker(failures=2)
    fail(breaker, 0.0)
    for _ in range(5):
        breaker.leave("f", None, breaker.enter("f", "f", 0.0), 0.0)
    assert not breaker.enter("f", "f", 0.0)
    fail(breaker, 0.0)
    with pytest.raises(CircuitOpen):
        breaker.enter("f", "f", 0.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"failures": 0}, "failures must be at least 1, not 0"),
        ({"seconds": 0.0}, "seconds must be more than 0, not 0"),
        ({"seconds": float("nan")}, "seconds must be more than 0, not nan"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CircuitBreaker(**options)
    assert repr(CircuitBreaker()) == "CircuitBreaker(failures=5, seconds=30.0)"


calls: list[int] = []


def inverse(n: int) -> float:
    calls.append(n)
    return 1 / n


@pytest.fixture(autouse=True)
def _no_calls() -> None:
    calls.clear()


def test_calls_of_a_function_that_keeps_failing_are_not_made() -> None:
    """B-18: those of others are, and each pool judges for itself."""
    breaker = CircuitBreaker(failures=3)
    with WorkerPool(mode="inline", breaker=breaker) as pool:
        for _ in range(3):
            assert isinstance(pool.submit(inverse, 0).exception(), ZeroDivisionError)
        refused = pool.submit(inverse, 1).exception()
        assert isinstance(refused, CircuitOpen)
        assert isinstance(refused, PyworkersError)
        assert refused.function == "inverse"
        assert 0 < refused.seconds <= 30
        assert str(pickle.loads(pickle.dumps(refused))) == str(refused)
        assert isinstance(pool.submit_with(inverse, [1]).exception(), CircuitOpen)
        assert pool.submit(abs, -1).result() == 1
        assert pool.stats().submitted == 4
        with WorkerPool(mode="inline", breaker=breaker) as other:
            assert other.submit(inverse, 1).result() == 1
    assert calls == [0, 0, 0, 1]


def test_a_breaker_of_one_call_counts_its_outcome_after_all_retries() -> None:
    """B-18: those without one are made, and count for nothing."""
    breaker = CircuitBreaker(failures=2)
    options: dict[str, Any] = {"retries": 1, "retry_on": ArithmeticError, "breaker": breaker}
    with WorkerPool(mode="inline") as pool:
        assert pool.submit_with(inverse, [0], **options).exception() is not None
        assert pool.submit(inverse, 0).exception() is not None
        assert pool.submit_with(inverse, [1], **options).result() == 1
        for _ in range(2):
            assert pool.submit_with(inverse, [0], **options).exception() is not None
        assert isinstance(pool.submit_with(inverse, [1], **options).exception(), CircuitOpen)
        assert pool.submit(inverse, 1).result() == 1
    assert calls == [0, 0, 0, 1, 0, 0, 0, 0, 1]


def test_the_calls_of_a_map_are_judged_as_those_of_submit_are() -> None:
    """B-18: by their function, those that travel together as one."""
    with WorkerPool(mode="inline", breaker=CircuitBreaker(failures=3)) as pool:
        assert isinstance(pool.submit(inverse, 0).exception(), ZeroDivisionError)
        with pytest.raises(ZeroDivisionError):
            list(pool.map(inverse, [1, 0, 2, 3], chunksize=4))
        assert list(pool.map(inverse, [1, 2], chunksize=2)) == [1, 0.5]
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                list(pool.map(inverse, [0], chunksize=1))
        calls.clear()
        with pytest.raises(CircuitOpen, match="inverse"):
            list(pool.map(inverse, [1, 2, 3]))
        assert isinstance(pool.submit(inverse, 1).exception(), CircuitOpen)
        assert list(pool.map(abs, [-1, -2])) == [1, 2]
        with pytest.raises(PayloadError):
            list(pool.map((_ for _ in ()).send, [1]))
    assert calls == []


def test_a_trial_that_is_cancelled_makes_room_for_the_next() -> None:
    """B-18"""
    with WorkerPool(mode="inline", breaker=CircuitBreaker(1, 0.01)) as pool:
        assert isinstance(pool.submit(inverse, 0).exception(), ZeroDivisionError)
        refused = pool.submit(inverse, 1).exception()
        assert isinstance(refused, CircuitOpen)
        time.sleep(refused.seconds + 0.001)
        assert pool.submit_with(inverse, [1], delay=60).cancel()
        assert pool.submit(inverse, 1).result() == 1
        assert pool.submit(inverse, 1).result() == 1


def test_a_callback_finds_the_circuit_as_its_own_call_has_left_it() -> None:
    """B-18"""
    refused: list[bool] = []
    with WorkerPool(mode="inline", breaker=CircuitBreaker(1)) as pool:

        def again(_: Any) -> None:
            refused.append(isinstance(pool.submit(inverse, 1).exception(), CircuitOpen))

        late = pool.submit_with(inverse, [0], delay=0.05)
        late.add_done_callback(again)
        assert isinstance(late.exception(), ZeroDivisionError)
    assert refused == [True]


def test_what_is_no_breaker_is_refused() -> None:
    with pytest.raises(TypeError, match="breaker must be a CircuitBreaker or None, not True"):
        WorkerPool(mode="inline", breaker=True)  # type: ignore[arg-type]
    with WorkerPool(mode="inline") as pool, pytest.raises(TypeError, match="must be a Circuit"):
        pool.submit_with(abs, [1], breaker=5)  # type: ignore[arg-type]
