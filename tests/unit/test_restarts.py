"""When workers that were lost are replaced, in simulated time."""

import heapq
import math
from itertools import pairwise

import pytest

from pyworkers._backoff import MAX_RESTART_SECONDS, RESTART_SECONDS, Restarts
from pyworkers._scheduler import Scheduler

pytestmark = pytest.mark.timeout(30)


def crashes(scheduler: Scheduler, seconds: float, boot: float, finishes: int = 0) -> list[float]:
    """Gives a pool tasks that end their worker, and returns when workers were started.

    Args:
        scheduler: of the pool.
        seconds: how long it goes on.
        boot: how long a worker takes until it is ready.
        finishes: how many tasks each worker finishes first.
    """
    now = 0.0
    numbers = tasks = 0
    started: list[float] = []
    ready: list[tuple[float, int]] = []
    left: dict[int, int] = {}
    while now <= seconds and scheduler.broken is None:
        while scheduler.queued < scheduler.max_workers:
            tasks += 1
            scheduler.submitted(tasks, now=now)
        decision = scheduler.decide(now)
        for worker, task in decision.assign:
            if left[worker]:
                left[worker] -= 1
                scheduler.finished(worker, task, now)
            else:
                scheduler.worker_lost(worker, "bad luck", now=now)
                scheduler.crashed("bad luck", now)
        for _ in range(decision.start):
            numbers += 1
            scheduler.worker_started(numbers, now)
            left[numbers] = finishes
            started.append(now)
            heapq.heappush(ready, (now + boot, numbers))
        if decision.assign or decision.start:
            continue
        due = scheduler.restarts.next_due(now)
        now = min(math.inf if due is None else due, ready[0][0] if ready else math.inf)
        while ready and ready[0][0] <= now:
            scheduler.worker_ready(heapq.heappop(ready)[1], now)
    return started


def test_workers_that_die_in_a_row_are_replaced_later_and_later() -> None:
    """B-18 C-09: no busy loop of workers that start and crash."""
    started = crashes(Scheduler(1), seconds=60.0, boot=0.0)
    waits = [round(after - before, 6) for before, after in pairwise(started)]
    assert waits[:8] == [0.0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0]
    assert set(waits[7:]) == {5.0}
    assert len(started) == 18


def test_a_larger_pool_of_crashing_workers_starts_no_more_than_its_size_in_five_seconds() -> None:
    """B-18: after the first few."""
    started = crashes(Scheduler(8), seconds=300.0, boot=1.0)
    late = [when for when in started if when > 30]
    for begin in range(30, 290, 10):
        assert 8 <= len([when for when in late if begin < when <= begin + 10]) <= 16
    assert len(started) <= 8 * 300 / MAX_RESTART_SECONDS


def test_workers_that_did_something_are_replaced_at_once() -> None:
    """D-09: each of them has finished a task."""
    started = crashes(Scheduler(1), seconds=100.0, boot=1.0, finishes=1)
    assert started == [float(second) for second in range(101)]


def test_other_workers_go_on_while_a_place_stays_empty() -> None:
    """D-09: and what they finish makes the next loss the first in a row."""
    scheduler = Scheduler(2)
    for worker in (1, 2):
        scheduler.worker_started(worker, 0.0)
        scheduler.worker_ready(worker, 0.0)
    for task in (1, 2, 3, 4):
        scheduler.submitted(task)
    scheduler.decide(0.0)
    for worker in (3, 4):
        scheduler.worker_lost(worker - 2 if worker == 3 else 3, "bad luck", now=0.0)
        scheduler.crashed("bad luck", 0.0)
        if worker == 3:
            assert scheduler.decide(0.0).start == 1
            scheduler.worker_started(3, 0.0)
    assert scheduler.decide(0.0).start == 0
    assert scheduler.restarts.next_due(0.0) == RESTART_SECONDS
    scheduler.finished(2, 2, 0.05)
    assert scheduler.decide(0.05) == ([(2, 3)], 0)
    scheduler.worker_lost(2, "bad luck", now=0.06)
    scheduler.crashed("bad luck", 0.06)
    assert scheduler.decide(0.06).start == 1


def test_a_pool_that_shrinks_is_broken_when_its_last_worker_is_lost() -> None:
    """B-18: as many workers are started as there may be, and no more."""
    scheduler = Scheduler(3, restarts=Restarts(replaces=False))
    assert crashes(scheduler, seconds=60.0, boot=1.0) == [0.0, 0.0, 0.0]
    assert scheduler.broken == "all workers were lost; the last: bad luck"
    assert scheduler.restarts.next_due(60.0) is None


def test_a_pool_that_shrinks_replaces_workers_that_were_ended_on_purpose() -> None:
    """B-18"""
    scheduler = Scheduler(1, restarts=Restarts(replaces=False))
    scheduler.worker_started(1, 0.0)
    scheduler.worker_ready(1, 0.0)
    scheduler.submitted(1)
    scheduler.worker_lost(1, "its task was killed")
    assert scheduler.decide(0.0).start == 1
