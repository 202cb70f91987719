"""The engine at moments that real workers hit by chance: what happens in the middle of what."""

import gc
import time
from collections.abc import Callable
from typing import Any

import pytest

from pyworkers import _codec
from pyworkers._functions import KEPT_FUNCTIONS
from pyworkers._futures import Future
from pyworkers._iterators import Mapped
from pyworkers._protocol import Kind
from pyworkers._scheduler import Decision, Scheduler
from pyworkers._statistics import REMEMBERED
from pyworkers.errors import BrokenWorkerPool
from tests.unit.played import Played

pytestmark = pytest.mark.timeout(60)


def two_running(timeout: float | None = None) -> tuple[Played, Future[Any], Future[Any]]:
    played = Played(2)
    first, second = played.submit(timeout=timeout), played.submit(timeout=timeout)
    played.ready(1, 2)
    played.start(first, second)
    return played, first, second


def test_a_task_that_is_late_is_killed_by_who_hears_of_another() -> None:
    """C-04: it is late, and not cancelled."""
    played, first, second = two_running(timeout=0.001)
    killed: list[bool] = []
    first.add_done_callback(lambda _: killed.append(played.engine.kill(second.task)))
    time.sleep(0.002)  # twice their timeout
    played.hub.tick()
    assert killed == [False]
    assert isinstance(first.exception(0), TimeoutError)
    assert isinstance(second.exception(0), TimeoutError)


def test_who_hears_of_a_termination_cancels_another() -> None:
    """B-06"""
    played = Played(2)
    first, second = played.submit(), played.submit()
    played.ready(1, 2)
    first.add_done_callback(lambda _: second.cancel(running=True))
    played.engine.end_workers(softly=True)
    assert first.cancelled()
    assert second.cancelled()
    assert played.living == []


def test_who_waits_for_all_workers_starts_none_after_the_end() -> None:
    """B-18: though one is ready at the moment of the end."""
    played = Played(2)
    warm, task = played.engine.warm_up(), played.submit()
    played.ready(1)
    task.add_done_callback(lambda _: played.engine.begin_shutdown(cancel_futures=False))
    played.start(task)
    played.return_value(1)
    played.ready(2)
    assert warm.cancelled()
    assert (played.living, played.started, len(played.staff.ended)) == ([], 2, 2)


def test_workers_that_are_ended_before_they_are_ready_have_not_failed() -> None:
    """B-05: a map that is read after the end of its pool still gets all it was given."""
    played = Played(4)

    def submit(function: Callable[..., Any], args: tuple[Any, ...], delay: float) -> Future[Any]:
        return played.engine.submit(function, args, {}, 5, None, delay=delay)

    calls = ((n,) for n in range(10))
    mapped: Mapped[Any] = Mapped(submit, 4, played.hub, abs, calls, None, None, 1, 4, None)
    played.ready(1)
    played.engine.begin_shutdown(cancel_futures=False)
    while played.engine.tasks:
        (slot,) = (slot for slot in played.engine.scheduler.workers.values() if slot.held)
        played.link.started[slot.number] = slot.taken
        played.say(1, Kind.RESULT, slot.held[0], done(0))
        played.hub.pump(0.0)
    assert played.living == []
    assert played.engine.scheduler.broken is None
    assert [next(mapped) for _ in range(4)] == [0, 0, 0, 0]
    assert len(played.living) == 4


def done(value: object) -> bytes:
    """What a chunk of one call returns that took no time."""
    return _codec.encode(([value], 0.0))[0]


