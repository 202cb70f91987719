"""Drives a Scheduler as an engine and its workers would, in simulated time and at any scale.

Owns the workers, which start slowly, run tasks, await coroutines and crash, and an account of each
task, which it checks on the way: none is lost, none runs twice, none is given out of turn. What
happens follows from a seed alone.

``python -m tests.unit.simulator TASKS WORKERS SEED`` runs one and tells how it went.
"""

import heapq
import sys
import time
from dataclasses import dataclass
from random import Random

from pyworkers._lanes import Need
from pyworkers._policies import AGEING_SECONDS, MAX_PRIORITY, Policy
from pyworkers._protocol import WorkerState
from pyworkers._scaling import Scaler
from pyworkers._scheduler import STUCK_SECONDS, Scheduler

_EXPECTED = (0.0001, 0.001, 0.005, 0.05, 0.5, None)
"""What kinds of tasks take on average; nobody knows that of the last kind."""
_WEIGHTS = (60, 20, 10, 6, 1, 3)
_KEYS = 50

WAITING, HELD, OVER, CANCELLED, DELAYED = range(5)


@dataclass(frozen=True)
class Outcome:
    """How a simulation went.

    Attributes:
        done: tasks that ended by themselves.
        lost: tasks whose worker crashed.
        cancelled: tasks that were taken back.
        starts: workers that were started.
        crashes: workers that crashed, or did not start.
        moved: times that a task was taken back from behind a long one or a crash.
        seconds: of simulated time.
        longest: seconds that a task of each priority waited at the most, while others came.
    """

    done: int
    lost: int
    cancelled: int
    starts: int
    crashes: int
    moved: int
    seconds: float
    longest: list[float]


