"""What the scheduler decides, one rule at a time."""

from collections.abc import Callable

import pytest

from pyworkers._policies import DEFAULT_PRIORITY, MAX_PRIORITY
from pyworkers._protocol import TRANSITIONS, Kind, WorkerState
from pyworkers._scheduler import STUCK_SECONDS, WINDOW_SECONDS, WINDOW_TASKS, Scheduler

pytestmark = pytest.mark.timeout(60)

State = WorkerState


def with_workers(count: int, can_take_back: bool = False) -> Scheduler:
    """A scheduler whose workers are all idle, in the order of their numbers."""
    scheduler = Scheduler(count, can_take_back)
    for worker in range(1, count + 1):
        scheduler.worker_started(worker, 0.0)
        scheduler.worker_ready(worker, float(worker))
    return scheduler


def test_tasks_run_by_priority_and_within_one_in_order() -> None:
    """A-06"""
    scheduler = with_workers(1)
    for task, priority in enumerate([5, 0, 10, 5, 10, 0, 7]):
        scheduler.submitted(task, priority)
    order = []
    while scheduler.outstanding:
        ((worker, task),) = scheduler.decide(0.0).assign
        scheduler.finished(worker, task, 0.0)
        order.append(task)
    assert order == [2, 4, 6, 0, 3, 1, 5]


def test_a_task_without_a_priority_stands_in_the_middle() -> None:
    """A-06"""
    assert DEFAULT_PRIORITY == MAX_PRIORITY / 2


def test_a_deadline_is_named_once_and_only_while_its_task_is_outstanding() -> None:
    """A-08, C-07"""
    scheduler = with_workers(1)
    scheduler.submitted(1, deadline=5.0)
    scheduler.submitted(2, deadline=6.0)
    scheduler.submitted(3, deadline=4.0)
    scheduler.submitted(4)
    assert scheduler.next_deadline() == 4.0
    assert scheduler.decide(0.0).assign == [(1, 1)]
    assert scheduler.cancelled(2)
    assert scheduler.expired(3.9) == []
    assert scheduler.expired(10.0) == [3, 1]
    assert scheduler.expired(10.0) == []
    assert scheduler.next_deadline() is None


def test_the_worker_that_waited_longest_gets_the_next_task() -> None:
    scheduler = with_workers(3)
    for task in range(3):
        scheduler.submitted(task)
    assert scheduler.decide(10.0).assign == [(1, 0), (2, 1), (3, 2)]
    for worker in (2, 3, 1):
        scheduler.finished(worker, worker - 1, 11.0)
    for task in range(3, 6):
        scheduler.submitted(task)
    assert scheduler.decide(12.0).assign == [(2, 3), (3, 4), (1, 5)]


def test_short_tasks_are_given_ahead_and_long_ones_are_not() -> None:
    """X-10"""
    scheduler = with_workers(1, can_take_back=True)
    for task in range(200):
        scheduler.submitted(task, expected=WINDOW_SECONDS / 8)
    assert [task for _, task in scheduler.decide(0.0).assign] == list(range(8))
    scheduler.finished(1, 0, 0.0)
    assert scheduler.decide(0.0).assign == [(1, 8)]
    scheduler = with_workers(1, can_take_back=True)
    for task in range(200):
        scheduler.submitted(task, expected=0.0)
    assert len(scheduler.decide(0.0).assign) == WINDOW_TASKS
    for expected in (None, WINDOW_SECONDS):
        scheduler = with_workers(1)
        scheduler.submitted(1, expected=expected)
        scheduler.submitted(2, expected=0.0)
        assert scheduler.decide(0.0).assign == [(1, 1)]


def test_what_waits_behind_a_long_task_is_taken_back_for_an_idle_worker() -> None:
    """C-10, X-10"""
    scheduler = Scheduler(2, can_take_back=True)
    for worker in (1, 2):
        scheduler.worker_started(worker, 0.0)
    scheduler.worker_ready(1, 0.0)
    for task in range(3):
        scheduler.submitted(task, expected=0.0)
    assert scheduler.decide(0.0).assign == [(1, 0), (1, 1), (1, 2)]
    assert scheduler.next_stuck() is None
    scheduler.worker_ready(2, 0.0)
    assert scheduler.next_stuck() == STUCK_SECONDS
    assert scheduler.stuck(STUCK_SECONDS / 2) == []
    assert scheduler.stuck(STUCK_SECONDS) == [1]
    assert scheduler.taken_back(1, started=1) == [1, 2]
    assert scheduler.decide(1.0).assign == [(2, 1), (2, 2)]


