"""Links: what is sent arrives, whole and in order; and what is taken back was not started.

What all links have in common is tested over links in memory, too.
"""

import base64
import functools
from collections import deque
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyworkers import _codec
from pyworkers._protocol import HEADER_BYTES, SPILLED, Kind
from tests.unit.channels.ends import (
    MAX_PAYLOAD,
    MODES,
    RING_BYTES,
    SHIM_MODES,
    Channels,
    content,
    seeds,
    text,
)
from tests.unit.node_host import NodeHost

pytestmark = pytest.mark.timeout(60)

# Sending and receiving


ends = st.integers(0, 3)
peers = st.integers(1, 3)
few_bytes = st.integers(0, 100)
payload_sizes = few_bytes | st.integers(0, MAX_PAYLOAD) | st.just(MAX_PAYLOAD)
part_sizes = st.integers(1, 100) | st.integers(1, 3 * RING_BYTES)
link_steps = st.lists(
    st.tuples(st.just("send"), ends, peers, payload_sizes, seeds)
    | st.tuples(st.just("send parts"), ends, peers, st.lists(part_sizes, max_size=3), seeds)
    | st.tuples(st.sampled_from(["flush", "receive", "receive", "move heap"]), ends),
    min_size=10,
    max_size=40,
)


class Conversation:
    """Says things through channels, and compares what arrives with what was said."""

    def __init__(self, channels: Channels) -> None:
        self.channels = channels
        self.ids = 0
        self.under_way: dict[tuple[int, int], deque[tuple[Any, ...]]] = {}

    def send(self, at: int, peer: int, payload: bytes, parts: list[bytes]) -> None:
        if at:
            peer = at
        to = 0 if at else peer
        link = self.channels.ends[at]
        self.ids += 1
        kind = Kind.RESULT if at else Kind.TASK
        number = self.ids / 4
        epoch = self.ids % 0xFFFF
        flags = self.ids % 11
        sent = payload
        if parts:
            flags |= SPILLED
            views = [memoryview(part) for part in parts]
            sent = _codec.spill(payload, views, lambda part: link.put(peer, part))
        link.send(peer, kind, self.ids, sent, flags, number, epoch)
        waiting = self.under_way.setdefault((to, peer), deque())
        waiting.append((kind, flags, epoch, peer, self.ids, number, payload, parts))

    def receive(self, at: int) -> None:
        link = self.channels.ends[at]
        for frame in link.receive(0):
            payload: Any = frame.payload
            parts: list[bytes | bytearray] = []
            if frame.flags & SPILLED:
                payload, parts = _codec.gather(payload, functools.partial(link.take, frame.peer))
            told = (*frame[:-1], bytes(payload), parts)
            assert told == self.under_way[at, frame.peer].popleft()

    def settle(self) -> None:
        """Lets all arrive that is under way."""
        for link in self.channels.ends.values():
            link.flush()
        for _ in range(1_000):
            if not any(self.under_way.values()):
                return
            for at in self.channels.ends:
                self.receive(at)
        raise AssertionError(f"it does not arrive: {self.under_way}")


@pytest.mark.parametrize("mode", MODES)
@settings(max_examples=30)
@given(steps=link_steps)
def test_what_is_sent_arrives_whole_and_in_order(
    shim: NodeHost, mode: str, steps: list[tuple[Any, ...]]
) -> None:
    """A-05: frames and bulk parts, between a hub and three workers, also those that are larger
    than a ring."""
    channels = Channels(shim, mode, workers=3)
    conversation = Conversation(channels)
    for what, at, *args in steps:
        if what == "send":
            peer, size, seed = args
            conversation.send(at, peer, content(seed, size), [])
        elif what == "send parts":
            peer, sizes, seed = args
            parts = [content(seed, size) for size in sizes]
            conversation.send(at, peer, b"." + content(seed, seed % 50), parts)
        elif what == "receive":
            conversation.receive(at)
        elif what == "flush":
            channels.ends[at].flush()
        elif mode != "memory":
            shim.ask("moveHeap", at=at)
    conversation.settle()


