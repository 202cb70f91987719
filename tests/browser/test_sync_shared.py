"""B-12 to B-16: progress, cancellation, counters and flags between hub and workers."""

from tests.gaps import skip_if
from tests.hubs import Hub

SHARED = """
import gc
from pyworkers.sync import (
    SharedCancellation, SharedCounter, SharedCounter32, SharedFlag, SharedProgress,
    create_cancellation_token, create_progress_tracker,
)
"""


def run(hub: Hub, body: str, **values: object) -> object:
    """Runs the body of an ``async def`` in a hub that has pool and imports."""
    lines = "\n".join(f"    {line}" for line in body.strip("\n").split("\n"))
    return hub.run(f"{SHARED}async with WorkerPool(2) as pool:\n{lines}", **values)


def test_no_addition_of_any_worker_is_lost(hub: Hub) -> None:
    """B-14: the sum is exact, of 32 and of 64 bits, also beyond what a float can hold."""
    assert run(
        hub,
        """
async def add(counters, n):
    for _ in range(n):
        for counter in counters:
            counter.add()
            counter.subtract(3)
counters = SharedCounter(2**61), SharedCounter32(7)
await asyncio.gather(*[pool.submit(add, counters, 250) for _ in range(4)])
for counter in counters:
    counter.add(500)
return [str(await counter.get_async()) for counter in counters], repr(counters[1])
        """,
    ) == [[str(2**61 - 1500), "-1493"], "<SharedCounter32 -1493>"]


def test_a_counter_gives_each_its_own_number_and_swaps_what_is_expected(hub: Hub) -> None:
    """B-14: though others do the same."""
    assert run(
        hub,
        """
counter = SharedCounter()
async def draw(counter, n):
    return [await counter.fetch_add_async() for _ in range(n)]
async def double(counter):
    while True:
        before = await counter.get_async()
        if await counter.compare_and_swap_async(before, 2 * before) == before:
            return
drawn = await asyncio.gather(*[pool.submit(draw, counter, 50) for _ in range(4)])
assert sorted(sum(drawn, [])) == list(range(200))
counter.set(3)
await asyncio.gather(*[pool.submit(double, counter) for _ in range(5)])
wrong = counter.compare_and_swap(1, 5), counter.fetch_add(4), counter.get()
small = SharedCounter32(2**31 - 1)
small.add(1)
refused = []
for change in (lambda: small.add(2**31), lambda: SharedCounter(2**63), lambda: small.set(0.5)):
    try:
        change()
    except (OverflowError, TypeError) as error:
        refused.append(str(error))
return wrong, small.get(), refused
        """,
    ) == [
        [96, 96, 100],
        -(2**31),
        [
            f"{2**31} does not fit into 32 bits",
            f"{2**63} does not fit into 64 bits",
            "'float' object cannot be interpreted as an integer",
        ],
    ]


def test_a_flag_wakes_all_who_wait_for_it(hub: Hub) -> None:
    """B-14"""
    assert run(
        hub,
        """
flag, seen = SharedFlag(), SharedCounter()
async def wait(flag, seen):
    assert not await flag.is_set_async()
    seen.add()
    return await flag.wait_async()
waits = [pool.submit(wait, flag, seen) for _ in range(4)]
while seen.get() < 4:
    await asyncio.sleep(0.01)
async def change(flag):
    flag.toggle()
    flag.toggle()
    flag.set()
await pool.submit(change, flag)
found = await asyncio.gather(*waits)
shown = repr(flag)
flag.clear()
return found, shown, flag.is_set(), await flag.wait_async(0.01)
        """,
    ) == [[True] * 4, "<SharedFlag set, 0 waiting>", False, False]


def test_progress_is_the_sum_of_what_all_workers_tell(hub: Hub) -> None:
    """B-12 B-16: tasks have what tells, and the owner is told of changes, at last of the last."""
    assert run(
        hub,
        """
async def work(reporter, n):
    assert not hasattr(reporter, "get")
    for _ in range(n):
        reporter.increment()
with create_progress_tracker(400) as (progress, reporter):
    assert repr(progress) == "<SharedProgress 0 of 400>"
    told, whole = [], asyncio.Event()
    def listen(done, total):
        told.append((done, total))
        if done == total:
            whole.set()
    progress.subscribe(listen)
    await asyncio.gather(*[pool.submit(work, reporter, 100) for _ in range(4)])
    await whole.wait()
    state = progress.get(), progress.total, progress.percent
    progress.set(100)
    quarter = progress.percent
count = len(told)
progress.reset()
await asyncio.sleep(0.1)
ordered, unheard = told == sorted(told), count == len(told)
return state, quarter, told[0], ordered, told[-1], unheard, progress.total, progress.percent
        """,
    ) == [[400, 400, 100.0], 25.0, [0, 400], True, [400, 400], True, None, None]


