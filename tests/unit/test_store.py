"""What outlives a task: refs in mode inline, and the two stores behind them.

Every test also says that all memory is free again when it is over.
"""

import asyncio
import copy
import gc
import pickle
import random
import threading
from array import array
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import cloudpickle  # type: ignore[import-untyped]
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyworkers import (
    ArenaStatistics,
    PayloadError,
    Ref,
    RemoteTraceback,
    SharedArray,
    WorkerPool,
    _codec,
    _shared_array,
    _store,
)
from pyworkers._arena import HUB, LocalArena, SharedArena
from pyworkers._channels.memory import MemoryLink
from pyworkers._codec import SPILL_BYTES
from pyworkers._hub import hub_for
from pyworkers._protocol import Kind
from pyworkers._store import ArenaStore, Block, SendingStore, stores
from pyworkers._worker import Worker

pytestmark = pytest.mark.timeout(60)

here: dict[str, Any] = {}
"""What tasks keep in this interpreter, for others and for their test."""


def store() -> ArenaStore:
    found = hub_for("inline").store
    assert isinstance(found, ArenaStore)
    return found


def blocks() -> int:
    """How many blocks this test has in use, once all garbage is gone."""
    gc.collect()
    return len(store().attached() - others)


others: set[int] = set()
"""Blocks of tests that failed, whose variables are still there to be looked at."""


