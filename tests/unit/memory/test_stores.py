"""What both stores have in common, and that of mode transfer."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyworkers import PayloadError, Ref, SharedArray, WorkerPool, _codec
from pyworkers._arena import LocalArena
from pyworkers._codec import SPILL_BYTES
from pyworkers._store import ArenaStore, SendingStore, stores
from tests.unit.memory.tools import LARGE, VALUES, kept, same

pytestmark = pytest.mark.timeout(60)

# Both


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

    sending._sent = Sent(sending._sent)
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
