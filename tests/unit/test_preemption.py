"""Tasks that make room for others: which, when, and what becomes of them."""

from random import Random

import pytest

from pyworkers._backoff import Restarts
from pyworkers._lanes import Need
from pyworkers._policies import Fifo, places
from pyworkers._scheduler import Scheduler

pytestmark = pytest.mark.timeout(30)


def with_workers(count: int, capabilities: dict[str, int] | None = None) -> Scheduler:
    spots = places(capabilities, count) if capabilities else ()
    scheduler = Scheduler(count, places=spots)
    for worker in range(1, count + 1):
        scheduler.worker_started(worker, 0.0)
        scheduler.worker_ready(worker, 0.0)
    return scheduler


def submit(
    scheduler: Scheduler, task: int, priority: int, preemptible: bool = True, now: float = 0.0
) -> None:
    scheduler.submitted(task, priority, now=now, preemptible=preemptible)


def test_the_lowest_and_newest_of_those_that_allow_it_makes_room() -> None:
    """C-07"""
    scheduler = with_workers(4)
    for task, (priority, allows) in enumerate([(3, True), (2, True), (2, True), (1, False)], 1):
        submit(scheduler, task, priority, allows)
    scheduler.decide(0.0)
    submit(scheduler, 5, 5)
    assert scheduler.decide(0.0).assign == []
    assert scheduler.preempt(0.0) == 3
    assert scheduler.preempt(0.0) is None, "one at a time"
    scheduler.left(3, 3, 1.0)
    assert scheduler.decide(1.0).assign == [(3, 5)]
    assert scheduler.outstanding == 5


def test_nothing_makes_room_where_there_is_some_or_for_its_equals() -> None:
    """C-07"""
    scheduler = with_workers(2)
    submit(scheduler, 1, 5)
    scheduler.decide(0.0)
    assert scheduler.preempt(0.0) is None, "a worker is idle"
    submit(scheduler, 2, 5)
    scheduler.decide(0.0)
    submit(scheduler, 3, 5)
    assert scheduler.preempt(0.0) is None, "the same priority"
    submit(scheduler, 4, 6)
    scheduler.worker_lost(1, "died")
    assert scheduler.preempt(0.0) is None, "another worker can be started"
    scheduler.worker_started(3, 1.0)
    assert scheduler.preempt(0.0) is None, "one is starting"


def test_only_a_worker_that_can_run_what_waits_is_freed() -> None:
    """C-02 C-07"""
    scheduler = with_workers(2, {"gpu": 1})
    submit(scheduler, 1, 0)
    scheduler.decide(0.0)
    plain = scheduler.holder(1)
    submit(scheduler, 2, 1)
    scheduler.decide(0.0)
    scheduler.submitted(3, 9, need=Need(frozenset({"gpu"}), None))
    assert scheduler.decide(0.0).assign == []
    victim = scheduler.preempt(0.0)
    assert victim == 2
    assert scheduler.holder(victim) != plain


def test_a_task_that_ended_by_itself_or_with_its_worker_is_not_waited_for() -> None:
    """C-07: another can be asked then; one that was cancelled meanwhile is not run again."""
    scheduler = with_workers(1)
    for task in (1, 2, 3):
        submit(scheduler, 3 * task, 0)
        scheduler.decide(0.0)
        submit(scheduler, 3 * task + 1, 1, preemptible=False)
        assert scheduler.preempt(0.0) == 3 * task
        if task == 1:
            scheduler.finished(1, 3 * task, 0.0)
        elif task == 2:
            assert scheduler.worker_lost(1, "killed").requeued == [3 * task]
        else:
            scheduler.ending(3 * task)
            assert scheduler.worker_lost(2, "killed").started == [3 * task]
            scheduler.worker_started(3, 1.0)
            scheduler.worker_ready(3, 1.0)
        if task == 2:
            scheduler.worker_started(2, 1.0)
            scheduler.worker_ready(2, 1.0)
        worker = next(iter(scheduler.workers))
        assert scheduler.decide(1.0).assign == [(worker, 3 * task + 1)]
        scheduler.finished(worker, 3 * task + 1, 1.0)
        if task == 2:
            assert scheduler.decide(1.0).assign == [(worker, 3 * task)]
            scheduler.finished(worker, 3 * task, 1.0)
    assert scheduler.outstanding == 0
    assert not scheduler.preemptible


