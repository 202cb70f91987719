"""Tasks that are run again after an error: when, how often, and what comes of them.

Here in simulated time, and in mode inline; ``tests/browser/test_resilience.py`` has real workers.
"""

import asyncio
import os
from random import Random
from typing import Any

import pytest

from pyworkers import BrokenWorkerPool, ModeError, PayloadError, WorkerPool
from pyworkers._backoff import (
    MAX_RETRY_SECONDS,
    as_error_types,
    doubled,
    is_retried,
    retry_wait,
)
from pyworkers._scheduler import Scheduler

pytestmark = pytest.mark.timeout(30)

SEED = int(os.environ.get("PYWORKERS_SEED", "20"))


def with_workers(count: int, **options: Any) -> Scheduler:
    """A scheduler whose workers are ready."""
    scheduler = Scheduler(count, **options)
    for worker in range(1, count + 1):
        scheduler.worker_started(worker, 0.0)
        scheduler.worker_ready(worker, 0.0)
    return scheduler


def test_each_wait_is_twice_the_one_before_up_to_a_minute() -> None:
    """C-03"""
    waits = [retry_wait(1.0, tried, 1.0) for tried in range(8)]
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
    assert retry_wait(0.001, 10_000, 1.0) == MAX_RETRY_SECONDS
    assert doubled(0.1, 2, 5.0) == 0.4


def test_chance_shortens_a_wait_to_half_at_the_most() -> None:
    """C-03: tasks that failed together do not come back together."""
    random = Random(SEED)
    waits = {retry_wait(8.0, 0, random.random()) for _ in range(1000)}
    print(f"seed {SEED}")
    assert len(waits) > 900
    assert 4.0 <= min(waits) < 4.5
    assert 7.5 < max(waits) <= 8.0


def test_what_could_not_travel_is_retried_only_by_its_own_name() -> None:
    """C-03: nobody knows what it would have been."""
    assert is_retried(KeyError(1), (LookupError,))
    assert not is_retried(KeyError(1), (ValueError, OSError))
    assert not is_retried(PayloadError("no"), (Exception,))
    assert is_retried(PayloadError("no"), (ValueError, PayloadError))
    assert not is_retried(KeyError(1), ())


def test_one_type_or_several_are_taken_and_nothing_else() -> None:
    assert as_error_types(OSError) == (OSError,)
    assert as_error_types([OSError, KeyError]) == (OSError, KeyError)
    for wrong in ([OSError("no type")], "OSError", [int]):
        with pytest.raises(TypeError, match="retry_on takes types of exceptions, not"):
            as_error_types(wrong)  # type: ignore[arg-type]


def test_a_task_that_failed_waits_and_is_given_out_again_until_it_may_no_more() -> None:
    """C-03 D-09: the same task, each time after a longer wait."""
    scheduler = with_workers(1)
    scheduler.submitted(1, retries=2, backoff=1.0)
    assert scheduler.decide(0.0).assign == [(1, 1)]
    assert scheduler.failed(1, 1, now=10.0) == 11.0
    assert (scheduler.delayed, scheduler.queued, scheduler.outstanding) == (1, 0, 1)
    assert scheduler.next_release() == 11.0
    scheduler.release(10.9)
    assert scheduler.decide(10.9).assign == []
    scheduler.release(11.0)
    assert scheduler.decide(11.0).assign == [(1, 1)]
    assert scheduler.may_retry(1)
    assert scheduler.failed(1, 1, now=20.0) == 22.0
    scheduler.release(22.0)
    assert scheduler.decide(22.0).assign == [(1, 1)]
    assert not scheduler.may_retry(1)
    scheduler.finished(1, 1, 23.0)
    assert (scheduler.outstanding, scheduler.retried) == (0, 2)


def test_a_wait_holds_for_a_task_whose_worker_is_lost_too() -> None:
    """D-09: what it had not started goes on at once."""
    scheduler = with_workers(1, can_take_back=True, chance=lambda: 0.0)
    scheduler.submitted(1, expected=0.0, retries=1, backoff=4.0)
    scheduler.submitted(2, expected=0.0, retries=1, backoff=4.0)
    assert scheduler.decide(0.0).assign == [(1, 1), (1, 2)]
    assert scheduler.worker_lost(1, "bad luck", started=1, now=5.0) == ([], [1, 2])
    assert (scheduler.delayed, scheduler.queued) == (1, 1)
    assert scheduler.next_release() == 7.0
    assert scheduler.retried == 1


def test_a_task_that_waits_to_be_run_again_can_be_cancelled_or_be_late() -> None:
    """C-03"""
    scheduler = with_workers(1)
    scheduler.submitted(1, retries=9, backoff=1.0)
    scheduler.submitted(2, deadline=3.0, retries=9, backoff=50.0)
    assert scheduler.decide(0.0).assign == [(1, 1)]
    scheduler.failed(1, 1, 0.5)
    assert scheduler.decide(0.5).assign == [(1, 2)]
    scheduler.failed(1, 2, 0.6)
    assert scheduler.cancelled(1)
    assert scheduler.expired(3.0) == [2]
    assert scheduler.cancelled(2)
    assert (scheduler.delayed, scheduler.outstanding, scheduler.next_release()) == (0, 0, None)


