"""What comes first, and who gets it: priorities, ageing, policies, capabilities, affinity, scaling.

In simulated time.
"""

from collections.abc import Sequence
from typing import Any

import pytest

from pyworkers._lanes import Need
from pyworkers._policies import (
    AGEING_SECONDS,
    MAX_PRIORITY,
    POLICIES,
    Candidate,
    Policy,
    QueuedTask,
    as_policy,
    as_priority,
    places,
)
from pyworkers._scheduler import Scheduler

GPU = Need(frozenset({"gpu"}), None)


def ready(scheduler: Scheduler, workers: int, now: float = 0.0) -> Scheduler:
    """Starts workers 1, 2 ..., which have waited in this order."""
    for worker in range(1, workers + 1):
        scheduler.worker_started(worker, now)
        scheduler.worker_ready(worker, now + worker / 1000)
    return scheduler


def order_of(scheduler: Scheduler) -> list[int]:
    """The tasks in the order in which one worker runs them."""
    order = []
    while assign := scheduler.decide(0.0).assign:
        ((worker, task),) = assign
        scheduler.finished(worker, task, 0.0)
        order.append(task)
    return order


def test_a_priority_has_a_name() -> None:
    """C-05"""
    named = [as_priority(name) for name in ("low", "normal", "high", "critical")]
    assert named == [2, 5, 8, 10]
    assert as_priority(0) == 0
    wrong: Any
    for wrong in ("urgent", 11, -1, 5.5):
        with pytest.raises(ValueError, match="low, normal, high, critical or 0 to 10, not"):
            as_priority(wrong)


def test_a_task_that_waits_rises_until_it_is_first() -> None:
    """C-06: a stream of the highest priority cannot starve the lowest."""
    scheduler = ready(Scheduler(1), 1)
    scheduler.submitted(1, priority=0, now=0.0)
    now, task = 0.0, 1
    while True:
        task += 1
        scheduler.submitted(task, priority=MAX_PRIORITY, now=now)
        ((_, first),) = scheduler.decide(now).assign
        scheduler.finished(1, first, now)
        if first == 1:
            break
        now += 1.0
    assert now == pytest.approx(MAX_PRIORITY * AGEING_SECONDS, abs=1.1)


def test_fifo_forgets_priorities() -> None:
    """C-06"""
    scheduler = ready(Scheduler(1, policy=as_policy("fifo")), 1)
    for task, priority in enumerate([5, 0, 10, 5]):
        scheduler.submitted(task, priority, now=float(task))
    assert order_of(scheduler) == [0, 1, 2, 3]


def test_the_earliest_deadline_is_first() -> None:
    """C-06, B-18"""
    scheduler = ready(Scheduler(1, policy=as_policy("deadline")), 1)
    deadlines = [None, 9.0, 3.0, None, 9.0]
    for task, deadline in enumerate(deadlines):
        scheduler.submitted(task, 10 if task == 3 else 5, deadline, now=0.0)
    assert order_of(scheduler) == [2, 1, 4, 3, 0]


def test_workers_take_turns_under_round_robin() -> None:
    """C-06"""
    scheduler = ready(Scheduler(3, policy=as_policy("round_robin")), 3)
    got = []
    for task in range(7):
        scheduler.submitted(task)
        ((worker, _),) = scheduler.decide(0.0).assign
        scheduler.finished(worker, task, 0.0)
        got.append(worker)
    assert got == [1, 2, 3, 1, 2, 3, 1]


def test_coroutines_go_to_the_worker_that_has_the_fewest() -> None:
    """C-06"""
    scheduler = ready(Scheduler(3, policy=as_policy("least_loaded")), 3)
    for task in range(6):
        scheduler.submitted(task)
        ((worker, _),) = scheduler.decide(0.0).assign
        scheduler.parked(worker, task, 0.0)
    assert [len(slot.parked) for slot in scheduler.workers.values()] == [2, 2, 2]
    (second, _) = sorted(scheduler.workers[2].parked)
    scheduler.finished(2, second, 0.0)
    scheduler.submitted(6)
    assert scheduler.decide(0.0).assign == [(2, 6)]


class LongestFirst(Policy):
    """A policy of a user."""

    def rank(self, task: QueuedTask) -> float:
        return -(task.expected or 0.0)


def test_a_policy_can_be_written() -> None:
    """C-06"""
    scheduler = ready(Scheduler(1, policy=LongestFirst()), 1)
    for task, expected in enumerate([0.5, None, 2.0, 1.0, 2.0]):
        scheduler.submitted(task, expected=expected)
    assert order_of(scheduler) == [2, 4, 3, 0, 1]


class Wrong(Policy):
    """Chooses a worker that it was not offered."""

    def choose(self, workers: Sequence[Candidate]) -> int:
        return workers[0].number + 1


def test_a_worker_that_was_not_offered_is_refused_and_the_task_still_waits() -> None:
    """C-06"""
    scheduler = ready(Scheduler(1, policy=Wrong()), 1)
    scheduler.submitted(1)
    with pytest.raises(ValueError, match="the policy chose worker 2, which is none of 1"):
        scheduler.decide(0.0)
    assert scheduler.cancelled(1)
    assert scheduler.outstanding == 0


def test_a_policy_that_is_unknown_is_refused() -> None:
    """C-06"""
    assert {type(as_policy(name)) for name in POLICIES} == set(POLICIES.values())
    with pytest.raises(ValueError, match="one of priority, fifo, deadline, round_robin, least"):
        as_policy("lifo")


