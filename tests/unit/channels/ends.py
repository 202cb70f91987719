"""Both ends of channels: a hub and its workers, over each kind of link.

The links of the shim are driven through the Python half that they have in Pyodide, ``HeapLink``;
between the two stand only the copies from one process to the other.
"""

import base64
import ctypes
import random
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from pyworkers._channels import Link
from pyworkers._channels.heap import HeapLink
from pyworkers._channels.memory import MemoryLink
from pyworkers._protocol import HEADER_BYTES, MAX_FRAME_BYTES, Kind
from tests.unit.node_host import NodeHost

MAX_PAYLOAD = MAX_FRAME_BYTES - HEADER_BYTES
RING_BYTES = 262_144


def text(data: Any) -> str:
    return base64.b64encode(data).decode()


def content(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


class Bytes:
    """A JavaScript array of bytes, as Pyodide hands it over."""

    def __init__(self, data: str) -> None:
        self._data = base64.b64decode(data)

    def to_bytes(self) -> bytes:
        return self._data

    def assign_to(self, target: bytearray) -> None:
        target[:] = self._data


class NodeShim:
    """Stands between a HeapLink here and its link in Node: what is in the heap is copied there.

    Args:
        host: runs the driver.
        at: which end of the channels: 0 is the hub's, a worker's has its number.
    """

    def __init__(self, host: NodeHost, at: int) -> None:
        self._host = host
        self._at = at

    def _ask(self, command: str, **fields: Any) -> Any:
        return self._host.ask(command, at=self._at, **fields)

    def configure(self, mailbox: int, inbox: int, inbox_bytes: int) -> None:
        self._mailbox = mailbox
        self._inbox = inbox
        self._ask("configure", inboxBytes=inbox_bytes)

    def flush(self, length: int) -> None:
        self._ask("flush", mailbox=text(ctypes.string_at(self._mailbox, length)))

    def receive(self, milliseconds: float) -> int:
        data = base64.b64decode(self._ask("receive", milliseconds=milliseconds))
        ctypes.memmove(self._inbox, data, len(data))
        return len(data)

    def put(self, peer: int, buffer: Any) -> Any:
        return self._ask("put", peer=peer, part=text(buffer))

    def view(self, peer: int, token: int, length: int) -> "Bytes":
        return Bytes(self._ask("view", peer=peer, token=token, length=length))

    def drop(self, peer: int, token: int) -> None:
        self._ask("drop", peer=peer, token=token)

    def claim(self, peer: int, length: int, epoch: int) -> Any:
        mailbox = text(ctypes.string_at(self._mailbox, length))
        return self._ask("claim", peer=peer, mailbox=mailbox, epoch=epoch)

    def close(self, peer: int) -> None:
        self._ask("close", peer=peer)


class RingNodeShim(NodeShim):
    def recall(self, peer: int) -> Any:
        return self._ask("recall", peer=peer)


Heard = tuple[int, str, int, bytes]
"""Peer, kind, id and payload of a frame."""


class Channels:
    """A hub and its workers.

    Args:
        host: runs the driver.
        mode: "ring", "stream" (a ring beside an arena that is full), "port" or "memory".
        workers: how many there are; their numbers start with 1.
    """

    def __init__(self, host: NodeHost, mode: str, workers: int) -> None:
        self.host = host
        self.mode = mode
        self.ends: dict[int, Link] = {}
        if mode == "memory":
            hub = MemoryLink()
            self.ends[0] = hub
            for peer in range(1, workers + 1):
                self.ends[peer] = hub.connect(peer, lambda: None)
        else:
            host.ask("open", mode=mode, workers=workers)
            kind = NodeShim if mode == "port" else RingNodeShim
            for at in range(workers + 1):
                self.ends[at] = HeapLink(kind(host, at), can_block=mode != "port")

    @property
    def hub(self) -> Link:
        return self.ends[0]

    def said(self, peer: int, id: int, payload: bytes = b"") -> None:
        """A worker says something to the hub, at once."""
        self.ends[peer].send(peer, Kind.RESULT, id, payload)
        self.ends[peer].flush()

    def hear(self, enough: Callable[[list[Heard]], bool]) -> list[Heard]:
        """Receives at the hub until that is enough; in Node, other things go on meanwhile."""
        heard: list[Heard] = []
        for _ in range(1_000):
            heard += (
                (frame.peer, Kind(frame.kind).name, frame.id, bytes(frame.payload))
                for frame in self.hub.receive(0)
            )
            if enough(heard):
                return heard
        raise AssertionError(f"it is not enough: {heard}")


MODES = ["memory", "ring", "stream", "port"]
SHIM_MODES = MODES[1:]


seeds = st.integers(0, 2**32 - 1)
