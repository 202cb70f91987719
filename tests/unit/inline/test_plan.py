"""When and where a pool's tasks run, and what it tells of it, in mode inline."""

import asyncio
import json
import logging
import queue
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pyworkers import (
    BrokenWorkerPool,
    Durations,
    Event,
    Policy,
    QueuedTask,
    QueueFull,
    Scaling,
    WorkerPool,
    task,
)
from pyworkers._functions import CACHED_CALLS
from pyworkers._hub import hub_for
from pyworkers._statistics import Histogram
from tests.unit.inline.tools import closed_pool, gate, in_loop, inverse, log, note, square

pytestmark = pytest.mark.timeout(30)


# When and where


@in_loop
async def test_tasks_run_by_the_names_of_their_priorities() -> None:
    """C-05"""
    async with closed_pool() as pool:
        for name in ("normal", "low", "critical", "high"):
            pool.submit_with(note, [name], priority=name)
        gate.set()
    assert log == ["critical", "high", "normal", "low"]


@in_loop
async def test_a_policy_orders_tasks() -> None:
    """C-06"""

    class Newest(Policy):
        def rank(self, task: QueuedTask) -> int:
            return -task.number

    for policy, order in ((Newest(), [2, 1, 0]), ("fifo", [0, 1, 2]), ("deadline", [2, 0, 1])):
        gate.clear()
        log.clear()
        async with closed_pool(policy=policy) as pool:
            for n, timeout in enumerate([60, None, 30]):
                pool.submit_with(note, [n], priority=n, timeout=timeout)
            gate.set()
        assert log == order


def test_what_a_policy_raises_comes_out_of_submit() -> None:
    """C-06: and harms nothing else."""

    class Picky(Policy):
        def rank(self, task: QueuedTask) -> float:
            return 1 / task.priority

    with WorkerPool(policy=Picky()) as pool:
        with pytest.raises(ZeroDivisionError):
            pool.submit_with(square, [2], priority=0)
        assert pool.submit(square, 3).result() == 9
        assert pool.stats().submitted == 1


def test_a_policy_that_cannot_choose_breaks_the_pool() -> None:
    """C-06: and its futures tell what was raised."""

    class Lost(Policy):
        def choose(self, workers: Sequence[Any]) -> int:
            raise LookupError("no worker is good enough")

    pool = WorkerPool(policy=Lost())
    with pytest.raises(BrokenWorkerPool, match="no worker is good enough") as broken:
        pool.submit(square, 1).result()
    assert isinstance(broken.value.__cause__, LookupError)
    with pytest.raises(BrokenWorkerPool):
        pool.submit(square, 2)
    pool.shutdown()


def test_a_delayed_task_runs_at_its_time(pool: WorkerPool) -> None:
    """C-07: blocking for it waits, though this thread is its own worker."""
    began = time.monotonic()
    late = pool.submit_with(note, ["late"], delay=0.3)
    assert pool.submit(note, "now").result() == "now"
    assert pool.stats().delayed == 1
    assert late.result() == "late"
    assert time.monotonic() - began >= 0.3
    assert log == ["now", "late"]


@in_loop
async def test_delayed_tasks_can_be_awaited_and_cancelled() -> None:
    """C-07"""
    log.clear()
    async with WorkerPool() as pool:
        futures = [pool.submit_with(note, [n], delay=n / 10) for n in (4, 1, 2)]
        assert futures[2].cancel()
        assert await futures[0] == 4
    assert log == [1, 4]


@in_loop
async def test_a_pool_ends_after_its_delayed_tasks() -> None:
    """C-07"""
    log.clear()
    async with WorkerPool() as pool:
        pool.submit_with(note, ["late"], delay=0.02)
    assert log == ["late"]
    pool = WorkerPool()
    never = pool.submit_with(note, ["never"], delay=60)
    await pool.aclose(cancel_futures=True)
    assert never.cancelled()


@pytest.mark.parametrize("delay", [-1, float("inf"), float("nan")])
def test_a_delay_out_of_its_range_is_refused(pool: WorkerPool, delay: float) -> None:
    """C-07"""
    with pytest.raises(ValueError, match="delay must be 0 seconds or more"):
        pool.submit_with(square, [1], delay=delay)