@pytest.mark.parametrize("seed", range(20))
def test_whatever_makes_room_every_task_ends_once(seed: int) -> None:
    """C-07: random priorities, ends, deaths and cancels; the seed is the test's."""
    rng = Random(seed)
    scheduler = with_workers(3)
    numbers = iter(range(1, 10_000))
    workers = iter(range(4, 10_000))
    asked: set[int] = set()
    over: list[int] = []
    submitted = 0
    now = 0.0
    while submitted < 300 or scheduler.outstanding:
        now += 1.0
        if submitted < 300 and rng.random() < 0.6:
            submit(scheduler, next(numbers), rng.randrange(11), rng.random() < 0.7)
            submitted += 1
        running = [slot.held[0] for slot in scheduler.workers.values() if slot.held]
        if running and rng.random() < 0.5:
            task = rng.choice(running)
            worker = scheduler.holder(task)
            assert worker is not None
            chance = rng.random()
            if chance < 0.1:
                lost = scheduler.worker_lost(worker, "died")
                over += lost.started
                asked -= {*lost.started, *lost.requeued}
                scheduler.worker_started(number := next(workers), now)
                scheduler.worker_ready(number, now)
            elif task in asked and chance < 0.7:
                asked.discard(task)
                scheduler.left(worker, task, now)
            else:
                asked.discard(task)
                scheduler.finished(worker, task, now)
                over.append(task)
        scheduler.decide(now)
        if (victim := scheduler.preempt(now)) is not None:
            assert victim not in asked
            asked.add(victim)
    assert sorted(over) == list(range(1, 301))
    assert not scheduler.preemptible


@pytest.mark.parametrize("age", [1.0, 100.0, 10_000.0])
def test_who_made_room_does_not_get_the_place_again_at_once(age: float) -> None:
    """C-07: however long it has run: that time is no time of waiting."""
    scheduler = with_workers(1)
    submit(scheduler, 1, 5)
    scheduler.decide(0.0)
    submit(scheduler, 2, 6, preemptible=False, now=age)
    assert scheduler.decide(age).assign == []
    assert scheduler.preempt(age) == 1
    scheduler.left(1, 1, age + 1.0)
    assert scheduler.decide(age + 1.0).assign == [(1, 2)]
    scheduler.finished(1, 2, age + 2.0)
    assert scheduler.decide(age + 2.0).assign == [(1, 1)]


def test_one_that_has_waited_for_long_makes_no_room() -> None:
    """C-07: it would be first in the queue again."""
    scheduler = with_workers(1)
    submit(scheduler, 1, 9, preemptible=False)
    submit(scheduler, 2, 5)
    scheduler.decide(0.0)
    scheduler.finished(1, 1, 100.0)
    assert scheduler.decide(100.0).assign == [(1, 2)]
    submit(scheduler, 3, 6, now=100.0)
    assert scheduler.preempt(100.0) is None


def test_nothing_makes_room_against_the_order_of_a_policy() -> None:
    """C-01 C-07: the oldest is first, whatever its priority."""
    scheduler = Scheduler(1, policy=Fifo())
    scheduler.worker_started(1, 0.0)
    scheduler.worker_ready(1, 0.0)
    submit(scheduler, 1, 0)
    scheduler.decide(0.0)
    submit(scheduler, 2, 10, now=1.0)
    assert scheduler.preempt(1.0) is None


def test_room_is_made_where_a_lost_worker_is_not_replaced() -> None:
    """C-07 B-05"""
    scheduler = Scheduler(2, restarts=Restarts(False))
    for worker in (1, 2):
        scheduler.worker_started(worker, 0.0)
        scheduler.worker_ready(worker, 0.0)
    submit(scheduler, 1, 0)
    submit(scheduler, 2, 0)
    scheduler.decide(0.0)
    scheduler.worker_lost(1, "it died")
    scheduler.crashed("it died", 0.0)
    submit(scheduler, 3, 10, now=1.0)
    assert scheduler.decide(1.0) == ([], 0)
    assert scheduler.preempt(1.0) == 2
