"""The token bucket that keeps the calls of a map to a rate."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyworkers import WorkerPool
from pyworkers._rate import TokenBucket

pytestmark = pytest.mark.timeout(60)

rates = st.floats(0.01, 10_000)
pauses = st.floats(0, 100)


def test_a_burst_is_free_and_the_rest_come_in_step() -> None:
    """B-17"""
    bucket = TokenBucket(10, 2, now=5.0)
    assert [bucket.take(2, 5.0) for _ in range(4)] == pytest.approx([0, 0.2, 0.4, 0.6])
    assert bucket.take(1, 5.6) == pytest.approx(0.1)


def test_a_pause_earns_no_more_than_one_burst() -> None:
    """B-17"""
    bucket = TokenBucket(10, 1, now=0.0)
    assert bucket.take(1, 100.0) == 0
    assert [bucket.take(1, 200.0) for _ in range(3)] == pytest.approx([0, 0.1, 0.2])


@given(rates, st.integers(1, 100), st.lists(st.tuples(pauses, st.floats(0, 1)), min_size=1))
def test_no_more_start_than_the_rate_and_one_burst_allow(
    rate: float, burst: int, steps: list[tuple[float, float]]
) -> None:
    """B-17: between any two of them, whenever they were asked for."""
    bucket = TokenBucket(rate, burst, now=0.0)
    now = 0.0
    started: list[tuple[float, int]] = []
    for pause, part in steps:
        now += pause
        count = max(1, int(burst * part))
        started.append((now + bucket.take(count, now), count))
    for i, (first, _) in enumerate(started):
        total = 0
        for last, count in started[i:]:
            total += count
            assert total <= burst + (last - first) * rate + 1e-6 * (1 + total + now * rate)
    assert started == sorted(started, key=lambda each: each[0])


@pytest.mark.parametrize("rate", [0, -1.0, float("nan"), float("inf")])
def test_a_rate_that_is_none_is_refused(rate: float) -> None:
    """B-17"""
    with WorkerPool() as pool, pytest.raises(ValueError, match="rate must be more than 0 calls"):
        pool.map(abs, [1], rate=rate)


def test_a_map_with_a_rate_waits_for_its_calls_and_yields_them_in_order() -> None:
    """B-17"""
    with WorkerPool() as pool:
        assert list(pool.map(abs, range(-4, 0), rate=1000.0)) == [4, 3, 2, 1]
        assert list(pool.map(abs, range(-5, 0), rate=1000, chunksize=2)) == [5, 4, 3, 2, 1]
        assert list(pool.map(abs, range(-5, 0), rate=1000, buffersize=2)) == [5, 4, 3, 2, 1]
        with pytest.raises(TimeoutError):
            list(pool.map(abs, range(3), rate=0.01, timeout=0.05))
        assert pool.stats().delayed == 0