def test_all_who_were_given_a_token_stop(hub: Hub) -> None:
    """B-13: those that wait, and those that start later."""
    assert run(
        hub,
        """
async def wait(token, started):
    started.add()
    return await token.wait_async()
def late(token):
    token.raise_if_cancelled()
cancellation, started = SharedCancellation(), SharedCounter()
token = cancellation.token()
called = asyncio.Event()
cancellation.subscribe(called.set)
tasks = [pool.submit(wait, token, started) for _ in range(2)]
while started.get() < 2:
    await asyncio.sleep(0.01)
assert repr(cancellation) == "<SharedCancellation not cancelled>"
assert not await cancellation.wait_async(0.01)
cancellation.cancel()
ends = await asyncio.gather(*tasks)
await called.wait()
try:
    await pool.submit(late, token)
except asyncio.CancelledError as error:
    ends.append(type(error).__name__)
return ends, await cancellation.wait_async(), repr(cancellation), hasattr(token, "cancel")
        """,
    ) == [[True, True, "TaskCancelled"], True, "<SharedCancellation cancelled>", False]


def test_a_function_that_computes_sees_that_its_token_is_cancelled(hub: Hub) -> None:
    """B-13: without being interrupted."""
    skip_if("hear", hub)
    assert (
        run(
            hub,
            """
def compute(token, started):
    started.set()
    while not token.is_cancelled():
        pass
    return "computed"
cancellation, started = SharedCancellation(), SharedFlag()
computing = pool.submit(compute, cancellation.token(), started)
await started.wait_async()
cancellation.cancel()
return await computing
            """,
        )
        == "computed"
    )


def test_a_worker_can_cancel_and_javascript_hears_of_it(hub: Hub) -> None:
    """B-13 B-03: an AbortSignal in the hub is aborted."""
    assert run(
        hub,
        """
cancellation = SharedCancellation()
signal = cancellation.to_abort_signal()
before = signal.aborted
async def cancel(cancellation):
    own = cancellation.to_abort_signal()
    cancellation.cancel()
    while not own.aborted:
        await asyncio.sleep(0.01)
    return cancellation.is_cancelled()
found = await pool.submit(cancel, cancellation)
while not signal.aborted:
    await asyncio.sleep(0.01)
return before, found, cancellation.to_abort_signal().aborted
        """,
    ) == [False, True, True]


def test_an_owner_that_fails_cancels_its_tasks(hub: Hub) -> None:
    """B-16: and one that does not fail does not."""
    assert run(
        hub,
        """
with create_cancellation_token() as (good, token):
    good.subscribe(lambda: None)
try:
    with create_cancellation_token() as (bad, token):
        raise LookupError
except LookupError:
    pass
return good.is_cancelled(), bad.is_cancelled(), token.is_cancelled()
        """,
    ) == [False, True, True]


def test_plain_functions_wait_where_threads_can(hub: Hub) -> None:
    """B-13 B-14: in a worker and in the hub, of which each wakes the other."""
    skip_if("block", hub)
    assert run(
        hub,
        """
first, second, token = SharedFlag(), SharedFlag(), SharedCancellation()
progress = SharedProgress(3)
def work(first, second, token, progress):
    second.set()
    first.wait()
    token.wait()
    progress.increment(3)
    return progress.percent
task = pool.submit(work, first, second, token, progress)
second.wait()
first.set()
token.cancel()
_, done, total = progress.wait_changed(1, 20)
return task.result(), done, total, second.wait(0.01)
        """,
    ) == [100.0, 3, 3, True]


def test_what_nobody_uses_is_freed(hub: Hub) -> None:
    """B-16: also after it was followed."""
    skip_if("memory", hub)
    assert (
        run(
            hub,
            """
def look(*given):
    import gc
    gc.collect()
async def use():
    with create_progress_tracker(3) as (progress, reporter):
        progress.subscribe(lambda done, total: None)
        with create_cancellation_token() as (cancellation, token):
            cancellation.to_abort_signal()
            await pool.submit(look, reporter, token, SharedCounter(), SharedFlag())
await use()
async def blocks():
    for _ in range(2):
        await asyncio.gather(*[pool.submit(look) for _ in range(4)])
        gc.collect()
        await asyncio.sleep(0.06)
    return pool.memory().blocks
before = await blocks()
for _ in range(5):
    await use()
return (await blocks()) - before
        """,
        )
        == 0
    )


def test_a_worker_can_ask_others_to_stop_by_what_it_has_created(hub: Hub) -> None:
    """B-14: it sees that itself at once, and so do those that it was given to."""
    assert hub.run(
        """
        from pyworkers.sync import SharedCancellation
        kept = []
        async def make(cancels):
            cancellation = SharedCancellation()
            kept.append(cancellation)
            before = cancellation.is_cancelled(), cancellation.token().is_cancelled()
            if cancels:
                cancellation.cancel()
            now = cancellation.is_cancelled(), cancellation.token().is_cancelled()
            return before, now, cancellation, cancellation.token()
        async def see(cancellation):
            return await cancellation.wait_async(20), cancellation.is_cancelled()
        async with WorkerPool(1) as pool:
            *found, cancellation, token = await pool.submit(make, True)
            found.append((await cancellation.wait_async(5), token.is_cancelled()))
            *_, cancellation, token = await pool.submit(make, False)
            seen = pool.submit(see, cancellation)
            cancellation.cancel()
            return [*found, await seen]
        """
    ) == [[False, False], [True, True], [True, True], [True, True]]
