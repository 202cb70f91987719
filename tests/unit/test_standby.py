"""The reserve of a pool, in simulated time: when workers are started for it, and given up."""

import random

import pytest

from pyworkers import WorkerPool
from pyworkers._protocol import WorkerState
from pyworkers._slots import WorkerSlot
from pyworkers._standby import IDLE_SECONDS, QUIET_SECONDS, Plan, Reserve, default_standby

BOOT = 120.0
IDLE, BUSY, STARTING = WorkerState.IDLE, WorkerState.BUSY, WorkerState.INITIALIZING


def pool(*states: WorkerState, created: float = 0.0, used: float = 0.0) -> list[WorkerSlot]:
    return [WorkerSlot(n, state, created, used) for n, state in enumerate(states, 1)]


def reserve(size: int = 1, cores: int = 4) -> Reserve:
    return Reserve(size, cores, BOOT)


@pytest.mark.parametrize(
    ("states", "starts"),
    [
        pytest.param([], 0, id="no worker yet"),
        pytest.param([STARTING], 0, id="the first is starting"),
        pytest.param([IDLE, STARTING], 0, id="one more is starting"),
        pytest.param([IDLE, IDLE], 1, id="idle"),
        pytest.param([BUSY, BUSY], 1, id="a core is left"),
        pytest.param([BUSY, BUSY, BUSY], 0, id="hub and tasks use all cores"),
    ],
)
def test_a_worker_is_started_when_it_is_in_nobodys_way(
    states: list[WorkerState], starts: int
) -> None:
    plan = reserve().plan(10.0, pool(*states, used=9.0))
    assert plan == Plan(starts, [], 10.0 + QUIET_SECONDS)


def test_a_machine_with_two_cores_starts_one_only_between_tasks() -> None:
    two = reserve(cores=2)
    assert two.plan(10.0, pool(BUSY, used=9.0)).start == 0
    assert two.plan(10.0, pool(IDLE, used=9.0)).start == 1


def test_workers_are_started_one_after_the_other_and_not_too_many() -> None:
    slots = pool(IDLE, used=9.0)
    three = reserve(3)
    now = 10.0
    for number in (2, 3, 4):
        assert three.plan(now, slots).start == 1
        three.started(number, now)
        assert three.plan(now + 0.1, slots).start == 0
        three.worker_ready(number)
        now += 1.0
    assert three.ready == 3
    assert three.plan(now, slots) == Plan(0, [], 9.0 + IDLE_SECONDS)


def test_one_that_is_ready_is_taken_before_one_that_starts() -> None:
    two = reserve(2)
    two.started(2, 1.0)
    two.started(3, 2.0)
    two.worker_ready(3)
    taken = [two.take(), two.take(), two.take()]
    assert [slot and (slot.number, slot.state) for slot in taken] == [
        (3, IDLE),
        (2, STARTING),
        None,
    ]


def test_a_reserve_that_is_not_used_is_given_up_until_there_are_tasks() -> None:
    one = reserve()
    one.asleep = False
    one.started(2, 1.0)
    one.worker_ready(2)
    assert one.plan(IDLE_SECONDS - 1, pool(IDLE)).end == []
    assert one.plan(IDLE_SECONDS + 1, pool(BUSY)).end == []
    assert one.plan(IDLE_SECONDS + 1, pool(IDLE)) == Plan(0, [2], None)
    assert one.asleep
    one.lost(2, failed=False)
    assert one.plan(2 * IDLE_SECONDS, pool(IDLE)).start == 0
    assert one.plan(2 * IDLE_SECONDS, pool(IDLE, used=2 * IDLE_SECONDS - 1)).start == 1


def test_it_is_given_up_though_the_pool_has_ended_all_its_workers() -> None:
    one = reserve()
    one.asleep = False
    one.started(2, 1.0)
    one.worker_ready(2)
    assert one.plan(10.0, pool(IDLE, used=10.0)).due == 10.0 + IDLE_SECONDS
    assert one.plan(20.0, pool()).due == 10.0 + IDLE_SECONDS
    assert one.plan(10.0 + IDLE_SECONDS, pool()) == Plan(0, [2], None)


def test_after_one_that_did_not_start_there_is_no_other() -> None:
    one = reserve()
    one.started(2, 1.0)
    assert one.plan(1.0 + BOOT, pool(IDLE, used=BOOT)).end == [2]
    one.lost(2, failed=True)
    assert one.plan(2 + BOOT, pool(IDLE, used=BOOT)).start == 0


@pytest.mark.parametrize("seed", range(20))
def test_a_reserve_is_never_too_large_and_is_filled_in_the_end(seed: int) -> None:
    """Random events in simulated time: workers get ready, are taken, die, and tasks come and go."""
    chance = random.Random(seed)
    size, cores = chance.randint(1, 3), chance.randint(2, 8)
    held = reserve(size, cores)
    slots = pool(IDLE)
    now, number = 1.0, 100
    for _ in range(500):
        now += chance.random()
        for slot in slots:
            slot.state = chance.choice([IDLE, BUSY])
            slot.last_used = now
        event = chance.random()
        if event < 0.1:
            taken = held.take()
            assert taken is None or taken.number not in held.workers
        elif event < 0.2 and held.workers:
            held.lost(next(iter(held.workers)), failed=False)
        plan = held.plan(now, slots)
        for worker in plan.end:
            held.lost(worker, failed=False)
        for _ in range(plan.start):
            number += 1
            held.started(number, now)
        assert len(held.workers) <= size, f"seed {seed}"
        for worker in list(held.workers):
            held.worker_ready(worker)
    slots[0].state = IDLE
    for _ in range(2 * size):
        now += 1.0
        slots[0].last_used = now
        for _ in range(held.plan(now, slots).start):
            number += 1
            held.started(number, now)
            held.worker_ready(number)
    assert held.ready == size, f"seed {seed}"


def test_small_machines_keep_no_reserve_by_default() -> None:
    assert [default_standby(cores) for cores in (1, 2, 3, 4, 16)] == [0, 0, 0, 1, 1]


def test_a_pool_in_mode_inline_has_no_reserve() -> None:
    with WorkerPool(mode="inline", standby=2) as inline:
        assert inline.submit(abs, -1).result() == 1
        assert inline.standby == 0
    with pytest.raises(ValueError, match="standby must be 0 or more, not -1"):
        WorkerPool(standby=-1)
