"""What a worker should not say, and its end."""

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyworkers._protocol import HEADER, HEADER_BYTES, MAX_FRAME_BYTES, Kind, padded, write_frame
from tests.unit.channels.ends import SHIM_MODES, Channels, Heard, content, seeds, text
from tests.unit.node_host import NodeHost

pytestmark = pytest.mark.timeout(60)


def raw(length: int, kind: int = Kind.RESULT, number: float = 0.0, size: int = 32) -> bytes:
    """A frame of 32 bytes that claims another length."""
    return HEADER.pack(length, kind, 0, 0, 1, 1, number).ljust(size, b"\0")


def chunks(*sizes: int, total: float) -> bytes:
    return b"".join(
        raw(size, Kind.CHUNK, total, size)[:size].ljust(padded(size), b"\0")
        for size in (HEADER_BYTES + size for size in sizes)
    )


MALFORMED = {
    "no length": raw(0),
    "a length below the header's": raw(HEADER_BYTES - 1),
    "a length above the maximum": raw(MAX_FRAME_BYTES + 1, size=MAX_FRAME_BYTES + 8),
    "a huge length": raw(2**32 - 1),
    "a length whose padding is 0": raw(2**32 - 7),
    "a negative length, if it had a sign": raw(2**31),
    "more than there is": raw(MAX_FRAME_BYTES),
    "a part of negative size": chunks(8, total=-5.0),
    "a part of no number": chunks(8, total=math.nan),
    "a part of infinite size": chunks(8, total=math.inf),
    "a part larger than any memory": chunks(8, total=2.0**52),
    "a part of broken size": chunks(8, total=12.5),
    "a part larger than it was to be": chunks(16, 16, total=24.0),
    "a part smaller than its first piece": chunks(16, total=8.0),
}


def check_that_only_worker_1_is_lost(channels: Channels) -> tuple[list[Heard], str]:
    """Returns what it said before, and why it is lost."""
    channels.said(2, 20)
    heard = channels.hear(
        lambda heard: {(2, "RESULT", 20, b"")} <= {*heard} and any(h[1] == "LOST" for h in heard)
    )
    *said, (_, kind, _, reason) = [frame for frame in heard if frame[0] == 1]
    assert kind == "LOST"
    for at, peer in ((0, 2), (2, 2)):
        channels.ends[at].send(peer, Kind.TASK, 21, b"and so on")
        channels.ends[at].flush()
    assert channels.hear(bool) == [(2, "TASK", 21, b"and so on")]
    assert [frame.id for _ in range(100) for frame in channels.ends[2].receive(0)] == [21]
    assert list(channels.hub.receive(0)) == []
    return said, reason.decode()


@pytest.mark.parametrize("mode", SHIM_MODES)
@pytest.mark.parametrize("frame", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_frame_ends_its_worker_and_no_other(
    shim: NodeHost, mode: str, frame: bytes
) -> None:
    """A-07"""
    channels = Channels(shim, mode, workers=2)
    channels.said(1, 10, b"before")
    shim.ask("sayRaw", peer=1, frames=text(frame))
    channels.said(1, 11, b"behind")
    said, reason = check_that_only_worker_1_is_lost(channels)
    assert said == [(1, "RESULT", 10, b"before")]
    assert "malformed" in reason or "CHUNK" in reason


@pytest.mark.parametrize(
    "message",
    [
        "frames",
        {"frames": "frames", "parts": []},
        {},
        {"frames": None, "parts": []},
        {"parts": {}},
        {"parts": [None]},
        {"parts": [{"token": 1}]},
        {"parts": [{"token": 1, "bytes": "bytes"}]},
    ],
    ids=str,
)
def test_a_message_that_is_no_batch_ends_its_worker_and_no_other(
    shim: NodeHost, message: Any
) -> None:
    """A-07"""
    channels = Channels(shim, "port", workers=2)
    channels.said(1, 10, b"before")
    shim.ask("postRaw", peer=1, message=message)
    _, reason = check_that_only_worker_1_is_lost(channels)
    assert "a message that is no batch of frames" in reason


@pytest.mark.parametrize("size", [1, 3, 4, 7, 23])
def test_a_batch_that_is_shorter_than_a_header_ends_its_worker_and_no_other(
    shim: NodeHost, size: int
) -> None:
    """A-07"""
    channels = Channels(shim, "port", workers=2)
    shim.ask("sayRaw", peer=1, frames=text(b"\x18" + bytes(size - 1)))
    said, reason = check_that_only_worker_1_is_lost(channels)
    assert said == []
    assert "malformed" in reason


@pytest.mark.parametrize("mode", SHIM_MODES)
@settings(max_examples=40)
@given(noise=st.binary(min_size=8, max_size=400), seed=seeds)
def test_noise_ends_no_other_worker(shim: NodeHost, mode: str, noise: bytes, seed: int) -> None:
    """A-07"""
    channels = Channels(shim, mode, workers=2)
    shim.ask("sayRaw", peer=1, frames=text(noise[: len(noise) & ~7]))
    channels.said(2, seed)
    heard = channels.hear(lambda heard: (2, "RESULT", seed, b"") in heard)
    assert {peer for peer, *_ in heard} <= {1, 2}


@pytest.mark.parametrize("mode", SHIM_MODES)
def test_a_worker_speaks_only_for_itself(shim: NodeHost, mode: str) -> None:
    """A-07"""
    channels = Channels(shim, mode, workers=2)
    frame = bytearray(HEADER_BYTES)
    write_frame(frame, 0, Kind.RESULT, 0, 2, 5, 0.0, b"")
    shim.ask("sayRaw", peer=1, frames=text(frame))
    assert channels.hear(bool) == [(1, "RESULT", 5, b"")]


@pytest.mark.parametrize("mode", SHIM_MODES)
@pytest.mark.parametrize("reason", ["out of memory", "größer als 🌍", "x" * 300_000, ""], ids=len)
def test_a_worker_that_is_gone_is_reported_once_behind_all_that_it_said(
    shim: NodeHost, mode: str, reason: str
) -> None:
    """B-05, D-09"""
    channels = Channels(shim, mode, workers=2)
    assert list(channels.hub.receive(0)) == []
    for n in range(3):
        channels.said(2, n, bytes(60_000))  # does not leave room in the inbox for all
    said: list[Heard] = []
    for n in range(200):
        channels.said(1, n, content(n, 1_000))
        said.append((1, "RESULT", n, content(n, 1_000)))
    if mode == "port":
        # A port hands on in order, and so did the worker's creator hear of its end.
        early = channels.hear(lambda heard: len(heard) == 203)
        assert [frame for frame in early if frame[0] == 1] == said
        said = []
    shim.ask("bury", peer=1, reason=reason)
    shim.ask("bury", peer=1, reason="another reason")
    heard, told = check_that_only_worker_1_is_lost(channels)
    assert heard == said
    assert told[:1000] == (reason[:1000] or "unknown")


@pytest.mark.parametrize("mode", SHIM_MODES)
def test_a_worker_that_is_gone_wakes_the_hub(shim: NodeHost, mode: str) -> None:
    """B-05"""
    channels = Channels(shim, mode, workers=1)
    shim.ask("bury", peer=1, reason="power cut")
    assert shim.ask("bell", at=0, milliseconds=2_000)
    assert channels.hear(bool) == [(1, "LOST", 0, b"power cut")]