@pytest.mark.parametrize("mode", MODES)
def test_far_more_than_a_ring_holds_waits_for_its_receiver(shim: NodeHost, mode: str) -> None:
    """B-01: backpressure loses nothing and keeps the order."""
    channels = Channels(shim, mode, workers=2)
    conversation = Conversation(channels)
    for n in range(30):
        for at, peer in ((0, 1), (0, 2), (1, 1), (2, 2)):
            conversation.send(at, peer, content(n, 40_000), [])
        conversation.send(0, 1, b".", [content(n, 3 * RING_BYTES)] if n % 10 == 0 else [])
    conversation.settle()


@pytest.mark.parametrize("mode", SHIM_MODES)
def test_output_of_any_size_arrives_in_frames(shim: NodeHost, mode: str) -> None:
    """E-04"""
    channels = Channels(shim, mode, workers=1)
    data = content(1, 200_000)
    shim.ask("output", at=1, peer=1, stream=2, data=text(data))
    shim.ask("output", at=1, peer=1, stream=1, data=text(b""))
    channels.said(1, 7)
    heard = channels.hear(lambda heard: heard[-1:] == [(1, "RESULT", 7, b"")])
    assert {kind for _, kind, _, _ in heard[:-1]} == {"OUTPUT"}
    assert b"".join(payload for _, _, _, payload in heard) == data


@pytest.mark.parametrize("mode", SHIM_MODES)
def test_a_listener_hears_what_arrives(shim: NodeHost, mode: str) -> None:
    """E-03"""
    channels = Channels(shim, mode, workers=2)
    shim.ask("listen", at=0)
    said = 0
    heard = 0
    for n in range(20):
        for peer in (1, 2):
            channels.said(peer, n)
            said += 1
        while heard < said:
            inboxes = shim.ask("heard", at=0)
            heard += sum(len(base64.b64decode(inbox)) for inbox in inboxes) // HEADER_BYTES
    assert heard == said == 40


@pytest.mark.parametrize("at", [0, 1])
def test_who_waits_for_room_is_woken_when_there_is_room(shim: NodeHost, at: int) -> None:
    """B-01: even if the room came before the wait, and nothing else will."""
    channels = Channels(shim, "stream", workers=1)
    conversation = Conversation(channels)
    conversation.send(at, 1, b".", [content(1, 3 * RING_BYTES)])
    channels.ends[at].flush()
    channels.ends[at].receive(0)
    rounds = 0
    while any(conversation.under_way.values()):
        conversation.receive(1 - at)
        if any(conversation.under_way.values()):
            assert shim.ask("bell", at=at, milliseconds=2_000), "it sleeps, though it could go on"
            conversation.receive(at)
        rounds += 1
    assert rounds > 3


def test_a_blocking_receive_ends_with_its_time(shim: NodeHost) -> None:
    channels = Channels(shim, "ring", workers=1)
    assert list(channels.hub.receive(1.5)) == []
    channels.said(1, 5)
    assert [frame.id for frame in channels.hub.receive(30_000)] == [5]


def test_no_worker_keeps_the_hub_from_hearing_another_one(shim: NodeHost) -> None:
    channels = Channels(shim, "ring", workers=2)
    for n in range(20):
        channels.said(1, n, bytes(MAX_PAYLOAD))
    channels.said(2, 7)
    heard = [frame.peer for frame in channels.hub.receive(0)]
    assert list(channels.ends[1].receive(0)) == []  # that is when it refills its ring
    heard += [frame.peer for frame in channels.hub.receive(0)]
    assert 2 in heard


@pytest.mark.parametrize("mode", SHIM_MODES)
def test_what_is_larger_than_the_mailbox_leaves_in_several_batches(
    shim: NodeHost, mode: str
) -> None:
    channels = Channels(shim, mode, workers=1)
    for n in range(10):
        channels.hub.send(1, Kind.TASK, n, content(n, 30_000))
    channels.hub.flush()
    received: list[tuple[int, bytes]] = []
    while len(received) < 10:
        received += [(frame.id, bytes(frame.payload)) for frame in channels.ends[1].receive(0)]
        assert list(channels.hub.receive(0)) == []  # that is when it moves on what found no room
    assert received == [(n, content(n, 30_000)) for n in range(10)]


