"""Objects and arrays that outlive a task, in every place and mode."""

import pytest

from tests.gaps import skip_if
from tests.hubs import Hub, HubError


@pytest.mark.smoke
def test_an_object_is_put_once_and_read_by_every_worker(hub: Hub) -> None:
    """X-04: each task gets a copy of its own, by itself or inside of other arguments."""
    workers, seen, size = hub.run(
        """
        def use(table, nested, n):
            time.sleep(0.02)
            table["mine"] = n
            return os.getpid(), len(table), nested[0]["deep"] is table, len(table["data"])
        async with WorkerPool(2) as pool:
            ref = pool.put({"data": bytes(200_000), "list": list(range(1000))})
            workers, seen = set(), set()
            while len(workers) < 2:
                for call in [pool.submit(use, ref, [{"deep": ref}], n) for n in range(8)]:
                    pid, *rest = await call
                    workers.add(pid)
                    seen.add(tuple(rest))
            return len(workers), list(seen), len(ref.get())
        """
    )
    assert (workers, seen, size) == (2, [[3, True, 200_000]], 2)


def test_an_object_is_kept_compressed_and_read_as_it_was(hub: Hub) -> None:
    """B-17: if it is larger than was said, and gets smaller; the memory in use is that."""
    outcome = hub.run(
        """
        import gc, random
        def about(table, noise):
            table["data"][0] = 1
            return len(table["data"]), table["text"][-4:], type(table["raw"]).__name__, len(noise)
        async with WorkerPool(2) as pool:
            await pool.submit(abs, 1)
            noise = pool.put(random.Random(1).randbytes(300_000), compress_over=1000)
            gc.collect()
            memory = pool.memory()
            before = memory.used if memory else 0
            ref = pool.put(
                {"data": bytearray(2_000_000), "text": "text" * 50_000, "raw": bytes(40_000)},
                compress_over=1_000_000,
            )
            used = pool.memory().used - before if memory else ref.stored
            calls = [pool.submit(about, ref, noise) for _ in range(4)]
            found = {tuple(await call) for call in calls}
            first = ref.get()["data"][0]
            return used, ref.size, ref.stored, list(found), repr(ref), repr(noise), first
        """
    )
    used, size, stored, found, shown, noise, first = outcome
    assert found == [[2_000_000, "text", "bytes", 300_000]]
    assert used < 40_000
    assert stored < 40_000
    assert size > 2_240_000
    assert f"{size} bytes compressed to {stored} (" in shown
    assert "compressed" not in noise
    assert first == 0


def test_a_kept_result_feeds_the_next_task(hub: Hub) -> None:
    """X-04 D-02: without passing through the hub where memory is shared."""
    outcome = hub.run(
        """
        def make(n):
            return {"numbers": bytearray(n), "n": n}
        async def later(n):
            await asyncio.sleep(0)
            return bytes(n)
        def fail():
            raise ValueError("no")
        async with WorkerPool(2) as pool:
            kept = await pool.submit_with(make, (3_000_000,), keep=True)
            awaited = await pool.submit_with(later, (70_000,), keep=True)
            sizes = await pool.submit(lambda a, b: (len(a["numbers"]), len(b)), kept, awaited)
            small = await pool.submit_with(abs, (-3,), keep=True)
            try:
                await pool.submit_with(fail, keep=True)
            except ValueError as error:
                failed = str(error)
            return type(kept).__name__, sizes, small.get(), kept.get()["n"], failed
        """
    )
    assert outcome == ["Ref", [3_000_000, 70_000], 3, 3_000_000, "no"]


def test_functions_and_initializers_may_refer_to_what_is_kept(hub: Hub) -> None:
    """X-04"""
    outcome = hub.run(
        """
        def prepare(table):
            sys.table = table
        async with WorkerPool(1) as first:
            ref = first.put([1, 2, 3])
            async with WorkerPool(1, initializer=prepare, initargs=(ref,)) as pool:
                scaled = lambda n: [n * x for x in ref.get()] if hasattr(ref, "get") else [
                    n * x for x in ref
                ]
                return await pool.submit(lambda: sys.table), await pool.submit(scaled, 2)
        """
    )
    assert outcome == [[1, 2, 3], [2, 4, 6]]


def test_what_nobody_refers_to_is_freed(hub: Hub) -> None:
    """A-03: after results, failures, cancelled tasks, and workers that were killed."""
    skip_if("memory", hub)
    skip_if("loop", hub)
    outcome = hub.run(
        """
        import gc
        def use(data): return len(data)
        def fail(data): raise ValueError
        def hang(data):
            while True: pass
        def block(data):
            sys.kept = data
            return bytearray(data)
        async with WorkerPool(2) as pool:
            await asyncio.gather(*[pool.submit(use, bytes(100_000)) for _ in range(4)])
            gc.collect()
            before = pool.memory().blocks
            for _ in range(3):
                ref = pool.put(bytearray(500_000))
                tasks = [pool.submit(use, ref) for _ in range(20)]
                tasks += [pool.submit(use, bytearray(100_000 + n)) for n in range(20)]
                failing = [pool.submit(fail, ref), pool.submit(fail, bytearray(90_000))]
                hanging = pool.submit(hang, bytearray(80_000))
                await asyncio.gather(*tasks)
                await asyncio.gather(*failing, return_exceptions=True)
                queued = [pool.submit(block, bytearray(70_000)) for _ in range(9)]
                for future in queued[::2]:
                    future.cancel()
                pool.kill(hanging)
                for future in queued[1::2]:
                    await future
                kept = await pool.submit_with(bytes, (60_000,), keep=True)
            del ref, kept, tasks, failing, hanging, queued, future
            for _ in range(1000):
                gc.collect()
                await pool.submit(use, b"")
                if pool.memory().blocks == before:
                    break
                await asyncio.sleep(0.01)
            found = pool.memory()
            return found.blocks - before, found.recoveries, found.refusals
        """
    )
    assert outcome[0] == 0
    assert outcome[2] == 0