def test_a_capability_that_no_worker_has_is_refused() -> None:
    """C-02"""
    with WorkerPool(2, capabilities={"gpu": 1}) as pool:
        assert pool.submit_with(square, [3], requires=["gpu"]).result() == 9
        assert pool.workers()[0].capabilities == {"gpu"}
        with pytest.raises(ValueError, match="no worker of this pool has the capability 'net'"):
            pool.submit_with(square, [3], requires=["gpu", "net"])
    with pytest.raises(ValueError, match="'gpu' needs 1 to 2 workers, not 3"):
        WorkerPool(2, capabilities={"gpu": 3})


def test_an_equal_call_of_a_pure_function_is_answered_by_the_first(pool: WorkerPool) -> None:
    """C-15"""
    first = pool.submit_with(note, [[1, 2]], pure=True)
    assert pool.submit_with(note, [[1, 2]], pure=True) is first
    assert pool.submit_with(note, [[1, 3]], pure=True).result() == [1, 3]
    assert pool.submit_with(note, [[1, 2]]) is not first
    data = bytes(100_000)
    kept = pool.submit_with(len, [data], pure=True)
    assert pool.submit_with(len, [data], pure=True) is kept
    assert pool.submit_with(len, [data[:-1]], pure=True).result() == 99_999
    assert pool.stats().cached == 2
    assert log == [[1, 2], [1, 3], [1, 2]]


def test_a_call_whose_result_is_kept_is_another_one(pool: WorkerPool) -> None:
    """C-15 X-04: a Ref answers nobody who wants the value."""
    kept = pool.submit_with(square, [3], pure=True, keep=True)
    assert pool.submit_with(square, [3], pure=True).result() == 9
    assert pool.submit_with(square, [3], pure=True, keep=True) is kept
    assert kept.result().get() == 9


def test_a_call_that_was_refused_answers_no_other() -> None:
    """C-15"""

    class Late(Policy):
        refuses = True

        def rank(self, task: QueuedTask) -> int:
            if self.refuses:
                raise LookupError("not now")
            return 0

    policy = Late()
    with WorkerPool(policy=policy) as pool:
        with pytest.raises(LookupError):
            pool.submit_with(square, [3], pure=True)
        policy.refuses = False
        assert pool.submit_with(square, [3], pure=True).result(10) == 9


def test_failed_and_old_calls_are_made_again(pool: WorkerPool) -> None:
    """C-15"""
    failed = pool.submit_with(inverse, [0], pure=True)
    assert pool.submit_with(inverse, [0], pure=True) is not failed
    first = pool.submit_with(square, [-1], pure=True)
    for n in range(CACHED_CALLS - 1):
        pool.submit_with(square, [n], pure=True)
    assert pool.submit_with(square, [-1], pure=True) is first, "now the newest"
    for n in range(CACHED_CALLS):
        pool.submit_with(square, [1000 + n], pure=True)
    assert pool.submit_with(square, [-1], pure=True) is not first
    assert pool.stats().cached == 1


def test_calls_with_shared_objects_are_not_remembered(pool: WorkerPool) -> None:
    """C-15: they may change."""
    ref = pool.put([1, 2])
    first = pool.submit_with(len, [ref], pure=True)
    assert pool.submit_with(len, [ref], pure=True) is not first


# Limits


@in_loop
async def test_a_full_queue_takes_nothing_until_there_is_room() -> None:
    """C-03"""
    async with closed_pool(max_pending=2) as pool:
        first = pool.submit(note, 1)
        pool.submit_with(note, [2], delay=0.001)
        with pytest.raises(QueueFull, match="2 tasks wait for a worker") as full:
            pool.submit(note, 3)
        assert isinstance(full.value, queue.Full)
        with pytest.raises(QueueFull):
            pool.submit_with(note, [3])
        rooms = [asyncio.ensure_future(pool.room()) for _ in range(2)]
        await asyncio.sleep(0)
        assert not rooms[0].done()
        assert first.cancel()
        await rooms[0]
        pool.submit(note, 4)
        gate.set()
        await rooms[1]
    assert sorted(log) == [2, 4]


def test_submit_can_block_until_there_is_room() -> None:
    """C-03"""
    log.clear()
    with WorkerPool(max_pending=1) as pool:
        pool.submit_with(note, [1], delay=0.02)
        pool.submit_with(note, [2], block=True)
    assert log == [1, 2]


