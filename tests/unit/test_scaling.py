"""How many workers a pool has: by what waits, by what is used, and not more often than need be.

In simulated time.
"""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyworkers import Scaling
from pyworkers._lanes import Need
from pyworkers._policies import places
from pyworkers._scaling import CALM, MAX_PATIENCE, Load, Scaler
from pyworkers._scheduler import Scheduler

GPU = Need(frozenset({"gpu"}), None)
ANY: frozenset[str] = frozenset()


def ready(scheduler: Scheduler, workers: int, now: float = 0.0) -> Scheduler:
    """Starts workers 1, 2 ..., which have waited in this order."""
    for worker in range(1, workers + 1):
        scheduler.worker_started(worker, now)
        scheduler.worker_ready(worker, now + worker / 1000)
    return scheduler


def pool(
    workers: int, scaling: Scaling, idle_timeout: float | None = None, **more: Any
) -> Scheduler:
    return Scheduler(workers, scaler=Scaler(0, idle_timeout, scaling), **more)


def submit(scheduler: Scheduler, count: int, now: float, need: Need | None = None) -> None:
    """Submits so many tasks, with numbers of their own."""
    first = scheduler.outstanding + round(now * 1000)
    for task in range(first, first + count):
        scheduler.submitted(task, now=now, need=need)


def simulate(scaler: Scaler, on: float, off: float, cycles: int, workers: int = 4) -> int:
    """Lets work come and go; returns how many workers were started.

    While there is work, each worker has always something to do; it starts within 0.3 s.
    """
    scheduler = Scheduler(workers, scaler=scaler)
    started = task = 0
    step = 0.1
    for tick in range(round((on + off) * cycles / step)):
        now = tick * step
        for number, slot in list(scheduler.workers.items()):
            if slot.held:
                scheduler.finished(number, slot.held[0], now)
            elif slot.state.value == "initializing" and now - slot.created >= 0.3:
                scheduler.worker_ready(number, now)
        if now % (on + off) < on:
            while scheduler.queued < workers:
                task += 1
                scheduler.submitted(task, now=now)
        for _ in range(scheduler.look(now) + scheduler.decide(now).start):
            started += 1
            scheduler.worker_started(started, now)
        for number in scheduler.surplus(now):
            assert scheduler.worker_lost(number, "not needed") == ([], [])
    return started


def test_work_that_comes_and_goes_does_not_start_workers_again_and_again() -> None:
    """C-04: at the worst rhythm, pauses just longer than the time-out, patience saves nine starts
    of ten, and the tenth tries out whether it is still needed."""
    without = 100 * 4
    assert simulate(Scaler(0, None), 5.0, 60.0, 100) == 4
    assert simulate(Scaler(0, 10.0), 5.0, 9.0, 100) == 4
    assert simulate(Scaler(0, 10.0), 5.0, 11.0, 100) == without // 10
    assert simulate(Scaler(0, 10.0), 5.0, 19.0, 100) <= without // 5
    assert simulate(Scaler(2, 10.0), 5.0, 100.0, 10) == 4 + 9 * 2, "long pauses are no thrashing"


@pytest.mark.parametrize("choosing", [{}, {"places": places({"gpu": 4}, 4)}])
def test_a_pool_that_has_little_to_do_keeps_as_few_workers_as_it_needs(
    choosing: dict[str, Any],
) -> None:
    """C-04: though none of its workers was idle for the time-out if tasks went around."""
    scheduler = ready(Scheduler(4, scaler=Scaler(0, 10.0), **choosing), 4)
    for second in range(1, 12):
        scheduler.submitted(second)
        ((worker, _),) = scheduler.decide(float(second)).assign
        assert worker == 4
        scheduler.finished(worker, second, second + 0.1)
    assert scheduler.surplus(11.5) == [1, 2, 3]
    going_around = ready(Scheduler(4, scaler=Scaler(0, None), **choosing), 4)
    for task in range(4):
        going_around.submitted(task)
        ((worker, _),) = going_around.decide(0.0).assign
        going_around.finished(worker, task, 0.0)
        assert worker == task + 1