@pytest.mark.smoke
def test_workers_share_an_array(hub: Hub) -> None:
    """A-03 D-02: each adds to one counter and fills rows of its own; no row is disturbed."""
    body = """
        def fill(numbers, counter, worker, rows):
            with numbers.checkout(worker * rows, (worker + 1) * rows) as view:
                for i in range(rows):
                    for j in range(16):
                        view[i, j] = worker * 1000 + i + j / 16
                    counter.add(0, 1)
            return counter.load(0) > 0
        async with WorkerPool(2) as pool:
            numbers = SharedArray((64, 16), "float64")
            counter = SharedArray(1, "int64")
            calls = [pool.submit(fill, numbers, counter, w, 16) for w in range(4)]
            assert all([await call for call in calls])
            right = all(
                numbers[w * 16 + i, j] == w * 1000 + i + j / 16
                for w in range(4) for i in range(16) for j in range(16)
            )
            wide = SharedArray(1, "uint64")
            wide.store(0, 2**64 - 1)
            right &= type(wide.load(0)) is int and wide.add(0, 2) == 2**64 - 1 and wide[0] == 1
            right &= wide.compare_exchange(0, 1, 2**63) == 1 and wide[0] == 2**63
            return right, counter[0], numbers.read(62).shape, repr(counter)
        """
    if hub.mode == "transfer":
        with pytest.raises(HubError, match=r"ModeError: mode transfer has no shared memory"):
            hub.run(body)
    else:
        assert hub.run(body) == [True, 64, [2, 16], "<SharedArray (1,) of int64, mode shared>"]


def test_a_worker_may_keep_a_shared_array(hub: Hub) -> None:
    """A-03: what it has kept lives on when the hub has dropped it, and is freed with the worker."""
    skip_if("memory", hub)
    skip_if("loop", hub)
    outcome = hub.run(
        """
        import gc
        def keep(array):
            sys.array = array
            array[0] = 7
            return array
        def use():
            sys.array.add(0, 1)
            return sys.array[0]
        def drop():
            del sys.array
        def hang():
            task.progress(0)
            while True: pass
        async with WorkerPool(1) as pool:
            await pool.submit(abs, 1)
            for _ in range(1000):  # until the workers of other tests have ended
                gc.collect()
                if pool.memory().blocks == 0:
                    break
                await asyncio.sleep(0.01)
            before = pool.memory().blocks
            array = SharedArray(1000, "uint8")
            same = await pool.submit(keep, array)
            same[1] = 9
            values = same[0], array[1]
            del array, same
            gc.collect()
            others = [SharedArray(1000, "uint8") for _ in range(10)]
            later = await pool.submit(use), max(max(other.read()) for other in others)
            del others
            await pool.submit(drop)
            await pool.submit(abs, 1)
            gc.collect()
            dropped = pool.memory().blocks - before
            again = SharedArray(1000, "uint8")
            await pool.submit(keep, again)
            started = asyncio.Event()
            stuck = pool.submit(hang)
            stuck.add_progress_callback(lambda *_: started.set())
            await started.wait()
            pool.kill(stuck)
            value = again[0]
            del again, stuck
            await pool.submit(abs, 1)
            for _ in range(1000):
                gc.collect()
                if pool.memory().blocks == before:
                    break
                await asyncio.sleep(0.01)
            return values, later, dropped, value, pool.memory().blocks - before
        """
    )
    assert outcome == [[7, 9], [8, 0], 0, 7, 0]


def test_shared_memory_that_is_full_is_an_error_that_says_so(hub: Hub) -> None:
    """A-03"""
    skip_if("memory", hub)
    message = hub.run(
        """
        async with WorkerPool(1) as pool:
            try:
                SharedArray(2**31, "uint8")
            except ArenaFull as error:
                message = str(error)
            assert await pool.submit(len, bytes(100_000)) == 100_000
        return message
        """
    )
    assert "has no room for 2147483648 bytes" in message


@pytest.mark.lengthy
def test_workers_that_are_killed_while_they_write_harm_nobody(hub: Hub) -> None:
    """A-03 B-04: what others have written stays, and all memory comes back."""
    skip_if("memory", hub)
    skip_if("loop", hub)
    outcome = hub.run(
        """
        import gc, random
        def churn(seed, data):
            generator = random.Random(seed)
            return [bytes([seed]) * generator.randrange(40_000, 90_000) for _ in range(20)]
        def right(parts, seed):
            return all(set(part) == {seed} for part in parts)
        rng = random.Random(3)
        async with WorkerPool(2) as pool:
            await asyncio.gather(pool.submit(abs, 1), pool.submit(abs, 2))
            gc.collect()
            before = pool.memory().blocks
            guard = pool.put(b"guard" * 100_000)
            wrong = killed = 0
            for turn in range(30):
                calls = {
                    seed: pool.submit(churn, seed, b"x" * 50_000) for seed in range(1, 7)
                }
                await asyncio.sleep(rng.random() * 0.02)
                if turn % 5 == 4:
                    killed += pool.kill(calls[rng.randrange(1, 7)])
                for seed, call in calls.items():
                    try:
                        wrong += not right(await call, seed)
                    except asyncio.CancelledError:
                        pass
            intact = guard.get() == b"guard" * 100_000
            del guard, calls, call
            for _ in range(1000):
                gc.collect()
                if pool.memory().blocks == before:
                    break
                await asyncio.sleep(0.01)
            return wrong, intact, pool.memory().blocks - before
        """
    )
    assert outcome == [0, True, 0]