def test_no_more_workers_start_than_there_are_tasks() -> None:
    """A-02"""
    scheduler = Scheduler(8)
    assert scheduler.decide(0.0) == ([], 0)
    scheduler.submitted(1)
    scheduler.submitted(2)
    assert scheduler.decide(0.0) == ([], 2)


def boot_fails(scheduler: Scheduler, worker: int) -> None:
    scheduler.worker_started(worker, 0.0)
    assert scheduler.worker_lost(worker, f"reason {worker}") == ([], [])


def test_three_workers_in_a_row_that_do_not_start_break_the_pool() -> None:
    scheduler = Scheduler(4)
    scheduler.submitted(1)
    boot_fails(scheduler, 1)
    boot_fails(scheduler, 2)
    scheduler.worker_started(3, 0.0)
    scheduler.worker_ready(3, 0.0)
    boot_fails(scheduler, 4)
    boot_fails(scheduler, 5)
    assert scheduler.broken is None
    boot_fails(scheduler, 6)
    assert scheduler.broken == "3 workers in a row did not start; the last: reason 6"


def test_workers_that_die_later_do_not_break_the_pool() -> None:
    """D-09"""
    scheduler = Scheduler(1)
    for worker in range(10):
        scheduler.submitted(worker)
        assert scheduler.decide(0.0) == ([], 1)
        scheduler.worker_started(worker, 0.0)
        scheduler.worker_ready(worker, 0.0)
        assert scheduler.decide(0.0).assign == [(worker, worker)]
        assert scheduler.worker_lost(worker, "power cut") == ([worker], [])
    assert scheduler.broken is None


EVENTS: list[tuple[Kind, Callable[[Scheduler], object]]] = [
    (Kind.READY, lambda scheduler: scheduler.worker_ready(1, 0.0)),
    (Kind.SETUP_FAILED, lambda scheduler: scheduler.setup_failed(1, "no such package")),
    (Kind.RESULT, lambda scheduler: scheduler.finished(1, 1, 0.0)),
    (Kind.ERROR, lambda scheduler: scheduler.finished(1, 1, 0.0)),
    (Kind.PARKED, lambda scheduler: scheduler.parked(1, 1, 0.0)),
    (Kind.LOST, lambda scheduler: scheduler.worker_lost(1, "power cut")),
]


def in_state(state: WorkerState) -> Scheduler:
    scheduler = Scheduler(1)
    scheduler.worker_started(1, 0.0)
    if state is State.ERROR:
        scheduler.setup_failed(1, "no such package")
    elif state is not State.INITIALIZING:
        scheduler.worker_ready(1, 0.0)
    if state is State.BUSY:
        scheduler.submitted(1)
        scheduler.decide(0.0)
    assert scheduler.workers[1].state is state
    return scheduler


@pytest.mark.parametrize("state", [state for state in State if state is not State.TERMINATED])
@pytest.mark.parametrize(("kind", "event"), EVENTS, ids=[kind.name for kind, _ in EVENTS])
def test_a_worker_changes_its_state_as_the_protocol_says(
    state: WorkerState, kind: Kind, event: Callable[[Scheduler], object]
) -> None:
    """C-01"""
    if kind not in TRANSITIONS[state]:
        return
    scheduler = in_state(state)
    event(scheduler)
    slot = scheduler.workers.get(1)
    assert (slot.state if slot else State.TERMINATED) is TRANSITIONS[state][kind]


def test_a_worker_counts_its_tasks_and_its_times() -> None:
    """C-01"""
    scheduler = Scheduler(1)
    scheduler.worker_started(1, 10.0)
    slot = scheduler.workers[1]
    assert (slot.created, slot.last_used, slot.tasks_done) == (10.0, 10.0, 0)
    scheduler.worker_ready(1, 11.0)
    scheduler.submitted(1)
    scheduler.decide(12.0)
    assert (slot.last_used, slot.tasks_done) == (12.0, 0)
    scheduler.finished(1, 1, 13.0)
    assert (slot.created, slot.last_used, slot.tasks_done) == (10.0, 13.0, 1)


