"""Links within one interpreter: mode inline, and tests of what stands above the channels.

Frames are written and read as everywhere, so that whatever could not travel fails here too.
"""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from pyworkers._channels import Payload
from pyworkers._protocol import HEADER_BYTES, Frame, padded, read_frames, write_frame


class MemoryLink:
    """One end of channels to any number of others.

    Args:
        on_flush: called when this end has sent something.
    """

    can_block = False

    def __init__(self, on_flush: Callable[[], object] = lambda: None) -> None:
        self._on_flush = on_flush
        self._frames: deque[bytearray] = deque()
        self._parts: dict[tuple[int, int], bytearray] = {}
        self._tokens = 0
        self._others: dict[int, MemoryLink] = {}

    def connect(self, peer: int, on_flush: Callable[[], object]) -> "MemoryLink":
        """Returns the other end of a new channel, which knows it by the same number."""
        other = MemoryLink(on_flush)
        self._others[peer] = other
        other._others[peer] = self
        return other

    def send(
        self,
        peer: int,
        kind: int,
        id: int,
        payload: Payload,
        flags: int = 0,
        number: float = 0.0,
        epoch: int = 0,
    ) -> None:
        other = self._others.get(peer)
        if other is not None:
            frame = bytearray(padded(HEADER_BYTES + len(payload)))
            write_frame(frame, 0, kind, flags, peer, id, number, payload, epoch)
            other._frames.append(frame)

    def flush(self) -> None:
        self._on_flush()

    def receive(self, milliseconds: float) -> Iterator[Frame]:
        while self._frames:
            frame = self._frames.popleft()
            for read in read_frames(memoryview(frame), len(frame)):
                if read.peer in self._others:
                    yield read

    def put(self, peer: int, buffer: Any) -> int:
        self._tokens += 1
        other = self._others.get(peer)
        if other is not None:
            other._parts[peer, self._tokens] = bytearray(buffer)
        return self._tokens

    def take(self, peer: int, token: int, length: int, frozen: bool) -> bytes | bytearray:
        part = self._parts.get((peer, token))
        if part is None or len(part) != length:
            raise ValueError(f"no part {token} of {length} bytes came from peer {peer}")
        self.drop(peer, token)
        return bytes(part) if frozen else part

    def drop(self, peer: int, token: int) -> None:
        del self._parts[peer, token]

    def claim(self, peer: int, epoch: int) -> bool:
        self.flush()
        return True

    def recall(self, peer: int) -> int | None:
        return None

    def interrupt(self, peer: int, task: int) -> None:
        pass

    def uninterrupt(self, peer: int) -> None:
        pass

    def pulse(self, peer: int) -> int | None:
        return None

    def close(self, peer: int) -> None:
        self._others.pop(peer, None)
