"""A-04 X-05: four workers fight for primitives in shared memory, and each sum is exact.

``PYWORKERS_SEED`` is the seed of what they do at random.
"""

import os
import secrets
import textwrap
from typing import Any

import pytest

from tests.hubs import Hub

PRELUDE = """
import random
from pyworkers.sync import (
    Barrier, Condition, Latch, Lock, Once, RLock, RWLock, Semaphore
)
"""


def run(hub: Hub, body: str, **values: object) -> Any:
    if not hub.can_block:
        pytest.skip("plain functions wait where there is shared memory")
    return hub.run(PRELUDE + textwrap.dedent(body), **values)


def seeded() -> int:
    seed = int(os.environ.get("PYWORKERS_SEED", secrets.randbits(31)))
    print(f"seed {seed}")
    return seed


@pytest.mark.timeout(120)
def test_sums_under_each_primitive_are_exact_and_nobody_starves(hub: Hub) -> None:
    """X-05: numbers are added to in two steps, under a lock of each kind; each worker gets its
    turns.
    """
    found = run(
        hub,
        """
        sums = SharedArray(8, "int32")
        locks = {0: Lock(), 1: RLock(), 2: Semaphore(1), 3: RWLock(), 4: Condition()}
        barrier, latch = Barrier(4, timeout=60), Latch(4)
        def add(me, rounds, seed, sums, locks, barrier, latch):
            rng = random.Random(seed + me)
            barrier.wait()
            for which, lock in locks.items():
                lock = lock.write() if which == 3 else lock
                for _ in range(rounds):
                    with lock:
                        n = sums[which]
                        if rng.random() < 0.002:
                            time.sleep(0.0005)
                        sums[which] = n + 1
            # The last turns of a fight: how far the others came until this one was done.
            rounds = [barrier.wait() for _ in range(20)]
            for turn in range(25):
                with locks[4]:
                    locks[4].wait_for(lambda: sums[5] % 4 == me, 60)
                    sums[5] += 1
                    locks[4].notify_all()
            latch.count_down()
            return latch.wait(60) and rounds
        with WorkerPool(4) as pool:
            given = (rounds, seed, sums, locks, barrier, latch)
            tasks = [pool.submit(add, me, *given) for me in range(4)]
            indices = [task.result() for task in tasks]
        assert all(sorted(each) == [0, 1, 2, 3] for each in zip(*indices))
        return list(sums)[:6]
        """,
        rounds=500,
        seed=seeded(),
    )
    assert found == [2_000] * 5 + [100]


@pytest.mark.timeout(120)
def test_no_count_is_lost_when_workers_die_with_a_lock(hub: Hub) -> None:
    """X-05: who is told that a holder has died sets right what that one left half done."""
    run(
        hub,
        """
        counts, lock, rng = SharedArray(1 + 40, "int32"), Lock(), random.Random(seed)
        def add(me, rounds, counts, lock):
            done = told = 0
            while done < rounds:
                try:
                    lock.acquire()
                except OwnerDied:
                    told += 1
                    with lock:
                        counts[0] = sum(counts[1:])
                    continue
                counts[me] += 1
                counts[0] += 1
                lock.release()
                done += 1
            return told
        async with WorkerPool(4) as pool:
            endless = [pool.submit(add, 1 + i, 10**9, counts, lock) for i in range(2)]
            tasks = [pool.submit(add, 3 + i, 3000, counts, lock) for i in range(2)]
            for i in range(5, 9):
                until = counts[0] + rng.randrange(50, 400)
                while counts[0] < until and not all(task.done() for task in tasks):
                    await asyncio.sleep(0.01)
                victim = endless.pop(0)
                pool.kill(victim)
                endless.append(pool.submit(add, i, 10**9, counts, lock))
            told = [await task for task in tasks]
            for task in endless:
                pool.kill(task)
            final = pool.submit(add, 30, 10, counts, lock)
            told.append(await final)
        assert counts[3] == counts[4] == 3000 and counts[30] == 10
        assert counts[0] == sum(counts[1:]), (counts[0], sum(counts[1:]))
        assert lock.statistics().holder is None
        """,
        seed=seeded(),
    )


@pytest.mark.timeout(120)
def test_four_philosophers_eat_their_fill(hub: Hub) -> None:
    """X-05: each needs two forks, the lower one first, and none waits for ever."""
    eaten = run(
        hub,
        """
        forks = [Lock() for _ in range(4)]
        def dine(me, meals, forks):
            first, second = sorted((me, (me + 1) % 4))
            for _ in range(meals):
                with forks[first], forks[second]:
                    pass
            return meals
        with WorkerPool(4) as pool:
            tasks = [pool.submit(dine, me, 500, forks) for me in range(4)]
            eaten = [task.result() for task in tasks]
        assert all(fork.statistics().takings == 1000 for fork in forks)
        return eaten
        """,
    )
    assert eaten == [500] * 4
