"""Which workers are taken for dead, in simulated time."""

from inspect import signature
from typing import Any

import pytest

from pyworkers import WorkerPool
from pyworkers._heartbeat import DEFAULT_HEARTBEAT, PATIENCE, Heartbeats
from pyworkers._scheduler import Scheduler

pytestmark = pytest.mark.timeout(30)


class Watch:
    """A pool whose workers answer and count as a test says.

    Args:
        counts: what each worker counts while it runs Python; None where nobody can tell.
    """

    def __init__(self, heartbeats: Heartbeats, counts: dict[int, int | None]) -> None:
        self.heartbeats = heartbeats
        self.counts = counts
        self.scheduler = Scheduler(len(counts))
        for worker in counts:
            self.scheduler.worker_started(worker, 0.0)
            self.scheduler.worker_ready(worker, 0.0)
        self.now = 0.0
        self.answering = set(counts)
        self.asked: list[int] = []
        self.look()

    def look(self) -> list[tuple[int, float]]:
        """Looks now; returns who is lost."""
        slots = self.scheduler.workers.values()
        look = self.heartbeats.look(self.now, slots, self.counts.__getitem__)
        self.asked += look.ask
        for worker in look.ask:
            if worker in self.answering:
                self.heartbeats.heard(worker)
        return look.lost

    def wait(self, looks: int, seconds: float = 5.0) -> list[tuple[int, float]]:
        """Looks a number of times, at equal distances; returns who is lost."""
        lost = []
        for _ in range(looks):
            self.now += seconds
            lost += self.look()
        return lost

    def run(self, worker: int) -> None:
        """Has a worker run something."""
        self.scheduler.submitted(1000 + worker)
        while (assigned := self.scheduler.decide(self.now).assign) != [(worker, 1000 + worker)]:
            assert assigned == []


def test_idle_workers_are_asked_at_each_look_and_live_as_long_as_they_answer() -> None:
    """C-09 B-05"""
    watch = Watch(Heartbeats(5.0), {1: None, 2: None})
    assert watch.wait(10) == []
    assert sorted(watch.asked) == [1] * 10 + [2] * 10


def test_an_idle_worker_that_does_not_answer_is_lost_after_three_heartbeats() -> None:
    """C-09 B-05: it is asked once, and the others go on."""
    watch = Watch(Heartbeats(5.0), {1: None, 2: None})
    watch.wait(2)
    watch.answering.remove(1)
    watch.asked.clear()
    assert watch.wait(PATIENCE) == []
    assert watch.wait(1) == [(1, 15.0)]
    assert watch.asked.count(1) == 1


def test_the_limit_can_be_set() -> None:
    """C-09"""
    watch = Watch(Heartbeats(5.0, 30.0), {1: None})
    watch.answering.clear()
    assert watch.wait(6) == []
    assert watch.wait(1) == [(1, 30.0)]


def test_looks_that_come_too_early_say_nothing() -> None:
    """C-09: whoever waits looks whenever it is woken."""
    watch = Watch(Heartbeats(5.0), {1: None})
    watch.answering.clear()
    assert watch.wait(90, 0.1) == []
    assert watch.asked == [1]
    assert watch.heartbeats.next_due() == pytest.approx(10.0, abs=0.2)


def test_a_hub_that_was_blocked_gives_its_workers_time() -> None:
    """B-05: as often as that happens, and however long it takes."""
    watch = Watch(Heartbeats(5.0), {1: None, 2: 0})
    watch.wait(1)
    watch.answering.clear()
    for _ in range(20):
        assert watch.wait(2, 5.0) == []
        assert watch.wait(1, 60.0) == []
    watch.heartbeats.heard(1)
    watch.heartbeats.heard(2)
    watch.answering = {1, 2}
    assert watch.wait(10) == []


def test_a_busy_worker_is_lost_only_where_it_could_give_signs_and_a_limit_is_set() -> None:
    """B-05: compiled code gives none, so nobody may be patient enough for it."""
    for silence, count, lost in (
        (30.0, 7, [(1, 30.0)]),
        (30.0, None, []),
        (None, 7, []),
    ):
        watch = Watch(Heartbeats(5.0, silence), {1: count})
        watch.run(1)
        assert watch.wait(7) == lost


