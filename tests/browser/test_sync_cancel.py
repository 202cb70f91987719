"""C-03 X-05: a task that is cancelled at any moment leaves nothing taken.

``PYWORKERS_SEED`` is the seed of the moments.
"""

import os
import secrets
import textwrap

import pytest

from tests.gaps import skip_if
from tests.hubs import Hub

pytestmark = pytest.mark.lengthy

PROGRAM = """
import random
from pyworkers.sync import Array, Condition, Lock, RLock, RWLock, Semaphore, SharedCounter
async def cancelled_at_random(pool, rng, rounds, loop, lock):
    # Returns how many rounds went well before one left something taken.
    turns = SharedCounter()
    pid = await pool.submit(os.getpid)
    for round in range(rounds):
        turns.set(0)
        future = pool.submit(loop, turns, rng.randrange(40), lock)
        while not turns.get():
            await asyncio.sleep(0)
        moment = time.perf_counter() + rng.random() / 500
        while time.perf_counter() < moment:
            pass
        future.cancel(running=True)
        # The worker takes the next task when it has ended this one.
        assert await pool.submit(os.getpid) == pid
        for side in sides(lock):
            if not await side.acquire_async(5):
                return round
            side.release()
    return rounds
def sides(lock):
    return (lock.write(), ) if isinstance(lock, RWLock) else (lock, )
def pause(turns, k):
    turns.add()
    for _ in range(k):
        pass
"""

KINDS = {
    "Lock": ("Lock()", "with lock: pass"),
    "by hand": (
        "Lock()",
        """
        got = False
        try:
            got = lock.acquire()
        finally:
            if got: lock.release()
        """,
    ),
    "RLock": ("RLock()", "with lock, lock: pass"),
    "Semaphore": ("Semaphore(1)", "with lock: pass"),
    "Condition": (
        "Condition()",
        """
        with lock:
            lock.notify()
            lock.wait(0)
        """,
    ),
    "Array": ('Array("i", 1)', "lock[0] += 1"),
    "RWLock": (
        "RWLock()",
        """
        with lock.read(), lock.read(): pass
        with lock.write(): pass
        """,
    ),
}


def looping(body: str) -> str:
    """A task that does something for ever, and begins each turn at another moment."""
    return (
        "def loop(turns, k, lock):\n    while True:\n        pause(turns, k)\n"
        + textwrap.indent(textwrap.dedent(body), " " * 8)
        + "\n"
    )


@pytest.mark.timeout(180)
def test_what_a_cancelled_task_has_held_is_free(hub: Hub) -> None:
    """C-03 X-05: a signal strikes at random while a task takes something and gives it back."""
    skip_if("block", hub)
    seed = int(os.environ.get("PYWORKERS_SEED", secrets.randbits(31)))
    print(f"seed {seed}")
    each = [
        f"{looping(body)}"
        f"found[{name!r}] = await cancelled_at_random(pool, rng, rounds, loop, {made})\n"
        for name, (made, body) in KINDS.items()
    ]
    found = hub.run(
        PROGRAM
        + "rng, found = random.Random(seed), {}\nasync with WorkerPool(1, grace=60) as pool:\n"
        + textwrap.indent("".join(each), "    ")
        + "    return found\n",
        seed=seed,
        rounds=60,
    )
    assert found == dict.fromkeys(KINDS, 60)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", ["Queue", "SimpleQueue", "Pipe"])
def test_what_a_cancelled_task_has_taken_out_it_has(hub: Hub, kind: str) -> None:
    """C-03 X-05: a signal strikes at random; the last item that is gone is the last one it got."""
    skip_if("block", hub)
    taken = hub.run(
        """
        from pyworkers.sync import Pipe, Queue, SimpleQueue
        def drink(get, last):
            n = -1
            try:
                while True:
                    n = get()
            finally:
                last[0] = n
        async with WorkerPool(1, grace=60) as pool:
            taken, last = [], SharedArray(1, "i")
            if kind == "Pipe":
                reader, writer = Pipe(duplex=False)
                get, put, queue = reader.recv, writer.send, reader._reader
            else:
                queue = Queue() if kind == "Queue" else SimpleQueue()
                get, put = queue.get, queue.put
            i = 0
            for _ in range(40):
                while queue.statistics().depth < 2_000:
                    put(i)
                    i += 1
                enough = queue.statistics().gets + 200
                future = pool.submit(drink, get, last)
                while queue.statistics().gets < enough:
                    await asyncio.sleep(0)
                future.cancel(running=True)
                await pool.submit(os.getpid)
                taken.append(queue.statistics().gets - 1 - last[0])
            return taken
        """,
        kind=kind,
    )
    assert taken == [0] * 40


@pytest.mark.timeout(120)
def test_a_cancelled_task_leaves_no_memory_behind_that_it_was_about_to_put(hub: Hub) -> None:
    """C-03 X-05: large items lie in blocks of their own, which are a queue's or are freed."""
    skip_if("block", hub)
    found = hub.run(
        """
        from pyworkers.sync import Queue
        def flood(q):
            item = b"x" * 20_000
            while True:
                q.put(item)
        async with WorkerPool(1, grace=60) as pool:
            await pool.submit(int)
            q, used = Queue(3), []
            for _ in range(60):
                future = pool.submit(flood, q)
                for _ in range(5):
                    await q.get_async(20)
                future.cancel(running=True)
                await pool.submit(int)
                while not q.empty():
                    await q.get_async(20)
                used.append(pool.memory().used)
            return used[-1] - used[0]
        """
    )
    assert found == 0
