"""A mixed load on one pool, and what is left behind between its rounds.

Runs in a hub and in its workers. Owns what is done in a round, the check of every result, and the
counts of what must not grow. Knows nothing of who watches those, or for how long.
"""

import asyncio
import gc
import os
import random
import time
from typing import Any, Final

from pyworkers import Ref, SharedArray, WorkerPool

WORKERS: Final = 2
KILL_EVERY: Final = 40
"""In one of so many rounds a worker is killed."""

SETTLE_SECONDS: Final = 30.0
_NAP_SECONDS: Final = 0.02

_LINGERING: Final = frozenset({"Handle", "cell", "function", "tuple", "Context"})
"""What a cancelled timer consists of: Pyodide's event loop keeps it until its time has come."""


# What the workers run


def square(n: int) -> int:
    return n * n


def fill(seed: int, length: int) -> bytes:
    return bytes([seed % 256]) * length


def total(first: Any, *rest: Any) -> int:
    return len(first) + sum(len(data) for data in rest)


def fail(n: int) -> None:
    raise ValueError(n)


def chatter(n: int) -> None:
    print("x" * n)


def count(array: Any, row: int) -> int:
    with array.checkout(row, row + 1) as view:
        view[0] += 1
    return int(array.add(0, 1))


def hang() -> None:
    while True:
        time.sleep(_NAP_SECONDS)


async def nap(n: int) -> int:
    await asyncio.sleep(n / 10_000)
    return n


def heap_length() -> int:
    """Returns how many bytes the heap of this interpreter spans."""
    import pyodide_js

    return int(pyodide_js._module.HEAPU8.length)


def whose_heap() -> tuple[int, int]:
    """Returns who runs this, and the length of its heap."""
    time.sleep(_NAP_SECONDS)  # so that the other worker is asked too
    return os.getpid(), heap_length()


# What the hub does