def test_a_busy_worker_lives_as_long_as_its_count_goes_on() -> None:
    """B-05"""
    watch = Watch(Heartbeats(5.0, 10.0), {1: 0})
    watch.run(1)
    for count in range(20):
        watch.counts[1] = count // 2
        assert watch.wait(1) == []
    assert watch.wait(1) == [(1, 10.0)]


def test_a_worker_that_awaits_coroutines_is_asked_and_may_be_late() -> None:
    """B-05: they may compute between two awaits, which only a count can tell."""
    watch = Watch(Heartbeats(5.0), {1: None})
    watch.run(1)
    watch.scheduler.parked(1, 1001, 0.0)
    watch.wait(3)
    assert watch.asked == [1, 1, 1]
    watch.answering.clear()
    assert watch.wait(10) == []


def test_a_worker_that_handles_a_message_may_take_as_long_as_one_with_a_task() -> None:
    """C-09 B-05: until it answers; where it could give signs, ``silence`` is its limit."""
    for silence, count, lost in ((30.0, 7, [(1, 30.0)]), (30.0, None, []), (None, 7, [])):
        watch = Watch(Heartbeats(5.0, silence), {1: count})
        watch.wait(1)
        watch.heartbeats.told(1)
        watch.answering.clear()
        assert watch.wait(7) == lost
    watch.heartbeats.heard(1)
    assert watch.wait(3) == []
    assert watch.wait(1) == [(1, 15.0)]


def test_an_answer_says_nothing_about_a_message_that_came_behind_the_question() -> None:
    """B-05"""
    watch = Watch(Heartbeats(5.0), {1: None})
    watch.answering.clear()
    watch.heartbeats.told(1)
    watch.wait(1)
    watch.heartbeats.told(1)
    watch.heartbeats.heard(1)
    assert watch.wait(10) == []
    watch.heartbeats.heard(1)
    assert watch.wait(4) == [(1, 15.0)]


def test_pools_look_every_five_seconds_unless_they_are_told_otherwise() -> None:
    """C-09"""
    assert signature(WorkerPool).parameters["heartbeat"].default == DEFAULT_HEARTBEAT == 5.0


def test_what_a_worker_does_counts_as_a_sign() -> None:
    """B-05: one that was silent and gets a task begins anew."""
    watch = Watch(Heartbeats(5.0), {1: None})
    watch.answering.clear()
    watch.wait(3)
    watch.run(1)
    watch.wait(1)
    watch.scheduler.finished(1, 1001, watch.now)
    assert watch.wait(3) == []
    assert watch.wait(1) == [(1, 15.0)]


def test_workers_that_start_are_not_asked() -> None:
    """C-09: how long that may take is limited elsewhere."""
    watch = Watch(Heartbeats(5.0), {})
    watch.scheduler.max_workers = 1
    watch.counts[9] = None
    watch.scheduler.worker_started(9, 0.0)
    assert watch.wait(10) == []
    assert watch.asked == []


def test_without_a_heartbeat_nobody_looks() -> None:
    watch = Watch(Heartbeats(), {1: None})
    assert watch.wait(10) == []
    assert watch.asked == []
    assert watch.heartbeats.next_due() is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heartbeat": 0}, "heartbeat must be more than 0 seconds, not 0"),
        ({"heartbeat": 5.0, "silence": 6.0}, "silence must be at least two heartbeats, not 6"),
        ({"silence": 6.0}, "silence must be at least two heartbeats, not 6"),
        ({"heartbeat": None, "silence": 60.0}, "silence must be at least two heartbeats, not 60"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WorkerPool(mode="inline", **options)


def test_mode_inline_has_nothing_to_look_at() -> None:
    """B-06: its worker is this thread."""
    with WorkerPool(mode="inline", heartbeat=0.001, silence=0.002) as pool:
        assert pool.submit(abs, -1).result() == 1
        assert pool.stats().workers_lost == 0