class Simulation:
    """One pool.

    Args:
        tasks: how many are submitted.
        workers: how many there may be.
        seed: of all that happens by chance.
        load: how much work comes, 1.0 being all that the workers can do.
        faults: share of tasks that crash their worker; a tenth of it of workers does not start.
        bound: share of tasks that have an affinity key.
    """

    def __init__(
        self,
        tasks: int,
        workers: int,
        seed: int,
        load: float = 0.9,
        faults: float = 0.0005,
        bound: float = 0.0,
        policy: Policy | None = None,
        scaler: Scaler | None = None,
    ) -> None:
        self.random = Random(seed)
        self.scheduler = Scheduler(
            workers,
            can_take_back=True,
            policy=policy or Policy(),
            scaler=scaler or Scaler(),
        )
        self.in_order = policy is None
        self.tasks = tasks
        self.faults = faults
        self.bound = bound
        mean = sum(w * (e or 0.01) for w, e in zip(_WEIGHTS, _EXPECTED, strict=True)) / 100
        self.pause = mean / (workers * load)
        self.now = 0.0
        self.submitted = 0
        self.numbers = 0
        self.events: list[tuple[float, int, str, int, int]] = []
        self.sequence = 0
        self.state = bytearray(tasks + 1)
        self.priority = bytearray(tasks + 1)
        self.came = [0.0] * (tasks + 1)
        self.again: set[int] = set()
        self.tied: set[int] = set()
        self.newest = [0] * (MAX_PRIORITY + 1)
        self.counts = dict.fromkeys(("done", "lost", "cancelled", "starts", "crashes", "moved"), 0)
        self.longest = [0.0] * (MAX_PRIORITY + 1)

    def after(self, seconds: float, what: str, worker: int = 0, task: int = 0) -> None:
        self.sequence += 1
        heapq.heappush(self.events, (self.now + seconds, self.sequence, what, worker, task))

    def run(self) -> Outcome:
        """Goes on until nothing is left to do."""
        self.after(0.0, "burst")
        self.after(STUCK_SECONDS, "tick")
        scheduler = self.scheduler
        while self.submitted < self.tasks or scheduler.outstanding:
            self.now, _, what, worker, task = heapq.heappop(self.events)
            getattr(self, what)(worker, task)
            if scheduler.has_choice:
                self.decide()
            assert scheduler.broken is None, scheduler.broken
        assert self.counts["done"] + self.counts["lost"] + self.counts["cancelled"] == self.tasks
        assert all(state in (OVER, CANCELLED) for state in self.state[1:])
        return Outcome(seconds=self.now, longest=self.longest, **self.counts)

    # What happens

    def burst(self, _: int, __: int) -> None:
        """Tasks come in bursts, and some of them are taken back at once."""
        random, scheduler = self.random, self.scheduler
        count = min(random.randint(1, 200), self.tasks - self.submitted)
        for _ in range(count):
            self.submitted += 1
            task = self.submitted
            priority = self.priority[task] = int(random.random() * (MAX_PRIORITY + 1))
            (expected,) = random.choices(_EXPECTED, _WEIGHTS)
            need = None
            if self.bound and random.random() < self.bound:
                need = Need(frozenset(), int(random.random() * _KEYS))
                self.tied.add(task)
            delay = 1.0 if random.random() < 0.01 else 0.0
            self.came[task] = self.now + delay
            if delay:
                self.state[task] = DELAYED
            scheduler.submitted(task, priority, None, expected, self.now, need, delay)
            if delay or need is not None:
                self.again.add(task)  # not in the order of submission
        if random.random() < 0.3:
            self.cancel(random.randint(max(1, self.submitted - 1000), self.submitted))
        if self.submitted < self.tasks:
            self.after(self.pause * count, "burst")

    def cancel(self, task: int) -> None:
        worker = self.scheduler.holder(task)
        if worker is not None:
            self.take_back(worker)
        if self.scheduler.cancelled(task):
            assert self.state[task] in (WAITING, DELAYED)
            self.state[task] = CANCELLED
            self.counts["cancelled"] += 1
            self.again.discard(task)

    def take_back(self, worker: int) -> None:
        held = self.scheduler.workers[worker].held
        self.requeued(self.scheduler.taken_back(worker, min(1, len(held))))

    def requeued(self, tasks: list[int]) -> None:
        for task in tasks:
            assert self.state[task] == HELD
            self.state[task] = WAITING
            self.again.add(task)
            self.counts["moved"] += 1

    def tick(self, _: int, __: int) -> None:
        for worker in self.scheduler.stuck(self.now):
            self.take_back(worker)
        for worker in self.scheduler.surplus(self.now):
            assert self.scheduler.worker_lost(worker, "not needed") == ([], [])
        if self.scheduler.delayed:
            self.scheduler.release(self.now)
        self.after(STUCK_SECONDS, "tick")

    def ready(self, worker: int, _: int) -> None:
        if self.random.random() < self.faults / 10:
            self.crash(worker, 0)
        else:
            self.scheduler.worker_ready(worker, self.now)

    def finish(self, worker: int, task: int) -> None:
        """A worker that lives is done with a task, or has parked it before."""
        slot = self.scheduler.workers.get(worker)
        if slot is None or self.state[task] != HELD:
            return  # it crashed while it awaited this
        if self.random.random() < self.faults:
            self.crash(worker, 1)
            return
        was_parked = task in slot.parked
        if not was_parked and task % 50 == 0:
            self.scheduler.parked(worker, task, self.now)
            self.after(0.1, "finish", worker, task)
        else:
            self.scheduler.finished(worker, task, self.now)
            self.over(task, "done")
        if not was_parked and slot.held:
            self.begin(worker, slot.held[0])

    def over(self, task: int, how: str) -> None:
        assert self.state[task] == HELD, f"task {task} ended twice"
        self.state[task] = OVER
        self.counts[how] += 1

    def crash(self, worker: int, started: int) -> None:
        self.counts["crashes"] += 1
        held = self.scheduler.workers[worker].held
        lost = self.scheduler.worker_lost(worker, "power cut", min(started, len(held)))
        for task in lost.started:
            self.over(task, "lost")
        self.requeued(lost.requeued)

    def begin(self, worker: int, task: int) -> None:
        """A worker begins a task; now it cannot be taken back any more."""
        kind = self.scheduler._tasks[task].expected or 0.01
        self.after(kind * (0.5 + self.random.random()), "finish", worker, task)

    # What is decided

    def decide(self) -> None:
        scheduler = self.scheduler
        assign, start = scheduler.decide(self.now)
        for worker, task in assign:
            assert self.state[task] in (WAITING, DELAYED), f"task {task} is given twice"
            slot = scheduler.workers[worker]
            assert slot.state is WorkerState.BUSY
            self.state[task] = HELD
            priority = self.priority[task]
            if self.submitted < self.tasks:
                self.longest[priority] = max(self.longest[priority], self.now - self.came[task])
            if task in self.again:
                self.again.remove(task)
            elif self.in_order:
                assert task > self.newest[priority], "in order within a priority"
                self.newest[priority] = task
            if slot.held[0] == task:
                self.begin(worker, task)
            if self.in_order and task not in self.tied and self.sequence % 100 == 0:
                self.check_turn(task)
        for _ in range(start):
            self.numbers += 1
            self.counts["starts"] += 1
            scheduler.worker_started(self.numbers, self.now)
            slow = 10.0 if self.random.random() < 0.01 else 0.3
            self.after(slow * (1 + self.random.random()), "ready", self.numbers)
        assert len(scheduler.workers) <= scheduler.max_workers

    def check_turn(self, task: int) -> None:
        """None that still waits, any worker would do for, and is not new here was before it."""
        rank = self.came[task] - self.priority[task] * AGEING_SECONDS
        for priority, newest in enumerate(self.newest):
            following = newest + 1
            while following <= self.submitted and (
                self.priority[following] != priority
                or self.state[following] != WAITING
                or following in self.again
            ):
                following += 1
                if following > newest + 1000:
                    break
            else:
                if following <= self.submitted:
                    assert self.came[following] - priority * AGEING_SECONDS >= rank


def main() -> None:
    tasks, workers, seed = (int(argument) for argument in sys.argv[1:4])
    began = time.perf_counter()
    print(Simulation(tasks, workers, seed).run())
    print(f"{time.perf_counter() - began:.1f} s")


if __name__ == "__main__":
    main()
