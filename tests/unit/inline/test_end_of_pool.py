"""The end of a pool, and the state that it shows."""

import asyncio
import gc
import weakref
from concurrent.futures import CancelledError

import pytest

from pyworkers import ModeError, WorkerPool
from tests.unit.inline.tools import (
    GatedPool,
    closed_pool,
    gate,
    in_loop,
    log,
    note,
    pass_gate,
    square,
    verbs,
)

pytestmark = pytest.mark.timeout(30)


def test_a_pool_that_is_shut_down_takes_no_more_tasks() -> None:
    """B-04, X-01"""
    pool = WorkerPool()
    assert pool.submit(square, 3).result() == 9
    pool.shutdown()
    pool.shutdown(wait=False, cancel_futures=True)
    for refusing in verbs(pool):
        with pytest.raises(RuntimeError, match="cannot submit to a pool that is shut down"):
            refusing(square, [3])


@in_loop
async def test_a_pool_ends_when_its_last_task_is_done() -> None:
    """B-04, B-06"""
    async with closed_pool() as pool:
        futures = [pool.submit(note, n) for n in range(3)]
        pool.shutdown(wait=False)
        with pytest.raises(ModeError):
            pool.shutdown()
        gate.set()
    assert [await future for future in futures] == [0, 1, 2]


@in_loop
async def test_shutting_down_may_cancel_what_does_not_run() -> None:
    """B-04, B-06"""
    async with closed_pool() as pool:
        futures = [pool.submit(note, n) for n in range(3)]
        results = pool.map(note, range(3))
        await pool.aclose(cancel_futures=True)
        assert all(future.cancelled() for future in futures)
        with pytest.raises(CancelledError):
            await anext(results)
        gate.set()
    assert log == []


def test_a_pool_that_was_forgotten_ends_after_its_tasks() -> None:
    """B-06"""
    pool = WorkerPool()
    future = pool.submit(square, 3)
    engine = weakref.ref(pool._engine)
    del pool
    gc.collect()
    assert future.result() == 9
    del future
    gc.collect()
    assert engine() is None


def test_a_worker_cannot_have_a_pool_of_its_own(pool: WorkerPool) -> None:
    """B-06"""
    with pytest.raises(ModeError, match="a worker, which cannot have a pool of its own"):
        pool.submit(WorkerPool).result()
    WorkerPool().shutdown()


@in_loop
async def test_a_coroutine_in_a_worker_cannot_have_a_pool_of_its_own() -> None:
    """B-06"""

    async def nest() -> None:
        await asyncio.sleep(0)
        WorkerPool()

    async with GatedPool() as pool:
        with pytest.raises(ModeError, match="a worker, which cannot have a pool of its own"):
            await pool.submit(nest)
        running = pool.submit(pass_gate)
        await asyncio.sleep(0)
        WorkerPool().shutdown()
        gate.set()
        await running


@in_loop
async def test_a_pool_shows_its_state() -> None:
    """B-04"""
    async with closed_pool() as pool:
        assert repr(pool) == "<WorkerPool inline: 0 of 1 workers, 0 tasks queued>"
        futures = [pool.submit(square, n) for n in range(2)]
        assert repr(pool) == "<WorkerPool inline: 1 initializing of 1 workers, 2 tasks queued>"
        gate.set()
        assert [await future for future in futures] == [0, 1]
        assert repr(pool) == "<WorkerPool inline: 1 idle of 1 workers, 0 tasks queued>"
        gate.clear()
        waiting = pool.submit(pass_gate)
        await asyncio.sleep(0)
        assert repr(pool) == "<WorkerPool inline: 1 busy of 1 workers, 0 tasks queued>"
        gate.set()
        await waiting
    assert repr(pool) == "<WorkerPool inline: shut down, 0 of 1 workers, 0 tasks queued>"