def test_idle_workers_end_but_not_below_the_least() -> None:
    """C-04"""
    scheduler = ready(Scheduler(4, scaler=Scaler(1, 10.0)), 4)
    assert scheduler.next_surplus() == pytest.approx(10.001)
    assert scheduler.surplus(9.9) == []
    assert scheduler.surplus(10.0025) == [1, 2]
    for worker in (1, 2):
        scheduler.worker_lost(worker, "not needed")
    assert scheduler.surplus(60.0) == [3]
    scheduler.worker_lost(3, "not needed")
    assert scheduler.surplus(600.0) == []
    assert scheduler.next_surplus() is None


def test_the_least_number_of_workers_lives_without_work() -> None:
    """C-04"""
    scheduler = Scheduler(4, scaler=Scaler(2))
    assert scheduler.decide(0.0) == ([], 2)
    ready(scheduler, 2)
    assert scheduler.decide(0.0) == ([], 0)
    scheduler.worker_lost(1, "power cut", 0)
    assert scheduler.has_choice
    assert scheduler.decide(0.0) == ([], 1)


def test_patience_has_a_limit_and_wears_off() -> None:
    """C-04"""
    scaling = Scaler(0, 1.0)
    slot = ready(Scheduler(1), 1).workers[1]
    now = 0.0
    for _ in range(10):
        slot.last_used = now
        now += scaling.patience * 1.0
        assert scaling.surplus(1, [slot], now) == [1]
        scaling.started(now)
    assert scaling.patience == MAX_PATIENCE
    assert scaling.surplus(0, [], now + CALM * (16 + 8 + 4 + 2) + 0.1) == []
    assert scaling.patience == 1


# By thresholds


def test_workers_start_when_more_tasks_wait_for_each_than_may() -> None:
    """C-04: the first one at once, the others when the pool looks, and no more than tasks wait."""
    scheduler = pool(8, Scaling(start_waiting=4.0, interval=1.0))
    submit(scheduler, 1, 0.0)
    assert scheduler.next_look() == 0.0
    assert scheduler.decide(0.0) == ([], 1), "there is none"
    scheduler.worker_started(1, 0.0)
    submit(scheduler, 11, 0.0)
    assert scheduler.decide(0.0) == ([], 0)
    assert scheduler.look(0.0) == 2, "3 workers for 12 tasks"
    for worker in (2, 3):
        scheduler.worker_started(worker, 0.0)
    submit(scheduler, 12, 0.1)
    assert (scheduler.decide(0.1).start, scheduler.look(0.9), scheduler.next_look()) == (0, 0, 1.0)
    assert scheduler.look(1.0) == 3, "6 workers for 24 tasks"
    eager = pool(8, Scaling(start_waiting=0.0))
    submit(eager, 5, 0.0)
    eager.worker_started(1, 0.0)
    assert eager.look(0.0) == 4, "one for each task"


def test_at_one_look_only_so_many_workers_start() -> None:
    """C-04"""
    scheduler = pool(8, Scaling(max_starts=2, interval=1.0))
    submit(scheduler, 100, 0.0)
    started = []
    for now in (0.0, 0.5, 1.0, 2.0, 3.0, 4.0):
        started.append(scheduler.decide(now).start + scheduler.look(now))
        for worker in range(started[-1]):
            scheduler.worker_started(round(now * 10) + worker, now)
    assert started == [3, 0, 2, 2, 1, 0]


def test_a_task_that_no_worker_could_run_gets_one_at_once() -> None:
    """C-02 C-04: whatever the thresholds say."""
    scaling = Scaling(start_waiting=100.0, interval=10.0, max_starts=1)
    scheduler = pool(4, scaling, places=places({"gpu": 2, "net": 1}, 4))
    submit(scheduler, 3, 0.0)
    assert scheduler.decide(0.0).start == 1
    scheduler.worker_started(1, 0.0)
    assert scheduler.workers[1].capabilities == ANY
    assert scheduler.look(0.0) == 0
    submit(scheduler, 3, 0.1, GPU)
    submit(scheduler, 1, 0.2, Need(frozenset({"net"}), "a key"))
    assert scheduler.decide(0.2).start == 1, "who has both will do"
    scheduler.worker_started(2, 0.2)
    assert scheduler.workers[2].capabilities == {"gpu", "net"}
    assert scheduler.decide(0.2).start == 0
    scheduler.worker_lost(2, "power cut")
    assert scheduler.decide(0.3).start == 1