class Load:
    """A pool, and the rounds of calls that it is given.

    Args:
        seed: of what is drawn.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._pool = WorkerPool(WORKERS, modules=["load"], on_output=lambda *_: None, standby=0)
        self._started = time.monotonic()
        self.rounds = 0
        self.calls = 0
        self.killed = 0

    async def work(self, seconds: float) -> dict[str, Any]:
        """Does rounds for so long; returns what ``sample`` does."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            await self._round()
            self.rounds += 1
            if self.rounds % KILL_EVERY == 1:
                await self._kill()
        return await self.sample()

    async def _round(self) -> None:
        pool, rng = self._pool, self._random
        await asyncio.gather(
            self._small(),
            self._mapped(),
            self._large(),
            self._kept(),
            self._failures(),
            self._cancelled(),
            self._awaited(),
            *([self._shared()] if pool.mode == "shared" else []),
        )
        await pool.submit(chatter, rng.randrange(20_000))

    async def _small(self) -> None:
        calls = [self._pool.submit(square, n) for n in range(60)]
        assert [await call for call in calls] == [n * n for n in range(60)]
        self.calls += 60

    async def _mapped(self) -> None:
        found = [n async for n in self._pool.map(square, range(200))]
        assert found == [n * n for n in range(200)]
        self.calls += 200

    async def _large(self) -> None:
        lengths = [int(10 ** self._random.uniform(3, 6.3)) for _ in range(4)]
        given = [self._pool.submit(total, bytearray(n), bytes(n // 2)) for n in lengths]
        made = [self._pool.submit(fill, n, n) for n in lengths]
        assert [await call for call in given] == [n + n // 2 for n in lengths]
        for n, call in zip(lengths, made, strict=True):
            assert await call == fill(n, n)
        self.calls += 8

    async def _kept(self) -> None:
        pool, length = self._pool, self._random.randrange(1, 300_000)
        ref = pool.put(bytearray(length))
        kept: Ref[bytes] = await pool.submit_with(fill, (7, length), keep=True)
        calls = [pool.submit(total, ref, kept, [1]) for _ in range(6)]
        assert [await call for call in calls] == [2 * length + 1] * 6
        assert kept.get() == fill(7, length)
        self.calls += 7

    async def _failures(self) -> None:
        calls = [self._pool.submit(fail, n) for n in range(5)]
        errors = await asyncio.gather(*calls, return_exceptions=True)
        assert [repr(error) for error in errors] == [f"ValueError({n})" for n in range(5)]
        self.calls += 5

    async def _cancelled(self) -> None:
        calls = [self._pool.submit(total, bytes(50_000 + n)) for n in range(10)]
        cancelled = [call.cancel() for call in calls[::2]]
        for n, call in enumerate(calls):
            try:
                assert await call == 50_000 + n
            except asyncio.CancelledError:
                assert cancelled[n // 2]
                assert n % 2 == 0
        self.calls += 10

    async def _awaited(self) -> None:
        calls = [self._pool.submit(nap, n) for n in range(20)]
        assert sorted([await call for call in calls]) == list(range(20))
        self.calls += 20

    async def _shared(self) -> None:
        array = SharedArray(self._random.randrange(100, 100_000), "int64")
        calls = [self._pool.submit(count, array, row) for row in range(1, 7)]
        assert sorted([await call for call in calls]) == list(range(6))
        assert sum(array.read(0, 7)) == 12
        self.calls += 6

    async def _kill(self) -> None:
        hanging = self._pool.submit(hang)
        async with asyncio.timeout(SETTLE_SECONDS):
            while not hanging.running():
                await asyncio.sleep(_NAP_SECONDS)
        assert self._pool.kill(hanging)
        self.killed += 1

    async def sample(self) -> dict[str, Any]:
        """Returns, between rounds, what there is of everything that might grow."""
        heaps = await self._heaps()
        async with asyncio.timeout(SETTLE_SECONDS):
            while True:
                # The workers tell of what they dropped behind their next task. At least once, or
                # the first sample in which something is left finds a function that is new.
                await asyncio.gather(*[self._pool.submit(gc.collect) for _ in range(WORKERS)])
                gc.collect()
                left = self._left()
                if not any(left.values()):
                    break
                await asyncio.sleep(_NAP_SECONDS)
        memory = self._pool.memory()
        return {
            "seconds": round(time.monotonic() - self._started, 1),
            "rounds": self.rounds,
            "calls": self.calls,
            "killed": self.killed,
            "hub": heap_length(),
            "objects": sum(type(found).__name__ not in _LINGERING for found in gc.get_objects()),
            "workers": heaps,
            "used": memory.used if memory else 0,
            "peak": memory.peak if memory else 0,
            "span": memory.bytes if memory else 0,
            "left": left,
            "per worker": self._per_worker(),
            "known": self._known(),
        }

    async def _heaps(self) -> dict[str, int]:
        """Returns the heap's length of each worker, by its number."""
        heaps: dict[str, int] = {}
        async with asyncio.timeout(SETTLE_SECONDS):
            while len(heaps) < WORKERS:
                calls = [self._pool.submit(whose_heap) for _ in range(2 * WORKERS)]
                heaps |= {str(pid): length for pid, length in [await call for call in calls]}
        return heaps

    def _left(self) -> dict[str, int]:
        """Counts what must be gone when all calls are done."""
        pool = self._pool
        engine, hub = pool._engine, pool._hub
        memory = pool.memory()
        store: Any = hub.store
        return {
            "tasks": len(engine.tasks),
            "scheduled": engine.scheduler.outstanding,
            "queued": engine.scheduler.queued,
            "deadlines": len(engine.scheduler._deadlines),
            "retained": sum(len(sent.retained) for sent in engine.peers.told.values()),
            "frames": len(hub._frames),
            "settles": len(hub._settles),
            "answering": len(hub._answering),
            "kept": len(store._blocks if memory else store._objects),
            "forgotten": len(store._deliveries._forgotten),
            "blocks": memory.blocks if memory else 0,
            **_shim_counts(pool)["left"],
        }

    def _per_worker(self) -> dict[str, int]:
        """Counts what each worker has one of."""
        engine, hub = self._pool._engine, self._pool._hub
        return {
            "workers": len(engine.scheduler.workers),
            "told": len(engine.peers.told),
            "handlers": len(hub._handlers),
            **_shim_counts(self._pool)["per worker"],
        }

    def _known(self) -> dict[str, int]:
        """Counts what is remembered of functions."""
        functions = self._pool._engine.functions
        return {
            "functions": len(functions.encoded),
            "digests": len(functions._digests),
            "importable": len(functions._importable),
            "durations": len(functions.seconds),
        }

    async def close(self) -> None:
        await self._pool.aclose()


def _shim_counts(pool: WorkerPool) -> dict[str, dict[str, int]]:
    from pyodide.code import run_js

    staff: Any = pool._hub._staff
    counts: dict[str, dict[str, int]] = run_js(
        """(hub) => {
            const left = { ending: hub.ending.size, doomed: hub.doomed.length };
            const peers = [...hub.link.peers.values()];
            const sum = (of) => peers.reduce((all, peer) => all + of(peer), 0);
            left.parts = sum((peer) => peer.parts.size + (peer.filled?.size ?? 0));
            left.waiting = sum((peer) => (peer.backlog ?? peer.incoming).length);
            left.unsent = sum((peer) => peer.outgoing?.length ?? 0);
            const each = { peers: peers.length };
            if (hub.arena) each.channels = hub.channels.size;
            return { left, "per worker": each };
        }"""
    )(staff._shim).to_py()
    return counts


_running: list[Load] = []
"""At the most one."""


async def work(seed: int, seconds: float) -> dict[str, Any]:
    """Does rounds for so long, with the pool of the call before if there was one."""
    if not _running:
        _running.append(Load(seed))
    return await _running[0].work(seconds)


async def close() -> None:
    """Ends the pool."""
    await _running.pop().close()
