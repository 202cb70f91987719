"""``map`` and ``as_completed``, and waiting as the standard library does."""

import concurrent.futures
import gc
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pyworkers import ModeError, PayloadError, WorkerPool
from tests.unit.inline.tools import (
    GatedPool,
    cling,
    closed_pool,
    fail_choosily,
    gate,
    in_loop,
    inverse,
    later,
    log,
    note,
    pass_gate,
    square,
)

pytestmark = pytest.mark.timeout(30)


def test_map_with_a_buffer_reads_its_iterables_as_results_are_taken(pool: WorkerPool) -> None:
    """X-01: as in Python 3.14."""
    read: list[int] = []

    def numbers() -> Iterator[int]:
        for n in range(20):
            read.append(n)
            yield n

    results = pool.map(square, numbers(), buffersize=3)
    assert len(read) <= 3
    assert [next(results) for _ in range(5)] == [0, 1, 4, 9, 16]
    assert len(read) <= 8
    with pytest.raises(TypeError, match="not known how many"):
        len(results)
    assert list(results) == [n * n for n in range(5, 20)]


def test_what_the_iterables_of_map_raise_is_for_who_iterates(pool: WorkerPool) -> None:
    """X-01"""

    def numbers() -> Iterator[int]:
        yield from range(3)
        raise LookupError("no more")

    results = pool.map(square, numbers(), buffersize=2, chunksize=1)
    with pytest.raises(LookupError, match="no more"):
        list(results)
    assert list(results) == []
    with pytest.raises(LookupError):
        pool.map(square, numbers())


@pytest.mark.parametrize(("size", "error"), [(0, ValueError), (-1, ValueError), (2.0, TypeError)])
def test_map_refuses_a_buffersize_that_is_none(
    pool: WorkerPool, size: Any, error: type[Exception]
) -> None:
    with pytest.raises(error, match="buffersize must be"):
        pool.map(square, [1], buffersize=size)


@in_loop
async def test_the_waiting_of_the_standard_library_is_refused_where_it_would_hang() -> None:
    """X-01, E-03"""
    async with GatedPool() as pool:
        future = pool.submit(pass_gate, 1)
        other: concurrent.futures.Future[int] = concurrent.futures.Future()
        with pytest.raises(ModeError, match="await future"):
            concurrent.futures.wait([future, other])
        assert not concurrent.futures.wait([future], timeout=0).done
        gate.set()
        assert await future == 1
        threading.Timer(0.01, other.set_result, [2]).start()
        assert concurrent.futures.wait([future, other], 10).done == {future, other}


@pytest.mark.parametrize("chunksize", [None, 1, 3, 10, 1_000])
def test_map_yields_results_in_order(pool: WorkerPool, chunksize: int | None) -> None:
    """B-06, X-01"""
    results = pool.map(square, range(10), chunksize=chunksize)
    assert len(results) == 10
    assert list(results) == [n * n for n in range(10)]
    assert list(results) == []


def test_map_ends_with_the_shortest_of_its_iterables(pool: WorkerPool) -> None:
    """B-06"""
    assert list(pool.map(pow, [2, 3, 4], (n for n in (5, 2)))) == [32, 9]
    assert list(pool.map(square, [])) == []
    assert list(pool.map(square)) == []


@pytest.mark.parametrize("chunksize", [None, 1])
def test_map_takes_thousands_of_calls(pool: WorkerPool, chunksize: int | None) -> None:
    """B-06"""
    results = pool.map(square, range(5_000), chunksize=chunksize)
    assert list(results) == [n * n for n in range(5_000)]


@pytest.mark.parametrize("chunksize", [None, 1, 2, 5, 100])
def test_map_yields_what_came_before_an_error(pool: WorkerPool, chunksize: int | None) -> None:
    """B-06, X-01"""
    results = pool.map(inverse, [1, 2, 4, 0, 8], chunksize=chunksize)
    assert [next(results) for _ in range(3)] == [1, 0.5, 0.25]
    with pytest.raises(ZeroDivisionError) as raised:
        next(results)
    assert "in inverse" in str(raised.value.__cause__)
    assert list(results) == []


@pytest.mark.parametrize("chunksize", [1, 4])
@pytest.mark.parametrize(("fail", "name"), [(cling, "Clinging"), (fail_choosily, "Choosy")])
def test_map_names_an_error_that_cannot_travel(
    pool: WorkerPool, fail: Callable[[object], None], name: str, chunksize: int
) -> None:
    """B-06"""
    results = pool.map(lambda n: n if n < 2 else fail(n), range(4), chunksize=chunksize)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(PayloadError) as raised:
        next(results)
    assert name in f"{raised.value} {raised.value.__cause__}"


def test_a_map_that_is_closed_yields_nothing_more(pool: WorkerPool) -> None:
    results = pool.map(square, range(10), chunksize=1)
    assert [next(results), next(results)] == [0, 1]
    results.close()
    assert list(results) == []


@in_loop
async def test_closing_a_map_takes_its_calls_back() -> None:
    """B-06"""
    async with closed_pool() as pool:
        results = pool.map(note, range(10))
        assert "0 tasks queued" not in repr(pool)
        results.close()
        assert "0 tasks queued" in repr(pool)
        results = pool.map(note, range(10))
        del results
        gc.collect()
        assert "0 tasks queued" in repr(pool)
        gate.set()
    assert log == []


@in_loop
async def test_a_map_that_is_late_raises_timeout_error() -> None:
    """A-08, B-06"""
    async with closed_pool() as pool:
        results = pool.map(note, range(3), timeout=0.01)
        with pytest.raises(TimeoutError):
            await anext(results)
        with pytest.raises(StopAsyncIteration):
            await anext(results)
        with pytest.raises(TimeoutError):
            next(pool.map(note, range(3), timeout=0))
        gate.set()
    assert log == []


@in_loop
async def test_map_and_as_completed_are_iterated_without_blocking() -> None:
    """B-06, E-03"""
    async with WorkerPool() as pool:
        assert [n async for n in pool.map(square, range(5))] == [0, 1, 4, 9, 16]
        futures = [pool.submit(later, n) for n in range(5)]
        assert [await future async for future in pool.as_completed(futures)] == [0, 1, 2, 3, 4]


def test_map_refuses_a_chunksize_below_one(pool: WorkerPool) -> None:
    with pytest.raises(ValueError, match="chunksize must be at least 1, not 0"):
        pool.map(square, [1], chunksize=0)


def test_as_completed_yields_each_future_once(pool: WorkerPool) -> None:
    """B-06, X-01"""
    futures = [pool.submit(square, n) for n in range(4)]
    done = pool.as_completed([*futures, *futures])
    assert list(done) == futures
    assert list(pool.as_completed([])) == []


@in_loop
async def test_as_completed_that_is_late_raises_timeout_error() -> None:
    """A-08, B-06"""
    async with GatedPool() as pool:
        future = pool.submit(pass_gate, 1)
        done = pool.submit(square, 2)
        completed = pool.as_completed([future, done], timeout=0.01)
        assert await anext(completed) is done
        with pytest.raises(TimeoutError):
            await anext(completed)
        gate.set()
        assert sorted([await f async for f in pool.as_completed([future, done])]) == [1, 4]