attempts: list[object] = []
"""What tasks note that run in this very interpreter."""


def fail_until(last: int, error: type[Exception]) -> int:
    attempts.append(last)
    if len(attempts) < last:
        raise error(len(attempts))
    return len(attempts)


def unreadable() -> None:
    attempts.append("unreadable")

    class Local(Exception):
        def __reduce__(self) -> Any:
            raise TypeError("no")

    raise Local


@pytest.fixture(autouse=True)
def _no_attempts() -> None:
    attempts.clear()


def test_a_task_is_run_again_after_the_errors_that_were_named() -> None:
    """C-03 D-09: its future is done by the first run that does not raise."""
    with WorkerPool(mode="inline") as pool:
        future = pool.submit_with(
            fail_until, [3, KeyError], retries=5, retry_on=LookupError, backoff=0.001
        )
        assert future.result() == 3
        stats = pool.stats()
    assert len(attempts) == 3
    assert (stats.done, stats.failed, stats.retried, stats.submitted) == (1, 0, 2, 1)


def test_the_last_error_is_the_futures_when_the_retries_are_used_up() -> None:
    """C-03"""
    with WorkerPool(mode="inline") as pool:
        future = pool.submit_with(fail_until, [9, KeyError], retries=2, retry_on=[KeyError])
        error = future.exception()
        stats = pool.stats()
    assert isinstance(error, KeyError)
    assert error.args == (3,)
    assert len(attempts) == 3
    assert (stats.done, stats.failed, stats.retried) == (0, 1, 2)


def test_other_errors_are_not_retried() -> None:
    """C-03: nor any without retry_on, nor what could not be pickled."""
    with WorkerPool(mode="inline") as pool:
        for options in ({"retry_on": (OSError, ValueError)}, {}):
            attempts.clear()
            future = pool.submit_with(fail_until, [9, KeyError], retries=2, **options)  # type: ignore[arg-type]
            assert isinstance(future.exception(), KeyError)
            assert len(attempts) == 1
        attempts.clear()
        first = pool.submit_with(unreadable, retries=2, retry_on=Exception)
        assert isinstance(first.exception(), PayloadError)
        assert len(attempts) == 1
        named = pool.submit_with(unreadable, retries=2, retry_on=PayloadError)
        assert isinstance(named.exception(), PayloadError)
        assert len(attempts) == 4


async def fail_later(last: int) -> int:
    return fail_until(last, OSError)


def test_coroutines_are_run_again_too() -> None:
    with WorkerPool(mode="inline") as pool:
        assert pool.submit_with(fail_later, [4], retries=3, retry_on=OSError).result() == 4


def test_a_pool_that_ends_does_what_it_retries_unless_futures_are_cancelled() -> None:
    """X-01: shutdown waits for a task that waits to be run again."""
    with WorkerPool(mode="inline") as pool:
        future = pool.submit_with(
            fail_until, [2, OSError], retries=1, retry_on=OSError, backoff=0.001
        )
        pool.shutdown()
        assert future.result() == 2
    attempts.clear()
    other = WorkerPool(mode="inline")
    later = other.submit_with(fail_until, [2, OSError], retries=1, retry_on=OSError, backoff=50.0)
    other.shutdown(cancel_futures=True)
    assert later.cancelled()
    assert len(attempts) == 1


async def later(value: int) -> int:
    await asyncio.sleep(0)
    return value


def test_what_was_cancelled_while_it_waited_keeps_nobody_waiting() -> None:
    """B-06: where this thread itself would have to go on, it is told so at once."""

    async def block(pool: WorkerPool) -> None:
        with pytest.raises(ModeError, match="use `await future`"):
            pool.submit(later, 5).result()

    with WorkerPool(mode="inline") as pool:
        future = pool.submit_with(
            fail_until, [9, OSError], retries=1, retry_on=OSError, backoff=50.0
        )
        assert future.cancel()
        asyncio.run(block(pool))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"retries": 1, "backoff": -1.0}, ValueError, "backoff must be 0 seconds or more, not -1"),
        ({"retries": 1, "backoff": float("nan")}, ValueError, "backoff must be 0 seconds or more"),
        ({"backoff": 1.0}, ValueError, "need retries of at least 1"),
        ({"retry_on": OSError}, ValueError, "need retries of at least 1"),
        ({"retries": 1, "retry_on": [3]}, TypeError, "types of exceptions, not 3"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with WorkerPool(mode="inline") as pool, pytest.raises(error, match=message):
        pool.submit_with(abs, [-1], **options)


def test_a_broken_pool_retries_nothing() -> None:
    with WorkerPool(mode="inline") as pool:
        future = pool.submit_with(
            fail_until, [9, OSError], retries=1, retry_on=OSError, backoff=50.0
        )
        pool.kill_workers()
    assert future.cancelled() or isinstance(future.exception(), BrokenWorkerPool)