def test_the_tasks_of_scarce_workers_are_counted_for_themselves() -> None:
    """C-02 C-04"""
    scheduler = pool(4, Scaling(start_waiting=2.0), places=places({"gpu": 2}, 4))
    submit(scheduler, 2, 0.0)
    submit(scheduler, 5, 0.0, GPU)
    assert scheduler.decide(0.0).start == 1
    scheduler.worker_started(1, 0.0)
    assert scheduler.workers[1].capabilities == {"gpu"}
    assert scheduler.look(0.0) == 1, "there is no third place for what they need"
    scheduler.worker_started(2, 0.0)
    assert scheduler.workers[2].capabilities == {"gpu"}


@pytest.mark.parametrize("limits", [{"max_tasks": 1}, {"lifetime": 1.0}])
def test_a_worker_that_takes_nothing_more_does_not_count(limits: dict[str, Any]) -> None:
    """C-03 C-04: it may await for ever what it has."""
    scheduler = ready(pool(2, Scaling(start_waiting=100.0), **limits), 1)
    submit(scheduler, 1, 0.0)
    ((_, task),) = scheduler.decide(0.0).assign
    scheduler.parked(1, task, 0.1)
    assert scheduler.surplus(2.0) == []
    submit(scheduler, 1, 2.0)
    assert scheduler.decide(2.0) == ([], 1)


def test_no_task_waits_for_ever_behind_one_that_does_not_end() -> None:
    """C-04: who is busy all the time gets help, however many tasks may wait for each."""
    scaling = Scaling(start_waiting=100.0, start_utilisation=0.99, window=10.0, interval=1.0)
    scheduler = ready(pool(2, scaling), 1)
    submit(scheduler, 2, 0.0)
    assert scheduler.decide(0.0).start == 0
    assert [scheduler.look(float(now)) for now in range(11)] == [0] * 10 + [1]


def test_workers_that_are_busy_enough_get_help_though_nothing_waits() -> None:
    """C-04: so many that all would be busy for less than their share; those that come count."""
    scaling = Scaling(start_utilisation=0.5, end_utilisation=0.3, window=10.0, interval=1.0)
    scheduler = ready(pool(8, scaling), 2)
    submit(scheduler, 2, 0.0)
    assert len(scheduler.decide(0.0).assign) == 2
    starts = []
    for now in range(21):
        starts.append(scheduler.look(float(now)))
        for worker in range(starts[-1]):
            scheduler.worker_started(10 + now + worker, float(now))
    assert sum(starts) == 2
    assert starts.index(1) == 6, "2 workers were busy for 6 of 10 s: more than half of their time"
    assert len(scheduler.workers) == 4


def test_workers_end_only_while_the_others_have_little_to_do() -> None:
    """C-04: at the pool's pace, and only those that were idle for long enough."""
    scaling = Scaling(end_utilisation=0.25, window=10.0, interval=1.0, max_ends=1)
    scheduler = ready(pool(8, scaling, 2.0), 8)
    submit(scheduler, 1, 0.0)
    scheduler.decide(0.0)
    ended: dict[int, list[int]] = {}
    for now in range(1, 41):
        scheduler.look(float(now))
        if over := scheduler.surplus(float(now)):
            ended[now] = over
        for worker in over:
            scheduler.worker_lost(worker, "not needed")
    assert list(ended.values()) == [[1], [2], [3]], "5 are left: the load of one is less than 25 %"
    assert list(ended) == [3, 4, 5]


def test_a_pool_that_has_nothing_to_do_looks_once_more_and_then_when_a_worker_may_end() -> None:
    """C-04"""
    scheduler = ready(pool(2, Scaling(interval=1.0, window=5.0), 60.0), 1)
    assert scheduler.next_look() is None
    submit(scheduler, 1, 10.0)
    ((_, task),) = scheduler.decide(10.0).assign
    assert scheduler.next_look() == 0.0, "at once, as it has not looked for long"
    assert scheduler.look(10.0) == 0
    scheduler.finished(1, task, 10.5)
    assert scheduler.next_look() == 11.0
    assert scheduler.look(11.0) == 0
    assert scheduler.next_look() is None
    assert scheduler.next_surplus() == 70.5
    assert scheduler.look(70.5) == 0
    assert scheduler.surplus(70.5) == [1]