@pytest.mark.parametrize("count", [0, 3, 1.5])
def test_a_capability_of_more_workers_than_there_are_is_refused(count: Any) -> None:
    """C-02"""
    with pytest.raises(ValueError, match=f"'gpu' needs 1 to 2 workers, not {count}"):
        places({"gpu": count}, 2)


def test_a_worker_with_a_capability_is_started_on_demand() -> None:
    """C-02: others come first as long as nobody asks for it."""
    scheduler = Scheduler(3, places=places({"gpu": 1}, 3))
    scheduler.submitted(1)
    assert scheduler.decide(0.0) == ([], 1)
    scheduler.worker_started(1, 0.0)
    assert scheduler.workers[1].capabilities == frozenset()
    scheduler.worker_ready(1, 0.0)
    for task in (2, 3, 4):
        scheduler.submitted(task, need=GPU)
    assert scheduler.decide(0.0) == ([(1, 1)], 1), "only one can have it"
    scheduler.worker_started(2, 0.0)
    assert scheduler.workers[2].capabilities == {"gpu"}
    scheduler.worker_ready(2, 0.0)
    scheduler.finished(1, 1, 0.0)
    assert scheduler.decide(0.0) == ([(2, 2)], 0)
    scheduler.submitted(5)
    assert scheduler.decide(0.0).assign == [(1, 5)]


def test_a_task_that_anybody_can_run_leaves_the_scarce_worker_free() -> None:
    """C-02"""
    scheduler = ready(Scheduler(2, places=places({"gpu": 1}, 2)), 2)
    assert [len(slot.capabilities) for slot in scheduler.workers.values()] == [0, 1]
    for task in range(3):
        scheduler.submitted(task, now=float(task))
    assert scheduler.decide(9.0).assign == [(1, 0), (2, 1)]
    scheduler.finished(2, 1, 9.0)
    assert scheduler.decide(9.0).assign == [(2, 2)], "but does not wait"


def test_tasks_with_one_key_share_a_worker_until_it_is_gone() -> None:
    """B-18"""
    scheduler = ready(Scheduler(3), 3)
    key = Need(frozenset(), "session 7")
    scheduler.submitted(1, need=key)
    assert scheduler.decide(0.0).assign == [(1, 1)]
    scheduler.submitted(2, need=key)
    scheduler.submitted(3)
    assert scheduler.decide(0.0) == ([(2, 3)], 0), "it waits for its home"
    scheduler.finished(1, 1, 0.0)
    assert scheduler.decide(0.0).assign == [(1, 2)]
    scheduler.submitted(4, need=key)
    scheduler.worker_lost(1, "power cut")
    assert scheduler.decide(0.0).assign == [(3, 4)]


def test_many_tasks_with_one_key_start_one_worker() -> None:
    """B-18, C-04"""
    scheduler = Scheduler(8)
    for task in range(100):
        scheduler.submitted(task, need=Need(frozenset(), "a"))
    assert scheduler.decide(0.0) == ([], 1)


def test_a_delayed_task_runs_at_its_time_and_in_its_place() -> None:
    """C-07"""
    scheduler = ready(Scheduler(1), 1)
    scheduler.submitted(1, now=0.0, delay=5.0)
    scheduler.submitted(2, now=0.0, delay=3.0)
    scheduler.submitted(3, now=0.0, delay=4.0)
    assert scheduler.cancelled(3)
    assert (scheduler.queued, scheduler.delayed, scheduler.next_release()) == (0, 2, 3.0)
    scheduler.release(2.9)
    assert scheduler.decide(2.9) == ([], 0)
    scheduler.submitted(4, now=4.0)
    scheduler.release(6.0)
    assert (scheduler.queued, scheduler.delayed, scheduler.next_release()) == (3, 0, None)
    assert order_of(scheduler) == [2, 4, 1]


def test_a_worker_that_is_old_gets_nothing_more_and_ends_when_it_has_nothing_left() -> None:
    """C-03"""
    scheduler = ready(Scheduler(1, lifetime=60.0), 1, -0.001)
    scheduler.submitted(1)
    scheduler.submitted(2)
    assert scheduler.decide(0.0).assign == [(1, 1)]
    assert scheduler.next_surplus() == 60.0
    assert scheduler.surplus(60.0) == []
    scheduler.parked(1, 1, 60.0)
    assert scheduler.decide(60.0) == ([], 0)
    scheduler.finished(1, 1, 61.0)
    assert scheduler.decide(61.0) == ([], 0)
    assert scheduler.surplus(61.0) == [1]
    assert scheduler.worker_lost(1, "it is old") == ([], [])
    assert scheduler.decide(61.0) == ([], 1)


def test_a_rank_that_cannot_be_compared_is_refused_and_not_counted() -> None:
    """C-01"""

    class Odd(Policy):
        def rank(self, task: QueuedTask) -> Any:
            return task.number if task.number < 3 else "three"

    scheduler = ready(Scheduler(1, policy=Odd()), 1)
    for task in (1, 2):
        scheduler.submitted(task)
    with pytest.raises(TypeError):
        scheduler.submitted(3)
    assert (scheduler.queued, scheduler.outstanding) == (2, 2)
    assert order_of(scheduler) == [1, 2]