def test_a_task_held_ahead_still_starts_another_worker() -> None:
    """A-02: it would else wait behind the first, which may be long."""
    scheduler = Scheduler(2, can_take_back=True)
    scheduler.worker_started(1, 0.0)
    scheduler.worker_ready(1, 0.0)
    for task in range(2):
        scheduler.submitted(task, expected=0.0)
    assert scheduler.decide(0.0) == ([(1, 0), (1, 1)], 1)
    scheduler.worker_started(2, 0.0)
    assert scheduler.decide(0.0) == ([], 0)


def test_a_task_that_may_be_retried_is_queued_again_when_its_worker_is_lost() -> None:
    """D-09: first in its queue, and as often as was allowed."""
    scheduler = with_workers(1)
    scheduler.submitted(1, retries=1)
    scheduler.submitted(2)
    assert scheduler.decide(0.0).assign == [(1, 1)]
    assert scheduler.worker_lost(1, "bad luck") == ([], [1])
    scheduler.worker_started(2, 0.0)
    scheduler.worker_ready(2, 0.0)
    assert scheduler.decide(0.0).assign == [(2, 1)]
    assert scheduler.worker_lost(2, "bad luck") == ([1], [])
    assert scheduler.outstanding == 1


def test_a_task_that_was_asked_to_end_is_not_retried() -> None:
    """D-09, X-02: nor any, where the caller says so."""
    scheduler = with_workers(2)
    scheduler.submitted(1, retries=5)
    scheduler.submitted(2, retries=5)
    assert scheduler.decide(0.0).assign == [(1, 1), (2, 2)]
    scheduler.ending(1)
    assert scheduler.worker_lost(1, "its time was over") == ([1], [])
    assert scheduler.worker_lost(2, "the pool is over", may_retry=False) == ([2], [])
    assert scheduler.outstanding == 0


def test_a_worker_gets_no_tasks_while_one_of_its_tasks_has_to_end() -> None:
    """X-02: neither ahead nor beside it."""
    scheduler = with_workers(1, can_take_back=True)
    for task in (1, 2, 3):
        scheduler.submitted(task, expected=0.0001)
    assert scheduler.decide(0.0).assign == [(1, 1), (1, 2), (1, 3)]
    assert scheduler.taken_back(1, 1) == [2, 3]
    scheduler.parked(1, 1, 0.0)
    scheduler.ending(1)
    assert scheduler.decide(0.0).assign == []
    scheduler.finished(1, 1, 0.0)
    assert scheduler.decide(0.0).assign == [(1, 2), (1, 3)]


def test_a_worker_runs_no_more_tasks_than_it_may() -> None:
    """X-01: what was taken back from it does not count."""
    scheduler = with_workers(1, can_take_back=True)
    scheduler.max_tasks = 2
    for task in (1, 2, 3):
        scheduler.submitted(task, expected=0.0001)
    assert scheduler.decide(0.0).assign == [(1, 1), (1, 2)]
    assert scheduler.taken_back(1, 1) == [2]
    scheduler.finished(1, 1, 0.0)
    assert not scheduler.is_used_up(1)
    assert scheduler.decide(0.0).assign == [(1, 2)]
    scheduler.finished(1, 2, 0.0)
    assert scheduler.is_used_up(1)
    assert scheduler.decide(0.0).assign == []


def test_deadlines_of_what_is_over_do_not_pile_up() -> None:
    """B-18: however many tasks with a timeout a pool has seen, it remembers those that wait."""
    scheduler = Scheduler(1)
    scheduler.worker_started(1, 0.0)
    scheduler.worker_ready(1, 0.0)
    for task in range(10_000):
        scheduler.submitted(task, deadline=3600.0 + task)
        scheduler.decide(0.0)
        scheduler.finished(1, task, 0.0)
        assert len(scheduler._deadlines) < 100
    scheduler.submitted(10_000, deadline=1.0)
    assert scheduler.next_deadline() == 1.0
    assert scheduler.expired(1e9) == [10_000]