def test_thresholds_keep_work_that_comes_and_goes_from_starting_workers_again_and_again() -> None:
    """C-04: pauses that are longer than the time-out and shorter than the window cost nothing; of
    longer ones patience spares most, as without thresholds."""
    short = Scaling(start_waiting=0.0, end_utilisation=0.3)
    long = Scaling(start_waiting=0.0, end_utilisation=0.3, window=60.0)
    most = 100 * 4
    forgetful = simulate(Scaler(0, 3.0), 5.0, 8.0, 100)
    assert simulate(Scaler(0, 3.0, long), 5.0, 8.0, 100) == 8 < forgetful
    assert simulate(Scaler(0, 10.0, short), 5.0, 11.0, 100) <= most // 8
    assert simulate(Scaler(0, 10.0, short), 5.0, 19.0, 100) <= most // 5


@given(
    busy=st.integers(0, 20),
    workers=st.integers(1, 40),
    up=st.floats(0.2, 0.99),
    share=st.floats(0.01, 0.99),
    window=st.floats(1.0, 100.0),
    most=st.none() | st.integers(1, 3),
)
def test_at_a_steady_load_a_pool_never_turns_around(
    busy: int, workers: int, up: float, share: float, window: float, most: int | None
) -> None:
    """C-04: what ends a worker does not start one later, nor the other way round; and it rests.
    The load has just come, and the pool may be of any size."""
    scaling = Scaling(
        start_utilisation=up,
        end_utilisation=max(1e-6, up * share),
        window=window,
        max_starts=most,
        max_ends=most,
    )
    scaler = Scaler(0, 1.0, scaling)
    living, changes = max(workers, busy), []
    for step in range(300):
        now = step * (1.0 + scaling.interval)
        load = scaler.look(now, True, busy, {ANY: busy * now})
        assert load is not None
        starts = scaler.missing(load[ANY], living, 0, 0)
        idle = [_Worker(number) for number in range(living - busy)]
        ends = len(scaler.surplus(living, idle, now))
        assert not (starts and ends)
        living += (starts if most is None else min(starts, most)) - ends
        changes.append(starts - ends)
    assert len({change > 0 for change in changes if change}) <= 1, changes
    assert not any(changes[-10:])


class _Worker:
    """One that is idle since ever."""

    last_used = -1000.0

    def __init__(self, number: int) -> None:
        self.number = number


@given(
    st.lists(st.tuples(st.floats(0.01, 5.0), st.floats(0.0, 4.0)), min_size=1, max_size=300),
    st.floats(0.5, 50.0),
)
def test_a_load_is_the_average_over_its_window(
    course: list[tuple[float, float]], window: float
) -> None:
    """C-04: as exactly as a sixtieth of the window; and few samples are kept."""
    load = Load(window)
    load.average(0.0, {})
    now = busy = 0.0
    for seconds, workers in course:
        now += seconds
        busy += seconds * workers
        (found,) = load.average(now, {ANY: busy}).values()
    start, true, end = now - window, 0.0, now
    for seconds, workers in reversed(course):
        true += workers * max(0.0, end - max(start, end - seconds))
        end -= seconds
    assert found == pytest.approx(true / window, abs=4.0 / 30 + 1e-6)
    assert len(load._samples) <= 2 * 60 + 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start_waiting": -1}, "start_waiting must be 0 tasks for each worker or more, not -1"),
        ({"start_waiting": float("nan")}, "start_waiting must be 0 tasks"),
        ({"start_utilisation": 1}, "start_utilisation must be above 0 and below 1, not 1"),
        ({"end_utilisation": 0.8}, "below start_utilisation, which is 0.8, not 0.8: else workers"),
        ({"interval": 0}, "interval must be more than 0 seconds, not 0"),
        ({"window": 0.5}, "window must be at least the interval, 1.0 seconds, not 0.5"),
        ({"max_starts": 0}, "max_starts must be at least 1, not 0"),
        ({"max_ends": -1}, "max_ends must be at least 1, not -1"),
    ],
)
def test_thresholds_out_of_their_range_are_refused(options: dict[str, Any], message: str) -> None:
    """C-04"""
    with pytest.raises(ValueError, match=message):
        Scaling(**options)
