"""A-04 X-05: who fights for a lock gets turns of it, and is not passed over for long.

Who has waited for a millisecond goes first. So others come before it for about that long, once for
each worker, and for as long as the machine does not run it at all: some hundred turns, or some
thousand where much else runs.
"""

import textwrap

import pytest

from tests.gaps import skip_if
from tests.hubs import Hub

PROGRAM = """
from pyworkers.sync import Barrier, Lock, RWLock, SharedCounter
def fight(me, lock, total, turns, log, start):
    side = lock if isinstance(lock, Lock) else lock.write() if me % 2 else lock.read()
    start.wait()
    while True:
        with side:
            turn = turns.fetch_add()
            if turn >= total:
                return
            log[turn] = me
def longest_run_of_others(log, me):
    last, longest = -1, 0
    for turn in [turn for turn, who in enumerate(log) if who == me] + [len(log)]:
        last, longest = turn, max(longest, turn - last - 1)
    return longest
async def watch(pool, lock):
    log, turns, start = SharedArray(total, "int8"), SharedCounter(), Barrier(4, timeout=60)
    given = lock, total, turns, log, start
    await asyncio.gather(*(pool.submit(fight, me, *given) for me in range(4)))
    log = bytes(log[:])
    return [[log.count(me), longest_run_of_others(log, me)] for me in range(4)]
async with WorkerPool(4) as pool:
    return {"Lock": await watch(pool, Lock()), "RWLock": await watch(pool, RWLock())}
"""


@pytest.mark.timeout(120)
def test_everybody_gets_its_turns_of_a_lock(hub: Hub) -> None:
    """X-05: by counts of turns, four workers in tight loops."""
    skip_if("block", hub)
    total = 40_000
    found = hub.run(textwrap.dedent(PROGRAM), total=total)
    print(found)
    for kind, workers in found.items():
        for turns, others in workers:
            assert turns >= total // 20, kind
            assert others <= total // 2, kind
