"""How tasks end before they are done: cancelling, killing, timeouts."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from typing import Any

import pytest

from pyworkers import BrokenWorkerPool, PayloadError, WorkerPool, _staff, task
from pyworkers._channels.memory import MemoryLink
from pyworkers._hub import hub_for
from pyworkers._protocol import Kind
from tests.unit.inline.tools import (
    GatedPool,
    Listed,
    closed_pool,
    gate,
    here,
    in_loop,
    log,
    note,
    pass_gate,
    square,
)

pytestmark = pytest.mark.timeout(30)


async def refuse() -> None:
    """A task that does not end for being cancelled."""
    while not gate.is_set():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0.001)


@in_loop
async def test_a_queued_task_can_be_cancelled() -> None:
    """A-08, B-06"""
    async with closed_pool() as pool:
        futures = [pool.submit(note, n) for n in range(3)]
        called: list[object] = []
        futures[1].add_done_callback(called.append)
        assert futures[1].cancel()
        assert futures[1].cancel()
        assert futures[1].cancelled()
        assert called == [futures[1]]
        with pytest.raises(CancelledError):
            futures[1].result()
        with pytest.raises(asyncio.CancelledError):
            await futures[1]
        gate.set()
        assert [await futures[0], await futures[2]] == [0, 2]
    assert log == [0, 2]


@in_loop
async def test_a_task_that_runs_or_is_done_cannot_be_cancelled() -> None:
    """B-06"""
    async with GatedPool() as pool:
        future = pool.submit(pass_gate, 1)
        await asyncio.sleep(0)
        assert future.running()
        assert not future.cancel()
        gate.set()
        assert await future == 1
        assert not future.cancel()


@in_loop
async def test_who_stops_waiting_for_a_queued_task_takes_it_back() -> None:
    """B-03, B-06"""
    async with closed_pool() as pool:
        future = pool.submit(note, 1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(future, 0.01)
        assert future.cancelled()
        gate.set()
    assert log == []


@in_loop
async def test_a_task_that_runs_can_be_killed() -> None:
    """A-08, B-06: its worker is replaced."""
    async with GatedPool() as pool:
        running = pool.submit(pass_gate)
        queued = pool.submit(note, 1)
        await asyncio.sleep(0)
        assert pool.kill(running)
        assert running.cancelled()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert await queued == 1
        assert not pool.kill(queued)
        assert pool.kill(running), "it is cancelled"


@in_loop
async def test_a_coroutine_that_runs_can_be_cancelled_softly() -> None:
    """X-02, B-06: its finally blocks run, and its worker stays."""

    async def tidy() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            note(task.cancelled())

    async with GatedPool() as pool:
        sibling = pool.submit(pass_gate, 1)
        future = pool.submit(tidy)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not future.cancel()
        assert future.cancel(running=True)
        assert future.cancelled()
        assert future.cancel(running=True), "it is"
        gate.set()
        assert await sibling == 1
    assert "1 workers" in repr(pool)


@in_loop
async def test_a_coroutine_that_refuses_to_end_ends_with_its_worker() -> None:
    """X-02, A-08"""

    async with WorkerPool(grace=0.01) as pool:
        future = pool.submit(refuse)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert future.cancel(running=True)
        assert await pool.submit(square, 3) == 9
        gate.set()


def test_a_checkpoint_lets_pass_what_is_wanted(pool: WorkerPool) -> None:
    """X-02"""
    task.checkpoint()
    assert not task.cancelled()
    assert pool.submit(task.cancelled).result() is False
    assert pool.submit(task.checkpoint).result() is None


@pytest.mark.parametrize("way", ["terminate_workers", "kill_workers"])
@in_loop
async def test_a_pool_can_be_ended_whatever_its_workers_run(way: str) -> None:
    """X-01: as in Python 3.14."""
    pool = GatedPool()
    futures = [pool.submit(pass_gate) for _ in range(3)]
    await asyncio.sleep(0)
    getattr(pool, way)()
    for future in futures:
        assert isinstance(future.exception(0), BrokenWorkerPool)
    with pytest.raises(RuntimeError, match="shut down"):
        pool.submit(square, 1)
    await pool.aclose()


def test_a_pool_cannot_be_sent_to_a_worker(pool: WorkerPool) -> None:
    """X-01: a task that would submit hears what to do instead."""
    error = pool.submit(lambda: pool.submit(square, 1)).exception()
    assert isinstance(error, PayloadError)
    assert "submit it where the pool is" in str(error)


def test_workers_are_replaced_after_so_many_tasks() -> None:
    """X-01"""
    with WorkerPool(max_tasks_per_child=2) as pool:
        engine = pool._engine
        peers = set()
        for n in range(6):
            assert pool.submit(square, n).result() == n * n
            peers |= set(engine.scheduler.workers)
    assert len(peers) in (3, 4)


@in_loop
async def test_a_queued_task_can_be_killed() -> None:
    """A-08"""
    async with closed_pool() as pool:
        future = pool.submit(note, 1)
        assert pool.kill(future)
        assert future.cancelled()
        gate.set()
    assert log == []


@in_loop
async def test_a_task_of_another_pool_is_not_killed() -> None:
    async with GatedPool() as pool, WorkerPool() as other:
        future = pool.submit(pass_gate, 1)
        await asyncio.sleep(0)
        assert not other.kill(future)
        gate.set()
        assert await future == 1


@in_loop
async def test_a_task_that_outlasts_its_timeout_fails_and_the_next_one_runs() -> None:
    """A-08, B-06"""
    async with GatedPool() as pool:
        slow: Any = pool.submit_with(pass_gate, timeout=0.01)
        behind = pool.submit(square, 3)
        with pytest.raises(TimeoutError, match="the task was not done within its timeout"):
            await slow
        assert await behind == 9


class Patient(MemoryLink):
    """Keeps what is sent until it is flushed, as the links to other threads do."""

    def __init__(self, on_flush: Callable[[], object] = lambda: None) -> None:
        super().__init__(on_flush)
        self._unsent: list[tuple[Any, ...]] = []

    def send(self, *frame: Any) -> None:
        self._unsent.append(frame)

    def flush(self) -> None:
        unsent, self._unsent = self._unsent, []
        for frame in unsent:
            super().send(*frame)
        super().flush()


@pytest.fixture
def patient_link(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(_staff, "MemoryLink", Patient)
    hub_for.cache_clear()
    yield
    hub_for.cache_clear()


class Mute(Listed):
    """A worker that says only what a test makes it say, and runs nothing."""

    def step(self) -> None:
        pass

    def heard(self) -> list[int]:
        return [frame.kind for frame in self.link.receive(0)]


@pytest.mark.parametrize("end", ["kill", "timeout"])
def test_a_worker_that_replaces_another_one_hears_of_it_at_once(
    end: str, patient_link: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A-08, D-09"""
    monkeypatch.setattr(_staff, "Worker", Mute)

    @in_loop
    async def main() -> None:
        pool = WorkerPool(grace=0)
        stuck = pool.submit_with(square, [1], timeout=0.01 if end == "timeout" else None)
        pool.submit(square, 2)
        worker: Mute = here["worker"]
        assert worker.heard() == [Kind.SETUP]
        worker.link.send(worker.peer, Kind.READY, 0, b"")
        worker.link.flush()
        assert worker.heard() == [Kind.FUNCTION, Kind.TASK]
        if end == "kill":
            assert pool.kill(stuck)
        else:
            with pytest.raises(TimeoutError):
                await stuck
        assert here["worker"] is not worker
        assert here["worker"].heard() == [Kind.SETUP]
        pool.shutdown(wait=False, cancel_futures=True)

    main()


@in_loop
async def test_a_task_that_waits_longer_than_its_timeout_never_runs() -> None:
    """A-08, B-06"""
    async with closed_pool() as pool:
        late = pool.submit_with(note, ["late"], timeout=0.01)
        now = pool.submit_with(note, ["now"], timeout=0)
        other = pool.submit_with(note, ["other"], timeout=1_000)
        for future in (late, now):
            with pytest.raises(TimeoutError, match="the task was not done within its timeout"):
                await future
        gate.set()
        assert await other == "other"
    assert log == ["other"]


@in_loop
async def test_waiting_no_longer_than_a_timeout_leaves_the_task_alone() -> None:
    """A-08"""
    async with GatedPool() as pool:
        future = pool.submit(pass_gate, 1)
        await asyncio.sleep(0)
        for look in (future.result, future.exception):
            with pytest.raises(TimeoutError):
                look(0)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(future)), 0.01)
        gate.set()
        assert await future == 1