@pytest.fixture(autouse=True, scope="module")
def quick_collections() -> Iterator[None]:
    """Has the garbage collector pass by what was there before these tests."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    others.clear()
    others.update(store().attached())
    before = store().arena.statistics()
    yield
    here.clear()
    assert blocks() == 0
    after = store().arena.statistics()
    assert after.blocks <= before.blocks
    assert after.used <= before.used


def same(value: Any) -> Any:
    return value


# Refs


VALUES: dict[str, Any] = {
    "None": None,
    "a number": 2**70,
    "text": "naïve",
    "a container": {"a": [1, (2.5, b"c")], (): {3}},
    "little bytes": b"abc",
    "many bytes": bytes(range(256)) * 200,
    "many bytes that can be changed": bytearray(range(256)) * 200,
    "a long pickle": ["x" * SPILL_BYTES, list(range(20_000))],
    "large parts of odd lengths": [bytes(SPILL_BYTES + n) for n in range(4)],
}


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_what_is_put_is_given_to_tasks_and_can_be_got(value: Any) -> None:
    with WorkerPool() as pool:
        ref = pool.put(value)
        assert ref.get() == value
        result = pool.submit(same, ref).result()
        assert result == value
        assert type(result) is type(value)
        assert pool.submit(repr, ref).result() == repr(value)


def test_a_ref_says_how_large_its_object_is() -> None:
    with WorkerPool() as pool:
        ref = pool.put(bytes(100_000))
    assert 100_000 < ref.size < 100_200
    assert repr(ref) == f"<Ref {ref.id}: {ref.size} bytes, mode inline>"


def test_each_get_returns_a_copy_of_its_own() -> None:
    with WorkerPool() as pool:
        ref = pool.put([1])
    one, other = ref.get(), ref.get()
    one.append(2)
    assert (one, other, ref.get()) == ([1, 2], [1], [1])


def append_to(values: list[int]) -> list[int]:
    values.append(len(values))
    return values


def scale(values: Any) -> None:
    values *= 10


def test_a_task_that_changes_its_copy_changes_nothing_else() -> None:
    values = [0]
    rows = np.ones(SPILL_BYTES)
    with WorkerPool() as pool:
        ref, large = pool.put(values), pool.put(rows)
        values.append(7)
        assert [pool.submit_with(append_to, [ref]).result() for _ in range(3)] == [[0, 1]] * 3
        pool.submit(scale, large).result()
    assert ref.get() == [0]
    assert large.get().sum() == SPILL_BYTES
    assert values == [0, 7]


def test_a_ref_may_be_anywhere_in_what_a_task_is_given() -> None:
    with WorkerPool() as pool:
        ref: Any = pool.put({"a": 1})
        wrapped: Any = {"deep": [(ref,), {"deeper": [[[ref]]]}]}
        found = {"deep": [({"a": 1},), {"deeper": [[[{"a": 1}]]]}]}
        assert pool.submit(same, wrapped).result() == found
        assert pool.submit(same, value=wrapped).result() == found
        assert pool.submit_with(same, kwargs={"value": ref}).result() == {"a": 1}
        assert list(pool.map(same, [ref, 2, wrapped])) == [{"a": 1}, 2, found]
        assert pool.submit(lambda: ref).result() == {"a": 1}


def test_what_is_one_ref_in_the_arguments_is_one_object_in_the_call() -> None:
    with WorkerPool() as pool:
        ref = pool.put([1])
        assert pool.submit(lambda a, b: a is b, ref, ref).result()
        assert not pool.submit(lambda a, b: a is b, ref, pool.put([1])).result()


def begin(table: dict[str, int], size: int) -> None:
    here["table"] = table | {"size": size}


def test_an_initializer_may_be_given_a_ref() -> None:
    ref = WorkerPool().put({"a": 1})
    with WorkerPool(initializer=begin, initargs=(ref, 2)) as pool:
        del ref
        assert pool.submit(lambda: None).result() is None
        assert here["table"] == {"a": 1, "size": 2}


def test_a_ref_may_stand_for_what_holds_other_refs() -> None:
    with WorkerPool() as pool:
        inner: Any = pool.put([1])
        outer = pool.put({"inner": inner, "array": SharedArray(2, "int8")})
        outermost = pool.put((outer, inner))
        del inner, outer
        assert blocks() == 4
        found, again = pool.submit_with(same, [outermost]).result()
        assert found["inner"] == again == outermost.get()[1] == [1]
        assert found["array"].read().tolist() == [0, 0]


def test_a_function_that_is_put_is_called_where_it_is_given() -> None:
    factor = 3
    with WorkerPool() as pool:
        ref = pool.put(lambda n: n * factor)
        assert list(pool.submit_with(map, [ref, [1, 2]], keep=True).result().get()) == [3, 6]


def test_what_cannot_be_pickled_is_not_put() -> None:
    with WorkerPool() as pool:
        with pytest.raises(PayloadError, match=r"cannot pickle '_thread.lock' object"):
            pool.put([bytes(SPILL_BYTES), threading.Lock()])
        with pytest.raises(PayloadError, match="cannot pickle"):
            pool.put([pool.put(1), threading.Lock()])


def fail_to_be_read() -> None:
    raise LookupError("cannot be read")


class Unreadable:
    """Can be pickled, and not be read back."""

    def __reduce__(self) -> tuple[Any, ...]:
        return fail_to_be_read, ()


def test_what_cannot_be_read_fails_whoever_reads_it() -> None:
    with WorkerPool() as pool:
        ref = pool.put(Unreadable())
        with pytest.raises(PayloadError, match="LookupError: cannot be read"):
            ref.get()
        error = pool.submit(same, ref).exception()
        assert isinstance(error, PayloadError)
        assert "LookupError: cannot be read" in str(error)
        assert pool.submit(same, 1).result() == 1


COPIES: dict[str, Callable[[object], object]] = {
    "pickle": pickle.dumps,
    "cloudpickle": cloudpickle.dumps,
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}


@pytest.mark.parametrize("pickled", COPIES.values(), ids=COPIES)
def test_a_ref_is_pickled_only_on_its_way_to_a_task_or_back(
    pickled: Callable[[object], object],
) -> None:
    with WorkerPool() as pool:
        ref = pool.put(1)
        pool.submit(same, ref).result()
        with pytest.raises(pickle.PicklingError) as raised:
            pickled(ref)
    assert str(raised.value) == "a Ref can only be given to a task or returned by one"


# Results that are kept


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_a_result_that_is_kept_is_given_to_other_tasks(value: Any) -> None:
    with WorkerPool() as pool:
        ref = pool.submit_with(same, [value], keep=True).result()
        assert isinstance(ref, Ref)
        assert pool.submit(repr, ref).result() == repr(value)
        again = pool.submit_with(same, [ref], keep=True).result()
        del ref
        assert again.get() == value


LARGE: dict[str, Any] = {
    "bytes": bytes(SPILL_BYTES),
    "bytearray": bytearray(SPILL_BYTES),
    "memoryview": memoryview(bytes(SPILL_BYTES)),
    "memoryview that can be changed": memoryview(bytearray(SPILL_BYTES)),
    "array": array("d", bytes(SPILL_BYTES)),
    "numpy": np.zeros(SPILL_BYTES, "int16"),
    "frozen numpy": np.frombuffer(bytes(SPILL_BYTES), "int16"),
}


@pytest.mark.parametrize("value", LARGE.values(), ids=LARGE)
def test_what_cannot_be_written_to_stays_so(value: Any) -> None:
    with WorkerPool() as pool:
        kept = pool.submit_with(same, [value], keep=True).result()
        for ref in (pool.put(value), pool.put([[[[value]]]]), kept):
            found: Any = ref.get()
            while type(found) is list:
                found = found[0]
            assert type(found) is type(value)
            assert memoryview(found).readonly == memoryview(value).readonly
            assert bytes(found) == bytes(value)


async def slowly(value: Any) -> Any:
    await asyncio.sleep(0)
    return value


def test_the_result_of_a_coroutine_can_be_kept() -> None:
    async def main() -> None:
        async with WorkerPool() as pool:
            ref = await pool.submit_with(slowly, [{"a": 1}], keep=True)
            assert await pool.submit(slowly, ref) == {"a": 1}

    asyncio.run(asyncio.wait_for(main(), 10))


def fail(value: object) -> None:
    raise ValueError("wrong", value)


def test_the_exception_of_a_task_whose_result_is_to_be_kept_is_raised() -> None:
    with WorkerPool() as pool:
        with pytest.raises(ValueError, match="wrong") as raised:
            pool.submit_with(fail, [bytes(SPILL_BYTES)], keep=True).result()
        assert isinstance(raised.value.__cause__, RemoteTraceback)
        error = pool.submit_with(threading.Lock, keep=True).exception()
        assert isinstance(error, PayloadError)
        assert str(error).startswith("the result of the task, <unlocked _thread.lock object")
        assert pool.submit_with(same, [1], keep=True).result().get() == 1


def test_a_result_that_is_kept_keeps_what_it_refers_to() -> None:
    with WorkerPool() as pool:
        made = SharedArray(2, "int8")
        ref = pool.submit_with(same, [{"made": made}], keep=True).result()
        made[0] = 5
        del made
        assert blocks() == 2
        assert ref.get()["made"][0] == 5


def take_from_here() -> Any:
    return here.pop("ref")


@pytest.mark.parametrize("keep", [False, True])
def test_a_ref_that_only_a_task_had_can_be_returned(keep: bool) -> None:
    with WorkerPool() as pool:
        here["ref"] = pool.put([1])
        found = pool.submit_with(take_from_here, keep=keep).result()
        assert (found.get() if keep else found) == [1]


# How long an object is kept


def test_an_object_is_kept_as_long_as_there_is_a_ref_to_it() -> None:
    with WorkerPool() as pool:
        ref = pool.put(bytes(100_000))
        used = pool.memory()
        future = pool.submit_with(same, [ref], keep=True)
        assert blocks() == 2
        del future
        assert blocks() == 1
        again = ref
        del ref
        assert blocks() == 1
        assert used is not None
        del again
        assert blocks() == 0
        left = pool.memory()
        assert left is not None
        assert used.used - left.used >= 100_000


def test_an_object_is_kept_as_long_as_a_task_waits_for_it() -> None:
    async def main() -> None:
        gate = asyncio.Event()
        here["gate"] = gate
        async with WorkerPool(initializer=wait_at_the_gate) as pool:
            future = pool.submit_with(len, [pool.put([1, 2])])
            cancelled = pool.submit_with(len, [pool.put([3])])
            late = pool.submit_with(len, [pool.put([4])], timeout=0)
            killed = pool.submit_with(len, [pool.put([5])])
            assert blocks() == 4
            cancelled.cancel()
            pool.kill(killed)
            with pytest.raises(TimeoutError):
                await late
            assert blocks() == 1
            gate.set()
            assert await future == 2
            assert blocks() == 0

    asyncio.run(asyncio.wait_for(main(), 10))


async def wait_at_the_gate() -> None:
    await here["gate"].wait()


def test_an_object_is_freed_after_a_task_that_failed() -> None:
    with WorkerPool() as pool:
        futures: list[Any] = [
            pool.submit_with(fail, [pool.put([1])]),
            pool.submit_with(fail, [pool.put([1])], keep=True),
            pool.submit_with(len, [pool.put([1]), 2]),
            pool.submit_with(same, [pool.put(Unreadable())]),
            pool.submit_with(threading.Lock, [pool.put([1])]),
        ]
        assert all(future.exception() for future in futures)
        assert blocks() == 0
        assert pool.submit_with(same, [pool.put([1]), threading.Lock()]).exception()
        assert blocks() == 0


def test_a_function_that_refers_to_an_object_keeps_it_as_long_as_its_pool() -> None:
    def use(pool: WorkerPool, ref: Any) -> None:
        assert pool.submit(lambda: ref).result() == 5

    with WorkerPool() as pool:
        use(pool, pool.put(5))
        assert blocks() == 1
    del pool
    assert blocks() == 0


def test_an_object_outlives_the_pool_that_kept_it() -> None:
    with WorkerPool() as pool:
        future = pool.submit_with(same, [[1]], keep=True)
        put = pool.put([2])
    kept = future.result()
    del pool, future
    gc.collect()
    with WorkerPool() as other:
        assert list(other.map(same, [kept, put])) == [[1], [2]]
    assert kept.get() + put.get() == [1, 2]


def test_a_result_is_kept_while_its_pool_shuts_down() -> None:
    async def main() -> None:
        async with WorkerPool() as pool:
            future = pool.submit_with(slowly, [[1]], keep=True)
            pool.shutdown(wait=False)
        assert (await future).get() == [1]

    asyncio.run(asyncio.wait_for(main(), 10))


# Stores


def kept(mode: str, value: Any) -> Ref[Any]:
    return _store.keep(mode, _codec.encode(value))


def other_mode(monkeypatch: pytest.MonkeyPatch, found: ArenaStore | SendingStore) -> None:
    monkeypatch.setitem(stores, "other", found)


KINDS: dict[str, Callable[[], ArenaStore | SendingStore]] = {
    "arena": lambda: ArenaStore(LocalArena(), is_hub=True),
    "sending": SendingStore,
}


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("value", [*VALUES.values(), *LARGE.values()], ids=[*VALUES, *LARGE])
def test_a_store_gives_back_what_was_put(
    make: Callable[[], ArenaStore | SendingStore], value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    other_mode(monkeypatch, make())
    ref = kept("other", [value])
    (found,) = ref.get()
    assert type(found) is type(value)
    assert repr(found) == repr(value) or bytes(found) == bytes(value)
    assert repr(ref).endswith("bytes, mode other>")


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_a_store_has_copies_of_what_can_be_changed(
    make: Callable[[], ArenaStore | SendingStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    other_mode(monkeypatch, make())
    value = bytearray(SPILL_BYTES)
    ref = kept("other", value)
    value[0] = 1
    ref.get()[1] = 1
    assert ref.get() == bytes(SPILL_BYTES)


actions = st.lists(
    st.tuples(st.sampled_from(["put", "drop"]), st.lists(st.integers(0, 9), max_size=3)),
    max_size=25,
)


def reachable(held: list[Ref[Any]], inner: dict[int, set[int]]) -> set[int]:
    """The ids of what is held, and of what that refers to."""
    found: set[int] = set()
    ahead = [ref.id for ref in held]
    while ahead:
        id = ahead.pop()
        if id not in found:
            found.add(id)
            ahead += inner[id]
    return found


def play(steps: Sequence[tuple[str, list[int]]], live: Callable[[], set[int]]) -> None:
    """Puts and drops, with refs to refs, and looks after each step at what is there."""
    held: list[Ref[Any]] = []
    inner: dict[int, set[int]] = {}
    values: dict[int, int] = {}
    for number, (step, which) in enumerate(steps):
        chosen = {n % len(held) for n in which} if held else set()
        if step == "put":
            held.append(kept("other", (number, [held[n] for n in chosen])))
            inner[held[-1].id] = {held[n].id for n in chosen}
            values[held[-1].id] = number
        else:
            held = [ref for n, ref in enumerate(held) if n not in chosen]
        assert live() == reachable(held, inner)
        assert [ref.get()[0] for ref in held] == [values[ref.id] for ref in held]
    held.clear()
    assert live() == set()


@given(actions)
def test_exactly_what_somebody_needs_is_in_an_arena(steps: list[tuple[str, list[int]]]) -> None:
    found = ArenaStore(LocalArena(), is_hub=True)
    stores["other"] = found
    play(steps, found.attached)
    statistics = found.statistics()
    assert statistics is not None
    assert (statistics.blocks, statistics.used) == (0, 0)
    assert statistics.allocations == statistics.frees


@given(actions)
def test_exactly_what_somebody_needs_is_there_to_be_sent(
    steps: list[tuple[str, list[int]]],
) -> None:
    found = SendingStore()
    stores["other"] = found
    puts = sum(step == "put" for step, _ in steps)

    def is_there(id: int) -> bool:
        try:
            found.load(id, ())
        except KeyError:
            return False
        return True

    play(steps, lambda: {id for id in range(1, puts + 1) if is_there(id)})


@pytest.fixture(autouse=True)
def no_other_mode() -> Iterator[None]:
    yield
    stores.pop("other", None)


# The store of mode transfer


class Peer:
    """A worker's end of mode transfer: what it was sent, and not told to forget.

    Args:
        hub: the store of its hub.
        number: of this worker.
    """

    def __init__(self, hub: SendingStore, number: int) -> None:
        self.hub = hub
        self.number = number
        self.store = SendingStore()
        self.ids: list[int] = []

    def send(self, *refs: Ref[Any]) -> list[int]:
        """Sends what is missing for a task with these refs; returns the ids."""
        sent = self.hub.missing(self.number, refs)
        for id, encoded in sent:
            assert id not in self.ids
            assert all(handle.id in self.ids for handle in encoded[2])
            self.ids.append(id)
            data, buffers, _ = encoded
            copies = [memoryview(bytes(b) if b.readonly else bytearray(b)) for b in buffers]
            self.store.keep(id, (data, copies, ()))
        return [id for id, _ in sent]

    def read(self, ref: Ref[Any], monkeypatch: pytest.MonkeyPatch) -> Any:
        """What a task of this worker is given for a ref."""
        data, buffers, _ = _codec.encode([ref])
        with monkeypatch.context() as patch:
            patch.setitem(stores, "other", self.store)
            return _codec.decode(data, buffers)[0]


@pytest.fixture
def sending(monkeypatch: pytest.MonkeyPatch) -> SendingStore:
    """The store of a hub in mode transfer, under the name of another mode."""
    found = SendingStore()
    other_mode(monkeypatch, found)
    return found


def test_each_worker_is_sent_an_object_once(sending: SendingStore) -> None:
    one, two = Peer(sending, 1), Peer(sending, 2)
    a, b = kept("other", "a"), kept("other", "b")
    assert one.send(a) == [a.id]
    assert one.send(a, a) == []
    assert one.send(b, a, b) == [b.id]
    assert two.send(b) == [b.id]
    assert two.send(a, b) == [a.id]


def test_a_worker_is_sent_inner_objects_first(sending: SendingStore) -> None:
    peer = Peer(sending, 1)
    a, b = kept("other", "a"), kept("other", "b")
    both = kept("other", [a, [b, a]])
    outer = kept("other", {"both": both, "b": b})
    assert peer.send(b) == [b.id]
    assert peer.send(outer) == [a.id, both.id, outer.id]
    assert peer.send(outer, both, a) == []


@pytest.mark.parametrize("value", [*VALUES.values(), *LARGE.values()], ids=[*VALUES, *LARGE])
def test_a_worker_reads_what_it_was_sent(
    value: Any, sending: SendingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer = Peer(sending, 1)
    outer = kept("other", {"inner": kept("other", value)})
    peer.send(outer)
    found = peer.read(outer, monkeypatch)["inner"]
    assert type(found) is type(value)
    assert repr(found) == repr(value) or bytes(found) == bytes(value)
    if type(found) is bytearray:
        found[0] ^= 1
        assert peer.read(outer, monkeypatch)["inner"] == value


def test_a_worker_is_told_once_to_forget(
    sending: SendingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = Peer(sending, 1), Peer(sending, 2)
    a, b = kept("other", "a"), kept("other", "b")
    one.send(a, b)
    two.send(a)
    assert sending.forgotten() == []
    again, id = a, a.id
    del a
    assert sending.forgotten() == []
    assert one.read(again, monkeypatch) == "a"
    del again
    assert sorted(sending.forgotten()) == [(1, id), (2, id)]
    assert sending.forgotten() == []
    one.store.forget(id)
    with pytest.raises(KeyError):
        one.store.load(id, ())
    assert one.read(b, monkeypatch) == "b"
    one.store.forget(id)


def test_an_object_that_another_one_refers_to_is_not_forgotten(sending: SendingStore) -> None:
    peer = Peer(sending, 1)
    inner = kept("other", "inner")
    outer = kept("other", [inner])
    ids = peer.send(outer)
    assert ids == [inner.id, outer.id]
    del inner
    assert sending.forgotten() == []
    del outer
    assert sorted(sending.forgotten()) == [(1, id) for id in ids]


def test_nobody_is_told_to_forget_what_it_was_not_sent(sending: SendingStore) -> None:
    one, two = Peer(sending, 1), Peer(sending, 2)
    a, b = kept("other", "a"), kept("other", "b")
    one.send(a)
    two.send(b)
    found = {(1, a.id), (2, b.id)}
    del a, b
    assert set(sending.forgotten()) == found


def test_a_lost_worker_is_told_nothing_and_its_successor_is_sent_all(
    sending: SendingStore,
) -> None:
    a, b = kept("other", "a"), kept("other", "b")
    Peer(sending, 1).send(a, b)
    del a
    sending.peer_lost(1)
    assert sending.forgotten() == []
    assert Peer(sending, 2).send(b) == [b.id]
    del b
    assert [peer for peer, _ in sending.forgotten()] == [2]
    sending.peer_lost(3)


def test_what_is_dropped_while_workers_are_told_is_told_the_next_time(
    sending: SendingStore,
) -> None:
    """Garbage is collected at any time, and refs may be part of it."""
    refs = [kept("other", n) for n in range(4)]
    ids = [ref.id for ref in refs]
    Peer(sending, 1).send(*refs)

    class Sent(dict[int, set[int]]):
        def __contains__(self, peer: object) -> bool:
            if refs:
                refs.pop()
            return super().__contains__(peer)

    sending._deliveries._sent = Sent(sending._deliveries._sent)
    refs.pop()
    told: list[int] = []
    for _ in ids:
        told += [id for _, id in sending.forgotten()]
    assert sorted(told) == ids


def test_arrays_and_refs_of_a_mode_are_refused_in_another_one(sending: SendingStore) -> None:
    array = SharedArray(1)
    ref = kept("other", "far away")
    with WorkerPool() as pool:
        error = pool.submit(same, [ref]).exception()
        assert isinstance(error, PayloadError)
        assert "mode other" in str(error)
        assert "mode inline" in str(error)
        with pytest.raises(PayloadError, match="mode other"):
            pool.put({"ref": ref})
    with pytest.raises(PayloadError, match="mode inline"):
        kept("other", array)


def test_there_is_no_shared_memory_to_tell_of_in_mode_transfer(sending: SendingStore) -> None:
    assert sending.statistics() is None


# The store in an arena


@pytest.fixture
def arena() -> LocalArena:
    return LocalArena()


def encoded(data: bytes, *buffers: bytes | bytearray) -> _codec.Encoded:
    return data, [memoryview(buffer) for buffer in buffers], ()


def test_the_parts_of_an_object_lie_behind_each_other_in_one_block(arena: LocalArena) -> None:
    found = ArenaStore(arena, is_hub=True)
    block, layout = found.put(encoded(b"pickle", b"x" * 16, bytearray(b"y" * 17), b"", b"z"))
    assert layout == ((6, True), (16, True), (17, False), (0, True), (1, True))
    statistics = arena.statistics()
    assert (statistics.blocks, statistics.used) == (1, 16 + 16 + 32 + 0 + 16)
    whole = arena.read(block.id, 0, statistics.used, True)
    assert whole == b"pickle".ljust(16, b"\0") + b"x" * 16 + (b"y" * 17).ljust(32, b"\0") + (
        b"z".ljust(16, b"\0")
    )
    data, buffers = found.load(block.id, layout)
    assert (data, buffers) == (b"pickle", [b"x" * 16, b"y" * 17, b"", b"z"])
    assert [type(part) for part in buffers] == [bytes, bytearray, bytes, bytes]


def test_what_is_written_belongs_to_nobody_before_it_is_owned(arena: LocalArena) -> None:
    found = ArenaStore(arena, is_hub=True)
    id, layout = found.write(encoded(b"pickle"))
    assert found.attached() == set()
    block = found.own(id)
    assert found.attached() == {id}
    assert found.load(id, layout) == (b"pickle", [])
    del block
    assert found.attached() == set()
    assert arena.statistics().blocks == 0


def test_a_hub_finds_its_blocks_until_the_last_use_is_over(arena: LocalArena) -> None:
    found = ArenaStore(arena, is_hub=True)
    block = found.own(arena.allocate(8))
    again = found.attach(block.id)
    assert again is block
    id = block.id
    del block
    assert arena.statistics().blocks == 1
    del again
    assert arena.statistics().blocks == 0
    with pytest.raises(LookupError, match=f"what was at {id} of the shared memory is freed"):
        found.attach(id)
    assert not found.touched


def was_touched(found: ArenaStore) -> bool:
    """Says whether a store was touched since the last look."""
    touched, found.touched = found.touched, False
    return touched


def test_a_worker_frees_nothing_and_notes_what_it_uses(arena: LocalArena) -> None:
    offset = arena.allocate(8)
    found = ArenaStore(arena, is_hub=False)
    assert not was_touched(found)
    block = found.attach(offset)
    assert was_touched(found)
    assert found.attached() == {offset}
    again = found.attach(offset)
    assert again is block
    del block
    assert not was_touched(found)
    del again
    assert was_touched(found)
    assert found.attached() == set()
    assert arena.statistics().blocks == 1


def test_a_store_in_an_arena_sends_nothing(arena: LocalArena) -> None:
    found = ArenaStore(arena, is_hub=True)
    stores["other"] = found
    ref = kept("other", 1)
    assert found.missing(1, [ref]) == []
    found.peer_lost(1)
    del ref
    assert found.forgotten() == []


def statistics(free: int, largest: int) -> ArenaStatistics:
    return ArenaStatistics(
        bytes=1_000,
        maximum=1_000,
        used=0,
        peak=0,
        free=free,
        largest=largest,
        blocks=0,
        allocations=0,
        frees=0,
        refusals=0,
        recoveries=0,
    )


@pytest.mark.parametrize(
    ("free", "largest", "fragmentation"),
    [(0, 0, 0.0), (100, 100, 0.0), (100, 25, 0.75), (1_000, 1, 0.999)],
)
def test_fragmentation_is_what_the_largest_free_block_does_not_hold(
    free: int, largest: int, fragmentation: float
) -> None:
    assert statistics(free, largest).fragmentation == pytest.approx(fragmentation)


def test_statistics_count_what_is_and_what_was(arena: LocalArena) -> None:
    one, two = arena.allocate(100), arena.allocate(50)
    arena.free(one)
    found = arena.statistics()
    assert (found.used, found.peak, found.blocks) == (50, 150, 1)
    assert (found.allocations, found.frees) == (2, 1)
    assert (found.free, found.largest, found.fragmentation) == (0, 0, 0.0)
    arena.free(two)
    assert arena.statistics().allocations == 2


# What a worker goes on using


class Apart:
    """A worker that has a store of its own in the arena of its hub, and a test as that hub."""

    def __init__(self) -> None:
        self.arena = LocalArena()
        self._own = ArenaStore(self.arena, is_hub=True)
        self.block: Block | None = self._own.own(self.arena.allocate(8))
        self._store = ArenaStore(self.arena, is_hub=False)
        self._hub_end = MemoryLink()
        self.link = self._hub_end.connect(1, lambda: None)
        self.worker = Worker(self.link, 1, self._store, is_apart=True)
        self._functions: dict[Callable[..., Any], int] = {}

    def send(self, function: Callable[..., Any], *, given: bool = False) -> None:
        """Has the worker run a task, which is given an array or nothing."""
        id = self._functions.setdefault(function, len(self._functions) + 1)
        self._hub_end.send(1, Kind.FUNCTION, id, _codec.encode_function(function)[0])
        args: tuple[Any, ...] = ()
        if given:
            assert self.block is not None
            stores["other"] = self._own
            args = (_shared_array.attach("other", self.block.id, 0, (1,), "q"),)
        call = _codec.encode((id, args, {}))[0]
        self._hub_end.send(1, Kind.TASK, 1, call)
        del args
        stores["other"] = self._store
        self.worker.step()

    def heard(self) -> list[Kind]:
        return [Kind(frame.kind) for frame in self._hub_end.receive(0)]


def keep_here(made: SharedArray) -> None:
    here["made"] = made


def look_at(made: SharedArray) -> int:
    return int(made[0])


def return_it(made: SharedArray) -> SharedArray:
    return made


def fail_here(made: SharedArray) -> None:
    here["made"] = made
    raise LookupError


def drop_here() -> None:
    del here["made"]


async def keep_here_later(made: SharedArray) -> None:
    await here["gate"].wait()
    here["made"] = made


async def drop_here_later() -> None:
    await here["gate"].wait()
    del here["made"]


def test_a_worker_tells_of_what_it_goes_on_using_before_its_task_ends() -> None:
    apart = Apart()
    apart.send(look_at, given=True)
    assert apart.heard() == [Kind.RESULT]
    apart.send(keep_here, given=True)
    assert apart.heard() == [Kind.RETAIN, Kind.RESULT]
    apart.send(look_at, given=True)
    assert apart.heard() == [Kind.RESULT]
    apart.send(drop_here)
    assert apart.heard() == [Kind.RESULT, Kind.RELEASE]
    apart.send(fail_here, given=True)
    assert apart.heard() == [Kind.RETAIN, Kind.ERROR]


def test_a_result_is_told_of_before_and_released_after_it() -> None:
    apart = Apart()
    apart.send(return_it, given=True)
    assert apart.heard() == [Kind.RETAIN, Kind.RESULT, Kind.RELEASE]


def test_a_worker_tells_of_what_a_coroutine_goes_on_using() -> None:
    async def main() -> None:
        here["gate"] = asyncio.Event()
        apart = Apart()
        apart.send(keep_here_later, given=True)
        apart.send(int)
        here["gate"].set()
        heard = apart.heard()
        while heard.count(Kind.RESULT) < 2:
            await asyncio.sleep(0)
            heard += apart.heard()
        assert heard.count(Kind.RETAIN) == 1
        assert heard[-1] is Kind.RESULT

    asyncio.run(asyncio.wait_for(main(), 10))


def test_a_worker_tells_at_once_of_what_a_coroutine_dropped() -> None:
    async def main() -> None:
        here["gate"] = asyncio.Event()
        apart = Apart()
        apart.send(keep_here, given=True)
        apart.send(drop_here_later)
        assert apart.heard() == [Kind.RETAIN, Kind.RESULT, Kind.PARKED]
        here["gate"].set()
        heard: list[Kind] = []
        while Kind.RESULT not in heard:
            await asyncio.sleep(0)
            heard += apart.heard()
        assert heard == [Kind.RESULT, Kind.RELEASE]

    asyncio.run(asyncio.wait_for(main(), 10))


# Compressed


@pytest.mark.parametrize("over", [0, 1000, None])
def test_what_is_kept_compressed_is_read_as_it_was(over: int | None) -> None:
    """B-17: each part as it was, those that can be written to as such."""
    value: dict[str, Any] = {
        "bytes": bytes(SPILL_BYTES),
        "bytearray": bytearray(b"ab" * SPILL_BYTES),
        "array": array("d", [0.5] * SPILL_BYTES),
        "list": [1, 2, 3] * 1000,
    }
    with WorkerPool() as pool:
        ref = pool.put(value, compress_over=over)
        found = ref.get()
        assert found == value
        assert [type(part) for part in found.values()] == [type(part) for part in value.values()]
        found["bytearray"][0] = 0
        assert ref.get() == value
        assert pool.submit(same, [ref]).result() == [value]
        memory = pool.memory()
        assert memory is not None
        if over is None:
            assert ref.stored == ref.size <= memory.used
            assert "compressed" not in repr(ref)
        else:
            assert ref.size > 5 * SPILL_BYTES > 20 * ref.stored
            assert memory.used < SPILL_BYTES
            assert f"{ref.size} bytes compressed to {ref.stored} (" in repr(ref)


def test_only_what_gets_smaller_is_compressed() -> None:
    """B-17"""
    noise = random.Random(7).randbytes(2 * SPILL_BYTES)
    with WorkerPool() as pool:
        ref = pool.put([noise], compress_over=0)
        assert ref.get() == [noise]
        assert 2 * SPILL_BYTES < ref.stored <= ref.size
        mixed = pool.put([noise, bytes(SPILL_BYTES)], compress_over=0)
        assert mixed.get() == [noise, bytes(SPILL_BYTES)]
        assert mixed.stored < mixed.size - SPILL_BYTES // 2
        small = pool.put(7, compress_over=0)
        assert small.get() == 7
        assert small.stored == small.size
        assert "compressed" not in repr(small)
        assert pool.put("a" * 999, compress_over=10_000).stored > 999


def test_what_is_compressed_may_refer_to_what_is_kept() -> None:
    """B-17"""
    with WorkerPool() as pool:
        numbers = SharedArray(3, "int32")
        value: list[Any] = [[numbers] * 2, "text " * 10_000]
        ref = pool.put(value, compress_over=100)
        found = ref.get()
        found[0][0][1] = 5
        assert numbers[1] == 5
        del numbers, found, value
        gc.collect()
        assert ref.get()[0][0][1] == 5


def test_a_threshold_below_zero_is_refused() -> None:
    """B-17"""
    with WorkerPool() as pool, pytest.raises(ValueError, match="0 bytes or more, not -1"):
        pool.put(1, compress_over=-1)


# Memory that a page has made


class Lending:
    """What the shim offers of memory beside the arena: it notes what is done."""

    def __init__(self) -> None:
        self.arena = SimpleNamespace()
        self.memories = self
        self.done: list[tuple[Any, ...]] = []

    def add(self, buffer: object, name: int) -> int:
        return 2 * name + 1

    def lend(self, peer: int, id: int) -> None:
        self.done.append(("lend", peer, id))

    def delete(self, id: int) -> None:
        self.done.append(("delete", id))


class Named(_codec.Handle):
    """A handle of such memory."""

    def __init__(self, block: Block) -> None:
        self.block = block

    @property
    def id(self) -> int:
        return self.block.id


def test_memory_of_a_page_is_lent_once_to_each_worker_that_needs_it() -> None:
    """D-02: also where it is part of something kept; and given up when nobody needs it."""
    link = Lending()
    arena = SharedArena(link, None, None, HUB)
    found = ArenaStore(arena, is_hub=True)
    first, second = (Named(found.own(arena.add(None, name))) for name in (1, 2))
    ref: Ref[Any] = Ref("shared", Block(16), (), [first, second.block], 1)

    def sent(peer: int, *handles: _codec.Handle) -> list[int]:
        return [id for id, encoded in found.missing(peer, handles) if encoded == (b"", [], ())]

    assert sent(1, first, first) == [3]
    assert sent(1, first, ref) == [5]
    assert sent(2, ref) == [3, 5]
    assert link.done == [("lend", 1, 3), ("lend", 1, 5), ("lend", 2, 3), ("lend", 2, 5)]
    found.peer_lost(2)
    assert sent(2, second) == [5]
    del link.done[:]
    del ref, first
    gc.collect()
    assert link.done == [("delete", 3)]
    assert found.forgotten() == [(1, 3)]
    found.peer_lost(1)
    del second
    gc.collect()
    assert found.forgotten() == [(2, 5)]
    assert found.attached() == set()
