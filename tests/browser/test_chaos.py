"""Thousands of tasks while workers die: by their own tasks, and by whoever kills what runs."""

import os

import pytest

from tests.hubs import Hub

pytestmark = pytest.mark.lengthy

SEED = int(os.environ.get("PYWORKERS_SEED", "2026"))
TASKS = 5000


@pytest.mark.timeout(300)
def test_every_task_settles_once_whatever_dies(hub: Hub) -> None:
    """X-02 D-09 B-05: those that may be run again are done, the others are never run twice."""
    print(f"seed {SEED}")
    outcome = hub.run(
        """
        import random
        from collections import Counter
        from pyworkers import task
        rng = random.Random(seed)
        def work(n, deadly):
            task.progress(n)
            if random.random() < deadly:
                os._exit(3)
            return n
        async def linger(n, deadly):
            await asyncio.sleep(0.001)
            return work(n, deadly)
        runs, killed, settled = Counter(), set(), []
        async with WorkerPool(4) as pool:
            futures = []
            for n in range(tasks):
                function = linger if rng.random() < 0.2 else work
                retries = 1000 if n % 2 else 0
                future = pool.submit_with(function, [n, 0.002], retries=retries)
                future.add_progress_callback(lambda n, *_: runs.update([n]))
                future.add_done_callback(settled.append)
                futures.append(future)

            async def kill():
                # By what was done, not by time: a start may take longer than tasks are let live.
                for due in range(every, tasks, every):
                    while len(settled) < due or not kill_one():
                        await asyncio.sleep(0.01)
            def kill_one():
                running = [n for n, future in enumerate(futures) if future.running()]
                if not running or not pool.kill(futures[victim := rng.choice(running)]):
                    return False
                killed.add(victim)
                return True

            killing = asyncio.create_task(kill())
            ended = await asyncio.gather(*futures, return_exceptions=True)
            killing.cancel()
            counts = pool.stats()
            alive = await pool.submit(abs, -1)
        wrong = []
        for n, value in enumerate(ended):
            kind = type(value).__name__
            if value == n and n not in killed: kind = "done"
            elif kind == "CancelledError" and n in killed: kind = "killed"
            if kind not in ("done", "killed", *(() if n % 2 else ("WorkerLost",))):
                wrong.append((n, kind))
            if n % 2 == 0 and runs[n] > 1:
                wrong.append((n, "ran twice"))
        lost = sum(isinstance(value, WorkerLost) for value in ended)
        told = (counts.done, counts.cancelled, counts.lost, counts.queued, counts.running)
        seen = (tasks - lost - len(killed), len(killed), lost, 0, 0)
        return wrong, told == seen, alive, counts.workers_lost, len(killed)
        """,
        seed=SEED,
        tasks=TASKS,
        every=TASKS // 25,
    )
    wrong, adds_up, alive, deaths, killed = outcome
    print(f"{deaths} workers died")
    assert wrong == []
    assert adds_up
    assert alive == 1
    # A task that was killed before it began cost no worker.
    assert killed > 12
    assert deaths > 3