@pytest.mark.parametrize("at", ["decide", "submitted"])
def test_the_collector_disturbs_no_decision(at: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A-06: what it finds may be a map whose calls are taken back."""
    played = Played(3)
    for _ in range(6):
        played.submit()

    class Holder:
        pass

    def submit(function: Callable[..., Any], args: tuple[Any, ...], delay: float) -> Future[Any]:
        return played.engine.submit(function, args, {}, 5, None, delay=delay)

    holder: Any = Holder()
    holder.itself = holder
    holder.map = Mapped(submit, 1, played.hub, abs, [(1,)], 1, None, 1, None, None)
    (chunk,) = holder.map._chunks
    original = getattr(Scheduler, at)
    inside: list[bool] = []

    def collecting(self: Scheduler, *args: Any, **kwargs: Any) -> Decision | None:
        inside.append(True)
        gc.collect()
        assert not chunk.cancelled(), "it was taken back in the middle"
        result: Decision | None = original(self, *args, **kwargs)
        return result

    gc.disable()
    try:
        del holder
        monkeypatch.setattr(Scheduler, at, collecting)
        played.submit()
        played.ready(*range(1, played.started + 1))
    finally:
        gc.enable()
    assert inside
    assert chunk.cancelled()
    assert played.engine.broken is None
    assert played.engine.scheduler.outstanding == 7


def test_what_nobody_can_do_any_more_fails_where_nobody_is_replaced() -> None:
    """B-05 C-02"""
    played = Played(2, capabilities={"gpu": 1}, replaces=False)
    common, scarce = played.submit(), played.submit(requires="gpu")
    played.ready(1, 2)
    waiting = [played.submit(requires="gpu"), played.submit(requires="gpu", delay=60.0)]
    played.start(scarce)
    played.lose(scarce)
    later = played.submit(requires="gpu")
    for future in (*waiting, later):
        with pytest.raises(BrokenWorkerPool, match="capabilities of this task"):
            future.result(0)
    assert played.engine.broken is None
    assert not common.done()
    assert played.engine.scheduler.outstanding == 1


def test_all_tasks_are_counted_once_whatever_becomes_of_them() -> None:
    """C-06: one that was cancelled while it runs, and those of a pool that breaks."""
    played = Played(3)
    first, second, _ = (played.submit() for _ in range(3))
    played.ready(1, 2)
    played.start(first, second)
    ended: list[object] = []
    played.engine.ledger.events.subscribe("task_done", lambda event: ended.append(event.outcome))
    first.cancel(running=True)
    stats = played.engine.ledger.statistics(None, played.engine.leaving)
    assert (stats.submitted, stats.cancelled, stats.running) == (3, 1, 2)
    error = _codec.encode((b"", [], "no such package", "trace"))[0]
    played.say(3, Kind.SETUP_FAILED, payload=error)
    played.hub.pump(0.0)
    stats = played.engine.ledger.statistics(None, played.engine.leaving)
    assert (stats.submitted, stats.cancelled, stats.failed, stats.done) == (3, 1, 2, 0)
    assert ended == ["cancelled", "failed", "failed"]


def test_a_worker_out_of_the_reserve_is_told_of_too() -> None:
    """C-06"""
    played = Played(2, standby=1)
    told: list[object] = []
    played.engine.ledger.events.subscribe(
        "worker_ready", lambda event: told.append(played.number(event.worker))
    )
    played.submit()
    played.ready(1)
    spare = played.engine.peers.spawn(played.engine)
    played.engine.crew.reserve.started(spare, time.monotonic())
    played.ready(2)
    assert told == [1]
    played.submit()
    assert told == [1, 2]


def test_functions_that_were_made_for_one_call_are_forgotten() -> None:
    """A-04: by the worker too; those that tasks wait for are kept, and so are importable ones."""
    played = Played(1)

    def flood() -> None:
        for n in range(4 * KEPT_FUNCTIONS):
            played.submit(returning(n)).cancel(running=True)

    def told() -> list[tuple[int, bool]]:
        """The numbers of the functions of which the worker has heard, and whether it keeps them."""
        frames = played.staff.ends[played.staff.spawned[0]].receive(0.0)
        return [(f.id, len(f.payload) > 0) for f in frames if f.kind == Kind.FUNCTION]

    def run(task: Future[Any]) -> None:
        played.start(task)
        played.return_value(1)
        played.hub.pump(0.0)
        assert task.done()

    kept = played.submit(returning(-1))
    played.ready(1)
    flood()
    functions = played.engine.functions
    assert len(functions.encoded) <= 2 * KEPT_FUNCTIONS + 2
    assert functions.encoded.keys() == functions.names.keys()
    assert told() == [(1, True)]
    run(kept)
    flood()
    assert 1 in functions.encoded, "its task is told of"
    for _ in range(REMEMBERED):
        run(played.submit())
    flood()
    assert 1 not in functions.encoded
    assert (1, False) in told()


def returning(n: int) -> Callable[[], int]:
    return lambda: n


def test_delays_of_what_was_cancelled_do_not_pile_up() -> None:
    """C-07"""
    scheduler = Scheduler(1)
    for task in range(1, 2_001):
        scheduler.submitted(task, delay=3_600.0)
        if task % 100:
            scheduler.cancelled(task)
    assert scheduler.delayed == 20
    assert len(scheduler._delayed) < 200
