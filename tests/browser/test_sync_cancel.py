"""C-03 X-05: a task that is cancelled at any moment leaves nothing taken.

``PYWORKERS_SEED`` is the seed of the moments.
"""

import os
import secrets
import textwrap
from typing import Any

import pytest

from tests.hubs import Hub

PROGRAM = """
import random
from pyworkers.sync import Array, Condition, Lock, RLock, RWLock, Semaphore, SharedCounter
async def starts(future, turns):
    while not turns.get():
        await asyncio.sleep(0)
        if future.done():
            await future
async def cancelled_at_random(rng, rounds, loop, guard):
    turns, stuck = SharedCounter(), 0
    async with WorkerPool(1, grace=60) as pool:
        pid = await pool.submit(os.getpid)
        for _ in range(rounds):
            turns.set(0)
            future = pool.submit(loop, turns, rng.randrange(40), *guard)
            await starts(future, turns)
            until = turns.get() + rng.randrange(200)
            while turns.get() < until:
                await asyncio.sleep(0)
            future.cancel(running=True)
            # The worker takes the next task when it has ended this one.
            assert await pool.submit(os.getpid) == pid
            for side in sides(*guard):
                if await side.acquire_async(5):
                    side.release()
                else:
                    stuck += 1
            if stuck:
                break
    return stuck
def pause(turns, k):
    turns.add()
    for _ in range(k):
        pass
"""

KINDS = {
    "Lock": (
        "Lock()",
        "with lock: pass",
    ),
    "RLock": (
        "RLock()",
        "with lock, lock: pass",
    ),
    "Semaphore": (
        "Semaphore(1)",
        "with lock: pass",
    ),
    "by hand": (
        "Lock()",
        """
        try:
            got = lock.acquire()
        finally:
            if got: lock.release()
        got = False
        """,
    ),
    "Condition": (
        "Condition()",
        """
        with lock:
            lock.notify()
            lock.wait(0)
        """,
    ),
    "Array": (
        'Array("i", 1)',
        "lock[0] += 1",
    ),
    "RWLock": (
        "RWLock()",
        """
        with lock.read(), lock.read(): pass
        with lock.write(): pass
        """,
    ),
}


def seeded() -> int:
    seed = int(os.environ.get("PYWORKERS_SEED", secrets.randbits(31)))
    print(f"seed {seed}")
    return seed


def loop(body: str) -> str:
    """A task that does something for ever, and the sides of what it takes."""
    return (
        "def loop(turns, k, lock):\n    got = False\n    while True:\n        pause(turns, k)\n"
        + textwrap.indent(textwrap.dedent(body), " " * 8)
        + "\ndef sides(lock):\n"
        "    if hasattr(lock, 'write'):\n        return lock.write(),\n"
        "    return getattr(lock, 'get_lock', lambda: lock)(),\n"
    )


def run(hub: Hub, body: str, **values: Any) -> Any:
    if not hub.can_block:
        pytest.skip("plain functions wait where there is shared memory")
    return hub.run(PROGRAM + body, **values)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("kind", KINDS)
def test_what_a_cancelled_task_has_held_is_free(hub: Hub, kind: str) -> None:
    """C-03 X-05: a signal strikes at random while a task takes something and gives it back."""
    made, body = KINDS[kind]
    stuck = run(
        hub,
        f"{loop(body)}\nlock = {made}\n"
        "return await cancelled_at_random(random.Random(seed), 250, loop, [lock])",
        seed=seeded(),
    )
    assert stuck == 0
