"""A worker's end of its line to the hub: frames with values in them.

Owns how values become payloads here, and how payloads are read. Knows nothing of what they mean.
"""

from functools import partial
from typing import Any, Final

from pyworkers import _codec
from pyworkers._channels import Link
from pyworkers._protocol import HEADER_BYTES, MAX_FRAME_BYTES, SPILLED, Frame, Kind

_MOST: Final = MAX_FRAME_BYTES - HEADER_BYTES
"""So many bytes have room in a frame."""


class Line:
    """What a worker says and reads.

    Args:
        link: leads to the hub.
        peer: the number of this worker in its hub.
    """

    def __init__(self, link: Link, peer: int) -> None:
        self.link = link
        self.peer = peer
        self.marks = 0
        """Flags of each frame that goes out."""

    def decode(self, frame: Frame) -> Any:
        """Reads the payload of a frame."""
        return _codec.decode(*self.payload(frame))

    def payload(self, frame: Frame) -> tuple[Any, list[bytes | bytearray]]:
        """Takes the payload out of a frame, with its parts out of band."""
        if frame.flags & SPILLED:
            return _codec.gather(frame.payload, self._take)
        return frame.payload, []

    def _take(self, token: int, length: int, frozen: bool) -> bytes | bytearray:
        return self.link.take(self.peer, token, length, frozen)

    def discard(self, frame: Frame) -> None:
        """Drops the parts of a frame that nobody will read."""
        if frame.flags & SPILLED:
            _codec.discard(frame.payload, partial(self.link.drop, self.peer))

    def _put(self, buffer: Any) -> int:
        return self.link.put(self.peer, buffer)

    def send(self, kind: Kind, id: int, value: Any, number: float) -> None:
        """Sends a frame with a value."""
        data, buffers, _ = _codec.encode(value)
        self.send_encoded(kind, id, data, buffers, number)

    def send_encoded(
        self, kind: Kind, id: int, data: bytes, buffers: list[memoryview], number: float
    ) -> None:
        """Sends a frame with a pickle and the buffers that belong to it."""
        if buffers or len(data) > _MOST:
            payload = _codec.spill(data, buffers, self._put)
            self.link.send(self.peer, kind, id, payload, SPILLED | self.marks, number)
        else:
            self.link.send(self.peer, kind, id, data, self.marks, number)