@pytest.mark.parametrize(("frozen", "kind"), [(True, bytes), (False, bytearray)])
@pytest.mark.parametrize("mode", MODES)
def test_a_part_is_taken_once_and_by_its_length(
    shim: NodeHost, mode: str, frozen: bool, kind: type
) -> None:
    """A-07"""
    channels = Channels(shim, mode, workers=2)
    token = channels.ends[1].put(1, content(1, 1_000))
    channels.said(1, 1)
    channels.hear(bool)
    for peer, wrong, length in ((1, token, 999), (1, token + 16, 1_000), (2, token, 1_000)):
        with pytest.raises(Exception, match=str(wrong)):
            channels.hub.take(peer, wrong, length, False)
    assert channels.hub.take(1, token, 1_000, frozen) == kind(content(1, 1_000))
    with pytest.raises(Exception, match=str(token)):
        channels.hub.take(1, token, 1_000, False)


@pytest.mark.parametrize("mode", MODES)
def test_a_part_that_is_dropped_is_gone(shim: NodeHost, mode: str) -> None:
    channels = Channels(shim, mode, workers=1)
    token = channels.ends[1].put(1, content(1, 1_000))
    channels.said(1, 1)
    channels.hear(bool)
    channels.hub.drop(1, token)
    with pytest.raises(Exception, match=str(token)):
        channels.hub.take(1, token, 1_000, False)


@pytest.mark.parametrize("mode", MODES)
def test_a_peer_that_was_closed_is_not_heard_any_more(shim: NodeHost, mode: str) -> None:
    """B-04"""
    channels = Channels(shim, mode, workers=2)
    channels.said(1, 1)
    channels.hub.send(1, Kind.TASK, 2, b"")
    channels.hub.close(1)
    channels.hub.send(1, Kind.TASK, 3, b"")
    channels.hub.put(1, b"abc")
    channels.hub.flush()
    channels.said(1, 4)
    channels.said(2, 5)
    heard = channels.hear(lambda heard: (2, "RESULT", 5, b"") in heard)
    assert [id for peer, _, id, _ in heard if peer == 1] in ([], [1])
    assert list(channels.hub.receive(0)) == []


# Taking tasks back


@settings(max_examples=50)
@given(
    steps=st.lists(
        st.sampled_from(["send", "send", "receive", "claim", "claim", "recall"]),
        min_size=10,
        max_size=60,
    )
)
def test_a_task_is_either_started_or_taken_back(shim: NodeHost, steps: list[str]) -> None:
    """C-07, X-02: and both sides know which."""
    channels = Channels(shim, "ring", workers=2)
    hub, worker = channels.ends[0], channels.ends[1]
    epoch = sent = started = 0
    valid: set[int] = set()
    received: deque[tuple[int, int]] = deque()
    for step in steps:
        if step == "send":
            sent += 1
            valid.add(sent)
            hub.send(1, Kind.TASK, sent, b"", epoch=epoch)
            hub.flush()
        elif step == "receive":
            received += ((frame.id, frame.epoch) for frame in worker.receive(0))
        elif step == "claim" and received:
            task, sent_in = received.popleft()
            assert worker.claim(1, sent_in) is (task in valid)
            started += task in valid
            valid.discard(task)
        elif step == "recall":
            assert hub.recall(1) == started
            assert hub.recall(2) == 0
            epoch += 1
            valid.clear()


@pytest.mark.parametrize("mode", MODES)
def test_a_claim_sends_what_was_said_before_it(shim: NodeHost, mode: str) -> None:
    """C-08: no result waits behind the next task, which may be long."""
    channels = Channels(shim, mode, workers=1)
    worker = channels.ends[1]
    worker.send(1, Kind.RESULT, 7, b"result")
    assert worker.claim(1, 0) is True
    assert channels.hear(bool) == [(1, "RESULT", 7, b"result")]


@pytest.mark.parametrize("mode", ["memory", "port"])
def test_without_shared_memory_nothing_is_taken_back(shim: NodeHost, mode: str) -> None:
    channels = Channels(shim, mode, workers=1)
    assert channels.hub.recall(1) is None
    assert channels.ends[1].claim(1, 0) is True
