"""The scheduler against a model of it, driven by random events.

The model knows a scheduler by its public methods and by what a slot says of itself.
"""

import math
from collections.abc import Set as AbstractSet
from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from pyworkers._lanes import Need
from pyworkers._policies import AGEING_SECONDS, MAX_PRIORITY, places
from pyworkers._protocol import WorkerState
from pyworkers._scaling import Scaler, Scaling
from pyworkers._scheduler import (
    ONE_AHEAD_SECONDS,
    STUCK_SECONDS,
    WINDOW_SECONDS,
    WINDOW_TASKS,
    Scheduler,
)
from pyworkers._staffing import MAX_BOOT_FAILURES

pytestmark = pytest.mark.timeout(60)

State = WorkerState


priorities = st.integers(0, MAX_PRIORITY)
picks = st.randoms(use_true_random=False)
# Powers of two add up without rounding, so that the model need not add in the same order.
expectations = st.sampled_from([None, 0.0, 2**-14, 2**-11, 2**-10, 2**-9, 2**-8, 1.0])


class Model(RuleBasedStateMachine):
    """Does to a scheduler what a pool would, in any order, and keeps its own account."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.tasks = 0
        self.numbers = 0
        self.queue: set[int] = set()
        self.rank: dict[int, tuple[float, int]] = {}
        self.need: dict[int, Need | None] = {}
        self.homes: dict[Need, int] = {}
        self.delayed: dict[int, float] = {}
        self.ready: dict[int, float] = {}
        self.expected: dict[int, float | None] = {}
        self.held: dict[int, list[int]] = {}  # by living worker
        self.parked: dict[int, list[int]] = {}
        self.last_used: dict[int, float] = {}
        self.booting: set[int] = set()
        self.failed: set[int] = set()  # their setup
        self.deadlines: dict[int, float] = {}  # that were not reported yet
        self.over: set[int] = set()
        self.boot_failures = 0
        self.broken = False

    @initialize(
        max_workers=st.integers(1, 5),
        can_take_back=st.booleans(),
        scarce=st.none() | st.tuples(st.integers(1, 5), st.integers(1, 5)),
        min_workers=st.sampled_from([0, 0, 1, 2]),
        idle_timeout=st.sampled_from([None, 3.0]),
        lifetime=st.sampled_from([None, 20.0]),
        scaling=st.sampled_from([None, None, Scaling(start_waiting=2.0, max_ends=1)]),
    )
    def a_pool_is_made(
        self,
        max_workers: int,
        can_take_back: bool,
        scarce: tuple[int, int] | None,
        min_workers: int,
        idle_timeout: float | None,
        lifetime: float | None,
        scaling: Scaling | None,
    ) -> None:
        self.capabilities = {}
        if scarce is not None:
            counts = [min(count, max_workers) for count in scarce]
            self.capabilities = dict(zip(["gpu", "net"], counts, strict=True))
        self.scheduler = Scheduler(
            max_workers,
            can_take_back=can_take_back,
            places=places(self.capabilities, max_workers) if self.capabilities else (),
            scaler=Scaler(min(min_workers, max_workers), idle_timeout, scaling),
            lifetime=lifetime,
        )

    @property
    def waiting(self) -> list[int]:
        """What is queued, in the order in which it is to run."""
        return sorted(self.queue, key=self.rank.__getitem__)

    @property
    def waiting_for_any(self) -> list[int]:
        return [task for task in self.waiting if self.need[task] is None]

    @property
    def idle(self) -> list[int]:
        """Who holds nothing that is not parked, the one that waits longest unknown."""
        ready = self.held.keys() - self.booting - self.failed
        return sorted(
            worker
            for worker in ready
            if not self.held[worker] and not self.scheduler.workers[worker].is_over
        )

    def may_run(self, worker: int, task: int) -> bool:
        """Says whether a task may run in a worker, busy or not."""
        need = self.need[task]
        if need is None:
            return True
        if need.affinity is not None and self.homes.get(need, worker) != worker:
            return False
        return need.requires <= self.scheduler.workers[worker].capabilities

    def could_start(self, task: int) -> bool:
        return any(self.may_run(worker, task) for worker in self.idle)

    @property
    def holding(self) -> list[int]:
        return sorted(worker for worker, tasks in self.held.items() if tasks)

    @property
    def busy(self) -> list[int]:
        return sorted({*self.holding, *(worker for worker, tasks in self.parked.items() if tasks)})

    @property
    def outstanding(self) -> set[int]:
        given = [*self.held.values(), *self.parked.values()]
        return {*self.queue, *self.delayed, *(task for tasks in given for task in tasks)}

    def check_room(self, worker: int, task: int) -> None:
        """A task is given ahead only to who holds little, and for good only to who holds short
        ones."""
        seconds = [self.expected[task], *(self.expected[held] for held in self.held[worker])]
        known = [s for s in seconds if s is not None]
        assert len(known) == len(seconds), "nobody knows how long it would take"
        assert len(self.held[worker]) < WINDOW_TASKS
        if len(self.held[worker]) > 1 or not self.scheduler.can_take_back:
            assert sum(known[1:]) < WINDOW_SECONDS
            assert max(known) < ONE_AHEAD_SECONDS

    def ends(self, task: int) -> None:
        assert task not in self.over, f"task {task} ended twice"
        self.over.add(task)
        self.deadlines.pop(task, None)

    @rule(
        priority=priorities,
        wait=st.none() | st.integers(0, 5),
        expected=expectations,
        delay=st.sampled_from([0.0, 0.0, 1.0, 4.0]),
        scarce=st.sets(st.sampled_from(["gpu", "net"])),
        affinity=st.sampled_from([None, None, "a", "b"]),
    )
    def a_task_is_submitted(
        self,
        priority: int,
        wait: int | None,
        expected: float | None,
        delay: float = 0.0,
        scarce: AbstractSet[str] = frozenset(),
        affinity: str | None = None,
    ) -> None:
        self.tasks += 1
        task = self.tasks
        deadline = None if wait is None else self.now + wait
        requires = frozenset(scarce & self.capabilities.keys())
        need = Need(requires, affinity) if requires or affinity else None
        self.scheduler.submitted(task, priority, deadline, expected, self.now, need, delay)
        self.rank[task] = (self.now + delay - priority * AGEING_SECONDS, task)
        if delay:
            self.delayed[task] = self.now + delay
        else:
            self.queue.add(task)
        self.need[task] = need
        self.expected[task] = expected
        if deadline is not None:
            self.deadlines[task] = deadline

    @rule(priority=priorities, expected=expectations, count=st.integers(2, 12))
    def many_tasks_are_submitted(self, priority: int, expected: float | None, count: int) -> None:
        for _ in range(count):
            self.a_task_is_submitted(priority, None, expected)

    @precondition(lambda self: self.queue or self.delayed)
    @rule(random=picks)
    def a_waiting_task_is_cancelled(self, random: Random) -> None:
        task = random.choice(sorted({*self.queue, *self.delayed}))
        assert self.scheduler.cancelled(task)
        self.queue.discard(task)
        self.delayed.pop(task, None)
        self.ends(task)

    @precondition(lambda self: self.busy)
    @rule(random=picks)
    def a_task_that_a_worker_has_cannot_be_cancelled(self, random: Random) -> None:
        worker = random.choice(self.busy)
        for task in self.held[worker] + self.parked[worker]:
            assert not self.scheduler.cancelled(task)

    @precondition(lambda self: self.over)
    @rule(random=picks)
    def a_task_that_is_over_cannot_be_cancelled(self, random: Random) -> None:
        assert not self.scheduler.cancelled(random.choice(sorted(self.over)))

    @rule()
    def it_decides(self) -> None:
        has_choice = self.scheduler.has_choice
        assign, start = self.scheduler.decide(self.now)
        assert has_choice or not (assign or start)
        for worker, task in assign:
            assert self.may_run(worker, task)
            for better in self.waiting[: self.waiting.index(task)]:
                assert self.need[better] != self.need[task], "by priority, and in order"
                assert not self.could_start(better)
            if (need := self.need[task]) is not None and need.affinity is not None:
                self.homes.setdefault(need, worker)
            if self.held[worker]:
                assert not self.could_start(task), "who is idle comes first"
                self.check_room(worker, task)
            else:
                assert worker in self.idle, "only a living, prepared worker gets tasks"
                self.last_used[worker] = self.now
            self.queue.remove(task)
            self.held[worker].append(task)
        self.start(start)
        is_full = len(self.held) == self.scheduler.max_workers
        scaling = self.scheduler.scaler.scaling
        if self.waiting_for_any and not self.broken and scaling is None:
            assert len(self.booting) >= len(self.waiting_for_any) or is_full
        for task in self.waiting:
            assert not self.could_start(task)
            somebody = any(self.may_run(worker, task) for worker in self.held)
            assert somebody or self.broken, "a worker that can do it is on its way"
        assert self.broken or len(self.held) >= self.scheduler.scaler.min_workers
        assert self.scheduler.decide(self.now) == ([], 0), "what was decided is taken as done"

    def start(self, count: int) -> None:
        assert 0 <= count <= self.scheduler.max_workers - len(self.held)
        assert not (self.broken and count)
        for _ in range(count):
            self.numbers += 1
            self.scheduler.worker_started(self.numbers, self.now)
            self.held[self.numbers] = []
            self.parked[self.numbers] = []
            self.last_used[self.numbers] = self.now
            self.booting.add(self.numbers)

    @precondition(lambda self: self.booting)
    @rule(random=picks)
    def a_worker_is_ready(self, random: Random) -> None:
        worker = random.choice(sorted(self.booting))
        self.is_ready(worker)
        self.booting.remove(worker)
        self.boot_failures = 0

    def is_ready(self, worker: int) -> None:
        self.scheduler.worker_ready(worker, self.now)
        self.ready[worker] = self.last_used[worker] = self.now

    @precondition(lambda self: self.busy)
    @rule(random=picks)
    def a_worker_finishes_a_task(self, random: Random) -> None:
        worker = random.choice(self.busy)
        task = random.choice(self.parked[worker] + self.held[worker][:1])
        self.finish(worker, task)

    def finish(self, worker: int, task: int) -> None:
        self.scheduler.finished(worker, task, self.now)
        if task in self.parked[worker]:
            self.parked[worker].remove(task)
            if not self.held[worker]:
                self.last_used[worker] = self.now
        else:
            assert self.held[worker].pop(0) == task
            self.last_used[worker] = self.now
        self.ends(task)

    @precondition(lambda self: self.holding)
    @rule(random=picks)
    def a_worker_parks_a_task(self, random: Random) -> None:
        worker = random.choice(self.holding)
        task = self.held[worker].pop(0)
        self.scheduler.parked(worker, task, self.now)
        self.parked[worker].append(task)
        self.last_used[worker] = self.now

    @precondition(lambda self: self.holding)
    @rule(random=picks)
    def tasks_are_taken_back(self, random: Random) -> None:
        worker = random.choice(self.holding)
        started = random.randint(0, len(self.held[worker]))
        back = self.held[worker][started:]
        del self.held[worker][started:]
        assert self.scheduler.taken_back(worker, started) == back
        self.queue.update(back)

    @precondition(lambda self: self.held)
    @rule(random=picks)
    def a_worker_is_lost(self, random: Random) -> None:
        worker = random.choice(sorted(self.held))
        held, parked = self.held.pop(worker), self.parked.pop(worker)
        started = random.randint(0, len(held))
        lost = self.scheduler.worker_lost(worker, "power cut", started)
        self.homes = {need: home for need, home in self.homes.items() if home != worker}
        assert sorted(lost.started) == sorted([*parked, *held[:started]])
        assert lost.requeued == held[started:]
        self.queue.update(held[started:])
        for task in lost.started:
            self.ends(task)
        if worker in self.booting | self.failed:
            self.boot_failures += 1
            self.broken = self.broken or self.boot_failures >= MAX_BOOT_FAILURES
        self.booting.discard(worker)
        self.failed.discard(worker)

    @precondition(lambda self: self.booting)
    @rule(random=picks)
    def a_setup_fails(self, random: Random) -> None:
        worker = random.choice(sorted(self.booting))
        self.scheduler.setup_failed(worker, "no such package")
        self.booting.remove(worker)
        self.failed.add(worker)
        self.broken = True

    @rule()
    def workers_end_that_are_not_needed(self) -> None:
        looks = self.scheduler.next_look()
        when = self.scheduler.next_surplus()
        count = self.scheduler.look(self.now)
        assert not count or (looks is not None and looks <= self.now), "it was told when to look"
        self.start(count)
        slots = dict(self.scheduler.workers)
        ended = self.scheduler.surplus(self.now)
        assert not ended or (when is not None and when <= self.now), "it was told when to ask"
        scaling, lifetime = self.scheduler.scaler, self.scheduler.lifetime
        left = len(slots) - len(ended)
        for worker in ended:
            assert slots[worker].state is State.IDLE
            if lifetime is None or self.now < self.ready[worker] + lifetime:
                assert scaling.idle_timeout is not None
                assert self.now - self.last_used[worker] >= scaling.idle_timeout
                assert left >= scaling.min_workers
                assert not self.queue
            assert self.scheduler.worker_lost(worker, "not needed") == ([], [])
            del self.held[worker], self.parked[worker]
            self.homes = {need: home for need, home in self.homes.items() if home != worker}
        for worker, slot in self.scheduler.workers.items():
            ready = self.ready.get(worker, math.inf)
            is_old = lifetime is not None and self.now >= ready + lifetime
            assert slot.is_over == is_old or slot.is_over

    @rule(seconds=st.integers(1, 10) | st.just(STUCK_SECONDS / 2))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        due = {task for task, deadline in self.deadlines.items() if deadline <= self.now}
        expired = self.scheduler.expired(self.now)
        assert sorted(expired) == sorted(due), "each once, and only what is outstanding"
        assert [self.deadlines[task] for task in expired] == sorted(
            self.deadlines.pop(task) for task in due
        )
        assert self.scheduler.next_release() == min(self.delayed.values(), default=None)
        self.scheduler.release(self.now)
        released = {task for task, when in self.delayed.items() if when <= self.now}
        self.queue |= released
        self.delayed = {task: self.delayed[task] for task in self.delayed.keys() - released}

    @invariant()
    def the_accounts_agree(self) -> None:
        if not hasattr(self, "scheduler"):
            return
        scheduler = self.scheduler
        assert scheduler.queued == len(self.queue)
        assert scheduler.delayed == len(self.delayed)
        assert scheduler.outstanding == len(self.outstanding)
        assert len(self.outstanding) + len(self.over) == self.tasks, "none is lost"
        assert scheduler.workers.keys() == self.held.keys()
        assert len(self.held) <= scheduler.max_workers
        assert (scheduler.broken is not None) == self.broken
        assert scheduler.next_deadline() == min(self.deadlines.values(), default=None)
        for worker, slot in scheduler.workers.items():
            held, parked = self.held[worker], self.parked[worker]
            assert list(slot.held) == held
            assert sorted(slot.parked) == sorted(parked)
            assert all(scheduler.holder(task) == worker for task in held + parked)
            assert slot.last_used == self.last_used[worker]
            state = State.BUSY if held or parked else State.IDLE
            if worker in self.booting:
                state = State.INITIALIZING
            elif worker in self.failed:
                state = State.ERROR
            assert slot.state is state
        assert all(scheduler.holder(task) is None for task in self.waiting)

    @invariant()
    def who_is_in_the_way_is_named(self) -> None:
        if not hasattr(self, "scheduler"):
            return
        scheduler = self.scheduler
        since = {}
        if self.idle and not self.waiting_for_any and scheduler.can_take_back:
            for worker in self.holding:
                if len(self.held[worker]) > 1:
                    since[worker] = scheduler.workers[worker].last_used
        assert scheduler.has_choice or scheduler.next_stuck() is None
        assert scheduler.next_stuck() == min(
            (when + STUCK_SECONDS for when in since.values()), default=None
        )
        for later in (0.0, STUCK_SECONDS, 1.0):
            now = self.now + later
            late = [worker for worker, when in since.items() if now - when >= STUCK_SECONDS]
            assert sorted(scheduler.stuck(now)) == late

    def teardown(self) -> None:
        """Whatever has happened: with a worker that lives, all that waits comes to its end."""
        if not hasattr(self, "scheduler") or self.broken:
            return
        while self.outstanding:
            self.time_passes(1.0)
            self.workers_end_that_are_not_needed()
            self.it_decides()
            for worker in sorted(self.booting):
                self.is_ready(worker)
            self.booting.clear()
            self.boot_failures = 0
            for worker in self.busy:
                self.finish(worker, (self.parked[worker] + self.held[worker])[0])
            self.the_accounts_agree()


def test_a_scheduler_does_what_its_model_does() -> None:
    """A-06: nothing is lost or assigned twice; higher priorities first, in order within one; no
    more workers than allowed, none with more than it may hold; a cancelled task is never assigned;
    what a worker had not started is queued again at its place; deadlines are named once."""
    run_state_machine_as_test(
        Model, settings=settings(max_examples=150, stateful_step_count=50, deadline=None)
    )