@in_loop
async def test_idle_and_old_workers_end() -> None:
    """C-03, C-04"""
    async with WorkerPool(idle_timeout=0.01) as pool:
        assert await pool.submit(square, 3) == 9
        while pool.workers():
            await asyncio.sleep(0.005)
        assert await pool.submit(square, 4) == 16
        assert (pool.stats().workers_started, pool.stats().workers_ended) == (2, 1)
    async with WorkerPool(worker_lifetime=0.01, min_workers=1) as pool:
        while pool.stats().workers_ended < 3:
            assert await pool.submit(square, 3) == 9
            await asyncio.sleep(0.002)
        assert pool.stats().workers_lost == 0


@in_loop
async def test_a_pool_with_thresholds_runs_its_tasks_and_ends_its_worker() -> None:
    """C-04"""
    scaling = Scaling(start_waiting=100.0, interval=0.01, window=0.02)
    async with WorkerPool(scaling=scaling, idle_timeout=0.01) as pool:
        assert [await pool.submit(square, n) for n in range(4)] == [0, 1, 4, 9]
        while pool.workers():
            await asyncio.sleep(0.005)
        assert await pool.submit(square, 4) == 16
        assert (pool.stats().workers_started, pool.stats().workers_ended) == (2, 1)


def test_what_is_no_scaling_is_refused() -> None:
    """C-04"""
    wrong: Any = {"interval": 1.0}
    with pytest.raises(TypeError, match="scaling must be a Scaling or None, not "):
        WorkerPool(scaling=wrong)


@in_loop
async def test_the_least_number_of_workers_starts_at_once() -> None:
    """C-04"""
    async with WorkerPool(min_workers=1) as pool:
        assert [worker.state for worker in pool.workers()] == ["initializing"]
    assert pool.workers() == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_workers": 3}, "min_workers must be 0 to 2, not 3"),
        ({"max_pending": 0}, "max_pending must be at least 1, not 0"),
        ({"idle_timeout": 0}, "idle_timeout must be more than 0 seconds, not 0"),
        ({"worker_lifetime": -1}, "worker_lifetime must be more than 0 seconds, not -1"),
        ({"policy": "lifo"}, "policy must be a Policy or one of priority, "),
    ],
)
def test_options_out_of_their_range_are_refused(options: dict[str, Any], message: str) -> None:
    """C-03, C-04"""
    with pytest.raises(ValueError, match=message):
        WorkerPool(2, **options)


# What is told


def work(n: int) -> int:
    task.progress(1, 2, "half")
    return n


@in_loop
async def test_statistics_count_what_became_of_each_task() -> None:
    """C-10"""
    async with closed_pool() as pool:
        late = pool.submit_with(square, [1], timeout=0.001)
        pool.submit(square, 2).cancel()
        futures: list[Any] = [pool.submit(square, 3), pool.submit(inverse, 0)]
        pool.submit_with(square, [4], delay=0.001)
        stats = pool.stats()
        assert (stats.submitted, stats.queued, stats.delayed, stats.running) == (5, 3, 1, 0)
        await asyncio.gather(late, return_exceptions=True)
        gate.set()
        await asyncio.gather(*futures, return_exceptions=True)
    stats = pool.stats()
    assert (stats.done, stats.failed, stats.cancelled, stats.timed_out) == (2, 1, 1, 1)
    assert (stats.lost, stats.workers_lost, stats.workers_started) == (0, 0, 1)
    assert 0 < stats.executing.median <= stats.executing.p90 <= stats.executing.p99
    assert stats.waiting.p99 > stats.executing.p99
    assert 0 <= stats.utilisation <= 1


@in_loop
async def test_the_newest_tasks_are_remembered_with_their_ends() -> None:
    """C-05: those that came to their own end, and the others, in the order of their ends."""
    async with closed_pool() as pool:
        gone = pool.submit_with(square, [1], metadata="gone")
        pool.submit_with(square, [2], delay=0.01, priority="high", timeout=60)
        assert [(t.state, t.priority, t.timeout) for t in pool.tasks()] == [
            ("queued", 5, None),
            ("delayed", 8, 60),
        ]
        gone.cancel()
        gate.set()
        for n in range(1200):
            pool.submit(square, n)
        failing = pool.submit(inverse, 0)
        await asyncio.gather(failing, return_exceptions=True)
        pool.submit_with(square, [4], metadata=[1], delay=60).cancel()
    assert pool.tasks() == []
    told = pool.tasks(ended=True)
    assert len(told) == 100
    ends = [task.completed for task in told if task.completed is not None]
    assert ends == sorted(ends)
    assert len(ends) == 100
    (failed,) = (task for task in told if task.state == "failed")
    assert (failed.function, failed.number) == ("inverse", failing.task)
    assert (told[-1].state, told[-1].metadata, told[-1].worker) == ("cancelled", [1], None)
    assert told[-1].scheduled - told[-1].created == pytest.approx(60)
    assert told[-1].started is None


