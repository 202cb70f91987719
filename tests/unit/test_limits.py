"""Workers that are replaced for what they did: tasks that raised, a heap that has grown.

Here as decisions, as one worker sees them, and in mode inline; real heaps grow in
``tests/browser/test_resilience.py``.
"""

from collections.abc import Callable
from typing import Any

import pytest

from pyworkers import WorkerPool, _codec
from pyworkers._arena import LocalArena
from pyworkers._channels.memory import MemoryLink
from pyworkers._protocol import FULL, Kind
from pyworkers._scheduler import Scheduler
from pyworkers._store import ArenaStore
from pyworkers._worker import Worker

pytestmark = pytest.mark.timeout(30)


def test_a_worker_is_used_up_when_so_many_of_its_tasks_raised() -> None:
    """C-03 B-04: whatever the others did."""
    scheduler = Scheduler(1, max_failures=2)
    scheduler.worker_started(1, 0.0)
    scheduler.worker_ready(1, 0.0)
    for task, raised in enumerate([True, False, True]):
        assert not scheduler.is_used_up(1)
        scheduler.submitted(task)
        assert scheduler.decide(0.0).assign == [(1, task)]
        scheduler.finished(1, task, 0.0)
        if raised:
            scheduler.raised(1)
    assert scheduler.is_used_up(1)
    scheduler.submitted(3)
    assert scheduler.decide(0.0) == ([], 0)


def test_a_worker_that_is_used_up_keeps_what_it_has_started_and_gets_nothing_more() -> None:
    """C-03: what it has not started is for the engine to take back."""
    scheduler = Scheduler(1, can_take_back=True)
    scheduler.worker_started(1, 0.0)
    scheduler.worker_ready(1, 0.0)
    for task in (1, 2, 3):
        scheduler.submitted(task, expected=0.0)
    assert len(scheduler.decide(0.0).assign) == 3
    scheduler.finished(1, 1, 0.0)
    scheduler.use_up(1)
    assert scheduler.taken_back(1, 1) == [3]
    assert scheduler.decide(0.0).assign == []
    assert not scheduler.is_used_up(1)
    scheduler.finished(1, 2, 0.0)
    assert scheduler.is_used_up(1)
    assert not scheduler.is_used_up(99)


def inverse(n: int) -> float:
    return 1 / n


def test_a_pool_replaces_a_worker_after_so_many_failures() -> None:
    """C-03 B-04"""
    peers = []
    with WorkerPool(mode="inline", max_failures_per_child=2) as pool:
        for n in (0, 1, 0, 1, 0, 0, 1):
            pool.submit(inverse, n).exception()
            peers.append(next(iter(pool._engine.scheduler.workers), 0))
        ended = pool.stats().workers_ended
    assert ended == 2
    assert peers[0] == peers[1]
    assert peers[3] == peers[4] > peers[1]
    assert peers[6] > peers[4]


heap = [100]


def grow(size: int) -> int:
    heap[0] += size
    return size


async def grow_later(size: int) -> int:
    return grow(size)


def fail(size: int) -> None:
    raise ValueError(grow(size))


class Conversation:
    """The hub's side of one worker whose heap is a number."""

    def __init__(self, limit: int | None) -> None:
        self.link = MemoryLink()
        end = self.link.connect(1, int)
        store = ArenaStore(LocalArena(), is_hub=True)
        self.worker = Worker(end, 1, store, False, heap_bytes=lambda: heap[0])
        setup: dict[str, Any] = {"files": {}, "modules": {}, "packages": [], "initializer": None}
        self.say(Kind.SETUP, 0, {**setup, "heap_limit": limit})
        self.kind, _ = self.heard()

    def say(self, kind: Kind, id: int, value: Any) -> None:
        self.link.send(1, kind, id, _codec.encode(value)[0])
        self.worker.step()

    def heard(self) -> tuple[int, int]:
        """Kind and flags of the last frame."""
        frames = [(frame.kind, frame.flags) for frame in self.link.receive(0.0)]
        return frames[-1]

    def run(self, function: Callable[[int], Any], size: int) -> tuple[int, int]:
        self.link.send(1, Kind.FUNCTION, 1, _codec.encode_function(function)[0])
        self.say(Kind.TASK, 1, (1, (size,), {}))
        return self.heard()


@pytest.fixture(autouse=True)
def _small_heap() -> None:
    heap[0] = 100


@pytest.mark.parametrize(
    ("function", "kind"), [(grow, Kind.RESULT), (grow_later, Kind.RESULT), (fail, Kind.ERROR)]
)
def test_a_worker_says_after_which_task_its_heap_is_too_large(
    function: Callable[[int], Any], kind: Kind
) -> None:
    """C-03: a task that returns, one that awaits, and one that raises."""
    limited = Conversation(200)
    assert limited.kind == Kind.READY
    assert limited.run(function, 100) == (kind, 0)
    assert limited.run(function, 1) == (kind, FULL)


def test_a_worker_without_a_limit_says_nothing_of_its_heap() -> None:
    free = Conversation(None)
    assert free.run(grow, 10**9) == (Kind.RESULT, 0)


def test_a_limit_that_a_worker_exceeds_from_the_start_is_refused() -> None:
    """C-03: every task would cost a start."""
    assert Conversation(99).kind == Kind.SETUP_FAILED


@pytest.mark.parametrize("name", ["heap_limit", "max_failures_per_child"])
def test_limits_below_one_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be at least 1, not 0"):
        WorkerPool(mode="inline", **{name: 0})  # type: ignore[arg-type]


def test_mode_inline_has_no_limit_of_its_heap() -> None:
    """C-03 B-06: its tasks run in the caller's memory."""
    with WorkerPool(mode="inline", heap_limit=1) as pool:
        assert pool.submit(inverse, 1).result() == 1
