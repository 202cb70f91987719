"""Frames over one channel, without a pool: what the floor under all calls carries."""

from time import perf_counter
from typing import Any

from pyworkers._channels.heap import HeapLink
from pyworkers._protocol import Kind

PEER = 1


def open_link(shim: Any) -> HeapLink:
    """Opens the Python half of a link of the shim."""
    return HeapLink(shim, True)


def send_all(link: HeapLink, count: int, payload: bytes) -> float:
    """Sends frames; returns the seconds until the other end says that it has read them all."""
    started = perf_counter()
    for i in range(count):
        link.send(PEER, Kind.PROGRESS, i, payload)
    link.flush()
    while not list(link.receive(1000)):
        pass
    return perf_counter() - started


def receive_all(link: HeapLink, count: int) -> None:
    """Reads frames, and says so once all are there."""
    while count:
        for frame in link.receive(1000):
            bytes(frame.payload)
            count -= 1
    link.send(PEER, Kind.PROGRESS, 0, b"")
    link.flush()