@in_loop
async def test_the_tasks_of_a_broken_pool_have_failed() -> None:
    """C-05"""

    def refuse() -> None:
        raise LookupError

    pool = WorkerPool(initializer=refuse)
    await asyncio.gather(pool.submit(square, 1), return_exceptions=True)
    assert [task.state for task in pool.tasks(ended=True)] == ["failed"]


def test_who_runs_a_task_again_tells_why() -> None:
    """C-08, C-10: each time, with the attempt and how long it waits."""
    events: list[Event] = []
    with WorkerPool() as pool:
        pool.on("task_retried", events.append)
        future = pool.submit_with(inverse, [0], retries=2, retry_on=ArithmeticError, backoff=0.001)
        assert isinstance(future.exception(), ZeroDivisionError)
        assert isinstance(pool.submit(inverse, 0).exception(), ZeroDivisionError)
        assert (pool.stats().retried, pool.stats().failed) == (2, 2)
    assert [(e.task, e.function, e.attempt) for e in events] == [
        (future.task, "inverse", 1),
        (future.task, "inverse", 2),
    ]
    first, second = events
    assert first.reason == "ZeroDivisionError: division by zero"
    assert first.delay is not None
    assert 0.0005 <= first.delay <= 0.001 <= (second.delay or 0) <= 0.002
    assert first.seconds is not None


def test_bytes_that_travel_are_counted() -> None:
    """C-10"""
    with WorkerPool() as pool:
        before = pool.stats()
        assert len(pool.submit(bytes, bytes(100_000)).result()) == 100_000
        after = pool.stats()
        assert 100_000 < after.bytes_sent - before.bytes_sent < 101_000
        assert 100_000 < after.bytes_received - before.bytes_received < 101_000
        pool.submit(note, 1).result()
        assert pool.stats().bytes_received - after.bytes_received < 100


def test_events_are_told_when_all_that_came_together_is_settled() -> None:
    """C-08"""
    hub, order = hub_for("inline"), list[str]()
    hub.after(lambda: order.append("a future"))
    hub.at_last(lambda: order.append("an event"))
    hub.after(lambda: hub.after(lambda: order.append("another future")))
    hub.settle()
    assert order == ["a future", "another future", "an event"]


def test_times_are_told_by_a_histogram() -> None:
    """C-10: of all of them, each to the width of a bin."""
    histogram = Histogram()
    assert histogram.durations() == Durations(0.0, 0.0, 0.0, 0.0, 0.0, ())
    histogram.add([n / 1000 for n in range(1000, 0, -1)])
    found = histogram.durations()
    assert found.longest == 1.0
    assert found.mean == pytest.approx(0.5005)
    for told, exact in ((found.median, 0.5), (found.p90, 0.9), (found.p99, 0.99)):
        assert exact <= told <= exact * 1.13
    assert sum(count for _, count in found.histogram) == 1000
    assert [upper for upper, _ in found.histogram] == sorted({u for u, _ in found.histogram})
    clocks = Histogram()
    clocks.add([-1e-9, 0.0])
    assert clocks.durations() == Durations(0.0, 0.0, 0.0, 0.0, 0.0, ((0.0, 2),)), "they differ"


def test_events_are_told_in_order_and_after_the_future(pool: WorkerPool) -> None:
    """C-08, B-10"""
    told: list[tuple[Any, ...]] = []
    futures: list[Any] = []

    def listen(event: Event) -> None:
        told.append((event.kind, event.worker, event.function, event.outcome, event.progress))
        if event.kind == "task_done":
            assert all(future.done() for future in futures)

    for kind in ("worker_ready", "task_started", "task_progress", "task_done"):
        pool.on(kind, listen)
    futures.append(pool.submit(work, 1))
    worker = pool.workers()[0].number
    pool.submit(inverse, 0)
    assert told == [
        ("worker_ready", worker, None, None, None),
        ("task_started", worker, "work", None, None),
        ("task_progress", worker, "work", None, (1, 2, "half")),
        ("task_done", worker, "work", "done", None),
        ("task_started", worker, "inverse", None, None),
        ("task_done", worker, "inverse", "failed", None),
    ]


@in_loop
async def test_cancelled_killed_and_late_tasks_are_told_of() -> None:
    """C-08"""
    outcomes: list[Any] = []
    lost: list[Any] = []
    async with closed_pool() as pool:
        pool.on("task_done", lambda event: outcomes.append(event.outcome))
        pool.on("worker_lost", lambda event: lost.append(event.reason))
        pool.submit(square, 1).cancel()
        assert outcomes == ["cancelled"]
        await asyncio.gather(pool.submit_with(square, [1], timeout=0.001), return_exceptions=True)
        assert outcomes == ["cancelled", "timed_out"]
        gate.set()
        running = pool.submit(wait_for_ever)
        while not running.running():
            await asyncio.sleep(0)
        pool.kill(running)
        assert outcomes == ["cancelled", "timed_out", "cancelled"]
        assert lost == ["its task was killed"]


async def wait_for_ever() -> None:
    await asyncio.Event().wait()


def test_a_listener_may_use_the_pool_fail_and_end(
    pool: WorkerPool, caplog: pytest.LogCaptureFixture
) -> None:
    """C-08"""
    calls: list[Event] = []
    results: list[int] = []

    def again(event: Event) -> None:
        calls.append(event)
        if len(calls) < 5:
            results.append(pool.submit(square, len(calls)).result())

    def fail(event: Event) -> None:
        raise LookupError("no listener")

    end = pool.on("task_done", again)
    fails = pool.on("task_done", fail)
    assert pool.submit(square, 7).result() == 49
    assert results == [16, 9, 4, 1]
    assert "exception in a listener to task_done" in caplog.text
    end(), fails(), end()
    caplog.clear()
    pool.submit(square, 8)
    assert (len(calls), caplog.text) == (5, "")
    unknown: Any = "task_lost"
    with pytest.raises(ValueError, match="event must be one of task_started"):
        pool.on(unknown, again)


def test_what_happens_is_logged_with_numbers(caplog: pytest.LogCaptureFixture) -> None:
    """D-10"""
    with caplog.at_level(logging.DEBUG, "pyworkers"), WorkerPool() as pool:
        number = pool.submit(square, 3).task
        worker = pool.workers()[0].number
    records = [record for record in caplog.records if record.name == "pyworkers"]
    assert [record.levelname for record in records] == ["INFO", "DEBUG", "DEBUG", "INFO"]
    assert all(record.__dict__["worker"] == worker for record in records)
    assert [record.__dict__.get("task") for record in records] == [None, number, number, None]
    assert f"task {number} (square) in worker {worker} done" in caplog.text


def test_a_trace_can_be_read(pool: WorkerPool, tmp_path: Path) -> None:
    """B-18: as the Trace Event Format says."""
    with pool.trace(tmp_path / "trace.json"):
        pool.submit(work, 1)
    pool.submit(work, 2)
    content = json.loads((tmp_path / "trace.json").read_text())
    events = content["traceEvents"]
    worker = pool.workers()[0].number
    assert [event["ph"] for event in events] == ["M", "M", "i", "i", "X"]
    assert events[1] == {
        "ph": "M",
        "pid": 1,
        "tid": worker,
        "name": "thread_name",
        "args": {"name": f"worker {worker}"},
    }
    call = events[-1]
    assert (call["name"], call["tid"], call["args"]["outcome"]) == ("work", worker, "done")
    assert call["dur"] > 0
    assert abs(call["ts"] / 1e6 - time.time()) < 60


@in_loop
async def test_workers_say_what_they_do() -> None:
    """B-05, C-01"""
    async with closed_pool() as pool:
        assert pool.workers() == []
        future = pool.submit(wait_for_ever)
        (worker,) = pool.workers()
        assert (worker.state, worker.task, worker.tasks_done) == ("initializing", None, 0)
        assert 0 <= worker.unchanged <= worker.age < 30
        gate.set()
        while not future.running():
            await asyncio.sleep(0)
        (worker,) = pool.workers()
        assert worker.state == "busy"
        assert worker.task == future.task or worker.awaiting == 1
        pool.kill(future)
